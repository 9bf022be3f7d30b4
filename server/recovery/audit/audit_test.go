package audit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

// broken is a story whose last entry breaks one promise; all before it is sound.
type broken struct {
	invariant, how string
	story          func() *story
}

// with changes the estate of a tale.
func with(change func(s *story)) func(*story) { return change }

func limit(n int) recovery.Limit { return recovery.Limit{Count: n} }

// opened is the opening of the first wave as the gate says, after a change of that gate.
func (s *story) opened(l recovery.Limits) *story {
	e := s.opening(1)
	e.Limits = l
	return s.planned().tell(&recovery.PlanApproved{Digest: s.plan.Digest}).tell(e)
}

// proven turns a proof into another before it is told.
func provenAs(change func(v *recovery.HostProven)) func() *story {
	return func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying)
		e := s.proof("a1")
		change(e)
		return s.tell(e)
	}
}

var stories = []broken{
	{"sequence", "a gap", func() *story {
		s := tale().begin().canary("a1")
		s.entries[len(s.entries)-1].Seq++
		return s
	}},
	{"sequence", "an entry twice", func() *story {
		s := tale().begin().canary("a1")
		s.entries[len(s.entries)-1].Seq--
		return s
	}},
	{"sequence", "declared twice", func() *story { s := tale().begin(); return s.tell(s.entries[0].Event) }},
	{"sequence", "it begins in the middle", func() *story {
		s := tale()
		s.entries = nil
		return s.tell(&recovery.PlanApproved{})
	}},
	{"sequence", "a host that is not in the fleet", func() *story { return tale().begin().tell(&recovery.HostSkipped{Host: "z9", Reason: "who"}) }},
	{"sequence", "a run's entry", func() *story { return tale().begin().tell(&recovery.RunEnded{}) }},
	{"closed-for-good", "a skip after the close", func() *story {
		s := tale().begin().atTheEnd()
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7)).tell(&recovery.HostSkipped{Host: "a1", Reason: "late"})
	}},
	{"scope-evidence", "never hit on nobody's word", func() *story {
		s := tale()
		s.scope[0].Class, s.scope[0].Planned = recovery.NeverHit, false
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"scope-evidence", "never hit, and was bad once", func() *story {
		s := tale()
		v := s.proof("a1").Sighting
		v.WasBad = []string{digest}
		s.scope[0].Class, s.scope[0].Planned, s.scope[0].Sighting = recovery.NeverHit, false, &v
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"scope-evidence", "unknown taken for well", func() *story {
		s := tale()
		s.scope[0].Planned = false
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"scope-evidence", "out of scope, and the playbook fits", func() *story {
		s := tale()
		s.scope[0].Class, s.scope[0].Planned = recovery.OutOfScope, false
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"scope-evidence", "a host is forgotten", func() *story {
		s := tale()
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope[1:]})
	}},
	{"whole-plan", "a host in no wave", func() *story {
		s := tale()
		s.plan.Waves[0].Hosts = s.plan.Waves[0].Hosts[1:]
		return s.planned()
	}},
	{"whole-plan", "a host in another tier's wave", func() *story {
		s := tale()
		w := s.plan.Waves
		w[1].Hosts, w[0].Hosts = append(w[1].Hosts, w[0].Hosts[0]), w[0].Hosts[1:]
		return s.planned()
	}},
	{"whole-plan", "a hit host excluded", func() *story {
		s := tale()
		s.plan.Excluded = s.plan.Waves[0].Hosts[:1]
		return s.planned()
	}},
	{"approval-first", "a start before approval", func() *story { return tale().planned().canary("a1") }},
	{"approval-first", "a wave opens before approval", func() *story { s := tale().planned(); return s.tell(s.opening(1)) }},
	{"approval-first", "another plan is approved", func() *story { return tale().planned().tell(&recovery.PlanApproved{Digest: "sha256:other"}) }},
	{"approval-first", "another playbook runs", func() *story {
		s := tale().begin()
		e := s.starting("a1", 0)
		e.Canary, e.Attempt.Playbook = true, "sha256:other"
		return s.tell(e)
	}},
	{"pause-stops", "a start", func() *story { return tale().begin().pause().canary("a1") }},
	{"pause-stops", "a pass", func() *story {
		return tale().begin().share().after(5 * time.Minute).pause().tell(&recovery.WavePassed{Wave: 1})
	}},
	{"pause-stops", "an opening", func() *story {
		s := tale().planned().tell(&recovery.PlanApproved{})
		s.entries[3].Event = &recovery.PlanApproved{Digest: s.plan.Digest}
		return s.pause().tell(s.opening(1))
	}},
	{"pause-stops", "a resume of what runs", func() *story { return tale().begin().resume() }},
	{"abort-stops", "a start", func() *story { s := tale().begin(); return s.tell(s.aborts()).canary("a1") }},
	{"abort-stops", "a host put back", func() *story {
		s := tale().begin()
		return s.tell(s.aborts()).tell(&recovery.HostReturned{Host: "a1"})
	}},
	{"legal-move", "a skipped host starts", func() *story { return tale().begin().skip("a1").canary("a1") }},
	{"legal-move", "a host that never was proven is recovered", func() *story { s := tale().begin(); return s.tell(s.recovering("a1")) }},
	{"legal-move", "a recovered host is skipped", func() *story { return tale().begin().first().skip("a1") }},
	{"legal-move", "a proof fails that was given", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1")
		return s.tell(&recovery.ProofFailed{Host: "a1", Next: recovery.Waiting})
	}},
	{"legal-move", "a relapse before any proof", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying)
		return s.tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting})
	}},
	{"one-attempt-at-a-time", "a second one beside the first", func() *story { return tale().begin().canary("a1").starts("a1") }},
	{"attempt-numbers", "a number is left out", func() *story {
		s := tale().begin()
		s.tries["a1"]++
		return s.canary("a1")
	}},
	{"attempt-numbers", "an id is used again", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.Waiting)
		s.tries["a1"]--
		return s.canary("a1")
	}},
	{"attempt-numbers", "hand work without a number of its own", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.NeedsHands)
		return s.tell(&recovery.HandsFinished{Host: "a1", By: "ann", Attempt: "a1/1", Until: s.at.Add(time.Hour)})
	}},
	{"ends-once", "a second end", func() *story {
		return tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.Waiting).ends("a1", recovery.Succeeded, recovery.Verifying)
	}},
	{"ends-once", "the end of one that never started", func() *story { return tale().begin().ends("a1", recovery.Succeeded, recovery.Verifying) }},
	{"late-changes-nothing", "it moves the host", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.ending("a1", recovery.Succeeded, recovery.Verifying)
		e.Late = true
		return s.tell(e)
	}},
	{"late-changes-nothing", "twice", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.ending("a1", recovery.Succeeded, "")
		e.Late = true
		return s.tell(e).tell(e)
	}},
	{"late-changes-nothing", "of the attempt under way", func() *story {
		s := tale().begin().canary("a1")
		e := s.ending("a1", recovery.Succeeded, "")
		e.Late = true
		return s.tell(e)
	}},
	{"wave-order", "the second before the first has passed", func() *story { s := tale().begin().share(); return s.tell(s.opening(2)) }},
	{"wave-order", "an opening that a person should approve", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.Approval = true })).begin().share().after(5 * time.Minute)
		return s.tell(&recovery.WavePassed{Wave: 1}).tell(s.opening(2))
	}},
	{"wave-order", "an opening twice", func() *story { s := tale().begin(); return s.tell(s.opening(1)) }},
	{"wave-order", "a person skips a wave", func() *story {
		s := tale().planned()
		s.tell(&recovery.PlanApproved{Digest: s.plan.Digest}).tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "now"})
		return s.tell(s.opening(2))
	}},
	{"wave-numbers", "a share rounded down", func() *story {
		s := tale().planned()
		e := s.opening(1)
		e.Need = 1 // 30 % of 6 is 1.8
		return s.tell(&recovery.PlanApproved{Digest: s.plan.Digest}).tell(e)
	}},
	{"wave-numbers", "a limit rounded up", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxFailed = recovery.Limit{Count: 25, Percent: true} }))
		return s.opened(recovery.Limits{Failed: 2, Unreachable: 6, InFlight: 64}) // 25 % of 6 is 1.5
	}},
	{"wave-open-first", "a start in a closed wave", func() *story { return tale().begin().first().canary("b1") }},
	{"wave-open-first", "a host on the board before its wave", func() *story {
		s := tale(with(func(s *story) { s.host("b1").Ladder = s.host("b1").Ladder[2:] })).begin()
		return s.tell(&recovery.HostNeedsHands{Host: "b1"})
	}},
	{"wave-gate", "below its share", func() *story { return tale().begin().first().after(time.Hour).tell(&recovery.WavePassed{Wave: 1}) }},
	{"wave-gate", "without its critical host", func() *story {
		s := tale().begin().first().repaired("a2").after(10 * time.Minute)
		return s.tell(s.recovering("a2")).after(time.Hour).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"wave-gate", "over its limit of failures", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxFailed = limit(0) })).opened(recovery.Limits{Unreachable: 6, InFlight: 64})
		s.share().starts("a2").ends("a2", recovery.Failed, recovery.NeedsHands)
		return s.after(time.Hour).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"wave-gate", "while a breaker holds it", func() *story {
		s := tale().begin().share().tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerFailed})
		return s.after(time.Hour).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"gate-soak", "too early", func() *story {
		return tale().begin().share().after(4 * time.Minute).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"gate-soak", "a pause counted", func() *story {
		s := tale().begin().share().after(time.Minute).pause().after(time.Hour).resume()
		return s.after(3 * time.Minute).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"gate-soak", "a share lost in between", func() *story {
		s := tale().begin().share().tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting}).after(time.Hour)
		s.repaired("a1").after(10 * time.Minute).tell(s.recovering("a1"))
		return s.after(4 * time.Minute).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"held-wave", "a start", func() *story {
		return tale().begin().first().tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerSignature}).starts("a2")
	}},
	{"over-limit", "too many failed", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxFailed = limit(0) })).opened(recovery.Limits{Unreachable: 6, InFlight: 64})
		return s.first().starts("a2").ends("a2", recovery.Failed, recovery.Waiting).starts("a3")
	}},
	{"over-limit", "too many unreachable", func() *story {
		s := tale(with(func(s *story) {
			s.fleet.Tiers[0].Gate.MaxUnreachable = limit(0)
			s.host("a2").Ladder = s.host("a2").Ladder[:1]
		}))
		s.opened(recovery.Limits{Failed: 6, InFlight: 64}).first().starts("a2").ends("a2", recovery.Unreachable, recovery.NeedsHands)
		return s.starts("a3")
	}},
	{"over-limit", "too many alike", func() *story {
		s := tale(with(func(s *story) { s.fleet.Policy.SameSignature = 1 })).begin().first()
		return s.starts("a2").ends("a2", recovery.Failed, recovery.Waiting).starts("a3")
	}},
	{"over-limit", "too many in the incident", func() *story {
		s := tale(with(func(s *story) { s.fleet.Policy.IncidentFailures = recovery.Limit{Count: 12, Percent: true} })).begin().first() // 12 % of 8 is 0.96
		return s.starts("a2").ends("a2", recovery.Failed, recovery.Waiting).starts("a3")
	}},
	{"over-limit", "a wave held below its share is still over its limit", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxFailed = limit(0) })).opened(recovery.Limits{Unreachable: 6, InFlight: 64})
		s.first().skip("a2", "a3", "a4", "a5", "c1").tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerBelowShare})
		return s.tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting}).canary("a1")
	}},
	{"canary-first", "a second host beside it", func() *story { return tale().begin().canary("a1").starts("a2") }},
	{"canary-first", "a second host while it soaks", func() *story {
		return tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").starts("a2")
	}},
	{"canary-first", "a canary by name only", func() *story { return tale().begin().first().canary("a2") }},
	{"ramp", "three where two may be", func() *story { return tale().begin().first().starts("a2").starts("a3").starts("a4") }},
	{"ramp", "more than the wave allows", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxInFlight = 1 })).opened(recovery.Limits{Failed: 6, Unreachable: 6, InFlight: 1})
		return s.first().starts("a2").starts("a3")
	}},
	{"group-at-once", "both of a pair", func() *story {
		s := tale(with(func(s *story) { s.host("a2").Groups, s.host("a3").Groups = []string{"pair"}, []string{"pair"} })).begin()
		return s.first().starts("a2").starts("a3")
	}},
	{"group-at-once", "the second before the first is proven", func() *story {
		s := tale(with(func(s *story) { s.host("a2").Groups, s.host("a3").Groups = []string{"pair"}, []string{"pair"} })).begin()
		return s.first().starts("a2").ends("a2", recovery.Succeeded, recovery.Verifying).starts("a3")
	}},
	{"group-down-together", "one that is up, while the other is down", func() *story {
		s := tale(with(func(s *story) { s.host("a2").Groups, s.host("a3").Groups = []string{"pair"}, []string{"pair"} })).begin()
		s.first().starts("a2").ends("a2", recovery.Failed, recovery.NeedsHands)
		return s.hears("a2", false).hears("a3", true).starts("a3")
	}},
	{"resource-slots", "ssh", func() *story {
		s := tale(with(func(s *story) {
			s.fleet.Resources = append(s.fleet.Resources, recovery.Resource{Name: recovery.ResourceSSH, Slots: 1})
		}))
		return s.begin().first().starts("a2").starts("a3")
	}},
	{"resource-slots", "a site", func() *story {
		s := tale(with(func(s *story) { s.host("a2").Resources, s.host("a3").Resources = []string{"site"}, []string{"site"} })).begin()
		return s.first().starts("a2").starts("a3")
	}},
	{"resource-slots", "a rung's own, before the proof", func() *story {
		s := tale(with(func(s *story) {
			s.host("a2").Ladder, s.host("a3").Ladder, s.host("a1").OS = s.host("a2").Ladder[1:], s.host("a3").Ladder[1:], "windows"
			s.host("a3").OS = "other"
		})).begin()
		return s.canary("a2").ends("a2", recovery.Succeeded, recovery.Verifying).canary("a3")
	}},
	{"dependencies-first", "a service that is down", func() *story {
		s := tale().begin().tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "now"})
		return s.tell(s.opening(2)).canary("b1")
	}},
	{"dependencies-first", "a service whose critical host is down", func() *story {
		s := tale().begin().first().repaired("a2").tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "now"})
		return s.tell(s.opening(2)).canary("b1")
	}},
	{"one-owner", "a start on a claimed host", func() *story {
		s := tale().begin()
		return s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)}).after(time.Minute).canary("a1")
	}},
	{"one-owner", "two people", func() *story {
		s := tale().begin()
		s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)})
		return s.tell(&recovery.HostClaimed{Host: "a1", By: "bob", Until: s.at.Add(time.Hour)})
	}},
	{"one-owner", "a pause does not run a claim out", func() *story {
		s := tale().begin()
		s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)}).pause().after(2 * time.Hour).resume()
		return s.canary("a1")
	}},
	{"one-owner", "a claim of what is being worked on", func() *story {
		s := tale().begin().canary("a1")
		return s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)})
	}},
	{"one-owner", "another's hand work", func() *story {
		s := tale().begin()
		s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)})
		return s.tell(&recovery.HandsFinished{Host: "a1", By: "bob", Attempt: "a1/1", Until: s.at.Add(time.Hour)})
	}},
	{"reboot-forbidden", "a rung", func() *story {
		s := tale(with(func(s *story) { s.playbook.Reboot = recovery.RebootForbidden })).begin()
		e := s.starting("a1", 1)
		e.Canary = true
		return s.tell(e)
	}},
	{"reboot-forbidden", "a result", func() *story {
		s := tale(with(func(s *story) { s.playbook.Reboot = recovery.RebootForbidden })).begin().canary("a1")
		e := s.ending("a1", recovery.Succeeded, recovery.Verifying)
		e.Result.Rebooted = true
		return s.tell(e)
	}},
	{"ladder-order", "another rung than was decided", func() *story {
		s := tale().begin()
		e := s.starting("a1", 1)
		e.Canary = true
		return s.tell(e)
	}},
	{"ladder-order", "a rung is left out", func() *story {
		s := tale(with(func(s *story) { h := s.host("a1"); h.Ladder = append(h.Ladder[:1:1], h.Ladder...) })).begin().canary("a1")
		e := s.ending("a1", recovery.Failed, recovery.Waiting)
		e.Rung = 2
		return s.tell(e)
	}},
	{"ladder-order", "a person's rung", func() *story {
		s := tale().begin().tell(&recovery.HostReturned{Host: "a1", Rung: 2})
		e := s.starting("a1", 2)
		e.Canary = true
		return s.tell(e)
	}},
	{"ladder-order", "the plan begins in the middle", func() *story {
		s := tale()
		s.plan.Waves[0].Hosts[0].Rung = 1
		return s.planned()
	}},
	{"ladder-order", "the hands board while a rung is left", func() *story { return tale().begin().tell(&recovery.HostNeedsHands{Host: "a1"}) }},
	{"attempt-cap", "one more", func() *story {
		s := tale(with(func(s *story) { s.fleet.Policy.MaxAttempts = 1 })).begin()
		return s.canary("a1").ends("a1", recovery.Failed, recovery.Waiting).canary("a1")
	}},
	{"tries-per-rung", "a third try", func() *story {
		return tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.Waiting).canary("a1").ends("a1", recovery.Failed, recovery.Waiting)
	}},
	{"tries-per-rung", "a third try without a proof", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.Waiting).canary("a1").ends("a1", recovery.Lost, recovery.Verifying)
		return s.tell(&recovery.ProofFailed{Host: "a1", Next: recovery.Waiting})
	}},
	{"backoff", "no pause", func() *story { return tale().begin().canary("a1").ends("a1", recovery.Unreachable, recovery.Waiting) }},
	{"backoff", "a pause that does not double", func() *story {
		s := tale(with(func(s *story) { s.fleet.Policy.TriesPerRung = 3 })).begin()
		for range 2 {
			s.canary("a1")
			e := s.ending("a1", recovery.TimedOut, recovery.Waiting)
			e.Until = s.at.Add(time.Minute)
			s.tell(e).after(time.Minute)
		}
		return s
	}},
	{"backoff", "a start in the pause", func() *story {
		s := tale().begin().canary("a1")
		e := s.ending("a1", recovery.Unreachable, recovery.Waiting)
		e.Until = s.at.Add(time.Minute)
		return s.tell(e).after(59 * time.Second).canary("a1")
	}},
	{"backoff", "a restart of the coordinator counted", func() *story {
		s := tale().begin().canary("a1")
		e := s.ending("a1", recovery.Unreachable, recovery.Waiting)
		e.Until = s.at.Add(time.Minute)
		died := s.at
		return s.tell(e).after(time.Hour).tell(&recovery.CoordinatorRestarted{Alive: died}).canary("a1")
	}},
	{"class-decides", "a claim is not verified", func() *story { return tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Waiting) }},
	{"class-decides", "a failure is taken for a claim", func() *story { return tale().begin().canary("a1").ends("a1", recovery.Failed, recovery.Verifying) }},
	{"class-decides", "nothing found, and the same again", func() *story { return tale().begin().canary("a1").ends("a1", recovery.NothingFound, recovery.Waiting) }},
	{"class-decides", "an unknown class is guessed", func() *story { return tale().begin().canary("a1").ends("a1", "strange", recovery.Waiting) }},
	{"class-decides", "a script after hand work", func() *story {
		s := tale().begin()
		s.tell(&recovery.HandsFinished{Host: "a1", By: "ann", Attempt: "a1/1", Until: s.at.Add(time.Hour)}).after(time.Hour)
		return s.tell(&recovery.ProofFailed{Host: "a1", Next: recovery.Waiting})
	}},
	{"a-person-looks", "another machine", func() *story {
		return tale().begin().canary("a1").ends("a1", recovery.HostKeyMismatch, recovery.Waiting)
	}},
	{"a-person-looks", "no login", func() *story { return tale().begin().canary("a1").ends("a1", recovery.AuthRefused, recovery.Waiting) }},
	{"a-person-looks", "no key", func() *story { return tale().begin().canary("a1").ends("a1", recovery.Locked, recovery.Verifying) }},
	{"steps-forward", "back", func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepPowerOn)
		return s.step("a1", recovery.StepPowerOff)
	}},
	{"steps-forward", "after the end", func() *story {
		s := tale().begin().climb("a1")
		e := s.ending("a1", recovery.Failed, recovery.Waiting)
		e.Rung = 1
		return s.tell(e).step("a1", recovery.StepPowerOff)
	}},
	{"steps-forward", "on a login", func() *story { return tale().begin().canary("a1").step("a1", recovery.StepPowerOff) }},
	{"rescue-once", "twice", func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepPowerOn)
		return s.served("a1").served("a1")
	}},
	{"rescue-once", "before it is switched on", func() *story {
		return tale().begin().climb("a1").step("a1", recovery.StepPowerOff).served("a1")
	}},
	{"rescue-once", "to a host that nobody works on", func() *story { return tale().begin().served("a1") }},
	{"boot-target", "set without a debt", func() *story {
		s := tale().begin().climb("a1")
		return s.tell(&recovery.AttemptProgressed{Host: "a1", Attempt: s.id("a1"), Step: recovery.StepBootTarget})
	}},
	{"boot-target", "cleared by word while the engine sees to it", func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepBootTarget).ends("a1", recovery.Succeeded, recovery.Verifying)
		return s.tell(&recovery.DebtCleared{Host: "a1", Debt: recovery.DebtBootTarget, By: "ann", Note: "I think so"})
	}},
	{"boot-target", "cleared, and never set", func() *story { return tale().begin().tell(&recovery.BootTargetCleared{Host: "a1"}) }},
	{"boot-target", "stuck, and never set", func() *story { return tale().begin().tell(&recovery.BootTargetStuck{Host: "a1"}) }},
	{"boot-target", "an abort closes over it untried", func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepBootTarget)
		return s.tell(s.aborts()).ends("a1", recovery.AuthRefused, recovery.NeedsHands).tell(s.closing(recovery.OutcomeAborted, 0))
	}},
	{"proof-complete", "bad content", provenAs(func(v *recovery.HostProven) { v.Sighting.Content[0].Bad = 1 })},
	{"proof-complete", "no good content", provenAs(func(v *recovery.HostProven) { v.Sighting.Content[0].Good = 0 })},
	{"proof-complete", "the wrong place", provenAs(func(v *recovery.HostProven) { v.Sighting.Content[0].Missing = true })},
	{"proof-complete", "a probe that failed", provenAs(func(v *recovery.HostProven) { v.Sighting.Content[0].Error = "no permission" })},
	{"proof-complete", "another playbook's probe", provenAs(func(v *recovery.HostProven) { v.Sighting.Content[0].Playbook = "sha256:other" })},
	{"proof-complete", "a check that fails", provenAs(func(v *recovery.HostProven) { v.Sighting.Health[0].OK = false })},
	{"proof-complete", "safe mode", provenAs(func(v *recovery.HostProven) { v.Sighting.BootMode = recovery.BootSafe })},
	{"proof-complete", "last words", provenAs(func(v *recovery.HostProven) { v.Sighting.Connected = false })},
	{"proof-complete", "another host's words", provenAs(func(v *recovery.HostProven) { v.Sighting.Host = "a2" })},
	{"proof-complete", "its boot target is open", func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepBootTarget)
		return s.ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1")
	}},
	{"proof-after-restart", "the boot before the attempt", provenAs(func(v *recovery.HostProven) { v.Sighting.BootID = "a1-boot0" })},
	{"proof-after-restart", "an unknown boot", provenAs(func(v *recovery.HostProven) { v.Sighting.BootID = "" })},
	{"proof-after-restart", "no boot to compare with", func() *story {
		s := tale().begin()
		e := s.starting("a1", 0)
		e.Canary, e.BootBefore = true, ""
		return s.tell(e).ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1")
	}},
	{"proof-after-restart", "the boot in which a script ran and failed", func() *story {
		s := tale().begin().canary("a1")
		e := s.ending("a1", recovery.Failed, recovery.Waiting)
		e.Result.Boot = "a1-boot1"
		return s.tell(e).proves("a1")
	}},
	{"proof-after-restart", "the boot in which a script ran, as its late result tells", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.ending("a1", recovery.Succeeded, "")
		e.Late, e.Result.Boot = true, "a1-boot1"
		return s.tell(e).proves("a1")
	}},
	{"proof-answers", "a question from before the attempt", provenAs(func(v *recovery.HostProven) { v.Sighting.Answers = "a1/0/verify/0" })},
	{"proof-answers", "a question from before the relapse", func() *story {
		s := tale().begin().first().tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting})
		e := s.proof("a1")
		e.Sighting.Answers = "a1/1/verify/0"
		return s.tell(e)
	}},
	{"proof-answers", "again in the same boot", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(time.Minute)
		e := s.proof("a1")
		e.Sighting.BootID, e.Sighting.Answers = "a1-boot1", "a1/1/verify/0"
		return s.tell(e)
	}},
	{"soak-held", "too early", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(9 * time.Minute)
		return s.tell(s.recovering("a1"))
	}},
	{"soak-held", "a pause counted", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").pause().after(time.Hour).resume()
		return s.tell(s.recovering("a1"))
	}},
	{"soak-held", "a restart of the coordinator counted", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1")
		died := s.at
		s.after(time.Hour).tell(&recovery.CoordinatorRestarted{Alive: died})
		return s.tell(s.recovering("a1"))
	}},
	{"soak-held", "without a proof", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).after(time.Hour)
		return s.tell(s.recovering("a1"))
	}},
	{"soak-held", "a soak shorter than the playbook's", provenAs(func(v *recovery.HostProven) { v.SoakUntil = v.SoakUntil.Add(-time.Minute) })},
	{"debts-recorded", "one is left out", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(10 * time.Minute)
		return s.tell(&recovery.HostRecovered{Host: "a1"})
	}},
	{"debts-recorded", "one of the environment that was used", func() *story {
		s := tale().begin().climb("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(10 * time.Minute)
		return s.tell(s.recovering("a1"))
	}},
	{"debts-recorded", "cleared, and never owed", func() *story { return tale().begin().clear("a1") }},
	{"relapse-cap", "again and again", func() *story {
		s := tale().begin()
		for range 3 {
			s.canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting})
		}
		return s
	}},
	{"abort-fates", "a host without one", func() *story {
		s := tale().begin()
		e := s.aborts()
		e.Fates = e.Fates[1:]
		return s.tell(e)
	}},
	{"abort-fates", "a skipped host with one", func() *story { s := tale().begin().skip("a1"); return s.tell(s.aborts()) }},
	{"close-whole", "a debt is open", func() *story {
		s := tale().begin().atTheEnd()
		s.tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting}).repaired("a1").after(10 * time.Minute).tell(s.recovering("a1"))
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7))
	}},
	{"close-whole", "a host on the hands board", func() *story {
		s := tale(with(func(s *story) { s.fleet.Policy.MaxRelapses = 1 })).begin().atTheEnd()
		s.tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.NeedsHands})
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7))
	}},
	{"close-whole", "a host that waits", func() *story { s := tale().begin(); return s.tell(s.closing(recovery.OutcomeWithExceptions, 2)) }},
	{"close-whole", "an abort with an attempt under way", func() *story {
		s := tale().begin().canary("a1")
		return s.tell(s.aborts()).tell(s.closing(recovery.OutcomeAborted, 0))
	}},
	{"honest-outcome", "plain closed over skips", func() *story { s := tale().begin().atTheEnd(); return s.tell(s.closing(recovery.OutcomeClosed, 0)) }},
	{"honest-outcome", "an exception that is not named", func() *story {
		s := tale().begin().atTheEnd()
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 6))
	}},
	{"honest-outcome", "an accepted failure that is not named", func() *story {
		s := tale().begin().atTheEnd().pause().tell(&recovery.IncidentResumed{Accepted: []recovery.Failure{{Host: "a1", Class: recovery.Failed}}})
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7))
	}},
	{"honest-outcome", "an abort that is called a close", func() *story {
		s := tale().begin()
		return s.tell(s.aborts()).tell(s.closing(recovery.OutcomeClosed, 0))
	}},
	{"honest-outcome", "a skip without a reason", func() *story { return tale().begin().tell(&recovery.HostSkipped{Host: "a1"}) }},
	{"sequence", "an entry that nobody has taught the auditor", func() *story { return tale().begin().tell(strange{}) }},
	{"whole-plan", "a host twice in the fleet", func() *story {
		return tale(with(func(s *story) { s.fleet.Hosts[1].Name = "a1" }))
	}},
	{"whole-plan", "a plan for another playbook", func() *story {
		s := tale()
		s.plan.Playbook = "sha256:other"
		return s.planned()
	}},
	{"scope-evidence", "a host twice", func() *story {
		s := tale()
		s.scope[1] = s.scope[0]
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"scope-evidence", "never hit, and in the work", func() *story {
		s := tale()
		v := s.proof("a1").Sighting
		s.scope[0].Class, s.scope[0].Sighting = recovery.NeverHit, &v
		return s.tell(&recovery.IncidentScoped{Hosts: s.scope})
	}},
	{"abort-stops", "an approval", func() *story {
		s := tale().planned()
		return s.tell(s.aborts()).tell(&recovery.PlanApproved{Digest: s.plan.Digest})
	}},
	{"abort-stops", "a pause", func() *story { s := tale().begin(); return s.tell(s.aborts()).pause() }},
	{"abort-stops", "another abort", func() *story { s := tale().begin(); return s.tell(s.aborts()).tell(s.aborts()) }},
	{"abort-stops", "a pass", func() *story {
		s := tale().begin().share().after(5 * time.Minute)
		return s.tell(s.aborts()).tell(&recovery.WavePassed{Wave: 1})
	}},
	{"abort-stops", "the hands board", func() *story {
		s := tale(with(func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[2:] })).begin()
		return s.tell(s.aborts()).tell(&recovery.HostNeedsHands{Host: "a1"})
	}},
	{"pause-stops", "another pause", func() *story { return tale().begin().pause().pause() }},
	{"pause-stops", "the hands board", func() *story {
		s := tale(with(func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[2:] })).begin()
		return s.pause().tell(&recovery.HostNeedsHands{Host: "a1"})
	}},
	{"approval-first", "the hands board", func() *story {
		s := tale(with(func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[2:] })).planned()
		return s.tell(&recovery.HostNeedsHands{Host: "a1"})
	}},
	{"wave-order", "a wave that does not exist", func() *story { return tale().begin().tell(&recovery.WaveApproved{Wave: 9}) }},
	{"wave-order", "a pass twice", func() *story {
		s := tale().begin().share().after(5 * time.Minute).tell(&recovery.WavePassed{Wave: 1})
		return s.tell(&recovery.WavePassed{Wave: 1})
	}},
	{"wave-order", "a closed wave is held", func() *story {
		return tale().begin().tell(&recovery.WaveHeld{Wave: 2, Breaker: recovery.BreakerFailed})
	}},
	{"close-whole", "a wave that never opened", func() *story {
		s := tale().begin().share().clear("a1", "c1").skip("a2", "a3", "a4", "a5", "b1", "b2")
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 8))
	}},
	{"revisit-named", "a host that the old version recovered is forgotten", func() *story {
		s := tale().begin().first()
		return s.tell(&recovery.PlaybookRevised{Playbook: s.second()})
	}},
	{"revisit-named", "the same version again", func() *story {
		s := tale().begin()
		return s.tell(&recovery.PlaybookRevised{Playbook: s.playbook})
	}},
	{"revisit-named", "recovered by the new version's probes after the old one's work", func() *story {
		s := tale().begin().canary("a1").tell(&recovery.PlaybookRevised{Playbook: tale().second()}).ends("a1", recovery.Succeeded, recovery.Verifying)
		return s.tell(s.secondProof("a1")).after(10 * time.Minute).tell(s.recovering("a1"))
	}},
	{"approval-first", "a revision before approval", func() *story {
		s := tale().planned()
		return s.tell(&recovery.PlaybookRevised{Playbook: s.second()})
	}},
	{"approval-first", "the old version after a revision", func() *story {
		s := tale().begin()
		return s.tell(&recovery.PlaybookRevised{Playbook: s.second()}).canary("a1")
	}},
	{"abort-stops", "a revision", func() *story {
		s := tale().begin()
		return s.tell(s.aborts()).tell(&recovery.PlaybookRevised{Playbook: s.second()})
	}},
	{"proof-answers", "a question from before the revision", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).tell(&recovery.PlaybookRevised{Playbook: tale().second()})
		e := s.secondProof("a1")
		e.Sighting.Answers = "a1/1/verify/0"
		return s.tell(e)
	}},
	{"soak-held", "a soak of before the revision", func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").tell(&recovery.PlaybookRevised{Playbook: tale().second()})
		return s.after(time.Hour).tell(s.recovering("a1"))
	}},
	{"canary-first", "a second host beside the new version's canary", func() *story {
		s := tale().begin().first()
		s.tell(&recovery.PlaybookRevised{Playbook: s.second(), Revisit: []string{"a1"}})
		for i, name := range []string{"a2", "a3"} {
			e := s.starting(name, 0)
			e.Attempt.Playbook, e.Canary = "sha256:two", i == 0
			s.tell(e)
		}
		return s
	}},
	{"ramp", "the old version's work takes room", func() *story {
		s := tale(with(func(s *story) { s.fleet.Tiers[0].Gate.MaxInFlight = 1 })).opened(recovery.Limits{Failed: 6, Unreachable: 6, InFlight: 1})
		second := s.second()
		s.tell(&recovery.PlaybookRevised{Playbook: second}) // a1 is recovered with it, then the first version comes again
		e := s.starting("a1", 0)
		e.Attempt.Playbook, e.Canary = second.Digest, true
		s.tell(e).ends("a1", recovery.Succeeded, recovery.Verifying).tell(s.secondProof("a1")).after(10 * time.Minute).tell(s.recovering("a1"))
		s.tell(&recovery.PlaybookRevised{Playbook: s.playbook, Revisit: []string{"a1"}}).canary("a2")
		s.tell(&recovery.PlaybookRevised{Playbook: second})
		e = s.starting("a3", 0)
		e.Attempt.Playbook = second.Digest
		return s.tell(e)
	}},
}

// strange is an event of a later time.
type strange struct{}

func (strange) Kind() string { return "strange" }

// second is another version of the playbook.
func (s *story) second() recovery.Playbook {
	p := s.playbook
	p.Digest = "sha256:two"
	return p
}

// secondProof is a proof by the probes of the second version, after one revision.
func (s *story) secondProof(host string) *recovery.HostProven {
	e := s.proof(host)
	e.Sighting.Content[0].Playbook, e.Sighting.Answers = "sha256:two", s.id(host)+"/revision/1/verify/0"
	return e
}

func (s *story) step(host string, step recovery.Step) *story {
	e := &recovery.AttemptProgressed{Host: host, Attempt: s.id(host), Step: step}
	if step == recovery.StepBootTarget {
		e.Debts = []recovery.Debt{{ID: recovery.DebtBootTarget}}
	}
	return s.tell(e)
}

func (s *story) served(host string) *story {
	return s.tell(&recovery.RescueServed{Host: host, Attempt: s.id(host)})
}

func TestBrokenPromisesAreCaughtByName(t *testing.T) {
	for _, c := range slices.Concat(stories, restoreStories) {
		t.Run(c.invariant+"/"+strings.ReplaceAll(c.how, " ", "-"), func(t *testing.T) {
			s := c.story()
			b := s.audit(t)
			last := s.entries[len(s.entries)-1]
			if b == nil || b.Invariant != c.invariant || b.Seq != last.Seq {
				t.Errorf("got %v, want entry %d to break %s", b, last.Seq, c.invariant)
			}
		})
	}
}

// Every promise has a story that breaks it, and every story breaks one that is listed.
func TestEveryPromiseCanBeBroken(t *testing.T) {
	told := map[string]bool{"accounted-for": true} // TestTheEnd
	for _, c := range slices.Concat(stories, restoreStories) {
		told[c.invariant] = true
	}
	for _, i := range audit.Invariants() {
		if !told[i.Name] || i.Promise == "" || i.Source == "" {
			t.Errorf("%q is broken by no story, or says nothing: %+v", i.Name, i)
		}
		delete(told, i.Name)
	}
	for name := range told {
		t.Errorf("%q is not listed", name)
	}
}

func TestTheEnd(t *testing.T) {
	s := tale().begin().first()
	a := audit.New()
	for _, e := range s.entries {
		if b := a.See(e); b != nil {
			t.Fatal(b)
		}
	}
	b := a.End()
	if b == nil || b.Invariant != "accounted-for" {
		t.Fatalf("the end of an incident that is not over: %v", b)
	}
	if again := a.See(recovery.Entry{Seq: 99}); again != b || a.End() != b {
		t.Errorf("after a breach comes another one: %v", again)
	}
	if !strings.Contains(b.Error(), b.Invariant) || !strings.Contains(b.Error(), b.Detail) {
		t.Errorf("error %q", b)
	}
}
