package report

import (
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// A revision takes the proof from hosts that soak, and with it their service; the report tells the versions and the fall.
func TestReportTellsARevision(t *testing.T) {
	now := time.Date(2024, 7, 19, 6, 30, 0, 0, time.UTC)
	s := recovery.NewState()
	var entries []recovery.Entry
	do := func(in recovery.Input) {
		t.Helper()
		events, err := recovery.Decide(s, in, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			entry := recovery.Entry{Seq: s.Seq + 1, At: now, Actor: "operator:ada", Event: e}
			s.Apply(entry)
			entries = append(entries, entry)
		}
	}
	book := recovery.Playbook{Name: "edr", Digest: "sha256:one", Match: recovery.Match{EDR: "edr"}, Reboot: recovery.RebootHelps,
		Environments: []string{recovery.EnvLinux}, Timeout: time.Minute, VerifyWithin: time.Hour, Soak: time.Hour}
	f := recovery.Fleet{Name: "one", Policy: recovery.DefaultPolicy(), Tiers: []recovery.Tier{{Name: "base", Gate: recovery.GatePolicy{SuccessPercent: 100}}},
		Services: []recovery.Service{{Name: "data", Tier: "base"}}, Resources: []recovery.Resource{{Name: recovery.ResourceSSH, Slots: 1}},
		Hosts: []recovery.Host{{Name: "db01", Service: "data", Tier: "base", OS: "linux", Agent: true, EDR: recovery.EDR{Product: "edr"},
			Ladder: []recovery.Rung{{Name: "own", Kind: recovery.RungSSH, Environment: recovery.EnvLinux}}}}}
	do(recovery.Declare{Incident: "i-1", Fleet: f, Playbook: book})
	do(recovery.Approve{Digest: s.Plan.Digest})
	for s.Host("db01").Phase != recovery.Attempting {
		do(recovery.Tick{})
	}
	do(recovery.Finished{Job: "db01/1", Host: "db01", Result: recovery.Result{Class: recovery.Succeeded}})
	well := recovery.Sighting{Host: "db01", At: now, Connected: true, Source: "agent", BootID: "b2", BootMode: recovery.BootNormal, Answers: s.Instruct("db01", now).ID,
		Content: []recovery.Content{{Playbook: "sha256:one", Good: 1}}}
	do(recovery.Sighted{Sighting: s.See(well)})
	if r := Build(s, entries, now); r.Services[0].Falls != 0 || r.Services[0].Up != 1 || r.Versions != nil {
		t.Fatalf("before the revision: %+v, versions %v", r.Services[0], r.Versions)
	}
	now = now.Add(time.Minute)
	book.Digest = "sha256:two"
	do(recovery.Revise{Playbook: book, Reason: "the vendor thought again"})
	r := Build(s, entries, now)
	if x := r.Services[0]; x.Up != 0 || x.Falls != 1 {
		t.Errorf("after it: %+v", x)
	}
	if v := r.Versions; len(v) != 2 || v[0].By != "" || v[1].Digest != "sha256:two" || v[1].By != "ada" || !v[1].Since.Equal(now) || v[1].Reason != "the vendor thought again" {
		t.Errorf("%+v", v)
	}
	text := string(r.Markdown())
	for _, want := range []string{"sha256:one since 2024-07-19 06:30", "sha256:two since 2024-07-19 06:31", "taken by ada: the vendor thought again", "ada revised playbook edr: version sha256:two is in use from here on"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}
