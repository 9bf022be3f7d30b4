package recovery

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzApply plays journals that no engine wrote: the first entries of a true incident, then whatever the input says, a line
// for an entry, "kind {json}". The state must take them without a panic, must not alter them, must come out the same
// twice, and what reads a state must be able to read this one.
func FuzzApply(f *testing.F) {
	story := trueStory(f)
	var all []string
	for _, e := range story {
		data, err := EncodeEvent(e.Event)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, e.Event.Kind()+" "+string(data))
	}
	last := uint16(len(story))
	f.Add(uint16(0), strings.Join(all, "\n"))
	for i := 3; i+4 <= len(all); i += 4 {
		f.Add(uint16(i), strings.Join(all[i:i+4], "\n"))                           // as it was
		f.Add(last, strings.Join(all[i:i+4], "\n"))                                // once more, after the end
		f.Add(uint16(i), strings.Join([]string{all[i+3], all[i+1], all[i]}, "\n")) // the wrong way round
		f.Add(uint16(3), strings.Join(all[i:i+4], "\n"))                           // far too early
	}
	files, err := filepath.Glob("testdata/events/*.json")
	if err != nil || len(files) != len(eventTypes) {
		f.Fatalf("%d golden events for %d kinds, %v", len(files), len(eventTypes), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var line bytes.Buffer
		if err := json.Compact(&line, data); err != nil {
			f.Fatal(err)
		}
		f.Add(last/2, strings.TrimSuffix(filepath.Base(file), ".json")+" "+line.String())
	}
	for _, strange := range []string{
		`attempt-started {"attempt":{"id":"h000/9","host":"h000","n":-1,"rung":-7}}` + "\n" + `attempt-ended {"attempt":"h000/9","host":"h000","result":{"class":"succeeded"},"next":"verifying"}`,
		`attempt-started {"attempt":{"host":"h000","rung":99}}` + "\n" + `attempt-progressed {"host":"h000","step":"boot-target"}` + "\n" + `boot-target-stuck {"host":"h000"}`,
		`incident-declared {"incident":"","fleet":{"hosts":[{"name":"a"},{"name":"a"}],"groups":[{"name":"g"}],"tiers":[{"name":""},{"name":""}]}}`,
		`plan-proposed {"plan":{"waves":[{"wave":1,"hosts":[{"host":"h000","rung":-1},{"host":"h000","rung":1000}]},{"wave":-1},{"wave":1}]}}`,
		`host-relapsed {"host":"h000","next":"somewhere else","rung":-3}`,
		`wave-opened {"wave":1,"size":-1,"need":-5,"limits":{"in_flight":-1}}`,
		`hold-overridden {"target":"wave:99999999999999999999"}` + "\n" + `hold-overridden {"target":":"}`,
		`coordinator-restarted {"alive":"9999-12-31T23:59:59Z"}` + "\n" + `coordinator-restarted {"alive":"0001-01-01T00:00:00Z"}`,
		`incident-closed {}` + "\n" + `host-returned {"host":"h000","rung":3}` + "\n" + `incident-resumed {}`,
	} {
		f.Add(last/2, strange)
	}
	f.Fuzz(func(t *testing.T, first uint16, text string) {
		entries := append([]Entry(nil), story[:min(int(first), len(story))]...)
		at := t0
		for line := range strings.Lines(text) {
			kind, data, _ := strings.Cut(line, " ")
			e, err := DecodeEvent(kind, []byte(data))
			if err != nil || len(entries) > 400 || tooManyHosts(e) {
				continue
			}
			at = at.Add(time.Minute)
			entries = append(entries, Entry{Seq: uint64(len(entries)) + 1, At: at, Actor: "engine", Event: e})
		}
		before := encoded(t, entries)
		one, two, run := NewState(), NewState(), NewAdHoc()
		for _, e := range entries {
			one.Apply(e)
			run.Apply(e)
		}
		readEverything(t, one, run, at)
		for _, e := range entries {
			two.Apply(e)
		}
		if n := uint64(len(entries)); one.Seq != n || run.Seq != n {
			t.Fatalf("after %d entries the states are at %d and %d", n, one.Seq, run.Seq)
		}
		if after := encoded(t, entries); after != before {
			t.Fatalf("applying altered the journal:\n%s\nnow\n%s", before, after)
		}
		if !reflect.DeepEqual(one.Why(at), two.Why(at)) || !reflect.DeepEqual(one.Work(at), two.Work(at)) || one.Status() != two.Status() {
			t.Fatal("the same journal gives two states")
		}
		for _, h := range one.Hosts() {
			if one.Host(h.Host.Name) == nil {
				t.Fatalf("host %q is not found by its name", h.Host.Name)
			}
		}
	})
}

// trueStory is the journal of an incident in which something goes wrong, up to its end.
func trueStory(tb tb) []Entry {
	tb.Helper()
	f := outward(testFleet(9), 2)
	x := newSim(tb, f, testPlaybook())
	failures := 0
	x.script = func(*machine, Job) Result {
		if failures++; failures%4 == 0 {
			return Result{Class: Failed, Exit: 3, Signature: "exit 3"}
		}
		return Result{Class: Succeeded}
	}
	x.hear(x.far["h000"].facts())
	x.start(f, testPlaybook())
	x.must(Override{Target: "wave:2", Reason: "the director wants it"})
	x.must(Skip{Host: "h008", Reason: "scrapped"})
	for n := 0; x.step(); n++ {
		switch n {
		case 20:
			x.must(Pause{Reason: "lunch"})
			x.must(Resume{Reason: "coffee"})
		case 30:
			x.must(Restarted{Alive: x.now.Add(-time.Minute)})
			x.must(Refused{Host: "h001", Peer: "192.0.2.9", Why: "another name"})
		case 400:
			x.must(Abort{Reason: "enough"})
			return x.entries
		}
	}
	return x.entries
}

// tooManyHosts keeps the fuzzer from declaring the same thing a thousand times over: that would only be slow.
func tooManyHosts(e Event) bool {
	switch v := e.(type) {
	case *IncidentDeclared:
		return len(v.Fleet.Hosts) > 50
	case *RunDeclared:
		return len(v.Fleet.Hosts) > 50
	}
	return false
}

func encoded(tb testing.TB, entries []Entry) string {
	tb.Helper()
	var out strings.Builder
	for _, e := range entries {
		data, err := EncodeEvent(e.Event)
		fmt.Fprintf(&out, "%d %s %s %v\n", e.Seq, e.Event.Kind(), data, err)
	}
	return out.String()
}

// readEverything asks the states for all that a coordinator asks at its start, and that people see.
func readEverything(tb testing.TB, s *State, run *AdHoc, now time.Time) {
	tb.Helper()
	s.Work(now)
	s.Wake(now)
	s.Why(now)
	s.Services()
	s.Verdicts(now)
	s.Forecast(now)
	s.RescueBoots()
	s.OpenDebts()
	_ = s.Status()
	for _, h := range s.Hosts() {
		s.LadderOf(h)
		s.Instruct(h.Host.Name, now)
		if n := h.OpenDebts(); n < 0 || n > len(h.Debts) {
			tb.Fatalf("%s has %d open debts of %d", h.Host.Name, n, len(h.Debts))
		}
	}
	for _, in := range []Input{Tick{}, Restarted{Alive: now}, Resume{Reason: "go on"}, Close{}} {
		_, _ = Decide(s, in, now.Add(time.Hour))
	}
	run.Work()
	run.Why()
	run.Counts()
	run.Decide(nil, false, now)
}
