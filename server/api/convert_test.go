package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var update = flag.Bool("update", false, "write the golden files anew")

// What operators are sent, as one incident in mid-recovery shows it.
func TestWhatOperatorsAreSent(t *testing.T) {
	f, err := fleet.Parse("fleet.yaml", []byte(testFleet))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	s := recovery.NewState()
	var entries []recovery.Entry
	take := func(in recovery.Input) {
		t.Helper()
		for {
			events, err := recovery.Decide(s, in, now)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				x := recovery.Entry{Seq: s.Seq + 1, At: now, Actor: "operator:ada", Event: e}
				s.Apply(x)
				entries = append(entries, x)
			}
			if _, tick := in.(recovery.Tick); !tick || len(events) == 0 {
				return
			}
		}
	}
	book := recovery.Playbook{Name: "mend", Digest: "sha256:mend", Match: recovery.Match{EDR: "shield", OS: []string{"linux"}},
		Reboot: recovery.RebootRequired, Environments: []string{"linux"}, Timeout: 5 * time.Minute, VerifyWithin: 20 * time.Minute,
		Debts: []recovery.DebtSpec{{ID: "kept", What: "The copies are kept."}}}
	content := func(good, bad int) []recovery.Content {
		return []recovery.Content{{Playbook: book.Digest, Good: good, Bad: bad}}
	}
	s.See(recovery.Sighting{Host: "ns1", At: now, Connected: true, Source: "agent", BootID: "b1", Content: content(0, 1)})
	take(recovery.Declare{Incident: "i-1", Title: "a bad day", Began: now.Add(-time.Hour), Fleet: f, Playbook: book})
	take(recovery.Approve{Digest: s.Plan.Digest})
	take(recovery.Tick{})
	now = now.Add(time.Minute)
	take(recovery.Refused{Host: "ns3", Peer: "192.0.2.1:9", Why: "not in the fleet file"})
	for _, h := range []string{"ns1", "ns2"} {
		if a := s.Host(h).Attempts; len(a) > 0 {
			take(recovery.Finished{Job: a[0].ID, Host: h, Result: recovery.Result{Class: recovery.Succeeded, Output: "output/x", Joined: true, Rebooted: true}})
		}
	}
	now = now.Add(time.Minute)
	for range 2 {
		v := recovery.Sighting{Host: "ns1", At: now, Connected: true, Source: "agent", BootID: "b2", Content: content(1, 0), Answers: s.Instruct("ns1", now).ID}
		take(recovery.Sighted{Sighting: s.See(v)})
		take(recovery.Tick{})
	}
	take(recovery.ClearDebt{Host: "ns1", Debt: "kept", By: "ada", Note: "deleted"})
	now = now.Add(time.Minute)

	view := coordinator.View{State: s, Entries: entries, Now: now}
	golden(t, "incident", incident(view))
	golden(t, "plan", plan(s.Plan))
	golden(t, "host", host(s, s.Host("ns1"), s.Why(now)["ns1"]))
	golden(t, "entry", entry(entries[len(entries)-1]))
}

// golden compares a message with testdata/NAME.json.
func golden(t *testing.T, name string, m proto.Message) {
	t.Helper()
	raw, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := json.Indent(&got, raw, "", "  "); err != nil { // protojson's own blanks differ on purpose
		t.Fatal(err)
	}
	got.WriteByte('\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is %s\nwant %s", file, got.Bytes(), want)
	}
}
