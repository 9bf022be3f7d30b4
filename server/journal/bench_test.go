package journal

import (
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// BenchmarkAppend is one durable append of one event; BenchmarkRawBolt one durable put of as many bytes, the floor below it. How
// they compare, with more events too, is told by TestAppendsBesideRawBolt (make bench).
func BenchmarkAppend(b *testing.B) {
	one := appender(b, 1)
	for b.Loop() {
		one()
	}
}

func BenchmarkRawBolt(b *testing.B) {
	one := rawPutter(b, 1)
	for b.Loop() {
		one()
	}
}

// BenchmarkOpenAndRead opens a journal of 10,000 events, with the check of all its pages, and reads it.
func BenchmarkOpenAndRead(b *testing.B) {
	path := filepath.Join(b.TempDir(), "journal.db")
	j := reopen(b, path)
	for n := uint64(1); n <= 10_000; n += 1000 {
		mustAppend(b, j, "i", entriesFrom(n, n+999)...)
	}
	_ = j.Close()
	for b.Loop() {
		j, err := Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if err := j.Read("i", func(recovery.Entry) error { return nil }); err != nil {
			b.Fatal(err)
		}
		_ = j.Close()
	}
}

func benchEntry(n uint64) recovery.Entry {
	return recovery.Entry{Seq: n, At: start, Actor: "engine", Event: &recovery.AttemptStarted{
		Attempt: recovery.Attempt{ID: "brt-app01/1", Host: "brt-app01", N: 1, RungName: "ssh", Playbook: hashOf("p"), Started: start, Timeout: time.Minute, Deadline: start},
		Reason:  "first of the canaries of wave 3",
	}}
}

// appender appends events to a fresh journal, so many at a time.
func appender(t testing.TB, events int) func() {
	j := openTemp(t)
	n := uint64(0)
	return func() {
		entries := make([]recovery.Entry, events)
		for i := range entries {
			entries[i] = benchEntry(n + uint64(i) + 1)
		}
		if err := j.Append("i", n, entries); err != nil {
			t.Fatal(err)
		}
		n += uint64(events)
	}
}

// rawPutter puts as many values of the same length in one transaction of a bbolt file with the same options.
func rawPutter(t testing.TB, events int) func() {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "raw.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	v, err := newEnvelope(benchEntry(1))
	if err != nil {
		t.Fatal(err)
	}
	v.Prev = hashOf("i")
	value, err := sealJSON(v)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	return func() {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("i"))
			if err != nil {
				return err
			}
			for range events {
				n++
				if err := bucket.Put(seqKey(n), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
