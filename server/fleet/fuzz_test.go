package fleet

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// FuzzParse wants, of any input, no panic, and either problems with places or a fleet that keeps its promises.
func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a, *a]\nb: *a"))
	f.Add([]byte("fleet: f\ntiers: [{name: t}]\nhosts: [{name: 'a[0-999999999]', tier: t, os: linux}]"))
	if estate, err := os.ReadFile("../../cmd/blackstart/estate-2024/fleet.yaml"); err == nil {
		f.Add(estate)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fleet, err := Parse("f.yaml", data)
		if err != nil {
			var list Errors
			if !errors.As(err, &list) || len(list) == 0 {
				t.Fatalf("%v is not a list of problems", err)
			}
			for _, e := range list {
				if e.Line < 1 || e.Column < 1 || e.Message == "" || e.Do == "" || strings.ContainsAny(e.Error(), "\n\x1b") {
					t.Fatalf("a poor problem: %+v", e)
				}
			}
			return
		}
		promises(t, fleet)
	})
}

// promises checks what the core relies on.
func promises(t *testing.T, f recovery.Fleet) {
	tiers, services, groups, resources := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, x := range f.Tiers {
		tiers[x.Name] = true
	}
	for _, x := range f.Services {
		services[x.Name] = true
	}
	for _, x := range f.Groups {
		groups[x.Name] = true
		if x.MaxAtOnce < 1 {
			t.Fatalf("group %+v", x)
		}
	}
	for _, x := range f.Resources {
		resources[x.Name] = true
		if x.Slots < 1 {
			t.Fatalf("resource %+v", x)
		}
	}
	if f.Name == "" || len(f.Hosts) == 0 || !resources[recovery.ResourceSSH] {
		t.Fatalf("fleet %q with %d hosts and resources %v", f.Name, len(f.Hosts), resources)
	}
	before := ""
	for _, h := range f.Hosts {
		if h.Name <= before || !tiers[h.Tier] || h.Service != "" && !services[h.Service] || h.Data == "" || h.OS == "" {
			t.Fatalf("host %+v after %s", h, before)
		}
		before = h.Name
		for _, g := range h.Groups {
			if !groups[g] {
				t.Fatalf("host %+v has an unknown group", h)
			}
		}
		for _, r := range h.Resources {
			if !resources[r] {
				t.Fatalf("host %+v has an unknown resource", h)
			}
		}
		for i, r := range h.Ladder {
			last := i == len(h.Ladder)-1
			if (r.Kind == recovery.RungHands) != last || !last && (r.Address == "" || r.User == "" || r.Port < 1 || r.Port > 65535 || r.Environment == "") {
				t.Fatalf("host %s has the rung %+v", h.Name, r)
			}
		}
	}
}
