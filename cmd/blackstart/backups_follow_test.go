package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

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
