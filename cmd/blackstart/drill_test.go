package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// play runs the drill as a user would and returns its account and exit code.
func play(t *testing.T, args ...string) (account, int) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetArgs(append([]string{"drill", "-o", "json"}, args...))
	err := root.ExecuteContext(t.Context())
	code := exitDone
	var o *outcome
	switch {
	case errors.As(err, &o):
		code = o.exit
	case err != nil:
		t.Fatal(err)
	}
	var a account
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return a, code
}

func smallDrill(t *testing.T, args ...string) (account, int) {
	t.Helper()
	return play(t, append([]string{"--fleet", "testdata/drill/fleet.yaml", "--scenario", "testdata/drill/scenario.yaml", "--speed", "1500"}, args...)...)
}

// TestDrill plays small drills side by side, and alone: a drill takes all the processors that it gets.
func TestDrill(t *testing.T) {
	plans := make([]string, 2)
	t.Run("own estate", func(t *testing.T) {
		for i := range plans {
			t.Run("", func(t *testing.T) { plans[i] = testDrillOfAnOwnEstate(t) })
		}
	})
	if plans[0] != plans[1] || plans[0] == "" {
		t.Errorf("the same seed gave the plans %s and %s", plans[0], plans[1])
	}
	t.Run("without agents", testDrillWithoutAgents)
	t.Run("reproducible", testDrillIsReproducible)
}

// A user's own estate and story are brought back whole: the lab, not the coordinator, says so.
func testDrillOfAnOwnEstate(t *testing.T) (planDigest string) {
	t.Parallel()
	keep := filepath.Join(t.TempDir(), "kept")
	a, code := smallDrill(t, "--keep", keep)
	if code != exitDone || a.Outcome != "closed" {
		t.Fatalf("exit %d, outcome %s: %s", code, a.Outcome, a.ExitReason)
	}
	for name, n := range map[string][2]int{
		"hosts": {a.Hosts, 20}, "hit": {a.Hit, 19}, "recovered": {a.Recovered, 19}, "false recoveries": {a.FalseRecoveries, 0},
		"double executions": {a.DoubleExecutions, 0}, "need hands": {a.NeedsHands, 0}, "skipped": {a.Skipped, 0}, "waves": {len(a.Waves), 2},
	} {
		if n[0] != n[1] {
			t.Errorf("%s: %d, want %d (seed %d)", name, n[0], n[1], a.Seed)
		}
	}
	if a.HandsDone < 2 { // a dead rescue and a wrong key need a person
		t.Errorf("%d jobs by hand, want at least 2", a.HandsDone)
	}
	if len(a.Waves) == 2 && !a.Waves[1].OpenedAt.After(a.Waves[0].PassedAt) {
		t.Errorf("wave 2 opened at %s, wave 1 passed at %s", a.Waves[1].OpenedAt, a.Waves[0].PassedAt)
	}
	for _, file := range []string{"report.md", "report.json", "data/journal.db"} {
		if _, err := os.Stat(filepath.Join(keep, file)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	return a.PlanDigest
}

// Machines without an agent are proven over SSH, also against a boot id from before the attempt.
func testDrillWithoutAgents(t *testing.T) {
	t.Parallel()
	a, code := play(t, "--fleet", "testdata/drill/linux-fleet.yaml", "--scenario", "testdata/drill/linux-scenario.yaml", "--speed", "600")
	if code != exitDone || a.Recovered != 4 || a.FalseRecoveries != 0 || a.DoubleExecutions != 0 || a.HandsDone != 0 {
		t.Errorf("exit %d, %d of 4 recovered, %d of them falsely, %d by hand: %s (seed %d)", code, a.Recovered, a.FalseRecoveries, a.HandsDone, a.ExitReason, a.Seed)
	}
}

// The same seed gives the same faults and the same plan; another seed gives others.
func testDrillIsReproducible(t *testing.T) {
	t.Parallel()
	faultsOf := func(seed string) map[string]string {
		d := &drillOptions{fleetFile: "testdata/drill/fleet.yaml", scenarioFile: "testdata/drill/scenario.yaml", speed: 600, people: 1}
		if err := json.Unmarshal([]byte(seed), &d.seed); err != nil {
			t.Fatal(err)
		}
		s, err := d.read()
		if err != nil {
			t.Fatal(err)
		}
		w, err := s.build(&options{logLevel: "error"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		m := map[string]string{}
		for _, f := range w.lab.Assignments() {
			m[f.Host] = string(f.Kind)
		}
		return m
	}
	one, again, other := faultsOf("11"), faultsOf("11"), faultsOf("12")
	if !reflect.DeepEqual(one, again) {
		t.Errorf("the same seed gave %v and %v", one, again)
	}
	if reflect.DeepEqual(one, other) {
		t.Errorf("another seed gave the same faults: %v", one)
	}
}

func TestDrillRefusesBadInput(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--speed", "0"}, "--speed 0: use 1 to 10000"},
		{[]string{"--people", "0"}, "--people 0: at least one person must be there"},
		{[]string{"--fleet", "none.yaml"}, "none.yaml"},
		{[]string{"--fleet", "testdata/drill/scenario.yaml"}, "testdata/drill/scenario.yaml:"},
		{[]string{"--scenario", "testdata/drill/fleet.yaml"}, "testdata/drill/fleet.yaml:"},
		{[]string{"--fleet", "testdata/drill/linux-fleet.yaml"}, "no host of fleet linux runs crowdstrike-falcon"},
		{[]string{"--playbook", "none"}, `there is no playbook "none"`},
		{[]string{"--keep", "testdata"}, "--keep"},
		{[]string{"--methods", "--keep", "testdata"}, "--keep"},
		{[]string{"--methods", "--fleet", "testdata/drill/fleet.yaml"}, "there is nothing to choose"},
	} {
		var out bytes.Buffer
		root := newRoot()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"drill"}, c.args...))
		err := root.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("drill %v: %v, want %q", c.args, err, c.want)
			continue
		}
		if _, code := explain(err); code != exitUsage {
			t.Errorf("drill %v: exit %d", c.args, code)
		}
	}
}
