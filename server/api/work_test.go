package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	phoning "github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
	working "github.com/blackstart-recovery/blackstart/agent/restore"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

// fakeWorker is an agent's worker: it notes what it is asked for, and a test ends its jobs.
type fakeWorker struct {
	mu      sync.Mutex
	asked   []working.Work
	stopped []string
	told    func(working.Report)
}

func (w *fakeWorker) Do(work working.Work, told func(working.Report)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.told = append(w.asked, work), told
}

func (w *fakeWorker) Stop(incident, job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = append(w.stopped, incident+" "+job)
}

func (w *fakeWorker) work() []working.Work {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// real runs the real agent of a host until the function that it returns ends it. A nil worker: it was started without restore = yes.
func (w *world) real(host string, worker phoning.Worker, dial func(context.Context, string) (net.Conn, error), coordinators ...string) (stop func()) {
	w.Helper()
	cert, err := w.authority.Issue(pki.RoleAgent, host, nil)
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- phoning.Run(ctx, phoning.Config{
			Host: host, Coordinators: coordinators, Version: "test", Root: w.TempDir(), StateDir: w.TempDir(), Worker: worker, Dial: dial,
			TLS:    &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: w.authority.Pool(), Certificates: []tls.Certificate{cert}},
			BootID: func() (string, error) { return "boot", nil }, BootMode: func() string { return "normal" },
			Checks: []health.Check{{Name: "fine", Run: func(context.Context) (string, error) { return "", nil }}},
		})
	}()
	return sync.OnceFunc(func() {
		w.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
}

const place = "127.0.0.1:1"

var (
	noon = time.Date(1999, 12, 31, 12, 0, 0, 0, time.UTC) // a bubble's clock begins twelve hours later
	whom = recovery.PointRef{DataSet: "people", Repository: "vault", ID: "p9"}
)

// job uses every field that an order has.
func job(id string) recovery.Job {
	return recovery.Job{
		Incident: "i1", ID: id, Kind: recovery.JobRestore, Runner: "ns1", Timeout: time.Hour, Reboot: true,
		Sets: []recovery.SetWork{{
			Set: recovery.DataSet{
				Name: "people", Host: "ns2", Kind: recovery.PointDatabase, Source: "main", Target: "/srv/people", Part: "data", Engine: "postgresql",
				Options: map[string]string{"port": "5433"}, Stop: []string{"/bin/stop", "people"}, Start: []string{"/bin/start"}, Check: []string{"/bin/check"},
				Invariants: []recovery.Invariant{{Name: "unique", SQL: "select 1", Command: []string{"/bin/count"}, Expect: "equal"}},
			},
			Repository: recovery.Repository{Name: "vault", Kind: "restic", Location: "/vault", Password: "file:/etc/vault", Program: "/usr/bin/restic", Options: map[string]string{"tag": "pg"}},
			Point:      recovery.RestorePoint{PointRef: whom, TakenAt: noon.Add(-time.Hour), Size: 99},
			Target:     noon.Add(-time.Minute), Level: recovery.L4, Part: 3, Parts: 7, Rate: 1000, Hold: "i1", Release: true,
		}},
	}
}

// run has the hub do a job; its result comes through the channel.
func run(ctx context.Context, hub *restore.Hub, j recovery.Job) <-chan recovery.Result {
	out := make(chan recovery.Result, 1)
	go func() { out <- hub.Run(ctx, j) }()
	return out
}

// A job goes through the hub, the edge and the real agent to the worker, and its progress and result come back, whole.
func TestWorkGoesThroughToTheAgentAndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		fake := &fakeWorker{}
		out := run(t.Context(), w.hub, job("ns1/1"))
		defer w.real("ns1", fake, w.dial, place)()
		asked := fake.work()
		want := working.Work{
			Incident: "i1", Job: "ns1/1", Kind: working.KindRestore, Timeout: time.Hour - 10*time.Second, Reboot: true,
			Sets: []working.SetWork{{
				Set: working.Set{
					Name: "people", Host: "ns2", Kind: "database", Source: "main", Target: "/srv/people", Part: "data", Engine: "postgresql",
					Options: map[string]string{"port": "5433"}, Stop: []string{"/bin/stop", "people"}, Start: []string{"/bin/start"}, Check: []string{"/bin/check"},
					Invariants: []working.Invariant{{Name: "unique", SQL: "select 1", Command: []string{"/bin/count"}, Expect: "equal"}},
				},
				Repository: working.Repository{Name: "vault", Kind: "restic", Location: "/vault", Password: "file:/etc/vault", Program: "/usr/bin/restic", Options: map[string]string{"tag": "pg"}},
				Point:      "p9", TakenAt: noon.Add(-time.Hour), Moment: noon.Add(-time.Minute), Level: 4, Part: 3, Parts: 7, Rate: 1000, Hold: "i1", Release: true, Size: 99,
			}},
		}
		if len(asked) != 1 || !reflect.DeepEqual(asked[0], want) {
			t.Fatalf("the worker is asked for\n%+v\nwant\n%+v", asked, want)
		}
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Stage: "restoring \x1b[31mpeople", Done: 3, Total: 9, Rate: 2, Left: 3 * time.Second})
		synctest.Wait()
		wantProgress := recovery.Progress{At: time.Now(), Stage: "restoring people", Done: 3, Total: 9, Rate: 2, Left: 3 * time.Second}
		if p, ok := w.hub.Progress("i1", "ns1/1"); !ok || p != wantProgress {
			t.Errorf("progress %+v", p)
		}
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Result: &working.Result{
			Class: working.Succeeded, Detail: "People is back.", Joined: true, Rebooted: true, Took: time.Minute, Boot: "b1",
			Sets: []working.SetResult{{
				Set: "people", Repository: "vault", Point: "p9", Moment: noon, Bytes: 98, Kept: "/srv/people.old", Swapped: true,
				Checks: []working.Check{{Level: 3, OK: true, At: noon, By: "pg_dump", Detail: "no error", Moment: noon}},
			}},
		}})
		wantResult := recovery.Result{
			Class: recovery.Succeeded, Detail: "People is back.", Joined: true, Rebooted: true, Took: time.Minute, Boot: "b1",
			Sets: []recovery.SetResult{{
				DataSet: "people", Repository: "vault", Point: "p9", Moment: noon, Bytes: 98, Kept: "/srv/people.old", Swapped: true,
				Checks: []recovery.PointCheck{{Level: recovery.L3, OK: true, At: noon, By: "pg_dump", Detail: "no error", Moment: noon}},
			}},
		}
		if res := <-out; !reflect.DeepEqual(res, wantResult) {
			t.Errorf("result\n%+v\nwant\n%+v", res, wantResult)
		}

		// A cancel reaches the worker, and the job tells its own end.
		out = run(t.Context(), w.hub, job("ns1/2"))
		fake.work()
		if res := <-run(t.Context(), w.hub, recovery.Job{Incident: "i1", ID: "c", Kind: recovery.JobCancel, Runner: "ns1", Of: "ns1/2"}); res.Class != recovery.Succeeded {
			t.Errorf("cancel: %+v", res)
		}
		fake.work()
		if len(fake.stopped) != 1 || fake.stopped[0] != "i1 ns1/2" {
			t.Errorf("stopped %q", fake.stopped)
		}
		fake.told(working.Report{Incident: "i1", Job: "ns1/2", Result: &working.Result{Class: working.Cancelled}})
		if res := <-out; res.Class != recovery.Cancelled {
			t.Errorf("%+v", res)
		}
	})
}

// A year of hourly points is told whole, and is not too much for an agent to say.
func TestALongListingComesWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		fake := &fakeWorker{}
		j := job("list")
		j.Kind = recovery.JobList
		out := run(t.Context(), w.hub, j)
		defer w.real("ns1", fake, w.dial, place)()
		fake.work()
		res := &working.Result{Class: working.Succeeded}
		for n := range 9000 {
			res.Points = append(res.Points, working.Point{ID: fmt.Sprintf("%064x", n), Kind: "database", TakenAt: noon.Add(-time.Duration(n) * time.Hour), Until: noon, Size: 1 << 40})
		}
		fake.told(working.Report{Incident: "i1", Job: "list", Result: res})
		got := <-out
		if got.Class != recovery.Succeeded || len(got.Points) != 9000 {
			t.Fatalf("%s, %d points, %s", got.Class, len(got.Points), got.Detail)
		}
		for n, p := range got.Points {
			want := recovery.RestorePoint{
				PointRef: recovery.PointRef{DataSet: "people", Repository: "vault", ID: fmt.Sprintf("%064x", n)}, Kind: recovery.PointDatabase,
				TakenAt: noon.Add(-time.Duration(n) * time.Hour), Until: noon, Size: 1 << 40, SeenAt: p.SeenAt,
			}
			if !reflect.DeepEqual(p, want) {
				t.Fatalf("point %d is %+v", n, p)
			}
		}
		if r := w.refusals(); len(r) != 0 {
			t.Errorf("refused: %+v", r)
		}
	})
}

// A coordinator that stops leaves the work to its successor, which is told of it. The one that was replaced is not obeyed any more.
func TestWorkOutlivesTheCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		var mu sync.Mutex
		var open *bufconn.Listener // where the agent gets through to
		serve := func(epoch uint64, hub *restore.Hub) (end func()) {
			l, edge, done := bufconn.Listen(64<<10), w.edge(epoch, hub), make(chan struct{})
			mu.Lock()
			open = l
			mu.Unlock()
			go func() {
				defer close(done)
				_ = edge.Serve(l) // ends with Stop
			}()
			return func() { edge.Stop(); <-done }
		}
		dial := func(ctx context.Context, _ string) (net.Conn, error) {
			mu.Lock()
			l := open
			mu.Unlock()
			return l.DialContext(ctx)
		}
		fake := &fakeWorker{}
		old, young := restore.New(), restore.New()

		endOld := serve(7, old)
		ctx, cancel := context.WithCancel(t.Context())
		out := run(ctx, old, job("ns1/1"))
		defer w.real("ns1", fake, dial, place)()
		if len(fake.work()) != 1 {
			t.Fatalf("asked for %+v", fake.asked)
		}
		cancel()
		if res := <-out; res.Class != recovery.Lost || res.Signature != "cancelled in mid-run" {
			t.Errorf("%+v", res)
		}
		endOld()
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Done: 5})

		endYoung := serve(8, young)
		out = run(t.Context(), young, job("ns1/1"))
		pass(5 * time.Minute)
		if asked := fake.work(); len(asked) != 2 || asked[1].Job != "ns1/1" || len(fake.stopped) != 0 {
			t.Fatalf("asked for %+v, stopped %q", fake.asked, fake.stopped)
		}
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Result: &working.Result{Class: working.Succeeded, Joined: true}})
		if res := <-out; res.Class != recovery.Succeeded || !res.Joined {
			t.Errorf("%+v", res)
		}
		endYoung()

		defer serve(7, old)()
		if res := <-run(t.Context(), old, job("ns1/2")); res.Class != recovery.Lost {
			t.Errorf("%+v", res)
		}
		if len(fake.work()) != 2 {
			t.Errorf("an old coordinator was obeyed: %+v", fake.asked)
		}
	})
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a synctest bubble
}

// Whoever watches is told that the agent is away, and one that comes back is given its job again.
func TestAnAgentThatGoesIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		fake := &fakeWorker{}
		leave := w.real("ns1", fake, w.dial, place)
		out := run(t.Context(), w.hub, job("ns1/1"))
		fake.work()
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Stage: "restoring", Done: 4})
		synctest.Wait()
		leave()
		synctest.Wait()
		if p, ok := w.hub.Progress("i1", "ns1/1"); !ok || p.Stage != "waiting for the agent of ns1" || p.Done != 4 {
			t.Errorf("progress %+v, %v", p, ok)
		}
		defer w.real("ns1", fake, w.dial, place)()
		if asked := fake.work(); len(asked) != 2 || asked[1].Job != "ns1/1" {
			t.Errorf("asked for %+v", asked)
		}
		fake.told(working.Report{Incident: "i1", Job: "ns1/1", Result: &working.Result{Class: working.Succeeded}})
		if res := <-out; res.Class != recovery.Succeeded {
			t.Errorf("%+v", res)
		}
	})
}

// An agent that was not started for it gets no order, and whoever waits for the work is told why.
func TestAnAgentThatDoesNoWorkGetsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		defer w.real("ns1", nil, w.dial, place)()
		res := <-run(t.Context(), w.hub, job("ns1/1"))
		if res.Class != recovery.Unreachable || !strings.Contains(res.Detail, "restore = yes") {
			t.Errorf("%+v", res)
		}
		if r := w.refusals(); len(r) != 0 {
			t.Errorf("refused: %+v", r)
		}
	})
}

func works(host string) *pb.PhoneHomeRequest {
	m := hello(host, "one", nil)
	m.GetHello().Works = true
	return m
}

func told(job string, r *pb.WorkResult) *pb.PhoneHomeRequest {
	return &pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_WorkReport{WorkReport: &pb.WorkReport{Incident: "i1", Job: job, Result: r}}}
}

// What no agent says of its work ends its stream, with the reason on record.
func TestReportsThatNoAgentMakes(t *testing.T) {
	for name, c := range map[string]struct {
		first *pb.PhoneHomeRequest
		then  []*pb.PhoneHomeRequest
		code  codes.Code
		why   string
	}{
		"before its hello":       {told("j", nil), nil, codes.InvalidArgument, "the first message is no hello"},
		"it said it does none":   {hello("ns1", "one", nil), []*pb.PhoneHomeRequest{told("j", nil)}, codes.InvalidArgument, "a report of work from an agent that said it does none"},
		"parts of two mixed up":  {works("ns1"), []*pb.PhoneHomeRequest{told("j", &pb.WorkResult{}), told("k", &pb.WorkResult{Class: "failed"})}, codes.InvalidArgument, "between the parts of another"},
		"countless points":       {works("ns1"), []*pb.PhoneHomeRequest{told("j", &pb.WorkResult{Points: many[pb.Point](maxSaidWork + 1)})}, codes.ResourceExhausted, "4097 data sets, checks and points in one message"},
		"countless checks":       {works("ns1"), []*pb.PhoneHomeRequest{told("j", &pb.WorkResult{Sets: []*pb.SetResult{{Checks: many[pb.PointCheck](maxSaidWork)}}})}, codes.ResourceExhausted, "4097 data sets"},
		"a message that is long": {works("ns1"), []*pb.PhoneHomeRequest{told("j", &pb.WorkResult{Detail: strings.Repeat("x", maxAgentMessage)})}, codes.Internal, "bytes; at most 131072"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, stop := start(t, inMemory)
				defer stop()
				w.declare()
				a := w.phone("ns1", c.first)
				defer a.cancel()
				if c.then != nil {
					a.next()
				}
				for _, m := range c.then {
					_ = a.stream.Send(m) // why it fails is told by Recv
				}
				if err := a.fails(); status.Code(err) != c.code || !strings.Contains(err.Error(), c.why) {
					t.Errorf("it was ended with %v", err)
				}
				if r := w.refused(); len(r) != 1 || r[0].Host != "ns1" || !strings.Contains(r[0].Why, c.why) {
					t.Errorf("recorded: %+v", r)
				}
			})
		})
	}
}

func many[T any](n int) []*T {
	out := make([]*T, n)
	for i := range out {
		out[i] = new(T)
	}
	return out
}

// What was not asked for is not listened to, and a result in parts counts as a whole even when nobody wanted it at first.
func TestReportsThatNobodyAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		a := w.phone("ns1", works("ns1"))
		defer a.cancel()
		say := func(m *pb.PhoneHomeRequest) {
			if err := a.stream.Send(m); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		list := job("list")
		list.Kind = recovery.JobList
		point := func(id string) []*pb.Point {
			return []*pb.Point{{Id: id, Kind: "files", TakenAt: timestamppb.New(noon)}}
		}
		say(told("list", &pb.WorkResult{Class: "failed"}))
		say(told("list", &pb.WorkResult{Points: point("p1")}))
		out := run(t.Context(), w.hub, list)
		for a.next().GetWork() == nil {
		}
		say(told("other", nil))
		say(told("list", &pb.WorkResult{Class: "succeeded", Points: point("p2")}))
		if res := <-out; res.Class != recovery.Succeeded || len(res.Points) != 2 || res.Points[0].ID != "p1" || res.Points[1].ID != "p2" {
			t.Errorf("%+v", res)
		}
		if r := w.refusals(); len(r) != 0 {
			t.Errorf("refused: %+v", r)
		}
	})
}

// Of another host's job an agent may say what it likes.
func TestAnAgentSpeaksForItsOwnJobsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		owner, thief := w.phone("ns1", works("ns1")), w.phone("ns2", works("ns2"))
		defer owner.cancel()
		defer thief.cancel()
		out := run(t.Context(), w.hub, job("ns1/1"))
		for owner.next().GetWork() == nil {
		}
		for _, a := range []*agent{thief, owner} {
			class := map[*agent]string{thief: "succeeded", owner: "lost"}[a]
			if err := a.stream.Send(told("ns1/1", &pb.WorkResult{Class: class})); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if res := <-out; res.Class != recovery.Lost {
			t.Errorf("%+v", res)
		}
	})
}

// A result that cannot be read as a whole has failed, and nothing of it is kept.
func TestResultsThatCannotBeRead(t *testing.T) {
	ok := func(change func(*pb.WorkResult)) *pb.WorkResult {
		r := &pb.WorkResult{Class: "succeeded", Sets: []*pb.SetResult{{DataSet: "people", Checks: []*pb.PointCheck{{}}}}, Points: []*pb.Point{{Id: "p"}}}
		change(r)
		return r
	}
	if r := result(ok(func(*pb.WorkResult) {})); r.Class != recovery.Succeeded || len(r.Sets) != 1 || len(r.Points) != 1 {
		t.Fatalf("a good one: %+v", r)
	}
	bad := &timestamppb.Timestamp{Seconds: 1 << 60}
	for name, c := range map[string]struct {
		r         *pb.WorkResult
		signature string
	}{
		"no class":            {ok(func(r *pb.WorkResult) { r.Class = "" }), "unknown class"},
		"a class of the core": {ok(func(r *pb.WorkResult) { r.Class = "nothing-found" }), "unknown class"},
		"another class":       {ok(func(r *pb.WorkResult) { r.Class = "Succeeded" }), "unknown class"},
		"too many data sets":  {ok(func(r *pb.WorkResult) { r.Sets = many[pb.SetResult](maxWorkSets + 1) }), "too much told"},
		"too many checks":     {ok(func(r *pb.WorkResult) { r.Sets[0].Checks = many[pb.PointCheck](maxWorkChecks + 1) }), "result not usable"},
		"too many points":     {ok(func(r *pb.WorkResult) { r.Points = many[pb.Point](maxWorkPoints + 1) }), "too many points"},
		"a point's time":      {ok(func(r *pb.WorkResult) { r.Points[0].TakenAt = bad }), "result not usable"},
		"a point's end":       {ok(func(r *pb.WorkResult) { r.Points[0].Until = bad }), "result not usable"},
		"a time before 1970":  {ok(func(r *pb.WorkResult) { r.Points[0].Until = &timestamppb.Timestamp{Seconds: -1} }), "result not usable"},
		"a name not plain":    {ok(func(r *pb.WorkResult) { r.Points[0].Id = "p\n1" }), "result not usable"},
		"a name that is long": {ok(func(r *pb.WorkResult) { r.Points[0].Id = strings.Repeat("x", 2*maxID+1) }), "result not usable"},
		"a moment":            {ok(func(r *pb.WorkResult) { r.Sets[0].Moment = bad }), "result not usable"},
		"a check's time":      {ok(func(r *pb.WorkResult) { r.Sets[0].Checks[0].At = bad }), "result not usable"},
		"a check's moment":    {ok(func(r *pb.WorkResult) { r.Sets[0].Checks[0].Moment = bad }), "result not usable"},
	} {
		r := result(c.r)
		if r.Class != recovery.Failed || r.Signature != c.signature || r.Detail == "" || r.Sets != nil || r.Points != nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// FuzzWorkReport lets an agent tell anything of a job that it was given. Whatever comes out is bounded, clean, and about that job.
func FuzzWorkReport(f *testing.F) {
	nasty := "\x1b[2J\u202e" + strings.Repeat("n\n", 2000) + "\u009b31m"
	for _, m := range []*pb.WorkReport{
		{Stage: "restoring people", Done: 1, Total: 2, Rate: 3, Left: durationpb.New(time.Minute)},
		{Stage: nasty, Done: -1, Total: -1, Rate: -1, Left: &durationpb.Duration{Seconds: 1 << 60}},
		{Result: &pb.WorkResult{Class: "succeeded", Sets: []*pb.SetResult{{DataSet: "people", Repository: "vault", Point: "p9", Swapped: true, Checks: []*pb.PointCheck{{Level: 5, Ok: true}}}}}},
		{Result: &pb.WorkResult{Class: "failed", Signature: nasty, Detail: nasty, Boot: nasty, Took: durationpb.New(-1), Sets: []*pb.SetResult{{DataSet: "people", Repository: "vault", Kept: nasty,
			Bytes: -1, Checks: []*pb.PointCheck{{Level: 3, By: nasty, Detail: nasty}}}}}},
		{Result: &pb.WorkResult{Class: "succeeded", Points: []*pb.Point{{Id: "p1", Kind: nasty, TakenAt: timestamppb.New(noon), Size: -1}, {Id: "p2", TakenAt: timestamppb.New(noon), Until: timestamppb.New(noon)}}}},
		{Result: &pb.WorkResult{Points: many[pb.Point](20)}},
		{Result: &pb.WorkResult{Class: nasty}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)*2/3])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &pb.WorkReport{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		m.Incident, m.Job = "i1", "list"
		hub, a := restore.New(), &agents{}
		j := job("list")
		j.Kind = recovery.JobList
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := &session{host: "ns1", works: true, work: hub.Attach("ns1", true)}
		out := run(ctx, hub, j)
		<-s.work.Due()
		if err := s.work.Deliver(func(restore.Order) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := a.reported(ctx, s, m); err != nil {
			t.Fatal(err)
		}
		p, under := hub.Progress("i1", "list")
		clean(t, p.Stage, 120)
		if p.Done < 0 || p.Total < 0 || p.Rate < 0 || p.Left < 0 || p.Total > 0 && p.Done > p.Total {
			t.Fatalf("progress %+v", p)
		}
		if whole := m.GetResult().GetClass() != ""; under == whole {
			t.Fatalf("under way: %v, with the result %v", under, m.GetResult())
		}
		if under {
			cancel()
			<-out
			return
		}
		sane(t, j, <-out)
	})
}

// sane checks what is kept of a result.
func sane(t *testing.T, j recovery.Job, r recovery.Result) {
	t.Helper()
	if !agentClasses[r.Class] || r.Took < 0 || len(r.Sets) > maxWorkSets || len(r.Points) > maxWorkPoints {
		t.Fatalf("%s, %v, %d sets, %d points", r.Class, r.Took, len(r.Sets), len(r.Points))
	}
	clean(t, r.Signature, 100)
	clean(t, r.Detail, 500)
	clean(t, r.Boot, maxID)
	for _, s := range r.Sets {
		clean(t, s.Kept, 1000)
		if s.DataSet != "people" || s.Repository != "vault" || s.Point != "" && s.Point != j.Sets[0].Point.ID || s.Bytes < 0 || len(s.Checks) > maxWorkChecks {
			t.Fatalf("%+v", s)
		}
		for _, c := range s.Checks {
			clean(t, c.By, 120)
			clean(t, c.Detail, 500)
			if c.Level < recovery.L0 || c.Level > recovery.L4 || c.At.IsZero() || c.At.After(time.Now()) {
				t.Fatalf("%+v", c)
			}
		}
	}
	for _, p := range r.Points {
		clean(t, p.ID, 2*maxID)
		if p.DataSet != "people" || p.Repository != "vault" || p.ID == "" || p.TakenAt.IsZero() || p.Size < 0 || p.Checks != nil || p.Quarantine != nil || p.Gone {
			t.Fatalf("%+v", p)
		}
	}
}

func clean(t *testing.T, s string, most int) {
	t.Helper()
	if !utf8.ValidString(s) || recovery.Clean(s, most+2) != s || utf8.RuneCountInString(s) > most+2 { // a space and an ellipsis may be on top
		t.Fatalf("not fit to be kept: %q", s)
	}
}
