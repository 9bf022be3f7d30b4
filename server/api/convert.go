package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// stamp leaves a zero time unset.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func incident(v coordinator.View) *pb.Incident {
	s := v.State
	out := &pb.Incident{
		Id: s.ID, Title: s.Title, Status: s.Status(), Reason: s.Reason, DeclaredAt: stamp(s.Declared), BeganAt: stamp(s.Began), ClosedAt: stamp(s.Closed),
		Playbook: s.Playbook.Name, PlaybookDigest: s.Playbook.Digest, PlanDigest: s.Plan.Digest, PlanApproved: s.Approved,
		Counts: &pb.Counts{}, OpenDebts: int32(s.OpenDebts()), Seq: s.Seq, Now: stamp(v.Now), Scope: map[string]int32{},
		WaveZero: s.WaveZero, Unverified: s.Unverified(),
	}
	for _, version := range s.Versions {
		out.PlaybookVersions = append(out.PlaybookVersions, &pb.PlaybookVersion{Digest: version.Playbook.Digest, Since: stamp(version.Since), By: version.By, Reason: version.Reason})
	}
	waves := make([]*pb.Wave, len(s.Waves))
	for i, verdict := range s.Verdicts(v.Now) {
		w := s.Waves[i]
		waves[i] = &pb.Wave{Wave: int32(w.N), Tier: w.Tier.Name, Title: w.Tier.Title, Status: w.Status(), Reason: verdict.Reason, Counts: &pb.Counts{},
			Size: int32(w.Size), Need: int32(w.Need), OpenedAt: stamp(w.OpenedAt), PassedAt: stamp(w.PassedAt)}
		if w.OpenedAt.IsZero() {
			waves[i].Size = int32(len(w.Hosts))
		}
	}
	for _, h := range s.Hosts() {
		out.Scope[string(h.Scope.Class)]++
		count(out.GetCounts(), h.Phase)
		if h.Wave > 0 {
			count(waves[h.Wave-1].GetCounts(), h.Phase)
		}
	}
	out.Waves = waves
	for _, st := range s.Services() {
		out.Services = append(out.Services, &pb.Service{Name: st.Service.Name, Title: st.Service.Title, Tier: st.Service.Tier, Council: st.Service.Council,
			Hosts: int32(st.Hosts), Up: int32(st.Up), IsUp: st.IsUp, UpAt: stamp(st.UpAt), RtoAt: stamp(st.RTOAt), Reason: st.Reason})
	}
	f := s.Forecast(v.Now)
	out.Forecast = &pb.Forecast{HostsPerHour: f.PerHour, Earliest: stamp(f.Earliest), Latest: stamp(f.Latest), Reason: f.Reason}
	return out
}

func count(c *pb.Counts, p recovery.Phase) {
	switch p {
	case recovery.Waiting:
		c.Waiting++
	case recovery.Attempting:
		c.Attempting++
	case recovery.Verifying:
		c.Verifying++
	case recovery.Recovered:
		c.Recovered++
	case recovery.NeedsHands:
		c.NeedsHands++
	case recovery.Skipped:
		c.Skipped++
	case recovery.NotHit:
		c.NotHit++
	}
}

func host(s *recovery.State, h *recovery.HostState, why recovery.Reason) *pb.Host {
	out := &pb.Host{
		Name: h.Host.Name, Service: h.Host.Service, Tier: h.Host.Tier, Council: h.Host.Council, Wave: int32(h.Wave), Phase: string(h.Phase),
		ReasonCode: why.Code, Reason: why.Text, Scope: string(h.Scope.Class), Evidence: h.Scope.Evidence, Owner: h.Owner,
		Relapses: int32(h.Relapses), RecoveredAt: stamp(h.RecoveredAt),
	}
	if out.GetReason() == "" {
		out.Reason = h.Reason
	}
	if h.Rung >= 0 && h.Rung < len(h.Host.Ladder) {
		out.Rung = h.Host.Ladder[h.Rung].Name
	}
	if v, ok := s.Seen(h.Host.Name); ok {
		out.Connected, out.LastSeen, out.BootId = v.Connected, stamp(v.At), v.BootID
	}
	for _, a := range h.Attempts {
		out.Attempts = append(out.Attempts, &pb.Attempt{Id: a.ID, Rung: a.RungName, PlaybookDigest: a.Playbook, StartedAt: stamp(a.Started), EndedAt: stamp(a.Ended),
			Class: string(a.Result.Class), Exit: int32(a.Result.Exit), Signature: a.Result.Signature, Detail: a.Result.Detail, Output: a.Result.Output, Joined: a.Result.Joined})
	}
	for _, r := range s.LadderOf(h) {
		out.Ladder = append(out.Ladder, &pb.Rung{Name: r.Name, Kind: r.Kind, Text: r.Text, Tries: int32(r.Tries)})
	}
	for _, d := range h.Debts {
		out.Debts = append(out.Debts, &pb.Debt{Id: d.ID, What: d.What, Since: stamp(d.Since), ClearedAt: stamp(d.Cleared), By: d.By, Note: d.Note, Accepted: d.Accepted})
	}
	out.Restore = offer(s, h)
	return out
}

// offer is what restoring a host would mean, or (without points) why it cannot be; nil where nobody thinks of it.
func offer(s *recovery.State, h *recovery.HostState) *pb.RestoreOffer {
	if h.Phase == recovery.Recovered || h.Phase == recovery.NotHit || h.Phase == recovery.Skipped {
		return nil
	}
	o, problem, ok := s.Offer(h)
	switch {
	case !ok:
		return nil
	case problem != "":
		return &pb.RestoreOffer{Reason: problem}
	}
	return &pb.RestoreOffer{Points: refs(o.Points()), Moment: stamp(o.Moment), Loss: durationpb.New(o.Loss), Estimate: lasting(o.Estimate), WantsApproval: o.Approval != "", Reason: o.Approval}
}

// refs names points as people do.
func refs(list []recovery.PointRef) []string {
	out := make([]string, 0, len(list))
	for _, r := range list {
		out = append(out, r.String())
	}
	return out
}

func plan(p recovery.Plan) *pb.PlanResponse {
	out := &pb.PlanResponse{Digest: p.Digest, PlaybookDigest: p.Playbook}
	for _, w := range p.Waves {
		out.Waves = append(out.Waves, &pb.PlannedWave{Wave: int32(w.Wave), Tier: w.Tier, Title: w.Title, Hosts: plannedHosts(w.Hosts)})
	}
	out.Excluded = plannedHosts(p.Excluded)
	return out
}

func plannedHosts(list []recovery.PlannedHost) []*pb.PlannedHost {
	out := make([]*pb.PlannedHost, 0, len(list))
	for _, h := range list {
		out = append(out, &pb.PlannedHost{Host: h.Host, Service: h.Service, Method: string(h.Method), Rung: h.RungName, Reason: h.Reason,
			Estimate: lasting(h.Estimate), Queue: lasting(h.Queue), Points: refs(h.Points), Loss: lasting(h.Loss), Approval: h.Approval, Otherwise: h.Otherwise})
	}
	return out
}

// lasting leaves a zero duration unset.
func lasting(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func entry(e recovery.Entry) *pb.Entry {
	return &pb.Entry{Seq: e.Seq, At: stamp(e.At), Actor: e.Actor, Kind: e.Event.Kind(), Host: recovery.HostOf(e.Event), Text: report.Sentence(e)}
}
