package restore

import (
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var noon = time.Date(2026, 4, 4, 12, 0, 0, 0, time.UTC)

func listJob() recovery.Job {
	j := restoreJob("list")
	j.Kind = recovery.JobList
	j.Sets[0].Set.Kind = recovery.PointDatabase
	return j
}

func listed(points ...recovery.RestorePoint) recovery.Result {
	return recovery.Result{Class: recovery.Succeeded, Points: points}
}

func pointNamed(id string, taken time.Time) recovery.RestorePoint {
	return recovery.RestorePoint{PointRef: recovery.PointRef{ID: id}, TakenAt: taken}
}

// A listing becomes points of the data set that was asked for, and claims nothing else about them.
func TestAListingIsOfTheDataSetThatWasAskedFor(t *testing.T) {
	foreign := pointNamed("p1", noon.Add(-time.Hour))
	foreign.DataSet, foreign.Repository, foreign.Kind = "payroll", "other", "sack"
	foreign.Checks = []recovery.PointCheck{{Level: recovery.L5, OK: true}}
	foreign.Quarantine = &recovery.Quarantine{Lifted: true}
	foreign.Gone, foreign.Size = true, 7
	res := fit(listJob(), listed(foreign), noon)
	want := recovery.RestorePoint{
		PointRef: recovery.PointRef{DataSet: "people", Repository: "vault", ID: "p1"}, Kind: recovery.PointDatabase, TakenAt: noon.Add(-time.Hour), Size: 7, SeenAt: noon,
	}
	if len(res.Points) != 1 || res.Points[0].PointRef != want.PointRef || res.Points[0].Kind != want.Kind || res.Points[0].SeenAt != noon || res.Points[0].Gone ||
		res.Points[0].Checks != nil || res.Points[0].Quarantine != nil || res.Points[0].Size != 7 {
		t.Errorf("%+v", res.Points)
	}
	if res := fit(restoreJob("db1/1"), listed(foreign), noon); res.Points != nil || res.Class != recovery.Succeeded {
		t.Errorf("points of a job that lists none: %+v", res)
	}
}

// A result that cannot be so is none: of a listing not even a part is kept, for the rest would seem gone.
func TestResultsThatCannotBe(t *testing.T) {
	good := pointNamed("p1", noon.Add(-time.Hour))
	backwards := good
	backwards.ID, backwards.Until = "p2", good.TakenAt.Add(-1)
	of := func(set, repository, point string, checks ...recovery.PointCheck) recovery.SetResult {
		return recovery.SetResult{DataSet: set, Repository: repository, Point: point, Checks: checks}
	}
	with := func(sets ...recovery.SetResult) recovery.Result {
		return recovery.Result{Class: recovery.Succeeded, Sets: sets}
	}
	for name, c := range map[string]struct {
		job recovery.Job
		res recovery.Result
		why string
	}{
		"a point without a name":    {listJob(), listed(good, pointNamed("", noon)), "without a name"},
		"a point without its time":  {listJob(), listed(good, pointNamed("p2", time.Time{})), "without its time"},
		"a point of the future":     {listJob(), listed(good, pointNamed("p2", noon.Add(25*time.Hour))), "of the future"},
		"the same point twice":      {listJob(), listed(good, good), "twice"},
		"logs that end too early":   {listJob(), listed(good, backwards), "logs end before"},
		"another data set":          {restoreJob("x"), with(of("payroll", "vault", "")), "another data set"},
		"another repository":        {restoreJob("x"), with(of("people", "cellar", "")), "another data set"},
		"another point":             {restoreJob("x"), with(of("people", "vault", "p1")), "another restore point"},
		"a data set twice":          {restoreJob("x"), with(of("people", "vault", "p9"), of("people", "vault", "p9")), "twice"},
		"a person's check":          {restoreJob("x"), with(of("people", "vault", "p9", recovery.PointCheck{Level: recovery.L5, OK: true})), "level L5"},
		"a level that there is not": {restoreJob("x"), with(of("people", "vault", "p9", recovery.PointCheck{Level: -1})), "level L-1"},
		"data of the future":        {restoreJob("x"), with(recovery.SetResult{DataSet: "people", Repository: "vault", Moment: noon.Add(25 * time.Hour)}), "of the future"},
	} {
		res := fit(c.job, c.res, noon)
		if res.Class != recovery.Failed || res.Signature != "result not usable" || !strings.Contains(res.Detail, c.why) || res.Points != nil || res.Sets != nil {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

// A machine's clock may be wrong without its checks being so.
func TestTheTimeOfACheck(t *testing.T) {
	past := noon.Add(-time.Minute)
	told := []recovery.PointCheck{{Level: recovery.L1, OK: true, At: past}, {Level: recovery.L2, OK: true, At: noon.Add(time.Minute)}, {Level: recovery.L3, OK: true}, {Level: recovery.L4, At: past}}
	res := fit(restoreJob("x"), recovery.Result{Class: recovery.Succeeded, Sets: []recovery.SetResult{{DataSet: "people", Repository: "vault", Point: "p9", Checks: told}}}, noon)
	if got := res.Sets[0].Checks; len(got) != 4 || got[0].At != past || got[1].At != noon || got[2].At != noon || got[3].At != noon {
		t.Errorf("%+v", res)
	}
}
