package journal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var allFlips = flag.Bool("flips", false, "flip every byte of the file, not a sample")

// bigJournal writes a file that has every sort of page: branches, leaves, overflow, inline buckets, free and old ones.
func bigJournal(t testing.TB) (path string, incidents map[string]uint64) {
	t.Helper()
	j := openTemp(t)
	incidents = map[string]uint64{"many": 180, "few": 3, "large": 9}
	for n := uint64(1); n <= 180; n += 9 {
		mustAppend(t, j, "many", wantOf("many", n+8)[n-1:]...)
		if n == 10 {
			mustAppend(t, j, "few", wantOf("few", 3)...)
			mustAppend(t, j, "large", wantOf("large", 9)...)
		}
	}
	var sightings []recovery.Sighting
	for i := range 60 {
		sightings = append(sightings, recovery.Sighting{Host: fmt.Sprintf("h%02d", i), At: start, BootID: "b"})
	}
	if err := j.SaveSightings(sightings); err != nil {
		t.Fatal(err)
	}
	if _, err := j.NextEpoch(0); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return j.path, incidents
}

func wantOf(incident string, last uint64) []recovery.Entry {
	es := entriesFrom(1, last)
	es[0].Event = &recovery.IncidentDeclared{Incident: incident, Began: start}
	if incident == "large" {
		es[4].Event = &recovery.WavePassed{Wave: 5, Reason: strings.Repeat("overflow ", 2000)}
	}
	return es
}

// differs opens a file and compares all that is in it; found is the error with which it was refused.
func differs(path string, open func(string) (*Journal, error), incidents map[string]uint64) (wrong string, found error) {
	j, err := open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = j.Close() }()
	ids, err := j.Incidents()
	if err != nil {
		return "", err
	}
	if !reflect.DeepEqual(ids, []string{"many", "few", "large"}) {
		return fmt.Sprintf("the incidents are %q", ids), nil
	}
	for id, last := range incidents {
		got, err := readAll(j, id)
		if err != nil {
			return "", err
		}
		if !reflect.DeepEqual(got, wantOf(id, last)) {
			return "other entries in " + id, nil
		}
	}
	epoch := uint64(0)
	if err := j.view(func(tx *bbolt.Tx) (err error) { epoch, err = setting(tx, epochKey); return err }); err != nil {
		return "", err
	}
	if epoch != 1 {
		return fmt.Sprintf("the epoch is %d", epoch), nil
	}
	sightings, err := j.Sightings()
	if err != nil {
		return "", err
	}
	if len(sightings) != 60 {
		return fmt.Sprintf("%d sightings", len(sightings)), nil
	}
	for h, s := range sightings {
		if s.Host != h || s.BootID != "b" || !s.At.Equal(start) {
			return "another sighting of " + h, nil
		}
	}
	return "", nil
}

// usedPages returns the size of the part of the file that bbolt uses.
func usedPages(t testing.TB, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	c := checker{f: f}
	m, err := c.readMeta(0)
	if err != nil {
		t.Fatal(err)
	}
	return int64(m.pages) * m.pageSize
}

// Every change of a single byte is either refused or changes nothing that can be read. bbolt ends the whole process on
// damaged pages when nobody looks first, so the test also fails by dying.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path, incidents := bigJournal(t)
	if wrong, found := differs(path, Open, incidents); found != nil || wrong != "" {
		t.Fatalf("before any change: %v %s", found, wrong)
	}
	used := usedPages(t, path)
	pageSize := int64(os.Getpagesize())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rounds, at := 400, func(int) int64 {
		if rnd.IntN(2) == 0 { // half of them in the headers of pages
			return rnd.Int64N(used/pageSize)*pageSize + rnd.Int64N(200)
		}
		return rnd.Int64N(used)
	}
	if *allFlips {
		rounds, at = int(used), func(i int) int64 { return int64(i) }
	}
	refused := 0
	for i := range rounds {
		pos, old := at(i), make([]byte, 1)
		if _, err := f.ReadAt(old, pos); err != nil {
			t.Fatal(err)
		}
		flipped := []byte{old[0] ^ byte(1+rnd.IntN(255))}
		if _, err := f.WriteAt(flipped, pos); err != nil {
			t.Fatal(err)
		}
		open := Open
		if i%2 == 0 {
			open = OpenReadOnly
		}
		wrong, found := differs(path, open, incidents)
		if wrong != "" {
			t.Errorf("byte %d from %02x to %02x goes unnoticed: %s", pos, old, flipped, wrong)
		}
		if found != nil {
			if refused++; !strings.Contains(found.Error(), path) {
				t.Errorf("byte %d: the file is not named: %v", pos, found)
			}
		}
		if _, err := f.WriteAt(old, pos); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d of %d changes refused, the rest changed nothing", refused, rounds)
	if refused < rounds/4 {
		t.Errorf("only %d of %d changes were refused", refused, rounds)
	}
	if wrong, found := differs(path, Open, incidents); found != nil || wrong != "" {
		t.Fatalf("after all changes were undone: %v %s", found, wrong)
	}
}

// A file cut at any length is refused with the place of the cut, unless only unused pages are gone. The more is left, the
// later the break.
func TestTruncatedFile(t *testing.T) {
	t.Parallel()
	path, incidents := bigJournal(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	used := usedPages(t, path)
	cut := filepath.Join(t.TempDir(), "cut.db")
	places := map[uint64]bool{}
	for n := int64(1); n <= int64(len(whole)); n += 4093 {
		if err := os.WriteFile(cut, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		wrong, found := differs(cut, Open, incidents)
		var broken *BrokenError
		switch {
		case wrong != "":
			t.Fatalf("cut at %d: %s", n, wrong)
		case n >= used && found != nil:
			t.Fatalf("cut behind the last page: %v", found)
		case n >= used:
			continue
		case !errors.As(found, &broken):
			t.Fatalf("cut at %d of %d: %v", n, used, found)
		}
		if broken.Incident == "" {
			if broken.Seq != 0 || n > used/4 {
				t.Errorf("cut at %d of %d: no entry is named: %v", n, used, found)
			}
			continue
		}
		if broken.Seq < 2 || broken.Seq > incidents[broken.Incident]+1 {
			t.Errorf("cut at %d of %d: %v", n, used, found)
		}
		if broken.Incident == "many" {
			places[broken.Seq] = true
		}
	}
	if len(places) < 10 {
		t.Errorf("the breaks were placed at %v only", places)
	}
}

// The newest meta page is damaged: bbolt alone would go on with the state before the last append.
func TestDamagedMetaIsNoSilentRollback(t *testing.T) {
	size := os.Getpagesize()
	for name, damage := range map[string]func(page []byte){
		"number":   func(p []byte) { p[pageHeader+metaSize-1] ^= 1 },
		"unused":   func(p []byte) { p[pageHeader+24] ^= 1 }, // nobody looks at it, but bbolt counts it in
		"checksum": func(p []byte) { p[pageHeader+metaSize] ^= 1 },
		"of an earlier time": func(p []byte) {
			m := p[pageHeader:]
			order.PutUint64(m[48:], order.Uint64(m[48:])-2)
			sum := fnv.New64a()
			_, _ = sum.Write(m[:metaSize])
			order.PutUint64(m[metaSize:], sum.Sum64())
		},
	} {
		for page := range 2 {
			path, _ := bigJournal(t)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			newest := order.Uint64(b[page*size+pageHeader+48:]) > order.Uint64(b[(1-page)*size+pageHeader+48:])
			damage(b[page*size:])
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Open(path)
			if name == "of an earlier time" && newest {
				continue // the newest is one behind the other then: a state that there was
			}
			var broken *BrokenError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), "meta page") || broken.Incident != "many" || broken.Seq != 181 {
				t.Fatalf("%s of meta page %d: %v", name, page, err)
			}
		}
	}
}

func TestNoJournalAtAll(t *testing.T) {
	for name, content := range map[string][]byte{
		"text":  []byte("fleet: wiltshire\n"),
		"zeros": make([]byte, 64<<10),
		"ones":  bytes.Repeat([]byte{0xff}, 64<<10),
	} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, open := range []func(string) (*Journal, error){Open, OpenReadOnly} {
			if _, err := open(path); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: the file was changed", name)
		}
	}
}

// A circle of pages sends bbolt round for ever.
func TestCircleOfPages(t *testing.T) {
	path, _ := bigJournal(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size, changed := os.Getpagesize(), 0
	for p := 2 * size; p < len(b); p += size {
		if order.Uint16(b[p+8:]) == branchPage && order.Uint16(b[p+10:]) > 1 {
			order.PutUint64(b[p+pageHeader+elementSize+8:], order.Uint64(b[p:])) // its second child is the page itself
			changed++
		}
	}
	if changed == 0 {
		t.Fatal("there is no branch page")
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "used twice") {
		t.Fatalf("got %v", err)
	}
}

// A file that goes bad while it is open ends the call, not the process.
func TestFileCutWhileOpen(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "i", entriesFrom(1, 300)...)
	if err := os.Truncate(j.path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(j, "i"); err == nil {
		t.Fatal("read from a file that is gone")
	}
	if err := j.Append("i", 300, []recovery.Entry{entry(301)}); !errors.Is(err, ErrAppend) {
		t.Fatalf("append to a file that is gone: %v", err)
	}
}
