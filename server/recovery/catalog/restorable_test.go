package catalog

import (
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Backups that keep every promise of their policy are no answer when an incident could restore none of them.
func TestAuditTellsWhatCouldNotBeRestored(t *testing.T) {
	now := time.Date(2024, 7, 19, 6, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for _, c := range []struct {
		data recovery.DataClass
		want string // in a finding; empty: none
	}{
		{recovery.DataReplica, ""},
		{recovery.DataPrimary, "that asks for L3, and no machine can verify it further than L2"},
	} {
		f := recovery.Fleet{
			Tiers: []recovery.Tier{{Name: "first"}}, Hosts: []recovery.Host{{Name: "fs1", Tier: "first", Data: c.data, Agent: true}},
			Repositories:   []recovery.Repository{{Name: "vault", Kind: recovery.RepositoryRestic, Slots: 1}},
			BackupPolicies: []recovery.BackupPolicy{{Name: "files", Every: day, Keep: 90 * day, Level: recovery.L2, Verify: 7 * day, Undetected: 30 * day}},
			DataSets:       []recovery.DataSet{{Name: "shares", Host: "fs1", Kind: recovery.PointFiles, Repository: "vault", Policy: "files", Target: "/srv"}},
		}
		cat := New(f)
		p := recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: "shares", Repository: "vault", ID: "a"}, Kind: recovery.PointFiles, TakenAt: now.Add(-day), SeenAt: now,
			Checks: []recovery.PointCheck{{Level: recovery.L2, OK: true, At: now.Add(-time.Hour), By: "restore"}}}
		cat.Apply(recovery.Entry{Seq: 1, At: now, Event: &recovery.PointsLearnt{Points: []recovery.RestorePoint{p}}})
		said := ""
		for _, row := range cat.Audit(now).Rows {
			for _, found := range row.Findings {
				said += found.Text + "\n"
			}
		}
		if c.want == "" && said != "" || !strings.Contains(said, c.want) {
			t.Errorf("%s: %s", c.data, said)
		}
	}
}

// A refused password is left to a person: a listing that was refused comes again after a day, one that was not answered after a minute.
func TestARefusalIsNotRepeatedSoon(t *testing.T) {
	now := time.Date(2024, 7, 19, 6, 0, 0, 0, time.UTC)
	for class, want := range map[recovery.Class]time.Duration{recovery.AuthRefused: 24 * time.Hour, recovery.Unreachable: time.Minute} {
		if got := after(recovery.Result{Class: class}, 0, now).Sub(now); got != want {
			t.Errorf("%s: again after %s", class, got)
		}
	}
}

// A check is an answer to what was asked at its time: when an invariant changes, points that passed the old one are no longer at its level, and
// the next check is for the new one. What lies below, and what failed, stays.
func TestAnotherQuestionWantsAnotherAnswer(t *testing.T) {
	now := time.Date(2024, 7, 19, 6, 0, 0, 0, time.UTC)
	fleet := func(expect string) recovery.Fleet {
		return recovery.Fleet{
			Tiers: []recovery.Tier{{Name: "first"}}, Hosts: []recovery.Host{{Name: "db1", Tier: "first", Data: recovery.DataPrimary, Agent: true}},
			Repositories: []recovery.Repository{{Name: "vault", Kind: recovery.RepositoryRestic, Slots: 1}},
			DataSets: []recovery.DataSet{{Name: "people", Host: "db1", Kind: recovery.PointDatabase, Repository: "vault", Target: "/srv", Engine: recovery.EngineSQLite,
				Invariants: []recovery.Invariant{{Name: "unique", SQL: "select 1, 1", Expect: expect}}}},
		}
	}
	ref := recovery.PointRef{DataSet: "people", Repository: "vault", ID: "a"}
	var story []recovery.Entry
	tell := func(c *Catalog, e recovery.Event) {
		story = append(story, recovery.Entry{Seq: uint64(len(story) + 1), At: now, Event: e})
		c.Apply(story[len(story)-1])
	}
	c := New(fleet("equal"))
	tell(c, &recovery.PointsLearnt{Points: []recovery.RestorePoint{{PointRef: ref, Kind: recovery.PointDatabase, TakenAt: now.Add(-time.Hour), SeenAt: now,
		Checks: []recovery.PointCheck{{Level: recovery.L2, OK: true, At: now, By: "restore"}}}}})
	start := checkOf(c.sets["people"], ref, recovery.L4)
	start.Job = "verify/people/1"
	tell(c, &start)
	result := recovery.Result{Class: recovery.Succeeded, Sets: []recovery.SetResult{{DataSet: "people", Repository: "vault", Point: "a", Checks: []recovery.PointCheck{
		{Level: recovery.L3, OK: true, At: now, By: "integrity_check"}, {Level: recovery.L4, OK: true, At: now, By: "invariant unique"}}}}}
	events, err := Decide(c, Finished{Job: "verify/people/1", Result: result}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		tell(c, e)
	}
	for expect, want := range map[string]recovery.Level{"equal": recovery.L4, "= 77777": recovery.L2} {
		c := New(fleet(expect))
		for _, e := range story {
			c.Apply(e)
		}
		if p := c.Points("people"); p[0].Level() != want {
			t.Errorf("%s: the point is at %s, %+v", expect, p[0].Level(), p[0].Checks)
		}
	}
}
