package server

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// ReachConfig says which ways in are tried, and how.
type ReachConfig struct {
	SSH    remedy.Config
	Hosts  []recovery.Host
	Rung   string          // only rungs of this name; empty: all
	AtOnce int             // ways tried at once, which is what open files allow; 0: no bound
	Tested func(hosts int) // told of progress: how many hosts are done; may be nil

	RescueImage string // the folder of the rescue image; empty: it was not named
	BootURL     string // how hosts are to reach the coordinator; empty: it was not named
}

// Verdicts on a host.
const (
	Repairable = "repairable" // at least one rung has all that a repair needs
	OnlyHands  = "hands"      // no rung that was tried has
)

// HostReach is one host's ladder as it was found. Programs read it as JSON.
type HostReach struct {
	Host    string      `json:"host"`
	Tier    string      `json:"tier"`
	Service string      `json:"service"`
	Verdict string      `json:"verdict"`
	Rung    string      `json:"rung,omitempty"` // Repairable: the first that works, which a repair may take
	Why     string      `json:"why"`
	Rungs   []RungReach `json:"rungs"` // the ladder's order
}

// RungReach is one rung of it. One that was not tried says why and no more.
type RungReach struct {
	Rung        string `json:"rung"`
	Kind        string `json:"kind"`
	Environment string `json:"environment,omitempty"`
	Address     string `json:"address,omitempty"`
	NotTested   string `json:"not_tested,omitempty"`
	remedy.Reached
	Outside *OutsideReach `json:"outside,omitempty"` // of rungs that go in from outside
}

// Reach tries every rung of the hosts' ladders at once and changes nothing on any host. All that answer nothing cost one
// dial timeout together, unless AtOnce, or what a jump host may carry, makes them queue. When ctx ends it returns soon with
// the context's error; other errors are those of the SSH configuration.
func Reach(ctx context.Context, cfg ReachConfig) ([]HostReach, error) {
	ssh, err := remedy.New(cfg.SSH)
	if err != nil {
		return nil, err
	}
	defer ssh.Close()
	outside := newOutside(cfg, ssh)
	places := make(chan struct{}, cfg.places())
	found := make([]HostReach, len(cfg.Hosts))
	var mu sync.Mutex
	done := 0
	var all sync.WaitGroup
	for i, h := range cfg.Hosts {
		found[i] = HostReach{Host: h.Name, Tier: h.Tier, Service: h.Service, Rungs: make([]RungReach, len(h.Ladder))}
		all.Go(func() {
			var rungs sync.WaitGroup
			for n, rung := range h.Ladder {
				to := &found[i].Rungs[n]
				*to = RungReach{Rung: rung.Name, Kind: rung.Kind, Environment: rung.Environment, Address: rung.Address, NotTested: cfg.leaveOut(rung)}
				if to.NotTested != "" {
					continue
				}
				rungs.Go(func() {
					select {
					case places <- struct{}{}:
						defer func() { <-places }()
					case <-ctx.Done():
					}
					switch rung.Kind {
					case recovery.RungRescue:
						to.Reached, to.Outside = outside.rescue(ctx, h, rung)
					case recovery.RungHelper:
						to.Reached, to.Outside = outside.helper(ctx, h, rung)
					default:
						to.Reached = ssh.Reach(ctx, h, rung)
					}
				})
			}
			rungs.Wait()
			found[i].judge(cfg.Rung)
			if cfg.Tested != nil {
				mu.Lock()
				defer mu.Unlock()
				done++
				cfg.Tested(done)
			}
		})
	}
	all.Wait()
	return found, ctx.Err()
}

// places is how many ways may be tried at once.
func (cfg ReachConfig) places() int {
	rungs := 1
	for _, h := range cfg.Hosts {
		rungs += len(h.Ladder)
	}
	if cfg.AtOnce > 0 {
		return min(rungs, cfg.AtOnce)
	}
	return rungs
}

// leaveOut says why a rung is not tried, or nothing.
func (cfg ReachConfig) leaveOut(rung recovery.Rung) string {
	switch {
	case rung.Kind == recovery.RungHands:
		return "a person climbs it"
	case cfg.Rung != "" && rung.Name != cfg.Rung:
		return "only rung " + cfg.Rung + " was asked for"
	case !slices.Contains([]string{recovery.RungSSH, recovery.RungRace, recovery.RungRescue, recovery.RungHelper}, rung.Kind):
		return fmt.Sprintf("reach knows no rungs of kind %s", rung.Kind)
	}
	return ""
}

// judge says how the host can be repaired, or why only by a person; only is the one rung that was asked for, if any.
func (h *HostReach) judge(only string) {
	var best *RungReach
	for i := range h.Rungs {
		r := &h.Rungs[i]
		switch {
		case r.NotTested != "":
			continue
		case r.Class == recovery.Succeeded:
			h.Verdict, h.Rung, h.Why = Repairable, r.Rung, "can be repaired by rung "+r.Rung
			return
		case best == nil || r.Step.After(best.Step):
			best = r
		}
	}
	h.Verdict = OnlyHands
	switch {
	case best != nil:
		h.Why = fmt.Sprintf("only by hand: rung %s: %s", best.Rung, best.Detail)
	case only != "":
		h.Why = "not by rung " + only + ", which its ladder does not have"
	default:
		h.Why = "only by hand: its ladder has no rung that reach tests"
	}
}
