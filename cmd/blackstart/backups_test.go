package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// noon is when the tests' coordinator says that it is.
var noon = time.Date(2024, 7, 19, 12, 0, 0, 0, time.UTC)

func at(before time.Duration) *timestamppb.Timestamp { return timestamppb.New(noon.Add(-before)) }

// pointOfSet is a point so many hours old, with checks given as "L3 ok" or "L2 bad".
func pointOfSet(set, id string, hours int, checks ...string) *pb.RestorePoint {
	age := time.Duration(hours) * time.Hour
	p := &pb.RestorePoint{DataSet: set, Host: "db1", Repository: "vault", Id: id, Kind: "files", TakenAt: at(age), SeenAt: at(time.Minute), Level: "L0", Size: 40_000_000_000}
	for _, c := range checks {
		level, word, _ := strings.Cut(c, " ")
		v := &pb.PointVerdict{Level: level, Ok: word == "ok", At: at(age / 2), By: "engine check"}
		if v.GetOk() {
			p.Level = level
		} else {
			v.Detail = "page 7 of \x1b[31mpeople\x1b[0m\nis torn"
			p.QuarantinedFrom, p.QuarantinedBy, p.QuarantineReason = p.GetTakenAt(), "engine", "it failed at "+level
		}
		p.Checks = append(p.Checks, v)
	}
	return p
}

// fakeCoordinator answers operators as its fields say.
type fakeCoordinator struct {
	pb.UnimplementedOperatorServiceServer
	points   *pb.ListPointsResponse
	audit    *pb.AuditBackupsResponse
	bisected []*pb.BisectBackupsResponse
	host     *pb.Host
	plan     *pb.PlanResponse
	incident *pb.Incident
	told     func(grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error // of the work that is under way; nil: there is none
	asked    []proto.Message
}

func (f *fakeCoordinator) ListPoints(_ context.Context, r *pb.ListPointsRequest) (*pb.ListPointsResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetDataSet() == "nope" {
		return nil, status.Error(codes.NotFound, "data set nope is not in the fleet file")
	}
	return f.points, nil
}

func (f *fakeCoordinator) WatchBackups(_ *pb.WatchBackupsRequest, stream grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error {
	if f.told == nil {
		return stream.Send(&pb.WatchBackupsResponse{Now: timestamppb.New(noon)})
	}
	return f.told(stream)
}

func (f *fakeCoordinator) ScanBackups(_ context.Context, r *pb.ScanBackupsRequest) (*pb.ScanBackupsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.ScanBackupsResponse{DataSets: []string{"people-db"}}, nil
}

func (f *fakeCoordinator) VerifyBackups(_ context.Context, r *pb.VerifyBackupsRequest) (*pb.VerifyBackupsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.VerifyBackupsResponse{Work: []*pb.BackupWork{{Job: "verify/people-db/1", Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11", Level: "L3", Runner: "db1"}}}, nil
}

func (f *fakeCoordinator) JudgePoints(_ context.Context, r *pb.JudgePointsRequest) (*pb.JudgePointsResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.JudgePointsResponse{Points: f.points.GetPoints()}, nil
}

func (f *fakeCoordinator) AuditBackups(_ context.Context, r *pb.AuditBackupsRequest) (*pb.AuditBackupsResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetFormat() == pb.ReportFormat_REPORT_FORMAT_MARKDOWN {
		return &pb.AuditBackupsResponse{Body: []byte("# Backups\n\n"), Short: f.audit.GetShort()}, nil
	}
	return f.audit, nil
}

func (f *fakeCoordinator) BisectBackups(r *pb.BisectBackupsRequest, stream grpc.ServerStreamingServer[pb.BisectBackupsResponse]) error {
	f.asked = append(f.asked, r)
	for _, b := range f.bisected {
		if err := stream.Send(b); err != nil {
			return err
		}
	}
	return nil
}

func (f *fakeCoordinator) ShowHost(context.Context, *pb.ShowHostRequest) (*pb.ShowHostResponse, error) {
	return &pb.ShowHostResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) ListHosts(context.Context, *pb.ListHostsRequest) (*pb.ListHostsResponse, error) {
	return &pb.ListHostsResponse{Hosts: []*pb.Host{f.host}}, nil
}

func (f *fakeCoordinator) ShowIncident(context.Context, *pb.ShowIncidentRequest) (*pb.ShowIncidentResponse, error) {
	return &pb.ShowIncidentResponse{Incident: f.incident}, nil
}

func (f *fakeCoordinator) Plan(context.Context, *pb.PlanRequest) (*pb.PlanResponse, error) {
	return f.plan, nil
}

func (f *fakeCoordinator) ApproveRestore(_ context.Context, r *pb.ApproveRestoreRequest) (*pb.ApproveRestoreResponse, error) {
	f.asked = append(f.asked, r)
	if r.GetLoss().AsDuration() < f.host.GetRestore().GetLoss().AsDuration() {
		return nil, status.Error(codes.FailedPrecondition, "more is lost by now")
	}
	return &pb.ApproveRestoreResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) CancelAttempt(_ context.Context, r *pb.CancelAttemptRequest) (*pb.CancelAttemptResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.CancelAttemptResponse{Host: f.host}, nil
}

func (f *fakeCoordinator) Declare(_ context.Context, r *pb.DeclareRequest) (*pb.DeclareResponse, error) {
	f.asked = append(f.asked, r)
	return &pb.DeclareResponse{Incident: &pb.Incident{Id: "2024-07-19-1", Counts: &pb.Counts{}, Forecast: &pb.Forecast{}}}, nil
}

// serve answers calls of the commands that the returned function runs, as `blackstart ARGS` would be.
func (f *fakeCoordinator) serve(t *testing.T) func(args ...string) (stdout string, said string, exit int) {
	t.Helper()
	dir := fakeCertificates(t)
	addr, stop := f.listen(t, dir, "127.0.0.1:0")
	t.Cleanup(stop)
	return func(args ...string) (string, string, int) { return asOperator(t, dir, addr, args...) }
}

// fakeCertificates returns the folder of a coordinator and its operator.
func fakeCertificates(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := pki.Init(dir, pki.Options{Operator: "operator"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listen answers at an address until stop is called, which breaks the connections.
func (f *fakeCoordinator) listen(t *testing.T, dir, where string) (addr string, stop func()) {
	t.Helper()
	tls, err := pki.ServerTLS(dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", where)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(tls)))
	pb.RegisterOperatorServiceServer(s, f)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return l.Addr().String(), func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// asOperator runs `blackstart ARGS` against the coordinator at an address.
func asOperator(t *testing.T, dir, addr string, args ...string) (stdout, said string, exit int) {
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append([]string{"--dir", dir, "--coordinator", addr, "--operator", "operator"}, args...))
	said, exit = end(root.ExecuteContext(t.Context()))
	return out.String(), said, exit
}

// lacks reports which of the patterns, read with white space folded, an output lacks.
func lacks(out string, wanted ...string) []string {
	folded := strings.Join(strings.Fields(out), " ")
	var missing []string
	for _, w := range wanted {
		if !strings.Contains(folded, w) {
			missing = append(missing, w)
		}
	}
	return missing
}

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

// script plays answers to ListPoints, one a look, of which the last is given for ever; and what is told of work, one list for each stream that
// is opened, after which it tells no more. Behind the last list nobody answers.
type script struct {
	pb.OperatorServiceClient
	looks   []any   // *pb.ListPointsResponse or error
	streams [][]any // *pb.WatchBackupsResponse or error
	ordered []*pb.BackupWork
	open    atomic.Int32 // streams
}

// nextOf takes the next of a list; false: there is none.
func nextOf[T any](list *[]T) (next T, ok bool) {
	if len(*list) == 0 {
		return next, false
	}
	next, *list = (*list)[0], (*list)[1:]
	return next, true
}

func (s *script) ListPoints(context.Context, *pb.ListPointsRequest, ...grpc.CallOption) (*pb.ListPointsResponse, error) {
	next := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	if err, ok := next.(error); ok {
		return nil, err
	}
	return proto.CloneOf(next.(*pb.ListPointsResponse)), nil
}

func (s *script) WatchBackups(ctx context.Context, _ *pb.WatchBackupsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[pb.WatchBackupsResponse], error) {
	list, ok := nextOf(&s.streams)
	if !ok {
		return nil, errGone
	}
	s.open.Add(1)
	context.AfterFunc(ctx, func() { s.open.Add(-1) })
	return &scriptedStream{ctx: ctx, list: list}, nil
}

type scriptedStream struct {
	grpc.ServerStreamingClient[pb.WatchBackupsResponse]
	ctx  context.Context
	list []any
}

func (s *scriptedStream) Recv() (*pb.WatchBackupsResponse, error) {
	next, ok := nextOf(&s.list)
	if !ok {
		<-s.ctx.Done()
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
	if err, ok := next.(error); ok {
		return nil, err
	}
	return next.(*pb.WatchBackupsResponse), nil
}

// atWork is a message of a stream.
func atWork(work ...*pb.BackupWork) *pb.WatchBackupsResponse {
	return &pb.WatchBackupsResponse{Now: timestamppb.New(noon), Work: work}
}

func (s *script) VerifyBackups(context.Context, *pb.VerifyBackupsRequest, ...grpc.CallOption) (*pb.VerifyBackupsResponse, error) {
	return &pb.VerifyBackupsResponse{Work: s.ordered}, nil
}

func (s *script) ScanBackups(context.Context, *pb.ScanBackupsRequest, ...grpc.CallOption) (*pb.ScanBackupsResponse, error) {
	return &pb.ScanBackupsResponse{DataSets: []string{"people-db"}}, nil
}

func TestVerifyTellsWhatCameOfEachPoint(t *testing.T) {
	check := func(id, waits string, p *pb.Progress) *pb.BackupWork {
		return &pb.BackupWork{Job: "verify/" + id, Kind: "check", DataSet: "people-db", Repository: "vault", Point: id, Level: "L3", Waits: waits, Progress: p}
	}
	half := &pb.Progress{Stage: "restoring people-db", Done: 5, Total: 10}
	aa, bb := pointOfSet("people-db", "aa11", 2, "L1 ok", "L3 ok"), pointOfSet("people-db", "bb22", 26)
	look := func(points ...*pb.RestorePoint) *pb.ListPointsResponse {
		return &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: points}
	}
	unchecked, first := look(pointOfSet("people-db", "aa11", 2, "L1 ok"), bb), look(aa, bb)
	failed, passed := look(aa, pointOfSet("people-db", "bb22", 26, "L3 bad")), look(aa, pointOfSet("people-db", "bb22", 26, "L3 ok"))
	both := []*pb.BackupWork{check("aa11", "", nil), check("bb22", "aa11 goes first", nil)}
	begun, later := atWork(check("aa11", "", half), both[1]), atWork(check("bb22", "", nil))
	const away, back = "blackstart: the coordinator is away; what agents have begun goes on; looking for it …\n", "blackstart: the coordinator is back\n"
	for _, tc := range []struct {
		name    string
		looks   []any
		streams [][]any
		exit    int
		said    string
		out     []string
		absent  string
		notes   string
		took    time.Duration
	}{
		{"one passes, one fails", []any{unchecked, first, failed}, [][]any{{begun, begun, later, atWork()}}, exitHeld,
			"1 restore point failed and went into quarantine: people-db vault/bb22",
			[]string{"check people-db vault/aa11 to L3: restoring people-db: 50 % of 10 B", "check people-db vault/bb22 to L3 waits: aa11 goes first", "ok people-db vault/aa11: L3 passed", "FAILED people-db vault/bb22: L3 FAILED", "page 7 of people is torn"}, "L1 passed", "", 0},
		{"both pass", []any{unchecked, passed}, [][]any{{atWork()}}, 0, "", []string{"all of 2 restore points passed"}, "FAILED", "", 0},
		{"the coordinator goes away and comes back meanwhile", []any{unchecked, passed}, [][]any{{begun, errGone}, {errGone}, {begun, later, atWork()}}, 0, "", []string{"all of 2 restore points passed"}, "FAILED", away + back, 2 * time.Second},
		{"it hangs up", []any{unchecked, passed}, [][]any{{begun, io.EOF}, {atWork()}}, 0, "", []string{"all of 2 restore points passed"}, "FAILED", away + back, time.Second},
		{"it goes away twice", []any{unchecked, passed}, [][]any{{begun, errGone}, {begun, errGone}, {atWork()}}, 0, "", []string{"all of 2 restore points passed"}, "FAILED", away + back + away + back, 2 * time.Second},
		{"it goes away between a check's end and the look at its verdict", []any{unchecked, errGone, errGone, passed}, [][]any{{later, errGone}, {later, atWork()}}, 0, "", []string{"all of 2 restore points passed"}, "FAILED", away + back, 2 * time.Second},
		{"it does not come back", []any{unchecked}, [][]any{{begun, errGone}}, exitFailed, "10.0.0.5:7443: no coordinator answers there", nil, "passed", away, 2 * time.Minute},
		{"it does not answer", []any{unchecked}, [][]any{{}}, exitFailed, "did not answer within 30s", nil, "passed", "", 30 * time.Second},
		{"it is older", []any{unchecked}, [][]any{{status.Error(codes.Unimplemented, "unknown method WatchBackups")}}, exitFailed, "it runs another version of blackstart than this one", nil, "passed", "", 0},
		{"one cannot be checked now", []any{unchecked, first}, [][]any{{atWork(&pb.BackupWork{Kind: "check", DataSet: "people-db", Repository: "vault", Point: "bb22", Waits: "the repository is\x1b[2J away; it is tried again at noon"})}},
			exitFailed, "1 restore point could not be checked", []string{"? people-db vault/bb22: it was not checked to L3: the repository is away; it is tried again at noon"}, "\x1b", "", 0},
		{"nothing is known of one", []any{unchecked, first}, [][]any{{atWork()}}, exitFailed, "1 restore point could not be checked", []string{"? people-db vault/bb22: it was not checked to L3"}, "passed\n", "", 0},
		{"a look is refused", []any{unchecked, status.Error(codes.PermissionDenied, "not you")}, [][]any{{atWork()}}, exitRefused, "not you", nil, "passed", "", 0},
		{"the stream is refused", []any{unchecked}, [][]any{{begun, status.Error(codes.PermissionDenied, "not you")}}, exitRefused, "not you", nil, "passed", "", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{looks: tc.looks, streams: tc.streams, ordered: both}
			var out, notes bytes.Buffer
			c := &cobra.Command{}
			c.SetOut(&out)
			c.SetErr(&notes)
			c.SetContext(t.Context())
			o := &options{output: "table", coordinator: "10.0.0.5:7443"}
			v := &verification{options: o}
			began := time.Now()
			message, exit := end(o.settled(c, v.run(c, s, []string{"people-db"})))
			if missing := lacks(out.String(), tc.out...); exit != tc.exit || !strings.Contains(message, tc.said) || (tc.said == "") != (message == "") || missing != nil || strings.Contains(out.String(), tc.absent) {
				t.Errorf("%s: exit %d, %s, without %q:\n%s", tc.name, exit, message, missing, out.String())
			}
			if strings.Count(out.String(), "50 %") > 1 {
				t.Errorf("%s: one standing is told twice:\n%s", tc.name, out.String())
			}
			if took := time.Since(began); took != tc.took || notes.String() != tc.notes {
				t.Errorf("%s: after %s it had noted\n%s", tc.name, took, notes.String())
			}
			synctest.Wait()
			if n := s.open.Load(); n != 0 {
				t.Errorf("%s: %d streams are left open", tc.name, n)
			}
		})
	}
}

// The connection breaks in the middle of a check, and another coordinator answers at the same address.
func TestVerifyOutlivesACoordinator(t *testing.T) {
	begun := make(chan struct{})
	first := &fakeCoordinator{points: &pb.ListPointsResponse{}, told: func(stream grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error {
		work := &pb.BackupWork{Job: "verify/people-db/1", Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11", Level: "L3"}
		if err := stream.Send(atWork(work)); err != nil {
			return err
		}
		close(begun)
		<-stream.Context().Done()
		return stream.Context().Err()
	}}
	second := &fakeCoordinator{points: &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: []*pb.RestorePoint{pointOfSet("people-db", "aa11", 2, "L3 ok")}}}
	dir := fakeCertificates(t)
	addr, stop := first.listen(t, dir, "127.0.0.1:0")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		out, said, exit := asOperator(t, dir, addr, "backups", "verify", "people-db")
		if missing := lacks(out, "the coordinator is away", "the coordinator is back", "all of 1 restore point passed"); exit != 0 || missing != nil {
			t.Errorf("exit %d, %s, without %q:\n%s", exit, said, missing, out)
		}
	}()
	select {
	case <-begun:
	case <-ended:
		t.Fatal("it ended early")
	}
	stop()
	_, stop = second.listen(t, dir, addr)
	defer stop()
	<-ended
}

func TestWhatVerifyAndScanAskFor(t *testing.T) {
	f := &fakeCoordinator{points: &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: []*pb.RestorePoint{pointOfSet("people-db", "aa11", 2)}}}
	run := f.serve(t)
	for _, tc := range []struct {
		args string
		exit int
		says string
	}{
		{"verify --level L5", exitUsage, "backups vouch"},
		{"verify --level L0", exitUsage, "use one of L1, L2, L3, L4"},
		{"verify --point aa11", exitUsage, "name that data set alone"},
		{"verify a b --point aa11", exitUsage, "name that data set alone"},
		{"verify a --point aa11 --all", exitUsage, "give one of them"},
		{"verify nope", exitUsage, "not in the fleet file"},
		{"verify people-db --level L3 --all", exitFailed, "1 restore point could not be checked"},
		{"verify people-db --point aa11 --no-wait", 0, ""},
		{"scan people-db --no-wait", 0, ""},
	} {
		if out, said, exit := run(append([]string{"backups"}, strings.Fields(tc.args)...)...); exit != tc.exit || !strings.Contains(said, tc.says) || exit == 0 && !strings.Contains(out, "people-db") {
			t.Errorf("%s: exit %d, %s\n%s", tc.args, exit, said, out)
		}
	}
	var asked []*pb.VerifyBackupsRequest
	for _, m := range f.asked {
		if r, ok := m.(*pb.VerifyBackupsRequest); ok {
			asked = append(asked, r)
		}
	}
	if len(asked) != 2 || asked[0].GetLevel() != "L3" || !asked[0].GetAll() || asked[0].GetDataSets()[0] != "people-db" || asked[1].GetPoint() != "aa11" || asked[1].GetAll() {
		t.Errorf("%v", asked)
	}
}

func TestVerifyInJSON(t *testing.T) {
	bad := []*pb.RestorePoint{pointOfSet("people-db", "aa11", 2, "L3 bad")}
	s := &script{looks: []any{&pb.ListPointsResponse{}, &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: bad}},
		streams: [][]any{{atWork()}}, ordered: []*pb.BackupWork{{Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11", Level: "L3"}}}
	var out bytes.Buffer
	c := &cobra.Command{}
	c.SetOut(&out)
	c.SetContext(t.Context())
	v := &verification{options: &options{output: "json"}}
	_, exit := end(v.run(c, s, nil))
	var told struct{ Points []verified }
	if err := json.Unmarshal(out.Bytes(), &told); err != nil || exit != exitHeld || len(told.Points) != 1 || told.Points[0].Result != resultFailed || told.Points[0].Quarantine != "it failed at L3" {
		t.Errorf("exit %d, %v:\n%s", exit, err, out.String())
	}
}

func TestScanWaitsAndTellsWhatCouldNotBeListed(t *testing.T) {
	listing := &pb.BackupWork{Job: "list/people-db/1", Kind: "list", DataSet: "people-db", Repository: "vault"}
	other := &pb.BackupWork{Job: "list/files/1", Kind: "list", DataSet: "files", Repository: "vault"}
	again := &pb.BackupWork{Kind: "list", DataSet: "people-db", Repository: "vault", Waits: "it is locked; it is tried again at noon"}
	points := []*pb.RestorePoint{pointOfSet("people-db", "aa11", 2), pointOfSet("files", "ff66", 2)}
	look := func(work ...*pb.BackupWork) *pb.ListPointsResponse {
		return &pb.ListPointsResponse{Now: timestamppb.New(noon), Points: points, Work: append(work, other),
			DataSets: []*pb.DataSetStanding{{Name: "people-db", Host: "db1", Asks: "L3"}, {Name: "files", Host: "fs1", Asks: "L1"}}}
	}
	for _, tc := range []struct {
		name string
		told []any
		exit int
		said string
	}{
		{"listed", []any{atWork(listing, other), atWork(other)}, 0, ""},
		{"failed", []any{atWork(again, other)}, exitFailed, "people-db in vault: it is locked; it is tried again at noon"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{looks: []any{look(listing), look()}, streams: [][]any{tc.told}}
			var out bytes.Buffer
			c := &cobra.Command{}
			c.SetOut(&out)
			c.SetContext(t.Context())
			message, exit := end((&options{output: "table"}).scan(c, s, []string{"people-db"}, false))
			if missing := lacks(out.String(), "people-db db1 1 2 h ago L3 none", "1 data set"); exit != tc.exit || !strings.Contains(message, tc.said) || missing != nil || strings.Contains(out.String(), "files") {
				t.Errorf("%s: exit %d, %s, without %q:\n%s", tc.name, exit, message, missing, out.String())
			}
		})
	}
}

// Whoever stops waiting is told that the work goes on.
func TestInterruptedWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		work := []*pb.BackupWork{{Job: "verify/1", Kind: "check", DataSet: "people-db", Repository: "vault", Point: "aa11"}}
		s := &script{looks: []any{&pb.ListPointsResponse{}}, streams: [][]any{{atWork(work...)}}, ordered: work}
		var out bytes.Buffer
		c := &cobra.Command{}
		c.SetOut(&out)
		c.SetContext(ctx)
		o := &options{output: "table"}
		began := time.Now()
		err := (&verification{options: o}).run(c, s, nil)
		message, exit := end(o.settled(c, err))
		if !errors.Is(err, errInterrupted) || exit != exitFailed || !strings.Contains(message, "what was ordered goes on") || time.Since(began) != time.Minute {
			t.Errorf("exit %d after %s: %s", exit, time.Since(began), message)
		}
	})
}

func TestTheBoardRedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	b := &workBoard{out: &out, width: func() int { return 40 }}
	wait := func(n int) (list []*pb.BackupWork) {
		for range n {
			list = append(list, &pb.BackupWork{Kind: "check", DataSet: strings.Repeat("long", 20), Waits: "its turn"})
		}
		return list
	}
	b.show([]*pb.BackupWork{{Kind: "list", DataSet: "a"}}, wait(5), noon)
	if lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); len(lines) != 5 || lines[0] != "list a" || lines[4] != "… and 2 more wait" || len([]rune(lines[1])) > 39 {
		t.Errorf("%q", lines)
	}
	out.Reset()
	b.show(nil, wait(1), noon)
	if !strings.HasPrefix(out.String(), "\x1b[5A\x1b[J") || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%q", out.String())
	}
	out.Reset()
	b.show(nil, nil, noon)
	b.show(nil, nil, noon)
	if out.String() != "\x1b[1A\x1b[J" {
		t.Errorf("%q", out.String())
	}
}
