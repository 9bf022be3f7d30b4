package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// responder is the simulated person at the laptop, with people who walk to servers. They use the same calls as everybody.
type responder struct {
	*story
	world  *world
	teller *teller

	mu     sync.Mutex
	agents map[string]bool // hosts with an agent
	walked map[string]bool // hosts that somebody is on the way to
	visits map[string]int  // how often somebody was there
	walks  sync.WaitGroup
}

const (
	listening   = 5 * time.Minute // the responder waits for agents to phone home before declaring
	drillLimit  = 48 * time.Hour  // of the story: a drill that takes longer has hung
	mostVisits  = 3               // of people to one host, before it is skipped
	mostResumes = 20              // holds that the responder accepts before giving up
)

// recover steers the incident from its declaration to its close and returns why it ended.
func (r *responder) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.world.clock.Real(drillLimit))
	defer cancel()
	defer r.walks.Wait()
	r.walked, r.visits, r.agents = map[string]bool{}, map[string]int{}, map[string]bool{}
	for _, h := range r.fleet.Hosts {
		r.agents[h.Name] = h.Agent
	}
	if err := r.listen(ctx); err != nil {
		return err
	}
	title := r.scenario.Title
	out, err := r.world.client.Declare(ctx, &pb.DeclareRequest{Title: title, Playbook: r.playbook, Began: timestamppb.New(r.scenario.Clock)})
	if err != nil {
		return err
	}
	r.teller.declared(out.GetIncident())
	if _, err := r.world.client.Approve(ctx, &pb.ApproveRequest{Digest: out.GetIncident().GetPlanDigest()}); err != nil {
		return err
	}
	return r.steer(ctx)
}

// listen waits for a while, and until every agent that can speak has been heard: what is declared earlier takes a healthy
// server for a silent one.
func (r *responder) listen(ctx context.Context) error {
	if err := r.world.wait(ctx, listening); err != nil {
		return err
	}
	for {
		out, err := r.world.client.ListAgents(ctx, &pb.ListAgentsRequest{})
		if err != nil {
			return err
		}
		heard := map[string]bool{}
		for _, a := range out.GetAgents() {
			heard[a.GetHost()] = a.GetConnected() && a.GetGood()+a.GetBad() > 0
		}
		missing := slices.ContainsFunc(r.world.lab.Truth(), func(m lab.Truth) bool { return m.Up && !m.Hit && !heard[m.Host] && r.agents[m.Host] })
		if !missing {
			return nil
		}
		if err := r.world.wait(ctx, time.Minute); err != nil {
			return err
		}
	}
}

// steer follows the incident and does what a responder would do.
func (r *responder) steer(ctx context.Context) error {
	stream, err := r.world.client.Watch(ctx, &pb.WatchRequest{})
	if err != nil {
		return err
	}
	people := make(chan struct{}, r.people)
	resumes := 0
	for {
		u, err := stream.Recv()
		if err != nil {
			return err
		}
		r.teller.update(u)
		in := u.GetIncident()
		if in.GetClosedAt() != nil {
			return nil
		}
		if held(in) {
			if resumes++; resumes > mostResumes {
				return errors.New("the incident was held too often")
			}
			if err := r.resume(ctx, in); err != nil {
				return err
			}
		}
		if err := r.openWaves(ctx, in); err != nil {
			return err
		}
		if err := r.sendPeople(ctx, in, people); err != nil {
			return err
		}
		if in.GetStatus() == "settled" && in.GetCounts().GetNeedsHands() == 0 {
			if err := r.close(ctx); err != nil {
				return err
			}
		}
	}
}

func held(in *pb.Incident) bool {
	return in.GetStatus() == "paused" || slices.ContainsFunc(in.GetWaves(), func(w *pb.Wave) bool {
		return w.GetStatus() == "held" && w.GetCounts().GetNeedsHands() < w.GetSize()-w.GetCounts().GetRecovered()
	})
}

func (r *responder) resume(ctx context.Context, in *pb.Incident) error {
	reason := "drill: the responder has looked at the failures and accepts them"
	_, err := r.world.client.Resume(ctx, &pb.ResumeRequest{Incident: in.GetId(), Reason: reason})
	return ignoreRefused(err)
}

// openWaves approves the opening of waves that wait for a person.
func (r *responder) openWaves(ctx context.Context, in *pb.Incident) error {
	for i, w := range in.GetWaves() {
		if i == 0 || w.GetStatus() != "closed" || in.GetWaves()[i-1].GetStatus() != "passed" || !r.fleet.Tiers[i-1].Gate.Approval {
			continue
		}
		_, err := r.world.client.Approve(ctx, &pb.ApproveRequest{Incident: in.GetId(), Wave: w.GetWave()})
		if err := ignoreRefused(err); err != nil {
			return err
		}
	}
	return nil
}

// sendPeople sends somebody to every host on the hands board that nobody is on the way to.
func (r *responder) sendPeople(ctx context.Context, in *pb.Incident, people chan struct{}) error {
	if in.GetCounts().GetNeedsHands() == 0 {
		return nil
	}
	out, err := r.world.client.ListHosts(ctx, &pb.ListHostsRequest{Incident: in.GetId(), Phase: "needs-hands"})
	if err != nil {
		return err
	}
	for _, h := range out.GetHosts() {
		r.mu.Lock()
		busy := r.walked[h.GetName()]
		r.walked[h.GetName()] = true
		if !busy {
			r.visits[h.GetName()]++
		}
		visits := r.visits[h.GetName()]
		r.mu.Unlock()
		if busy {
			continue
		}
		if visits > mostVisits {
			reason := fmt.Sprintf("drill: somebody was there %d times and it still gives no proof", mostVisits)
			_, err := r.world.client.Skip(ctx, &pb.SkipRequest{Incident: in.GetId(), Host: h.GetName(), Reason: reason})
			if err := ignoreRefused(err); err != nil {
				return err
			}
			continue
		}
		r.walks.Go(func() {
			defer func() {
				r.mu.Lock()
				delete(r.walked, h.GetName())
				r.mu.Unlock()
			}()
			select {
			case people <- struct{}{}:
				defer func() { <-people }()
			case <-ctx.Done():
				return
			}
			if err := r.walk(ctx, in.GetId(), h); err != nil && ctx.Err() == nil {
				r.teller.note("nobody could help %s: %v", h.GetName(), err)
			}
		})
	}
	return nil
}

// walk is one person at one server: claim it, go there, mend it, say so.
func (r *responder) walk(ctx context.Context, id string, h *pb.Host) error {
	spent := walkTime(r.seed, h.GetName())
	if _, err := r.world.client.Claim(ctx, &pb.ClaimRequest{Incident: id, Host: h.GetName(), For: durationpb.New(2 * spent)}); err != nil {
		return ignoreRefused(err)
	}
	if err := r.world.wait(ctx, spent); err != nil {
		return err
	}
	if err := r.world.lab.Hands(h.GetName()); err != nil {
		return err
	}
	_, err := r.world.client.HandsDone(ctx, &pb.HandsDoneRequest{Incident: id, Host: h.GetName(), Spent: durationpb.New(spent), Note: "bad file removed at the console"})
	if err = ignoreRefused(err); err == nil {
		r.teller.walked(h, spent)
	}
	return err
}

// walkTime is 8 to 25 minutes, by the seed.
func walkTime(seed uint64, host string) time.Duration {
	mix := seed
	for _, b := range []byte(host) {
		mix = mix*1099511628211 + uint64(b)
	}
	return time.Duration(8+rand.New(rand.NewPCG(seed, mix)).IntN(18)) * time.Minute //nolint:gosec // a drill's dice
}

// close settles the debts that the repairs have left and closes the incident.
func (r *responder) close(ctx context.Context) error {
	out, err := r.world.client.ListHosts(ctx, &pb.ListHostsRequest{})
	if err != nil {
		return err
	}
	cleared := map[string]int{}
	for _, h := range out.GetHosts() {
		for _, d := range h.GetDebts() {
			if d.GetClearedAt() == nil {
				cleared[d.GetId()]++
			}
		}
	}
	for _, debt := range sortedKeys(cleared) {
		if _, err := r.world.client.ClearDebt(ctx, &pb.ClearDebtRequest{Debt: debt, Note: "drill: said to be settled; nothing was done"}); err != nil {
			return err
		}
	}
	r.teller.debts(cleared)
	_, err = r.world.client.Close(ctx, &pb.CloseRequest{Reason: "drill: every host is accounted for"})
	return ignoreRefused(err)
}

// ignoreRefused drops refusals: between looking and acting the incident may have moved on.
func ignoreRefused(err error) error {
	if err == nil {
		return nil
	}
	if _, exit := explain(err); exit == exitRefused {
		return nil
	}
	return fmt.Errorf("the responder cannot go on: %w", err)
}
