package api

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/report"
)

func TestWorkCards(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	op := w.operator()
	all, err := op.WorkCards(w.ctx, &pb.WorkCardsRequest{})
	if err != nil || len(all.GetBody()) != 0 {
		t.Errorf("an empty board: %q, %v", all.GetBody(), err)
	}
	one, err := op.WorkCards(w.ctx, &pb.WorkCardsRequest{Hosts: []string{"ns2"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WORK CARD  ns2", "running (ssh, 10.0.0.2): not tried", "1. Look at the disk."} {
		if !strings.Contains(string(one.GetBody()), want) {
			t.Errorf("the card lacks %q:\n%s", want, one.GetBody())
		}
	}
	out, err := op.WorkCards(w.ctx, &pb.WorkCardsRequest{Hosts: []string{"ns2", "ns1"}, Format: pb.ReportFormat_REPORT_FORMAT_JSON})
	if err != nil {
		t.Fatal(err)
	}
	var cards []report.Card
	if err := json.Unmarshal(out.GetBody(), &cards); err != nil || len(cards) != 2 || cards[1].Host != "ns1" {
		t.Errorf("%+v, %v", cards, err)
	}
	if _, err := op.WorkCards(w.ctx, &pb.WorkCardsRequest{Hosts: []string{"nobody"}}); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown host: %v", err)
	}
	if _, err := op.WorkCards(w.ctx, &pb.WorkCardsRequest{Hosts: make([]string, maxCards+1)}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many hosts: %v", err)
	}
	h, err := op.ShowHost(w.ctx, &pb.ShowHostRequest{Host: "ns1"})
	if err != nil {
		t.Fatal(err)
	}
	if l := h.GetHost().GetLadder(); len(l) != 2 || l[0].GetText() != "not tried" || l[1].GetKind() != "hands" {
		t.Errorf("ladder %v", l)
	}
}
