package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/backups"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
	"github.com/blackstart-recovery/blackstart/server/report"
)

const maxSets = 10_000 // named in one call

// keeper is who knows the backups, or why nobody does.
func (o *operators) keeper() (*backups.Keeper, error) {
	if o.cfg.Backups == nil {
		return nil, &recovery.Error{Kind: recovery.KindRefused, Message: "this coordinator keeps no catalog of backups: give the fleet file repositories and data sets, then start it again"}
	}
	return o.cfg.Backups, nil
}

// ListPoints tells the points of the data sets that match; of the work under way it always tells all.
func (o *operators) ListPoints(ctx context.Context, r *pb.ListPointsRequest) (*pb.ListPointsResponse, error) {
	k, err := o.keeper()
	if err != nil {
		return nil, err
	}
	sets, err := o.setsOf(name(r.GetDataSet()), name(r.GetHost()))
	if err != nil {
		return nil, err
	}
	out := &pb.ListPointsResponse{}
	err = k.Read(ctx, func(c *catalog.Catalog, now time.Time) {
		out.Now = stamp(now)
		for _, d := range sets {
			out.Points = append(out.Points, points(c, d, "")...)
			out.DataSets = append(out.DataSets, standing(c, d))
		}
		out.Work = o.work(c, now)
		for _, a := range c.Alerts(now) {
			out.Alerts = append(out.Alerts, &pb.BackupAlert{At: stamp(a.At), DataSet: a.DataSet, Text: recovery.Clean(a.Text, maxAlert)})
		}
	})
	return out, err
}

// standing is what a data set could go back to if an incident began now.
func standing(c *catalog.Catalog, d *recovery.DataSet) *pb.DataSetStanding {
	known := recovery.NewPoints()
	for _, p := range c.Points(d.Name) {
		known.Learn(p)
	}
	out := &pb.DataSetStanding{Name: d.Name, Host: d.Host, Asks: c.Asks(d.Name).String()}
	best, why := known.Best(d, c.Asks(d.Name), time.Time{})
	if out.Why = recovery.Clean(why, maxAlert); why == "" {
		if good := points(c, d, best.Point.ID); len(good) > 0 {
			out.Good = good[0]
		}
	}
	return out
}

const maxAlert = 500 // characters

// setsOf are the data sets of that name and host; an empty one matches all.
func (o *operators) setsOf(set, host string) ([]*recovery.DataSet, error) {
	var list []*recovery.DataSet
	for i := range o.cfg.DataSets {
		if d := &o.cfg.DataSets[i]; (set == "" || set == d.Name) && (host == "" || host == d.Host) {
			list = append(list, d)
		}
	}
	switch {
	case len(list) > 0 || set == "" && host == "":
		return list, nil
	case set == "":
		return nil, missing("no data set of host %s is in the fleet file", host)
	case host == "":
		return nil, missing("data set %s is not in the fleet file", set)
	}
	return nil, missing("no data set %s of host %s is in the fleet file", set, host)
}

// setOf is the data set of that name.
func (o *operators) setOf(set string) (*recovery.DataSet, error) {
	if set == "" {
		return nil, invalid("name the data set")
	}
	sets, err := o.setsOf(set, "")
	if err != nil {
		return nil, err
	}
	return sets[0], nil
}

func missing(format string, args ...any) error {
	return &recovery.Error{Kind: recovery.KindNotFound, Message: fmt.Sprintf(format, args...)}
}

// isNamed reports whether a point is meant by its id, as REPOSITORY/ID, or by the beginning of either; an empty one means all.
func isNamed(repository, id, wanted string) bool {
	return strings.HasPrefix(id, wanted) || strings.HasPrefix(repository+"/"+id, wanted)
}

// points are a data set's points, or those that are named.
func points(c *catalog.Catalog, d *recovery.DataSet, wanted string) []*pb.RestorePoint {
	var list []*pb.RestorePoint
	for _, p := range c.Points(d.Name) {
		if isNamed(p.Repository, p.ID, wanted) {
			list = append(list, restorePoint(d.Host, p, c.HeldBy(p.PointRef)))
		}
	}
	return list
}

// progressGap is how often progress is looked at: it is no change of the catalog.
const progressGap = time.Second

// WatchBackups looks at the work whenever the catalog has changed, and from time to time while something runs, and sends it when it is not
// what was sent last.
func (o *operators) WatchBackups(_ *pb.WatchBackupsRequest, stream grpc.ServerStreamingServer[pb.WatchBackupsResponse]) error {
	k, err := o.keeper()
	if err != nil {
		return err
	}
	ctx := stream.Context()
	changed := k.Watch(ctx)
	var last *pb.WatchBackupsResponse
	for {
		out := &pb.WatchBackupsResponse{}
		if err := k.Read(ctx, func(c *catalog.Catalog, now time.Time) { out.Now, out.Work = stamp(now), o.work(c, now) }); err != nil {
			return err
		}
		if last == nil || !sameWork(out, last) {
			if err := stream.Send(out); err != nil {
				return err
			}
			last = out
		}
		if err := pause(ctx, nil, nil, watchGap); err != nil {
			return err
		}
		var again time.Duration
		if slices.ContainsFunc(out.GetWork(), runs) {
			again = progressGap - watchGap
		}
		if err := awaitChange(ctx, changed, again); err != nil {
			return err
		}
	}
}

func sameWork(a, b *pb.WatchBackupsResponse) bool {
	return slices.EqualFunc(a.GetWork(), b.GetWork(), func(x, y *pb.BackupWork) bool { return proto.Equal(x, y) })
}

func runs(w *pb.BackupWork) bool { return w.GetWaits() == "" }

func (o *operators) ScanBackups(ctx context.Context, r *pb.ScanBackupsRequest) (*pb.ScanBackupsResponse, error) {
	k, err := o.keeper()
	if err != nil {
		return nil, err
	}
	sets, err := names(r.GetDataSets())
	if err != nil {
		return nil, err
	}
	if err := k.Do(ctx, actor(ctx), catalog.Scan{DataSets: sets}); err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		for i := range o.cfg.DataSets {
			sets = append(sets, o.cfg.DataSets[i].Name)
		}
	}
	return &pb.ScanBackupsResponse{DataSets: sets}, nil
}

// VerifyBackups answers with every check that tells what was asked for, also one that was under way before.
func (o *operators) VerifyBackups(ctx context.Context, r *pb.VerifyBackupsRequest) (*pb.VerifyBackupsResponse, error) {
	k, err := o.keeper()
	if err != nil {
		return nil, err
	}
	sets, err := names(r.GetDataSets())
	if err != nil {
		return nil, err
	}
	in := catalog.Verify{DataSets: sets, Point: name(r.GetPoint()), All: r.GetAll()}
	if in.Level, err = level(r.GetLevel()); err != nil {
		return nil, err
	}
	if err := k.Do(ctx, actor(ctx), in); err != nil {
		return nil, err
	}
	out := &pb.VerifyBackupsResponse{}
	err = k.Read(ctx, func(c *catalog.Catalog, now time.Time) {
		for _, p := range c.Pending(now) {
			if o.answers(p, sets, in.Point) {
				out.Work = append(out.Work, o.backupWork(p))
			}
		}
	})
	return out, err
}

// answers reports whether pending work is a check of these data sets (none: all) and that point. A check of a whole repository at L1 is
// about all that lies in it; one of a part of it is about no point.
func (o *operators) answers(p catalog.Pending, sets []string, point string) bool {
	if p.Kind != recovery.JobCheck || p.Parts > 1 {
		return false
	}
	if len(sets) == 0 || slices.Contains(sets, p.DataSet) && isNamed(p.Repository, p.Point, point) {
		return true
	}
	return p.Level == recovery.L1 && slices.ContainsFunc(o.cfg.DataSets, func(d recovery.DataSet) bool {
		return slices.Contains(sets, d.Name) && (d.Repository == p.Repository || slices.Contains(d.Copies, p.Repository))
	})
}

func (o *operators) JudgePoints(ctx context.Context, r *pb.JudgePointsRequest) (*pb.JudgePointsResponse, error) {
	k, err := o.keeper()
	if err != nil {
		return nil, err
	}
	in := catalog.Judge{DataSet: name(r.GetDataSet()), Point: name(r.GetPoint()), By: actor(ctx), Reason: text(r.GetReason())}
	switch r.GetWord() {
	case pb.PointWord_POINT_WORD_QUARANTINE:
		in.Word = catalog.WordQuarantine
	case pb.PointWord_POINT_WORD_RELEASE:
		in.Word = catalog.WordRelease
	case pb.PointWord_POINT_WORD_VOUCH:
		in.Word = catalog.WordVouch
	default:
		return nil, invalid("say what is to be done with the points: quarantine, release or vouch")
	}
	if in.From, err = moment("the time since which data is suspect", r.GetFrom()); err != nil {
		return nil, err
	}
	set, err := o.setOf(in.DataSet)
	if err != nil {
		return nil, err
	}
	if err := k.Do(ctx, actor(ctx), in); err != nil {
		return nil, err
	}
	out := &pb.JudgePointsResponse{}
	err = k.Read(ctx, func(c *catalog.Catalog, _ time.Time) { out.Points = points(c, set, in.Point) })
	return out, err
}

func (o *operators) AuditBackups(ctx context.Context, r *pb.AuditBackupsRequest) (*pb.AuditBackupsResponse, error) {
	k, err := o.keeper()
	if err != nil {
		return nil, err
	}
	var a catalog.Audit
	if err := k.Read(ctx, func(c *catalog.Catalog, now time.Time) { a = c.Audit(now) }); err != nil {
		return nil, err
	}
	out := &pb.AuditBackupsResponse{Short: int32(a.Short), DataSets: int32(a.DataSets)} //nolint:gosec // counts
	if out.Body = report.BackupsMarkdown(a); r.GetFormat() == pb.ReportFormat_REPORT_FORMAT_JSON {
		out.Body = report.BackupsJSON(a)
	}
	return out, nil
}

// BisectBackups asks for the search, or joins it, and sends its standing whenever that changes, to the end.
func (o *operators) BisectBackups(r *pb.BisectBackupsRequest, stream grpc.ServerStreamingServer[pb.BisectBackupsResponse]) error {
	k, err := o.keeper()
	if err != nil {
		return err
	}
	set, err := o.setOf(name(r.GetDataSet()))
	if err != nil {
		return err
	}
	wanted, err := level(r.GetLevel())
	if err != nil {
		return err
	}
	ctx := stream.Context()
	changed := k.Watch(ctx)
	if err := k.Do(ctx, actor(ctx), catalog.Bisect{DataSet: set.Name, Level: wanted}); err != nil {
		return err
	}
	var last *pb.BisectBackupsResponse
	for {
		var now *pb.BisectBackupsResponse
		err := k.Read(ctx, func(c *catalog.Catalog, at time.Time) {
			depth := c.Asks(set.Name)
			if wanted != nil {
				depth = *wanted
			}
			now = bisection(c, set.Host, c.Bisection(set.Name, depth, at))
		})
		if err != nil {
			return err
		}
		if last == nil || !proto.Equal(now, last) {
			if err := stream.Send(now); err != nil {
				return err
			}
			last = now
		}
		if now.GetDone() {
			return nil
		}
		if err := awaitChange(ctx, changed, 0); err != nil {
			return err
		}
	}
}

// awaitChange waits until a keeper that is watched tells of a change, but no longer than d where that is not 0.
func awaitChange(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	var late <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-late:
		return nil
	case _, open := <-changed:
		switch {
		case open:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return backups.ErrStopped
	}
}

func bisection(c *catalog.Catalog, host string, b catalog.Bisection) *pb.BisectBackupsResponse {
	one := func(p *recovery.RestorePoint) *pb.RestorePoint {
		if p == nil {
			return nil
		}
		return restorePoint(host, *p, c.HeldBy(p.PointRef))
	}
	out := &pb.BisectBackupsResponse{Checked: int32(b.Checked), AtMost: int32(b.AtMost), Good: one(b.Good), Bad: one(b.Bad), Verdict: b.Verdict, Done: b.Done} //nolint:gosec // counts
	for i := range b.Points {
		out.Points = append(out.Points, one(&b.Points[i]))
	}
	if b.Next != nil {
		out.Checking = b.Next.String()
	}
	return out
}

func restorePoint(host string, p recovery.RestorePoint, heldBy []string) *pb.RestorePoint {
	out := &pb.RestorePoint{DataSet: p.DataSet, Host: host, Repository: p.Repository, Id: p.ID, Kind: string(p.Kind), TakenAt: stamp(p.TakenAt), Until: stamp(p.Until),
		Size: p.Size, SeenAt: stamp(p.SeenAt), Gone: p.Gone, Level: p.Level().String(), HeldBy: heldBy}
	for _, v := range p.Checks {
		out.Checks = append(out.Checks, &pb.PointVerdict{Level: v.Level.String(), Ok: v.OK, At: stamp(v.At), By: v.By, Detail: v.Detail, Moment: stamp(v.Moment)})
	}
	if q := p.Quarantine; q != nil && !q.Lifted {
		out.QuarantinedFrom, out.QuarantineReason, out.QuarantinedBy = stamp(q.From), q.Reason, q.By
	}
	return out
}

// work is all that is under way or waits.
func (o *operators) work(c *catalog.Catalog, now time.Time) []*pb.BackupWork {
	var list []*pb.BackupWork
	for _, p := range c.Pending(now) {
		list = append(list, o.backupWork(p))
	}
	return list
}

func (o *operators) backupWork(p catalog.Pending) *pb.BackupWork {
	out := &pb.BackupWork{Job: p.Job, Kind: string(p.Kind), DataSet: p.DataSet, Repository: p.Repository, Point: p.Point, Runner: p.Runner, StartedAt: stamp(p.Since), Waits: p.Waits}
	if p.Kind == recovery.JobCheck {
		out.Level = p.Level.String()
	}
	switch {
	case p.Waits == "":
		out.Progress = o.progressOf(catalog.Story, p.Job)
	case p.Job == "" && p.Why != "": // it is to be tried again
		out.Waits = p.Why + "; " + p.Waits
	}
	return out
}

// progressOf is how far a job through an agent has come, as far as it has told.
func (o *operators) progressOf(incident, job string) *pb.Progress {
	if o.cfg.Progress == nil {
		return nil
	}
	p, ok := o.cfg.Progress(incident, job)
	if !ok {
		return nil
	}
	return &pb.Progress{Stage: p.Stage, Done: p.Done, Total: p.Total, Rate: p.Rate, Left: durationpb.New(p.Left), At: stamp(p.At)}
}

// level reads one; empty means none is named.
func level(s string) (*recovery.Level, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // none is named
	}
	var l recovery.Level
	if err := l.UnmarshalText([]byte(name(s))); err != nil {
		return nil, invalid(err.Error())
	}
	return &l, nil
}

// names cleans the names of data sets.
func names(list []string) ([]string, error) {
	if len(list) > maxSets {
		return nil, invalid(fmt.Sprintf("%d data sets are named: name at most %d, or none for all", len(list), maxSets))
	}
	out := make([]string, 0, len(list))
	for _, n := range list {
		if n = name(n); n == "" {
			return nil, invalid("a data set without a name")
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out, nil
}
