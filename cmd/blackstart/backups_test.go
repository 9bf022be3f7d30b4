package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestBackupsList(t *testing.T) {
	held := pointOfSet("people-db", "bb22", 26, "L1 ok", "L3 ok")
	held.HeldBy = []string{"2024-07-19-1"}
	gone := pointOfSet("people-db", "ee55", 200, "L4 ok")
	gone.Gone = true
	partly := pointOfSet("ledger", "dd44", 30, "L2 ok")
	partly.Kind, partly.Until, partly.QuarantinedFrom, partly.QuarantinedBy, partly.QuarantineReason = "database", at(time.Hour), at(5*time.Hour), "operator:ada", "totals differ"
	f := &fakeCoordinator{points: &pb.ListPointsResponse{Now: timestamppb.New(noon), DataSets: []*pb.DataSetStanding{
		{Name: "people-db", Host: "db1", Asks: "L3", Good: held}, {Name: "ledger", Host: "db1", Asks: "L3", Why: "none of 1 restore point may be used: 1 verified no further than L2 where L3 is asked"},
		{Name: "archive", Host: "arc1", Asks: "L1", Why: "no restore point is known"}}, Alerts: []*pb.BackupAlert{{At: at(time.Hour), DataSet: "archive", Text: "its points in vault cannot be listed"}}, Points: []*pb.RestorePoint{
		pointOfSet("people-db", "aa11", 2), held, pointOfSet("people-db", "cc33", 50, "L2 bad"), pointOfSet("people-db", "cc34", 60, "L3 ok"), gone, partly}}}
	run := f.serve(t)
	out, _, exit := run("backups", "list")
	if missing := lacks(out, "DATA SET HOST POINTS NEWEST ASKED LAST KNOWN GOOD LEVEL CHECKED QUARANTINED HELD",
		"people-db db1 4 2 h ago L3 26 h ago L3 13 h ago 1 1", "ledger db1 1 60 min ago L3 none - - 0 0", "archive arc1 0 - L1 none", "3 data sets",
		"2 data sets with nothing that may be restored", "ledger: none of 1 restore point may be used", "archive: no restore point is known", "1 alert: ", "archive: its points in vault cannot be listed"); exit != 0 || missing != nil {
		t.Errorf("exit %d, without %q:\n%s", exit, missing, out)
	}
	out, _, exit = run("backups", "list", "people-db", "--host", "db1")
	if missing := lacks(out, "people-db vault/aa11 19 Jul 10:00:00 UTC 40 GB L0 never checked", "held by 2024-07-19-1; L3 passed 13 h ago, engine check; L1 passed",
		"QUARANTINED by engine: it failed at L2; L2 FAILED 25 h ago, engine check: page 7 of people is torn", "SUSPECT from 19 Jul 07:00:00 UTC by operator:ada: totals differ", "5 restore points"); exit != 0 || missing != nil {
		t.Errorf("exit %d, without %q:\n%s", exit, missing, out)
	}
	if strings.Contains(out, "ee55") || strings.Contains(out, "\x1b") {
		t.Errorf("what is gone, or a terminal sequence, is shown:\n%q", out)
	}
	if r := f.asked[len(f.asked)-1].(*pb.ListPointsRequest); r.GetDataSet() != "people-db" || r.GetHost() != "db1" {
		t.Errorf("%v was asked for", r)
	}
	if out, _, _ = run("backups", "list", "--all"); lacks(out, "ee55", "GONE: last listed 60 s ago", "6 restore points") != nil {
		t.Errorf("--all shows\n%s", out)
	}
	if _, said, exit := run("backups", "list", "nope"); exit != exitUsage || !strings.Contains(said, "not in the fleet file") {
		t.Errorf("exit %d, %s", exit, said)
	}
	f.points = &pb.ListPointsResponse{Now: timestamppb.New(noon), DataSets: []*pb.DataSetStanding{{Name: "archive", Host: "arc1"}}}
	if out, _, exit = run("backups", "list", "--all"); exit != 0 || !strings.Contains(out, "backups scan` has the repositories listed") {
		t.Errorf("exit %d, %s", exit, out)
	}
}

// What `backups list --all -o json` prints is what `plan --points` reads.
func TestPointsComeBackFromTheirList(t *testing.T) {
	bad := pointOfSet("people-db", "cc33", 50, "L1 ok", "L2 bad")
	gone := pointOfSet("people-db", "ee55", 200, "L4 ok")
	gone.Gone = true
	logs := pointOfSet("ledger", "dd44", 30, "L3 ok")
	logs.Kind, logs.Until = "database", at(time.Minute)
	f := &fakeCoordinator{points: &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: []*pb.RestorePoint{bad, gone, logs}}}
	out, _, exit := f.serve(t)("backups", "list", "--all", "-o", "json")
	if exit != 0 {
		t.Fatal(out)
	}
	file := filepath.Join(t.TempDir(), "points.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(out)
	stock, err := stockFrom(recovery.Fleet{}, file, "", noon)
	if err != nil {
		t.Fatal(err)
	}
	of := stock.Points.Of("people-db")
	if len(of) != 2 || !of[0].Quarantined() || of[0].Quarantine.Reason != "it failed at L2" || of[0].Level() != recovery.L1 || !of[1].Gone || !of[1].TakenAt.Equal(noon.Add(-200*time.Hour)) {
		t.Errorf("%+v", of)
	}
	if of := stock.Points.Of("ledger"); len(of) != 1 || !of[0].Latest().Equal(noon.Add(-time.Minute)) || of[0].Level() != recovery.L3 || of[0].Size != 40_000_000_000 {
		t.Errorf("%+v", of)
	}
	for _, text := range []string{"", "{", "[]", `{"points": [{}]}`, `{"points": [{"data_set": "a", "repository": "b", "id": "c", "taken_at": "2024-07-19T12:00:00Z", "checks": [{"level": "L9"}]}]}`} {
		write(text)
		if _, err := stockFrom(recovery.Fleet{}, file, "", noon); err == nil {
			t.Errorf("%q was taken", text)
		} else if _, exit := end(err); exit != exitUsage {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := stockFrom(recovery.Fleet{}, file, "data", noon); err == nil {
		t.Error("two sources were taken")
	}
	if _, err := stockFrom(recovery.Fleet{}, "", t.TempDir(), noon); err == nil || !strings.Contains(err.Error(), "no catalog of backups") {
		t.Errorf("an empty data folder: %v", err)
	}
}

func TestBackupsJobs(t *testing.T) {
	f := &fakeCoordinator{points: &pb.ListPointsResponse{Now: timestamppb.New(noon), Work: []*pb.BackupWork{
		{Job: "verify/people-db/1", Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11", Level: "L3", Runner: "db1", StartedAt: at(4 * time.Minute),
			Progress: &pb.Progress{Stage: "restoring people-db", Done: 4, Total: 10, Rate: 1000}},
		{Kind: "list", DataSet: "files", Repository: "vault", Runner: "fs1", Waits: "one listing after the other"}}}}
	run := f.serve(t)
	out, _, exit := run("backups", "jobs")
	if missing := lacks(out, "check people-db vault/aa11 L3 db1 runs, begun 4 min ago; restoring people-db: 40 % of 10 B, 1 kB/s", "list files - - fs1 waits: one listing after the other"); exit != 0 || missing != nil {
		t.Errorf("exit %d, without %q:\n%s", exit, missing, out)
	}
	f.points = &pb.ListPointsResponse{}
	if out, _, _ := run("backups", "jobs"); !strings.Contains(out, "no work on backups is under way") {
		t.Errorf("%s", out)
	}
}

func TestAPersonsWordOnPoints(t *testing.T) {
	f := &fakeCoordinator{points: &pb.ListPointsResponse{Points: []*pb.RestorePoint{pointOfSet("people-db", "aa11", 2)}}}
	run := f.serve(t)
	last := func() *pb.JudgePointsRequest { return f.asked[len(f.asked)-1].(*pb.JudgePointsRequest) }
	for _, tc := range []struct {
		args string
		exit int
		says string
	}{
		{"quarantine people-db", exitUsage, "needs --reason"},
		{"quarantine people-db --point a --from 90m --reason x", exitUsage, "give one of them"},
		{"quarantine people-db --from yesterday --reason x", exitUsage, "--from yesterday"},
		{"release people-db", exitUsage, "needs --reason"},
		{"vouch people-db --note x", exitUsage, "needs --point"},
		{"vouch people-db --point aa11", exitUsage, "needs --note"},
		{"quarantine", exitUsage, "takes DATASET"},
		{"quarantine people-db --from 2024-07-18T22:00:00Z --reason x", 0, ""},
		{"release people-db --point aa11 --reason y", 0, ""},
		{"vouch people-db --point aa11 --note z", 0, ""},
	} {
		out, said, exit := run(append([]string{"backups"}, strings.Fields(tc.args)...)...)
		if exit != tc.exit || !strings.Contains(said, tc.says) || exit == 0 && !strings.Contains(out, "aa11") {
			t.Errorf("%s: exit %d, %s\n%s", tc.args, exit, said, out)
		}
	}
	if len(f.asked) != 3 {
		t.Fatalf("%d calls came through", len(f.asked))
	}
	if r := last(); r.GetWord() != pb.PointWord_POINT_WORD_VOUCH || r.GetPoint() != "aa11" || r.GetReason() != "z" {
		t.Errorf("%v", r)
	}
	if r := f.asked[0].(*pb.JudgePointsRequest); r.GetWord() != pb.PointWord_POINT_WORD_QUARANTINE || r.GetFrom().AsTime().Format(time.RFC3339) != "2024-07-18T22:00:00Z" || r.GetDataSet() != "people-db" {
		t.Errorf("%v", r)
	}
	if r := f.asked[1].(*pb.JudgePointsRequest); r.GetWord() != pb.PointWord_POINT_WORD_RELEASE || r.GetFrom() != nil {
		t.Errorf("%v", r)
	}
}

func TestBackupsAudit(t *testing.T) {
	body := `{"fleet": "town", "as_of": "2024-07-19T12:00:00Z", "data_sets": 2, "adequate": 1, "short": 1, "points": 15, "rows": [
		{"data_set": "people-db", "host": "db1", "service": "people", "policy": "hourly", "points": 14, "newest": "2024-07-19T11:00:00Z", "level": "L1", "verified_at": "2024-07-17T12:00:00Z",
		 "findings": [{"code": "all-may-be-bad", "text": "Every point that is kept may already be bad."}, {"code": "no-off-site", "text": "No copy\u001b[2J lies elsewhere."}]},
		{"data_set": "files", "host": "fs1", "points": 1, "level": "L0"}]}`
	f := &fakeCoordinator{audit: &pb.AuditBackupsResponse{Body: []byte(body), Short: 1, DataSets: 2}}
	run := f.serve(t)
	out, said, exit := run("backups", "audit")
	if missing := lacks(out, "people-db db1 people hourly 14 60 min ago L1 2 days ago Every point that is kept may already be bad; No copy lies elsewhere",
		"files fs1 - - 1 - - - ok", "1 adequate, 1 short; 15 restore points of 2 data sets kept"); exit != exitHeld || missing != nil || !strings.Contains(said, "1 data set or host without an adequate backup") {
		t.Errorf("exit %d, %s, without %q:\n%s", exit, said, missing, out)
	}
	file := filepath.Join(t.TempDir(), "page.md")
	out, _, exit = run("backups", "audit", "-o", "markdown", "--out", file)
	if page, err := os.ReadFile(file); err != nil || string(page) != "# Backups\n" || exit != exitHeld || !strings.Contains(out, "written to ") {
		t.Errorf("exit %d, %q, %v, %s", exit, page, err, out)
	}
	if out, _, _ := run("backups", "audit", "-o", "json"); !json.Valid([]byte(out)) {
		t.Errorf("%s", out)
	}
	for _, args := range []string{"-o yaml", "--out x.md", "extra"} {
		if _, _, exit := run(append([]string{"backups", "audit"}, strings.Fields(args)...)...); exit != exitUsage {
			t.Errorf("%s: exit %d", args, exit)
		}
	}
	f.audit = &pb.AuditBackupsResponse{Body: []byte(`{"rows": []}`)}
	if out, said, exit := run("backups", "audit"); exit != 0 || said != "" || !strings.Contains(out, "nothing to audit") {
		t.Errorf("exit %d, %s, %s", exit, said, out)
	}
}

func TestBisectNamesThePair(t *testing.T) {
	good, bad := pointOfSet("people-db", "p9", 120, "L3 ok"), pointOfSet("people-db", "p10", 96, "L3 bad")
	search := &pb.BisectBackupsResponse{Checking: "people-db vault/p7", Checked: 1, AtMost: 3}
	for _, tc := range []struct {
		name string
		end  []*pb.BisectBackupsResponse
		exit int
		says []string
	}{
		{"the pair", []*pb.BisectBackupsResponse{search, search, {Done: true, Good: good, Bad: bad, Points: []*pb.RestorePoint{good, bad}, Verdict: "It came in between p9 and p10."}}, 0,
			[]string{"checking people-db vault/p7; 1 checked, at most 3 to go", "the newest good point vault/p9, data of 14 Jul 12:00:00 UTC", "the oldest bad point vault/p10", "It came in between p9 and p10."}},
		{"all good", []*pb.BisectBackupsResponse{{Done: true, Good: good, Verdict: "No damage was found."}}, 0, []string{"the oldest bad point none", "No damage was found."}},
		{"all bad", []*pb.BisectBackupsResponse{{Done: true, Bad: bad, Verdict: "It is older."}}, exitHeld, []string{"the newest good point none"}},
		{"given up", []*pb.BisectBackupsResponse{{Done: true, Good: good, AtMost: 2, Verdict: "The search was given up."}}, exitFailed, []string{"The search was given up."}},
		{"nothing told", []*pb.BisectBackupsResponse{{Done: true, Verdict: "No point could be checked."}}, exitFailed, nil},
		{"no end", []*pb.BisectBackupsResponse{search}, exitFailed, nil},
	} {
		f := &fakeCoordinator{bisected: tc.end}
		out, said, exit := f.serve(t)("backups", "bisect", "people-db", "--level", "L3")
		if missing := lacks(out, tc.says...); exit != tc.exit || missing != nil || (exit != 0) != (said != "") {
			t.Errorf("%s: exit %d, %s, without %q:\n%s", tc.name, exit, said, missing, out)
		}
		if strings.Count(out, "checking") > 1 {
			t.Errorf("%s: one standing is told twice:\n%s", tc.name, out)
		}
		if r := f.asked[0].(*pb.BisectBackupsRequest); r.GetDataSet() != "people-db" || r.GetLevel() != "L3" {
			t.Errorf("%s: %v", tc.name, r)
		}
	}
	f := &fakeCoordinator{bisected: []*pb.BisectBackupsResponse{search, {Done: true, Good: good}}}
	if out, _, exit := f.serve(t)("backups", "bisect", "people-db", "-o", "json"); exit != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, `"checking":"people-db vault/p7"`) {
		t.Errorf("exit %d:\n%s", exit, out)
	}
}

func TestHostRestoreAsksForWhatWasRead(t *testing.T) {
	h := &pb.Host{Name: "db1", Service: "people", Phase: "needs-hands", Restore: &pb.RestoreOffer{Points: []string{"people-db vault/aa11"}, Moment: at(10 * time.Hour),
		Loss: durationpb.New(34*time.Minute + time.Second), Estimate: durationpb.New(20 * time.Minute), WantsApproval: true, Reason: "it holds primary data"}}
	f := &fakeCoordinator{host: h}
	run := f.serve(t)
	out, _, exit := run("host", "restore", "db1")
	if missing := lacks(out, "restore from people-db vault/aa11", "data of 19 Jul 02:00:00 UTC, lost: 35 min, takes about 20 min", "it holds primary data", `host restore db1 --approve --loss 35m --reason "…"`); exit != 0 || missing != nil || len(f.asked) != 0 {
		t.Errorf("exit %d, without %q:\n%s", exit, missing, out)
	}
	approved := func() time.Duration {
		return f.asked[len(f.asked)-1].(*pb.ApproveRestoreRequest).GetLoss().AsDuration()
	}
	if out, said, exit := run("host", "restore", "db1", "--approve", "--reason", "agreed"); exit != 0 || approved() != 34*time.Minute+time.Second || lacks(out, "lost: 35 min") != nil {
		t.Errorf("exit %d, %s:\n%s", exit, said, out)
	}
	if _, said, exit := run("host", "restore", "db1", "--approve", "--loss", "35m"); exit != 0 || approved() != 35*time.Minute {
		t.Errorf("exit %d, %s", exit, said)
	}
	if _, said, exit := run("host", "restore", "db1", "--approve", "--loss", "30m"); exit != exitRefused || !strings.Contains(said, "more is lost") {
		t.Errorf("exit %d, %s", exit, said)
	}
	for _, args := range []string{"--loss 30m", "--approve --loss soon", "--approve --loss -5m"} {
		if _, said, exit := run(append([]string{"host", "restore", "db1"}, strings.Fields(args)...)...); exit != exitUsage {
			t.Errorf("%s: exit %d, %s", args, exit, said)
		}
	}
	h.Restore = &pb.RestoreOffer{Reason: "none of 3 restore points may be used"}
	if out, _, exit := run("host", "restore", "db1"); exit != 0 || !strings.Contains(out, "db1 cannot be restored: none of 3") {
		t.Errorf("exit %d:\n%s", exit, out)
	}
	before := len(f.asked)
	if _, said, exit := run("host", "restore", "db1", "--approve"); exit != exitRefused || !strings.Contains(said, "cannot be restored") || len(f.asked) != before {
		t.Errorf("exit %d, %s", exit, said)
	}
	if _, _, exit := run("host", "cancel", "db1"); exit != exitUsage {
		t.Errorf("a cancel without a reason: exit %d", exit)
	}
	if _, _, exit := run("host", "cancel", "db1", "--reason", "a repair came"); exit != 0 || f.asked[len(f.asked)-1].(*pb.CancelAttemptRequest).GetReason() != "a repair came" {
		t.Errorf("exit %d", exit)
	}
}

func TestHostsShowHowFarARestoreIs(t *testing.T) {
	f := &fakeCoordinator{host: &pb.Host{Name: "db1", Service: "people", Phase: "attempting", Reason: "attempt 1", Progress: &pb.Progress{
		Stage: "restoring people-db", Done: 16_400_000_000, Total: 40_000_000_000, Left: durationpb.New(12 * time.Minute)}}}
	run := f.serve(t)
	if out, _, _ := run("host", "list"); lacks(out, "restoring people-db: 41 % of 40 GB, 12 min left") != nil {
		t.Errorf("%s", out)
	}
	if out, _, _ := run("host", "show", "db1"); lacks(out, "progress restoring people-db: 41 % of 40 GB, 12 min left") != nil {
		t.Errorf("%s", out)
	}
}

func TestDeclareWithACutoff(t *testing.T) {
	f := &fakeCoordinator{}
	run := f.serve(t)
	if _, said, exit := run("incident", "declare", "x", "--began", "2024-07-19T05:30:00+01:00", "--cutoff", "2024-07-18T22:00:00Z", "--wave-zero"); exit != 0 {
		t.Fatal(said)
	}
	if r := f.asked[0].(*pb.DeclareRequest); r.GetCutoff().AsTime().Format(time.RFC3339) != "2024-07-18T22:00:00Z" || r.GetBegan().AsTime().Format(time.RFC3339) != "2024-07-19T04:30:00Z" || !r.GetWaveZero() {
		t.Errorf("%v", r)
	}
	if _, said, exit := run("incident", "declare", "x", "--cutoff", "once"); exit != exitUsage || !strings.Contains(said, "--cutoff once: give a time") {
		t.Errorf("exit %d, %s", exit, said)
	}
}

func TestWaveZeroIsShown(t *testing.T) {
	for _, c := range []struct {
		incident *pb.Incident
		want     string // empty: nothing is said of it
	}{
		{&pb.Incident{Id: "i-1", Status: "declared"}, ""},
		{&pb.Incident{Id: "i-1", Status: "running", WaveZero: true, Unverified: []string{"people-db", "files"}},
			"wave zero: 2 data sets without a restore point that is verified as far as is asked (people-db, files)"},
		{&pb.Incident{Id: "i-1", Status: "running", WaveZero: true}, "wave zero: nothing is left to check"},
		{&pb.Incident{Id: "i-1", Status: "closed", WaveZero: true, ClosedAt: timestamppb.Now()}, ""},
	} {
		run := (&fakeCoordinator{incident: c.incident}).serve(t)
		out, said, exit := run("incident", "show")
		if exit != 0 || strings.Contains(out, "wave zero") != (c.want != "") || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit %d, %s\n%s", c.incident, exit, said, out)
		}
	}
}

func TestThePlanTellsMethodTimeAndLoss(t *testing.T) {
	f := &fakeCoordinator{plan: &pb.PlanResponse{Digest: "sha256:1", PlaybookDigest: "sha256:2", Waves: []*pb.PlannedWave{{Wave: 1, Tier: "base", Hosts: []*pb.PlannedHost{
		{Host: "app1", Service: "web", Method: "restore", Rung: "backup", Reason: "it is stateless", Estimate: durationpb.New(8 * time.Minute), Queue: durationpb.New(time.Hour), Points: []string{"app1 vault/aa11"}, Otherwise: "repair, if that took less"},
		{Host: "db1", Service: "people", Method: "restore", Rung: "backup", Reason: "no way to repair it", Loss: durationpb.New(35 * time.Minute), Approval: true},
		{Host: "dc1", Service: "dir", Method: "repair", Rung: "ssh", Reason: "repair in place", Estimate: durationpb.New(10 * time.Minute)}}}}}}
	run := f.serve(t)
	out, _, exit := run("incident", "plan")
	if missing := lacks(out, "METHOD RUNG TAKES QUEUE DATA LOSS REASON", "1 base app1 web restore backup 8 min 60 min - it is stateless", "db1 people restore backup - - 35 min no way to repair it",
		"dc1 dir repair ssh 10 min - - repair in place", "wave 1 base 3 hosts, 2 of them from backup", "restored only when a person approves it (host restore HOST): db1"); exit != 0 || missing != nil {
		t.Errorf("exit %d, without %q:\n%s", exit, missing, out)
	}
	if strings.Contains(out, "otherwise") {
		t.Errorf("what was not asked for:\n%s", out)
	}
	f.plan.Now = []*pb.PlannedHost{{Host: "dc1", Method: "restore", Rung: "backup", Reason: "no way to repair it", Estimate: durationpb.New(5 * time.Minute), Loss: durationpb.New(90 * time.Minute)}}
	if out, _, _ := run("incident", "plan"); lacks(out, "plan sha256:1", "these hosts would now be done otherwise", "HOST METHOD RUNG TAKES DATA LOSS REASON", "dc1 restore backup 5 min 90 min (1 h 30 min) no way to repair it") != nil {
		t.Errorf("%s", out)
	}
	if out, _, _ := run("incident", "plan", "--why"); lacks(out, "app1: it is stateless from app1 vault/aa11 otherwise: repair, if that took less") != nil {
		t.Errorf("%s", out)
	}
}
