package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range min(len(a), len(b)) {
			if !bytes.Equal(a[i], b[i]) {
				t.Fatalf("%s differs in line %d (go test -update writes it anew):\n got %s\nwant %s", name, i+1, a[i], b[i])
			}
		}
		t.Fatalf("%s has %d lines, %d are wanted (go test -update writes it anew)", name, len(a), len(b))
	}
}

func TestGolden(t *testing.T) {
	w := play(t, func(w *world) {
		r := Build(w.s, w.entries, w.now)
		golden(t, "running.md", r.Markdown())
	})
	r := Build(w.s, w.entries, w.now.Add(time.Hour))
	golden(t, "report.md", r.Markdown())
	golden(t, "report.json", r.JSON())
}

func TestDeterminism(t *testing.T) {
	first := play(t, nil)
	want := Build(first.s, first.entries, first.now)
	for range 5 {
		w := play(t, nil)
		got := Build(w.s, w.entries, w.now)
		if !bytes.Equal(got.JSON(), want.JSON()) || !bytes.Equal(got.Markdown(), want.Markdown()) {
			t.Fatal("the same incident is told in two ways")
		}
	}
	again := Build(first.s, first.entries, first.now.AddDate(1, 0, 0))
	again.GeneratedAt = want.GeneratedAt
	if !bytes.Equal(again.JSON(), want.JSON()) {
		t.Error("a closed incident is told differently a year later")
	}
}

// A fold of the journal must be told as the live state was, and neither may be changed by telling it.
func TestFoldAndReadOnly(t *testing.T) {
	w := play(t, nil)
	before := encode(t, w.entries)
	want := Build(w.s, w.entries, w.now).JSON()
	folded := recovery.NewState()
	for _, e := range w.entries {
		folded.Apply(e)
	}
	if !bytes.Equal(Build(folded, w.entries, w.now).JSON(), want) {
		t.Error("the fold of the journal is told differently")
	}
	if !bytes.Equal(Build(w.s, w.entries, w.now).JSON(), want) {
		t.Error("telling an incident changed it")
	}
	if !bytes.Equal(encode(t, w.entries), before) {
		t.Error("telling an incident changed its entries")
	}
}

func encode(t *testing.T, entries []recovery.Entry) []byte {
	t.Helper()
	data, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWithoutJournal(t *testing.T) {
	w := play(t, nil)
	r := Build(w.s, nil, w.now)
	check(t, w.s, r)
	if len(r.Timeline) != 0 || len(r.DoesNotKnow) == 0 || !strings.HasPrefix(r.DoesNotKnow[0], "The journal's entries were not given") {
		t.Errorf("a report without entries does not say so: %q", r.DoesNotKnow)
	}
	if r.People.Jobs != 1 || r.People.Spent != 1200 || len(r.Exceptions.Skips) != 1 || len(r.Exceptions.Refused) != 1 {
		t.Errorf("what the state knows is lost: people %+v, exceptions %+v", r.People, r.Exceptions)
	}
	if dns := r.Services[0]; dns.Status != ServiceUp || dns.RTO.Status != ObjectiveUnknown {
		t.Errorf("service without history: %+v, RTO %+v", dns, dns.RTO)
	}
	for _, part := range [][]recovery.Entry{w.entries[:len(w.entries)/2], w.entries[len(w.entries)/2:]} {
		r := Build(w.s, part, w.now)
		check(t, w.s, r)
		if !strings.Contains(r.DoesNotKnow[0], "only in part") {
			t.Errorf("a report of a part does not say so: %q", r.DoesNotKnow)
		}
		r.Markdown()
	}
}

// Entries that are younger than the state are not told: the state may be a copy made before they were written.
func TestYoungerEntries(t *testing.T) {
	var middle *recovery.State
	var now time.Time
	n := 0
	w := play(t, func(w *world) {
		middle, now, n = recovery.NewState(), w.now, len(w.entries)
		for _, e := range w.entries {
			middle.Apply(e)
		}
	})
	if !bytes.Equal(Build(middle, w.entries, now).JSON(), Build(middle, w.entries[:n], now).JSON()) {
		t.Error("younger entries are told")
	}
}

func TestNoIncident(t *testing.T) {
	for _, s := range []*recovery.State{nil, recovery.NewState()} {
		r := Build(s, nil, began)
		if r.Status != "no incident" || len(r.Hosts) != 0 || !strings.Contains(string(r.Markdown()), "No incident has been declared") {
			t.Errorf("without an incident: %s", r.Markdown())
		}
		if bytes.Contains(r.JSON(), []byte("null")) {
			t.Errorf("a list is null: %s", r.JSON())
		}
	}
}

func TestSummary(t *testing.T) {
	w := play(t, nil)
	s := Build(w.s, w.entries, w.now).Summary()
	if s.Hosts != 11 || s.Hit != 8 || s.Recovered != 8 || s.Skipped != 1 || s.NeedsHands != 0 || s.Attempts != 9 || len(s.Waves) != 2 || len(s.Timeline) == 0 {
		t.Errorf("summary %+v", s)
	}
	if v := s.Waves[1]; v.Wave != 2 || v.Tier != "apps" || v.Name != "Applications" || v.Size != 7 || v.Recovered != 6 || v.OpenedAt.IsZero() || v.PassedAt.IsZero() {
		t.Errorf("wave %+v", v)
	}
}

func TestObjective(t *testing.T) {
	b := &builder{s: recovery.NewState(), asOf: began.Add(3 * time.Hour)}
	b.s.Began = began
	for _, c := range []struct {
		target  time.Duration
		reached bool
		at      time.Time
		want    string
	}{
		{0, true, began, "none"},
		{2 * time.Hour, true, began.Add(time.Hour), "met, 1h 0m to spare"},
		{2 * time.Hour, true, began.Add(2 * time.Hour), "met, 0s to spare"},
		{2 * time.Hour, true, began.Add(150 * time.Minute), "missed by 30m 0s"},
		{2 * time.Hour, false, time.Time{}, "missed by 1h 0m so far"},
		{5 * time.Hour, false, time.Time{}, "pending, 2h 0m left"},
		{5 * time.Hour, true, time.Time{}, "not known"},
	} {
		if got := b.objective(c.target, c.reached, c.at).text(); got != c.want {
			t.Errorf("%s reached %v at %s: %q, want %q", c.target, c.reached, c.at, got, c.want)
		}
	}
}
