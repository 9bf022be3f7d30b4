package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/backups"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// fakeHub does jobs on backups as an agent with a repository of daily points would. Points of people-db that were taken before the
// day of the damage are good.
type fakeHub struct {
	mu     sync.Mutex
	days   int // of points, the last of today
	damage int // the day before today since which points are bad; 0: none is
	checks []string
	hold   chan struct{} // checks wait for it; nil: none does
	done   atomic.Int64  // how far a check has come
	clocks atomic.Int64  // looks at the clock: two for each turn of the keeper's loop
}

func (f *fakeHub) taken(day int) time.Time {
	return time.Now().UTC().Truncate(time.Minute).Add(-time.Duration(day)*24*time.Hour - time.Hour)
}

func (f *fakeHub) run(ctx context.Context, job recovery.Job) recovery.Result {
	w := job.Sets[0]
	switch job.Kind {
	case recovery.JobList:
		var list []recovery.RestorePoint
		for day := range f.days {
			list = append(list, recovery.RestorePoint{PointRef: recovery.PointRef{DataSet: w.Set.Name, Repository: w.Repository.Name, ID: fmt.Sprintf("day-%02d", day)},
				Kind: recovery.PointFiles, TakenAt: f.taken(day), Size: 1000})
		}
		return recovery.Result{Class: recovery.Succeeded, Points: list}
	case recovery.JobCheck:
		if f.hold != nil {
			select {
			case <-f.hold:
			case <-ctx.Done():
				return recovery.Result{Class: recovery.Cancelled}
			}
		}
		f.mu.Lock()
		f.checks = append(f.checks, w.Point.ID)
		f.mu.Unlock()
		var day int
		if _, err := fmt.Sscanf(w.Point.ID, "day-%d", &day); err != nil {
			return recovery.Result{Class: recovery.Failed, Detail: err.Error()}
		}
		check := recovery.PointCheck{Level: w.Level, OK: f.damage == 0 || day > f.damage, At: time.Now(), By: "fake check"}
		class := recovery.Succeeded
		if !check.OK {
			check.Detail, class = "a page is torn", recovery.Failed
		}
		return recovery.Result{Class: class, Sets: []recovery.SetResult{{DataSet: w.Set.Name, Repository: w.Repository.Name, Point: w.Point.ID, Checks: []recovery.PointCheck{check}}}}
	}
	return recovery.Result{Class: recovery.Succeeded}
}

func (f *fakeHub) progress(incident, job string) (recovery.Progress, bool) {
	if incident != catalog.Story || !strings.HasPrefix(job, "verify/") {
		return recovery.Progress{}, false
	}
	return recovery.Progress{Stage: "checking people-db", Done: f.done.Load(), Total: 1000, Left: time.Minute}, true
}

// backupFleet has two data sets in a repository of any vendor.
func backupFleet() recovery.Fleet {
	host := func(name string) recovery.Host {
		return recovery.Host{Name: name, Service: "people", Tier: "first", OS: "linux", Data: recovery.DataPrimary, Agent: true}
	}
	set := func(name, host string) recovery.DataSet {
		return recovery.DataSet{Name: name, Host: host, Kind: recovery.PointFiles, Repository: "vault", Policy: "daily", Source: "/srv/" + name, Target: "/srv/" + name, Engine: recovery.EngineSQLite}
	}
	return recovery.Fleet{Name: "depot", Tiers: []recovery.Tier{{Name: "first"}}, Services: []recovery.Service{{Name: "people", Tier: "first"}}, Hosts: []recovery.Host{host("db1"), host("fs1")},
		Repositories:   []recovery.Repository{{Name: "vault", Kind: recovery.RepositoryExec, Location: "/vault", Program: "/bin/vault", Slots: 1}},
		DataSets:       []recovery.DataSet{set("files", "fs1"), set("people-db", "db1")},
		BackupPolicies: []recovery.BackupPolicy{{Name: "daily", Every: 24 * time.Hour, Keep: 14 * 24 * time.Hour, Level: recovery.L3}}}
}

// clock is the machine's, and counts the looks at it.
func (f *fakeHub) clock() func() (time.Time, time.Duration) {
	start := time.Now()
	return func() (time.Time, time.Duration) {
		f.clocks.Add(1)
		now := time.Now()
		return now.Round(0), now.Sub(start)
	}
}

// keep runs a keeper with a journal of its own, and returns who answers operators from it.
func keep(t *testing.T, hub *fakeHub) (*operators, context.Context) {
	t.Helper()
	return keepUntil(t.Context(), t, hub)
}

// keepUntil runs the keeper no longer than ctx.
func keepUntil(ctx context.Context, t *testing.T, hub *fakeHub) (*operators, context.Context) {
	t.Helper()
	j, err := journal.Open(filepath.Join(t.TempDir(), "backups.db"))
	if err != nil {
		t.Fatal(err)
	}
	f := backupFleet()
	k, err := backups.New(backups.Config{Journal: j, Fleet: f, Run: hub.run, Log: hclog.NewNullLogger(), Clock: hub.clock()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithValue(ctx, identityKey{}, identity{"operator", "ada", "192.0.2.1:9"}))
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return &operators{cfg: Config{Backups: k, DataSets: f.DataSets, Progress: hub.progress}}, ctx
}

// known waits until what is known of backups is as wanted.
func known(ctx context.Context, t *testing.T, o *operators, r *pb.ListPointsRequest, holds func(*pb.ListPointsResponse) bool) *pb.ListPointsResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	changed := o.cfg.Backups.Watch(ctx)
	for {
		out, err := o.ListPoints(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		if holds(out) {
			return out
		}
		if _, open := <-changed; !open {
			t.Fatalf("what is known of backups is %v", out)
		}
	}
}

func listed(n int) func(*pb.ListPointsResponse) bool {
	return func(out *pb.ListPointsResponse) bool { return len(out.GetPoints()) == n }
}

func TestWithoutACatalogOfBackups(t *testing.T) {
	o, ctx := &operators{}, t.Context()
	_, list := o.ListPoints(ctx, &pb.ListPointsRequest{})
	_, scan := o.ScanBackups(ctx, &pb.ScanBackupsRequest{})
	_, verify := o.VerifyBackups(ctx, &pb.VerifyBackupsRequest{})
	_, judge := o.JudgePoints(ctx, &pb.JudgePointsRequest{})
	_, audit := o.AuditBackups(ctx, &pb.AuditBackupsRequest{})
	bisect := o.BisectBackups(&pb.BisectBackupsRequest{}, &fakeStream[pb.BisectBackupsResponse]{ctx: ctx})
	watch := o.WatchBackups(&pb.WatchBackupsRequest{}, &fakeStream[pb.WatchBackupsResponse]{ctx: ctx})
	for i, err := range []error{list, scan, verify, judge, audit, bisect, watch} {
		if status.Code(code(err)) != codes.FailedPrecondition || !strings.Contains(err.Error(), "keeps no catalog of backups") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestScanAndList(t *testing.T) {
	o, ctx := keep(t, &fakeHub{days: 3})
	out, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{})
	if err != nil || !slices.Equal(out.GetDataSets(), []string{"files", "people-db"}) {
		t.Fatalf("%v, %v", out, err)
	}
	all := known(ctx, t, o, &pb.ListPointsRequest{}, listed(6))
	first := all.GetPoints()[0]
	if first.GetDataSet() != "files" || first.GetHost() != "fs1" || first.GetId() != "day-00" || first.GetRepository() != "vault" || first.GetLevel() != "L0" || first.GetSize() != 1000 || first.GetKind() != "files" || all.GetNow() == nil {
		t.Errorf("%v", first)
	}
	if mine := known(ctx, t, o, &pb.ListPointsRequest{Host: "db1"}, listed(3)); mine.GetPoints()[2].GetId() != "day-02" || mine.GetPoints()[0].GetDataSet() != "people-db" {
		t.Errorf("%v", mine)
	}
	for _, r := range []*pb.ListPointsRequest{{DataSet: "no\x00ne"}, {Host: "none"}, {DataSet: "files", Host: "db1"}} {
		if _, err := o.ListPoints(ctx, r); status.Code(code(err)) != codes.NotFound || strings.ContainsRune(err.Error(), 0) {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, sets := range [][]string{{"none"}, {""}, make([]string, maxSets+1)} {
		if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{DataSets: sets}); status.Code(code(err)) != codes.NotFound && status.Code(code(err)) != codes.InvalidArgument {
			t.Errorf("a scan of %d: %v", len(sets), err)
		}
	}
}

func TestVerifyAndJudge(t *testing.T) {
	hub := &fakeHub{days: 3, damage: 1, hold: make(chan struct{})}
	o, ctx := keep(t, hub)
	if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{}); err != nil {
		t.Fatal(err)
	}
	known(ctx, t, o, &pb.ListPointsRequest{}, listed(6))
	out, err := o.VerifyBackups(ctx, &pb.VerifyBackupsRequest{DataSets: []string{"people-db"}, Level: "L3", All: true})
	if err != nil || len(out.GetWork()) != 3 {
		t.Fatalf("%v, %v", out, err)
	}
	if w := out.GetWork()[0]; w.GetKind() != "check" || w.GetLevel() != "L3" || w.GetRunner() != "db1" || w.GetWaits() != "" || w.GetProgress().GetStage() != "checking people-db" || w.GetStartedAt() == nil {
		t.Errorf("what runs is %v", w)
	}
	if w := out.GetWork()[1]; w.GetWaits() == "" || w.GetProgress() != nil {
		t.Errorf("what waits is %v", w)
	}
	if one, err := o.VerifyBackups(ctx, &pb.VerifyBackupsRequest{DataSets: []string{"people-db"}, Level: "L3", Point: "vault/day-02"}); err != nil || len(one.GetWork()) != 1 || one.GetWork()[0].GetPoint() != "day-02" {
		t.Errorf("what is under way already: %v, %v", one, err)
	}
	close(hub.hold)
	done := known(ctx, t, o, &pb.ListPointsRequest{DataSet: "people-db"}, func(out *pb.ListPointsResponse) bool { return len(out.GetWork()) == 0 })
	for i, want := range []string{"L0", "L0", "L3"} {
		p := done.GetPoints()[i]
		bad := i < 2
		if p.GetLevel() != want || len(p.GetChecks()) != 1 || p.GetChecks()[0].GetOk() == bad || (p.GetQuarantinedFrom() != nil) != bad || bad != strings.Contains(p.GetQuarantineReason(), "a page is torn") {
			t.Errorf("%v", p)
		}
	}

	judge := func(r *pb.JudgePointsRequest) ([]*pb.RestorePoint, error) {
		r.DataSet = "people-db"
		out, err := o.JudgePoints(ctx, r)
		return out.GetPoints(), err
	}
	points, err := judge(&pb.JudgePointsRequest{Point: "day-00", Word: pb.PointWord_POINT_WORD_RELEASE, Reason: "the check\x1b[2J was wrong"})
	if err != nil || len(points) != 1 || points[0].GetQuarantinedFrom() != nil || points[0].GetQuarantineReason() != "" {
		t.Errorf("%v, %v", points, err)
	}
	if points, err = judge(&pb.JudgePointsRequest{Point: "day-02", Word: pb.PointWord_POINT_WORD_VOUCH, Reason: "opened ten files"}); err != nil || len(points) != 1 || points[0].GetLevel() != "L5" || points[0].GetChecks()[1].GetBy() != "operator:ada" {
		t.Errorf("%v, %v", points, err)
	}
	if points, err = judge(&pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_QUARANTINE, From: timestamppb.New(hub.taken(2).Add(-time.Hour)), Reason: "totals differ"}); err != nil || len(points) != 3 || points[2].GetQuarantineReason() != "totals differ" || points[2].GetQuarantinedBy() != "operator:ada" {
		t.Errorf("%v, %v", points, err)
	}
	for what, c := range map[string]struct {
		r    *pb.JudgePointsRequest
		code codes.Code
	}{
		"no word":       {&pb.JudgePointsRequest{Reason: "x"}, codes.InvalidArgument},
		"no reason":     {&pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_QUARANTINE}, codes.InvalidArgument},
		"no time":       {&pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_QUARANTINE, Reason: "x", From: &timestamppb.Timestamp{Seconds: -1 << 60}}, codes.InvalidArgument},
		"no such point": {&pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_RELEASE, Reason: "x", Point: "week"}, codes.NotFound},
	} {
		if _, err := judge(c.r); status.Code(code(err)) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, c := range map[string]struct {
		r    *pb.VerifyBackupsRequest
		code codes.Code
	}{
		"no level":             {&pb.VerifyBackupsRequest{Level: "high"}, codes.InvalidArgument},
		"a person's level":     {&pb.VerifyBackupsRequest{Level: "L5"}, codes.InvalidArgument},
		"beyond what is known": {&pb.VerifyBackupsRequest{DataSets: []string{"people-db"}, Level: "L4"}, codes.FailedPrecondition},
		"a point of any set":   {&pb.VerifyBackupsRequest{Point: "day-00"}, codes.InvalidArgument},
	} {
		if _, err := o.VerifyBackups(ctx, c.r); status.Code(code(err)) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := o.JudgePoints(ctx, &pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_RELEASE, Reason: "x"}); status.Code(code(err)) != codes.InvalidArgument {
		t.Errorf("no data set: %v", err)
	}
}

func TestAuditInBothForms(t *testing.T) {
	o, ctx := keep(t, &fakeHub{days: 3})
	if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{}); err != nil {
		t.Fatal(err)
	}
	known(ctx, t, o, &pb.ListPointsRequest{}, listed(6))
	out, err := o.AuditBackups(ctx, &pb.AuditBackupsRequest{Format: pb.ReportFormat_REPORT_FORMAT_JSON})
	var a catalog.Audit
	if err != nil || json.Unmarshal(out.GetBody(), &a) != nil || a.Fleet != "depot" || a.Short == 0 || int(out.GetShort()) != a.Short || int(out.GetDataSets()) != a.DataSets || a.DataSets != 2 {
		t.Errorf("%v, %s", err, out.GetBody())
	}
	page, err := o.AuditBackups(ctx, &pb.AuditBackupsRequest{Format: pb.ReportFormat_REPORT_FORMAT_MARKDOWN})
	if err != nil || !bytes.HasPrefix(page.GetBody(), []byte("# ")) || page.GetShort() != out.GetShort() {
		t.Errorf("%v, %s", err, page.GetBody())
	}
}

// fakeStream is the server's side of a stream.
type fakeStream[M any] struct {
	grpc.ServerStream
	ctx  context.Context
	sent []*M
	then func() // after each
}

func (s *fakeStream[M]) Context() context.Context { return s.ctx }

func (s *fakeStream[M]) Send(m *M) error {
	s.sent = append(s.sent, m)
	if s.then != nil {
		s.then()
	}
	return nil
}

func TestBisectSendsItsStandingToTheEnd(t *testing.T) {
	hub := &fakeHub{days: 14, damage: 4, hold: make(chan struct{})}
	o, ctx := keep(t, hub)
	if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{DataSets: []string{"people-db"}}); err != nil {
		t.Fatal(err)
	}
	known(ctx, t, o, &pb.ListPointsRequest{DataSet: "people-db"}, listed(14))
	s := &fakeStream[pb.BisectBackupsResponse]{ctx: ctx, then: sync.OnceFunc(func() { close(hub.hold) })} // nothing is checked before the first standing
	if err := o.BisectBackups(&pb.BisectBackupsRequest{DataSet: "people-db", Level: "L3"}, s); err != nil {
		t.Fatal(err)
	}
	last := s.sent[len(s.sent)-1]
	if !last.GetDone() || last.GetGood().GetId() != "day-05" || last.GetBad().GetId() != "day-04" || last.GetBad().GetHost() != "db1" || last.GetChecking() != "" || last.GetVerdict() == "" || len(last.GetPoints()) != 14 {
		t.Errorf("it ended with %v", last)
	}
	if first := s.sent[0]; first.GetDone() || !strings.HasPrefix(first.GetChecking(), "people-db vault/day-") || first.GetAtMost() != 4 {
		t.Errorf("it began with %v", first)
	}
	hub.mu.Lock()
	made := len(hub.checks)
	hub.mu.Unlock()
	if made > 4 || len(s.sent) > made+2 {
		t.Errorf("%d checks, %d standings", made, len(s.sent))
	}
	for what, c := range map[string]struct {
		r    *pb.BisectBackupsRequest
		code codes.Code
	}{
		"no data set": {&pb.BisectBackupsRequest{}, codes.InvalidArgument}, "no such": {&pb.BisectBackupsRequest{DataSet: "none"}, codes.NotFound}, "no level": {&pb.BisectBackupsRequest{DataSet: "files", Level: "L"}, codes.InvalidArgument},
	} {
		if err := o.BisectBackups(c.r, s); status.Code(code(err)) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestBisectEndsWithItsCaller(t *testing.T) {
	hub := &fakeHub{days: 14, damage: 4, hold: make(chan struct{})}
	o, ctx := keep(t, hub)
	if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{}); err != nil {
		t.Fatal(err)
	}
	known(ctx, t, o, &pb.ListPointsRequest{DataSet: "people-db"}, listed(14))
	call, hangUp := context.WithTimeout(ctx, 200*time.Millisecond)
	defer hangUp()
	if err := o.BisectBackups(&pb.BisectBackupsRequest{DataSet: "people-db"}, &fakeStream[pb.BisectBackupsResponse]{ctx: call}); status.Code(code(err)) != codes.DeadlineExceeded {
		t.Errorf("it ended with %v", err)
	}
}

func TestWatchBackupsTellsWhatHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &fakeHub{days: 3, hold: make(chan struct{})}
		o, ctx := keep(t, hub)
		if _, err := o.ScanBackups(ctx, &pb.ScanBackupsRequest{}); err != nil {
			t.Fatal(err)
		}
		known(ctx, t, o, &pb.ListPointsRequest{}, listed(6))
		pass(time.Minute) // all that follows from it has happened
		call, hangUp := context.WithCancel(ctx)
		var last time.Time
		s := &fakeStream[pb.WatchBackupsResponse]{ctx: call, then: func() {
			if since := time.Since(last); since < watchGap {
				t.Errorf("a message %s after the one before", since)
			}
			last = time.Now()
		}}
		ended := make(chan error, 1)
		go func() { ended <- o.WatchBackups(&pb.WatchBackupsRequest{}, s) }()
		before := 0
		after := func(d time.Duration) (sent int, turns int64) {
			looked := hub.clocks.Load()
			pass(d)
			synctest.Wait()
			sent, before = len(s.sent)-before, len(s.sent)
			return sent, (hub.clocks.Load() - looked) / 2
		}

		if sent, _ := after(0); sent != 1 || len(s.sent[0].GetWork()) != 0 || !s.sent[0].GetNow().AsTime().Equal(time.Now()) {
			t.Fatalf("at first: %v", s.sent)
		}
		if sent, turns := after(time.Minute); sent != 0 || turns != 0 {
			t.Errorf("while nothing happens: %d messages, %d looks", sent, turns)
		}
		if _, err := o.JudgePoints(ctx, &pb.JudgePointsRequest{DataSet: "files", Point: "day-02", Word: pb.PointWord_POINT_WORD_VOUCH, Reason: "opened ten files"}); err != nil {
			t.Fatal(err)
		}
		if sent, _ := after(time.Minute); sent != 0 {
			t.Errorf("what is no work brings %v", s.sent[1:])
		}

		if _, err := o.VerifyBackups(ctx, &pb.VerifyBackupsRequest{DataSets: []string{"people-db"}, Level: "L3", All: true}); err != nil {
			t.Fatal(err)
		}
		if sent, _ := after(0); sent != 1 {
			t.Fatalf("an order brings %d messages", sent)
		}
		now, err := o.ListPoints(ctx, &pb.ListPointsRequest{})
		if work := s.sent[1].GetWork(); err != nil || len(work) != 3 || work[0].GetProgress().GetStage() != "checking people-db" || work[1].GetWaits() == "" || !slices.EqualFunc(work, now.GetWork(), func(a, b *pb.BackupWork) bool { return proto.Equal(a, b) }) {
			t.Errorf("%v is under way, and %v is told", now.GetWork(), work)
		}
		if sent, turns := after(10 * time.Second); sent != 0 || turns > 10 {
			t.Errorf("while a check comes no further: %d messages, %d looks", sent, turns)
		}
		hub.done.Add(1)
		if sent, _ := after(progressGap); sent != 1 || s.sent[2].GetWork()[0].GetProgress().GetDone() != 1 {
			t.Errorf("progress brings %d messages: %v", sent, s.sent[2:])
		}
		began := len(s.sent)
		for range 100 {
			hub.done.Add(1)
			after(100 * time.Millisecond)
		}
		if sent := len(s.sent) - began; sent != 10 {
			t.Errorf("ten seconds of progress bring %d messages", sent)
		}

		close(hub.hold)
		if sent, _ := after(time.Minute); sent == 0 || len(s.sent[len(s.sent)-1].GetWork()) != 0 {
			t.Errorf("at the end: %v", s.sent[len(s.sent)-1])
		}
		gone := time.Now()
		hangUp()
		if err := <-ended; status.Code(code(err)) != codes.Canceled || time.Since(gone) > watchGap {
			t.Errorf("it ended %s after its caller, with %v", time.Since(gone), err)
		}
	})
}

func TestWatchBackupsEndsWithTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open, stop := context.WithCancel(t.Context())
		o, _ := keepUntil(open, t, &fakeHub{})
		ended := make(chan error, 1)
		go func() {
			ended <- o.WatchBackups(&pb.WatchBackupsRequest{}, &fakeStream[pb.WatchBackupsResponse]{ctx: t.Context()})
		}()
		pass(time.Minute)
		stop()
		if err := <-ended; status.Code(code(err)) != codes.Unavailable {
			t.Errorf("it ended with %v", err)
		}
	})
}

// What a person reads before consenting to a restore, and how far it has come then.
func TestAHostsOfferAndProgress(t *testing.T) {
	f := backupFleet()
	f.DataSets = f.DataSets[1:] // fs1 has nothing to restore
	for i := range f.Hosts {
		f.Hosts[i].Ladder = []recovery.Rung{{Name: "backup", Kind: recovery.RungRestore, Sets: []string{"people-db"}}, {Name: "hands", Kind: recovery.RungHands}}
		f.Hosts[i].EDR.Product = "shield"
	}
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	began := now.Add(-time.Hour)
	s := recovery.NewState()
	take := func(in recovery.Input) {
		t.Helper()
		events, err := recovery.Decide(s, in, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			s.Apply(recovery.Entry{Seq: s.Seq + 1, At: now, Actor: "operator:ada", Event: e})
		}
	}
	book := recovery.Playbook{Name: "mend", Digest: "sha256:mend", Match: recovery.Match{EDR: "shield", OS: []string{"linux"}}, Reboot: recovery.RebootHelps,
		Environments: []string{"linux"}, Timeout: 5 * time.Minute, VerifyWithin: 20 * time.Minute}
	ref := recovery.PointRef{DataSet: "people-db", Repository: "vault", ID: "aa11"}
	s.See(recovery.Sighting{Host: "db1", At: now, Connected: true, Source: "agent", BootID: "b1", Content: []recovery.Content{{Playbook: book.Digest, Bad: 1}}})
	take(recovery.Declare{Incident: "i-1", Title: "a bad day", Began: began, Fleet: f, Playbook: book, Points: []recovery.RestorePoint{{PointRef: ref, Kind: recovery.PointFiles,
		TakenAt: began.Add(-35 * time.Minute), SeenAt: now, Size: 1000, Checks: []recovery.PointCheck{{Level: recovery.L3, OK: true, At: began, By: "engine check"}}}}})
	o := &operators{cfg: Config{Progress: func(incident, job string) (recovery.Progress, bool) {
		return recovery.Progress{Stage: "restoring people-db", Done: 4, Total: 10, Rate: 2, Left: time.Minute}, incident == "i-1" && job == "db1/1"
	}}}
	show := func(name string) *pb.Host { return o.host(s, s.Host(name), s.Why(now)[name]) }
	db1 := show("db1")
	if r := db1.GetRestore(); !slices.Equal(r.GetPoints(), []string{"people-db vault/aa11"}) || r.GetLoss().AsDuration() != 35*time.Minute || !r.GetMoment().AsTime().Equal(began.Add(-35*time.Minute)) ||
		!r.GetWantsApproval() || !strings.Contains(r.GetReason(), "35 min") || db1.GetProgress() != nil {
		t.Errorf("%v", db1)
	}
	if r := show("fs1").GetRestore(); r == nil || len(r.GetPoints()) != 0 || r.GetReason() == "" {
		t.Errorf("fs1, which has no data set, is offered %v", r)
	}
	take(recovery.Approve{Digest: s.Plan.Digest})
	take(recovery.ApproveRestore{Host: "db1", Loss: 35 * time.Minute, Reason: "agreed"})
	if r := show("db1").GetRestore(); r.GetWantsApproval() || len(r.GetPoints()) != 1 {
		t.Errorf("when it is approved: %v", r)
	}
	for range 10 {
		take(recovery.Tick{})
	}
	if db1 = show("db1"); db1.GetPhase() != "attempting" || db1.GetProgress().GetStage() != "restoring people-db" || db1.GetProgress().GetDone() != 4 || db1.GetProgress().GetLeft().AsDuration() != time.Minute {
		t.Errorf("%v", db1)
	}
}

func TestDeclareTakesBothCutoffs(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	began, cutoff := time.Now().Add(-time.Hour).UTC(), time.Now().Add(-30*time.Hour).UTC()
	if _, err := w.operator().Declare(w.ctx, &pb.DeclareRequest{Cutoff: &timestamppb.Timestamp{Seconds: -1 << 60}}); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "the cutoff is no time") {
		t.Errorf("a broken cutoff: %v", err)
	}
	if _, err := w.operator().Declare(w.ctx, &pb.DeclareRequest{Title: "x", Began: timestamppb.New(began), Cutoff: timestamppb.New(cutoff), WaveZero: true}); err != nil {
		t.Fatal(err)
	}
	err := w.coordinator.View(w.ctx, "", func(v coordinator.View) {
		if !v.State.Cutoff.Equal(cutoff) || !v.State.Began.Equal(began) || !v.State.WaveZero {
			t.Errorf("cutoff %v, began %v, wave zero %v", v.State.Cutoff, v.State.Began, v.State.WaveZero)
		}
	})
	if err != nil {
		t.Error(err)
	}
	if out, err := w.operator().ShowIncident(w.ctx, &pb.ShowIncidentRequest{}); err != nil || !out.GetIncident().GetWaveZero() || len(out.GetIncident().GetUnverified()) > 0 {
		t.Errorf("%v, %v", out, err)
	}
}

// A plan as it is sent.
func TestWhatARestoreMeansIsSent(t *testing.T) {
	out := plannedHosts([]recovery.PlannedHost{{Host: "db1", Method: recovery.MethodRestore, Estimate: time.Minute, Queue: time.Hour, Loss: 35 * time.Minute, Approval: true, Otherwise: "repair",
		Points: []recovery.PointRef{{DataSet: "people-db", Repository: "vault", ID: "aa11"}}}, {Host: "dc1", Method: recovery.MethodRepair}})
	if h := out[0]; h.GetMethod() != "restore" || h.GetEstimate().AsDuration() != time.Minute || h.GetQueue().AsDuration() != time.Hour || h.GetLoss().AsDuration() != 35*time.Minute ||
		!h.GetApproval() || h.GetOtherwise() != "repair" || !slices.Equal(h.GetPoints(), []string{"people-db vault/aa11"}) {
		t.Errorf("%v", h)
	}
	if h := out[1]; h.GetEstimate() != nil || h.GetLoss() != nil {
		t.Errorf("%v", h)
	}
	if _, err := period("a loss of data", durationpb.New(200*365*24*time.Hour), maxLoss); err == nil {
		t.Error("any loss is taken")
	}
}
