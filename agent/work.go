package agent

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent/restore"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// Worker does work on backups. Its jobs outlive streams. Both methods return soon, whatever a disk does.
type Worker interface {
	// Do begins a job, or joins the one with the same names, which may have ended: its result is told again. told may be called from
	// any goroutine, at any time, and does not wait.
	Do(work restore.Work, told func(restore.Report))
	// Stop lets go of a job. A job that is not there is no error.
	Stop(incident, job string)
}

// What an order of work may hold at most, and how its reports travel.
const (
	maxJobID    = 256
	maxWorkSets = 64
	maxList     = 256 // words of a command, options, invariants
	maxWord     = 16 << 10
	maxTold     = 256             // jobs with news that is not sent yet
	partSize    = 64 << 10        // bytes of one report; a longer result travels in several
	partPoints  = 1000            // of one report
	reportGap   = time.Second / 2 // between two reports: a coordinator takes four messages a second
	notAllowed  = "this agent does no work on backups; start it with restore = yes in its settings, or with --restore, to allow that"
)

// work begins or joins a job.
func (s *session) work(id string, w *pb.Work) error {
	if s.cfg.Worker == nil {
		return s.refuse(fmt.Sprintf("instruction %q: %s", id, notAllowed))
	}
	order, err := readWork(w)
	if err != nil {
		why := fmt.Sprintf("instruction %q: %v", id, err)
		if named(w.GetIncident(), w.GetJob()) {
			s.outbox.tell(restore.Report{Incident: w.GetIncident(), Job: w.GetJob(), Result: &restore.Result{
				Class: restore.Failed, Signature: "order refused", Detail: fmt.Sprintf("The agent refused the work, and nothing was done: %v.", err), Boot: s.hello.GetBootId(),
			}})
		}
		return s.refuse(why)
	}
	s.cfg.Worker.Do(order, s.outbox.tell)
	return nil
}

// stopWork lets go of a job.
func (s *session) stopWork(id string, w *pb.StopWork) error {
	switch {
	case s.cfg.Worker == nil:
		return s.refuse(fmt.Sprintf("instruction %q: %s", id, notAllowed))
	case !named(w.GetIncident(), w.GetJob()):
		return s.refuse(fmt.Sprintf("instruction %q names no job", id))
	}
	s.cfg.Worker.Stop(w.GetIncident(), w.GetJob())
	return nil
}

// mayTell says that there may be news of work to send, when it is time for that.
func (s *session) mayTell() <-chan struct{} {
	if s.pause != nil {
		return nil
	}
	return s.outbox.due
}

// tellWork sends the next report, or the next part of one.
func (s *session) tellWork() error {
	if len(s.parts) == 0 {
		r, ok := s.outbox.take()
		if !ok {
			return nil
		}
		s.parts = wireReport(r)
	}
	next := s.parts[0]
	s.parts = s.parts[1:]
	s.pause = time.After(reportGap)
	s.outbox.wake() // there may be more
	return s.send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_WorkReport{WorkReport: next}})
}

// outbox holds the newest word of each job until a stream takes it. A result that is lost on the way is told again when the
// coordinator asks for the job again, so nothing here need outlive the agent.
type outbox struct {
	due chan struct{} // there may be something to take

	mu    sync.Mutex
	words []restore.Report // one for each job, in the order in which the jobs first had news
}

func newOutbox() *outbox { return &outbox{due: make(chan struct{}, 1)} }

// tell keeps a report for the next stream. Progress does not replace a result.
func (o *outbox) tell(r restore.Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.wake()
	i := slices.IndexFunc(o.words, func(w restore.Report) bool { return w.Incident == r.Incident && w.Job == r.Job })
	switch {
	case i >= 0 && (r.Result != nil || o.words[i].Result == nil):
		o.words[i] = r
	case i >= 0:
	case len(o.words) == maxTold:
		o.words = append(o.words[1:], r)
	default:
		o.words = append(o.words, r)
	}
}

func (o *outbox) take() (r restore.Report, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.words) == 0 {
		return r, false
	}
	r = o.words[0]
	o.words = slices.Delete(o.words, 0, 1)
	return r, true
}

func (o *outbox) wake() {
	select {
	case o.due <- struct{}{}:
	default:
	}
}

func named(incident, job string) bool {
	return incident != "" && job != "" && len(incident) <= maxJobID && len(job) <= maxJobID
}

var workKinds = map[pb.WorkKind]string{
	pb.WorkKind_WORK_KIND_RESTORE: restore.KindRestore, pb.WorkKind_WORK_KIND_LIST: restore.KindList,
	pb.WorkKind_WORK_KIND_CHECK: restore.KindCheck, pb.WorkKind_WORK_KIND_HOLD: restore.KindHold,
}

// readWork turns the wire's order into restore's, or says what is wrong with it.
func readWork(w *pb.Work) (restore.Work, error) {
	order := restore.Work{Incident: w.GetIncident(), Job: w.GetJob(), Kind: workKinds[w.GetKind()], Reboot: w.GetReboot()}
	switch {
	case !named(order.Incident, order.Job):
		return order, fmt.Errorf("work needs an incident and a job of 1 to %d bytes", maxJobID)
	case order.Kind == "":
		return order, fmt.Errorf("work of a kind (%d) that this agent does not know", w.GetKind())
	case len(w.GetSets()) == 0 || len(w.GetSets()) > maxWorkSets:
		return order, fmt.Errorf("work on %d data sets; 1 to %d are possible", len(w.GetSets()), maxWorkSets)
	case w.GetTimeout().CheckValid() != nil || w.GetTimeout().AsDuration() <= 0:
		return order, fmt.Errorf("work without a time limit")
	}
	order.Timeout = w.GetTimeout().AsDuration()
	for _, s := range w.GetSets() {
		set, err := readSetWork(s)
		if err != nil {
			return order, fmt.Errorf("data set %q: %w", cut(s.GetSet().GetName(), maxID), err)
		}
		order.Sets = append(order.Sets, set)
	}
	return order, nil
}

func readSetWork(w *pb.SetWork) (set restore.SetWork, err error) {
	d, r := w.GetSet(), w.GetRepository()
	if err := readable(w); err != nil {
		return set, err
	}
	set = restore.SetWork{
		Set: restore.Set{
			Name: d.GetName(), Host: d.GetHost(), Kind: d.GetKind(), Source: d.GetSource(), Target: d.GetTarget(), Part: d.GetPart(),
			Engine: d.GetEngine(), Options: d.GetOptions(), Stop: d.GetStop(), Start: d.GetStart(), Check: d.GetCheck(),
		},
		Repository: restore.Repository{
			Name: r.GetName(), Kind: r.GetKind(), Location: r.GetLocation(), Password: r.GetPassword(), Program: r.GetProgram(), Options: r.GetOptions(),
		},
		Point: w.GetPoint(), Level: int(w.GetLevel()), Part: int(w.GetPart()), Parts: int(w.GetParts()),
		Rate: w.GetRate(), Hold: w.GetHold(), Release: w.GetRelease(), Size: w.GetSize(),
	}
	for _, i := range d.GetInvariants() {
		set.Set.Invariants = append(set.Set.Invariants, restore.Invariant{Name: i.GetName(), SQL: i.GetSql(), Command: i.GetCommand(), Expect: i.GetExpect()})
	}
	if set.TakenAt, err = moment(w.GetPointTakenAt()); err == nil {
		set.Moment, err = moment(w.GetMoment())
	}
	return set, err
}

// readable says what is out of bounds.
func readable(w *pb.SetWork) error {
	d, r := w.GetSet(), w.GetRepository()
	words := []string{d.GetName(), d.GetHost(), d.GetKind(), d.GetSource(), d.GetTarget(), d.GetPart(), d.GetEngine(), r.GetName(), r.GetKind(), r.GetLocation(),
		r.GetPassword(), r.GetProgram(), w.GetPoint(), w.GetHold()}
	lists := []int{len(d.GetOptions()), len(r.GetOptions()), len(d.GetStop()), len(d.GetStart()), len(d.GetCheck()), len(d.GetInvariants())}
	words = slices.Concat(words, d.GetStop(), d.GetStart(), d.GetCheck())
	for _, options := range []map[string]string{d.GetOptions(), r.GetOptions()} {
		for k, v := range options {
			words = append(words, k, v)
		}
	}
	for _, i := range d.GetInvariants() {
		lists = append(lists, len(i.GetCommand()))
		words = append(append(words, i.GetName(), i.GetSql(), i.GetExpect()), i.GetCommand()...)
	}
	switch {
	case d.GetName() == "":
		return fmt.Errorf("it has no name")
	case slices.Max(lists) > maxList:
		return fmt.Errorf("a list of %d; at most %d", slices.Max(lists), maxList)
	case slices.ContainsFunc(words, func(s string) bool { return len(s) > maxWord }):
		return fmt.Errorf("a text of more than %d bytes", maxWord)
	case slices.ContainsFunc(words, func(s string) bool { return strings.ContainsRune(s, 0) }):
		return fmt.Errorf("a text with a NUL byte")
	case w.GetLevel() < 0 || w.GetLevel() > 5:
		return fmt.Errorf("level %d; they are 0 to 5", w.GetLevel())
	case w.GetParts() < 0 || w.GetPart() < 0 || w.GetPart() > w.GetParts() || w.GetParts() > 0 && w.GetPart() == 0:
		return fmt.Errorf("part %d of %d", w.GetPart(), w.GetParts())
	case w.GetRate() < 0 || w.GetSize() < 0:
		return fmt.Errorf("a rate or size below 0")
	}
	return nil
}

// wireReport turns a report into messages. A long result becomes several, of which only the last has a class.
func wireReport(r restore.Report) []*pb.WorkReport {
	message := func(result *pb.WorkResult) *pb.WorkReport {
		return &pb.WorkReport{
			Incident: r.Incident, Job: r.Job, Stage: cut(r.Stage, 200), Done: r.Done, Total: r.Total, Rate: r.Rate, Left: durationpb.New(r.Left), Result: result,
		}
	}
	if r.Result == nil {
		return []*pb.WorkReport{message(nil)}
	}
	var parts []*pb.WorkReport
	part, size := &pb.WorkResult{}, 0
	room := func(m proto.Message) {
		more := proto.Size(m) + 8
		if size > 0 && size+more > partSize || len(part.GetPoints()) == partPoints {
			parts = append(parts, message(part))
			part, size = &pb.WorkResult{}, 0
		}
		size += more
	}
	for _, s := range r.Result.Sets {
		set := wireSet(s)
		room(set)
		part.Sets = append(part.Sets, set)
	}
	for _, p := range r.Result.Points {
		point := &pb.Point{Id: cut(p.ID, maxWord), Kind: cut(p.Kind, maxID), TakenAt: stampOf(p.TakenAt), Until: stampOf(p.Until), Size: p.Size}
		room(point)
		part.Points = append(part.Points, point)
	}
	part.Class, part.Signature, part.Detail = cut(r.Result.Class, maxID), cut(r.Result.Signature, 200), cut(r.Result.Detail, 2000)
	part.Joined, part.Rebooted, part.Took, part.Boot = r.Result.Joined, r.Result.Rebooted, durationpb.New(r.Result.Took), cut(r.Result.Boot, maxID)
	return append(parts, message(part))
}

// wireSet keeps a data set's checks within one message.
func wireSet(s restore.SetResult) *pb.SetResult {
	set := &pb.SetResult{DataSet: s.Set, Repository: s.Repository, Point: s.Point, Moment: stampOf(s.Moment), Bytes: s.Bytes, Kept: cut(s.Kept, maxPath), Swapped: s.Swapped}
	each := 1000
	if n := len(s.Checks); n > 0 {
		each = min(each, partSize/2/n)
	}
	for _, c := range s.Checks {
		set.Checks = append(set.Checks, &pb.PointCheck{Level: int32(c.Level), Ok: c.OK, At: stampOf(c.At), By: cut(c.By, min(each, 200)), Detail: cut(c.Detail, each), Moment: stampOf(c.Moment)})
	}
	return set
}

// cut makes a text fit for a message: at most limit bytes of valid UTF-8.
func cut(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "")
}

func stampOf(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
