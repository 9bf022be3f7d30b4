package api

import (
	"context"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ListAgents calls the roll: every host of the fleet file, heard of or not.
func (o *operators) ListAgents(ctx context.Context, _ *pb.ListAgentsRequest) (*pb.ListAgentsResponse, error) {
	roll, err := o.cfg.Coordinator.Roll(ctx)
	if err != nil {
		return nil, err
	}
	out := &pb.ListAgentsResponse{Agents: make([]*pb.Agent, 0, len(roll))}
	for _, v := range roll {
		out.Agents = append(out.Agents, rollCall(v))
	}
	return out, nil
}

func rollCall(v recovery.Sighting) *pb.Agent {
	a := &pb.Agent{Host: v.Host, Connected: v.Connected && v.Source == "agent", LastSeen: stamp(v.At), BootId: v.BootID, BootMode: v.BootMode, Boots: int32(v.Boots), //nolint:gosec // a count
		AgentVersion: v.AgentVersion, EdrVersion: v.EDRVersion}
	for _, c := range v.Content {
		// Playbooks may probe for the same files, so the most that one of them found counts.
		a.Bad = max(a.Bad, int32(c.Bad))    //nolint:gosec // bounded by the wire
		a.Good = max(a.Good, int32(c.Good)) //nolint:gosec // bounded by the wire
	}
	for _, c := range v.Health {
		if !c.OK {
			a.Unwell = c.Name
			break
		}
	}
	return a
}
