package recovery

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// What must survive from one sighting to the next, and what must not.
func TestMerge(t *testing.T) {
	bad := []Content{{Playbook: digest1, Bad: 1, Good: 1}}
	good := []Content{{Playbook: digest1, Good: 1}}
	first := Sighting{}.Merge(Sighting{Host: "a", At: t0, Connected: true, BootID: "b1", BootMode: BootNormal, AgentVersion: "1", EDRVersion: "7", Content: bad,
		Health: []Check{{Name: "disk"}}, Answers: "x"})
	if first.Boots != 1 || !first.FirstBootAt.Equal(t0) || !first.BootAt.Equal(t0) {
		t.Fatalf("first %+v", first)
	}
	gone := first.Merge(Sighting{Host: "a", At: t0.Add(time.Minute)})
	if gone.Connected || gone.BootID != "b1" || gone.BootMode != BootNormal || gone.Boots != 1 || gone.AgentVersion != "1" || gone.EDRVersion != "7" ||
		gone.Answers != "x" || len(gone.Content) != 1 || len(gone.Health) != 1 {
		t.Errorf("last words %+v", gone)
	}
	beat := first.Merge(Sighting{Host: "a", Connected: true, BootID: "b1", Content: good})
	if !beat.Content[0].WasBad || beat.Answers != "x" || good[0].WasBad {
		t.Errorf("newer facts of the same boot %+v", beat)
	}
	answered := first.Merge(Sighting{Host: "a", Connected: true, BootID: "b1", Answers: "y"})
	if len(answered.Content) != 0 || len(answered.Health) != 0 || answered.Answers != "y" {
		t.Errorf("a new answer borrows old facts: %+v", answered)
	}
	restarted := gone.Merge(Sighting{Host: "a", At: t0.Add(time.Hour), Connected: true, BootID: "b2"})
	if restarted.Boots != 2 || !restarted.FirstBootAt.Equal(t0) || !restarted.BootAt.Equal(t0.Add(time.Hour)) || restarted.Answers != "" ||
		len(restarted.Content) != 0 || len(restarted.Health) != 0 || !reflect.DeepEqual(restarted.WasBad, []string{digest1}) {
		t.Errorf("after a restart %+v", restarted)
	}
	healed := restarted.Merge(Sighting{Host: "a", Connected: true, BootID: "b2", Content: good})
	if !healed.Content[0].WasBad || good[0].WasBad {
		t.Errorf("it forgets over the restart that it was bad: %+v", healed)
	}
}

func TestScope(t *testing.T) {
	f, p := flat(1), testPlaybook()
	h := &HostState{Host: &f.Hosts[0]}
	at := func(age time.Duration, change func(v *Sighting)) *Sighting {
		v := well(h, "b1")
		v.At, v.Boots = t0.Add(-age), 1
		change(&v)
		return &v
	}
	bad := func(v *Sighting) { v.Content[0].Bad = 2 }
	gone := func(v *Sighting) { v.Connected = false }
	for name, c := range map[string]struct {
		seen     *Sighting
		class    ScopeClass
		evidence string
	}{
		"never heard of":       {nil, Unknown, "never heard of"},
		"well":                 {at(0, func(*Sighting) {}), NeverHit, "up with good content (1 file)"},
		"healed":               {at(0, func(v *Sighting) { v.WasBad = []string{digest1} }), SelfHealed, "was seen with bad content"},
		"healed, by agent":     {at(0, func(v *Sighting) { v.Content[0].WasBad = true }), SelfHealed, "was seen with bad content"},
		"up and bad":           {at(0, bad), Looping, "up with bad content (2 files)"},
		"looping":              {at(14*time.Minute, func(v *Sighting) { bad(v); gone(v); v.Boots = 3 }), Looping, "3 boots"},
		"loops no more":        {at(15*time.Minute, func(v *Sighting) { bad(v); gone(v); v.Boots = 3 }), Parked, "silent for 15m0s"},
		"parked":               {at(time.Minute, func(v *Sighting) { bad(v); gone(v) }), Parked, "bad content (2 files) in its last words"},
		"silent, looked good":  {at(time.Minute, gone), Unknown, "showed no bad content"},
		"silent, not probed":   {at(time.Minute, func(v *Sighting) { gone(v); v.Content = nil }), Unknown, "held no probe result"},
		"not probed":           {at(0, func(v *Sighting) { v.Content = nil }), Unknown, "not been probed yet"},
		"was bad, restarted":   {at(0, func(v *Sighting) { v.Content, v.WasBad = nil, []string{digest1} }), Looping, "has restarted since"},
		"was bad, loops":       {at(time.Minute, func(v *Sighting) { gone(v); v.Content, v.WasBad, v.Boots = nil, []string{digest1}, 2 }), Looping, "2 boots"},
		"was bad, long silent": {at(time.Hour, func(v *Sighting) { gone(v); v.Content, v.WasBad, v.Boots = nil, []string{digest1}, 2 }), Parked, "silent for 1h0m0s"},
		"wrong place":          {at(0, func(v *Sighting) { v.Content[0].Missing = true }), Unknown, "does not exist"},
		"no good":              {at(0, func(v *Sighting) { v.Content[0].Good = 0 }), Unknown, "no good content"},
		"probe failed":         {at(0, func(v *Sighting) { v.Content[0].Error = "denied" }), Unknown, "denied"},
		"sick":                 {at(0, func(v *Sighting) { v.Health[0].OK = false }), Unknown, "health check disk fails"},
	} {
		seen := map[string]Sighting{}
		if c.seen != nil {
			seen["h000"] = *c.seen
		}
		got := Scope(f, p, seen, t0)[0]
		planned := c.class != NeverHit
		if got.Class != c.class || got.Planned != planned || !strings.Contains(got.Evidence, c.evidence) || (got.Sighting == nil) != (c.seen == nil) {
			t.Errorf("%s: %s planned %v (%s), want %s (%s)", name, got.Class, got.Planned, got.Evidence, c.class, c.evidence)
		}
	}
	f.Hosts[0].EDR.Product = "other"
	if got := Scope(f, p, nil, t0)[0]; got.Class != OutOfScope || got.Planned {
		t.Errorf("%+v", got)
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		match Match
		edr   string
		os    string
		want  bool
	}{
		{Match{EDR: "a"}, "a", "linux", true},
		{Match{EDR: "a"}, "b", "linux", false},
		{Match{}, "b", "linux", true},
		{Match{OS: []string{"windows"}}, "", "windows-2019", true},
		{Match{OS: []string{"windows"}}, "", "windows", true},
		{Match{OS: []string{"windows"}}, "", "windowsish", false},
		{Match{OS: []string{"windows"}}, "", "linux", false},
	} {
		if got := (Playbook{Match: c.match}).Fits(Host{OS: c.os, EDR: EDR{Product: c.edr}}); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
