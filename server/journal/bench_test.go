package journal

import (
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// BenchmarkAppend is one durable append of one event; BenchmarkRawBolt one durable put of as many bytes, the floor below it.
func BenchmarkAppend(b *testing.B) {
	one := appender(b)
	for b.Loop() {
		one()
	}
}

func BenchmarkRawBolt(b *testing.B) {
	one := rawPutter(b)
	for b.Loop() {
		one()
	}
}

// BenchmarkAppendToRaw does both in turn, so that both meet the same disk, and reports how many raw puts an append costs.
func BenchmarkAppendToRaw(b *testing.B) {
	ours, raw := appender(b), rawPutter(b)
	var took [2]time.Duration
	for b.Loop() {
		t0 := time.Now()
		ours()
		t1 := time.Now()
		raw()
		took[0] += t1.Sub(t0)
		took[1] += time.Since(t1)
	}
	b.ReportMetric(float64(took[0])/float64(took[1]), "append/raw")
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

func appender(b *testing.B) func() {
	j := openTemp(b)
	n := uint64(0)
	return func() {
		n++
		if err := j.Append("i", n-1, []recovery.Entry{benchEntry(n)}); err != nil {
			b.Fatal(err)
		}
	}
}

func rawPutter(b *testing.B) func() {
	db, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType, NoFreelistSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	v, err := newEnvelope(benchEntry(1))
	if err != nil {
		b.Fatal(err)
	}
	v.Prev = hashOf("i")
	value, err := sealJSON(v)
	if err != nil {
		b.Fatal(err)
	}
	n := uint64(0)
	return func() {
		n++
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("i"))
			if err != nil {
				return err
			}
			return bucket.Put(seqKey(n), value)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
