package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var update = flag.Bool("update", false, "write the golden files anew")

// oneOfEach has an event of every kind.
var oneOfEach = []recovery.Event{
	&recovery.IncidentDeclared{Incident: "golden", Title: "EDR <update> & “loop”", Began: start},
	&recovery.IncidentScoped{},
	&recovery.PlanProposed{},
	&recovery.PlanApproved{Digest: "d"},
	&recovery.WaveOpened{Wave: 1, Size: 9, Need: 8, Limits: recovery.Limits{Failed: 1}, Reason: "approved"},
	&recovery.WavePassed{Wave: 1, Reason: "8 of 9 proven"},
	&recovery.WaveHeld{Wave: 1, Breaker: recovery.BreakerFailed, Reason: "2 > 1"},
	&recovery.WaveReleased{Wave: 1, Accepted: []recovery.Failure{{Host: "a", Class: recovery.Failed}}},
	&recovery.WaveApproved{Wave: 2},
	&recovery.AttemptStarted{Attempt: recovery.Attempt{ID: "a/1", Host: "a", N: 1, Started: start}, Canary: true},
	&recovery.AttemptEnded{Attempt: "a/1", Host: "a", Result: recovery.Result{Class: recovery.Succeeded}, Next: recovery.Verifying},
	&recovery.HostProven{Host: "a", Sighting: recovery.Sighting{Host: "a", At: start, BootID: "b"}, SoakUntil: start},
	&recovery.ProofFailed{Host: "a", Next: recovery.Waiting},
	&recovery.HostRecovered{Host: "a"},
	&recovery.HostRelapsed{Host: "a", Next: recovery.Waiting, Rung: 1},
	&recovery.HostNeedsHands{Host: "a", Reason: "ladder exhausted"},
	&recovery.HostClaimed{Host: "a", By: "åsa", Until: start},
	&recovery.HandsFinished{Host: "a", By: "åsa", Until: start, Spent: 60e9},
	&recovery.HostSkipped{Host: "a", Reason: "scrapped"},
	&recovery.HostReturned{Host: "a"},
	&recovery.HoldOverridden{Target: "wave:1", Reason: "director"},
	&recovery.DebtCleared{Host: "a", Debt: "keys"},
	&recovery.AgentRefused{Host: "a", Peer: "192.0.2.1:9", Why: "other name\x1b[31m"},
	&recovery.IncidentPaused{Reason: "lunch"},
	&recovery.IncidentResumed{Reason: "coffee"},
	&recovery.IncidentAborted{Reason: "wrong playbook", Fates: []recovery.AbortFate{{Host: "a", Rule: "not started"}}},
	&recovery.IncidentClosed{Outcome: recovery.OutcomeAborted, Reason: "aborted"},
}

func goldenEntries() []recovery.Entry {
	var es []recovery.Entry
	for i, ev := range oneOfEach {
		es = append(es, recovery.Entry{Seq: uint64(i) + 1, At: entry(uint64(i)).At, Actor: "engine", Event: ev})
	}
	return es
}

// The events of every kind go through the file and back. (Their data has golden files in server/recovery.)
func TestEventsOfEveryKind(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "golden", goldenEntries()...)
	got, err := readAll(j, "golden")
	if err != nil || !reflect.DeepEqual(got, goldenEntries()) {
		t.Fatalf("events do not come back as they went in (%v)", err)
	}
	mallory := entry(1)
	mallory.Actor = "operator:\x1b[2J\n1 2024"
	mustAppend(t, j, "strange", mallory)
	var out bytes.Buffer
	if err := j.Dump(&out, "strange"); err != nil || bytes.ContainsRune(out.Bytes(), 0x1b) || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Errorf("a dump fails or brings a terminal's commands (%v): %q", err, out.String())
	}
}

// The envelope as it was on the first day. What stands in the golden files never changes.
func TestGoldenEnvelope(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "golden", entriesFrom(1, 6)...)
	mustAppend(t, j, `{","entry":"`, entriesFrom(1, 3)...) // an id that looks like the format
	for name, f := range map[string]func(w *bytes.Buffer) error{
		"export.golden": func(w *bytes.Buffer) error { return j.Export(w, "") },
		"dump.golden":   func(w *bytes.Buffer) error { return j.Dump(w, "") },
		"verify.golden": func(w *bytes.Buffer) error { return j.Verify(w) },
	} {
		var out bytes.Buffer
		if err := f(&out); err != nil {
			t.Fatal(err)
		}
		golden(t, name, out.Bytes())
		if name == "export.golden" {
			verifyByHand(t, out.Bytes(), 9)
		}
	}
}

// A journal written by the first version opens for ever.
func TestGoldenJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal-1.db")
	if *update {
		j := openTemp(t)
		mustAppend(t, j, "golden", goldenEntries()...)
		mustAppend(t, j, "second", entriesFrom(1, 3)...)
		if err := j.SaveSightings([]recovery.Sighting{{Host: "a", At: start, BootID: "b"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := j.NextEpoch(0); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := j.Snapshot(&b); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/journal-1.db", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("testdata/journal-1.db")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	j := reopen(t, path)
	got, err := readAll(j, "golden")
	if err != nil || !reflect.DeepEqual(got, goldenEntries()) {
		t.Fatalf("the golden journal reads otherwise (%v)", err)
	}
	wantEntries(t, j, "second", 3)
	if s, err := j.Sightings(); err != nil || s["a"].BootID != "b" {
		t.Fatalf("sightings %v, %v", s, err)
	}
	if n, err := j.NextEpoch(0); n != 2 || err != nil {
		t.Fatalf("epoch %d, %v", n, err)
	}
}

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
		t.Errorf("%s differs; got\n%s", name, got)
	}
}

// verifyByHand is what a third party does: no code of this package.
func verifyByHand(t *testing.T, export []byte, want int) {
	t.Helper()
	type row struct {
		Incident, Hash string
		Entry          struct {
			Seq  uint64
			Prev string
		}
	}
	sha := func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
	last := map[string]row{}
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(export))
	lines.Buffer(nil, 1<<20)
	for ; lines.Scan(); n++ {
		_, body, _ := strings.Cut(lines.Text(), `,"entry":`)
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		before, ok := last[r.Incident]
		if !ok {
			before.Hash = sha([]byte(r.Incident))
		}
		if sha([]byte(strings.TrimSuffix(body, "}"))) != r.Hash || r.Entry.Prev != before.Hash || r.Entry.Seq != before.Entry.Seq+1 {
			t.Fatalf("%s breaks at entry %d", r.Incident, before.Entry.Seq+1)
		}
		last[r.Incident] = r
	}
	if n != want {
		t.Fatalf("%d lines, want %d", n, want)
	}
}

func TestDumpOfOneIncident(t *testing.T) {
	j := openTemp(t)
	mustAppend(t, j, "a", entriesFrom(1, 2)...)
	mustAppend(t, j, "b", entriesFrom(1, 3)...)
	var out bytes.Buffer
	if err := j.Dump(&out, "b"); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 3 {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	if err := j.Export(&out, "c"); !errors.Is(err, ErrNoIncident) {
		t.Fatalf("got %v", err)
	}
	gone := writerFunc(func([]byte) (int, error) { return 0, errors.New("gone") })
	for name, f := range map[string]error{"dump": j.Dump(gone, ""), "export": j.Export(gone, ""), "verify": j.Verify(gone)} {
		if f == nil || !strings.Contains(f.Error(), "gone") {
			t.Errorf("%s to nowhere: %v", name, f)
		}
	}
}
