package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// onTheBoard is an incident with one host, on the hands board because its BMC refuses the password.
func onTheBoard(t *testing.T, reboot recovery.RebootPolicy) (*recovery.State, *recovery.HostState) {
	t.Helper()
	w := newWorld(t)
	h := recovery.Host{Name: "care-db1", Service: "care", Tier: "one", Site: "town-hall", OS: "linux", Data: recovery.DataPrimary, Critical: true, Groups: []string{"pair"},
		MACs: []string{"52:54:00:00:00:01"}, UUID: "5f0f", Agent: true, EDR: recovery.EDR{Product: "edr"}, Power: &recovery.Control{Name: "bmc", Program: "fence", Options: map[string]string{"ip": "10.90.0.7"}},
		Ladder: []recovery.Rung{
			{Name: "rescue", Kind: recovery.RungRescue, Environment: recovery.EnvRescueLinux, Address: "192.0.2.7", Unlock: "file:/keys/care-db1"},
			{Name: "hands", Kind: recovery.RungHands},
		}}
	f := recovery.Fleet{Name: "f", Tiers: []recovery.Tier{{Name: "one", Gate: recovery.GatePolicy{SuccessPercent: 100}}},
		Services: []recovery.Service{{Name: "care", Title: "Social care", Tier: "one", Owner: "Anna, 555-0101"}},
		Groups:   []recovery.Group{{Name: "pair", MaxAtOnce: 1}}, Hosts: []recovery.Host{h}, Policy: recovery.DefaultPolicy()}
	p := recovery.Playbook{Name: "edr", Digest: digest, Match: recovery.Match{EDR: "edr"}, Reboot: reboot, Environments: []string{recovery.EnvRescueLinux},
		Timeout: time.Minute, VerifyWithin: time.Minute, Soak: time.Minute}
	w.do("operator:anna", recovery.Declare{Incident: "i-1", Fleet: f, Playbook: p})
	w.do("operator:anna", recovery.Approve{Digest: w.s.Plan.Digest})
	w.tick()
	if reboot != recovery.RebootForbidden {
		w.do("engine", recovery.Progressed{Job: "care-db1/1", Host: "care-db1", Step: recovery.StepBootTarget})
		w.do("engine", recovery.Finished{Job: "care-db1/1", Host: "care-db1", Result: recovery.Result{Class: recovery.AuthRefused, Signature: "BMC refuses the password",
			Detail: "The BMC refuses \x1b[31mthe password\nof bmc; correct its secrets."}})
	}
	hs := w.s.Host("care-db1")
	if hs.Phase != recovery.NeedsHands {
		t.Fatalf("%s: %s", hs.Phase, hs.Reason)
	}
	return w.s, hs
}

func TestAWorkCardSaysAllThatAPersonNeeds(t *testing.T) {
	s, h := onTheBoard(t, recovery.RebootRequired)
	c := NewCard(s, h, " 1. Look.\n    dir C:\x1b[2J\n", began)
	text := string(CardsText([]Card{c, c}))
	for _, want := range []string{
		"WORK CARD  care-db1  incident i-1, 2024-07-19 05:30 UTC",
		"where      site town-hall, linux, MAC 52:54:00:00:00:01, UUID 5f0f",
		"service    Social care, call Anna, 555-0101", "Its wave waits for this host.",
		"why        auth-refused: BMC refuses the password: never retried by itself, a person must look",
		"restart    Restart the host into its own system when the work is done",
		"beware     It holds the only good copy of its data", "power      bmc ip 10.90.0.7", "beware     It may start into the rescue system", "beware     Its disk is expected to be encrypted", "blackstart host retry care-db1", "beware     It belongs to group pair: work on no more than 1 of it at once.",
		"tried      rescue (rescue, 192.0.2.7): 1 attempt, the last auth-refused: BMC refuses the password",
		"           The BMC refuses the password of bmc; correct its secrets.",
		"\n 1. Look.\n    dir C:\n", "report     blackstart host hands take care-db1 --for 1h", "\n\fWORK CARD",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the card lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("a control character came through: %q", text)
	}
	for line := range strings.Lines(text) {
		if len([]rune(strings.TrimRight(line, "\n"))) > cardWidth {
			t.Errorf("too wide: %s", line)
		}
	}
	var back []Card
	if err := json.Unmarshal(CardsJSON([]Card{c}), &back); err != nil || len(back) != 1 || back[0].Host != "care-db1" || len(back[0].Ladder) != 1 || back[0].Steps == "" {
		t.Errorf("JSON %+v, %v", back, err)
	}
	if got := string(CardsJSON(nil)); got != "[]" {
		t.Errorf("no cards: %s", got)
	}
}

func TestAWorkCardForbidsWhatThePlaybookForbids(t *testing.T) {
	s, h := onTheBoard(t, recovery.RebootForbidden)
	if text := string(CardsText([]Card{NewCard(s, h, "1. Restart it.", began)})); !strings.Contains(text, "leave out every step below that restarts the host") {
		t.Errorf("the playbook's steps stand there alone:\n%s", text)
	}
	text := string(CardsText([]Card{NewCard(s, h, "", began)}))
	for _, want := range []string{"DO NOT RESTART OR SWITCH OFF this host", "not allowed: it restarts the host, which playbook edr", "Playbook edr has no text for people"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("the card lacks %q:\n%s", want, text)
		}
	}
}
