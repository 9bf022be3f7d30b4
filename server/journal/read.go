package journal

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// One step of reading. Callbacks run between steps, outside any transaction, so that they may append.
const (
	stepEntries = 256
	stepBytes   = 4 << 20
)

// Read calls fn for each entry of an incident, in order, up to the last one there is, and checks number and chain of each
// before. An altered, missing, cut or unknown entry is a *BrokenError with its number; entries before it have been given to fn.
// fn's error ends the reading and is returned as it is.
func (j *Journal) Read(incident string, fn func(recovery.Entry) error) error {
	return j.walk(incident, func(v envelope, _ []byte) error {
		e, err := v.entry()
		if err != nil {
			return j.located(&BrokenError{Incident: incident, Seq: v.Seq, Why: err.Error()})
		}
		return fn(e)
	})
}

// Incidents returns the ids of all incidents in the order in which they were created.
func (j *Journal) Incidents() ([]string, error) {
	ids, err := j.incidents()
	if err != nil {
		return nil, j.located(err)
	}
	return ids, nil
}

// LastSeq returns the number of an incident's last entry; 0 when there is no such incident.
func (j *Journal) LastSeq(incident string) (uint64, error) {
	var h head
	err := j.view(func(tx *bbolt.Tx) (err error) {
		_, h, err = lookup(tx, incident)
		return err
	})
	return h.Seq, err
}

// view runs a short reading transaction.
func (j *Journal) view(fn func(tx *bbolt.Tx) error) error {
	if err := guard(func() error { return j.db.View(fn) }); err != nil {
		return j.located(err)
	}
	return nil
}

// lookup returns the entries and the head record of an incident, nil and a zero head when it is unknown. The two must
// agree on the last number.
func lookup(tx *bbolt.Tx, incident string) (*bbolt.Bucket, head, error) {
	b := tx.Bucket(entriesBucket).Bucket([]byte(incident))
	value := tx.Bucket(headsBucket).Get([]byte(incident))
	if b == nil && value == nil {
		return nil, head{}, nil
	}
	var last uint64
	if b != nil {
		k, _ := b.Cursor().Last()
		last = keySeq(k)
	}
	broken := func(seq uint64, format string, args ...any) (*bbolt.Bucket, head, error) {
		return nil, head{}, &BrokenError{Incident: incident, Seq: seq, Why: fmt.Sprintf(format, args...)}
	}
	if value == nil {
		return broken(last+1, "its head record is missing, so nothing says that entry %d is the last", last)
	}
	var h head
	if err := unsealJSON(value, &h); err != nil {
		return broken(last+1, "its head record is damaged: %v", err)
	}
	switch {
	case last < h.Seq:
		return broken(last+1, "its tail is cut: the head record says that entry %d is the last", h.Seq)
	case last > h.Seq:
		return broken(h.Seq+1, "the head record says that entry %d is the last", h.Seq)
	}
	return b, h, nil
}

// incidents lists them, and checks that entries and heads name the same ones and that none was taken out.
func (j *Journal) incidents() ([]string, error) {
	created := map[string]int{}
	err := guard(func() error {
		return j.db.View(func(tx *bbolt.Tx) error {
			see := func(k, _ []byte) error {
				id := string(k)
				b, h, err := lookup(tx, id)
				if err == nil && b == nil {
					err = &BrokenError{Why: fmt.Sprintf("%q is no incident", id)}
				}
				created[id] = h.Created
				return err
			}
			if err := tx.Bucket(entriesBucket).ForEach(see); err != nil {
				return err
			}
			return tx.Bucket(headsBucket).ForEach(see)
		})
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(created))
	for id := range created {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(created[a], created[b]) })
	for i, id := range ids {
		if created[id] != i+1 {
			return nil, &BrokenError{Why: fmt.Sprintf("an incident was taken out: %q was number %d and is number %d now", id, created[id], i+1)}
		}
	}
	return ids, nil
}

// walk gives each entry, checked, with its sealed bytes. An incident without a journal is ErrNoIncident.
func (j *Journal) walk(incident string, fn func(v envelope, sealed []byte) error) error {
	next, prev := uint64(1), hashOf(incident)
	for {
		values, h, err := j.step(incident, next)
		if err != nil {
			return err
		}
		for _, value := range values {
			v, hash, err := openEnvelope(value, next, prev)
			if err != nil {
				return j.located(&BrokenError{Incident: incident, Seq: next, Why: err.Error()})
			}
			if err := fn(v, value); err != nil {
				return err
			}
			next, prev = next+1, hash
		}
		if next == h.Seq+1 {
			if prev != h.Hash {
				return j.located(&BrokenError{Incident: incident, Seq: h.Seq, Why: "it is not the entry that the head record vouches for"})
			}
			return nil
		}
	}
}

// step copies some sealed entries from number next on. It returns at least one unless next is behind the last.
func (j *Journal) step(incident string, next uint64) (values [][]byte, h head, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		var b *bbolt.Bucket
		if b, h, err = lookup(tx, incident); err != nil {
			return err
		}
		if b == nil {
			return fmt.Errorf("%w: %q", ErrNoIncident, incident)
		}
		size := 0
		c := b.Cursor()
		k, value := c.First() // an entry 0 must not hide before the first
		if next > 1 {
			k, value = c.Seek(seqKey(next))
		}
		for ; k != nil && len(values) < stepEntries && size < stepBytes; k, value = c.Next() {
			want := next + uint64(len(values))
			if got := keySeq(k); got != want || value == nil {
				return brokenKey(incident, want, got)
			}
			values = append(values, bytes.Clone(value))
			size += len(value)
		}
		if len(values) == 0 && next <= h.Seq {
			return brokenKey(incident, next, 0)
		}
		return nil
	})
	return values, h, err
}

func brokenKey(incident string, want, got uint64) error {
	why := "it is missing"
	if got > want {
		why = fmt.Sprintf("it is missing: entry %d comes next", got)
	}
	return &BrokenError{Incident: incident, Seq: want, Why: why}
}
