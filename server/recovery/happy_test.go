package recovery

import (
	"slices"
	"testing"
)

func (x *sim) dump() {
	why := x.s.Why(x.now)
	x.tb.Logf("at %s: %s, paused %q", x.now.Sub(t0), x.s.Status(), x.s.Reason)
	for _, w := range x.s.Waves {
		x.tb.Logf("wave %d %s size %d need %d: %s", w.N, w.Status(), w.Size, w.Need, w.Reason)
	}
	for _, h := range x.s.order {
		x.tb.Logf("%-8s wave %d %-11s %s | %s | %+v", h.Host.Name, h.Wave, h.Phase, h.Reason, why[h.Host.Name].Text, *x.far[h.Host.Name])
	}
}

func (x *sim) phases() map[Phase]int {
	n := map[Phase]int{}
	for _, h := range x.s.order {
		n[h.Phase]++
	}
	return n
}

func (x *sim) all(p Phase) func() bool {
	return func() bool { return x.phases()[p] == len(x.s.order) }
}

// last returns the newest event of a type.
func last[E Event](x *sim) E {
	for i := len(x.entries) - 1; i >= 0; i-- {
		if e, ok := x.entries[i].Event.(E); ok {
			return e
		}
	}
	var none E
	return none
}

func count[E Event](x *sim) int {
	n := 0
	for _, e := range x.entries {
		if _, ok := e.Event.(E); ok {
			n++
		}
	}
	return n
}

func (x *sim) attempting() []string {
	var names []string
	for _, h := range x.s.order {
		if h.Phase == Attempting {
			names = append(names, h.Host.Name)
		}
	}
	slices.Sort(names)
	return names
}

func TestHappyPath(t *testing.T) {
	f := testFleet(36)
	x := newSim(t, f, testPlaybook()).start(f, testPlaybook())
	x.run("all recovered", x.all(Recovered))
	if x.s.Status() != "settled" {
		t.Errorf("status %s", x.s.Status())
	}
	for _, w := range x.s.Waves {
		x.run("wave passed", func() bool { return !w.PassedAt.IsZero() })
	}
	x.refuses(Close{}, KindRefused) // debts
	for _, h := range x.s.Hosts() {
		x.must(ClearDebt{Host: h.Host.Name, Debt: "agent-disabled", By: "ann"})
	}
	x.must(Close{})
	if x.s.Outcome != OutcomeClosed || x.s.Status() != OutcomeClosed {
		t.Errorf("outcome %q", x.s.Outcome)
	}
	x.crash()
}
