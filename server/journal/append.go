package journal

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxIncidentID = 128      // bytes
	maxAppend     = 64 << 20 // bytes of events in one Append
)

// ConflictError is the ErrConflict of one incident.
type ConflictError struct {
	Incident string
	Expected uint64 // the last entry that the caller knew of
	Have     uint64 // the last entry that there is
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("incident %q: the caller expected entry %d to be the last and it is %d: somebody else has written; read again",
		e.Incident, e.Expected, e.Have)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Append writes entries behind number expectedSeq of an incident, which comes into being with its entry 1. They carry the
// numbers expectedSeq+1, expectedSeq+2 … When it returns nil, all of them are on disk; on an error, none is.
//
// Another last entry than expectedSeq is an ErrConflict. Entries that are refused for what they are (a gap, no actor, an
// unknown kind, more than 64 MiB) leave the journal usable. When the disk does not take them, the error is an ErrAppend, and
// every later write is refused until the journal is opened again, because memory must not run ahead of disk.
func (j *Journal) Append(incident string, expectedSeq uint64, entries []recovery.Entry) error {
	if err := checkIncident(incident); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	envelopes := make([]envelope, len(entries))
	size := 0
	for i, e := range entries {
		if want := expectedSeq + 1 + uint64(i); e.Seq != want {
			return fmt.Errorf("incident %q: entry %d was given where %d belongs: entries are numbered without a gap", incident, e.Seq, want)
		}
		v, err := newEnvelope(e)
		if err != nil {
			return fmt.Errorf("incident %q, entry %d is refused: %w", incident, e.Seq, err)
		}
		if size += len(v.Data); size > maxAppend {
			return fmt.Errorf("incident %q, entry %d is refused: more than %d MiB in one append", incident, e.Seq, maxAppend>>20)
		}
		envelopes[i] = v
	}
	return j.write(
		func(tx *bbolt.Tx) error {
			_, h, err := lookup(tx, incident)
			if err == nil && h.Seq != expectedSeq {
				err = &ConflictError{Incident: incident, Expected: expectedSeq, Have: h.Seq}
			}
			return err
		},
		func(tx *bbolt.Tx) error { return appendTx(tx, incident, envelopes) },
	)
}

func appendTx(tx *bbolt.Tx, incident string, envelopes []envelope) error {
	b, h, err := lookup(tx, incident)
	if err != nil {
		return err
	}
	heads := tx.Bucket(headsBucket)
	if b == nil {
		if b, err = tx.Bucket(entriesBucket).CreateBucket([]byte(incident)); err != nil {
			return err
		}
		h = head{Hash: hashOf(incident), Created: count(heads) + 1}
	}
	b.FillPercent = 0.9 // keys only grow, so pages are never split in their middle
	for _, v := range envelopes {
		v.Prev = h.Hash
		value := v.seal()
		if err := b.Put(seqKey(v.Seq), value); err != nil {
			return err
		}
		h.Seq, h.Hash = v.Seq, sealedHash(value)
	}
	value, err := sealJSON(h)
	if err != nil {
		return err
	}
	return heads.Put([]byte(incident), value)
}

// write runs one durable transaction when check, which only looks, does not mind. Nobody else writes between the two. What
// fails, except for a conflict, ends all writing.
func (j *Journal) write(check, fn func(tx *bbolt.Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.poisoned != nil {
		return fmt.Errorf("%w any more: %s: a write failed before (%w): make room, then start again", ErrAppend, j.path, j.poisoned)
	}
	err := guard(func() error {
		return j.db.View(func(tx *bbolt.Tx) error { return errors.Join(check(tx), checkStamp(tx)) })
	})
	if errors.Is(err, ErrConflict) {
		return err
	}
	if err == nil {
		err = guard(func() error {
			return j.db.Update(func(tx *bbolt.Tx) error {
				if err := fn(tx); err != nil {
					return err
				}
				return putStamp(tx)
			})
		})
	}
	if err == nil {
		return nil
	}
	j.poisoned = err
	return fmt.Errorf("%w: %s: %w: nothing of this write was kept; make room or mend the disk, then start again", ErrAppend, j.path, err)
}

func checkIncident(id string) error {
	if id == "" {
		return errors.New("an incident needs an id: it is empty")
	}
	if len(id) > maxIncidentID {
		return fmt.Errorf("the incident id %.20q… is longer than %d bytes", id, maxIncidentID)
	}
	if !utf8.ValidString(id) {
		return fmt.Errorf("the incident id %q is not UTF-8", id)
	}
	for _, r := range id {
		if !unicode.IsGraphic(r) {
			return fmt.Errorf("the incident id %q holds the character %U, which cannot be shown", id, r)
		}
	}
	return nil
}

func count(b *bbolt.Bucket) int {
	n := 0
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}
