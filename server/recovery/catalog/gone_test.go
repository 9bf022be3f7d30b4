package catalog

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// A year of daily points that are kept for a month: what is known does not grow for ever, what has expired lately is still known, and so is
// all that is still there, however old.
func TestWhatExpiredLongAgoIsForgotten(t *testing.T) {
	w := newWorld(t, estate())
	vault := w.at["vault"]
	vault.takes = time.Second
	old := daily("files-a", "vault", 1)[0]
	old.ID, old.TakenAt = "kept", noon.Add(-1000*day)
	most := 0
	for n := range 365 {
		all := append(daily("files-a", "vault", n+30), old)
		for i := range all[:n+29] {
			all[i].TakenAt = all[i].TakenAt.Add(time.Duration(n) * day)
		}
		vault.listed = all[n:]
		w.take(Scan{DataSets: []string{"files-a"}})
		w.until(w.now.Add(day))
		most = max(most, len(w.c.Points("files-a")))
	}
	if keep := int(keepGone / day); most < 30+keep || most > 33+keep {
		t.Errorf("up to %d points are known, of 31 that are kept and %d days of those that are gone", most, keep)
	}
	if p := w.find(recovery.PointRef{DataSet: "files-a", Repository: "vault", ID: "kept"}); p.Gone {
		t.Error("one that is kept for good is gone")
	}
	again, learnt := New(w.fleet), 0
	for _, e := range w.journal {
		again.Apply(e)
		if v, ok := e.Event.(*recovery.PointsLearnt); ok && slices.ContainsFunc(v.Points, func(p recovery.RestorePoint) bool { return p.ID == "kept" }) {
			learnt++
		}
	}
	if learnt != 1 {
		t.Errorf("one that is kept for good was learnt %d times", learnt)
	}
	if a, b := w.c.Points("files-a"), again.Points("files-a"); !reflect.DeepEqual(a, b) {
		t.Errorf("the story says otherwise: %d points, %d", len(a), len(b))
	}
}

// Holds on what is forgotten are forgotten too, but for those that an incident wants.
func TestHoldsOnWhatIsForgotten(t *testing.T) {
	w := newWorld(t, estate())
	vault := w.at["vault"]
	vault.listed = daily("files-a", "vault", 3)
	w.until(noon.Add(time.Hour))
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{ref("files-a", "vault", 1), ref("files-a", "vault", 2)}})
	w.until(noon.Add(2 * time.Hour))
	vault.refuses = true
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{ref("files-a", "vault", 2)}})
	w.until(noon.Add(3 * time.Hour))
	vault.listed = vault.listed[2:]
	w.until(noon.Add(day))
	w.want("holds on points that are gone", len(w.c.holds), 2)
	w.until(noon.Add(keepGone + 2*day))
	w.want("before anything new is listed", len(w.c.holds), 2)
	vault.listed = append(vault.listed, recovery.RestorePoint{PointRef: ref("files-a", "vault", 4), TakenAt: w.now})
	w.until(w.now.Add(day))
	w.want("holds", w.c.sortedHolds(), []holdKey{{"INC-1", ref("files-a", "vault", 2)}})
	if slices.ContainsFunc(w.c.Points("files-a"), func(p recovery.RestorePoint) bool { return p.Gone }) {
		t.Error("what is gone is still known")
	}
}

// A repository that is locked for hours, as by restores, is asked again every few minutes: what a restore has read may expire when it ends.
func TestAHoldDoesNotWaitLongForALock(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = daily("files-a", "vault", 1)
	w.until(noon.Add(3 * time.Hour))
	w.at["vault"].class = recovery.Unreachable
	w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{ref("files-a", "vault", 1)}})
	w.until(w.now.Add(5 * time.Hour))
	w.at["vault"].class = ""
	freed := w.now
	w.until(w.now.Add(time.Hour))
	for _, e := range w.journal {
		if _, ok := e.Event.(*recovery.HoldPlaced); ok {
			if late := e.At.Sub(freed); late > 5*time.Minute+time.Second {
				t.Errorf("it was placed %s after the lock was gone", late)
			}
			return
		}
	}
	t.Error("it was never placed")
}

// The version tells of every change of what is known of points, and of nothing else.
func TestVersion(t *testing.T) {
	w := newWorld(t, estate())
	w.at["vault"].listed = daily("files-a", "vault", 2)
	w.until(noon.Add(3 * time.Hour))
	told, shown := w.c.Version(), w.c.Points("files-a")
	if told == 0 {
		t.Error("nothing was listed")
	}
	step := func(what string, changes bool, do func()) {
		t.Helper()
		do()
		now, points := w.c.Version(), w.c.Points("files-a")
		if reflect.DeepEqual(points, shown) == changes {
			t.Fatalf("%s: the points are %+v", what, points)
		}
		if (now != told) != changes {
			t.Errorf("%s: version %d after %d", what, now, told)
		}
		told, shown = now, points
	}
	step("a listing without news", false, func() { w.take(Scan{DataSets: []string{"files-a"}}); w.until(w.now.Add(time.Minute)) })
	step("a hold", false, func() {
		w.take(Held{Incident: "INC-1", Points: []recovery.PointRef{ref("files-a", "vault", 2)}})
		w.until(w.now.Add(time.Minute))
	})
	step("a check", true, func() { w.take(Verify{DataSets: []string{"files-a"}}); w.until(w.now.Add(3 * time.Hour)) })
	step("a quarantine", true, func() {
		w.take(Judge{DataSet: "files-a", Word: WordQuarantine, By: "ann", Reason: "looks odd"})
	})
	step("a release", true, func() {
		w.now = w.now.Add(time.Second)
		w.take(Judge{DataSet: "files-a", Word: WordRelease, By: "ann", Reason: "it is not"})
	})
}
