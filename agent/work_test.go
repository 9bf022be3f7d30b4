package agent

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent/restore"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// fakeWorker notes what it is asked for, and tells what a test has it tell.
type fakeWorker struct {
	mu      sync.Mutex
	asked   []restore.Work
	stopped []string
	told    func(restore.Report)
}

func (w *fakeWorker) Do(work restore.Work, told func(restore.Report)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.told = append(w.asked, work), told
}

func (w *fakeWorker) Stop(incident, job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = append(w.stopped, incident+" "+job)
}

func (w *fakeWorker) tell(r restore.Report) { w.told(r) }

func (w *fakeWorker) done(t *testing.T) []restore.Work {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

func workOrder(epoch, sequence uint64, w *pb.Work) *pb.Instruction {
	return &pb.Instruction{Id: "work", Epoch: epoch, Sequence: sequence, What: &pb.Instruction_Work{Work: w}}
}

func stopOrder(epoch, sequence uint64, job string) *pb.Instruction {
	return &pb.Instruction{Id: "work", Epoch: epoch, Sequence: sequence, What: &pb.Instruction_StopWork{StopWork: &pb.StopWork{Incident: "i1", Job: job}}}
}

func work(job string) *pb.Work {
	return &pb.Work{
		Incident: "i1", Job: job, Kind: pb.WorkKind_WORK_KIND_RESTORE, Timeout: durationpb.New(time.Hour),
		Sets: []*pb.SetWork{{Set: &pb.DataSet{Name: "people"}, Repository: &pb.Repository{Name: "vault", Kind: "restic"}, Point: "p9"}},
	}
}

// report waits for the next report of work.
func (v *visit) report() *pb.WorkReport {
	v.t.Helper()
	select {
	case r := <-v.works:
		return r
	case <-time.After(10 * time.Minute):
		v.t.Fatal("no report of work")
		return nil
	}
}

// quiet checks that nothing more is told of any work.
func (v *visit) quiet() {
	v.t.Helper()
	pass(time.Minute)
	if len(v.works) > 0 {
		v.t.Errorf("it is told more: %v", <-v.works)
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a synctest bubble
}

// visited runs an agent with a worker in a world of its own, up to its first visit.
func visited(t *testing.T, worker Worker, f func(*world, *coordinator, *visit)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer func() { c.stop() }()
		cfg := w.config("db1", here)
		cfg.Worker = worker
		defer start(t, cfg)()
		f(w, c, c.next(t))
	})
}

func TestWorkIsDoneAndReported(t *testing.T) {
	fake := &fakeWorker{}
	visited(t, fake, func(_ *world, _ *coordinator, v *visit) {
		if !v.hello.GetWorks() {
			t.Error("the hello does not say that it works")
		}
		v.say(workOrder(1, 1, work("db1/1")))
		asked := fake.done(t)
		if len(asked) != 1 || asked[0].Incident != "i1" || asked[0].Job != "db1/1" || asked[0].Kind != restore.KindRestore || asked[0].Timeout != time.Hour {
			t.Fatalf("asked for %+v", asked)
		}
		fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Stage: "restoring people", Done: 3, Total: 9, Rate: 2, Left: 3 * time.Second})
		want := &pb.WorkReport{Incident: "i1", Job: "db1/1", Stage: "restoring people", Done: 3, Total: 9, Rate: 2, Left: durationpb.New(3 * time.Second)}
		if got := v.report(); !proto.Equal(got, want) {
			t.Errorf("told %v", got)
		}
		v.say(stopOrder(1, 2, "db1/1"))
		synctest.Wait()
		if len(fake.stopped) != 1 || fake.stopped[0] != "i1 db1/1" {
			t.Errorf("stopped %q", fake.stopped)
		}
		at := time.Date(2026, 4, 4, 12, 0, 0, 0, time.UTC)
		fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Result: &restore.Result{
			Class: restore.Failed, Signature: restore.SignatureCheckFailed, Detail: "it did not pass", Joined: true, Rebooted: true, Took: time.Minute, Boot: "b2",
			Sets: []restore.SetResult{{
				Set: "people", Repository: "vault", Point: "p9", Moment: at, Bytes: 77, Kept: "/srv/people.old", Swapped: true,
				Checks: []restore.Check{{Level: 3, OK: true, At: at, By: "pg_dump", Detail: "fine", Moment: at}},
			}},
			Points: []restore.Point{{ID: "p9", Kind: "database", TakenAt: at, Until: at.Add(time.Hour), Size: 5}},
		}})
		stamp := timestamppb.New(at)
		wantResult := &pb.WorkResult{
			Class: "failed", Signature: "check failed", Detail: "it did not pass", Joined: true, Rebooted: true, Took: durationpb.New(time.Minute), Boot: "b2",
			Sets: []*pb.SetResult{{
				DataSet: "people", Repository: "vault", Point: "p9", Moment: stamp, Bytes: 77, Kept: "/srv/people.old", Swapped: true,
				Checks: []*pb.PointCheck{{Level: 3, Ok: true, At: stamp, By: "pg_dump", Detail: "fine", Moment: stamp}},
			}},
			Points: []*pb.Point{{Id: "p9", Kind: "database", TakenAt: stamp, Until: timestamppb.New(at.Add(time.Hour)), Size: 5}},
		}
		if got := v.report().GetResult(); !proto.Equal(got, wantResult) {
			t.Errorf("told %v", got)
		}
		v.quiet()
	})
}

// An agent that was not started for it does no work on backups, whoever asks, and says how to allow it.
func TestWorkIsRefusedWhereItIsNotAllowed(t *testing.T) {
	visited(t, nil, func(_ *world, _ *coordinator, v *visit) {
		if v.hello.GetWorks() {
			t.Error("the hello says that it works")
		}
		for i, in := range []*pb.Instruction{workOrder(1, 1, work("db1/1")), stopOrder(1, 2, "db1/1")} {
			v.say(in)
			if why := v.heartbeat().GetRefused(); !strings.Contains(why, "does no work on backups; start it with restore = yes in its settings, or with --restore") {
				t.Errorf("instruction %d: refused with %q", i, why)
			}
		}
	})
}

// Orders of work are held to the same rules as all: a coordinator that was replaced, or a replay, sets nothing going.
func TestWorkOfAnOldCoordinatorIsRefused(t *testing.T) {
	fake := &fakeWorker{}
	visited(t, fake, func(w *world, c *coordinator, v *visit) {
		v.say(workOrder(5, 1, work("db1/1")))
		for _, in := range []*pb.Instruction{workOrder(5, 1, work("db1/2")), workOrder(4, 9, work("db1/3")), workOrder(0, 9, work("db1/4")), stopOrder(5, 1, "db1/1"), stopOrder(4, 2, "db1/1")} {
			v.say(in)
			if why := v.heartbeat().GetRefused(); why == "" {
				t.Errorf("%v is not refused", in)
			}
		}
		v.end <- status.Error(codes.Unavailable, "it stops")
		v = c.next(t)
		v.say(workOrder(4, 1, work("db1/5")))
		if why := v.heartbeat().GetRefused(); !strings.Contains(why, "epoch 5 was obeyed already") {
			t.Errorf("refused with %q", why)
		}
		if asked := fake.done(t); len(asked) != 1 || asked[0].Job != "db1/1" || len(fake.stopped) != 0 {
			t.Errorf("asked for %+v, stopped %q", asked, fake.stopped)
		}
	})
}

// A stream that is lost neither stops a job nor asks for it again; what was told meanwhile comes with the next stream.
func TestWorkOutlivesTheStream(t *testing.T) {
	fake := &fakeWorker{}
	visited(t, fake, func(w *world, c *coordinator, v *visit) {
		v.say(workOrder(1, 1, work("db1/1")))
		fake.done(t)
		c.stop()
		synctest.Wait()
		for n := range 5 {
			fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Done: int64(n)})
		}
		fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Result: &restore.Result{Class: restore.Succeeded}})
		fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Done: 9})
		if len(fake.done(t)) != 1 || len(fake.stopped) != 0 {
			t.Errorf("asked for %+v, stopped %q", fake.asked, fake.stopped)
		}
		next := w.coordinator(here)
		defer next.stop()
		v = next.next(t)
		if !v.hello.GetWorks() {
			t.Error("the hello does not say that it works")
		}
		if r := v.report(); r.GetResult().GetClass() != restore.Succeeded {
			t.Errorf("told %v", r)
		}
		v.quiet()
		// Who asks again is told again.
		v.say(workOrder(2, 1, work("db1/1")))
		if len(fake.done(t)) != 2 {
			t.Errorf("asked for %+v", fake.asked)
		}
		fake.tell(restore.Report{Incident: "i1", Job: "db1/1", Result: &restore.Result{Class: restore.Succeeded, Joined: true}})
		if r := v.report(); !r.GetResult().GetJoined() {
			t.Errorf("told %v", r)
		}
	})
}

// However often jobs tell, a coordinator gets two reports a second, each job's newest, and no job waits for another's.
func TestReportsAreFew(t *testing.T) {
	fake := &fakeWorker{}
	visited(t, fake, func(_ *world, _ *coordinator, v *visit) {
		v.say(workOrder(1, 1, work("db1/1")))
		fake.done(t)
		seen, began := map[string]int64{}, time.Now()
		for n := range 1000 { // ten seconds
			for job := range 4 {
				fake.tell(restore.Report{Incident: "i1", Job: fmt.Sprint(job), Done: int64(n)})
			}
			pass(10 * time.Millisecond)
		}
		synctest.Wait()
		count := len(v.works)
		for range count {
			r := v.report()
			if r.GetDone() < seen[r.GetJob()] {
				t.Errorf("job %s goes back from %d to %d", r.GetJob(), seen[r.GetJob()], r.GetDone())
			}
			seen[r.GetJob()] = r.GetDone()
		}
		if most := int(time.Since(began)/reportGap) + 1; count > most || count < most-3 {
			t.Errorf("%d reports in ten seconds", count)
		}
		for job, done := range seen {
			if done < 700 {
				t.Errorf("of job %s nothing newer than %d was told", job, done)
			}
		}
		if len(seen) != 4 {
			t.Errorf("told of %v only", seen)
		}
		pass(10 * time.Second)
		for range len(v.works) {
			r := v.report()
			seen[r.GetJob()] = r.GetDone()
		}
		for job, done := range seen {
			if done != 999 {
				t.Errorf("the last word of job %s was %d", job, done)
			}
		}
	})
}

// A result that is too long for one message comes in parts, of which only the last has a class. Nothing is lost.
func TestALongResultComesInParts(t *testing.T) {
	res := &restore.Result{Class: restore.Succeeded, Detail: "done"}
	for n := range 9000 {
		res.Points = append(res.Points, restore.Point{ID: fmt.Sprintf("%064x", n), Kind: "database", TakenAt: time.Unix(1_700_000_000, 0).Add(time.Duration(n) * time.Hour), Size: 1 << 40})
	}
	long := restore.Check{Level: 4, By: strings.Repeat("b", 5000), Detail: strings.Repeat("é", 5000)}
	for n := range 64 {
		set := restore.SetResult{Set: fmt.Sprint("set", n), Repository: "vault"}
		for range 300 {
			set.Checks = append(set.Checks, long)
		}
		res.Sets = append(res.Sets, set)
	}
	parts := wireReport(restore.Report{Incident: "i1", Job: "list", Result: res})
	var sets, points int
	for i, m := range parts {
		if size := proto.Size(m); size > 100<<10 {
			t.Errorf("part %d is of %d bytes", i, size)
		}
		r := m.GetResult()
		if m.GetIncident() != "i1" || m.GetJob() != "list" || (r.GetClass() != "") != (i == len(parts)-1) {
			t.Errorf("part %d: %s %s %q", i, m.GetIncident(), m.GetJob(), r.GetClass())
		}
		for _, s := range r.GetSets() {
			if s.GetDataSet() != fmt.Sprint("set", sets) || len(s.GetChecks()) != 300 || !utf8.ValidString(s.GetChecks()[0].GetDetail()) {
				t.Errorf("set %d is %s with %d checks", sets, s.GetDataSet(), len(s.GetChecks()))
			}
			sets++
		}
		for _, p := range r.GetPoints() {
			if p.GetId() != fmt.Sprintf("%064x", points) {
				t.Fatalf("point %d is %s", points, p.GetId())
			}
			points++
		}
	}
	if sets != 64 || points != 9000 {
		t.Errorf("%d sets and %d points", sets, points)
	}
	if one := wireReport(restore.Report{Result: &restore.Result{Class: restore.Failed, Detail: "\xff\xfe not text", Sets: []restore.SetResult{{Set: "s"}}}}); len(one) != 1 {
		t.Errorf("a short result comes in %d parts", len(one))
	} else if _, err := proto.Marshal(one[0]); err != nil {
		t.Error(err)
	}
}

// Everything that an order says reaches the worker.
func TestNothingOfAnOrderIsLost(t *testing.T) {
	in := &pb.Work{}
	fill(t, in.ProtoReflect())
	in.GetSets()[0].Part = in.GetSets()[0].GetParts()
	out, err := readWork(in)
	if err != nil {
		t.Fatal(err)
	}
	noZero(t, "Work", reflect.ValueOf(out))
}

// Orders that are out of bounds set nothing going, and whoever gave them is told of the job's end.
func TestOrdersOutOfBounds(t *testing.T) {
	fake := &fakeWorker{}
	visited(t, fake, func(_ *world, _ *coordinator, v *visit) {
		sequence := uint64(0)
		for want, change := range map[string]func(*pb.Work){
			"an incident and a job": func(w *pb.Work) { w.Job = "" },
			"a job of 1 to 256":     func(w *pb.Work) { w.Incident = strings.Repeat("x", 257) },
			"kind (0)":              func(w *pb.Work) { w.Kind = 0 },
			"kind (99)":             func(w *pb.Work) { w.Kind = 99 },
			"0 data sets":           func(w *pb.Work) { w.Sets = nil },
			"65 data sets":          func(w *pb.Work) { w.Sets = make([]*pb.SetWork, 65) },
			"no name":               func(w *pb.Work) { w.Sets = []*pb.SetWork{{}} },
			"time limit":            func(w *pb.Work) { w.Timeout = nil },
			"without a time limit":  func(w *pb.Work) { w.Timeout = durationpb.New(-1) },
			"level 6":               func(w *pb.Work) { w.Sets[0].Level = 6 },
			"level -1":              func(w *pb.Work) { w.Sets[0].Level = -1 },
			"part 3 of 2":           func(w *pb.Work) { w.Sets[0].Part, w.Sets[0].Parts = 3, 2 },
			"part 0 of 2":           func(w *pb.Work) { w.Sets[0].Parts = 2 },
			"rate or size":          func(w *pb.Work) { w.Sets[0].Rate = -1 },
			"size below 0":          func(w *pb.Work) { w.Sets[0].Size = -1 },
			"a list of 257":         func(w *pb.Work) { w.Sets[0].Set.Stop = make([]string, 257) },
			"more than 16384 bytes": func(w *pb.Work) { w.Sets[0].Set.Options = map[string]string{"k": strings.Repeat("x", 16385)} },
			"NUL":                   func(w *pb.Work) { w.Sets[0].Set.Check = []string{"/bin/true", "a\x00b"} },
			"time window":           func(w *pb.Work) { w.Sets[0].Moment = &timestamppb.Timestamp{Nanos: -1} },
		} {
			sequence++
			w := work("db1/1")
			change(w)
			v.say(workOrder(1, sequence, w))
			if why := v.heartbeat().GetRefused(); !strings.Contains(why, want) {
				t.Errorf("want %q: refused with %q", want, why)
			}
			if !named(w.GetIncident(), w.GetJob()) {
				continue
			}
			if r := v.report(); r.GetIncident() != "i1" || r.GetJob() != "db1/1" || r.GetResult().GetClass() != restore.Failed || !strings.Contains(r.GetResult().GetDetail(), want) {
				t.Errorf("want %q: told %v", want, r)
			}
		}
		v.say(stopOrder(1, sequence+1, ""))
		if why := v.heartbeat().GetRefused(); !strings.Contains(why, "names no job") {
			t.Errorf("refused with %q", why)
		}
		if len(fake.done(t)) != 0 || len(fake.stopped) != 0 {
			t.Errorf("asked for %+v, stopped %q", fake.asked, fake.stopped)
		}
	})
}

// What is not sent yet is bounded by the number of jobs; the oldest goes first.
func TestWhatIsNotSentIsBounded(t *testing.T) {
	o := newOutbox()
	for n := range 10 * maxTold {
		o.tell(restore.Report{Job: fmt.Sprint(n)})
	}
	if len(o.words) != maxTold || o.words[0].Job != fmt.Sprint(9*maxTold) {
		t.Errorf("%d are kept, the first is of %s", len(o.words), o.words[0].Job)
	}
}

// fill sets every field of a message, and one element of every list and map.
func fill(t *testing.T, m protoreflect.Message) {
	t.Helper()
	value := func(f protoreflect.FieldDescriptor, zero protoreflect.Value) protoreflect.Value {
		switch f.Kind() {
		case protoreflect.StringKind:
			return protoreflect.ValueOfString("x")
		case protoreflect.BoolKind:
			return protoreflect.ValueOfBool(true)
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(1)
		case protoreflect.Int64Kind:
			return protoreflect.ValueOfInt64(1)
		case protoreflect.EnumKind:
			return protoreflect.ValueOfEnum(1)
		case protoreflect.MessageKind:
			fill(t, zero.Message())
			return zero
		}
		t.Fatalf("no value for a %v", f.Kind())
		return zero
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(value(f, list.NewElement()))
		case f.Kind() == protoreflect.MessageKind:
			m.Set(f, value(f, m.NewField(f)))
		default:
			m.Set(f, value(f, protoreflect.Value{}))
		}
	}
}

// noZero checks that every field of ours got a value.
func noZero(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch {
	case v.IsZero():
		t.Errorf("%s is not set", name)
	case v.Kind() == reflect.Slice && v.Len() > 0:
		noZero(t, name+"[0]", v.Index(0))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			noZero(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}
