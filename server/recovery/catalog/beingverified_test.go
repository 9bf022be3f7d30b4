package catalog

import (
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// unchecked is an estate without policies, so that only what somebody orders is checked, and whose points are listed.
func unchecked(t *testing.T, change func(f *recovery.Fleet)) *world {
	t.Helper()
	f := estate()
	f.BackupPolicies = nil
	for i := range f.DataSets {
		f.DataSets[i].Policy = ""
	}
	if change != nil {
		change(&f)
	}
	w := newWorld(t, f)
	for _, d := range f.DataSets {
		at := w.at[d.Repository]
		at.listed = append(at.listed, daily(d.Name, d.Repository, 3)...)
	}
	w.until(noon.Add(time.Minute))
	return w
}

func level(l recovery.Level) *recovery.Level { return &l }

// A data set is being verified from the order to the last check that may find a point as far as its tier asks.
func TestBeingVerified(t *testing.T) {
	w := unchecked(t, nil)
	vault := w.at["vault"]
	step := func(after time.Duration, what string, want ...string) {
		t.Helper()
		w.until(w.now.Add(after))
		if len(want) == 0 {
			want = nil
		}
		w.want(what, w.c.BeingVerified(w.now), want)
	}
	step(0, "before anything is ordered")

	w.take(Verify{DataSets: []string{"files-a", "files-b"}})
	step(0, "one runs and one waits for its turn", "files-a", "files-b")
	step(61*time.Minute, "the first has passed", "files-b")
	step(time.Hour, "both have passed")

	vault.bad["files-a-03"], vault.bad["files-a-02"] = recovery.L2, recovery.L2
	w.take(Verify{DataSets: []string{"files-a"}})
	step(61*time.Minute, "the newest is bad, and the next older one follows", "files-a")
	step(time.Hour, "that is bad, too", "files-a")
	step(time.Hour, "the third has passed")

	w.take(Verify{DataSets: []string{"people-db"}, Level: level(recovery.L2)})
	step(0, "less than the tier asks")
	w.until(w.now.Add(2 * time.Hour))

	w.take(Verify{DataSets: []string{"people-db"}, Level: level(recovery.L4)})
	step(0, "more than the tier asks", "people-db")
	w.until(w.now.Add(2 * time.Hour))
	step(0, "and passed")
}

// Nobody waits for a check that cannot be made: three failures, with two short pauses, are the end.
func TestBeingVerifiedInVain(t *testing.T) {
	w := unchecked(t, nil)
	w.at["vault"].class, w.at["vault"].takes = recovery.Unreachable, time.Second
	w.take(Verify{DataSets: []string{"files-a"}})
	began := w.now
	for len(w.c.BeingVerified(w.now)) > 0 && w.now.Before(began.Add(time.Hour)) {
		w.until(w.now.Add(10 * time.Second))
	}
	if took := w.now.Sub(began); took < 3*time.Minute || took > 4*time.Minute || len(w.c.orders) != 1 || w.c.orders[0].fails != 3 {
		t.Errorf("after %s nobody waits any more; orders %+v", took, w.c.orders)
	}
	w.take(Verify{DataSets: []string{"files-a"}})
	w.want("ordered anew", w.c.BeingVerified(w.now), []string{"files-a"})

	w = unchecked(t, nil)
	w.at["vault"].class, w.at["vault"].takes = recovery.AuthRefused, time.Second
	w.take(Verify{DataSets: []string{"files-a"}})
	w.until(w.now.Add(2 * time.Second))
	w.want("refused, and tried again tomorrow", w.c.BeingVerified(w.now), []string(nil))
}

// One check at L1 reads a restic repository for all who ask no more, and its parts for nobody.
func TestBeingVerifiedTogether(t *testing.T) {
	stateless := func(f *recovery.Fleet) { f.Hosts[1].Data, f.Hosts[2].Data = recovery.DataNone, recovery.DataNone }
	w := unchecked(t, stateless)
	w.take(Verify{DataSets: []string{"files-b"}})
	w.want("a check of the whole", w.c.BeingVerified(w.now), []string{"files-a", "files-b"})

	w = unchecked(t, func(f *recovery.Fleet) {
		stateless(f)
		f.BackupPolicies = []recovery.BackupPolicy{{Name: "weekly", Every: day, Keep: 30 * day, Level: recovery.L1, Verify: 7 * day}}
		f.DataSets[0].Policy = "weekly"
	})
	for range 100 {
		if len(w.c.open) > 0 && w.c.open[0].Parts > 1 {
			break
		}
		w.until(w.now.Add(time.Minute))
	}
	if len(w.c.open) == 0 || w.c.open[0].Parts < 2 {
		t.Fatalf("no part is being read: %+v", w.c.open)
	}
	w.want("a check of a part", w.c.BeingVerified(w.now), []string(nil))

	w = unchecked(t, func(f *recovery.Fleet) { f.Hosts[2].Data = recovery.DataNone })
	w.take(Verify{DataSets: []string{"files-b"}})
	w.want("one of them asks for more", w.c.BeingVerified(w.now), []string{"files-b"})
}

// What is no check, or cannot be made in this fleet, verifies nothing.
func TestBeingVerifiedByNothing(t *testing.T) {
	w := unchecked(t, func(f *recovery.Fleet) {
		for i := range f.Tiers {
			f.Tiers[i].Asks = level(recovery.L0)
		}
	})
	w.take(Scan{})
	if len(w.c.open) == 0 {
		t.Fatal("nothing is being listed")
	}
	w.want("a listing", w.c.BeingVerified(w.now), []string(nil))

	w = unchecked(t, nil)
	w.take(Verify{DataSets: []string{"files-a", "people-db"}})
	f := w.fleet
	f.Repositories = f.Repositories[:1] // the vault is gone
	c := New(f)
	for _, e := range w.journal {
		c.Apply(e)
	}
	w.want("in a repository that the fleet has no more", c.BeingVerified(w.now), []string{"people-db"})
}
