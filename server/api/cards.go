package api

import (
	"context"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// WorkCards tells people what to do at the hosts named, or at all that are on the hands board.
func (o *operators) WorkCards(ctx context.Context, r *pb.WorkCardsRequest) (*pb.WorkCardsResponse, error) {
	if len(r.GetHosts()) > maxCards {
		return nil, invalid("too many hosts are named: name at most 1000, or none for the whole hands board")
	}
	id := name(r.GetIncident())
	var cards []report.Card
	var unknown string
	err := o.cfg.Coordinator.View(ctx, id, func(v coordinator.View) {
		steps := ""
		if book, ok := o.cfg.Playbooks.ByDigest(v.State.Playbook.Digest); ok {
			steps = book.Hands
		}
		if len(r.GetHosts()) == 0 {
			for _, h := range v.State.Hosts() {
				if h.Phase == recovery.NeedsHands {
					cards = append(cards, report.NewCard(v.State, h, steps, v.Now))
				}
			}
		}
		for _, host := range r.GetHosts() {
			h := v.State.Host(name(host))
			if h == nil {
				unknown, id = host, v.State.ID
				return
			}
			cards = append(cards, report.NewCard(v.State, h, steps, v.Now))
		}
	})
	switch {
	case err != nil:
		return nil, err
	case unknown != "":
		return nil, unknownHost(unknown, id)
	case r.GetFormat() == pb.ReportFormat_REPORT_FORMAT_JSON:
		return &pb.WorkCardsResponse{Body: report.CardsJSON(cards)}, nil
	}
	return &pb.WorkCardsResponse{Body: report.CardsText(cards)}, nil
}

const maxCards = 1000
