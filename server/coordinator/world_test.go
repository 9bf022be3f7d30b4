package coordinator

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testManifest = `name: mend
title: Bad content
match: {edr: shield, os: [linux]}
reboot: required
bad-content:
  - {name: bad, path: /opt/shield/*.bin, header: AA 01}
good-content:
  - {name: good, path: /opt/shield/*.bin, header: AA 02}
scripts: {linux: repair.sh}
timeout: 5m
verify-within: 20m
soak: 10m
debts:
  - {id: kept, what: The copies are kept.}
sources:
  - {title: the vendor, url: "https://vendor.example/advice", retrieved: 2024-07-20}
`

const testFleet = `fleet: depot
policy: {same-signature: 50, incident-failures: 90%}
tiers:
  - {name: first, gate: {success: 30%, max-failed: 70%, max-unreachable: 70%}}
  - {name: second, gate: {success: 30%, max-failed: 70%, max-unreachable: 70%}}
services:
  - {name: dns, tier: first, up: 100%}
  - {name: web, tier: second, needs: [dns]}
defaults:
  os: linux
  data: none
  agent: true
  edr: {product: shield}
  ladder:
    - {name: running, environment: linux}
hosts:
  - {name: "ns[1-2]", service: dns, address: 10.0.0.1}
  - {name: "web[1-3]", service: web, address: 10.0.1.1}
`

// world is an estate whose machines outlive the coordinator, as real ones do.
type world struct {
	*testing.T
	dir    string
	fleet  recovery.Fleet
	books  *playbook.Library
	hosts  map[string]*machine
	remedy *fakeRemedy
	log    hclog.Logger
	ctx    context.Context // ends with the test
	off    context.CancelFunc
	alive  sync.WaitGroup // machines, agents, scripts

	mu      sync.Mutex
	c       *Coordinator // the present one
	journal *journal.Journal
	stop    context.CancelFunc
	ended   chan error
	sent    map[engine.JobKey]context.CancelFunc // what ran when an append was made to fail
}

func newWorld(t *testing.T) *world {
	t.Helper()
	f, err := fleet.Parse("fleet.yaml", []byte(testFleet))
	if err != nil {
		t.Fatal(err)
	}
	books, err := playbook.Load(fstest.MapFS{
		"mend/manifest.yaml": {Data: []byte(testManifest)},
		"mend/repair.sh":     {Data: []byte("#!/bin/sh\necho BLACKSTART-RESULT outcome=repaired\n")},
		"mend/README.md":     {Data: []byte("read me\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: t.TempDir(), fleet: f, books: books, hosts: map[string]*machine{}, log: hclog.NewNullLogger()}
	w.ctx, w.off = context.WithCancel(context.Background())
	w.remedy = &fakeRemedy{world: w, meant: map[engine.JobKey]string{}, recorded: map[string]bool{}}
	for _, h := range f.Hosts {
		w.hosts[h.Name] = &machine{world: w, name: h.Name, bad: true, ran: map[engine.JobKey]int{}, scripts: map[engine.JobKey]*script{}}
	}
	return w
}

func (w *world) file() string { return filepath.Join(w.dir, "journal.db") }

// open starts a coordinator on the journal; change alters it before it runs.
func (w *world) open(change ...func(*Coordinator)) *Coordinator {
	w.Helper()
	j, err := journal.Open(w.file())
	if err != nil {
		w.Fatal(err)
	}
	c, err := New(Config{Journal: j, Remedy: w.remedy, Playbooks: w.books, Fleet: w.fleet, Log: w.log})
	if err != nil {
		_ = j.Close()
		w.Fatal(err)
	}
	for _, f := range change {
		f(c)
	}
	ctx, stop := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	w.mu.Lock()
	w.c, w.journal, w.stop, w.ended = c, j, stop, ended
	w.mu.Unlock()
	go func() { ended <- c.Run(ctx) }()
	return c
}

// halt ends the coordinator and returns what it said.
func (w *world) halt() error {
	w.Helper()
	w.stop()
	return w.over()
}

// over waits for the coordinator's own end.
func (w *world) over() error {
	w.Helper()
	err := <-w.ended
	w.stop()
	if e := w.journal.Close(); e != nil {
		w.Error(e)
	}
	return err
}

// boot switches every machine on.
func (w *world) boot() {
	for _, name := range w.names() {
		w.hosts[name].powerOn()
	}
}

func (w *world) names() []string {
	var names []string
	for _, h := range w.fleet.Hosts {
		names = append(names, h.Name)
	}
	return names
}

func (w *world) close() {
	w.off()
	w.alive.Wait()
}

func (w *world) coordinator() *Coordinator {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.c
}

func (w *world) view(f func(View)) {
	w.Helper()
	if err := w.coordinator().View(w.ctx, "", f); err != nil {
		w.Fatal(err)
	}
}

// until waits for what holds of the incident, looking after each change, for at most two days.
func (w *world) until(what string, holds func(View) bool) {
	w.Helper()
	c := w.coordinator()
	changed, end := c.Watch()
	defer end()
	limit := time.After(48 * time.Hour)
	for {
		ok := false
		var status string
		err := c.View(w.ctx, "", func(v View) {
			ok = holds(v)
			for _, h := range v.State.Hosts() {
				status += fmt.Sprintf(" %s:%s (%s)", h.Host.Name, h.Phase, h.Reason)
			}
		})
		if err != nil {
			w.Fatalf("waiting for %s: %v", what, err)
		}
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			w.Fatalf("%s never came: %s", what, status)
		}
	}
}

func (w *world) declare() string {
	w.Helper()
	id, err := w.coordinator().Declare(w.ctx, "operator:ada", Declaration{Title: "a bad day"})
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) do(in recovery.Input) {
	w.Helper()
	if err := w.coordinator().Do(w.ctx, "", "operator:ada", in); err != nil {
		w.Fatalf("%T: %v", in, err)
	}
}

func (w *world) approve() {
	w.Helper()
	var digest string
	w.view(func(v View) { digest = v.State.Plan.Digest })
	w.do(recovery.Approve{Digest: digest})
}

func allRecovered(v View) bool {
	for _, h := range v.State.Hosts() {
		if h.Phase != recovery.Recovered {
			return false
		}
	}
	return true
}

// machine is a simulated server with an agent that speaks to whatever coordinator there is.
type machine struct {
	world *world
	name  string

	mu      sync.Mutex
	boots   int
	bad     bool
	gone    chan struct{}             // closed when the power goes
	ran     map[engine.JobKey]int     // executions of scripts
	scripts map[engine.JobKey]*script // by attempt, as their folders on a disk
}

type script struct{ done chan struct{} }

func (m *machine) powerOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boots++
	m.gone = make(chan struct{})
	gone, v := m.gone, m.facts()
	m.world.alive.Go(func() { m.agent(gone, v) })
}

func (m *machine) reboot() {
	m.mu.Lock()
	if m.gone != nil {
		close(m.gone)
	}
	m.mu.Unlock()
	if pass(m.world.ctx, 2*time.Minute) {
		m.powerOn()
	}
}

// facts are what the agent finds. The caller holds the lock.
func (m *machine) facts() recovery.Sighting {
	book, _ := m.world.books.ByName("mend")
	c := recovery.Content{Playbook: book.Facts.Digest, Good: 1}
	if m.bad {
		c.Bad = 1
	}
	return recovery.Sighting{Host: m.name, Connected: true, Source: "agent", BootID: fmt.Sprintf("%s-boot-%d", m.name, m.boots),
		Content: []recovery.Content{c}, Health: []recovery.Check{{Name: "disk", OK: true}}}
}

func (m *machine) agent(gone <-chan struct{}, v recovery.Sighting) {
	for {
		c := m.world.coordinator()
		if l, err := c.Attach(m.world.ctx, v); err == nil {
			if m.speak(c, l, gone, v) {
				return
			}
		}
		select {
		case <-gone:
			return
		case <-m.world.ctx.Done():
			return
		case <-time.After(3 * time.Second):
		}
	}
}

// speak is one stream. It reports whether the machine is gone.
func (m *machine) speak(c *Coordinator, l *Link, gone <-chan struct{}, v recovery.Sighting) bool {
	defer l.Detach()
	for {
		beat := v
		select {
		case i := <-l.Instructions():
			beat.Answers = i.ID
		case <-time.After(10 * time.Minute): // seldom: each heartbeat costs the test a write to disk
		case <-gone:
			return true
		case <-m.world.ctx.Done():
			return true
		case <-c.Done():
			return false
		}
		_ = l.Sighted(m.world.ctx, beat)
	}
}

// run starts an attempt's script unless it was started before, and tells its end.
func (m *machine) run(key engine.JobKey) (s *script, joined bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.scripts[key]; s != nil {
		return s, true
	}
	s = &script{done: make(chan struct{})}
	m.scripts[key] = s
	m.ran[key]++
	m.world.alive.Go(func() {
		if !pass(m.world.ctx, 40*time.Second) {
			return
		}
		m.mu.Lock()
		m.bad = false
		m.mu.Unlock()
		close(s.done)
		m.reboot()
	})
	return s, false
}

// pass lets time pass unless ctx ends first.
func pass(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// fakeRemedy runs scripts on the simulated machines as the real one does on real hosts: once per attempt, joined when asked again.
type fakeRemedy struct {
	world *world
	fail  func(job recovery.Job) *recovery.Result // a result without a script; nil: none

	climb func(ctx context.Context, job recovery.Job, told func(recovery.Step, string) error) recovery.Result // in place of all else; nil: none

	mu       sync.Mutex
	meant    map[engine.JobKey]string // what each id was asked to do
	recorded map[string]bool          // attempts whose intent is on disk
	strict   bool                     // check recorded
	started  int
}

func (r *fakeRemedy) Run(ctx context.Context, job recovery.Job, told func(recovery.Step, string) error) recovery.Result {
	r.mu.Lock()
	meant := fmt.Sprint(job.Kind, job.Rung.Name, job.Playbook, job.Reboot)
	if before, ok := r.meant[keyOf(job)]; ok && before != meant {
		r.world.Errorf("job %s meant %s before and means %s now", job.ID, before, meant)
	}
	r.meant[keyOf(job)] = meant
	if r.strict && !r.recorded[job.ID] {
		r.world.Errorf("job %s was sent before its intent was on disk", job.ID)
	}
	r.started++
	fail, climb := r.fail, r.climb
	r.mu.Unlock()
	if climb != nil && job.Kind == recovery.JobRepair {
		return climb(ctx, job, told)
	}
	if fail != nil {
		if result := fail(job); result != nil {
			return *result
		}
	}
	s, joined := r.world.hosts[job.Host.Name].run(keyOf(job))
	select {
	case <-s.done:
		return recovery.Result{Class: recovery.Succeeded, Joined: joined, Rebooted: true}
	case <-ctx.Done():
		return recovery.Result{Class: recovery.Lost, Signature: "cancelled in mid-run", Joined: joined}
	}
}

func (r *fakeRemedy) starts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// executions fails the test when a script has run twice.
func (w *world) executions() int {
	w.Helper()
	n := 0
	for _, name := range w.names() {
		m := w.hosts[name]
		m.mu.Lock()
		for key, times := range m.ran {
			n += times
			if times != 1 {
				w.Errorf("the script of %v ran %d times", key, times)
			}
		}
		m.mu.Unlock()
	}
	return n
}

// checkOrder fails the test when a wave was skipped or a host was touched before its wave was open.
func (w *world) checkOrder(entries []recovery.Entry) {
	w.Helper()
	wave := map[string]int{}
	for _, h := range w.fleet.Hosts {
		wave[h.Name] = map[string]int{"first": 1, "second": 2}[h.Tier]
	}
	opened, passed := 0, 0
	for i, e := range entries {
		if e.Seq != uint64(i)+1 {
			w.Errorf("entry %d has number %d", i+1, e.Seq)
		}
		switch v := e.Event.(type) {
		case *recovery.WaveOpened:
			if v.Wave != opened+1 || passed != opened {
				w.Errorf("wave %d opened after %d were opened and %d passed", v.Wave, opened, passed)
			}
			opened = v.Wave
		case *recovery.WavePassed:
			if v.Wave != passed+1 {
				w.Errorf("wave %d passed after %d", v.Wave, passed)
			}
			passed = v.Wave
		case *recovery.AttemptStarted:
			if wave[v.Attempt.Host] > opened {
				w.Errorf("%s was touched while %d waves were open", v.Attempt.Host, opened)
			}
		}
	}
}

// push has f run in the loop without waiting for it.
func push(w *world, c *Coordinator, f func()) {
	w.Helper()
	if err := c.inbox.Send(w.ctx, f); err != nil {
		w.Fatal(err)
	}
}
