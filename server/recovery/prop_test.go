package recovery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func below(t *rapid.T, n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }

func chance(t *rapid.T, percent int, what string) bool { return below(t, 100, what) < percent }

// anyPlaybook draws a playbook.
func anyPlaybook(t *rapid.T) Playbook {
	p := testPlaybook()
	p.Reboot = rapid.SampledFrom([]RebootPolicy{RebootRequired, RebootRequired, RebootHelps, RebootForbidden}).Draw(t, "reboot")
	p.Soak = time.Duration(below(t, 40, "soak")) * time.Minute
	p.VerifyWithin = time.Duration(5+below(t, 20, "verify")) * time.Minute
	return p
}

// anyFleet draws an estate that the fleet file's check would let pass: needs point to earlier services of no later tier, every
// group and resource has a slot.
func anyFleet(t *rapid.T) Fleet {
	f := Fleet{Name: "any", Policy: DefaultPolicy()}
	f.Policy.TriesPerRung = 1 + below(t, 3, "tries")
	f.Policy.MaxAttempts = 1 + below(t, 7, "cap")
	f.Policy.MassSilence = 10 + below(t, 60, "mass silence")
	f.Policy.IncidentFailures = Limit{Count: 10 + below(t, 90, "incident limit"), Percent: true}
	f.Policy.SameSignature = 2 + below(t, 10, "same signature")
	tiers := 1 + below(t, 3, "tiers")
	for i := range tiers {
		g := GatePolicy{SuccessPercent: 50 + below(t, 51, "share"), Soak: time.Duration(below(t, 20, "gate soak")) * time.Minute, Approval: chance(t, 10, "approval"),
			MaxFailed: Limit{Count: below(t, 60, "failed"), Percent: true}, MaxUnreachable: Limit{Count: below(t, 8, "unreachable")}, MaxInFlight: below(t, 10, "in flight")}
		f.Tiers = append(f.Tiers, Tier{Name: fmt.Sprintf("tier%d", i), Gate: g})
	}
	services := 1 + below(t, 6, "services")
	for i := range services {
		s := Service{Name: fmt.Sprintf("svc%d", i), Tier: f.Tiers[i*tiers/services].Name, Council: fmt.Sprintf("council%d", below(t, 3, "council")), UpPercent: 25 * below(t, 5, "up")}
		for j := range i {
			if chance(t, 30, "needs") {
				s.Needs = append(s.Needs, f.Services[j].Name)
			}
		}
		f.Services = append(f.Services, s)
	}
	for i := range below(t, 3, "groups") {
		f.Groups = append(f.Groups, Group{Name: fmt.Sprintf("group%d", i), MaxAtOnce: 1 + below(t, 2, "at once"), MaxDown: below(t, 3, "down")})
	}
	f.Resources = []Resource{{Name: ResourceSSH, Slots: 1 + below(t, 8, "ssh")}, {Name: "site", Slots: 1 + below(t, 4, "site")}}
	for i := range 2 + below(t, 24, "hosts") {
		s := f.Services[below(t, services, "service")]
		h := Host{Name: fmt.Sprintf("h%02d", i), Service: s.Name, Tier: s.Tier, Council: s.Council, OS: rapid.SampledFrom([]string{"linux", "windows-2019"}).Draw(t, "os"),
			Data: DataNone, Critical: chance(t, 15, "critical"), Agent: !chance(t, 15, "agentless"), EDR: EDR{Product: "edr"}, Ladder: rungs()}
		if chance(t, 8, "other product") {
			h.EDR.Product = "none"
		}
		if h.Agent && chance(t, 20, "no own rung") {
			h.Ladder = h.Ladder[1:]
		}
		for _, g := range f.Groups {
			if chance(t, 30, "in group") {
				h.Groups = append(h.Groups, g.Name)
			}
		}
		if chance(t, 40, "on site") {
			h.Resources = []string{"site"}
		}
		f.Hosts = append(f.Hosts, h)
	}
	f.Hosts[0].EDR.Product = "edr"
	if chance(t, 50, "from outside") {
		f = outward(f, 1+below(t, 4, "power"))
		for i := range f.Hosts {
			h := &f.Hosts[i]
			first := below(t, 4, "first rung")
			if !h.Agent {
				first = min(first, 1) // else nothing could prove it
			}
			h.Ladder = h.Ladder[first:]
			if chance(t, 20, "network first") {
				for n := range h.Ladder {
					h.Ladder[n].Boot = nil
				}
			}
			if chance(t, 10, "no power") {
				h.Power = nil
			}
		}
	}
	return f
}

// anySightings lets some hosts be heard of before the declaration: never hit, looping, healed, up and bad.
func (x *sim) anySightings(t *rapid.T) {
	for _, name := range sortedNames(x.far) {
		m := x.far[name]
		if !m.host.Agent {
			continue
		}
		switch below(t, 6, "story of "+name) {
		case 0: // never hit
			m.bad, m.up = 0, true
			x.hear(m.facts())
		case 1: // seen bad, gone
			x.hear(m.facts())
			x.hear(Sighting{Host: name, Source: "agent"})
		case 2: // up and bad
			m.up = true
			x.hear(m.facts())
		case 3: // healed
			x.hear(m.facts())
			m.bad, m.up, m.boot = 0, true, 2
			x.hear(m.facts())
		}
	}
}

func (x *sim) hear(v Sighting) {
	v.At = x.now
	x.s.See(v)
}

// Without people nothing deadlocks: when every repair succeeds, every host that was planned comes back, every wave passes, and
// the coordinator may crash and be told old news at any moment.
func TestPropertyNobodyIsNeeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPlaybook(t)
		if p.Reboot == RebootForbidden {
			p.Reboot = RebootHelps
		}
		f := anyFleet(t)
		for i := range f.Tiers {
			f.Tiers[i].Gate.Approval = false
		}
		var points []RestorePoint
		if chance(t, 50, "stocked") {
			points = anyStock(t, &f)
			for i := range f.Hosts {
				if f.Hosts[i].Data == DataPrimary {
					f.Hosts[i].Data = DataReplica
				}
			}
			for i := range f.Services {
				f.Services[i].RPO = 1000 * time.Hour // else a person is needed
			}
		}
		x := newSim(t, f, p)
		x.anySightings(t)
		if _, err := x.do(Declare{Incident: "i", Fleet: f, Playbook: p, Points: points}); err != nil {
			return // nobody can have been hit
		}
		x.must(Approve{Digest: x.s.Plan.Digest})
		x.settle()
		planned := 0
		for _, h := range x.s.order {
			if h.Phase != NotHit {
				planned++
			}
		}
		faults := below(t, 20, "faults")
		for n := 0; x.phases()[Recovered] < planned; n++ {
			if n > 0 && n%7 == 0 && faults > 0 {
				faults--
				if chance(t, 50, "crash") {
					x.restart(t)
				} else {
					x.ghost(t)
				}
			}
			if n > 5000 || !x.step() {
				x.dump()
				t.Fatalf("stuck after %d steps", n)
			}
		}
		x.run("every wave passes", func() bool {
			for _, w := range x.s.Waves {
				if w.PassedAt.IsZero() {
					return false
				}
			}
			return true
		})
		x.crash()
		x.countsAddUp()
	})
}

// Whatever people, machines and networks do, the rules hold at every event; and once people do their part and the faults stop,
// the incident ends.
func TestPropertyAnythingMayHappen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, f := anyPlaybook(t), anyFleet(t)
		var points []RestorePoint
		if chance(t, 50, "stocked") {
			points = anyStock(t, &f)
		}
		x := newSim(t, f, p)
		x.anySightings(t)
		if _, err := x.do(Declare{Incident: "i", Fleet: f, Playbook: p, Points: points}); err != nil {
			return
		}
		if chance(t, 90, "approved at once") {
			x.must(Approve{Digest: x.s.Plan.Digest})
		}
		x.settle()
		x.script = func(m *machine, j Job) Result { return x.anyResult(t, m) }
		for range below(t, 150, "steps") {
			switch below(t, 8, "what") {
			case 0:
				x.person(t)
			case 1:
				x.fault(t)
			case 2:
				x.advance(time.Duration(below(t, 900, "seconds")) * time.Second)
			default:
				x.step()
			}
			x.settle()
		}
		x.crash()
		x.diligent()
		x.crash()
		x.countsAddUp()
	})
}

func (x *sim) anyResult(t *rapid.T, m *machine) Result {
	class := rapid.SampledFrom([]Class{Succeeded, Succeeded, Succeeded, Succeeded, NothingFound, Failed, Unreachable, AuthRefused, HostKeyMismatch, TimedOut, Lost, Cancelled, "strange"}).Draw(t, "class")
	r := Result{Class: class}
	switch class {
	case Succeeded:
		r.Exit = below(t, 4, "lies") / 3 // see launch: 1 leaves the bad file
	case Failed:
		r.Signature = rapid.SampledFrom([]string{"exit 3", "exit 4"}).Draw(t, "signature")
	case Lost:
		m.bad = min(m.bad, below(t, 2, "it worked"))
	}
	return r
}

// restart is a crash with what follows: streams are cut and come back, sightings were flushed.
func (x *sim) restart(t *rapid.T) {
	x.crash()
	for _, name := range sortedNames(x.far) {
		m := x.far[name]
		v := x.s.seen[name]
		if !v.Connected {
			continue
		}
		v.Connected = false
		if x.s.hosts[name].Phase == Recovered {
			v.At = x.now
		}
		x.s.See(v)
		m.answered = ""
		boot := m.boot
		x.after(time.Duration(below(t, 20, "reconnects"))*time.Second, func() {
			if m.up && m.boot == boot && m.host.Agent {
				x.see(m.facts())
			}
		})
	}
	x.settle()
}

// ghost delivers the result of an attempt that is over, or of one that never was. It must change nothing.
func (x *sim) ghost(t *rapid.T) {
	h := x.s.order[below(t, len(x.s.order), "ghost of")]
	id := fmt.Sprintf("%s/%d", h.Host.Name, 1+below(t, len(h.Attempts)+1, "ghost number"))
	if below(t, 4, "ghost of a proof") == 0 {
		id += fmt.Sprintf("/verify/%d", below(t, 3, "ghost proof"))
	}
	if _, running := x.jobs[id]; running || h.Phase == Verifying && id == h.askAt(x.s.soakOver(h, x.now)) {
		return // no ghost: it is asked for
	}
	before := *h
	class := rapid.SampledFrom([]Class{Succeeded, Failed, Unreachable, HostKeyMismatch, Lost, NothingFound}).Draw(t, "ghost class")
	if a := h.attempt(); a != nil && a.ID == id {
		return
	}
	v := Sighting{Host: h.Host.Name, BootID: "ghost", Connected: true, Content: []Content{{Playbook: digest1, Good: 1}}}
	x.must(Finished{Job: id, Host: h.Host.Name, Result: Result{Class: class, Signature: "ghost", Sighting: &v}, Resumed: below(t, 2, "resumed") == 0})
	after := *h
	before.Attempts, after.Attempts = nil, nil
	if fmt.Sprintf("%+v", before) != fmt.Sprintf("%+v", after) {
		x.tb.Fatalf("ghost %s changed\n%+v\n%+v", id, before, after)
	}
	x.settle()
}

func (x *sim) fault(t *rapid.T) {
	m := x.far[x.s.order[below(t, len(x.s.order), "machine")].Host.Name]
	o := x.outside[m.host.Name]
	switch below(t, 14, "fault") {
	case 10:
		o.deaf = !o.deaf
	case 11:
		o.forgets = !o.forgets
	case 12:
		o.never = !o.never
	case 13:
		if !o.off {
			_, err := x.do(BootAsked{Host: m.host.Name, Peer: "192.0.2.66"}) // somebody else asks in its name, or it starts by itself
			o.inside = err == nil
		}

	case 0, 1:
		x.restart(t)
	case 2, 3:
		x.ghost(t)
	case 4:
		m.bad = 1
		if m.up {
			x.see(m.facts())
		}
	case 5:
		x.down(m)
	case 6:
		m.sick = !m.sick
		if m.up {
			x.see(m.facts())
		}
	case 7:
		m.mute = !m.mute
	case 8:
		if m.host.Agent && x.s.hosts[m.host.Name].Phase != Attempting {
			m.bad = 0 // it heals
		}
		x.boots(m)
	case 9: // everything goes silent
		for _, name := range sortedNames(x.far) {
			x.down(x.far[name])
		}
	}
}

// person does something that people do, sensible or not. Refusals are fine; panics and broken rules are not.
func (x *sim) person(t *rapid.T) {
	x.actor = "operator:ann"
	defer func() { x.actor = "engine" }()
	host := x.s.order[below(t, len(x.s.order), "host")].Host.Name
	wave := below(t, len(x.s.Waves)+2, "wave")
	by := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "by")
	ins := []Input{
		Approve{Digest: x.s.Plan.Digest}, Approve{Wave: wave}, Pause{}, Resume{}, Resume{Wave: wave}, Close{},
		Retry{Host: host}, Retry{Host: host, Rung: rapid.SampledFrom([]string{"own", "race", "rescue", "helper", "hands", "none"}).Draw(t, "rung")}, Skip{Host: host, Reason: "gone"},
		Override{Target: "host:" + host, Reason: "now"}, Override{Target: fmt.Sprintf("wave:%d", wave), Reason: "now"}, Override{Target: "service:svc0", Reason: "now"},
		Claim{Host: host, By: by, For: time.Hour}, Claim{Host: host, By: by}, HandsDone{Host: host, By: by, Spent: time.Minute},
		ClearDebt{Host: host, Debt: "agent-disabled", By: by}, Refused{Host: host, Peer: "192.0.2.9", Why: "wrong certificate"},
		Claim{Host: "nobody", By: by}, Retry{Host: "nobody"}, Skip{Host: host}, Override{Target: "what", Reason: "x"},
	}
	if len(x.s.Fleet.DataSets) > 0 {
		ins = append(ins, ApproveRestore{Host: host, Loss: 100 * time.Hour}, ApproveRestore{Host: host, Loss: 100 * time.Hour}, ApproveRestore{Host: host, Loss: time.Duration(below(t, 200, "loss")) * time.Hour},
			CancelAttempt{Host: host, Reason: "it takes too long"}, Retry{Host: host, Rung: "restore"}, x.anyNews(t), x.anyNews(t))
	}
	if chance(t, 10, "revise") {
		p := anyPlaybook(t)
		p.Digest = rapid.SampledFrom([]string{digest1, digest2, "sha256:three"}).Draw(t, "version")
		if len(x.s.Versions) > 0 {
			p.Environments = p.Environments[:1+below(t, len(p.Environments), "environments")]
		}
		_, _ = x.revise(p, "a better one")
		return
	}
	if chance(t, 2, "abort") {
		ins = []Input{Abort{}}
	}
	_, _ = x.do(ins[below(t, len(ins), "input")])
}

// anyNews is what the catalog of backups may tell: a check, a quarantine, a point that is gone or new.
func (x *sim) anyNews(t *rapid.T) Input {
	d := x.s.Fleet.DataSets[below(t, len(x.s.Fleet.DataSets), "data set")]
	p := point(d.Name, fmt.Sprintf("p%d", below(t, 4, "point")), t0.Add(time.Duration(-below(t, 100, "hours ago"))*time.Hour), L0)
	if old, ok := x.s.Points.Find(p.PointRef); ok {
		p = old
	}
	p.SeenAt = x.now
	switch below(t, 5, "news") {
	case 0:
		p.Gone = true
	case 1:
		p.Quarantine = &Quarantine{From: p.TakenAt, At: x.now, By: "ann", Reason: "looks odd"}
	default:
		p.Checks = append(slices.Clone(p.Checks), PointCheck{Level: Level(1 + below(t, 4, "checked")), OK: chance(t, 80, "passes"), At: x.now, By: "test"})
	}
	news := Learnt{Points: []RestorePoint{p}}
	if chance(t, 30, "checks go on") {
		news.Verifying = []string{d.Name, x.s.Fleet.DataSets[0].Name}
	}
	return news
}

// diligent is a person who ends everything: the faults stop, hand work is done, what is held is resumed.
func (x *sim) diligent() {
	x.script = func(*machine, Job) Result { return Result{Class: Succeeded} }
	for name, m := range x.far {
		m.mute, m.sick, m.noBoot = false, false, false
		o := x.outside[name]
		o.deaf, o.never = false, false
	}
	_, _ = x.do(Approve{Digest: x.s.Plan.Digest})
	_, _ = x.do(Learnt{}) // the checks have ended, too
	for round := 0; !x.s.over(); round++ {
		if round > 400 {
			x.dump()
			x.tb.Fatalf("people and machines do their best and the incident does not end")
		}
		_, _ = x.do(Resume{})
		for _, w := range x.s.Waves {
			_, _ = x.do(Approve{Wave: w.N})
			if w.HeldBy != "" {
				_, _ = x.do(Resume{Wave: w.N})
			}
		}
		why := x.s.Why(x.now)
		for _, h := range x.s.order {
			m := x.far[h.Host.Name]
			switch {
			case h.Phase == NeedsHands:
				m.bad = 0
				x.boots(m)
				by := "ann"
				if owner := x.s.owner(h, x.now); owner != "" {
					by = owner
				}
				_, _ = x.do(HandsDone{Host: h.Host.Name, By: by})
			case why[h.Host.Name].Code == WaitApproval:
				_, _ = x.do(ApproveRestore{Host: h.Host.Name, Loss: 1000 * time.Hour})
			case why[h.Host.Name].Code == WaitDependency && x.phases()[Skipped] > 0:
				_, _ = x.do(Override{Target: "host:" + h.Host.Name, Reason: "what it needs was skipped"})
			case !m.up && m.host.Agent && m.bad == 0 && h.Phase != Attempting:
				x.boots(m)
			}
			for _, d := range h.Debts {
				if _, err := x.do(ClearDebt{Host: h.Host.Name, Debt: d.ID, By: "ann", Note: "seen at the console"}); err == nil && d.ID == DebtBootTarget {
					x.outside[h.Host.Name].rescue = false // and did it
				}
			}
		}
		x.settle()
		x.advance(20 * time.Minute)
		if x.s.Settled() {
			_, _ = x.do(Close{})
		}
	}
	accepted := len(x.s.accepted) > 0 || len(x.s.overrides) > 0 || x.phases()[Skipped] > 0
	switch {
	case x.s.Aborted && x.s.Outcome != OutcomeAborted, !x.s.Aborted && accepted && x.s.Outcome != OutcomeWithExceptions:
		x.tb.Fatalf("outcome %s, aborted %v, accepted %v", x.s.Outcome, x.s.Aborted, accepted)
	}
}

// countsAddUp compares the survey with plain counting.
func (x *sim) countsAddUp() {
	s := x.s
	sv := s.survey(x.now)
	planned, recovered, flying, left := 0, 0, 0, map[int]int{}
	for _, h := range s.order {
		switch h.Phase {
		case NotHit:
			continue
		case Recovered:
			recovered++
		case Attempting, Verifying:
			flying++
			left[h.Wave]++
		case Waiting:
			left[h.Wave]++
		}
		planned++
	}
	if sv.planned != planned || sv.recovered != recovered || sv.inFlight != flying {
		x.tb.Fatalf("survey %d/%d/%d, counted %d/%d/%d", sv.planned, sv.recovered, sv.inFlight, planned, recovered, flying)
	}
	for i, w := range sv.waves {
		if w.left != left[i+1] {
			x.tb.Fatalf("wave %d: survey leaves %d, counted %d", i+1, w.left, left[i+1])
		}
	}
}
