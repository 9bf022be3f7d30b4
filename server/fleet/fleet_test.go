package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const good = `fleet: depot
policy: {max-attempts: 3, backoff: 30s, mass-silence: 40%, incident-failures: 12}
tiers:
  - {name: first, title: First of all, rto: 1d12h, gate: {success: 95%, soak: 5m, approval: true, max-failed: 1%, max-unreachable: 0, max-in-flight: 8}}
  - name: second
services:
  - {name: dns, title: Names, tier: first, council: east, owner: ops, rto: 4h, mtd: 2d, up: 75%}
  - {name: web, tier: second, needs: dns}
sites: {hall: 4, attic: }
resources: {ssh: 16, san: 2}
groups:
  - {name: pair, max-at-once: 1, max-down-together: 2, members: "ns[1-2]"}
  - {name: odd, max-at-once: 1}
ladders:
  both:
    - name: running
      environment: linux
      port: 2222
      user: fixer
      jump: ["10.9.9.9", "op@10.9.9.10:2022"]
      host-keys: ["` + keyA + ` root@ns", "cert-authority ` + keyA + `"]
      reboot-command: systemctl reboot
      estimate: 5m
    - {name: rescue, kind: ssh, environment: rescue-linux, reboots: true, address: "10.7.{3}.{4}", root: /mnt}
defaults: {os: linux, data: none, ladder: both, groups: [odd], edr: {product: falcon, version: 1.10}}
hosts:
  - {name: "ns[1-2]", service: dns, site: hall, address: "10.1.2.3", critical: true, resources: [san, ssh], data: replica}
  - {name: old, tier: first, site: attic, ladder: [], groups: [], agent: false, os: linux-2.10, edr: {product: other}}
  - {name: "web[10,9]", service: web, tier: first, address: "10.1.3.[1-2]", addresses: {rescue: 10.8.0.1}}
  - {name: own, service: web, ladder: [{name: direct, environment: linux, address: "fd00::5"}]}
`

func TestGood(t *testing.T) {
	f, err := Parse("good.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	policy := recovery.DefaultPolicy()
	policy.MaxAttempts, policy.Backoff, policy.MassSilence, policy.IncidentFailures = 3, 30*time.Second, 40, recovery.Limit{Count: 12}
	hands := recovery.Rung{Name: "hands", Kind: recovery.RungHands}
	ladder := func(running, rescue string) []recovery.Rung {
		return []recovery.Rung{
			{
				Name: "running", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: running, Port: 2222, User: "fixer",
				Jump: []string{"fixer@10.9.9.9:22", "op@10.9.9.10:2022"}, HostKeys: []string{keyA, "cert-authority " + keyA},
				RebootCmd: "systemctl reboot", Estimate: 5 * time.Minute,
			},
			{Name: "rescue", Kind: recovery.RungSSH, Environment: recovery.EnvRescueLinux, Reboots: true, Address: rescue, Port: 22, User: "root", Root: "/mnt"},
			hands,
		}
	}
	falcon := recovery.EDR{Product: "falcon", Version: "1.10"}
	ns := recovery.Host{
		Name: "ns1", Service: "dns", Tier: "first", Council: "east", Site: "hall", OS: "linux", Data: recovery.DataReplica, Critical: true,
		Groups: []string{"odd", "pair"}, Resources: []string{"hall", "san"}, Ladder: ladder("10.1.2.3", "10.7.2.3"), Agent: true, EDR: falcon,
	}
	ns2 := ns
	ns2.Name, ns2.Ladder = "ns2", ladder("10.1.2.4", "10.7.2.4")
	web10 := recovery.Host{
		Name: "web10", Service: "web", Tier: "first", OS: "linux", Data: recovery.DataNone, Groups: []string{"odd"},
		Ladder: ladder("10.1.3.1", "10.8.0.1"), Agent: true, EDR: falcon,
	}
	web9 := web10
	web9.Name, web9.Ladder = "web9", ladder("10.1.3.2", "10.8.0.2")
	want := recovery.Fleet{
		Name: "depot",
		Tiers: []recovery.Tier{
			{Name: "first", Title: "First of all", RTO: 36 * time.Hour, Gate: recovery.GatePolicy{
				SuccessPercent: 95, Soak: 5 * time.Minute, Approval: true, MaxFailed: recovery.Limit{Count: 1, Percent: true}, MaxInFlight: 8,
			}},
			{Name: "second", Gate: recovery.GatePolicy{
				SuccessPercent: 90, Soak: 10 * time.Minute, MaxFailed: recovery.Limit{Count: 5, Percent: true}, MaxUnreachable: recovery.Limit{Count: 10, Percent: true},
			}},
		},
		Services: []recovery.Service{
			{Name: "dns", Title: "Names", Tier: "first", Council: "east", Owner: "ops", RTO: 4 * time.Hour, MTD: 48 * time.Hour, UpPercent: 75},
			{Name: "web", Tier: "second", Needs: []string{"dns"}},
		},
		Groups:    []recovery.Group{{Name: "pair", MaxAtOnce: 1, MaxDown: 2}, {Name: "odd", MaxAtOnce: 1}},
		Resources: []recovery.Resource{{Name: "ssh", Slots: 16}, {Name: "san", Slots: 2}, {Name: "hall", Slots: 4}},
		Policy:    policy,
		Hosts: []recovery.Host{
			ns, ns2,
			{Name: "old", Tier: "first", Site: "attic", OS: "linux-2.10", Data: recovery.DataNone, Ladder: []recovery.Rung{hands}, EDR: recovery.EDR{Product: "other"}},
			{
				Name: "own", Service: "web", Tier: "second", OS: "linux", Data: recovery.DataNone, Groups: []string{"odd"}, Agent: true, EDR: falcon,
				Ladder: []recovery.Rung{{Name: "direct", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: "fd00::5", Port: 22, User: "root"}, hands},
			},
			web10, web9,
		},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got\n%+v\nwant\n%+v", f, want)
	}
	counts := Counts(f)
	first := WaveCount{
		Wave: 1, Tier: "first", Title: "First of all", RTO: 36 * time.Hour, Hosts: 5, Services: 2, Critical: 2, NoAgent: 1,
		Data: map[recovery.DataClass]int{recovery.DataReplica: 2, recovery.DataNone: 3}, OS: map[string]int{"linux": 4, "linux-2.10": 1},
		Ladders: map[string]int{"running, rescue, hands": 4, "hands": 1}, Councils: map[string]int{"east": 2, "": 3},
	}
	if len(counts) != 2 || !reflect.DeepEqual(counts[0], first) || counts[1].Hosts != 1 {
		t.Errorf("got counts %+v, want first %+v", counts, first)
	}
}

// TestDefaults holds the values that a file gets that says nothing of them.
func TestDefaults(t *testing.T) {
	f, err := Parse("f.yaml", []byte("\ufefffleet: small\r\ntiers: [{name: only, gate: {success: 97%}}]\r\nhosts: [{name: a, tier: only, os: linux}]\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Policy != recovery.DefaultPolicy() {
		t.Errorf("policy is %+v", f.Policy)
	}
	if !reflect.DeepEqual(f.Resources, []recovery.Resource{{Name: "ssh", Slots: 128}}) {
		t.Errorf("resources are %+v", f.Resources)
	}
	rest := recovery.Limit{Count: 3, Percent: true}
	if g := f.Tiers[0].Gate; g.MaxFailed != rest || g.MaxUnreachable != rest || g.Approval {
		t.Errorf("gate is %+v, want limits no higher than what success leaves over", g)
	}
	if h := f.Hosts[0]; h.Data != recovery.DataPrimary || !h.Agent || len(h.Ladder) != 1 || h.Ladder[0].Kind != recovery.RungHands {
		t.Errorf("host is %+v", h)
	}
}

// TestSameAddressBehindJumpHosts: private addresses repeat from site to site, behind different jump hosts.
func TestSameAddressBehindJumpHosts(t *testing.T) {
	text := "fleet: f\ntiers: [{name: t}]\nladders:\n"
	for _, l := range []string{"a", "b"} {
		text += fmt.Sprintf("  %s: [{name: in, environment: linux, jump: 10.0.%d.1}]\n", l, l[0])
	}
	text += "defaults: {os: linux, tier: t, address: 10.1.1.1}\n"
	if _, err := Parse("f.yaml", []byte(text+"hosts: [{name: x}]\n")); err == nil {
		t.Fatal("defaults took an address")
	}
	text = strings.Replace(text, ", address: 10.1.1.1", "", 1)
	if _, err := Parse("f.yaml", []byte(text+"hosts: [{name: x, ladder: a, address: 10.1.1.1}, {name: y, ladder: b, address: 10.1.1.1}]\n")); err != nil {
		t.Error(err)
	}
	if _, err := Parse("f.yaml", []byte(text+"hosts: [{name: x, ladder: a, address: 10.1.1.1}, {name: y, ladder: a, address: 10.1.1.1}]\n")); err == nil {
		t.Error("two hosts share an address behind one jump host")
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "check that it is a file") {
		t.Errorf("got %v for a folder", err)
	}
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := Load(path); err != nil || len(f.Hosts) != 6 {
		t.Errorf("got %d hosts and %v", len(f.Hosts), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxBytes+1); err != nil {
		t.Fatal(err)
	}
	want := path + ":1:1: the file is larger than 32 MiB; split the estate, or use ranges"
	if _, err := Load(path); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestManyProblems: the message stays bounded whatever the file holds.
func TestManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString(base)
	for i := range 20_000 {
		fmt.Fprintf(&b, "  - {name: x%d, service: nothing-like-it-%d, address: 10.2.%d.%d}\n", i, i, i/256, i%256)
	}
	_, err := Parse("f.yaml", []byte(b.String()))
	var list Errors
	if !errors.As(err, &list) {
		t.Fatalf("got %v", err)
	}
	lines := strings.Split(list.Error(), "\n")
	if len(lines) != maxPrinted+1 || lines[maxPrinted] != "and 9900 or more" || len(list) != maxProblems {
		t.Errorf("%d problems make %d lines, the last is %q", len(list), len(lines), lines[len(lines)-1])
	}
}

func TestTooManyItems(t *testing.T) {
	_, err := Parse("f.yaml", []byte("fleet: f\ntiers: [{name: t}]\nhosts:\n"+strings.Repeat("- x\n", maxItems+1)))
	want := "f.yaml:100004:3: hosts has more than 100000 items; use ranges, or split the estate"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestTooManyMembers: groups may name each host, but not each host over and over.
func TestTooManyMembers(t *testing.T) {
	text := "fleet: f\ntiers: [{name: t}]\nhosts: [{name: 'a[1-1000]', tier: t, os: linux}]\ngroups: [{name: g, max-at-once: 1, members: [" +
		strings.Repeat("'a[1-1000]',", maxMembers/1000) + "'a1']}]\n"
	_, err := Parse("f.yaml", []byte(text))
	want := fmt.Sprintf("f.yaml:4:%d: the groups name more than 1000000 members; use fewer or smaller groups", strings.Index(text, "'a1'")-strings.LastIndex(text[:len(text)-1], "\n"))
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLongCycle(t *testing.T) {
	var b strings.Builder
	b.WriteString("fleet: f\ntiers: [{name: t}]\nhosts: [{name: a, tier: t, os: linux}]\nservices:\n")
	const n = maxServices
	for i := range n {
		fmt.Fprintf(&b, "  - {name: s%d, tier: t, needs: [s%d]}\n", i, (i+1)%n)
	}
	_, err := Parse("f.yaml", []byte(b.String()))
	want := "f.yaml:10004:36: services need each other: s0 -> s1 -> s2 -> s3 -> s4 -> s5 -> s6 -> s7 -> s8 -> s9 -> s10 -> … -> s9999 -> s0; remove one of these needs"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
