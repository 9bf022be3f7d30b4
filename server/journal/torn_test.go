package journal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var (
	tornRuns = flag.Int("tornruns", 1500, "how many damages TestTornFile does to a journal")
	tornSeed = flag.Uint64("tornseed", 0, "the seed of TestTornFile; 0 takes another one each time")
)

// moment is the file, and what it holds, when a write had been acknowledged.
type moment struct {
	pages     [][]byte // those that the next write left alone are shared with it
	used      int      // of the pages; behind them the file is empty
	txid      uint64
	last      map[string]uint64 // entries by incident
	epoch     uint64
	sightings map[string]recovery.Sighting
}

// past is what happened to one journal file: a short incident that was aborted, a run of a day, coordinators that came and went.
type past struct {
	moments []moment
	sealed  map[string][][]byte // every entry of an incident, as it stands in the file
}

// damage is a file as a power cut, a bad disk or a bad copy may leave it.
type damage struct {
	shape string
	file  []byte
	// What the file may be taken for: moments that may have been the last one acknowledged. Everything else must be refused.
	allowed []int
	// The disk did what it was told, so that a journal must come out of it.
	honest bool
}

// A journal that lost its power in the middle of a write, or was cut, garbled, mixed with older pages of itself: it is refused
// with a sentence that names the file, or it is what it was at a moment that was acknowledged, and at no earlier one than it
// must. bbolt may end the process from a goroutine of its own, so this test also fails by dying: the damaged file is then left
// behind in the folder for temporary files, and its name tells seed and case.
//
// What no file can tell: that all of it was replaced by an older copy of itself.
func TestTornFile(t *testing.T) {
	t.Parallel()
	seed := *tornSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	replay := func(n int) string {
		return fmt.Sprintf("go test ./server/journal -run '^TestTornFile$' -tornseed %d -tornruns %d", seed, n+1)
	}
	t.Logf("seed %d", seed)
	p := live(t, rand.New(rand.NewPCG(seed, 0)))
	t.Logf("%d writes, %d incidents, %d entries in the longest, %d pages", len(p.moments), len(p.sealed), len(p.sealed["run"]), p.moments[len(p.moments)-1].used)
	dir := t.TempDir()
	refused, taken := map[string]int{}, map[string]int{}
	for n := range *tornRuns {
		rnd := rand.New(rand.NewPCG(seed, uint64(n)+1))
		d := p.damaged(rnd)
		path := filepath.Join(dir, fmt.Sprintf("seed-%d-case-%d.db", seed, n))
		if err := os.WriteFile(path, d.file, 0o600); err != nil {
			t.Fatal(err)
		}
		at, err := p.opened(path, rnd)
		switch {
		case err == nil && !slices.Contains(d.allowed, at):
			t.Errorf("%s: it is taken for what it was at write %d, and should be at one of %d (replay: %s)", d.shape, at, d.allowed, replay(n))
		case err == nil:
			taken[d.shape]++
		case errors.As(err, new(wrong)):
			t.Errorf("%s: %v (replay: %s)", d.shape, err, replay(n))
		case d.honest:
			t.Errorf("%s: the disk did nothing wrong, and yet: %v (replay: %s)", d.shape, err, replay(n))
		case !strings.Contains(err.Error(), path) || strings.ContainsAny(err.Error(), "\n\x00\x1b"):
			t.Errorf("%s: a poor refusal: %q (replay: %s)", d.shape, err, replay(n))
		default:
			refused[d.shape]++
		}
		_ = os.Remove(path)
		if t.Failed() && n > 200 {
			t.Fatalf("enough, after %d damages", n+1)
		}
	}
	for _, shape := range slices.Sorted(maps.Keys(shapes)) {
		t.Logf("%-40s %6d refused %6d opened", shape, refused[shape], taken[shape])
		if *tornRuns >= 1000 && refused[shape]+taken[shape] == 0 {
			t.Errorf("%s: never tried", shape)
		}
	}
}

// wrong is what no damage excuses.
type wrong string

func (w wrong) Error() string { return string(w) }

// opened opens a damaged file and reads all that it holds. It returns the moment at which it was so, or why it is refused.
func (p *past) opened(path string, rnd *rand.Rand) (at int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = wrong(fmt.Sprintf("a panic: %v", r))
		}
	}()
	open := Open
	if rnd.IntN(4) == 0 {
		open = OpenReadOnly
	}
	j, err := open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = j.Close() }()
	have, err := p.read(j)
	if err != nil {
		return 0, err
	}
	at = slices.IndexFunc(p.moments, func(m moment) bool { return reflect.DeepEqual(m.last, have.last) && m.txid == have.txid })
	if at < 0 {
		return 0, wrong(fmt.Sprintf("the file says that it is of write %d, and holds %v entries", have.txid, have.last))
	}
	if epoch := p.moments[at].epoch; epoch != have.epoch {
		return 0, wrong(fmt.Sprintf("the epoch is %d and was %d", have.epoch, epoch))
	}
	for host, v := range have.sightings {
		if !p.saved(host, v) {
			return 0, wrong(fmt.Sprintf("%s was never seen as %+v", host, v))
		}
	}
	if reflect.ValueOf(open).Pointer() == reflect.ValueOf(Open).Pointer() && rnd.IntN(4) == 0 {
		return at, p.goesOn(j, have)
	}
	return at, nil
}

// saved reports whether a sighting was ever written. Sightings are not in the journal, a crash may lose the newest of them, and
// nothing vouches for their being the last.
func (p *past) saved(host string, v recovery.Sighting) bool {
	return slices.ContainsFunc(p.moments, func(m moment) bool {
		was, ok := m.sightings[host]
		return ok && reflect.DeepEqual(was, v)
	})
}

// read reads everything, and compares each entry with what was written.
func (p *past) read(j *Journal) (have moment, err error) {
	ids, err := j.Incidents()
	if err != nil {
		return have, err
	}
	have.last = map[string]uint64{}
	for _, id := range ids {
		err := j.walk(id, func(v envelope, sealed []byte) error {
			if all := p.sealed[id]; v.Seq > uint64(len(all)) || !bytes.Equal(sealed, all[v.Seq-1]) {
				return wrong(fmt.Sprintf("entry %d of %q is not the one that was written", v.Seq, id))
			}
			have.last[id] = v.Seq
			_, err := v.entry()
			return err
		})
		if err != nil {
			return have, err
		}
	}
	if have.sightings, err = j.Sightings(); err != nil {
		return have, err
	}
	err = j.view(func(tx *bbolt.Tx) (err error) {
		have.txid = uint64(tx.ID())
		have.epoch, err = setting(tx, epochKey)
		return err
	})
	return have, err
}

// goesOn writes to a journal that was opened although its file is damaged: what is added must be there when it is opened again,
// and nothing else may have changed.
func (p *past) goesOn(j *Journal, have moment) error {
	const id = "after"
	j.db.NoSync = true // what is written is the same
	if err := j.Append(id, 0, entriesFrom(1, 40)); err != nil {
		return fmt.Errorf("it was opened and takes nothing: %w", err)
	}
	if _, err := j.NextEpoch(0); err != nil {
		return fmt.Errorf("it was opened and takes no epoch: %w", err)
	}
	if err := j.Close(); err != nil {
		return wrong(err.Error())
	}
	again, err := Open(j.path)
	if err != nil {
		return wrong(fmt.Sprintf("it was written to and cannot be opened again: %v", err))
	}
	defer func() { _ = again.Close() }()
	got, err := readAll(again, id)
	if err != nil || !reflect.DeepEqual(got, entriesFrom(1, 40)) {
		return wrong(fmt.Sprintf("what was added comes back as %d entries, %v", len(got), err))
	}
	for incident, last := range have.last {
		if n, err := again.LastSeq(incident); err != nil || n != last {
			return wrong(fmt.Sprintf("incident %q had %d entries and has %d, %v", incident, last, n, err))
		}
	}
	return nil
}

// shapes are the ways in which a file is damaged. m is the moment that was acknowledged last.
var shapes = map[string]func(p *past, rnd *rand.Rand, m int) damage{
	"cut": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		return damage{file: file[:p.place(rnd, m)], allowed: []int{m}}
	},
	"cut, and zeros to its length": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		clear(file[p.place(rnd, m):])
		return damage{file: file, allowed: []int{m}}
	},
	"zeros in a block": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		clear(p.block(file, rnd, m))
		return damage{file: file, allowed: []int{m}}
	},
	"noise in a block": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		b := p.block(file, rnd, m)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return damage{file: file, allowed: []int{m}}
	},
	"another block's content": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		b := p.block(file, rnd, m)
		copy(b, bytes.Clone(file[rnd.IntN(len(file)/len(b))*len(b):][:len(b)]))
		return damage{file: file, allowed: []int{m}}
	},
	"two pages swapped": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		a, b := page(file, p.place(rnd, m)/pageSize), page(file, p.place(rnd, m)/pageSize)
		was := bytes.Clone(a)
		copy(a, b)
		copy(b, was)
		return damage{file: file, allowed: []int{m}}
	},
	"an older block": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		p.age(file, rnd, m, 1)
		return damage{file: file, allowed: []int{p.claimed(file, m)}}
	},
	"some older blocks": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		p.age(file, rnd, m, 2+rnd.IntN(8))
		return damage{file: file, allowed: []int{p.claimed(file, m)}}
	},
	"meta pages of two moments": func(p *past, rnd *rand.Rand, m int) damage {
		file := p.file(m)
		for i := range 2 {
			copy(page(file, i), p.moments[max(0, m-rnd.IntN(4))].pages[i])
		}
		return damage{file: file, allowed: []int{p.claimed(file, m)}}
	},
	"meta pages of an older moment": func(p *past, rnd *rand.Rand, m int) damage {
		file, older := p.file(m), max(0, m-1-rnd.IntN(6))
		copy(page(file, 0), p.moments[older].pages[0])
		copy(page(file, 1), p.moments[older].pages[1])
		return damage{file: file, allowed: []int{older}}
	},
	"meta pages of a later moment": func(p *past, rnd *rand.Rand, m int) damage {
		later := min(len(p.moments)-1, m+1+rnd.IntN(6))
		file := p.file(m)
		copy(page(file, 0), p.moments[later].pages[0])
		copy(page(file, 1), p.moments[later].pages[1])
		return damage{file: file, allowed: []int{later}}
	},
	"an older copy of the whole": func(p *past, rnd *rand.Rand, m int) damage {
		return damage{file: p.file(m), allowed: []int{m}, honest: true} // nothing in it can tell
	},
	// The power goes while a write is under way that nobody has been told of. A disk that does what fdatasync asks has none of the
	// meta page before it has all of the rest.
	"power cut in a write": func(p *past, rnd *rand.Rand, m int) damage {
		m = min(m, len(p.moments)-2)
		return damage{file: p.between(rnd, m, m+1, 512, false), allowed: []int{m}, honest: true}
	},
	"power cut before the last sync": func(p *past, rnd *rand.Rand, m int) damage {
		m = min(m, len(p.moments)-2)
		file := p.file(m + 1)
		written := m + 1
		if rnd.IntN(2) == 0 {
			newest := int(p.moments[m+1].txid % 2)
			copy(page(file, newest), p.moments[m].pages[newest])
			written = m
		}
		return damage{file: file, allowed: []int{written}, honest: true}
	},
	// A disk or hypervisor that says "written" too early, and keeps what it likes of the last writes.
	"power cut, and a disk that lies": func(p *past, rnd *rand.Rand, m int) damage {
		m = min(m, len(p.moments)-2)
		file := p.between(rnd, m, m+1, pageSize, true)
		return damage{file: file, allowed: []int{p.claimed(file, m)}}
	},
	"power cut, and a disk that lies for long": func(p *past, rnd *rand.Rand, m int) damage {
		from := max(0, m-2-rnd.IntN(6))
		file := p.between(rnd, from, m, pageSize, true)
		return damage{file: file, allowed: []int{p.claimed(file, m)}}
	},
}

// damaged draws a shape and a moment.
func (p *past) damaged(rnd *rand.Rand) damage {
	names := slices.Sorted(maps.Keys(shapes))
	name := names[rnd.IntN(len(names))]
	d := shapes[name](p, rnd, rnd.IntN(len(p.moments)))
	d.shape = name
	return d
}

var pageSize = os.Getpagesize()

func page(file []byte, n int) []byte { return file[n*pageSize:][:pageSize] }

// place is an offset in a file of moment m, seldom behind what is used of it.
func (p *past) place(rnd *rand.Rand, m int) int {
	if rnd.IntN(8) == 0 {
		return rnd.IntN(len(p.moments[m].pages) * pageSize)
	}
	return rnd.IntN(p.moments[m].used * pageSize)
}

// block is a sector or a page.
func (p *past) block(file []byte, rnd *rand.Rand, m int) []byte {
	size := []int{512, pageSize}[rnd.IntN(2)]
	return file[p.place(rnd, m)/size*size:][:size]
}

// file is the whole file at a moment.
func (p *past) file(m int) []byte { return bytes.Join(p.moments[m].pages, nil) }

// age puts older content into n blocks of a file of moment m that have changed since.
func (p *past) age(file []byte, rnd *rand.Rand, m, n int) {
	if m == 0 {
		return
	}
	older := p.moments[max(0, m-1-rnd.IntN(12))]
	var changed []int
	for i, was := range older.pages {
		if !bytes.Equal(was, page(file, i)) {
			changed = append(changed, i)
		}
	}
	for range min(n, len(changed)) {
		i := changed[rnd.IntN(len(changed))]
		if rnd.IntN(3) == 0 {
			at := rnd.IntN(pageSize/512) * 512
			copy(page(file, i)[at:at+512], older.pages[i][at:])
			continue
		}
		copy(page(file, i), older.pages[i])
	}
}

// between is the file of one moment with some of what was written up to a later one.
func (p *past) between(rnd *rand.Rand, from, to, size int, metas bool) []byte {
	file := p.file(from)
	later := p.file(to)
	if rnd.IntN(4) > 0 { // the file grows first
		file = append(file, make([]byte, len(later)-len(file))...)
	}
	share := 1 + rnd.IntN(9) // of ten
	for at := 0; at < len(file); at += size {
		if (metas || at >= 2*pageSize) && rnd.IntN(10) < share {
			copy(file[at:at+size], later[at:])
		}
	}
	return file
}

// claimed is the moment that the newest meta page of a file speaks of; otherwise when none does.
func (p *past) claimed(file []byte, otherwise int) int {
	c := checker{f: bytes.NewReader(file)}
	newest := uint64(0)
	for i := range 2 {
		if m, err := c.readMeta(int64(i * pageSize)); err == nil {
			newest = max(newest, m.txid)
		}
	}
	if at := slices.IndexFunc(p.moments, func(m moment) bool { return m.txid == newest }); at >= 0 {
		return at
	}
	return otherwise
}

// live writes a journal as a coordinator does, and remembers the file after every write.
func live(t *testing.T, rnd *rand.Rand) *past {
	t.Helper()
	p := &past{sealed: map[string][][]byte{}}
	path := filepath.Join(t.TempDir(), "journal.db")
	if err := reopen(t, path).Close(); err != nil { // makes the buckets
		t.Fatal(err)
	}
	// A list of free pages that gives out the lowest first, so that a seed makes the same file again; what is on disk is the same.
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistArrayType, NoFreelistSync: true, NoStatistics: true})
	if err != nil {
		t.Fatal(err)
	}
	db.AllocSize = 16 * pageSize // the file grows often
	db.NoSync = true             // what is written is the same
	j := &Journal{path: path, db: db}
	defer func() { _ = j.Close() }()
	w := &estate{T: t, j: j, past: p, rnd: rnd, now: start, seen: map[string]recovery.Sighting{}, boots: map[string]int{}}
	w.remember("")
	w.restart()
	w.incident("first", 4)
	w.restart()
	for n := range 8 { // so many that their heads fill a page of their own
		w.incident(fmt.Sprintf("short-%d", n), 2)
	}
	w.restart()
	w.incident("run", 24)
	return p
}

// estate plays an incident: hosts whose scripts mostly succeed, and that phone home after their restart.
type estate struct {
	*testing.T
	*past

	j     *Journal
	rnd   *rand.Rand
	s     *recovery.State
	now   time.Time
	epoch uint64
	seen  map[string]recovery.Sighting
	boots map[string]int
}

// remember takes the file as it is now.
func (w *estate) remember(incident string) {
	w.Helper()
	b, err := os.ReadFile(w.j.path)
	if err != nil {
		w.Fatal(err)
	}
	m := moment{epoch: w.epoch, sightings: maps.Clone(w.seen), last: map[string]uint64{}}
	var before [][]byte
	if n := len(w.moments); n > 0 {
		before = w.moments[n-1].pages
		maps.Copy(m.last, w.moments[n-1].last)
	}
	for i := range len(b) / pageSize {
		own := page(b, i)
		if i < len(before) && bytes.Equal(before[i], own) {
			own = before[i]
		}
		m.pages = append(m.pages, own)
	}
	if err := w.j.view(func(tx *bbolt.Tx) error { m.txid = uint64(tx.ID()); return nil }); err != nil {
		w.Fatal(err)
	}
	m.used = int(usedPages(w, w.j.path)) / pageSize
	if incident != "" {
		m.last[incident] = uint64(len(w.sealed[incident]))
	}
	w.moments = append(w.moments, m)
}

func (w *estate) restart() {
	w.Helper()
	epoch, err := w.j.NextEpoch(uint64(w.now.Unix()))
	if err != nil {
		w.Fatal(err)
	}
	w.epoch = epoch
	w.remember("")
}

// take decides, appends, remembers and applies.
func (w *estate) take(incident string, in recovery.Input) int {
	w.Helper()
	events, err := recovery.Decide(w.s, in, w.now)
	if err != nil {
		w.Fatalf("%T: %v", in, err)
	}
	if len(events) == 0 {
		return 0
	}
	var entries []recovery.Entry
	for i, e := range events {
		entries = append(entries, recovery.Entry{Seq: w.s.Seq + uint64(i) + 1, At: w.now, Actor: "engine", Event: e})
	}
	if err := w.j.Append(incident, w.s.Seq, entries); err != nil {
		w.Fatal(err)
	}
	values, _, err := w.j.step(incident, w.s.Seq+1)
	if err != nil || len(values) != len(entries) {
		w.Fatalf("%d of %d entries were written, %v", len(values), len(entries), err)
	}
	w.sealed[incident] = append(w.sealed[incident], values...)
	w.remember(incident)
	for _, e := range entries {
		w.s.Apply(e)
	}
	return len(entries)
}

func (w *estate) incident(id string, hosts int) {
	w.Helper()
	f, book := smallEstate(hosts)
	w.s = recovery.NewState()
	w.take(id, recovery.Declare{Incident: id, Title: "EDR", Began: w.now.Add(-time.Hour), Fleet: f, Playbook: book})
	w.take(id, recovery.Approve{Digest: w.s.Plan.Digest})
	for n := range 6 * hosts {
		w.now = w.now.Add(time.Minute)
		for w.take(id, recovery.Tick{}) > 0 { // until nothing follows
		}
		for _, job := range w.s.Work(w.now) {
			r := recovery.Result{Class: recovery.Succeeded, Line: "BLACKSTART-RESULT outcome=repaired", Rebooted: true, Took: time.Minute}
			if w.rnd.IntN(5) == 0 {
				r = recovery.Result{Class: recovery.Failed, Exit: 3, Signature: "exit 3: disk full", Detail: strings.Repeat("what it said ", w.rnd.IntN(60))}
			}
			w.take(id, recovery.Finished{Job: job.ID, Host: job.Host.Name, Result: r})
			w.boots[job.Host.Name]++
		}
		for _, h := range f.Hosts {
			if w.boots[h.Name] > 0 {
				v := recovery.Sighting{Host: h.Name, At: w.now, Connected: true, Source: "agent", BootID: fmt.Sprintf("boot-%d", w.boots[h.Name]), BootMode: recovery.BootNormal,
					Content: []recovery.Content{{Playbook: book.Digest, Good: 1}}, Answers: w.s.Instruct(h.Name, w.now).ID}
				w.take(id, recovery.Sighted{Sighting: w.s.See(v)})
			}
		}
		if n%5 == 4 {
			w.flush(f)
		}
		if len(w.moments) > 12*hosts {
			break
		}
	}
	w.take(id, recovery.Abort{Reason: "the test has enough"})
}

// flush saves the last words, as the coordinator does in batches.
func (w *estate) flush(f recovery.Fleet) {
	w.Helper()
	var batch []recovery.Sighting
	for _, h := range f.Hosts {
		if v, ok := w.s.Seen(h.Name); ok {
			batch = append(batch, v)
			w.seen[h.Name] = v
		}
	}
	if len(batch) == 0 {
		return
	}
	if err := w.j.SaveSightings(batch); err != nil {
		w.Fatal(err)
	}
	w.remember("")
}

func smallEstate(hosts int) (recovery.Fleet, recovery.Playbook) {
	wide := recovery.Limit{Count: 100, Percent: true}
	f := recovery.Fleet{Name: "depot", Policy: recovery.DefaultPolicy()}
	f.Policy.SameSignature, f.Policy.IncidentFailures = 1000, wide
	f.Resources = []recovery.Resource{{Name: recovery.ResourceSSH, Slots: 8}}
	for i := range 2 {
		tier := fmt.Sprintf("tier%d", i)
		f.Tiers = append(f.Tiers, recovery.Tier{Name: tier, RTO: 4 * time.Hour, Gate: recovery.GatePolicy{SuccessPercent: 50, MaxFailed: wide, MaxUnreachable: wide}})
		f.Services = append(f.Services, recovery.Service{Name: fmt.Sprintf("svc%d", i), Tier: tier, Council: "brt"})
	}
	for i := range hosts {
		k := i * 2 / hosts
		f.Hosts = append(f.Hosts, recovery.Host{Name: fmt.Sprintf("brt-app%02d", i), Service: fmt.Sprintf("svc%d", k), Tier: fmt.Sprintf("tier%d", k), Council: "brt", OS: "linux",
			Data: recovery.DataNone, Agent: true, EDR: recovery.EDR{Product: "edr"}, Ladder: []recovery.Rung{
				{Name: "own", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: fmt.Sprintf("192.0.2.%d", i+1), User: "root", Port: 22},
				{Name: "hands", Kind: recovery.RungHands}}})
	}
	return f, recovery.Playbook{Name: "edr", Digest: "sha256:one", Match: recovery.Match{EDR: "edr"}, Reboot: recovery.RebootRequired, Environments: []string{recovery.EnvLinux},
		Timeout: 5 * time.Minute, VerifyWithin: 10 * time.Minute, Soak: 2 * time.Minute}
}
