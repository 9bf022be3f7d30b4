package journal

import (
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// SaveSightings writes the last that was heard of the hosts in one transaction; each replaces what was kept of its host.
// Errors are as those of Append.
func (j *Journal) SaveSightings(sightings []recovery.Sighting) error {
	if len(sightings) == 0 {
		return nil
	}
	values := make([][]byte, len(sightings))
	for i, s := range sightings {
		if s.Host == "" || len(s.Host) > bbolt.MaxKeySize {
			return fmt.Errorf("sighting %d of %d has no usable host name (%.40q)", i+1, len(sightings), s.Host)
		}
		v, err := sealJSON(s)
		if err != nil {
			return fmt.Errorf("sighting of %s: %w", s.Host, err)
		}
		values[i] = v
	}
	return j.write(isThere(sightingsBucket), func(tx *bbolt.Tx) error {
		b := tx.Bucket(sightingsBucket)
		n, err := setting(tx, sightingsKey)
		if err != nil {
			return err
		}
		for i, s := range sightings {
			if b.Get([]byte(s.Host)) == nil {
				n++
			}
			if err := b.Put([]byte(s.Host), values[i]); err != nil {
				return err
			}
		}
		return putSetting(tx, sightingsKey, n)
	})
}

// Sightings returns the last that was saved of each host.
func (j *Journal) Sightings() (map[string]recovery.Sighting, error) {
	sightings := map[string]recovery.Sighting{}
	err := j.view(func(tx *bbolt.Tx) error {
		n, err := setting(tx, sightingsKey)
		if err != nil {
			return err
		}
		err = tx.Bucket(sightingsBucket).ForEach(func(k, v []byte) error {
			var s recovery.Sighting
			err := unsealJSON(v, &s)
			if err == nil && s.Host != string(k) {
				err = fmt.Errorf("the sighting of %q stands in its place", s.Host)
			}
			if err != nil {
				return &BrokenError{Why: fmt.Sprintf("the sighting of %q: %v", k, err)}
			}
			sightings[s.Host] = s
			return nil
		})
		if err == nil && uint64(len(sightings)) != n {
			err = &BrokenError{Why: fmt.Sprintf("%d sightings were kept and %d are there", n, len(sightings))}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return sightings, nil
}

// NextEpoch names a start of the coordinator: a number above every earlier one of this file, and at least atLeast. It is on
// disk before it is returned. With the time as atLeast, the epochs of a fresh file rise above those of a lost one.
func (j *Journal) NextEpoch(atLeast uint64) (uint64, error) {
	var epoch uint64
	err := j.write(
		func(tx *bbolt.Tx) error {
			last, err := setting(tx, epochKey)
			epoch = max(last+1, atLeast)
			return err
		},
		func(tx *bbolt.Tx) error { return putSetting(tx, epochKey, epoch) },
	)
	if err != nil {
		return 0, err
	}
	return epoch, nil
}

// setting returns a number from the settings. All of them are there from the beginning.
func setting(tx *bbolt.Tx, key []byte) (n uint64, err error) {
	v := tx.Bucket(settingsBucket).Get(key)
	if v == nil {
		return 0, &BrokenError{Why: fmt.Sprintf("the setting %q is missing", key)}
	}
	if err := unsealJSON(v, &n); err != nil {
		return 0, &BrokenError{Why: fmt.Sprintf("the setting %q: %v", key, err)}
	}
	return n, nil
}

func putSetting(tx *bbolt.Tx, key []byte, n uint64) error {
	v, err := sealJSON(n)
	if err != nil {
		return err
	}
	return tx.Bucket(settingsBucket).Put(key, v)
}

// isThere looks whether a bucket's pages can be reached.
func isThere(name []byte) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		tx.Bucket(name).Cursor().Last()
		return nil
	}
}
