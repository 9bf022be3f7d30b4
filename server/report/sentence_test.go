package report

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// kinds reads every event kind from the core's source, so that a new one cannot be forgotten here.
func kinds(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../recovery/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Kind" {
			continue
		}
		ret := f.Body.List[0].(*ast.ReturnStmt)
		kind, err := strconv.Unquote(ret.Results[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, kind)
	}
	if len(list) < 27 {
		t.Fatalf("found %d kinds in the core's source, at least 27 are expected", len(list))
	}
	return list
}

func TestSentenceOfEveryKind(t *testing.T) {
	for _, kind := range kinds(t) {
		for _, data := range []string{`{}`, `{"host":"h","reason":"why","wave":3,"by":"carl","attempt":"h/2"}`} {
			if kind == "attempt-started" {
				data = `{"reason":"attempt 1 on rung ssh"}`
			}
			e, err := recovery.DecodeEvent(kind, []byte(data))
			if err != nil {
				t.Fatal(err)
			}
			text := Sentence(recovery.Entry{Seq: 1, Actor: "operator:anna", Event: e})
			if strings.HasPrefix(text, "Event ") || len(text) < 9 || !strings.HasSuffix(text, ".") || strings.Contains(text, "%!") {
				t.Errorf("%s is told as %q", kind, text)
			}
		}
	}
	if text := Sentence(recovery.Entry{}); text != "" {
		t.Errorf("an entry without an event is told as %q", text)
	}
}

func TestSentence(t *testing.T) {
	at := time.Date(2024, 7, 19, 6, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		actor string
		event recovery.Event
		want  string
	}{
		{"operator:anna", &recovery.PlanApproved{Digest: "sha256:1"}, "anna approved the plan (digest sha256:1)."},
		{"engine", &recovery.WaveOpened{Wave: 2, Size: 1, Need: 1, Reason: "wave 1 has passed"}, "Wave 2 opened with 1 host, 1 of them needed: wave 1 has passed."},
		{"engine", &recovery.IncidentPaused{Breaker: recovery.BreakerSilence, Reason: "9 are silent"}, "The engine paused the incident (mass-silence): 9 are silent."},
		{"operator:bo", &recovery.WaveReleased{Wave: 2, Accepted: make([]recovery.Failure, 2), Reason: "known"}, "bo released wave 2, accepting 2 failures: known."},
		{"engine", &recovery.AttemptEnded{Host: "a", Attempt: "a/3", Result: recovery.Result{Class: recovery.Failed}, Reason: "failed: exit 1; try 2 follows"}, "a: attempt 3 ended: failed: exit 1; try 2 follows."},
		{"engine", &recovery.AttemptEnded{Host: "a", Attempt: "a/1", Late: true, Result: recovery.Result{Class: recovery.Succeeded}, Reason: "a late result"}, "a: attempt 1 brought succeeded: a late result."},
		{"operator:carl", &recovery.HandsFinished{Host: "a", By: "carl", Spent: 90 * time.Second, Note: "done"}, "a: carl finished the work by hand in 1m 30s: done; proof is awaited."},
		{"operator:carl", &recovery.HostClaimed{Host: "a", By: "carl", Until: at}, "a: carl claimed it until 2024-07-19 06:30:00."},
		{"operator:carl", &recovery.HostClaimed{Host: "a", By: "carl"}, "a: carl gave it back."},
		{"agent:a", &recovery.HostReturned{Host: "a", Rung: 1, Reason: "bad content"}, "a: put back to work by the agent of a, at rung 2 of its ladder: bad content."},
		{"engine", &recovery.IncidentScoped{Hosts: []recovery.HostScope{{Class: recovery.NeverHit}, {Class: recovery.Looping}, {Class: recovery.Looping}}}, "The hosts were classified: 2 looping, 1 never-hit."},
		{"engine", &recovery.IncidentClosed{Outcome: recovery.OutcomeAborted, Reason: "stop!"}, "The incident ended as aborted: stop!"},
	} {
		if got := Sentence(recovery.Entry{Actor: c.actor, Event: c.event}); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.event.Kind(), got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for secs, want := range map[float64]string{0: "0s", 0.2: "under 1s", 59.4: "59s", 61: "1m 1s", 3661: "1h 1m", -90000: "1d 1h"} {
		if got := span(secs); got != want {
			t.Errorf("span(%v) = %q, want %q", secs, got, want)
		}
	}
}
