package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// operators is OperatorService: each call is one input, and its answer is how things stand afterwards.
type operators struct {
	pb.UnimplementedOperatorServiceServer
	cfg Config
}

func actor(ctx context.Context) string { return "operator:" + who(ctx).name }

func (o *operators) Declare(ctx context.Context, r *pb.DeclareRequest) (*pb.DeclareResponse, error) {
	began, err := moment("the beginning of the outage", r.GetBegan())
	if err != nil {
		return nil, err
	}
	cutoff, err := moment("the cutoff", r.GetCutoff())
	if err != nil {
		return nil, err
	}
	id, err := o.cfg.Coordinator.Declare(ctx, actor(ctx), coordinator.Declaration{Title: text(r.GetTitle()), Playbook: name(r.GetPlaybook()),
		Began: began, Cutoff: cutoff, WaveZero: r.GetWaveZero()})
	if err != nil {
		return nil, err
	}
	in, err := o.incident(ctx, id)
	return &pb.DeclareResponse{Incident: in}, err
}

func (o *operators) Plan(ctx context.Context, r *pb.PlanRequest) (*pb.PlanResponse, error) {
	var out *pb.PlanResponse
	err := o.cfg.Coordinator.View(ctx, name(r.GetIncident()), func(v coordinator.View) {
		out = plan(v.State.Plan)
		out.Now = plannedHosts(v.State.Drift())
	})
	return out, err
}

func (o *operators) Approve(ctx context.Context, r *pb.ApproveRequest) (*pb.ApproveResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Approve{Digest: name(r.GetDigest()), Wave: int(r.GetWave())})
	return &pb.ApproveResponse{Incident: in}, err
}

func (o *operators) Pause(ctx context.Context, r *pb.PauseRequest) (*pb.PauseResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Pause{Reason: text(r.GetReason())})
	return &pb.PauseResponse{Incident: in}, err
}

func (o *operators) Resume(ctx context.Context, r *pb.ResumeRequest) (*pb.ResumeResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Resume{Wave: int(r.GetWave()), Reason: text(r.GetReason())})
	return &pb.ResumeResponse{Incident: in}, err
}

// ReviseIncident tells, beside how things stand, what the revision means.
func (o *operators) ReviseIncident(ctx context.Context, r *pb.ReviseIncidentRequest) (*pb.ReviseIncidentResponse, error) {
	if err := o.cfg.Coordinator.Revise(ctx, name(r.GetIncident()), actor(ctx), name(r.GetPlaybook()), text(r.GetReason())); err != nil {
		return nil, err
	}
	out := &pb.ReviseIncidentResponse{}
	var now, before string
	err := o.cfg.Coordinator.View(ctx, name(r.GetIncident()), func(v coordinator.View) {
		out.Incident = incident(v)
		now, before = v.State.Playbook.Digest, v.State.Versions[max(len(v.State.Versions)-2, 0)].Playbook.Digest
		for _, h := range v.State.Hosts() {
			if n := len(h.Attempts); h.Phase == recovery.Attempting && n > 0 && h.Attempts[n-1].Playbook != now {
				out.Ending = append(out.Ending, h.Host.Name)
			}
		}
		for _, e := range slices.Backward(v.Entries) {
			if revised, ok := e.Event.(*recovery.PlaybookRevised); ok {
				out.Revisit = revised.Revisit
				break
			}
		}
	})
	from, known := o.cfg.Playbooks.ByDigest(before)
	if to, ok := o.cfg.Playbooks.ByDigest(now); ok && known {
		out.Changes = playbook.Changes(from, to)
	}
	return out, err
}

func (o *operators) Abort(ctx context.Context, r *pb.AbortRequest) (*pb.AbortResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Abort{Reason: text(r.GetReason())})
	return &pb.AbortResponse{Incident: in}, err
}

func (o *operators) Close(ctx context.Context, r *pb.CloseRequest) (*pb.CloseResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Close{Reason: text(r.GetReason())})
	return &pb.CloseResponse{Incident: in}, err
}

func (o *operators) Override(ctx context.Context, r *pb.OverrideRequest) (*pb.OverrideResponse, error) {
	in, err := o.do(ctx, r.GetIncident(), recovery.Override{Target: name(r.GetTarget()), Reason: text(r.GetReason())})
	return &pb.OverrideResponse{Incident: in}, err
}

func (o *operators) Retry(ctx context.Context, r *pb.RetryRequest) (*pb.RetryResponse, error) {
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), recovery.Retry{Host: name(r.GetHost()), Rung: name(r.GetRung()), Reason: text(r.GetReason())})
	return &pb.RetryResponse{Host: h}, err
}

func (o *operators) Skip(ctx context.Context, r *pb.SkipRequest) (*pb.SkipResponse, error) {
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), recovery.Skip{Host: name(r.GetHost()), Reason: text(r.GetReason())})
	return &pb.SkipResponse{Host: h}, err
}

func (o *operators) Claim(ctx context.Context, r *pb.ClaimRequest) (*pb.ClaimResponse, error) {
	held, err := period("a claim", r.GetFor(), maxPeriod)
	if err != nil {
		return nil, err
	}
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), recovery.Claim{Host: name(r.GetHost()), By: who(ctx).name, For: held})
	return &pb.ClaimResponse{Host: h}, err
}

func (o *operators) HandsDone(ctx context.Context, r *pb.HandsDoneRequest) (*pb.HandsDoneResponse, error) {
	spent, err := period("hand work", r.GetSpent(), maxPeriod)
	if err != nil {
		return nil, err
	}
	in := recovery.HandsDone{Host: name(r.GetHost()), By: who(ctx).name, Note: text(r.GetNote()), Spent: spent}
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), in)
	return &pb.HandsDoneResponse{Host: h}, err
}

// ClearDebt without a host clears the debt on every host that owes it; its answer then holds an empty host.
func (o *operators) ClearDebt(ctx context.Context, r *pb.ClearDebtRequest) (*pb.ClearDebtResponse, error) {
	in := recovery.ClearDebt{Host: name(r.GetHost()), Debt: name(r.GetDebt()), By: who(ctx).name, Note: text(r.GetNote()), Accepted: r.GetAccepted()}
	if in.Host == "" {
		return &pb.ClearDebtResponse{Host: &pb.Host{}}, o.cfg.Coordinator.Do(ctx, name(r.GetIncident()), actor(ctx), in)
	}
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), in)
	return &pb.ClearDebtResponse{Host: h}, err
}

// ApproveRestore consents to a restore with the loss that was read.
func (o *operators) ApproveRestore(ctx context.Context, r *pb.ApproveRestoreRequest) (*pb.ApproveRestoreResponse, error) {
	loss, err := period("a loss of data", r.GetLoss(), maxLoss)
	if err != nil {
		return nil, err
	}
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), recovery.ApproveRestore{Host: name(r.GetHost()), Loss: loss, Reason: text(r.GetReason())})
	return &pb.ApproveRestoreResponse{Host: h}, err
}

func (o *operators) CancelAttempt(ctx context.Context, r *pb.CancelAttemptRequest) (*pb.CancelAttemptResponse, error) {
	h, err := o.doHost(ctx, r.GetIncident(), r.GetHost(), recovery.CancelAttempt{Host: name(r.GetHost()), Reason: text(r.GetReason())})
	return &pb.CancelAttemptResponse{Host: h}, err
}

func (o *operators) ListIncidents(ctx context.Context, _ *pb.ListIncidentsRequest) (*pb.ListIncidentsResponse, error) {
	out := &pb.ListIncidentsResponse{}
	err := o.cfg.Coordinator.Incidents(ctx, func(v coordinator.View) { out.Incidents = append(out.Incidents, incident(v)) })
	return out, err
}

func (o *operators) ShowIncident(ctx context.Context, r *pb.ShowIncidentRequest) (*pb.ShowIncidentResponse, error) {
	in, err := o.incident(ctx, r.GetIncident())
	return &pb.ShowIncidentResponse{Incident: in}, err
}

func (o *operators) ListHosts(ctx context.Context, r *pb.ListHostsRequest) (*pb.ListHostsResponse, error) {
	if r.GetPhase() != "" && !slices.Contains(phases, recovery.Phase(r.GetPhase())) {
		return nil, invalid(fmt.Sprintf("%q is no phase: use one of %v", name(r.GetPhase()), phases))
	}
	out := &pb.ListHostsResponse{}
	err := o.cfg.Coordinator.View(ctx, name(r.GetIncident()), func(v coordinator.View) {
		why := v.State.Why(v.Now)
		for _, h := range v.State.Hosts() {
			if (r.GetPhase() == "" || r.GetPhase() == string(h.Phase)) && (r.GetWave() == 0 || int(r.GetWave()) == h.Wave) {
				out.Hosts = append(out.Hosts, o.host(v.State, h, why[h.Host.Name]))
			}
		}
	})
	return out, err
}

func (o *operators) ShowHost(ctx context.Context, r *pb.ShowHostRequest) (*pb.ShowHostResponse, error) {
	out := &pb.ShowHostResponse{}
	var missing error
	err := o.cfg.Coordinator.View(ctx, name(r.GetIncident()), func(v coordinator.View) {
		h := v.State.Host(r.GetHost())
		if h == nil {
			missing = unknownHost(r.GetHost(), v.State.ID)
			return
		}
		out.Host = o.host(v.State, h, v.State.Why(v.Now)[h.Host.Name])
		for _, e := range v.Entries {
			if recovery.HostOf(e.Event) == h.Host.Name {
				out.Story = append(out.Story, entry(e))
			}
		}
	})
	if err == nil {
		err = missing
	}
	return out, err
}

// watchGap keeps a busy incident from flooding its watchers.
const watchGap = 250 * time.Millisecond

// Watch sends the status whenever something changed, and at least every few seconds, with the entries since the last message.
func (o *operators) Watch(r *pb.WatchRequest, stream grpc.ServerStreamingServer[pb.WatchResponse]) error {
	ctx := stream.Context()
	changed, end := o.cfg.Coordinator.Watch()
	defer end()
	after, id := r.GetAfterSeq(), name(r.GetIncident())
	for {
		out := &pb.WatchResponse{}
		err := o.cfg.Coordinator.View(ctx, id, func(v coordinator.View) {
			out.Incident = incident(v)
			if after < uint64(len(v.Entries)) {
				for _, e := range v.Entries[after:] {
					out.Entries = append(out.Entries, entry(e))
				}
			}
		})
		if err != nil {
			return err
		}
		id, after = out.GetIncident().GetId(), out.GetIncident().GetSeq()
		if err := stream.Send(out); err != nil || out.GetIncident().GetClosedAt() != nil {
			return err
		}
		if err := pause(ctx, o.cfg.Coordinator.Done(), nil, watchGap); err != nil {
			return err
		}
		if err := pause(ctx, o.cfg.Coordinator.Done(), changed, 5*time.Second); err != nil {
			return err
		}
	}
}

// pause waits for an event, but no longer than d.
func pause(ctx context.Context, done, event <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-event:
	case <-t.C:
	case <-done:
		return coordinator.ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (o *operators) Report(ctx context.Context, r *pb.ReportRequest) (*pb.ReportResponse, error) {
	var rep report.Report
	err := o.cfg.Coordinator.View(ctx, name(r.GetIncident()), func(v coordinator.View) { rep = report.Build(v.State, v.Entries, v.Now) })
	if err != nil {
		return nil, err
	}
	if r.GetFormat() == pb.ReportFormat_REPORT_FORMAT_JSON {
		return &pb.ReportResponse{Body: rep.JSON()}, nil
	}
	return &pb.ReportResponse{Body: rep.Markdown()}, nil
}

// do brings an input in and returns how the incident stands.
func (o *operators) do(ctx context.Context, id string, in recovery.Input) (*pb.Incident, error) {
	if err := o.cfg.Coordinator.Do(ctx, name(id), actor(ctx), in); err != nil {
		return nil, err
	}
	return o.incident(ctx, id)
}

func (o *operators) incident(ctx context.Context, id string) (*pb.Incident, error) {
	var out *pb.Incident
	err := o.cfg.Coordinator.View(ctx, name(id), func(v coordinator.View) { out = incident(v) })
	return out, err
}

// doHost brings an input in and returns how the host stands.
func (o *operators) doHost(ctx context.Context, id, host string, in recovery.Input) (*pb.Host, error) {
	if err := o.cfg.Coordinator.Do(ctx, name(id), actor(ctx), in); err != nil {
		return nil, err
	}
	r, err := o.ShowHost(ctx, &pb.ShowHostRequest{Incident: id, Host: host})
	return r.GetHost(), err
}

// host is how a host stands, with how far a restore of it has come.
func (o *operators) host(s *recovery.State, h *recovery.HostState, why recovery.Reason) *pb.Host {
	out := host(s, h, why)
	if n := len(h.Attempts); h.Phase == recovery.Attempting && n > 0 && h.Attempts[n-1].Method == recovery.MethodRestore {
		out.Progress = o.progressOf(s.ID, h.Attempts[n-1].ID)
	}
	return out
}

func unknownHost(host, id string) error {
	return &recovery.Error{Kind: recovery.KindNotFound, Message: "host " + name(host) + " is not in the fleet of incident " + id}
}

func invalid(message string) error {
	return &recovery.Error{Kind: recovery.KindInvalid, Message: message}
}

var phases = []recovery.Phase{recovery.Waiting, recovery.Attempting, recovery.Verifying, recovery.Recovered, recovery.NeedsHands, recovery.Skipped, recovery.NotHit}

// What people send is bounded too: it goes into the journal and into answers.
const (
	maxText   = 500 // bytes of a reason or note
	maxName   = 256 // bytes of a host, rung, digest or id
	maxPeriod = 31 * 24 * time.Hour
	maxLoss   = 100 * 365 * 24 * time.Hour // of data, in time
)

func text(s string) string { return recovery.Clean(s, maxText) }

func name(s string) string { return recovery.Clean(s, maxName) }

func period(what string, d *durationpb.Duration, most time.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, invalid("the time for " + what + " is no time: " + err.Error())
	}
	if t := d.AsDuration(); t < 0 || t > most {
		return 0, invalid(fmt.Sprintf("%s of %s: use 0 to %s", what, t, most))
	}
	return d.AsDuration(), nil
}

// moment reads a time; an unset one is zero.
func moment(what string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, invalid(what + " is no time: " + err.Error())
	}
	return t.AsTime(), nil
}
