package lab

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"
)

// State is what a machine is doing.
type State string

// The states.
const (
	Off      State = "off"      // before Start and after Close
	Booting  State = "booting"  // from its own disk; the EDR driver has not read its content yet
	Crashing State = "crashing" // the driver has read bad content; the crash is near
	Parked   State = "parked"   // at the recovery screen
	Rescue   State = "rescue"   // a rescue environment runs and has the disk
	Up       State = "up"
)

// machine is one simulated server. Its state moves by timers, by power, and by what is on its disk.
type machine struct {
	lab   *Lab
	spec  HostSpec
	fault Fault // Kind is empty when nothing is wrong with it
	hit   bool  // takes the bad update
	disk  *disk
	bin   string // its shims
	doors []*door
	keys  map[string]ssh.Signer // by environment
	log   hclog.Logger

	mu      sync.Mutex
	state   State
	timers  int // numbers the timer that may act; an older one that fires late does nothing
	timer   *time.Timer
	boots   int // of its own disk
	loops   int // crashes since it was last started by somebody
	boot    string
	network bool
	down    bool // crashed since somebody last started it: rescue is at hand
	right   bool // WrongHostKey, WrongDisk: set right
	spent   bool // Relapses, DropsSSH: has happened
	muted   int  // SilentSSH: connections so far
	scripts int  // started since rescue was entered

	live     map[net.Conn]struct{} // connections that die with the power
	logins   map[net.Conn]struct{} // those of live that are SSH
	procs    map[*os.Process]struct{}
	pids     []int // of shells, told by the shims
	stop     context.CancelFunc
	agentOut chan struct{} // closed when the last agent has ended
}

// after arms the machine's one timer: d is in the scenario's time, and the real time is at least floor.
func (m *machine) after(d, floor time.Duration, do func()) {
	m.disarm()
	n := m.timers
	wait := max(time.Duration(float64(d)/m.lab.speed), floor)
	m.lab.running.Add(1)
	m.timer = time.AfterFunc(wait, func() {
		defer m.lab.running.Done()
		m.mu.Lock()
		defer m.mu.Unlock()
		if n == m.timers {
			do()
		}
	})
}

func (m *machine) disarm() {
	m.timers++
	if m.timer != nil && m.timer.Stop() {
		m.lab.running.Done()
	}
	m.timer = nil
}

func (m *machine) enter(s State) {
	m.state = s
	m.log.Trace("machine", "state", s, "boots", m.boots)
	m.lab.changed()
}

// draw is this machine's chance, new at every boot.
func (m *machine) draw(purpose string) uint64 { return draw(m.lab.seed, m.spec.Name, purpose, m.boots) }

// powerOn boots the machine from its own disk. spread shortens this boot: a share of 2^64 of it has already passed.
func (m *machine) powerOn(spread uint64) {
	m.boots++
	m.boot = bootID(m.lab.seed, m.spec.Name, m.boots)
	d := m.lab.story.Boot.pick(m.draw("boot"))
	if m.fault.Kind == SlowBoot {
		d = m.fault.Span
	}
	d -= time.Duration(float64(d) * (float64(spread) / (1 << 64)))
	m.after(d, 0, m.loaded)
	m.enter(Booting)
}

// loaded is the end of boot: the driver reads its content, and what is really there decides.
func (m *machine) loaded() {
	names, err := m.disk.scan()
	if err != nil {
		m.log.Warn("EDR content cannot be read, so it is not loaded", "error", err)
	}
	if len(names) == 0 {
		m.up()
		return
	}
	heals := m.fault.Kind == HealsItself && m.loops+1 >= m.fault.Crashes
	floor := time.Duration(0)
	if heals || int(m.draw("network")%100) < m.lab.story.Loop.Network {
		floor = m.lab.window
		m.connect()
	}
	m.after(m.lab.story.Loop.Up.pick(m.draw("up")), floor, func() {
		if heals {
			m.heal()
		}
		m.crash()
	})
	m.enter(Crashing)
}

// heal is the EDR fetching the vendor's good content in the moments before the crash.
func (m *machine) heal() {
	if err := m.disk.clean(); err != nil {
		m.log.Warn("bad content cannot be removed", "error", err)
		return
	}
	m.deliver(good)
}

func (m *machine) deliver(pick func(*Content) File) {
	if err := m.disk.deliver(pick); err != nil {
		m.log.Warn("EDR content cannot be delivered", "error", err)
	}
}

func (m *machine) crash() {
	m.powerOff()
	m.down = true
	m.loops++
	park := m.lab.story.Loop.ParkAfter
	limit := park.pick(draw(m.lab.seed, m.spec.Name, "park", 0))
	if park.Max > 0 && m.loops >= limit && m.fault.Kind != HealsItself {
		m.enter(Parked)
		return
	}
	m.powerOn(0)
}

// up is the machine at its work: the EDR has fetched what the vendor has, and the agent runs.
func (m *machine) up() {
	m.down, m.loops = false, 0
	if m.lab.struck() {
		m.deliver(good)
	}
	if !windows(m.spec.OS) {
		if err := m.disk.boot(m.boot); err != nil {
			m.log.Error("the disk cannot be written", "error", err)
		}
	}
	m.connect()
	if m.fault.Kind == Relapses && !m.spent && m.lab.struck() {
		m.after(m.fault.Span, 0, func() {
			m.spent = true
			m.strike()
		})
	}
	m.enter(Up)
}

// struck is the moment of the strike: those that take the update get it, the others get what came after it.
func (m *machine) struck() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.hit:
		m.strike()
	case m.state == Up:
		m.deliver(good)
	}
}

// strike lets the bad update arrive. A machine that is up crashes at once.
func (m *machine) strike() {
	m.deliver(bad)
	if m.state == Up {
		m.loops = -1 // this crash is the update's arrival, not a loop
		m.crash()
	}
}

// connect brings the network up and starts the agent.
func (m *machine) connect() {
	m.network = true
	if m.spec.Agent {
		m.startAgent()
	}
}

// powerOff is a crash as the outside sees it: everything that ran is gone, and every connection with it, save the one
// through which the power was cut.
func (m *machine) powerOff(save ...net.Conn) {
	m.disarm()
	m.network = false
	for c := range m.live {
		if len(save) == 0 || c != save[0] {
			m.cut(c)
		}
	}
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
	for p := range m.procs {
		killGroup(p)
	}
	for _, pid := range m.pids {
		killMarked(pid, m.mark())
	}
	m.pids, m.scripts = nil, 0
}

// mark stands in the environment of all that runs on this machine.
func (m *machine) mark() string { return "=" + m.bin + ":" }

// ran keeps the pid of a shell that runs on the machine, and cuts the line when the machine is one that loses it.
func (m *machine) ran(pid int, script bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == Booting || m.state == Parked || m.state == Off {
		killMarked(pid, m.mark()) // the power went before the shim's word came
		return
	}
	m.remember(pid)
	if !script {
		return
	}
	m.scripts++
	m.lab.changed()
	if m.fault.Kind == DropsSSH && !m.spent {
		m.spent = true
		for c := range m.logins {
			m.cut(c)
		}
	}
}

// cut breaks a connection off without a goodbye.
func (m *machine) cut(c net.Conn) {
	abort(c)
	delete(m.live, c)
	delete(m.logins, c)
}

// remember bounds the list of pids by forgetting those that have ended.
func (m *machine) remember(pid int) {
	const bound = 256
	if len(m.pids) >= bound {
		kept := m.pids[:0]
		for _, p := range m.pids {
			if marked(p, m.mark()) {
				kept = append(kept, p)
			}
		}
		m.pids = kept
	}
	if len(m.pids) < 16*bound {
		m.pids = append(m.pids, pid)
	}
}

// begin is the machine's state when the lab starts.
func (m *machine) begin(struck bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !struck || !m.hit {
		m.boots++
		m.boot = bootID(m.lab.seed, m.spec.Name, m.boots)
		m.up()
		return
	}
	m.deliver(bad)
	m.down = true
	m.powerOn(draw(m.lab.seed, m.spec.Name, "phase", 0))
}

// end switches the machine off for good.
func (m *machine) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.powerOff()
	m.enter(Off)
}
