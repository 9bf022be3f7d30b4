// Package lab simulates an estate: many machines in one process, each with a disk folder, a boot loop that a bad file on
// that disk really causes, a real SSH server that runs real scripts, and the real agent. Drills and tests repair it.
//
// A machine boots for the scenario's boot time. Then its EDR driver looks into the content folder. If a bad file is there,
// the machine crashes after a moment, with or without a network before, and boots again until it stays at its recovery
// screen. If none is there, the machine is up and its agent phones home. Nothing else decides: a repair that leaves the
// file leaves the loop, whatever it says of itself.
//
// Durations of the scenario pass Config.Speed times as quickly. Work is real and takes the time that it takes.
// Faults, boot times and keys come from the seed alone.
package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"
)

// Config describes a lab.
type Config struct {
	Hosts         []HostSpec
	Scenario      *Scenario
	Seed          uint64  // 0 means the scenario's
	Speed         float64 // scenario time per real time; 0 means 1
	Dir           string  // becomes the lab's own; it must be empty or not exist, and stays after Close
	AuthorizedKey ssh.PublicKey
	Coordinators  []string                                  // addresses that the agents dial
	AgentTLS      func(host string) (*tls.Config, error)    // asked once for each host with an agent
	Repositories  map[string]int64                          // simulated backup repositories, by name: bytes per second of the scenario's time
	ListenAsIs    bool                                      // listen on the rungs' own addresses, for a coordinator in another process
	StartStruck   bool                                      // the bad update has landed before Start
	Window        time.Duration                             // shortest real time of a loop with network; 0 means 500 ms
	RunAgent      func(context.Context, MachineAgent) error // nil means the real agent
	Log           hclog.Logger                              // nil means none
}

// HostSpec is one machine.
type HostSpec struct {
	Name       string
	OS         string // "windows" or "linux", with an optional version after a dash
	Agent      bool   // runs the agent while it has a network
	EDRProduct string
	EDRVersion string
	Restores   bool  // its agent does work on backups, with the simulated repositories
	Image      int64 // bytes of its disk's image in each of them; 0: there is none
	Rungs      []Rung
}

// Rung is one address at which a machine can be reached, and where that leads. Rungs into other environments than linux and
// rescue-linux are nobody's address. Two rungs of one machine may share an address: there the environment answers that runs.
type Rung struct {
	Name        string
	Environment string
	Address     string // IP address
	Port        int    // 0 means 22
}

// The environments that a lab serves.
const (
	EnvLinux       = "linux"        // the machine's own system, while its network is up
	EnvRescueLinux = "rescue-linux" // a rescue system with the machine's disk, while the machine itself is down
)

func served(env string) bool { return env == EnvLinux || env == EnvRescueLinux }

// Lab is a set of machines.
type Lab struct {
	dir          string
	story        *Scenario
	seed         uint64
	speed        float64
	window       time.Duration
	machines     []*machine // by name
	byName       map[string]*machine
	doors        map[string]*door // by address
	key          []byte
	coordinators []string
	agentTLS     func(string) (*tls.Config, error)
	runAgent     func(context.Context, MachineAgent) error
	vault        *fakeVault
	asIs, early  bool
	log          hclog.Logger

	ctx     context.Context
	cancel  context.CancelFunc
	fifo    *os.File
	running sync.WaitGroup // timers, agents, doors, sessions, commands

	mu       sync.Mutex
	closed   bool
	strikeAt time.Time // real time; zero before the strike
	tls      map[string]*tls.Config
	moved    chan struct{} // closed at the next change
}

// New lays out the machines' disks and gives them their faults. It says what is wrong with the configuration, and when the
// hosts cannot carry the scenario's faults.
func New(c Config) (*Lab, error) {
	switch {
	case c.Scenario == nil:
		return nil, errors.New("lab: no scenario; read one with ReadScenario")
	case c.AuthorizedKey == nil:
		return nil, errors.New("lab: no authorized key, so nobody could log in; set Config.AuthorizedKey")
	case slowest(c.Repositories) < 1:
		return nil, errors.New("lab: a repository has no bandwidth, so nothing would ever come through; set Config.Repositories")
	case c.Speed < 0:
		return nil, fmt.Errorf("lab: speed %g is negative; write 1 for real time or more", c.Speed)
	}
	l := &Lab{
		dir: c.Dir, story: c.Scenario, seed: c.Seed, speed: c.Speed, window: c.Window,
		byName: make(map[string]*machine), doors: make(map[string]*door), key: c.AuthorizedKey.Marshal(),
		coordinators: c.Coordinators, agentTLS: c.AgentTLS, runAgent: c.RunAgent, asIs: c.ListenAsIs, early: c.StartStruck,
		log: c.Log, tls: make(map[string]*tls.Config), moved: make(chan struct{}),
	}
	if l.seed == 0 {
		l.seed = c.Scenario.Seed
	}
	if l.speed == 0 {
		l.speed = 1
	}
	if l.window == 0 {
		l.window = 500 * time.Millisecond
	}
	if l.runAgent == nil {
		l.runAgent = l.realAgent
	}
	if l.log == nil {
		l.log = hclog.NewNullLogger()
	}
	l.vault = newVault(l, c.Repositories)
	if err := l.claimDir(); err != nil {
		return nil, err
	}
	faults, err := assign(c.Scenario, l.seed, c.Hosts)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	for _, h := range c.Hosts {
		if err := l.add(h, faults[h.Name]); err != nil {
			return nil, err
		}
	}
	sortedByName(l.machines)
	return l, nil
}

// claimDir makes the lab's folder, which must not hold the remains of another.
func (l *Lab) claimDir() error {
	dir, err := filepath.Abs(l.dir)
	if err != nil || l.dir == "" {
		return fmt.Errorf("lab: %q is no folder for the machines' disks; set Config.Dir", l.dir)
	}
	l.dir = dir
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("lab: folder %s is not empty; name one that is empty or does not exist", dir)
	}
	if err := layShims(dir); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// add makes one machine.
func (l *Lab) add(h HostSpec, f Fault) error {
	if h.Name == "" || filepath.Base(h.Name) != h.Name || h.Name == "." || h.Name == ".." {
		return fmt.Errorf("lab: %q is no host name; it becomes a folder's name", h.Name)
	}
	if l.byName[h.Name] != nil {
		return fmt.Errorf("lab: host %s is there twice; keep one", h.Name)
	}
	content := l.story.Update.content(h)
	d, err := newDisk(filepath.Join(l.dir, "disks", h.Name), h, content, draw(l.seed, h.Name, "capitals", 0)%8 == 0)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	bin, err := binFor(l.dir, h, f)
	if err != nil {
		return fmt.Errorf("lab: shims of %s: %w", h.Name, err)
	}
	m := &machine{
		lab: l, spec: h, fault: f, hit: content != nil && f.Kind != Spared, disk: d, bin: bin, state: Off,
		keys: make(map[string]ssh.Signer), log: l.log.With("host", h.Name),
		live: make(map[net.Conn]struct{}), logins: make(map[net.Conn]struct{}), procs: make(map[*os.Process]struct{}),
	}
	l.machines, l.byName[h.Name] = append(l.machines, m), m
	return l.addDoors(m)
}

// Start switches the machines on: all up, or, with Config.StartStruck, those that were hit somewhere in their loop.
// The agents end with ctx; Close ends everything else.
func (l *Lab) Start(ctx context.Context) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	for _, m := range l.machines {
		m.begin(l.early)
	}
	return nil
}

// open makes everything ready that machines need.
func (l *Lab) open(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx != nil || l.closed {
		return errors.New("lab: Start was called before; make a new lab")
	}
	fifo, err := os.OpenFile(filepath.Join(l.dir, "notices"), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := l.openDoors(); err != nil {
		l.closeDoors()
		_ = fifo.Close()
		return err
	}
	l.fifo = fifo
	l.ctx, l.cancel = context.WithCancel(ctx)
	l.running.Go(func() { l.listen(fifo) })
	if l.early {
		l.strikeAt = time.Now()
	}
	return nil
}

// Close switches every machine off, ends every process that still runs on one, and returns when nothing of the lab runs
// any more. The disks stay.
func (l *Lab) Close() error {
	l.mu.Lock()
	idle := l.closed || l.ctx == nil
	l.closed = true
	l.mu.Unlock()
	if idle {
		return nil
	}
	for _, m := range l.machines {
		m.end()
	}
	l.cancel()
	l.closeDoors()
	killAllMarked("=" + filepath.Join(l.dir, "bin") + string(filepath.Separator))
	err := l.fifo.Close()
	l.running.Wait()
	return err
}
