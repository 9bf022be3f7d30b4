package catalog

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What a listing says is journaled as the difference to what is known; what says nothing new is not.
func TestListing(t *testing.T) {
	f := estate()
	f.Repositories[1].Quiet = "03:00-04:00" // nothing but listings until then
	w := newWorld(t, f)
	w.at["vault"].listed = append(daily("files-a", "vault", 3), daily("files-b", "vault", 2)...)
	w.until(noon.Add(time.Minute))
	var learnt []string
	for _, e := range w.journal {
		v, ok := e.Event.(*recovery.PointsLearnt)
		if !ok {
			t.Fatalf("%s is in the journal", e.Event.Kind())
		}
		learnt = append(learnt, fmt.Sprintf("%s %d", v.Points[0].DataSet, len(v.Points)))
	}
	w.want("learnt", learnt, []string{"files-a 3", "files-b 2"})

	size := len(w.journal)
	if w.until(noon.Add(5 * time.Hour)); len(w.done) < 3*5 {
		t.Errorf("only %d listings in five hours", len(w.done))
	}
	w.want("entries after listings that say nothing new", len(w.journal), size)

	w.at["vault"].listed = append(daily("files-a", "vault", 3)[1:], daily("files-b", "vault", 2)...)
	w.take(Scan{DataSets: []string{"files-a"}})
	w.until(w.now.Add(time.Minute))
	last := w.journal[size].Event.(*recovery.PointsLearnt)
	if len(w.journal) != size+1 || len(last.Points) != 1 || !last.Points[0].Gone || last.Points[0].ID != "files-a-01" || !strings.Contains(last.Reason, "1 are gone") {
		t.Errorf("%d entries more, %+v", len(w.journal)-size, last)
	}
	if p := w.find(ref("files-a", "vault", 1)); !p.Gone {
		t.Error("it is still there")
	}
	if p := w.find(ref("files-a", "vault", 2)); p.Gone {
		t.Error("it is gone")
	}
}

// A repository that cannot be listed is tried again later and later, is told once, and again when it works.
func TestAListingThatFails(t *testing.T) {
	w := newWorld(t, estate())
	w.fleet.DataSets = w.fleet.DataSets[:1]
	w.c = New(w.fleet)
	w.at["vault"].class = recovery.Unreachable
	w.until(noon.Add(7 * time.Hour))
	// tries at 0, 1, 3, 7, 15, 31, 63 minutes and each hour from there
	if n := len(w.done); n < 11 || n > 13 {
		t.Errorf("%d tries in seven hours", n)
	}
	w.want("entries", len(w.journal), 1)
	a := w.c.Alerts(w.now)
	if len(a) != 1 || !strings.Contains(a[0].Text, "the repository is not there") || a[0].At.Sub(noon) > time.Minute {
		t.Errorf("alerts %+v", a)
	}
	row := w.c.Audit(w.now).Rows
	if i := slices.IndexFunc(row, func(r AuditRow) bool { return r.DataSet == "files-a" }); !hasCode(row[i], FindingCannotBeListed) || !hasCode(row[i], FindingMissing) {
		t.Errorf("%+v", row[i])
	}
	w.at["vault"].class = ""
	w.until(w.now.Add(2 * time.Hour))
	w.want("kinds", kindsOf(w.journal), []string{"backup-job-ended", "backup-job-ended"})
	if len(w.c.Alerts(w.now)) != 0 {
		t.Errorf("%+v", w.c.Alerts(w.now))
	}
}

func kindsOf(entries []recovery.Entry) []string {
	var list []string
	for _, e := range entries {
		list = append(list, e.Event.Kind())
	}
	return list
}

func hasCode(r AuditRow, code string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Code == code })
}

// What no repository can mean is not learnt.
func TestAListingIsNotBelieved(t *testing.T) {
	w := newWorld(t, estate())
	good := daily("files-a", "vault", 1)[0]
	for _, change := range []func(p *recovery.RestorePoint){
		func(p *recovery.RestorePoint) { p.ID = "" },
		func(p *recovery.RestorePoint) { p.ID = "\x1b[2Jgone" },
		func(p *recovery.RestorePoint) { p.ID = strings.Repeat("x", 300) },
		func(p *recovery.RestorePoint) { p.TakenAt = time.Time{} },
		func(p *recovery.RestorePoint) { p.TakenAt = noon.Add(48 * time.Hour) },
	} {
		bad := good
		bad.ID = "bad"
		change(&bad)
		w.at["vault"].listed = append(w.at["vault"].listed, bad)
	}
	good.Checks = []recovery.PointCheck{{Level: recovery.L5, OK: true, At: noon, By: "operator:nobody"}}
	w.at["vault"].listed = append(w.at["vault"].listed, good, good)
	w.until(noon.Add(time.Minute))
	if list := w.c.Points("files-a"); len(list) != 1 || list[0].ID != good.ID || list[0].Level() != recovery.L0 {
		t.Errorf("%+v", list)
	}
}

// The policy's checks are made in quiet time, one at a time, each data set in its turn, and again when they grow old.
func TestChecksInQuietTime(t *testing.T) {
	w := newWorld(t, estate())
	w.at["bases"].listed = daily("people-db", "bases", 3)
	w.until(noon.Add(9 * time.Hour))
	w.want("checks by day", len(w.checks(wordCheck)), 0)
	w.until(noon.Add(10*time.Hour + time.Minute))
	w.want("checks at night", w.checks(wordCheck), []string{"people-db people-db-03 L4 0/0"})
	w.until(noon.Add(30 * day))
	var last time.Time
	for _, e := range w.journal {
		v, ok := e.Event.(*recovery.BackupJobStarted)
		if !ok {
			continue
		}
		if h := e.At.Hour(); h >= 5 && h < 22 {
			t.Errorf("a check began at %s", e.At)
		}
		if age := e.At.Sub(last); !last.IsZero() && (age > 7*day || age < 6*day) {
			t.Errorf("%s began %s after the one before", v.Job, age)
		}
		last = e.At
	}
	if n := len(w.checks(wordCheck)); n < 4 || n > 5 {
		t.Errorf("%d checks in thirty days", n)
	}
	if p := w.find(ref("people-db", "bases", 3)); p.Level() != recovery.L4 {
		t.Errorf("it has %s", p.Level())
	}
}

func TestQuiet(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse("2 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, x := range []struct{ quiet, now, next string }{
		{"22:00-05:00", "2 21:59:59", "2 22:00:00"},
		{"22:00-05:00", "2 22:00:00", "2 22:00:00"},
		{"22:00-05:00", "2 23:59:59", "2 23:59:59"},
		{"22:00-05:00", "2 00:00:00", "2 00:00:00"},
		{"22:00-05:00", "2 04:59:59", "2 04:59:59"},
		{"22:00-05:00", "2 05:00:00", "2 22:00:00"},
		{"01:00-02:30", "2 00:30:00", "2 01:00:00"},
		{"01:00-02:30", "2 02:29:00", "2 02:29:00"},
		{"01:00-02:30", "2 02:30:00", "3 01:00:00"},
		{"01:00-01:00", "2 07:00:00", "2 07:00:00"},
		{"", "2 07:00:00", "2 07:00:00"},
		{"at night", "2 07:00:00", "2 07:00:00"},
	} {
		if got := quietOf(x.quiet).next(at(x.now)); !got.Equal(at(x.next)) {
			t.Errorf("%q from %s: %s, want %s", x.quiet, x.now, got.Format("2 15:04:05"), x.next)
		}
	}
}

// A restic repository is read a part at a time, and its points have passed L1 when all parts were read after they were listed.
func TestReadingInParts(t *testing.T) {
	f := estate()
	f.Repositories[1].Quiet = "13:00-19:00" // a part a day
	w := newWorld(t, f)
	w.at["vault"].listed = append(daily("files-a", "vault", 3), daily("files-b", "vault", 2)...)
	newer := func() { // each day brings a point
		p := w.at["vault"].listed[0]
		p.ID, p.TakenAt = fmt.Sprintf("day-%d", int(w.now.Sub(noon)/day)), w.now
		w.at["vault"].listed = append(w.at["vault"].listed, p)
	}
	for d := 1; d <= 10; d++ {
		w.until(noon.Add(time.Duration(d) * day))
		newer()
		want := recovery.L0
		if d >= 7 { // seven parts, one a day from the first on
			want = recovery.L1
		}
		for _, r := range []recovery.PointRef{ref("files-a", "vault", 1), ref("files-b", "vault", 2)} {
			if p := w.find(r); p.Level() != want {
				t.Errorf("day %d: %s has %s, want %s: %+v", d, r, p.Level(), want, p.Checks)
			}
		}
	}
	checks := w.checks(wordCheck)
	for i, check := range checks {
		if !strings.HasSuffix(check, fmt.Sprintf(" %d/7", i%7+1)) {
			t.Errorf("check %d is %s", i, check)
		}
	}
	if p := w.find(recovery.PointRef{DataSet: "files-a", Repository: "vault", ID: "day-1"}); p.Level() != recovery.L1 {
		t.Errorf("the point of the first day was in the store before each part was read again, and has %s", p.Level())
	}
	if p := w.find(ref("files-a", "vault", 1)); !p.VerifiedAt().Equal(noon.Add(3*day + time.Hour)) {
		t.Errorf("its level is as old as the oldest part, of the third day, not from %s", p.VerifiedAt())
	}
	if p := w.find(recovery.PointRef{DataSet: "files-a", Repository: "vault", ID: "day-9"}); p.Level() != recovery.L0 {
		t.Errorf("the point of the ninth day has %s", p.Level())
	}
}

// A part that does not read well puts the whole repository in doubt, until all of it was read again.
func TestAPartThatIsRotten(t *testing.T) {
	f := estate()
	f.Repositories[1].Quiet = "13:00-19:00" // a part a day
	w := newWorld(t, f)
	w.at["vault"].listed = append(daily("files-a", "vault", 3), daily("files-b", "vault", 2)...)
	w.until(noon.Add(8 * day))
	w.at["vault"].rotten[4] = true
	w.until(noon.Add(12 * day))
	a, b := w.find(ref("files-a", "vault", 3)), w.find(ref("files-b", "vault", 1))
	if !a.Quarantined() || b.Quarantined() || b.Level() != recovery.L0 {
		t.Fatalf("%+v\n%+v", a, b)
	}
	if list := w.c.Alerts(w.now); len(list) != 2 || !strings.Contains(list[0].Text+list[1].Text, "repository vault is damaged") {
		t.Errorf("%+v", list)
	}
	clear(w.at["vault"].rotten)
	w.until(noon.Add(16 * day))
	if b = w.find(ref("files-b", "vault", 1)); b.Level() != recovery.L0 {
		t.Errorf("not all was read again, and it has %s", b.Level())
	}
	w.until(noon.Add(19 * day))
	if b = w.find(ref("files-b", "vault", 1)); b.Level() != recovery.L1 {
		t.Errorf("all was read again, and it has %s: %+v", b.Level(), b.Checks)
	}
	if a = w.find(ref("files-a", "vault", 3)); !a.Quarantined() {
		t.Error("nobody has released it")
	}
}

// Orders go at once and before what is scheduled, the first tier first; a repository as a whole is read once for all of them.
func TestVerify(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = append(daily("files-a", "vault", 3), daily("files-b", "vault", 2)...)
	w.at["bases"].listed = daily("people-db", "bases", 3)
	if _, err := w.try(Verify{}); kindOf(err) != recovery.KindRefused {
		t.Errorf("nothing to verify: %v", err)
	}
	w.until(noon.Add(time.Minute))
	w.take(Verify{})
	w.want("ordered", w.checks(wordNewest), []string{"people-db people-db-03 L4 0/0", "files-a files-a-03 L2 0/0", "files-b files-b-02 L2 0/0"})
	if again := w.take(Verify{}); len(again) != 0 {
		t.Errorf("ordered twice: %v", kinds(again))
	}
	var waits []string
	for _, p := range w.c.Pending(w.now) {
		if p.Kind == recovery.JobCheck && p.Waits != "" {
			waits = append(waits, p.Job)
		}
	}
	if len(waits) == 0 || !slices.Contains(waits, "newest/files-b/1") {
		t.Errorf("waiting: %v", waits)
	}
	w.until(noon.Add(12 * time.Hour))
	for _, r := range []recovery.PointRef{ref("people-db", "bases", 3), ref("files-a", "vault", 3), ref("files-b", "vault", 2)} {
		if p := w.find(r); p.Level() < recovery.L2 {
			t.Errorf("%s has %s", r, p.Level())
		}
	}
	l1 := recovery.L1
	w.want("the whole of it", len(w.take(Verify{DataSets: []string{"files-a", "files-b"}, Level: &l1})), 1)
	w.until(w.now.Add(2 * time.Hour))
	for _, r := range []recovery.PointRef{ref("files-a", "vault", 1), ref("files-b", "vault", 1)} {
		if p := w.find(r); p.Level() != recovery.L1 {
			t.Errorf("%s has %s", r, p.Level())
		}
	}
	w.want("all", len(w.take(Verify{DataSets: []string{"people-db"}, All: true})), 3)
	w.want("by the beginning of its id", len(w.take(Verify{DataSets: []string{"files-a"}, Point: "vault/files-a-01"})), 1)
	if events := w.take(Verify{DataSets: []string{"files-a"}, Before: noon.Add(-day)}); len(events) != 1 || events[0].(*recovery.BackupJobStarted).Point.ID != "files-a-02" {
		t.Errorf("before: %v", events)
	}

	l0, l3 := recovery.L0, recovery.L3
	for name, in := range map[string]Input{
		"invalid 1":   Verify{Level: &l0},
		"invalid 2":   Verify{Point: "files-a-01"},
		"invalid 3":   Verify{DataSets: []string{"files-a"}, Point: "files-a"},
		"not-found 1": Verify{DataSets: []string{"nothing"}},
		"not-found 2": Verify{DataSets: []string{"files-a"}, Point: "4f"},
		"not-found 3": Scan{DataSets: []string{"nothing"}},
		"refused":     Verify{DataSets: []string{"files-a"}, Level: &l3},
	} {
		_, err := w.try(in)
		if kind, _, _ := strings.Cut(name, " "); string(kindOf(err)) != kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A job that runs is not overtaken by one that was started before it and waits: what ought to run once ought to run until it ends.
func TestNoJobIsOvertaken(t *testing.T) {
	f := estate()
	for i, x := range [][2]string{{"bases", "db1"}, {"bases", "fs1"}, {"vault", "fs1"}} {
		d := &f.DataSets[i]
		d.Repository, d.Runner, d.Host, d.Policy = x[0], x[1], "db1", ""
	}
	w := newWorld(t, f) // which fails when a job ought to run no more before its end
	for _, d := range f.DataSets {
		w.at[d.Repository].listed = append(w.at[d.Repository].listed, daily(d.Name, d.Repository, 2)...)
	}
	w.at["vault"].takes = 10 * time.Hour
	w.until(noon.Add(time.Minute))
	w.take(Verify{All: true})
	w.until(noon.Add(4 * day))
	for _, d := range f.DataSets {
		for i := range 2 {
			if p := w.find(ref(d.Name, d.Repository, i+1)); p.Level() < recovery.L2 {
				t.Errorf("%s has %s", p.PointRef, p.Level())
			}
		}
	}
}

// A check that fails quarantines its point, and the policy's check goes on to the one before.
func TestABadPoint(t *testing.T) {
	w := newWorld(t, estate())
	w.at["bases"].listed = daily("people-db", "bases", 3)
	w.at["bases"].bad = map[string]recovery.Level{"people-db-03": recovery.L4, "people-db-02": recovery.L2}
	w.until(noon.Add(14 * time.Hour))
	w.want("checks", w.checks(wordCheck), []string{"people-db people-db-03 L4 0/0", "people-db people-db-02 L4 0/0", "people-db people-db-01 L4 0/0"})
	for i, want := range []recovery.Level{recovery.L4, recovery.L0, recovery.L3} {
		if p := w.find(ref("people-db", "bases", i+1)); p.Level() != want || p.Quarantined() != (i > 0) {
			t.Errorf("%s has %s, quarantined %v", p.PointRef, p.Level(), p.Quarantined())
		}
	}
	if list := w.c.Alerts(w.now); len(list) != 2 || !strings.Contains(list[0].Text, "it failed at L4") {
		t.Errorf("%+v", list)
	}
}

// So does an order, at once; one of a point by name does not.
func TestAnOrderGoesBackToAGoodPoint(t *testing.T) {
	w := newWorld(t, estate())
	w.at["bases"].listed = daily("people-db", "bases", 4)
	w.at["bases"].bad = map[string]recovery.Level{"people-db-04": recovery.L4, "people-db-03": recovery.L3, "people-db-02": recovery.L4}
	w.until(noon.Add(time.Minute))
	w.take(Verify{DataSets: []string{"people-db"}, Point: "people-db-04"})
	w.until(noon.Add(90 * time.Minute))
	w.want("by name", w.checks(wordVerify), []string{"people-db people-db-04 L4 0/0"})
	w.want("of itself", len(w.checks(wordNewest)), 0)
	w.take(Verify{})
	w.until(noon.Add(9 * time.Hour))
	w.want("of the newest", w.checks(wordNewest), []string{"people-db people-db-03 L4 0/0", "people-db people-db-02 L4 0/0", "people-db people-db-01 L4 0/0"})
	w.want("orders left", len(w.c.orders), 0)
}

// A check that cannot be made says nothing of the point. It is tried again; an order that never can be is given up.
func TestACheckThatCannotBeMade(t *testing.T) {
	w := newWorld(t, estate())
	w.at["bases"].listed = daily("people-db", "bases", 3)
	w.until(noon.Add(time.Minute))
	w.at["bases"].class = recovery.Lost
	w.at["bases"].takes = time.Minute
	w.take(Verify{DataSets: []string{"people-db"}})
	w.until(noon.Add(2 * time.Hour))
	n := len(w.checks(wordNewest))
	if n < 5 || n > 8 {
		t.Errorf("%d tries in two hours", n)
	}
	if p := w.find(ref("people-db", "bases", 3)); p.Quarantined() || len(p.Checks) > 0 {
		t.Errorf("%+v", p)
	}
	if i := slices.IndexFunc(w.c.Pending(w.now), func(p Pending) bool { return strings.Contains(p.Waits, "tried again at") }); i < 0 {
		t.Errorf("%+v", w.c.Pending(w.now))
	}
	w.until(noon.Add(4 * day))
	if n = len(w.checks(wordNewest)); n != maxTries {
		t.Errorf("%d tries in four days", n)
	}
	w.at["bases"].class = ""
	w.take(Verify{DataSets: []string{"people-db"}})
	w.until(w.now.Add(time.Hour))
	if p := w.find(ref("people-db", "bases", 3)); p.Level() != recovery.L4 {
		t.Errorf("%+v", p)
	}
}

// What an agent says is held against what it was asked, and against the coordinator's clock.
func TestAnAgentIsNotBelieved(t *testing.T) {
	for name, x := range map[string]struct {
		result recovery.Result
		level  recovery.Level
		bad    bool
	}{
		"a person's word":          {recovery.Result{Class: recovery.Succeeded, Sets: checked(recovery.PointCheck{Level: recovery.L5, OK: true, At: noon})}, 0, false},
		"another data set":         {recovery.Result{Class: recovery.Succeeded, Sets: []recovery.SetResult{{DataSet: "files-a", Checks: checked(recovery.PointCheck{Level: recovery.L4, OK: true})[0].Checks}}}, 0, false},
		"success without a check":  {recovery.Result{Class: recovery.Succeeded}, 0, false},
		"less than asked":          {recovery.Result{Class: recovery.Succeeded, Sets: checked(recovery.PointCheck{Level: recovery.L2, OK: true, At: noon})}, recovery.L2, false},
		"a clock that runs ahead":  {recovery.Result{Class: recovery.Succeeded, Sets: checked(recovery.PointCheck{Level: recovery.L4, OK: true, At: noon.Add(day)})}, recovery.L4, false},
		"a clock that lags behind": {recovery.Result{Class: recovery.Failed, Sets: checked(recovery.PointCheck{Level: recovery.L4, At: noon.Add(-day)})}, 0, true},
		"damaged, without a check": {recovery.Result{Class: recovery.Failed, Signature: recovery.SignatureDamagedPoint}, 0, true},
		"failed, without a check":  {recovery.Result{Class: recovery.Failed, Signature: "disk full"}, 0, false},
		"success that failed":      {recovery.Result{Class: recovery.Succeeded, Sets: checked(recovery.PointCheck{Level: recovery.L4, OK: true}, recovery.PointCheck{Level: recovery.L4})}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, estate())
			w.at["bases"].listed = daily("people-db", "bases", 1)
			w.until(noon.Add(time.Minute))
			w.take(Verify{DataSets: []string{"people-db"}})
			w.now = w.now.Add(time.Hour)
			w.take(Finished{Job: "newest/people-db/1", Result: x.result})
			p := w.find(ref("people-db", "bases", 1))
			if p.Level() != x.level || p.Quarantined() != x.bad {
				t.Errorf("%s, quarantined %v: %+v", p.Level(), p.Quarantined(), p)
			}
			for _, c := range p.Checks {
				if c.At.After(w.now) || c.At.Before(noon) {
					t.Errorf("checked at %s", c.At)
				}
			}
			if late := w.take(Finished{Job: "newest/people-db/1", Result: x.result}); len(late) > 0 {
				t.Errorf("a ghost is believed: %v", kinds(late))
			}
			if p.Quarantined() { // whatever the agent's clock showed, a person's word is newer
				w.now = w.now.Add(time.Second)
				w.take(Judge{DataSet: "people-db", Point: "people-db-01", Word: WordRelease, By: "operator:ada", Reason: "a false alarm"})
				if p = w.find(p.PointRef); p.Quarantined() {
					t.Error("it cannot be released")
				}
			}
		})
	}
}

func checked(checks ...recovery.PointCheck) []recovery.SetResult {
	return []recovery.SetResult{{DataSet: "people-db", Repository: "bases", Point: "people-db-01", Checks: checks}}
}

func TestJudge(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = daily("files-a", "vault", 3)
	w.until(noon.Add(time.Minute))
	judge := func(word Word, point string, from time.Time) error {
		w.now = w.now.Add(time.Second)
		_, err := w.try(Judge{DataSet: "files-a", Point: point, Word: word, From: from, By: "operator:ada", Reason: "we know"})
		return err
	}
	suspect := func() []bool {
		var list []bool
		for i := range 3 {
			p := w.find(ref("files-a", "vault", i+1))
			list = append(list, p.Quarantined())
		}
		return list
	}
	for _, x := range []struct {
		word  Word
		point string
		from  time.Time
		kind  recovery.ErrorKind
		want  []bool
	}{
		{WordRelease, "", time.Time{}, recovery.KindRefused, []bool{false, false, false}},
		{WordQuarantine, "", noon.Add(-30 * time.Hour), "", []bool{false, true, true}},
		{WordRelease, "files-a-02", time.Time{}, "", []bool{false, false, true}},
		{WordRelease, "files-a-02", time.Time{}, recovery.KindRefused, []bool{false, false, true}},
		{WordQuarantine, "files-a-01", time.Time{}, "", []bool{true, false, true}},
		{WordVouch, "files-a-01", time.Time{}, recovery.KindRefused, []bool{true, false, true}},
		{WordRelease, "", time.Time{}, "", []bool{false, false, false}},
		{WordVouch, "files-a-01", time.Time{}, "", []bool{false, false, false}},
		{WordVouch, "", time.Time{}, recovery.KindInvalid, []bool{false, false, false}},
		{WordQuarantine, "", noon.Add(day), recovery.KindInvalid, []bool{false, false, false}},
		{"praise", "", time.Time{}, recovery.KindInvalid, []bool{false, false, false}},
		{WordQuarantine, "files-a-09", time.Time{}, recovery.KindNotFound, []bool{false, false, false}},
	} {
		if err := judge(x.word, x.point, x.from); kindOf(err) != x.kind || !reflect.DeepEqual(suspect(), x.want) {
			t.Errorf("%s %s: %v, %v", x.word, x.point, err, suspect())
		}
	}
	if p := w.find(ref("files-a", "vault", 1)); p.Level() != recovery.L5 {
		t.Errorf("vouched for, and has %s", p.Level())
	}
	if _, err := w.try(Judge{DataSet: "files-a", Word: WordQuarantine}); kindOf(err) != recovery.KindInvalid {
		t.Errorf("without a reason: %v", err)
	}
}

// What an incident wants kept is asked of the repository until it is, and let go of when the incident is over.
func TestHolds(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = daily("files-a", "vault", 3)
	w.until(noon.Add(time.Minute))
	one, two := ref("files-a", "vault", 1), ref("files-a", "vault", 2)
	w.at["vault"].refuses = true
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{one, two, one}})
	if again := w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{two, one}}); len(again) > 0 {
		t.Errorf("%v", kinds(again))
	}
	w.until(noon.Add(time.Hour))
	w.want("held by", w.c.HeldBy(one), []string{"INC-1"})
	if list := w.c.Alerts(w.now); len(list) != 2 || !strings.Contains(list[0].Text, "cannot be kept") {
		t.Errorf("%+v", list)
	}
	w.at["vault"].refuses = false
	w.until(noon.Add(2 * time.Hour))
	placed := func(release bool) (n int) {
		for _, e := range w.journal {
			if v, ok := e.Event.(*recovery.HoldPlaced); ok && v.Release == release && v.Incident == "INC-1" {
				n++
			}
		}
		return n
	}
	w.want("placed", placed(false), 2)
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{two}})
	w.until(noon.Add(3 * time.Hour))
	w.want("released", placed(true), 1)
	w.take(Held{Incident: "INC-2", Points: []recovery.PointRef{two}})
	w.until(noon.Add(4 * time.Hour))
	w.want("held by", w.c.HeldBy(two), []string{"INC-2"})
	w.take(Held{})
	w.until(noon.Add(5 * time.Hour))
	w.want("released", placed(true), 2)
	w.want("placed", placed(false), 2)

	w.at["vault"].class = recovery.Lost // perhaps it was placed
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{one}})
	w.until(noon.Add(6 * time.Hour))
	w.take(Held{})
	w.at["vault"].class = ""
	w.until(noon.Add(8 * time.Hour))
	w.want("released", placed(true), 3)
	w.want("placed", placed(false), 2)
	w.want("holds left", len(w.c.holds), 0)
}

// An incident is heard where it knows more, and does not tell back what it was told.
func TestLearnt(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = daily("files-a", "vault", 3)
	w.until(noon.Add(8 * day))
	told := w.c.Points("files-a")
	if p := told[0]; p.Level() != recovery.L1 {
		t.Fatalf("it has %s", p.Level())
	}
	if events := w.take(Learnt{Points: told}); len(events) > 0 {
		t.Errorf("an echo is news: %v", kinds(events))
	}
	told[1].Checks = append(told[1].Checks, recovery.PointCheck{Level: recovery.L2, OK: true, At: w.now, By: "restored"})
	stranger := recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: "strange", Repository: "vault", ID: "1"}}
	events := w.take(Learnt{Points: append(told, stranger)})
	if len(events) != 1 || len(events[0].(*recovery.PointsLearnt).Points) != 1 {
		t.Fatalf("%v", events)
	}
	if p := w.find(told[1].PointRef); p.Level() != recovery.L2 {
		t.Errorf("it has %s", p.Level())
	}
}

// The search for damage names the right pair wherever the damage is, and does not check more than it must.
func TestBisectFindsThePair(t *testing.T) {
	for n := 1; n <= 20; n++ {
		for first := 0; first <= n; first++ { // the index of the first bad point
			w := newWorld(t, estate())
			w.at["bases"].listed = daily("people-db", "bases", n)
			for i := first; i < n; i++ {
				w.at["bases"].bad[fmt.Sprintf("people-db-%02d", i+1)] = recovery.L3
			}
			w.until(noon.Add(time.Minute))
			w.take(Bisect{DataSet: "people-db"})
			atMost := w.c.Bisection("people-db", recovery.L4, w.now).AtMost
			w.until(noon.Add(9 * time.Hour)) // not quiet, and it is not waited for
			b := w.c.Bisection("people-db", recovery.L4, w.now)
			if !b.Done || b.Next != nil || (b.Good == nil) != (first == 0) || (b.Bad == nil) != (first == n) {
				t.Fatalf("%d points, the first %d good: %+v", n, first, b)
			}
			if b.Good != nil && b.Good.ID != fmt.Sprintf("people-db-%02d", first) || b.Bad != nil && b.Bad.ID != fmt.Sprintf("people-db-%02d", first+1) {
				t.Fatalf("%d points, the first %d good: between %v and %v", n, first, b.Good, b.Bad)
			}
			bound := 1
			for size := 1; size < n; size *= 2 {
				bound++
			}
			if made := len(w.checks(wordBisect)); made > bound || made > atMost {
				t.Fatalf("%d points, the first %d good: %d checks, where %d and %d are enough", n, first, made, bound, atMost)
			}
			if events := w.take(Bisect{DataSet: "people-db"}); len(events) > 0 {
				t.Fatalf("it begins again: %v", kinds(events))
			}
			for _, word := range []string{"older than the oldest", "no damage shows", "came in between"} {
				want := word == "older than the oldest" && first == 0 || word == "no damage shows" && first == n || word == "came in between" && first > 0 && first < n
				if strings.Contains(b.Verdict, word) != want {
					t.Fatalf("%d points, the first %d good: %q", n, first, b.Verdict)
				}
			}
		}
	}
}

// Whatever is known before, in whatever order the damage lies, points gone or not: the search ends, the pair that it names is one, and
// results that contradict each other are told.
func TestBisectWithWhatIsKnown(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		w := newWorld(t, estate())
		n := 2 + r.IntN(14)
		w.at["bases"].listed = daily("people-db", "bases", n)
		w.until(noon.Add(time.Minute))
		steady := r.IntN(2) == 0
		first := r.IntN(n + 1)
		isBad := map[string]bool{}
		for i := range n {
			id := fmt.Sprintf("people-db-%02d", i+1)
			if isBad[id] = i >= first; !steady {
				isBad[id] = r.IntN(2) == 0
			}
			if isBad[id] {
				w.at["bases"].bad[id] = recovery.L2
			}
			if r.IntN(3) == 0 {
				w.take(Verify{DataSets: []string{"people-db"}, Point: id})
			}
		}
		w.until(noon.Add(17 * time.Hour))
		known := len(w.checks(wordVerify)) + len(w.checks(wordCheck))
		gone := map[string]bool{}
		w.at["bases"].listed = slices.DeleteFunc(w.at["bases"].listed, func(p recovery.RestorePoint) bool {
			gone[p.ID] = r.IntN(5) == 0
			return gone[p.ID]
		})
		w.take(Scan{})
		w.until(w.now.Add(time.Minute))
		if _, err := w.try(Bisect{DataSet: "people-db"}); err != nil && known > 0 {
			t.Fatalf("seed %d: %v", seed, err)
		}
		w.until(w.now.Add(2 * day))
		b := w.c.Bisection("people-db", recovery.L4, w.now)
		if !b.Done {
			t.Fatalf("seed %d: not done: %+v", seed, b)
		}
		if b.Good != nil && isBad[b.Good.ID] || b.Bad != nil && !isBad[b.Bad.ID] || b.Good != nil && b.Bad != nil && !b.Good.TakenAt.Before(b.Bad.TakenAt) {
			t.Fatalf("seed %d: %+v", seed, b)
		}
		contrary, last, turns := false, false, 0
		for i := range b.Points {
			if f := findingOf(&b.Points[i], recovery.L4); f != unknown {
				if f == bad && !last {
					turns++
				}
				contrary, last = contrary || last && f == good, f == bad
			}
			if gone[b.Points[i].ID] && findingOf(&b.Points[i], recovery.L4) == unknown {
				t.Fatalf("seed %d: %s is gone and nothing is known of it", seed, b.Points[i].ID)
			}
		}
		if strings.Contains(b.Verdict, "contradict") != contrary || steady && contrary {
			t.Fatalf("seed %d: contrary %v: %s", seed, contrary, b.Verdict)
		}
		if contrary && strings.Count(b.Verdict, " and again ")+1 != turns {
			t.Fatalf("seed %d: %d turns: %s", seed, turns, b.Verdict)
		}
	}
}

// What checks say of a point that is searched: to have failed counts until it has passed as high later.
func TestFindingOf(t *testing.T) {
	check := func(level recovery.Level, ok bool, hour int) recovery.PointCheck {
		return recovery.PointCheck{Level: level, OK: ok, At: noon.Add(time.Duration(hour) * time.Hour)}
	}
	for name, x := range map[string]struct {
		checks []recovery.PointCheck
		want   finding
	}{
		"never checked":                 {nil, unknown},
		"passed below":                  {[]recovery.PointCheck{check(2, true, 1)}, unknown},
		"passed":                        {[]recovery.PointCheck{check(3, true, 1)}, good},
		"passed above":                  {[]recovery.PointCheck{check(5, true, 1)}, good},
		"failed below":                  {[]recovery.PointCheck{check(2, false, 1)}, bad},
		"failed above":                  {[]recovery.PointCheck{check(3, true, 2), check(4, false, 1)}, bad},
		"failed, then passed as high":   {[]recovery.PointCheck{check(3, false, 1), check(4, true, 2)}, good},
		"failed, then passed below":     {[]recovery.PointCheck{check(2, true, 2), check(4, false, 1)}, bad},
		"passed, then failed below":     {[]recovery.PointCheck{check(2, false, 2), check(4, true, 1)}, bad},
		"failed below, passed, too low": {[]recovery.PointCheck{check(1, false, 1), check(2, true, 2)}, unknown},
	} {
		if got := findingOf(&recovery.RestorePoint{Checks: x.checks}, recovery.L3); got != x.want {
			t.Errorf("%s: %d, want %d", name, got, x.want)
		}
	}
}

// A point that cannot be checked ends the search with what is known, and a new one may begin.
func TestBisectIsGivenUp(t *testing.T) {
	w := newWorld(t, estate())
	w.at["bases"].listed = daily("people-db", "bases", 5)
	w.until(noon.Add(time.Minute))
	w.at["bases"].class = recovery.Lost
	w.take(Bisect{DataSet: "people-db"})
	l3 := recovery.L3
	if _, err := w.try(Bisect{DataSet: "people-db", Level: &l3}); kindOf(err) != recovery.KindRefused {
		t.Errorf("two searches: %v", err)
	}
	w.until(noon.Add(9 * time.Hour))
	b := w.c.Bisection("people-db", recovery.L4, w.now)
	if !b.Done || !strings.Contains(b.Verdict, "given up") || len(w.checks(wordBisect)) != maxSearch {
		t.Fatalf("%d checks, %+v", len(w.checks(wordBisect)), b)
	}
	w.at["bases"].class = ""
	w.take(Bisect{DataSet: "people-db"})
	w.until(noon.Add(30 * time.Hour))
	if b = w.c.Bisection("people-db", recovery.L4, w.now); !b.Done || b.Bad != nil || b.Good == nil {
		t.Errorf("%+v", b)
	}
	for name, in := range map[recovery.ErrorKind]Bisect{
		recovery.KindNotFound: {DataSet: "nothing"},
		recovery.KindRefused:  {DataSet: "files-a", Level: &l3},
		recovery.KindInvalid:  {DataSet: "people-db", Level: new(recovery.Level)},
	} {
		if _, err := w.try(in); kindOf(err) != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the journal tells is what was known: after a restart all facts are the same, and the same work goes on.
func TestTheFoldIsTheStory(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, estate())
		w.at["vault"].listed = append(daily("files-a", "vault", 5), daily("files-b", "vault", 4)...)
		w.at["bases"].listed = daily("people-db", "bases", 6)
		for range 40 {
			w.happen(r)
			w.until(w.now.Add(time.Duration(r.IntN(int(12 * time.Hour)))))
			again := New(w.fleet)
			for i, e := range w.journal {
				if e.Seq != uint64(i)+1 {
					t.Fatalf("seed %d: entry %d has number %d", seed, i+1, e.Seq)
				}
				again.Apply(e)
			}
			for _, s := range w.c.order {
				if a, b := w.c.Points(s.Name), again.Points(s.Name); !reflect.DeepEqual(a, b) {
					t.Fatalf("seed %d: %s\n%+v\n%+v", seed, s.Name, a, b)
				}
				if a, b := w.c.sets[s.Name].retry, again.sets[s.Name].retry; a != b {
					t.Fatalf("seed %d: %s %+v %+v", seed, s.Name, a, b)
				}
			}
			lasting := func(c *Catalog) []recovery.Job {
				return slices.DeleteFunc(c.Work(w.now), func(j recovery.Job) bool { return j.Kind == recovery.JobList })
			}
			if a, b := lasting(w.c), lasting(again); len(a)+len(b) > 0 && !reflect.DeepEqual(a, b) {
				t.Fatalf("seed %d: work\n%+v\n%+v", seed, a, b)
			}
			if !reflect.DeepEqual(w.c.holds, again.holds) || !reflect.DeepEqual(w.c.orders, again.orders) || !reflect.DeepEqual(w.c.counted, again.counted) || w.c.Seq != again.Seq {
				t.Fatalf("seed %d: holds, orders or numbers differ", seed)
			}
			for name, x := range w.c.readings {
				if y := again.readings[name]; !reflect.DeepEqual(x.read, y.read) || x.last != y.last || x.whole != y.whole || !reflect.DeepEqual(x.fault, y.fault) {
					t.Fatalf("seed %d: reading of %s\n%+v\n%+v", seed, name, x, y)
				}
			}
		}
		ids := map[string]bool{}
		for _, e := range w.journal {
			if v, ok := e.Event.(*recovery.BackupJobStarted); ok {
				if ids[v.Job] {
					t.Fatalf("seed %d: %s twice", seed, v.Job)
				}
				ids[v.Job] = true
			}
		}
	}
}

// happen lets something happen.
func (w *world) happen(r *rand.Rand) {
	set := []string{"files-a", "files-b", "people-db"}[r.IntN(3)]
	repository := w.c.sets[set].Repository
	at := w.at[repository]
	switch r.IntN(10) {
	case 0:
		_, _ = w.try(Verify{DataSets: []string{set}, All: r.IntN(2) == 0})
	case 1:
		_, _ = w.try(Judge{DataSet: set, Word: WordQuarantine, From: w.now.Add(-time.Duration(r.IntN(200)) * time.Hour), By: "operator:ada", Reason: "seen"})
	case 2:
		_, _ = w.try(Judge{DataSet: set, Word: WordRelease, By: "operator:ada", Reason: "mended"})
	case 3:
		w.take(Held{Incident: fmt.Sprintf("INC-%d", r.IntN(2)), Points: []recovery.PointRef{ref(set, repository, 1+r.IntN(4))}})
	case 4:
		w.take(Held{})
	case 5:
		_, _ = w.try(Bisect{DataSet: set})
	case 6:
		at.class = []recovery.Class{"", recovery.Unreachable, recovery.Lost}[r.IntN(3)]
	case 7:
		at.listed = append(at.listed, recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: set, Repository: repository, ID: fmt.Sprint("new-", w.now.Unix())}, TakenAt: w.now})
	case 8:
		if len(at.listed) > 3 {
			at.listed = at.listed[1:]
		}
	case 9:
		at.bad[ref(set, repository, 1+r.IntN(5)).ID] = recovery.Level(1 + r.IntN(4))
		at.rotten[1+r.IntN(7)] = true
		if r.IntN(2) == 0 {
			clear(at.rotten)
		}
	}
}

// A data set that leaves the fleet keeps its story, and nothing is done on it; the others go on.
func TestADataSetLeavesTheFleet(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = append(daily("files-a", "vault", 3), daily("files-b", "vault", 2)...)
	w.until(noon.Add(time.Minute))
	w.take(Verify{DataSets: []string{"files-a", "files-b"}})
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{ref("files-a", "vault", 1)}})
	w.settle()

	w.fleet.DataSets = w.fleet.DataSets[1:]
	w.c = New(w.fleet)
	for _, e := range w.journal {
		w.c.Apply(e)
	}
	w.running = map[string]time.Time{}
	w.until(w.now.Add(3 * time.Hour))
	if n := len(w.c.Points("files-a")); n != 3 {
		t.Errorf("%d points are known", n)
	}
	if p := w.find(ref("files-b", "vault", 2)); p.Level() != recovery.L2 {
		t.Errorf("the other has %s: %+v", p.Level(), w.c.Pending(w.now))
	}
	for _, p := range w.c.Pending(w.now) {
		if p.DataSet == "files-a" && !strings.Contains(p.Waits, "any more") {
			t.Errorf("%+v", p)
		}
	}
	if _, err := w.try(Verify{DataSets: []string{"files-a"}}); kindOf(err) != recovery.KindNotFound {
		t.Error(err)
	}
}
