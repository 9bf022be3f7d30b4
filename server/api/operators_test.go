package api

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func TestOperatorsBadInput(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	o := w.operator()
	_, early := o.ShowIncident(w.ctx, &pb.ShowIncidentRequest{})
	_, year := o.Declare(w.ctx, &pb.DeclareRequest{Began: &timestamppb.Timestamp{Seconds: -1 << 60}})
	_, future := o.Declare(w.ctx, &pb.DeclareRequest{Began: timestamppb.New(time.Now().Add(time.Hour))})
	_, book := o.Declare(w.ctx, &pb.DeclareRequest{Playbook: "no\x00ne"})
	w.declare()
	_, digest := o.Approve(w.ctx, &pb.ApproveRequest{Digest: "sha256:other"})
	_, wave := o.Approve(w.ctx, &pb.ApproveRequest{Wave: -4})
	_, phase := o.ListHosts(w.ctx, &pb.ListHostsRequest{Phase: "asleep"})
	_, claim := o.Claim(w.ctx, &pb.ClaimRequest{Host: "ns1", For: durationpb.New(1 << 62)})
	_, broken := o.Claim(w.ctx, &pb.ClaimRequest{Host: "ns1", For: &durationpb.Duration{Seconds: 1, Nanos: -1}})
	_, spent := o.HandsDone(w.ctx, &pb.HandsDoneRequest{Host: "ns1", Spent: durationpb.New(-time.Hour)})
	_, host := o.Skip(w.ctx, &pb.SkipRequest{Host: "nobody", Reason: "x"})
	_, reason := o.Skip(w.ctx, &pb.SkipRequest{Host: "ns1"})
	_, target := o.Override(w.ctx, &pb.OverrideRequest{Target: strings.Repeat("x", 100_000), Reason: "x"})
	_, debt := o.ClearDebt(w.ctx, &pb.ClearDebtRequest{Debt: "kept"})
	for what, c := range map[string]struct {
		err  error
		code codes.Code
		text string
	}{
		"no incident":        {early, codes.NotFound, "no incident has been declared"},
		"no time":            {year, codes.InvalidArgument, "is no time"},
		"the future":         {future, codes.InvalidArgument, "future"},
		"no playbook":        {book, codes.NotFound, "there is no playbook \"none\""},
		"another plan":       {digest, codes.FailedPrecondition, "read the plan"},
		"no wave":            {wave, codes.NotFound, "no wave"},
		"no phase":           {phase, codes.InvalidArgument, `"asleep" is no phase: use one of [waiting attempting`},
		"an endless claim":   {claim, codes.InvalidArgument, "use 0 to"},
		"a broken duration":  {broken, codes.InvalidArgument, "is no time"},
		"negative hand work": {spent, codes.InvalidArgument, "use 0 to"},
		"no host":            {host, codes.NotFound, "not in the fleet"},
		"no reason":          {reason, codes.InvalidArgument, "needs a reason"},
		"a long target":      {target, codes.InvalidArgument, "cannot be overridden"},
		"nobody's debt":      {debt, codes.NotFound, "no host has an open debt"},
	} {
		if status.Code(c.err) != c.code || !strings.Contains(status.Convert(c.err).Message(), c.text) || len(c.err.Error()) > 1000 {
			t.Errorf("%s: %.300v, want %v %q", what, c.err, c.code, c.text)
		}
	}
}

func TestWatchFollowsToTheEnd(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	o := w.operator()
	in := w.declare()
	stream, err := o.Watch(w.ctx, &pb.WatchRequest{AfterSeq: 1})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || len(first.GetEntries()) != 2 || first.GetEntries()[0].GetSeq() != 2 || first.GetIncident().GetId() != in.GetId() {
		t.Fatalf("%v, %v", first, err)
	}
	if _, err := o.Pause(w.ctx, &pb.PauseRequest{Reason: "tea\n\x1b[1m"}); err != nil {
		t.Fatal(err)
	}
	next, err := stream.Recv()
	if err != nil || len(next.GetEntries()) != 1 || next.GetEntries()[0].GetActor() != "operator:ada" || next.GetIncident().GetReason() != "tea" {
		t.Errorf("%v, %v", next, err)
	}
	if _, err := o.Abort(w.ctx, &pb.AbortRequest{}); err != nil {
		t.Fatal(err)
	}
	seq := next.GetIncident().GetSeq()
	for {
		u, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range u.GetEntries() {
			if seq++; e.GetSeq() != seq {
				t.Errorf("entry %d came where %d belongs", e.GetSeq(), seq)
			}
		}
	}
	out, err := o.ShowIncident(w.ctx, &pb.ShowIncidentRequest{})
	if err != nil || out.GetIncident().GetSeq() != seq || out.GetIncident().GetClosedAt() == nil {
		t.Errorf("the stream ended at %d: %v, %v", seq, out, err)
	}
	// Far behind the end, or of an incident that is over: one message and the end.
	late, err := o.Watch(w.ctx, &pb.WatchRequest{Incident: in.GetId(), AfterSeq: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	if u, err := late.Recv(); err != nil || len(u.GetEntries()) != 0 {
		t.Errorf("%v, %v", u, err)
	}
	if _, err := late.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("it goes on: %v", err)
	}
}

// A watcher is told when the coordinator stops, and does not keep it from stopping.
func TestWatchEndsWithTheCoordinator(t *testing.T) {
	w, stop := start(t, loopback)
	w.declare()
	stream, err := w.operator().Watch(t.Context(), &pb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("the watch goes on")
	}
}
