package audit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

var t0 = time.Date(2024, 7, 19, 6, 30, 0, 0, time.UTC)

const digest = "sha256:one"

// story writes a journal by hand, one entry after the other, on a clock that it moves itself.
type story struct {
	fleet    recovery.Fleet
	playbook recovery.Playbook
	plan     recovery.Plan
	scope    []recovery.HostScope
	points   []recovery.RestorePoint // known at the declaration
	at       time.Time
	entries  []recovery.Entry
	heard    map[int]func(*audit.Auditor) // before the entry of this index
	boots    map[string]int
	tries    map[string]int // attempts
	proofs   map[string]int // since the last attempt
}

// estate is two tiers: a1 to a5 and c1, which is critical, serve base; b1 and b2 serve app, which needs base. Nothing but canary and
// ramp holds them.
func estate() (recovery.Fleet, recovery.Playbook) {
	wide := recovery.Limit{Count: 100, Percent: true}
	p := recovery.DefaultPolicy()
	p.IncidentFailures, p.SameSignature, p.TriesPerRung, p.MaxAttempts = wide, 100, 2, 6
	f := recovery.Fleet{Name: "test", Policy: p,
		Tiers: []recovery.Tier{
			{Name: "first", Gate: recovery.GatePolicy{SuccessPercent: 30, Soak: 5 * time.Minute, MaxFailed: wide, MaxUnreachable: wide}},
			{Name: "second", Gate: recovery.GatePolicy{SuccessPercent: 50, MaxFailed: wide, MaxUnreachable: wide}}},
		Services:  []recovery.Service{{Name: "base", Tier: "first", UpPercent: 30}, {Name: "app", Tier: "second", Needs: []string{"base"}}},
		Groups:    []recovery.Group{{Name: "pair", MaxAtOnce: 1, MaxDown: 1}},
		Resources: []recovery.Resource{{Name: "site", Slots: 1}, {Name: "power", Slots: 1}},
	}
	for _, name := range []string{"a1", "a2", "a3", "a4", "a5", "c1", "b1", "b2"} {
		h := recovery.Host{Name: name, Service: "base", Tier: "first", OS: "linux", Agent: true, Data: recovery.DataNone, Critical: name == "c1",
			EDR: recovery.EDR{Product: "edr"}, Power: &recovery.Control{Name: "bmc"}, Ladder: []recovery.Rung{
				{Name: "own", Kind: recovery.RungSSH, Environment: recovery.EnvLinux},
				{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvRescueLinux, Resources: []string{"power"}},
				{Name: "hands", Kind: recovery.RungHands}}}
		if name[0] == 'b' {
			h.Service, h.Tier = "app", "second"
		}
		f.Hosts = append(f.Hosts, h)
	}
	return f, recovery.Playbook{Name: "edr", Digest: digest, Match: recovery.Match{EDR: "edr"}, Reboot: recovery.RebootRequired,
		Environments: []string{recovery.EnvLinux, recovery.EnvRescueLinux}, Timeout: 5 * time.Minute, VerifyWithin: 10 * time.Minute, Soak: 10 * time.Minute,
		Debts: []recovery.DebtSpec{{ID: "agent-disabled", What: "switch it on"}, {ID: "disk", What: "see to it", Environments: []string{recovery.EnvRescueLinux}}}}
}

// tale begins a story; change sees the estate before it is declared.
func tale(change ...func(s *story)) *story {
	s := &story{at: t0, heard: map[int]func(*audit.Auditor){}, boots: map[string]int{}, tries: map[string]int{}, proofs: map[string]int{}}
	s.fleet, s.playbook = estate()
	for _, c := range change {
		c(s)
	}
	s.tell(&recovery.IncidentDeclared{Incident: "i", Began: t0, Playbook: s.playbook, Fleet: s.fleet, Points: s.points})
	s.scope = recovery.Scope(s.fleet, s.playbook, nil, t0)
	stock := recovery.Stock{Points: recovery.NewPoints(), Cutoff: t0, Began: t0}
	for _, p := range s.points {
		stock.Points.Learn(p)
	}
	s.plan = recovery.NewPlan(s.fleet, s.playbook, s.scope, stock)
	return s
}

func (s *story) host(name string) *recovery.Host {
	i := slices.IndexFunc(s.fleet.Hosts, func(h recovery.Host) bool { return h.Name == name })
	return &s.fleet.Hosts[i]
}

func (s *story) tell(e recovery.Event) *story {
	s.entries = append(s.entries, recovery.Entry{Seq: uint64(len(s.entries) + 1), At: s.at, Actor: "engine", Event: e})
	return s
}

func (s *story) after(d time.Duration) *story {
	s.at = s.at.Add(d)
	return s
}

func (s *story) planned() *story {
	return s.tell(&recovery.IncidentScoped{Hosts: s.scope}).tell(&recovery.PlanProposed{Plan: s.plan})
}

// begin goes on until the first wave is open.
func (s *story) begin() *story {
	return s.planned().tell(&recovery.PlanApproved{Digest: s.plan.Digest}).tell(s.opening(1))
}

// opening fixes a wave whose limits let everything pass: its need is 30 % of six or 50 % of two, rounded up.
func (s *story) opening(n int) *recovery.WaveOpened {
	size, need := 6, 2
	if n == 2 {
		size, need = 2, 1
	}
	return &recovery.WaveOpened{Wave: n, Size: size, Need: need, Limits: recovery.Limits{Failed: size, Unreachable: size, InFlight: 64}}
}

func (s *story) boot(host string) string { return fmt.Sprintf("%s-boot%d", host, s.boots[host]) }

func (s *story) starting(host string, rung int) *recovery.AttemptStarted {
	s.tries[host]++
	s.proofs[host] = 0
	return &recovery.AttemptStarted{BootBefore: s.boot(host), Attempt: recovery.Attempt{ID: s.id(host), Host: host, N: s.tries[host], Rung: rung,
		RungName: s.host(host).Ladder[rung].Name, Playbook: digest, Started: s.at, Timeout: time.Minute, Deadline: s.at.Add(time.Hour)}}
}

func (s *story) id(host string) string { return fmt.Sprintf("%s/%d", host, s.tries[host]) }

func (s *story) starts(host string) *story { return s.tell(s.starting(host, 0)) }

// canary starts the first host of its kind.
func (s *story) canary(host string) *story {
	e := s.starting(host, 0)
	e.Canary = true
	return s.tell(e)
}

// climb takes a host to its rescue rung: nothing was found on its own system.
func (s *story) climb(host string) *story {
	s.canary(host).tell(&recovery.AttemptEnded{Attempt: s.id(host), Host: host, Result: recovery.Result{Class: recovery.NothingFound}, Next: recovery.Waiting, Rung: 1})
	e := s.starting(host, 1)
	e.Canary = true
	return s.tell(e)
}

func (s *story) ending(host string, class recovery.Class, next recovery.Phase) *recovery.AttemptEnded {
	e := &recovery.AttemptEnded{Attempt: s.id(host), Host: host, Result: recovery.Result{Class: class}, Next: next}
	if next == recovery.Verifying {
		e.Until = s.at.Add(s.playbook.VerifyWithin)
	}
	return e
}

func (s *story) ends(host string, class recovery.Class, next recovery.Phase) *story {
	return s.tell(s.ending(host, class, next))
}

// proof is a complete one, out of a fresh boot.
func (s *story) proof(host string) *recovery.HostProven {
	s.boots[host]++
	e := &recovery.HostProven{Host: host, SoakUntil: s.at.Add(s.playbook.Soak), Sighting: recovery.Sighting{Host: host, At: s.at, Connected: true, BootID: s.boot(host),
		BootMode: recovery.BootNormal, Content: []recovery.Content{{Playbook: digest, Good: 1}}, Health: []recovery.Check{{Name: "disk", OK: true}},
		Answers: fmt.Sprintf("%s/verify/%d", s.id(host), s.proofs[host])}}
	s.proofs[host]++
	return e
}

func (s *story) proves(host string) *story { return s.tell(s.proof(host)) }

// repaired takes a host from its start to its proof.
func (s *story) repaired(host string) *story {
	return s.starts(host).ends(host, recovery.Succeeded, recovery.Verifying).proves(host)
}

func (s *story) recovering(host string) *recovery.HostRecovered {
	return &recovery.HostRecovered{Host: host, Debts: []recovery.Debt{{ID: "agent-disabled"}}}
}

// first recovers a1, the canary.
func (s *story) first() *story {
	return s.canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(10 * time.Minute).tell(s.recovering("a1"))
}

// share recovers what the first wave needs: a1, and c1 because it is critical.
func (s *story) share() *story {
	return s.first().repaired("c1").after(10 * time.Minute).tell(s.recovering("c1"))
}

func (s *story) skip(hosts ...string) *story {
	for _, h := range hosts {
		s.tell(&recovery.HostSkipped{Host: h, Reason: "scrapped"})
	}
	return s
}

func (s *story) clear(hosts ...string) *story {
	for _, h := range hosts {
		s.tell(&recovery.DebtCleared{Host: h, Debt: "agent-disabled", By: "ann"})
	}
	return s
}

// atTheEnd has everything done but the close: two hosts are recovered, the others skipped, both waves passed.
func (s *story) atTheEnd() *story {
	s.share().clear("a1", "c1").after(5 * time.Minute).tell(&recovery.WavePassed{Wave: 1}).tell(s.opening(2))
	return s.skip("a2", "a3", "a4", "a5", "b1", "b2").tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "scrapped"}).tell(&recovery.WavePassed{Wave: 2})
}

func (s *story) closing(outcome string, exceptions int) *recovery.IncidentClosed {
	e := &recovery.IncidentClosed{Outcome: outcome}
	for i := range exceptions {
		e.Exceptions = append(e.Exceptions, fmt.Sprintf("exception %d", i))
	}
	return e
}

func (s *story) aborts() *recovery.IncidentAborted {
	e := &recovery.IncidentAborted{Reason: "enough"}
	for _, h := range s.fleet.Hosts {
		e.Fates = append(e.Fates, recovery.AbortFate{Host: h.Name, Rule: "left as it is"})
	}
	return e
}

func (s *story) pause() *story  { return s.tell(&recovery.IncidentPaused{Reason: "lunch"}) }
func (s *story) resume() *story { return s.tell(&recovery.IncidentResumed{Reason: "back"}) }

// hears tells what is heard of a host before the next entry.
func (s *story) hears(host string, connected bool) *story {
	before := s.heard[len(s.entries)]
	s.heard[len(s.entries)] = func(a *audit.Auditor) {
		if before != nil {
			before(a)
		}
		a.Hear(host, connected)
	}
	return s
}

// audit reads the story and says where it breaks.
func (s *story) audit(t *testing.T) *audit.Breach {
	t.Helper()
	a := audit.New()
	for i, e := range s.entries {
		if hear := s.heard[i]; hear != nil {
			hear(a)
		}
		if b := a.See(e); b != nil {
			return b
		}
	}
	if _, over := s.entries[len(s.entries)-1].Event.(*recovery.IncidentClosed); over {
		return a.End()
	}
	return nil
}
