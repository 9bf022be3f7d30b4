package api

import (
	"context"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

const idWork = "work" // of every order; the job's own id is in it

// What a result of work may hold. A long one comes in several reports, one after the other: all but the last have no class.
const (
	maxWorkSets   = 64
	maxWorkPoints = 20_000 // 9,000 are a year of hourly ones
	maxWorkChecks = 512    // of one data set
	longest       = 10 * 365 * 24 * time.Hour
)

// agentClasses are the outcomes that work on an agent can have.
var agentClasses = map[recovery.Class]bool{
	recovery.Succeeded: true, recovery.Failed: true, recovery.Unreachable: true, recovery.AuthRefused: true,
	recovery.TimedOut: true, recovery.Lost: true, recovery.Cancelled: true,
}

// workKinds are the jobs that agents do.
var workKinds = map[recovery.JobKind]pb.WorkKind{
	recovery.JobRestore: pb.WorkKind_WORK_KIND_RESTORE, recovery.JobList: pb.WorkKind_WORK_KIND_LIST,
	recovery.JobCheck: pb.WorkKind_WORK_KIND_CHECK, recovery.JobHold: pb.WorkKind_WORK_KIND_HOLD,
}

// order tells the agent to do a job, or to let go of one.
func (s *session) order(o restore.Order) error {
	j := o.Job
	if o.Stop {
		return s.send(idWork, &pb.Instruction{What: &pb.Instruction_StopWork{StopWork: &pb.StopWork{Incident: j.Incident, Job: j.ID}}})
	}
	work := &pb.Work{Incident: j.Incident, Job: j.ID, Kind: workKinds[j.Kind], Timeout: durationpb.New(j.Timeout), Reboot: j.Reboot}
	for i := range j.Sets {
		work.Sets = append(work.Sets, setWork(&j.Sets[i]))
	}
	return s.send(idWork, &pb.Instruction{What: &pb.Instruction_Work{Work: work}})
}

func setWork(w *recovery.SetWork) *pb.SetWork {
	d, r := &w.Set, &w.Repository
	set := &pb.DataSet{Name: d.Name, Host: d.Host, Kind: string(d.Kind), Source: d.Source, Target: d.Target, Part: d.Part, Engine: d.Engine,
		Options: d.Options, Stop: d.Stop, Start: d.Start, Check: d.Check}
	for _, i := range d.Invariants {
		set.Invariants = append(set.Invariants, &pb.Invariant{Name: i.Name, Sql: i.SQL, Command: i.Command, Expect: i.Expect})
	}
	return &pb.SetWork{
		Set:        set,
		Repository: &pb.Repository{Name: r.Name, Kind: r.Kind, Location: r.Location, Password: r.Password, Program: r.Program, Options: r.Options},
		Point:      w.Point.ID, PointTakenAt: stampOf(w.Point.TakenAt), Moment: stampOf(w.Target), Size: w.Point.Size,
		Level: int32(w.Level), Part: int32(w.Part), Parts: int32(w.Parts), Rate: w.Rate, Hold: w.Hold, Release: w.Release,
	}
}

func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// reported takes a report of work. What was not asked for says nothing to us.
func (a *agents) reported(ctx context.Context, s *session, w *pb.WorkReport) error {
	if !s.works {
		return a.refuse(ctx, s.host, codes.InvalidArgument, "a report of work from an agent that said it does none")
	}
	r := restore.Report{Incident: w.GetIncident(), Job: w.GetJob(), Progress: progress(w)}
	if w.GetResult() != nil {
		name := r.Incident + "\x00" + r.Job
		if s.partOf != "" && s.partOf != name {
			return a.refuse(ctx, s.host, codes.InvalidArgument, "a result of work between the parts of another")
		}
		whole := s.gather(name, w.GetResult())
		if whole == nil {
			return nil
		}
		r.Result = result(whole)
	}
	s.work.Heard(r)
	return nil
}

// gather puts a result together that comes in parts; nil while the last one is missing. Of one that is too long, so much is kept that
// it is seen to be.
func (s *session) gather(name string, part *pb.WorkResult) *pb.WorkResult {
	sets, points := s.parts.GetSets(), s.parts.GetPoints()
	sets = append(sets, part.GetSets()[:min(len(part.GetSets()), maxWorkSets+1-len(sets))]...)
	points = append(points, part.GetPoints()[:min(len(part.GetPoints()), maxWorkPoints+1-len(points))]...)
	if part.GetClass() == "" {
		s.partOf, s.parts = name, &pb.WorkResult{Sets: sets, Points: points}
		return nil
	}
	s.partOf, s.parts = "", nil
	part.Sets, part.Points = sets, points
	return part
}

func progress(w *pb.WorkReport) recovery.Progress {
	p := recovery.Progress{Stage: recovery.Clean(w.GetStage(), 120), Done: max(w.GetDone(), 0), Total: max(w.GetTotal(), 0), Rate: max(w.GetRate(), 0), Left: span(w.GetLeft())}
	if p.Total > 0 {
		p.Total = max(p.Total, p.Done)
	}
	return p
}

// result turns a result, which comes from a host and is not trusted, into one that is bounded and clean. One that cannot be read as a
// whole has failed.
func result(w *pb.WorkResult) *recovery.Result {
	r := &recovery.Result{
		Class: recovery.Class(w.GetClass()), Signature: recovery.Clean(w.GetSignature(), 100), Detail: recovery.Clean(w.GetDetail(), 500),
		Joined: w.GetJoined(), Rebooted: w.GetRebooted(), Took: span(w.GetTook()), Boot: recovery.Clean(w.GetBoot(), maxID),
	}
	failed := func(signature, detail string) *recovery.Result {
		return &recovery.Result{Class: recovery.Failed, Signature: signature, Detail: detail, Took: r.Took, Boot: r.Boot}
	}
	if !agentClasses[r.Class] {
		return failed("unknown class", fmt.Sprintf("The agent told an outcome that is not known here (%q); see that it is of the coordinator's version.", recovery.Clean(w.GetClass(), 40)))
	}
	sets, points := w.GetSets(), w.GetPoints()
	switch {
	case len(sets) > maxWorkSets:
		return failed("too much told", fmt.Sprintf("The agent told of more than %d data sets in one job; look at the machine.", maxWorkSets))
	case len(points) > maxWorkPoints:
		return failed("too many points", fmt.Sprintf("The repository lists more than %d points of one data set; narrow its source, or let old points expire.", maxWorkPoints))
	}
	for _, w := range sets {
		set, why := setResult(w)
		if why != "" {
			return failed("result not usable", "The agent told a result that cannot be read: "+why+"; look at the machine.")
		}
		r.Sets = append(r.Sets, set)
	}
	for _, w := range points {
		point, why := point(w)
		if why != "" {
			return failed("result not usable", "The agent told a listing that cannot be read: "+why+"; look at the machine.")
		}
		r.Points = append(r.Points, point)
	}
	return r
}

// setResult takes names as they are: they are compared with ours.
func setResult(w *pb.SetResult) (r recovery.SetResult, why string) {
	if len(w.GetChecks()) > maxWorkChecks {
		return r, fmt.Sprintf("more than %d checks of one data set", maxWorkChecks)
	}
	r = recovery.SetResult{DataSet: w.GetDataSet(), Repository: w.GetRepository(), Point: w.GetPoint(), Bytes: max(w.GetBytes(), 0),
		Kept: recovery.Clean(w.GetKept(), 1000), Swapped: w.GetSwapped()}
	if r.Moment, why = when(w.GetMoment()); why != "" {
		return r, why
	}
	for _, c := range w.GetChecks() {
		check := recovery.PointCheck{Level: recovery.Level(c.GetLevel()), OK: c.GetOk(), By: recovery.Clean(c.GetBy(), 120), Detail: recovery.Clean(c.GetDetail(), 500)}
		if check.At, why = when(c.GetAt()); why != "" {
			return r, why
		}
		if check.Moment, why = when(c.GetMoment()); why != "" {
			return r, why
		}
		r.Checks = append(r.Checks, check)
	}
	return r, ""
}

// point refuses ids that would not survive being shown: they are told to the repository again.
func point(w *pb.Point) (p recovery.RestorePoint, why string) {
	p.ID, p.Kind, p.Size = w.GetId(), recovery.PointKind(w.GetKind()), max(w.GetSize(), 0)
	if len(p.ID) > 2*maxID || recovery.Clean(p.ID, 2*maxID) != p.ID {
		return p, "a point with a name that is long or not plain"
	}
	if p.TakenAt, why = when(w.GetTakenAt()); why == "" {
		p.Until, why = when(w.GetUntil())
	}
	return p, why
}

// when reads a time; unset is zero.
func when(t *timestamppb.Timestamp) (at time.Time, why string) {
	if t == nil {
		return at, ""
	}
	at = t.AsTime()
	if !t.IsValid() || at.Year() < 1970 || at.Year() > 9998 {
		return time.Time{}, "a time that is none"
	}
	return at, ""
}

// span reads how long something takes; nonsense is unknown.
func span(d *durationpb.Duration) time.Duration {
	if d == nil || !d.IsValid() || d.GetSeconds() > math.MaxInt32 {
		return 0
	}
	return min(max(d.AsDuration(), 0), longest)
}
