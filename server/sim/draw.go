package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Options say what kind of incidents are played.
type Options struct {
	Hosts int                              // 0: small estates of every shape; 934: full-size ones
	Trace func(format string, args ...any) // told every entry; nil: nobody
}

// coarse is what is taken for one moment in a large estate, as the coordinator takes a batch of what has come in. In a small one every
// moment counts.
const coarse = 20 * time.Second

// odds are the weather of one world; shares are of a thousand.
type odds struct {
	latency, answer, dial, notice, returns, flush time.Duration
	doubled, heals, lies, halves, nothing         int
	fails, hangs, strange, limps, stuck, safe     int
	trouble                                       time.Duration // until when things go wrong
	pace                                          time.Duration // between two troubles
	people                                        time.Duration // between two acts of people who do not know what they do; 0: none
	late                                          time.Duration // until the plan is approved
}

func newWorld(seed uint64, o Options) *World {
	w := &World{seed: seed, rnd: rand.New(rand.NewPCG(seed, 0x6275746c65722d31)), byName: map[string]*machine{}, byRef: map[recovery.PointRef]*backup{}, trace: o.Trace}
	w.tally.Outcomes = map[string]int{}
	w.books = w.drawBooks()
	if o.Hosts == 0 {
		w.fleet = w.drawFleet()
		if w.chance(500) {
			w.drawStock(&w.fleet)
		}
	} else {
		w.fleet, w.grain = estate(o.Hosts, int(seed%8)), coarse
	}
	w.odds = w.drawOdds(len(w.fleet.Hosts))
	w.sites = make([]site, 3)
	for i := range w.fleet.Hosts {
		m := w.drawMachine(&w.fleet.Hosts[i])
		w.machines = append(w.machines, m)
		w.byName[m.name()] = m
	}
	w.stock()
	w.house = &house{w: w, disk: newDisk(incident)}
	w.forget()
	return w
}

func (w *World) drawOdds(hosts int) odds {
	second := time.Second
	o := odds{latency: 50 * time.Millisecond, answer: 5 * second, dial: 10 * second, notice: 20 * second, returns: time.Minute, flush: 5 * second}
	if hosts > 100 {
		o.flush = time.Minute
	}
	switch w.below(4) {
	case 0: // a good day: only what belongs to the incident
		o.heals, o.lies, o.nothing, o.fails = 20, 5, 10, 20
	case 1, 2: // a rough one
		o.latency, o.answer = 2*second, 20*second
		o.doubled, o.heals, o.lies, o.halves, o.nothing, o.fails, o.hangs = 30, 50, 50, 30, 50, 80, 20
		o.trouble = w.draw(time.Hour, 8*time.Hour)
		o.pace = w.draw(2*time.Minute, 30*time.Minute)
	case 3: // a storm
		o.latency, o.answer, o.dial, o.returns = 20*second, 2*time.Minute, time.Minute, 5*time.Minute
		o.doubled, o.heals, o.lies, o.halves, o.nothing, o.fails, o.hangs, o.strange = 200, 100, 150, 80, 100, 200, 50, 5
		o.trouble = w.draw(time.Hour, 24*time.Hour)
		o.pace = w.draw(30*second, 10*time.Minute)
	}
	o.limps = pick(w, 0, 300, 900)
	o.stuck = pick(w, 0, 0, 20)
	o.safe = pick(w, 0, 0, 100)
	if w.chance(500) {
		o.people = w.draw(time.Minute, time.Hour)
	}
	if w.chance(300) {
		o.late = w.draw(0, 2*time.Hour)
	}
	return o
}

// drawBooks draws the playbook of the incident, and the version that replaces it in mid-incident at times.
func (w *World) drawBooks() [2]recovery.Playbook {
	p := recovery.Playbook{Name: "edr", Digest: "sha256:one", Match: recovery.Match{EDR: "edr"},
		Reboot:       pick(w, recovery.RebootRequired, recovery.RebootRequired, recovery.RebootHelps, recovery.RebootForbidden),
		Environments: []string{recovery.EnvLinux, recovery.EnvRescueLinux},
		Timeout:      w.draw(time.Minute, 10*time.Minute), VerifyWithin: w.draw(5*time.Minute, 25*time.Minute), Soak: w.draw(0, 40*time.Minute),
		Debts: []recovery.DebtSpec{{ID: "agent-disabled", What: "switch the agent on"}, {ID: "safe-boot", What: "clear the flag", Environments: []string{recovery.EnvRescueLinux}}}}
	q := p
	q.Digest = "sha256:two"
	if w.chance(300) {
		q.Reboot = pick(w, recovery.RebootRequired, recovery.RebootHelps, recovery.RebootForbidden)
	}
	if w.chance(200) {
		q.Environments = q.Environments[:1]
	}
	return [2]recovery.Playbook{p, q}
}

// drawFleet draws an estate that the fleet file's check would let pass: needs point to earlier services of no later tier, every group
// and resource has a slot.
func (w *World) drawFleet() recovery.Fleet {
	f := recovery.Fleet{Name: "any", Policy: recovery.DefaultPolicy()}
	f.Policy.TriesPerRung = 1 + w.below(3)
	f.Policy.MaxAttempts = 1 + w.below(10)
	f.Policy.MaxInFlight = 1 + w.below(20)
	f.Policy.MassSilence = 10 + w.below(60)
	f.Policy.MaxRelapses = 1 + w.below(3)
	f.Policy.IncidentFailures = recovery.Limit{Count: 10 + w.below(90), Percent: true}
	f.Policy.SameSignature = 2 + w.below(10)
	tiers := 1 + w.below(3)
	for i := range tiers {
		f.Tiers = append(f.Tiers, recovery.Tier{Name: fmt.Sprintf("tier%d", i), Gate: recovery.GatePolicy{
			SuccessPercent: 50 + w.below(51), Soak: w.draw(0, 20*time.Minute), Approval: w.chance(100),
			MaxFailed: recovery.Limit{Count: w.below(60), Percent: true}, MaxUnreachable: recovery.Limit{Count: w.below(8)}, MaxInFlight: w.below(10)}})
	}
	services := 1 + w.below(6)
	for i := range services {
		s := recovery.Service{Name: fmt.Sprintf("svc%d", i), Tier: f.Tiers[i*tiers/services].Name, Council: fmt.Sprintf("council%d", w.below(3)), UpPercent: 25 * w.below(5)}
		for j := range i {
			if w.chance(300) {
				s.Needs = append(s.Needs, f.Services[j].Name)
			}
		}
		f.Services = append(f.Services, s)
	}
	for i := range w.below(3) {
		f.Groups = append(f.Groups, recovery.Group{Name: fmt.Sprintf("group%d", i), MaxAtOnce: 1 + w.below(2), MaxDown: w.below(3)})
	}
	f.Resources = []recovery.Resource{{Name: recovery.ResourceSSH, Slots: 1 + w.below(8)}, {Name: "site", Slots: 1 + w.below(4)}, {Name: "power", Slots: 1 + w.below(4)}}
	outside := w.chance(500)
	for i := range 2 + w.below(24) {
		s := f.Services[w.below(services)]
		h := recovery.Host{Name: fmt.Sprintf("h%02d", i), Service: s.Name, Tier: s.Tier, Council: s.Council, OS: pick(w, "linux", "linux", "windows-2019"),
			Data: recovery.DataNone, Critical: w.chance(150), Agent: !w.chance(150), EDR: recovery.EDR{Product: "edr"}}
		if i > 0 && w.chance(80) {
			h.EDR.Product = "none"
		}
		h.Ladder = w.drawLadder(&h, outside)
		for _, g := range f.Groups {
			if w.chance(300) {
				h.Groups = append(h.Groups, g.Name)
			}
		}
		if w.chance(400) {
			h.Resources = []string{"site"}
		}
		f.Hosts = append(f.Hosts, h)
	}
	return f
}

func (w *World) drawLadder(h *recovery.Host, outside bool) []recovery.Rung {
	own := recovery.Rung{Name: "own", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: "192.0.2.1", User: "root", Estimate: 5 * time.Minute}
	hands := recovery.Rung{Name: "hands", Kind: recovery.RungHands}
	if !outside {
		ready := recovery.Rung{Name: "ready", Kind: recovery.RungSSH, Environment: recovery.EnvRescueLinux, Reboots: true, Address: "192.0.2.2", User: "root", Estimate: 9 * time.Minute}
		if h.Agent && w.chance(200) {
			return []recovery.Rung{ready, hands}
		}
		return []recovery.Rung{own, ready, hands}
	}
	bmc := &recovery.Control{Name: "bmc", Kind: recovery.ControlAgent, Program: "boot"}
	rescue := recovery.Rung{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvRescueLinux, Address: "192.0.2.2", Boot: bmc, Resources: []string{"power"}}
	if w.chance(200) {
		rescue.Boot = nil // it asks the network at every start
	}
	race := recovery.Rung{Name: "race", Kind: recovery.RungRace, Environment: recovery.EnvLinux, Address: "192.0.2.1", Within: 5 * time.Minute}
	helper := recovery.Rung{Name: "helper", Kind: recovery.RungHelper, Environment: recovery.EnvRescueLinux, Address: "192.0.2.3", Resources: []string{"power"}}
	if !w.chance(100) {
		h.Power = &recovery.Control{Name: "bmc", Kind: recovery.ControlAgent, Program: "fence"}
		h.MACs = []string{"52:54:00:00:00:01"}
	}
	ladder := []recovery.Rung{own, race, rescue, helper, hands}
	first := w.below(4)
	if !h.Agent {
		first = min(first, 1) // else nothing could prove it
	}
	return ladder[first:]
}

func (w *World) drawMachine(h *recovery.Host) *machine {
	m := &machine{w: w, host: h, site: w.below(3), runs: parked, boot: 1, good: 1, changed: -1, loops: w.draw(15*time.Second, 90*time.Second),
		claims: map[string]*script{}, errands: map[string]*errand{}, cycles: map[string]int{}, reached: w.chance(900)}
	if h.EDR.Product != "edr" || w.chance(30) {
		m.runs = own // never hit
		return m
	}
	m.bad = 1
	if w.chance(500) {
		m.left = 1
	}
	m.limps = w.chance(w.odds.limps)
	if w.chance(600) {
		m.parks = 1 + w.below(4)
	}
	if m.limps || m.parks == 0 || w.chance(300) {
		m.runs = booting
	}
	switch w.below(60) {
	case 0:
		m.door = recovery.AuthRefused
	case 1:
		m.door = recovery.HostKeyMismatch
	case 2:
		m.good = 0
	case 3:
		m.never = true
	case 4:
		m.sticks = true
	case 5:
		m.deaf = true
	case 6:
		m.sick = true
	case 7:
		m.mute = true
	}
	return m
}

var estates sync.Map

// estate is one of a few full-size estates: three tiers, forty services, pairs, sites and hypervisors. The same one is used by many
// worlds at a time; nobody writes to it.
func estate(hosts, variant int) recovery.Fleet {
	key := [2]int{hosts, variant}
	if f, ok := estates.Load(key); ok {
		return f.(recovery.Fleet)
	}
	w := &World{rnd: rand.New(rand.NewPCG(uint64(variant), uint64(hosts)))}
	f := recovery.Fleet{Name: "estate", Policy: recovery.DefaultPolicy()}
	f.Policy.IncidentFailures = recovery.Limit{Count: 40, Percent: true}
	f.Policy.SameSignature = 25
	for i, name := range []string{"infrastructure", "critical", "rest"} {
		f.Tiers = append(f.Tiers, recovery.Tier{Name: name, RTO: time.Duration(4*i+4) * time.Hour, Gate: recovery.GatePolicy{SuccessPercent: 90, Soak: 10 * time.Minute,
			MaxFailed: recovery.Limit{Count: 20, Percent: true}, MaxUnreachable: recovery.Limit{Count: 20, Percent: true}}})
	}
	const services = 40
	for i := range services {
		s := recovery.Service{Name: fmt.Sprintf("svc%02d", i), Tier: f.Tiers[i*3/services].Name, Council: fmt.Sprintf("council%d", i%3)}
		if i > 0 {
			s.Needs = []string{fmt.Sprintf("svc%02d", w.below(min(i, 8)))}
		}
		f.Services = append(f.Services, s)
	}
	f.Resources = []recovery.Resource{{Name: recovery.ResourceSSH, Slots: 128}}
	for i := range 20 {
		f.Resources = append(f.Resources, recovery.Resource{Name: fmt.Sprintf("hypervisor%02d", i), Slots: 8})
	}
	for i := range hosts {
		s := f.Services[i*services/hosts]
		h := recovery.Host{Name: fmt.Sprintf("srv%04d", i), Service: s.Name, Tier: s.Tier, Council: s.Council, OS: pick(w, "linux", "linux-12", "windows-2019"), Data: recovery.DataNone,
			Critical: w.chance(20), Agent: !w.chance(20), EDR: recovery.EDR{Product: "edr"}, Resources: []string{fmt.Sprintf("hypervisor%02d", w.below(20))}}
		h.Ladder = w.drawLadder(&h, false)
		if i%16 < 2 {
			if name := fmt.Sprintf("pair%02d", i/16); i%16 == 0 {
				f.Groups = append(f.Groups, recovery.Group{Name: name, MaxAtOnce: 1, MaxDown: 1})
				h.Groups = []string{name}
			} else {
				h.Groups = []string{name}
			}
		}
		f.Hosts = append(f.Hosts, h)
	}
	if variant%2 == 0 {
		w.drawStock(&f)
		for i := range f.Repositories {
			f.Repositories[i].Slots, f.Repositories[i].Bandwidth = 8, 1000*mb
			f.Resources[len(f.Resources)-len(f.Repositories)+i].Slots = 8
		}
	}
	actual, _ := estates.LoadOrStore(key, f)
	return actual.(recovery.Fleet)
}
