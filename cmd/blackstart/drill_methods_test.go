package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// compareSmall plays the small estate in the three ways and returns what -o json prints, with the exit code.
func compareSmall(t *testing.T, args ...string) (comparison, int) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs(append([]string{"drill", "--methods", "-o", "json", "--fleet", "testdata/drill/methods-fleet.yaml",
		"--scenario", "testdata/drill/methods-scenario.yaml", "--speed", "2000"}, args...))
	err := root.ExecuteContext(t.Context())
	code := exitDone
	var o *outcome
	switch {
	case errors.As(err, &o):
		code = o.exit
	case err != nil:
		t.Fatal(err)
	}
	var c comparison
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return c, code
}

// Each way brings every host back by its own methods, and what the comparison says follows from its numbers. Which way is
// sooner is for the whole estate: here the real time of a report weighs as much as a boot.
func TestDrillOfMethods(t *testing.T) {
	keep := filepath.Join(t.TempDir(), "kept")
	c, code := compareSmall(t, "--keep", keep)
	if len(c.Ways) != 3 {
		t.Fatalf("%d ways", len(c.Ways))
	}
	mix, repair, restore := c.Ways[0], c.Ways[1], c.Ways[2]
	for _, a := range c.Ways {
		if a.Hit != 20 || a.Stateless != 7 || a.NotBack != 0 || a.Repaired+a.Restored+a.ByHand != 20 || a.Slots != 2 {
			t.Errorf("%s: %+v", a.Way, *a)
		}
		if a.Last <= 0 || a.LastStateless > a.Last || a.SlotsBusy < 0 || a.SlotsBusy > 1 {
			t.Errorf("%s: last stateless host after %s, last host after %s, slots busy %.2f", a.Way, a.LastStateless, a.Last, a.SlotsBusy)
		}
		if _, err := os.Stat(filepath.Join(keep, string(a.Way), "data", "journal.db")); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	if mix.Way != wayMix || mix.Restored == 0 || mix.Restored > 7 {
		t.Errorf("the mix restored %d of 7", mix.Restored)
	}
	if repair.Way != wayRepair || repair.Restored != 0 || repair.SlotsBusy != 0 {
		t.Errorf("to repair all restored %d", repair.Restored)
	}
	if restore.Way != wayRestore || restore.Restored != 7 || restore.Repaired != 13 {
		t.Errorf("to restore all stateless ones restored %d and repaired %d", restore.Restored, restore.Repaired)
	}
	sooner := mix.Last <= repair.Last && mix.Last <= restore.Last
	if c.Sooner != sooner || (code == exitDone) != sooner || !sooner && code != exitHeld {
		t.Errorf("mix %s, repair %s, restore %s: sooner %v, exit %d", mix.Last, repair.Last, restore.Last, c.Sooner, code)
	}
	old, err := filepath.Glob(filepath.Join(keep, string(wayRestore), "lab", "disks", "web*.blackstart-old-*"))
	if err != nil || len(old) != 7 {
		t.Errorf("%d old disks are kept beside the restored ones, want 7", len(old))
	}
}

// The mix is sooner when its last host is back no later than with either way alone, and none is left behind.
func TestComparisonIsJudgedByTheLastHost(t *testing.T) {
	one := func(w way, last time.Duration, notBack int) *wayAccount {
		return &wayAccount{Way: w, Last: last, LastStateless: last / 2, NotBack: notBack}
	}
	for name, c := range map[string]struct {
		mix, repair, restore *wayAccount
		better               way
		ratio                float64
		sooner               bool
	}{
		"sooner than both":        {one(wayMix, 75, 0), one(wayRepair, 100, 0), one(wayRestore, 120, 0), wayRepair, 0.75, true},
		"as soon as one":          {one(wayMix, 100, 0), one(wayRepair, 120, 0), one(wayRestore, 100, 0), wayRestore, 1, true},
		"later than one":          {one(wayMix, 110, 0), one(wayRepair, 100, 0), one(wayRestore, 120, 0), wayRepair, 1.1, false},
		"leaves a host behind":    {one(wayMix, 50, 1), one(wayRepair, 100, 0), one(wayRestore, 120, 0), wayRepair, 0.5, false},
		"another leaves one":      {one(wayMix, 90, 0), one(wayRepair, 100, 0), one(wayRestore, 60, 2), wayRepair, 0.9, true},
		"all leave the same host": {one(wayMix, 90, 1), one(wayRepair, 100, 1), one(wayRestore, 120, 1), wayRepair, 0.9, true},
	} {
		all := comparison{Ways: []*wayAccount{c.mix, c.repair, c.restore}}
		all.judge()
		if all.Better != c.better || all.Sooner != c.sooner || all.Ratio != c.ratio {
			t.Errorf("%s: better %s, ratio %v, sooner %v", name, all.Better, all.Ratio, all.Sooner)
		}
		if exits := all.exit() == nil; exits != c.sooner {
			t.Errorf("%s: %v", name, all.exit())
		}
	}
}

// A way is measured by what its journal says: the last recovery of each host, and by what it came.
func TestWayIsMeasuredByItsJournal(t *testing.T) {
	s := smallStory(t)
	s.way = wayMix
	start := time.Date(2024, 7, 19, 5, 35, 0, 0, time.UTC)
	f := &finish{story: s, by: map[string]recovery.Method{}, back: map[string]time.Time{}, restoring: map[string]time.Time{}, planned: map[string]bool{}}
	at := func(minute int, e recovery.Event) {
		f.take(recovery.Entry{At: start.Add(time.Duration(minute) * time.Minute), Event: e})
	}
	attempt := func(id, host string, m recovery.Method) *recovery.AttemptStarted {
		return &recovery.AttemptStarted{Attempt: recovery.Attempt{ID: id, Host: host, Method: m}}
	}
	at(0, &recovery.IncidentDeclared{})
	at(0, &recovery.PlanProposed{Plan: recovery.Plan{Waves: []recovery.PlannedWave{{Hosts: []recovery.PlannedHost{
		{Host: "files01"}, {Host: "files02"}, {Host: "files03"}, {Host: "web1"}, {Host: "web2"}}}}}})
	at(0, attempt("web1/1", "web1", recovery.MethodRestore))
	at(1, attempt("files01/1", "files01", ""))
	at(2, attempt("web2/1", "web2", recovery.MethodRestore))
	at(8, &recovery.AttemptEnded{Attempt: "web1/1", Host: "web1"})
	at(10, &recovery.AttemptEnded{Attempt: "web2/1", Host: "web2"})
	at(15, &recovery.HostRecovered{Host: "files03"})
	at(16, &recovery.HostRelapsed{Host: "files03"})
	at(20, &recovery.HostRecovered{Host: "files01"})
	at(20, &recovery.HostRecovered{Host: "web1"})
	at(21, &recovery.HostRecovered{Host: "web2"})
	at(30, &recovery.HostRelapsed{Host: "web2"})
	at(31, attempt("web2/2", "web2", ""))
	at(35, &recovery.HostRecovered{Host: "web2"})
	at(38, &recovery.HandsFinished{Host: "files02"})
	at(40, &recovery.HostRecovered{Host: "files02"})
	var a wayAccount
	f.tell(&a)
	want := wayAccount{Stateless: 2, LastStateless: 35 * time.Minute, Last: 40 * time.Minute, Repaired: 2, Restored: 1, ByHand: 1, NotBack: 1, Slots: 2, SlotsBusy: 16.0 / 80}
	if a != want {
		t.Errorf("%+v, want %+v", a, want)
	}
}

func smallStory(t *testing.T) *story {
	t.Helper()
	d := &drillOptions{fleetFile: "testdata/drill/methods-fleet.yaml", scenarioFile: "testdata/drill/methods-scenario.yaml", speed: 600, people: 1, methods: true}
	s, err := d.read()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The machines and their troubles are the same in every way; only the rungs of stateless hosts differ, and no program or path of the
// fleet file reaches this computer.
func TestWaysDifferInRungsAlone(t *testing.T) {
	ladders := map[way]map[string]string{
		wayMix:     {"web1": "rescue image hands", "files01": "rescue hands"},
		wayRepair:  {"web1": "rescue hands", "files01": "rescue hands"},
		wayRestore: {"web1": "image hands", "files01": "rescue hands"},
	}
	var machines []lab.Truth
	for _, way := range ways {
		w, err := smallStory(t).in(way).build(&options{logLevel: "error"})
		if err != nil {
			t.Fatal(err)
		}
		f := w.server.Fleet
		for _, h := range f.Hosts {
			var rungs []string
			for _, r := range h.Ladder {
				rungs = append(rungs, r.Name)
			}
			if want, ok := ladders[way][h.Name]; ok && strings.Join(rungs, " ") != want {
				t.Errorf("%s: the ladder of %s is %q, want %q", way, h.Name, rungs, want)
			}
		}
		if len(f.DataSets) != 7 {
			t.Errorf("%s: %d data sets, want those of the 7 stateless hosts", way, len(f.DataSets))
		}
		for _, d := range f.DataSets {
			if !strings.HasPrefix(d.Target, w.dir) || !strings.HasPrefix(d.Stop[0], w.dir) || !strings.HasPrefix(d.Start[0], w.dir) {
				t.Errorf("%s: %s goes to %s with %q and %q", way, d.Name, d.Target, d.Stop, d.Start)
			}
		}
		if truth := w.lab.Truth(); machines == nil {
			machines = truth
		} else {
			for i := range truth {
				if truth[i] != machines[i] {
					t.Errorf("%s: %+v, and before %+v", way, truth[i], machines[i])
				}
			}
		}
		w.close()
	}
}
