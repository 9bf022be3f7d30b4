package catalog

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// codes are a row's findings.
func codes(r AuditRow) string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, f.Code)
	}
	return strings.Join(list, " ")
}

// learn puts points into the catalog as a listing would.
func (w *world) learn(points ...recovery.RestorePoint) {
	for i := range points {
		points[i].SeenAt = w.now
	}
	w.c.Apply(recovery.Entry{Seq: w.c.Seq + 1, At: w.now, Event: &recovery.PointsLearnt{Points: points}})
}

// Each data set against its policy: one with nothing amiss, and each way to fall short of it.
func TestAuditFindings(t *testing.T) {
	sound := func() (recovery.DataSet, recovery.BackupPolicy, []recovery.RestorePoint) {
		points := daily("x", "vault", 14)
		for i := range points {
			points[i].Kind, points[i].Until = recovery.PointDatabase, points[i].TakenAt.Add(day)
			points[i].Checks = []recovery.PointCheck{{Level: recovery.L4, OK: true, At: points[i].TakenAt, By: "test"}}
		}
		return recovery.DataSet{Name: "x", Host: "db1", Kind: recovery.PointDatabase, Repository: "vault", Policy: "p"},
			recovery.BackupPolicy{Name: "p", Every: day, Keep: 14 * day, Logs: true, Level: recovery.L4, Verify: 7 * day, Undetected: 10 * day, OffSite: true}, points
	}
	type estateOf struct {
		set    recovery.DataSet
		policy recovery.BackupPolicy
		points []recovery.RestorePoint
	}
	for name, x := range map[string]struct {
		change func(e *estateOf)
		want   string
		says   string
	}{
		"sound":                 {func(*estateOf) {}, "", ""},
		"no points":             {func(e *estateOf) { e.points = nil }, FindingMissing, "no restore point is known"},
		"all are gone":          {func(e *estateOf) { each(e.points, func(p *recovery.RestorePoint) { p.Gone = true }) }, FindingMissing, "no restore point is kept"},
		"no policy":             {func(e *estateOf) { e.set.Policy = "" }, FindingNoPolicy, "no policy"},
		"just in time":          {func(e *estateOf) { shift(e.points, -34*time.Hour) }, "", ""},
		"late":                  {func(e *estateOf) { shift(e.points, -72*time.Hour) }, FindingLate, "2 days ago, where policy p promises it every day"},
		"a gap":                 {func(e *estateOf) { e.points = slices.Delete(e.points, 5, 7) }, FindingGap, "between 2026-01-04 11:00 and 2026-01-06 11:00"},
		"one left out":          {func(e *estateOf) { e.points = slices.Delete(e.points, 5, 6) }, "", "its logs cover the day"},
		"one left out, no logs": {func(e *estateOf) { e.policy.Logs, e.points = false, slices.Delete(noLogs(e.points), 5, 6) }, FindingGap, "no restore point is kept between"},
		"two gaps":              {func(e *estateOf) { e.points = slices.Delete(slices.Delete(e.points, 9, 12), 3, 5) }, FindingGap, "at 2 times, the longest between"},
		"a gap of the past": {func(e *estateOf) {
			e.policy.Keep, e.policy.Undetected, e.points = 5*day, day, slices.Delete(e.points, 2, 5)
		}, "", ""},
		"expired early":      {func(e *estateOf) { each(e.points[:8], func(p *recovery.RestorePoint) { p.Gone = true }) }, FindingShortRetention, "promises to keep them for 14 days"},
		"young":              {func(e *estateOf) { e.points = e.points[8:] }, "", ""},
		"no logs":            {func(e *estateOf) { e.points = noLogs(e.points) }, FindingNoLogs, "no log has come since"},
		"files have no logs": {func(e *estateOf) { each(e.points, func(p *recovery.RestorePoint) { p.Kind = recovery.PointFiles }) }, FindingNoLogs, "hold no logs"},
		"one place": {func(e *estateOf) {
			e.set.Repository = "bases"
			each(e.points, func(p *recovery.RestorePoint) { p.Repository = "bases" })
		}, FindingNoOffSite, "takes the building"},
		"an empty second place": {func(e *estateOf) {
			e.set.Repository, e.set.Copies = "bases", []string{"vault"}
			each(e.points, func(p *recovery.RestorePoint) { p.Repository = "bases" })
		}, FindingNoOffSite, "holds no restore point of it"},
		"an unknown repository": {func(e *estateOf) { e.set.Copies = []string{"moon"} }, FindingCannotBeListed, "does not say where it lies"},
		"newest is quarantined": {func(e *estateOf) { suspect(e.points[13:]) }, FindingQuarantined, "1 of 14 in all: seen"},
		"all are quarantined":   {func(e *estateOf) { suspect(e.points) }, FindingQuarantined + " " + FindingBelowLevel, "all restore points that are kept (14)"},
		"never verified":        {func(e *estateOf) { each(e.points, func(p *recovery.RestorePoint) { p.Checks = nil }) }, FindingNeverVerified, "ever checked"},
		"verified too little":   {func(e *estateOf) { each(e.points, func(p *recovery.RestorePoint) { p.Checks[0].Level = recovery.L2 }) }, FindingBelowLevel, "further than L2, where policy p asks for L4"},
		"verified long ago":     {func(e *estateOf) { each(e.points[3:], func(p *recovery.RestorePoint) { p.Checks = nil }) }, FindingVerifiedLongAgo, "promises one every 7 days"},
		"not to be verified": {func(e *estateOf) {
			e.policy.Verify = 0
			each(e.points[3:], func(p *recovery.RestorePoint) { p.Checks = nil })
		}, "", ""},
		"unseen, but looked at": {func(e *estateOf) { e.policy.Undetected = 60 * day }, "", ""},
		"all may be bad": {func(e *estateOf) {
			e.policy.Undetected, e.policy.Level = 60*day, recovery.L3
			each(e.points, func(p *recovery.RestorePoint) { p.Checks[0].Level = recovery.L3 })
		}, FindingAllMayBeBad, "unseen for 60 days, points are kept for 14 days"},
		"all may be bad, perhaps": {func(e *estateOf) {
			e.policy.Undetected, e.policy.Level = 0, recovery.L3
			each(e.points, func(p *recovery.RestorePoint) { p.Checks[0].Level = recovery.L3 })
		}, FindingAllMayBeBad, "28 days (assumed: the policy does not say)"},
		"kept long enough": {func(e *estateOf) {
			e.policy.Undetected, e.policy.Level = 14*day, recovery.L3
			each(e.points, func(p *recovery.RestorePoint) { p.Checks[0].Level = recovery.L3 })
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := &estateOf{}
			e.set, e.policy, e.points = sound()
			x.change(e)
			f := estate()
			f.Hosts, f.DataSets, f.BackupPolicies = f.Hosts[:1], []recovery.DataSet{e.set}, []recovery.BackupPolicy{e.policy}
			w := newWorld(t, f)
			w.learn(e.points...)
			a := w.c.Audit(noon)
			if len(a.Rows) != 1 || codes(a.Rows[0]) != x.want {
				t.Fatalf("%+v", a.Rows)
			}
			if short := min(len(x.want), 1); a.Short != short || a.Adequate != 1-short || a.DataSets != 1 {
				t.Errorf("%+v", a)
			}
			if x.want != "" && !strings.Contains(a.Rows[0].Findings[0].Text, x.says) {
				t.Errorf("it says %q, not %q", a.Rows[0].Findings[0].Text, x.says)
			}
		})
	}
}

func each(points []recovery.RestorePoint, f func(p *recovery.RestorePoint)) {
	for i := range points {
		f(&points[i])
	}
}

func shift(points []recovery.RestorePoint, by time.Duration) {
	each(points, func(p *recovery.RestorePoint) { p.TakenAt, p.Until = p.TakenAt.Add(by), p.Until.Add(by) })
}

func noLogs(points []recovery.RestorePoint) []recovery.RestorePoint {
	each(points, func(p *recovery.RestorePoint) { p.Until = time.Time{} })
	return points
}

func suspect(points []recovery.RestorePoint) {
	each(points, func(p *recovery.RestorePoint) {
		p.Quarantine = &recovery.Quarantine{From: p.TakenAt, At: noon.Add(-time.Minute), By: "operator:ada", Reason: "seen"}
	})
}

// Hosts with data and no data set are found, and the worst comes first.
func TestAuditOfAFleet(t *testing.T) {
	f := estate()
	f.Hosts = append(f.Hosts, recovery.Host{Name: "ghost", Service: "people", Tier: "first", Data: recovery.DataPrimary})
	w := newWorld(t, f)
	w.learn(daily("files-a", "vault", 3)...)
	a := w.c.Audit(noon)
	var rows []string
	for _, r := range a.Rows {
		rows = append(rows, fmt.Sprintf("%s %s: %s", r.Host, r.DataSet, codes(r)))
	}
	w.want("rows", rows, []string{"ghost : no-backup", "db1 people-db: missing", "fs2 files-b: missing", "fs1 files-a: never-verified"})
}

// The municipality: hourly with logs, kept 14 days, damage unseen for eleven weeks. The audit predicts it before anything is checked.
func TestTheMunicipalityIsWarned(t *testing.T) {
	f := estate()
	f.DataSets = f.DataSets[2:]
	f.BackupPolicies = []recovery.BackupPolicy{{Name: "deep", Title: "hourly with logs, 14 days", Every: time.Hour, Keep: 14 * day, Logs: true, Level: recovery.L1, Verify: 7 * day}}
	w := newWorld(t, f)
	points := daily("people-db", "bases", 14)
	each(points, func(p *recovery.RestorePoint) { p.Kind, p.Until = recovery.PointDatabase, p.TakenAt.Add(day) })
	w.learn(points...)
	a := w.c.Audit(noon)
	row := a.Rows[slices.IndexFunc(a.Rows, func(r AuditRow) bool { return r.DataSet == "people-db" })]
	if !hasCode(row, FindingAllMayBeBad) || !hasCode(row, FindingNeverVerified) || hasCode(row, FindingLate) || hasCode(row, FindingGap) || hasCode(row, FindingShortRetention) {
		t.Errorf("%+v", row)
	}
	data, err := json.Marshal(row)
	if err != nil || !strings.Contains(string(data), `"data_set":"people-db"`) || !strings.Contains(string(data), `"code":"all-may-be-bad"`) {
		t.Errorf("%s %v", data, err)
	}
}

// large is a fleet with as many data sets as the incident had servers, each with twenty points.
func large(t testing.TB) *world {
	f := recovery.Fleet{Name: "large", Tiers: []recovery.Tier{{Name: "a"}, {Name: "b"}}, BackupPolicies: estate().BackupPolicies}
	for i := range 20 {
		f.Repositories = append(f.Repositories, recovery.Repository{Name: fmt.Sprintf("r%02d", i), Kind: recovery.RepositoryRestic, Quiet: "22:00-05:00", Slots: 2})
	}
	for i := range 934 {
		name := fmt.Sprintf("h%03d", i)
		f.Hosts = append(f.Hosts, recovery.Host{Name: name, Tier: []string{"a", "b"}[i%2], Data: recovery.DataPrimary, Agent: true})
		f.DataSets = append(f.DataSets, recovery.DataSet{Name: name, Host: name, Kind: recovery.PointFiles, Repository: fmt.Sprintf("r%02d", i%20), Policy: []string{"daily", "deep"}[i%2]})
	}
	w := newWorld(t, f)
	for _, d := range f.DataSets {
		w.learn(daily(d.Name, d.Repository, 20)...)
	}
	return w
}

func BenchmarkAudit(b *testing.B) {
	w := large(b)
	for b.Loop() {
		w.c.Audit(noon)
	}
}

func BenchmarkTick(b *testing.B) {
	w := large(b)
	for b.Loop() {
		if _, err := Decide(w.c, Tick{}, noon); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPointsAfterAChange(b *testing.B) {
	w := large(b)
	w.c.Audit(noon)
	p := daily("h001", "r01", 20)[3]
	for i := 0; b.Loop(); i++ {
		p.SeenAt, p.Gone = noon.Add(time.Duration(i)*time.Second), i%2 == 0
		w.c.Apply(recovery.Entry{At: noon, Event: &recovery.PointsLearnt{Points: []recovery.RestorePoint{p}}})
		w.c.Wake(noon)
	}
}
