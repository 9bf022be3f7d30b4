package sim

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// play plays a seed and returns all that was told of it.
func play(seed uint64, o Options) (string, Tally, *Breach) {
	var b strings.Builder
	o.Trace = func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	t, breach := Play(seed, o)
	return b.String(), t, breach
}

// A seed is worth something only when it plays the same incident every time.
func TestTheSameSeedPlaysTheSameIncident(t *testing.T) {
	t.Parallel()
	for _, o := range []struct {
		hosts int
		seeds uint64
	}{{0, 20}, {150, 1}} {
		for seed := range o.seeds {
			first, tally, _ := play(seed, Options{Hosts: o.hosts})
			again, tally2, _ := play(seed, Options{Hosts: o.hosts})
			if first != again || !reflect.DeepEqual(tally, tally2) {
				t.Fatalf("seed %d with %d hosts tells two stories: %+v and %+v", seed, o.hosts, tally, tally2)
			}
		}
	}
}

// Some seeds, as make sim plays many.
func TestPromisesAreKept(t *testing.T) {
	t.Parallel()
	sum, found := Run(t.Context(), 1, 80, 1, Options{}, func(Tally) {})
	for _, b := range found {
		t.Errorf("%v\nreplay: go run ./cmd/blackstart-sim --seed %d --count 1 -v", b, b.Seed)
	}
	for what, n := range map[string]int{"kills": sum.Kills, "restores": sum.Restores, "leaps": sum.Leaps, "executions": sum.Executions, "ghosts": sum.Ghosts,
		"partitions": sum.Partitions, "acts": sum.Acts, "restorings": sum.Restorings, "swaps": sum.Swaps, "refusals": sum.Refusals, "revisions": sum.Revisions} {
		if n < 10 {
			t.Errorf("in %d incidents there were only %d %s", sum.Incidents, n, what)
		}
	}
}

// Every promise has a name of its own, a sentence and a source.
func TestPromisesAreNamed(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, p := range Promises() {
		if names[p.Name] || p.Name == "" || p.Promise == "" || p.Source == "" {
			t.Errorf("%+v", p)
		}
		names[p.Name] = true
	}
}
