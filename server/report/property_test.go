package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// check holds a report against the state that it tells: every host once, every total adding up.
func check(t interface{ Errorf(string, ...any) }, s *recovery.State, r Report) {
	var back Report
	if err := json.Unmarshal(r.JSON(), &back); err != nil {
		t.Errorf("the JSON cannot be read: %v", err)
	}
	if bytes.Contains(r.JSON(), []byte(": null")) {
		t.Errorf("a list is null")
	}
	seen := map[string]int{}
	for _, h := range back.Hosts {
		seen[h.Name]++
	}
	for _, h := range s.Fleet.Hosts {
		if seen[h.Name] != 1 {
			t.Errorf("host %s stands %d times in the JSON", h.Name, seen[h.Name])
		}
	}
	n := back.Numbers
	equal := func(what string, got, want int) {
		if got != want {
			t.Errorf("%s: %d, want %d (%+v)", what, got, want, n)
		}
	}
	equal("hosts", n.Hosts, len(s.Fleet.Hosts))
	equal("hosts in the list", len(back.Hosts), n.Hosts)
	equal("verdicts", n.Hit+n.NotHit+n.Unknown, n.Hosts)
	equal("phases", n.Recovered+n.NeedsHands+n.Skipped+n.Waiting+n.Attempting+n.Verifying+n.LeftAlone, n.Hosts)
	scopes, classes, attempts, debts, relapses := 0, 0, 0, 0, 0
	for _, c := range n.ByScope {
		scopes += c.Hosts
	}
	for _, c := range n.ByClass {
		classes += c.Attempts
	}
	for _, h := range back.Hosts {
		attempts += len(h.Attempts)
		debts += len(h.Debts)
		relapses += h.Relapses
	}
	equal("scope classes", scopes, n.Hosts)
	equal("attempt classes", classes, n.Attempts)
	equal("attempts of the hosts", attempts, n.Attempts+n.HandsFinished)
	equal("relapses", relapses, n.Relapses)
	equal("debts", debts, back.Debts.Open+back.Debts.Cleared)
	equal("jobs by hand", back.People.Jobs, n.HandsFinished)
	open, cleared := 0, 0
	for _, g := range back.Debts.Groups {
		open, cleared = open+g.Open, cleared+g.Cleared
		equal("hosts of debt "+g.ID, len(g.Hosts), g.Open+g.Cleared)
	}
	equal("open debts", open, back.Debts.Open)
	equal("cleared debts", cleared, back.Debts.Cleared)
	planned, served := 0, 0
	for _, w := range back.Waves {
		planned += w.Planned
	}
	equal("planned", planned, n.Planned)
	for _, v := range back.Services {
		served += v.Hosts
		equal("hosts down of "+v.Name, len(v.Down), v.Hosts-v.Up)
	}
	equal("hosts of services", served, n.Hosts)
	sum := r.Summary()
	equal("summary", sum.Hosts+sum.Hit+sum.Recovered+sum.NeedsHands+sum.Skipped+sum.Attempts, n.Hosts+n.Hit+n.Recovered+n.NeedsHands+n.Skipped+n.Attempts)
	if len(back.InShort) != 3 {
		t.Errorf("in short: %q", back.InShort)
	}
}

// checkServices holds the services against what the core says of them. An override, which counts as up there, is left out.
func checkServices(t interface{ Errorf(string, ...any) }, s *recovery.State, r Report) {
	for i, want := range s.Services() {
		got := r.Services[i]
		if got.Status == ServiceNoHosts {
			continue
		}
		if up := got.Status != ServiceDown; up != want.IsUp || got.Up != want.Up || got.Hosts != want.Hosts || !got.UpSince.Equal(want.UpAt) {
			t.Errorf("service %s: %+v, the core says %+v", got.Name, got, want)
		}
	}
}

// TestProperty plays random incidents: whatever hosts and people do, the totals add up.
func TestProperty(t *testing.T) {
	classes := []recovery.Class{recovery.Succeeded, recovery.Succeeded, recovery.NothingFound, recovery.Failed, recovery.Unreachable,
		recovery.AuthRefused, recovery.TimedOut, recovery.Lost, recovery.Cancelled}
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		f := testFleet()
		for i := range f.Hosts {
			h := &f.Hosts[i]
			h.Agent = rapid.IntRange(0, 4).Draw(rt, "agent") > 0
			w.boots[h.Name] = 1
			w.bad[h.Name] = rapid.Bool().Draw(rt, "bad")
			w.silent[h.Name] = rapid.Bool().Draw(rt, "silent")
			if rapid.IntRange(0, 3).Draw(rt, "seen") > 0 {
				w.s.See(w.see(h.Name, "", "agent"))
			}
			for _, k := range rapid.SliceOfN(rapid.IntRange(0, len(classes)-1), 0, 4).Draw(rt, "results") {
				w.script[h.Name] = append(w.script[h.Name], recovery.Result{Class: classes[k], Signature: "sig"})
			}
		}
		ask := func(actor string, in recovery.Input) { _ = w.try(actor, in) } // refusals are part of the game
		ask("operator:anna", recovery.Declare{Incident: "i", Began: began, Fleet: f, Playbook: testPlaybook()})
		if w.s.ID == "" {
			rt.Skip("nobody was hit")
		}
		ask("operator:anna", recovery.Approve{Digest: w.s.Plan.Digest})
		for range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			w.run(rapid.IntRange(1, 12).Draw(rt, "minutes"))
			host := f.Hosts[rapid.IntRange(0, len(f.Hosts)-1).Draw(rt, "host")].Name
			switch rapid.IntRange(0, 9).Draw(rt, "action") {
			case 0:
				ask("operator:anna", recovery.Skip{Host: host, Reason: "no"})
			case 1:
				ask("operator:anna", recovery.Retry{Host: host})
			case 2:
				w.mend(host)
				ask("operator:carl", recovery.HandsDone{Host: host, By: "carl", Spent: time.Minute})
			case 3:
				ask("operator:anna", recovery.Resume{})
			case 4:
				ask("operator:anna", recovery.Pause{})
			case 5:
				ask("operator:anna", recovery.Override{Target: "wave:2", Reason: "now"})
			case 6:
				w.bad[host] = true
				ask("agent:"+host, recovery.Sighted{Sighting: w.s.See(w.see(host, "", "agent"))})
			case 7:
				ask("operator:dee", recovery.ClearDebt{Host: host, Debt: "kept-copies", By: "dee"})
			case 8:
				ask("operator:anna", recovery.Close{})
			case 9:
				ask("operator:anna", recovery.Abort{Reason: "enough"})
			}
			r := Build(w.s, w.entries, w.now)
			check(rt, w.s, r)
			checkServices(rt, w.s, r)
		}
	})
}

// TestVerdict holds every way of counting as hit, or not.
func TestVerdict(t *testing.T) {
	succeeded := recovery.Attempt{ID: "h/1", Result: recovery.Result{Class: recovery.Succeeded}}
	nothing := recovery.Attempt{ID: "h/1", Result: recovery.Result{Class: recovery.NothingFound}}
	unreachable := recovery.Attempt{ID: "h/1", Result: recovery.Result{Class: recovery.Unreachable}}
	hands := recovery.Attempt{ID: "h/1", Rung: -1, Result: recovery.Result{Class: recovery.Succeeded}}
	bad := &recovery.Sighting{Content: []recovery.Content{{Playbook: digest, Bad: 1}}}
	wasBad := &recovery.Sighting{Content: []recovery.Content{{Playbook: digest, Good: 1, WasBad: true}}}
	other := &recovery.Sighting{Content: []recovery.Content{{Playbook: "sha256:another", Bad: 1}}}
	for i, c := range []struct {
		scope    recovery.ScopeClass
		sighting *recovery.Sighting
		attempts []recovery.Attempt
		phase    recovery.Phase
		words    string // the core's words for a proof's lack
		want     string
	}{
		{scope: recovery.Looping, want: VerdictHit},
		{scope: recovery.Parked, want: VerdictHit},
		{scope: recovery.SelfHealed, want: VerdictHit},
		{scope: recovery.NeverHit, want: VerdictNotHit},
		{scope: recovery.OutOfScope, want: VerdictNotHit},
		{scope: recovery.Unknown, want: VerdictUnknown},
		{scope: recovery.Unknown, sighting: bad, want: VerdictHit},
		{scope: recovery.Unknown, sighting: wasBad, want: VerdictHit},
		{scope: recovery.Unknown, sighting: other, want: VerdictUnknown},
		{scope: recovery.Unknown, attempts: []recovery.Attempt{unreachable, succeeded}, want: VerdictHit},
		{scope: recovery.Unknown, attempts: []recovery.Attempt{hands}, want: VerdictHit},
		{scope: recovery.Unknown, attempts: []recovery.Attempt{nothing}, phase: recovery.Recovered, want: VerdictNotHit},
		{scope: recovery.Unknown, attempts: []recovery.Attempt{nothing}, phase: recovery.NeedsHands, want: VerdictUnknown},
		{scope: recovery.Unknown, attempts: []recovery.Attempt{unreachable}, phase: recovery.Recovered, want: VerdictUnknown},
		{scope: recovery.NeverHit, words: "it reports bad content again", want: VerdictHit},
		{scope: recovery.Unknown, words: "no proof at the end of the soak: bad content is there (1 file)", want: VerdictHit},
		{scope: recovery.Unknown, words: "its health check bad content is there fails", want: VerdictUnknown},
	} {
		b := &builder{s: recovery.NewState()}
		b.s.Playbook = testPlaybook()
		past := &hostHistory{}
		past.sawBad(c.words)
		h := &recovery.HostState{Host: &recovery.Host{Name: "h"}, Phase: c.phase, Attempts: c.attempts,
			Scope: recovery.HostScope{Class: c.scope, Sighting: c.sighting}}
		if got, why := b.verdict(h, past); got != c.want || why == "" && c.scope == "" {
			t.Errorf("case %d: %s (%s), want %s", i, got, why, c.want)
		}
	}
}

// TestCoreWords keeps badContentWords in step with what the core says.
func TestCoreWords(t *testing.T) {
	w := play(t, nil)
	found := 0
	for _, e := range w.entries {
		if v, ok := e.Event.(*recovery.HostRelapsed); ok {
			for _, words := range []string{v.Signature, v.Reason} {
				h := &hostHistory{}
				h.sawBad(words)
				if h.badSeen != "" {
					found++
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("a relapse with bad content is recognised by %d of its 2 texts", found)
	}
	// A script whose end is not known left the file there: the proof fails with the core's words.
	w = newWorld(t)
	w.bad["dns-1"] = true
	f := testFleet()
	f.Hosts = f.Hosts[:1]
	w.do("operator:anna", recovery.Declare{Incident: "i", Began: began, Fleet: f, Playbook: testPlaybook()})
	w.do("operator:anna", recovery.Approve{Digest: w.s.Plan.Digest})
	w.tick()
	w.do("engine", recovery.Finished{Job: "dns-1/1", Host: "dns-1", Result: recovery.Result{Class: recovery.Lost, Boot: "an-earlier-boot"}})
	w.boots["dns-1"]++
	w.phoneHome("dns-1", w.s.Instruct("dns-1", w.now).ID)
	w.now = w.now.Add(time.Hour)
	w.tick()
	if h := Build(w.s, w.entries, w.now).Hosts[0]; h.Scope != "unknown" || h.Verdict != VerdictHit {
		t.Errorf("a proof that failed for bad content does not count as evidence: %s, %s (%s)", h.Scope, h.Verdict, h.VerdictWhy)
	}
}

const hostile = "evil \x1b[2J\x1b]0;owned\a|cell|\n# heading\n`code` <script>alert(1)</script> [x](http://e.vil) *b* _i_ ~~s~~ \u202e\x00\u009b31m $x$ @all www.e.vil \\| &amp; \xff"

// TestHostile puts hostile text wherever a host or a person can write.
func TestHostile(t *testing.T) {
	w := play(t, nil)
	for i := range w.entries {
		w.entries[i].Event = poison(t, w.entries[i].Event)
		w.entries[i].Actor = strings.Replace(w.entries[i].Actor, "anna", "anna "+hostile, 1)
	}
	s := recovery.NewState()
	for _, e := range w.entries {
		s.Apply(e)
		if text := Sentence(e); strings.ContainsFunc(text, hidden) {
			t.Errorf("%s: a sentence holds control characters: %q", e.Event.Kind(), text)
		}
	}
	r := Build(s, w.entries, w.now)
	check(t, s, r)
	for _, line := range strings.Split(string(r.JSON()), "\n") {
		if strings.ContainsFunc(line, hidden) || strings.Contains(line, "<script>") || strings.Contains(line, `\u001b`) || strings.Contains(line, `\u0000`) || strings.Contains(line, `\u202e`) {
			t.Fatalf("hostile JSON: %q", line)
		}
	}
	md := string(r.Markdown())
	if !strings.Contains(md, "evil") {
		t.Fatal("the hostile text is not in the report at all: this test proves nothing")
	}
	columns := 0
	for _, line := range strings.Split(md, "\n") {
		if strings.ContainsFunc(line, hidden) {
			t.Errorf("control characters: %q", line)
		}
		bare := unescaped(line)
		for _, bad := range []string{"<", ">", "&", "`", "*", "[", "]", "~", "$", "@", "://", "www."} {
			if strings.Contains(bare, bad) {
				t.Errorf("%q is not escaped: %s", bad, line)
			}
		}
		if strings.Contains(strings.TrimLeft(bare, "#"), "#") || strings.HasPrefix(strings.TrimLeft(line, "# "), "heading") {
			t.Errorf("a heading was smuggled in: %s", line)
		}
		bars := strings.Count(bare, "|")
		switch {
		case bars == 0:
			columns = 0
		case columns == 0:
			columns = bars
		case bars != columns:
			t.Errorf("a table row has %d bars, its table %d: %s", bars, columns, line)
		}
	}
}

func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028'
}

var entity = regexp.MustCompile(`&(#\d+|lt|gt|amp);`)

// unescaped removes everything that a backslash protects, and entities.
func unescaped(line string) string {
	line = entity.ReplaceAllString(line, "")
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' && i+1 < len(line) {
			i++
			continue
		}
		b.WriteByte(line[i])
	}
	return b.String()
}

// poison returns the event with hostile text in its free fields. Names, classes and ids stay: they were validated.
func poison(t *testing.T, e recovery.Event) recovery.Event {
	t.Helper()
	data, err := recovery.EncodeEvent(e)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	free := map[string]bool{"reason": true, "detail": true, "signature": true, "line": true, "note": true, "why": true, "peer": true, "title": true,
		"what": true, "evidence": true, "missing": true, "boot_id": true, "owner": true, "by": true, "output": true}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for k, x := range v {
				if text, ok := x.(string); ok && free[k] {
					v[k] = text + hostile
				} else {
					walk(x)
				}
			}
		}
	}
	walk(v)
	if data, err = json.Marshal(v); err != nil {
		t.Fatal(err)
	}
	e, err = recovery.DecodeEvent(e.Kind(), data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// big plays an estate of n hosts, all hit and all recovered, some after a failure.
func big(t testing.TB, n int) *world {
	w := newWorld(t)
	f := testFleet()
	f.Hosts = nil
	for i := range n {
		h := testHost(fmt.Sprintf("host-%04d", i), f.Services[i%3].Name, f.Services[i%3].Tier)
		h.Agent = i%4 != 0
		f.Hosts = append(f.Hosts, h)
		w.bad[h.Name], w.boots[h.Name] = true, 1
		w.s.See(w.see(h.Name, "", "agent"))
		if i%5 == 0 {
			w.script[h.Name] = []recovery.Result{{Class: recovery.Unreachable, Signature: "no route"}}
		}
	}
	f.Resources = []recovery.Resource{{Name: recovery.ResourceSSH, Slots: 1000}}
	f.Policy.IncidentFailures.Count, f.Policy.MaxInFlight = n, n
	for i := range f.Tiers {
		f.Tiers[i].Gate.MaxUnreachable.Count = n
	}
	w.do("operator:anna", recovery.Declare{Incident: "big", Began: began, Fleet: f, Playbook: testPlaybook()})
	w.do("operator:anna", recovery.Approve{Digest: w.s.Plan.Digest})
	for !w.s.Settled() && w.now.Before(began.Add(24*time.Hour)) {
		w.run(5)
	}
	return w
}

// BenchmarkBuild934 tells the whole estate: build, Markdown and JSON.
func BenchmarkBuild934(b *testing.B) {
	w := big(b, 934)
	b.ReportMetric(float64(len(w.entries)), "entries")
	for b.Loop() {
		r := Build(w.s, w.entries, w.now)
		if r.Numbers.Recovered != 934 || len(r.Markdown()) == 0 || len(r.JSON()) == 0 {
			b.Fatalf("%+v", r.Numbers)
		}
	}
}
