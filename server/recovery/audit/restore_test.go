package audit_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const onRestore = 2 // the rung of a stocked host, below its own system and rescue

func ref(host, id string) recovery.PointRef {
	return recovery.PointRef{DataSet: host + "-data", Repository: "vault", ID: id}
}

// vaultPoint was taken some hours before the outage and is verified as far as anybody asks.
func vaultPoint(host, id string, hours int) recovery.RestorePoint {
	at := t0.Add(time.Duration(-hours) * time.Hour)
	return recovery.RestorePoint{PointRef: ref(host, id), Kind: recovery.PointFiles, TakenAt: at, SeenAt: at,
		Checks: []recovery.PointCheck{{Level: recovery.L4, OK: true, At: at.Add(time.Hour), By: "test"}}}
}

// stocked is a story whose hosts can be restored from two points each, 4 and 28 hours old, out of one repository.
func stocked(data recovery.DataClass, change ...func(s *story)) *story {
	return tale(append([]func(*story){func(s *story) {
		s.fleet.Repositories = []recovery.Repository{{Name: "vault", Slots: 1}}
		s.fleet.Resources = append(s.fleet.Resources, recovery.Resource{Name: "vault", Slots: 1})
		for i := range s.fleet.Hosts {
			h := &s.fleet.Hosts[i]
			h.Data = data
			h.Ladder = slices.Insert(slices.Clone(h.Ladder), onRestore, recovery.Rung{Name: "restore", Kind: recovery.RungRestore})
			s.fleet.DataSets = append(s.fleet.DataSets, recovery.DataSet{Name: h.Name + "-data", Host: h.Name, Repository: "vault"})
			s.points = append(s.points, vaultPoint(h.Name, "new", 4), vaultPoint(h.Name, "old", 28))
		}
	}}, change...)...)
}

func (s *story) restoring(host, id string) *recovery.AttemptStarted {
	e := s.starting(host, onRestore)
	hours := map[string]int{"new": 4, "old": 28}
	e.Attempt.Method, e.Attempt.Runner = recovery.MethodRestore, host
	e.Attempt.Restores = []recovery.Restore{{Point: ref(host, id), Moment: t0.Add(time.Duration(-hours[id]) * time.Hour)}}
	e.Canary = true
	return e
}

func (s *story) restores(host, id string) *story { return s.tell(s.restoring(host, id)) }

// swapping is the end of a restore that has swapped something in, with the debts of it.
func (s *story) swapping(host string, class recovery.Class, next recovery.Phase) *recovery.AttemptEnded {
	e := s.ending(host, class, next)
	e.Rung = onRestore
	e.Result.Sets = []recovery.SetResult{{DataSet: host + "-data", Repository: "vault", Point: "new", Swapped: true, Kept: "/srv/data.old"}}
	e.Debts = []recovery.Debt{{ID: fmt.Sprintf("%s/%s-data/%d", recovery.DebtOldCopy, host, s.tries[host])}}
	if data := s.host(host).Data; data != recovery.DataNone {
		e.Debts = append(e.Debts, recovery.Debt{ID: recovery.DebtReEnter + "/" + host + "-data"})
		if data == recovery.DataReplica {
			e.Debts = append(e.Debts, recovery.Debt{ID: recovery.DebtReplication})
		}
	}
	return e
}

// failing is the end of a restore that swapped nothing, on the rung that it leads to.
func (s *story) failing(host string, rung int, checks ...recovery.PointCheck) *recovery.AttemptEnded {
	e := s.ending(host, recovery.Failed, recovery.Waiting)
	e.Rung = rung
	e.Result.Sets = []recovery.SetResult{{DataSet: host + "-data", Repository: "vault", Point: "new", Checks: checks}}
	return e
}

func bad(at time.Time) recovery.PointCheck {
	return recovery.PointCheck{Level: recovery.L2, At: at, By: "restore"}
}

// news is what the catalog tells of the newest point of a1.
func (s *story) news(change func(p *recovery.RestorePoint)) *story {
	p := vaultPoint("a1", "new", 4)
	p.SeenAt = s.at
	change(&p)
	return s.tell(&recovery.PointsLearnt{Points: []recovery.RestorePoint{p}})
}

// by makes the last entry somebody's.
func (s *story) by(actor string) *story {
	s.entries[len(s.entries)-1].Actor = actor
	return s
}

func (s *story) approves(host, id string, loss time.Duration) *story {
	return s.tell(&recovery.RestoreApproved{Host: host, Points: []recovery.PointRef{ref(host, id)}, Loss: loss}).by("operator:ann")
}

// exhausted is a story in which a1 has come to its restore, every rung above having found nothing.
func exhausted(data recovery.DataClass, change ...func(s *story)) *story {
	return stocked(data, change...).begin().exhausts()
}

// exhausts takes a1 down to its restore.
func (s *story) exhausts() *story {
	for rung := range onRestore {
		e := s.starting("a1", rung)
		e.Canary = true
		s.tell(e)
		end := s.ending("a1", recovery.NothingFound, recovery.Waiting)
		end.Rung = rung + 1
		s.tell(end)
	}
	return s
}

// unverified is a story in which the points of these data sets, and of no others, are being verified.
func unverified(verifying ...string) *story {
	s := stocked(recovery.DataReplica, rpo(5*time.Hour), func(s *story) {
		for i := range s.points {
			s.points[i].Checks = nil
		}
	})
	return s.begin().tell(&recovery.PointsLearnt{Verifying: verifying})
}

func rpo(d time.Duration) func(s *story) {
	return func(s *story) { s.fleet.Services[0].RPO = d }
}

// learnt starts a restore from the newest point after some news of it.
func learnt(change func(p *recovery.RestorePoint)) func() *story {
	return func() *story { return stocked(recovery.DataNone).begin().news(change).restores("a1", "new") }
}

func started(change func(a *recovery.Attempt)) func() *story {
	return func() *story {
		s := stocked(recovery.DataNone).begin()
		e := s.restoring("a1", "new")
		change(&e.Attempt)
		return s.tell(e)
	}
}

var restoreStories = []broken{
	{"restore-is-told", "without its method", started(func(a *recovery.Attempt) { a.Method = "" })},
	{"restore-is-told", "without points", started(func(a *recovery.Attempt) { a.Restores = nil })},
	{"restore-is-told", "by another agent", started(func(a *recovery.Attempt) { a.Runner = "a2" })},
	{"restore-is-told", "another host's data", started(func(a *recovery.Attempt) { a.Restores[0].Point = ref("a2", "new") })},
	{"restore-is-told", "a repair that names points", func() *story {
		s := stocked(recovery.DataNone).begin()
		e := s.starting("a1", 0)
		e.Canary, e.Attempt.Restores = true, s.restoring("a1", "new").Attempt.Restores
		e.Attempt.N, e.Attempt.ID = 1, "a1/1"
		return s.tell(e)
	}},
	{"last-known-good", "nobody knows it", started(func(a *recovery.Attempt) { a.Restores[0].Point.ID = "other" })},
	{"last-known-good", "it is gone", learnt(func(p *recovery.RestorePoint) { p.Gone = true })},
	{"last-known-good", "in quarantine by word", learnt(func(p *recovery.RestorePoint) {
		p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: t0, By: "ann", Reason: "odd"}
	})},
	{"last-known-good", "a later quarantine that is narrower frees nothing", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].Kind, s.points[0].Until = recovery.PointDatabase, t0 }).begin()
		for i, from := range []int{-5, -1} {
			s.news(func(p *recovery.RestorePoint) {
				p.Kind, p.Until = recovery.PointDatabase, t0
				p.Quarantine = &recovery.Quarantine{From: t0.Add(time.Duration(from) * time.Hour), At: t0.Add(time.Duration(i)), By: "ann"}
			})
		}
		return s.restores("a1", "new")
	}},
	{"last-known-good", "a later quarantine that is wider", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].Kind, s.points[0].Until = recovery.PointDatabase, t0 }).begin()
		for i, from := range []int{-1, -5} {
			s.news(func(p *recovery.RestorePoint) {
				p.Kind, p.Until = recovery.PointDatabase, t0
				p.Quarantine = &recovery.Quarantine{From: t0.Add(time.Duration(from) * time.Hour), At: t0.Add(time.Duration(i)), By: "ann"}
			})
		}
		e := s.restoring("a1", "new")
		e.Attempt.Restores[0].Moment = t0.Add(-time.Hour - time.Second)
		return s.tell(e)
	}},
	{"last-known-good", "a later check failed", learnt(func(p *recovery.RestorePoint) {
		p.Checks = append(p.Checks, bad(t0))
	})},
	{"last-known-good", "it was never verified", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].Checks = nil }).begin()
		return s.restores("a1", "new")
	}},
	{"last-known-good", "verified less than its tier asks", func() *story {
		level := recovery.L4
		s := stocked(recovery.DataNone, func(s *story) {
			s.fleet.Tiers[0].Asks, s.points[0].Checks[0].Level = &level, recovery.L3
		}).begin()
		return s.restores("a1", "new")
	}},
	{"last-known-good", "verified less than its data asks", func() *story {
		s := exhausted(recovery.DataPrimary, func(s *story) { s.points[0].Checks[0].Level = recovery.L2 })
		return s.approves("a1", "new", 4*time.Hour).restores("a1", "new")
	}},
	{"last-known-good", "from after the cutoff", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].TakenAt = t0 }).begin()
		return s.restores("a1", "new")
	}},
	{"last-known-good", "data from after the cutoff out of its logs", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].Kind, s.points[0].Until = recovery.PointDatabase, t0.Add(time.Hour) }).begin()
		e := s.restoring("a1", "new")
		e.Attempt.Restores[0].Moment = t0
		return s.tell(e)
	}},
	{"last-known-good", "there is a newer one", func() *story { return stocked(recovery.DataNone).begin().restores("a1", "old") }},
	{"last-known-good", "condemned by the restore before", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		return s.tell(s.failing("a1", onRestore, bad(t0.Add(time.Minute)))).restores("a1", "new")
	}},
	{"last-known-good", "condemned by a late result", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.failing("a1", 0, bad(t0.Add(time.Minute)))
		e.Late, e.Next = true, ""
		return s.tell(e).tell(&recovery.HostReturned{Host: "a1", Rung: onRestore}).restores("a1", "new")
	}},
	{"restore-consent", "primary data", func() *story { return exhausted(recovery.DataPrimary, rpo(100*time.Hour)).restores("a1", "new") }},
	{"restore-consent", "more is lost than the RPO", func() *story { return exhausted(recovery.DataReplica, rpo(3*time.Hour)).restores("a1", "new") }},
	{"restore-consent", "more is lost than was approved", func() *story {
		return exhausted(recovery.DataReplica).approves("a1", "new", 3*time.Hour).restores("a1", "new")
	}},
	{"restore-consent", "another point was approved", func() *story {
		return exhausted(recovery.DataReplica).approves("a1", "old", 30*time.Hour).restores("a1", "new")
	}},
	{"restore-consent", "no person's", func() *story { return exhausted(recovery.DataPrimary).approves("a1", "new", 4*time.Hour).by("engine") }},
	{"repair-first", "a person names the rung", func() *story {
		s := stocked(recovery.DataPrimary).begin().tell(&recovery.HostReturned{Host: "a1", Rung: onRestore, Named: true})
		return s.approves("a1", "new", 4*time.Hour).restores("a1", "new")
	}},
	{"repair-first", "a rung between was left out", func() *story {
		s := stocked(recovery.DataPrimary).begin().canary("a1").ends("a1", recovery.Failed, recovery.NeedsHands)
		s.tell(&recovery.HostReturned{Host: "a1", Rung: onRestore, Named: true})
		return s.approves("a1", "new", 4*time.Hour).restores("a1", "new")
	}},
	{"checks-awaited", "the hands board meanwhile", func() *story {
		return unverified("a1-data").exhausts().tell(&recovery.HostNeedsHands{Host: "a1"})
	}},
	{"ladder-order", "waiting for a check that nobody makes", func() *story { return unverified("a2-data").exhausts() }},
	{"ladder-order", "a restore before its check has ended", func() *story { return unverified("a1-data").exhausts().restores("a1", "new") }},
	{"restore-cancel", "by the engine", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		return s.tell(&recovery.AttemptCancelAsked{Host: "a1", Attempt: "a1/1", Reason: "too slow"})
	}},
	{"restore-cancel", "without a reason", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		return s.tell(&recovery.AttemptCancelAsked{Host: "a1", Attempt: "a1/1"}).by("operator:ann")
	}},
	{"restore-cancel", "of a repair", func() *story {
		s := stocked(recovery.DataNone).begin().canary("a1")
		return s.tell(&recovery.AttemptCancelAsked{Host: "a1", Attempt: "a1/1", Reason: "too slow"}).by("operator:ann")
	}},
	{"restore-cancel", "passed on unasked", func() *story {
		return stocked(recovery.DataNone).begin().restores("a1", "new").step("a1", recovery.StepCancel)
	}},
	{"restore-cancel", "and the engine goes on", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		s.tell(&recovery.AttemptCancelAsked{Host: "a1", Attempt: "a1/1", Reason: "too slow"}).by("operator:ann").step("a1", recovery.StepCancel)
		e := s.ending("a1", recovery.Cancelled, recovery.Waiting)
		e.Rung = onRestore
		return s.tell(e)
	}},
	{"swap-is-owed", "the old copy", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		e := s.swapping("a1", recovery.Succeeded, recovery.Verifying)
		e.Debts = nil
		return s.tell(e)
	}},
	{"swap-is-owed", "what is to be entered again", func() *story {
		s := exhausted(recovery.DataReplica, rpo(5*time.Hour)).restores("a1", "new")
		e := s.swapping("a1", recovery.Succeeded, recovery.Verifying)
		e.Debts = slices.Delete(e.Debts, 1, 2)
		return s.tell(e)
	}},
	{"swap-is-owed", "replication", func() *story {
		s := exhausted(recovery.DataReplica, rpo(5*time.Hour)).restores("a1", "new")
		e := s.swapping("a1", recovery.Succeeded, recovery.Verifying)
		e.Debts = e.Debts[:2]
		return s.tell(e)
	}},
	{"swap-is-owed", "late", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.swapping("a1", recovery.Succeeded, "")
		e.Late, e.Debts = true, nil
		return s.tell(e)
	}},
	{"swap-is-owed", "a claim without a swap", func() *story {
		return stocked(recovery.DataNone).begin().restores("a1", "new").ends("a1", recovery.Succeeded, recovery.Verifying)
	}},
	{"swap-is-owed", "another attempt after a failed start", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		return s.tell(s.swapping("a1", recovery.Failed, recovery.Waiting))
	}},
	{"never-together", "a repair after a lease that ran out", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		e := s.ending("a1", recovery.TimedOut, recovery.Waiting)
		e.Result.Signature = "lease ran out"
		return s.tell(e)
	}},
	{"never-together", "a repair after a restore that was lost", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").ends("a1", recovery.Lost, recovery.Verifying).after(time.Hour)
		return s.tell(&recovery.ProofFailed{Host: "a1", Next: recovery.Waiting})
	}},
	{"honest-outcome", "a debt that is lived with, and not named", func() *story {
		s := tale().begin().share().clear("a1").tell(&recovery.DebtCleared{Host: "c1", Debt: "agent-disabled", By: "ann", Accepted: true})
		s.after(5*time.Minute).tell(&recovery.WavePassed{Wave: 1}).tell(s.opening(2)).skip("a2", "a3", "a4", "a5", "b1", "b2")
		s.tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "scrapped"}).tell(&recovery.WavePassed{Wave: 2})
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 7))
	}},
	{"ladder-order", "a replica's restore before a rung above that was never tried", func() *story {
		s := stocked(recovery.DataReplica, rpo(5*time.Hour)).begin().tell(&recovery.HostReturned{Host: "a1", Rung: 1, Named: true})
		e := s.starting("a1", 1)
		e.Canary = true
		s.tell(e)
		end := s.ending("a1", recovery.NothingFound, recovery.Waiting)
		end.Rung = onRestore
		return s.tell(end)
	}},
	{"close-whole", "the old copy is there still", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.playbook.Debts = nil }).begin().restores("c1", "new")
		s.tell(s.swapping("c1", recovery.Succeeded, recovery.Verifying)).proves("c1").after(10 * time.Minute).tell(&recovery.HostRecovered{Host: "c1"})
		s.tell(&recovery.HoldOverridden{Target: "wave:1", Reason: "scrapped"}).tell(&recovery.WavePassed{Wave: 1}).tell(s.opening(2))
		s.skip("a1", "a2", "a3", "a4", "a5", "b1", "b2").tell(&recovery.HoldOverridden{Target: "wave:2", Reason: "scrapped"}).tell(&recovery.WavePassed{Wave: 2})
		return s.tell(s.closing(recovery.OutcomeWithExceptions, 9))
	}},
	{"resource-slots", "a repository", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.host("a2").OS = "other" }).begin()
		return s.restores("a1", "new").restores("a2", "new")
	}},
	{"canary-first", "a second restore beside the first", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		e := s.restoring("a2", "new")
		e.Canary = false
		return s.tell(e)
	}},
	{"ladder-order", "a restore of what could be repaired", func() *story {
		s := stocked(recovery.DataReplica, rpo(5*time.Hour)).begin()
		return s.restores("a1", "new")
	}},
	{"ladder-order", "a restore where a person has named another rung", func() *story {
		s := stocked(recovery.DataNone).begin().tell(&recovery.HostReturned{Host: "a1", Rung: 0, Named: true})
		return s.restores("a1", "new")
	}},
	{"ladder-order", "a restore that was tried comes again", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").tell(s2(0))
		for rung := range onRestore {
			e := s.starting("a1", rung)
			e.Canary = true
			s.tell(e)
			end := s.ending("a1", recovery.NothingFound, recovery.Waiting)
			end.Rung = rung + 1
			s.tell(end)
		}
		return s
	}},
	{"ladder-order", "from a point that nobody has", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points = s.points[2:] }).begin()
		return s.restores("a1", "new")
	}},
	{"ladder-order", "the hands board while it could be repaired instead", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points = s.points[:1] })
		for i := range s.plan.Waves[0].Hosts {
			if h := &s.plan.Waves[0].Hosts[i]; h.Host == "a1" {
				h.Rung = onRestore
			}
		}
		return s.begin().news(func(p *recovery.RestorePoint) { p.Gone = true }).after(time.Minute).tell(&recovery.HostNeedsHands{Host: "a1"})
	}},
	{"ladder-order", "from a point in quarantine, the only one", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points = s.points[:1] }).begin()
		s.news(func(p *recovery.RestorePoint) {
			p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: t0, By: "ann"}
		})
		return s.restores("a1", "new")
	}},
	{"tries-per-rung", "the same point a third time", func() *story {
		s := stocked(recovery.DataNone).begin()
		for range 2 {
			s.restores("a1", "new").tell(s.failing("a1", onRestore))
		}
		return s
	}},
	{"attempt-cap", "one point after the other", func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.fleet.Policy.MaxAttempts = 1 }).begin().restores("a1", "new")
		return s.tell(s.failing("a1", onRestore, bad(t0.Add(time.Minute)))).restores("a1", "old")
	}},
	{"sequence", "an entry of the catalog of backups", func() *story { return tale().begin().tell(&recovery.PointChecked{}) }},
	{"proof-after-restart", "the boot in which its own agent restored", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		e := s.swapping("a1", recovery.Succeeded, recovery.Verifying)
		e.Result.Boot = "a1-boot1"
		return s.tell(e).proves("a1")
	}},
	{"proof-after-restart", "the boot in which its own agent's restore failed", func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		e := s.failing("a1", onRestore)
		e.Result.Boot = "a1-boot1"
		return s.tell(e).proves("a1")
	}},
}

// s2 is the end of a1's first restore, which leads to a rung.
func s2(rung int) *recovery.AttemptEnded {
	return &recovery.AttemptEnded{Attempt: "a1/1", Host: "a1", Result: recovery.Result{Class: recovery.Failed}, Next: recovery.Waiting, Rung: rung}
}

// Odd stories of restores in which every promise is kept.
var soundRestores = map[string]func() *story{
	"a stateless host is restored at once": func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").tell(tale().swappedA1())
		s.proves("a1").after(10 * time.Minute).tell(&recovery.HostRecovered{Host: "a1"})
		e := s.restoring("a2", "new")
		e.Canary = false
		return s.tell(e).canary("a3") // the first repair is a canary of its own
	},
	"planned on its restore, when nothing else leads to it": func() *story {
		return stocked(recovery.DataReplica, func(s *story) { s.host("a1").Ladder = s.host("a1").Ladder[onRestore:] }).begin()
	},
	"restores take no room among repairs": func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.fleet.Tiers[0].Gate.MaxInFlight = 1 }).opened(recovery.Limits{Failed: 6, Unreachable: 6, InFlight: 1})
		return s.first().restores("a2", "new").starts("a3")
	},
	"a restore is no version's work": func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").tell(tale().swappedA1())
		s.tell(&recovery.PlaybookRevised{Playbook: s.second()}).tell(s.secondProof("a1")).after(10 * time.Minute)
		return s.tell(&recovery.HostRecovered{Host: "a1"})
	},
	"a restore takes no ssh slot": func() *story {
		s := stocked(recovery.DataNone, func(s *story) {
			s.fleet.Resources = append(s.fleet.Resources, recovery.Resource{Name: recovery.ResourceSSH, Slots: 1})
		}).begin()
		return s.canary("a1").restores("a2", "new")
	},
	"one point after the other, as checks condemn them": func() *story {
		s := stocked(recovery.DataNone, func(s *story) {
			s.fleet.Policy.TriesPerRung = 1
			s.points = append(s.points, vaultPoint("a1", "oldest", 50))
		}).begin().restores("a1", "new")
		return s.tell(s.failing("a1", onRestore, bad(t0.Add(time.Minute)))).restores("a1", "old")
	},
	"after a failed restore comes what is above it": func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").tell(s2(0)).canary("a1")
		end := s.ending("a1", recovery.NothingFound, recovery.Waiting)
		end.Rung = 1
		return s.tell(end)
	},
	"primary data when nothing else has helped, and a person agrees": func() *story {
		s := exhausted(recovery.DataPrimary).approves("a1", "new", 4*time.Hour).restores("a1", "new")
		return s.tell(s.swapping("a1", recovery.Failed, recovery.NeedsHands))
	},
	"a replica within its RPO": func() *story { return exhausted(recovery.DataReplica, rpo(4*time.Hour)).restores("a1", "new") },
	"a restore waits for its check": func() *story {
		s := unverified("a1-data").exhausts()
		return s.news(func(*recovery.RestorePoint) {}).restores("a1", "new")
	},
	"a check in vain leads to the hands board": func() *story {
		s := unverified("a1-data").exhausts()
		return s.tell(&recovery.PointsLearnt{}).tell(&recovery.HostNeedsHands{Host: "a1"})
	},
	"a restore is let go of": func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new")
		s.tell(&recovery.AttemptCancelAsked{Host: "a1", Attempt: "a1/1", Reason: "too slow"}).by("operator:ann").step("a1", recovery.StepCancel)
		return s.ends("a1", recovery.Cancelled, recovery.NeedsHands)
	},
	"old news, and a quarantine that was lifted": func() *story {
		s := stocked(recovery.DataNone).begin()
		s.news(func(p *recovery.RestorePoint) {
			p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: t0, By: "ann"}
		})
		s.news(func(p *recovery.RestorePoint) {
			p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: t0.Add(1), By: "ann", Lifted: true}
		})
		s.news(func(p *recovery.RestorePoint) {
			p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: t0, By: "ann"}
		})
		s.news(func(p *recovery.RestorePoint) { p.SeenAt, p.Gone = p.TakenAt.Add(-1), true })
		return s.restores("a1", "new")
	},
	"a quarantine cuts the logs": func() *story {
		s := stocked(recovery.DataNone, func(s *story) { s.points[0].Kind, s.points[0].Until = recovery.PointDatabase, t0.Add(time.Hour) }).begin()
		from := t0.Add(-time.Hour)
		s.news(func(p *recovery.RestorePoint) {
			p.Kind, p.Until, p.Quarantine = recovery.PointDatabase, t0.Add(time.Hour), &recovery.Quarantine{From: from, At: t0, By: "ann"}
		})
		e := s.restoring("a1", "new")
		e.Attempt.Restores[0].Moment = from.Add(-time.Second)
		return s.tell(e)
	},
	"a late swap is owed": func() *story {
		s := stocked(recovery.DataNone).begin().restores("a1", "new").ends("a1", recovery.TimedOut, recovery.NeedsHands)
		e := s.swapping("a1", recovery.Succeeded, "")
		e.Late = true
		return s.tell(e)
	},
}

// swappedA1 is the good end of a1's first restore.
func (s *story) swappedA1() *recovery.AttemptEnded {
	s.tries["a1"] = 1
	return s.swapping("a1", recovery.Succeeded, recovery.Verifying)
}
