package fleet

import (
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestEstate2024 holds the drill's estate to the figures that its story rests on.
func TestEstate2024(t *testing.T) {
	f, err := Load("../../cmd/blackstart/estate-2024/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Hosts) != 934 {
		t.Errorf("%d hosts, want 934", len(f.Hosts))
	}
	for i, want := range []int{74, 410, 450} {
		if got := Counts(f)[i]; got.Hosts != want || got.Critical == 0 && i < 2 {
			t.Errorf("wave %d has %d hosts (%d critical), want %d", i+1, got.Hosts, got.Critical, want)
		}
	}
	used := map[string]bool{}
	for _, h := range f.Hosts {
		used[h.Service] = true
		if len(h.Ladder) != 2 || h.Ladder[0].Environment != recovery.EnvRescueLinux || !h.Ladder[0].Reboots || h.Ladder[1].Kind != recovery.RungHands {
			t.Errorf("%s has the ladder %+v", h.Name, h.Ladder)
		}
		if h.EDR != (recovery.EDR{Product: "crowdstrike-falcon", Version: "7.11"}) || !h.Agent || h.Site == "" || h.Council == "" {
			t.Errorf("%s is %+v", h.Name, h)
		}
	}
	for _, s := range f.Services {
		if !used[s.Name] {
			t.Errorf("service %s has no hosts", s.Name)
		}
	}
	for _, tier := range f.Tiers {
		if tier.Gate.MaxFailed.Count <= 3 {
			t.Errorf("the gate of %s would be held by 3 %% of its hosts needing hands", tier.Name)
		}
	}
}
