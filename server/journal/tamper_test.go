package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What somebody with bbolt in hand can do to an incident of nine entries, and where it shows.
func TestTampering(t *testing.T) {
	put := func(b *bbolt.Bucket, seq uint64, value []byte) error { return b.Put(seqKey(seq), value) }
	get := func(b *bbolt.Bucket, seq uint64) []byte { return bytes.Clone(b.Get(seqKey(seq))) }
	// reword alters an entry and seals it again.
	reword := func(b *bbolt.Bucket, seq uint64, change func(v *envelope)) error {
		body, _, err := unseal(get(b, seq))
		if err != nil {
			return err
		}
		var v envelope
		if err := json.Unmarshal(body, &v); err != nil {
			return err
		}
		change(&v)
		sealed, err := sealJSON(v)
		if err != nil {
			return err
		}
		return put(b, seq, sealed)
	}
	for _, c := range []struct {
		name     string
		tamper   func(tx *bbolt.Tx, b *bbolt.Bucket) error
		incident string
		seq      uint64
		why      string
	}{
		{"entry deleted", func(_ *bbolt.Tx, b *bbolt.Bucket) error { return b.Delete(seqKey(4)) }, "i", 4, "missing"},
		{"first deleted", func(_ *bbolt.Tx, b *bbolt.Bucket) error { return b.Delete(seqKey(1)) }, "i", 1, "missing"},
		{"two reordered", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			five, six := get(b, 5), get(b, 6)
			return errors.Join(put(b, 5, six), put(b, 6, five))
		}, "i", 5, "entry 6 stands in its place"},
		{"one put in front", func(_ *bbolt.Tx, b *bbolt.Bucket) error { return put(b, 0, get(b, 1)) }, "i", 1, "missing"},
		{"letter changed", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			return put(b, 7, bytes.Replace(get(b, 7), []byte("proven"), []byte("Proven"), 1))
		}, "i", 7, "altered"},
		{"reworded and sealed again", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			return reword(b, 7, func(v *envelope) { v.Actor = "operator:mallory" })
		}, "i", 8, "does not follow"},
		{"last reworded and sealed again", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			return reword(b, 9, func(v *envelope) { v.Actor = "operator:mallory" })
		}, "i", 9, "vouches"},
		{"of a newer Blackstart", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			return reword(b, 6, func(v *envelope) { v.Kind = "host-beamed-up" })
		}, "i", 6, "newer Blackstart"},
		{"tail cut, head left", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			return errors.Join(b.Delete(seqKey(9)), b.Delete(seqKey(8)))
		}, "i", 8, "tail is cut"},
		{"tail cut, head cut too", func(tx *bbolt.Tx, b *bbolt.Bucket) error {
			return errors.Join(b.Delete(seqKey(9)), tx.Bucket(headsBucket).Delete([]byte("i")))
		}, "i", 9, "head record is missing"},
		{"head of another", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return tx.Bucket(headsBucket).Put([]byte("i"), tx.Bucket(headsBucket).Get([]byte("other")))
		}, "i", 3, "head record says"},
		{"entry added behind the head", func(_ *bbolt.Tx, b *bbolt.Bucket) error { return put(b, 10, get(b, 9)) }, "i", 10, "head record says"},
		{"entries gone, head left", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return tx.Bucket(entriesBucket).DeleteBucket([]byte("i"))
		}, "i", 1, "tail is cut"},
		{"incident gone", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return errors.Join(tx.Bucket(entriesBucket).DeleteBucket([]byte("i")), tx.Bucket(headsBucket).Delete([]byte("i")))
		}, "", 0, "taken out"},
		{"foreign bucket", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			_, err := tx.CreateBucket([]byte("members"))
			return err
		}, "-", 0, `"members"`},
		{"foreign bucket in an incident", func(_ *bbolt.Tx, b *bbolt.Bucket) error {
			_, err := b.CreateBucket([]byte{0, 0, 0, 0, 0, 0, 0, 5, 1})
			return err
		}, "i", 6, "not ours"},
		{"foreign key among the incidents", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return tx.Bucket(entriesBucket).Put([]byte("x"), []byte("y"))
		}, "", 0, `"x" is no incident`},
		{"bucket gone", func(tx *bbolt.Tx, _ *bbolt.Bucket) error { return tx.DeleteBucket(sightingsBucket) }, "", 0, "bucket is missing"},
		{"all buckets gone", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return errors.Join(tx.DeleteBucket(entriesBucket), tx.DeleteBucket(headsBucket), tx.DeleteBucket(settingsBucket), tx.DeleteBucket(sightingsBucket))
		}, "", 0, "bucket is missing"},
		{"newer format", func(tx *bbolt.Tx, _ *bbolt.Bucket) error { return putSetting(tx, formatKey, 2) }, "-", 0, "format is 2"},
		{"sighting gone", func(tx *bbolt.Tx, _ *bbolt.Bucket) error { return tx.Bucket(sightingsBucket).Delete([]byte("h1")) }, "", 0, "1 sightings were kept and 0 are there"},
		{"sighting of another", func(tx *bbolt.Tx, _ *bbolt.Bucket) error {
			return tx.Bucket(sightingsBucket).Put([]byte("h2"), tx.Bucket(sightingsBucket).Get([]byte("h1")))
		}, "", 0, `the sighting of "h1" stands in its place`},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := openTemp(t)
			mustAppend(t, j, "i", entriesFrom(1, 9)...)
			mustAppend(t, j, "other", entriesFrom(1, 2)...)
			if err := j.SaveSightings([]recovery.Sighting{{Host: "h1"}}); err != nil {
				t.Fatal(err)
			}
			err := j.db.Update(func(tx *bbolt.Tx) error {
				err := c.tamper(tx, tx.Bucket(entriesBucket).Bucket([]byte("i")))
				if tx.Bucket(settingsBucket) == nil {
					return err
				}
				return errors.Join(err, putStamp(tx)) // somebody who knows how
			})
			if err != nil {
				t.Fatal(err)
			}
			_ = j.Close()

			var out bytes.Buffer
			j, err = Open(j.path)
			if err == nil {
				defer func() { _ = j.Close() }()
				err = j.Verify(&out)
				if !strings.Contains(out.String(), "broken") || !strings.Contains(out.String(), "ok      other") {
					t.Errorf("the account of it:\n%s", out.String())
				}
			}
			var broken *BrokenError
			if isBroken := errors.As(err, &broken); isBroken != (c.incident != "-") || err == nil || !strings.Contains(err.Error(), c.why) {
				t.Fatalf("got %v", err)
			}
			if broken != nil && (broken.Incident != c.incident || broken.Seq != c.seq) {
				t.Fatalf("got %q at %d: %v", broken.Incident, broken.Seq, err)
			}
		})
	}
}
