package audit_test

import (
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Odd stories in which every promise is kept: an auditor that cries over them is of no use.
var sound = map[string]func() *story{
	"closed with exceptions": func() *story {
		s := tale().begin().atTheEnd()
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7))
	},
	"plain closed": func() *story {
		s := tale(func(s *story) {
			s.fleet.Hosts = []recovery.Host{*s.host("a1"), *s.host("b1")}
			s.fleet.Hosts[1].EDR.Product = "none"
		}).planned()
		s.tell(&recovery.PlanApproved{Digest: s.plan.Digest})
		s.tell(&recovery.WaveOpened{Wave: 1, Size: 1, Need: 1, Limits: recovery.Limits{Failed: 1, Unreachable: 1, InFlight: 64}})
		s.first().clear("a1").after(5 * time.Minute).tell(&recovery.WavePassed{Wave: 1})
		return s.tell(&recovery.WaveOpened{Wave: 2, Limits: recovery.Limits{InFlight: 64}}).tell(&recovery.WavePassed{Wave: 2}).tell(s.closing(recovery.OutcomeClosed, 0))
	},
	"aborted in a pause, and a debt cleared afterwards": func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepBootTarget).pause().tell(&recovery.AgentRefused{Host: "a2"})
		s.tell(s.aborts()).ends("a1", recovery.AuthRefused, recovery.NeedsHands)
		for range 3 {
			s.tell(&recovery.BootTargetStuck{Host: "a1"})
		}
		s.tell(s.closing(recovery.OutcomeAborted, 0))
		return s.tell(&recovery.DebtCleared{Host: "a1", Debt: recovery.DebtBootTarget, By: "ann", Note: "seen at the console"})
	},
	"a person lifts a host's holds": func() *story {
		s := tale().begin().canary("a1").tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerFailed})
		s.tell(&recovery.HoldOverridden{Target: "host:a2", Reason: "now"}).starts("a2")
		return s.tell(&recovery.HoldOverridden{Target: "host:b1", Reason: "now"}).canary("b1")
	},
	"a person lifts a service and opens a wave": func() *story {
		s := tale().begin().tell(&recovery.HoldOverridden{Target: "service:base", Reason: "up by hand"})
		return s.tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "now"}).tell(s.opening(2)).canary("b1")
	},
	"a person passes a wave with what it has": func() *story {
		s := tale().begin().first().tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerBelowShare})
		s.tell(&recovery.HoldOverridden{Target: "wave:1", Reason: "enough"}).tell(&recovery.WavePassed{Wave: 1})
		return s.tell(s.opening(2))
	},
	"a wave below its share is worked on": func() *story {
		return tale().begin().first().tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerBelowShare}).starts("a2")
	},
	"accepted failures count no more": func() *story {
		s := tale(func(s *story) { s.fleet.Tiers[0].Gate.MaxFailed = limit(0) }).opened(recovery.Limits{Unreachable: 6, InFlight: 64})
		s.first().starts("a2").ends("a2", recovery.Failed, recovery.Waiting).tell(&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerFailed})
		return s.tell(&recovery.WaveReleased{Wave: 1, Accepted: []recovery.Failure{{Host: "a2", Class: recovery.Failed}}}).starts("a3")
	},
	"unreachable counts when no rung is left": func() *story {
		s := tale(func(s *story) { s.fleet.Tiers[0].Gate.MaxUnreachable = limit(0) }).opened(recovery.Limits{Failed: 6, InFlight: 64}).first().starts("a2")
		e := s.ending("a2", recovery.Unreachable, recovery.Waiting)
		e.Until = s.at.Add(time.Minute)
		return s.tell(e).starts("a3")
	},
	"two last tries that were decided together": func() *story {
		s := tale(func(s *story) {
			s.fleet.Tiers[0].Gate.MaxUnreachable, s.fleet.Policy.TriesPerRung = limit(0), 2
			s.host("a2").Ladder, s.host("a3").Ladder = s.host("a2").Ladder[:1], s.host("a3").Ladder[:1]
		}).opened(recovery.Limits{Failed: 6, InFlight: 64}).first().starts("a2").starts("a3")
		for _, name := range []string{"a2", "a3"} {
			e := s.ending(name, recovery.Unreachable, recovery.Waiting)
			e.Until = s.at.Add(time.Minute)
			s.tell(e)
		}
		return s.after(time.Minute).starts("a2").starts("a3")
	},
	"the clock is set back": func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).after(-time.Hour).proves("a1")
		return s.after(10 * time.Minute).tell(s.recovering("a1"))
	},
	"a pause stops every clock": func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(9 * time.Minute).pause().after(time.Hour)
		died := s.at.Add(-time.Minute)
		s.tell(&recovery.CoordinatorRestarted{Alive: died}).resume().after(time.Minute).tell(s.recovering("a1"))
		return s
	},
	"late results": func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.TimedOut, recovery.NeedsHands).tell(&recovery.HostReturned{Host: "a1"}).canary("a1")
		return s.tell(&recovery.AttemptEnded{Attempt: "a1/1", Host: "a1", Late: true, Result: recovery.Result{Class: recovery.HostKeyMismatch}}).
			ends("a1", recovery.Succeeded, recovery.Verifying)
	},
	"the last rung is waited on, and what was stopped does not count": func() *story {
		s := tale(func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[:1] }).begin()
		for _, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			s.canary("a1")
			e := s.ending("a1", recovery.Unreachable, recovery.Waiting)
			e.Until = s.at.Add(pause)
			s.tell(e).after(pause)
		}
		return s.canary("a1").ends("a1", recovery.Cancelled, recovery.Waiting).canary("a1")
	},
	"restarted in the soak": func() *story {
		s := tale().begin().canary("a1").ends("a1", recovery.Succeeded, recovery.Verifying).proves("a1").after(9 * time.Minute)
		e := s.proof("a1")
		e.Sighting.Answers = "a1/1/verify/0" // the question stands
		return s.tell(e).after(10 * time.Minute).tell(s.recovering("a1"))
	},
	"healed by itself": func() *story {
		s := tale().begin().proves("a1").after(10 * time.Minute)
		return s.tell(&recovery.HostRecovered{Host: "a1"}).canary("a2") // it says nothing about the playbook
	},
	"a relapse, hand work, and a claim": func() *story {
		s := tale().begin().first().tell(&recovery.HostRelapsed{Host: "a1", Next: recovery.Waiting}).canary("a1").ends("a1", recovery.Locked, recovery.NeedsHands)
		s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)})
		s.tell(&recovery.HandsFinished{Host: "a1", By: "ann", Attempt: "a1/3", Until: s.at.Add(time.Hour)})
		s.tries["a1"], s.proofs["a1"] = 3, 0
		return s.proves("a1").after(10 * time.Minute).tell(&recovery.HostRecovered{Host: "a1", Debts: []recovery.Debt{{ID: "disk"}}}) // the other debt is open still
	},
	"a claim that ran out": func() *story {
		s := tale().begin()
		return s.tell(&recovery.HostClaimed{Host: "a1", By: "ann", Until: s.at.Add(time.Hour)}).after(time.Hour + 1).canary("a1")
	},
	"from outside": func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepPowerOff).step("a1", recovery.StepBootTarget).step("a1", recovery.StepPowerOn).served("a1")
		s.step("a1", recovery.StepInside).step("a1", recovery.StepOwnDisk)
		e := s.ending("a1", recovery.Succeeded, recovery.Verifying)
		e.Result.BootTarget, e.Result.Rebooted = recovery.BootTargetDisk, true
		s.tell(e).proves("a1").after(10 * time.Minute)
		r := s.recovering("a1")
		r.Debts = append(r.Debts, recovery.Debt{ID: "disk"})
		return s.tell(r)
	},
	"a boot target that is cleared later": func() *story {
		s := tale().begin().climb("a1").step("a1", recovery.StepBootTarget).ends("a1", recovery.Succeeded, recovery.Verifying)
		return s.tell(&recovery.BootTargetStuck{Host: "a1"}).tell(&recovery.BootTargetCleared{Host: "a1"}).proves("a1")
	},
	"one of a pair after the other": func() *story {
		s := tale(func(s *story) { s.host("a2").Groups, s.host("a3").Groups = []string{"pair"}, []string{"pair"} }).begin().first()
		return s.hears("a2", true).hears("a3", true).repaired("a2").starts("a3")
	},
	"a rung's own slot after the proof": func() *story {
		s := tale(func(s *story) {
			s.host("a2").Ladder, s.host("a3").Ladder = s.host("a2").Ladder[1:], s.host("a3").Ladder[1:]
			s.host("a2").OS, s.host("a3").OS = "other", "another"
		}).begin()
		return s.canary("a2").ends("a2", recovery.Succeeded, recovery.Verifying).proves("a2").canary("a3")
	},
	"never hit, and hit later": func() *story {
		s := tale()
		v := s.proof("a5").Sighting
		for i := range s.scope {
			if s.scope[i].Host == "a5" {
				s.scope[i].Class, s.scope[i].Planned, s.scope[i].Sighting = recovery.NeverHit, false, &v
			}
		}
		s.plan = recovery.NewPlan(s.fleet, s.playbook, s.scope, recovery.Stock{})
		s.planned().tell(&recovery.PlanApproved{Digest: s.plan.Digest}).tell(&recovery.HostReturned{Host: "a5"})
		return s.tell(s.opening(1)).canary("a5") // it is one of the wave's six again
	},
	"no rung leads to it": func() *story {
		s := tale(func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[2:] }).begin()
		return s.tell(&recovery.HostNeedsHands{Host: "a1"})
	},
	"another version of the playbook": func() *story {
		s := tale().begin().first().starts("a2")
		s.tell(&recovery.PlaybookRevised{Playbook: s.second(), Revisit: []string{"a1"}})
		s.ends("a2", recovery.Succeeded, recovery.Verifying).tell(s.secondProof("a2")).after(10 * time.Minute)
		r := s.recovering("a2")
		r.Debts = append(r.Debts, recovery.Debt{ID: recovery.DebtRevisit})
		s.tell(r)
		e := s.starting("a3", 0)
		e.Attempt.Playbook, e.Canary = s.second().Digest, true
		return s.tell(e)
	},
	"a run's journal": func() *story {
		s := tale()
		s.entries = nil
		return s.tell(&recovery.RunDeclared{Run: "r"}).tell(s.starting("a1", 0)).tell(&recovery.RunEnded{})
	},
}

func TestSoundStoriesPass(t *testing.T) {
	for _, list := range []map[string]func() *story{sound, soundRestores} {
		for name, story := range list {
			t.Run(name, func(t *testing.T) {
				if b := story().audit(t); b != nil {
					t.Error(b)
				}
			})
		}
	}
}
