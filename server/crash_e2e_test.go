//go:build e2e && linux

package server_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// How the crashes are played again, and how many there are.
const (
	crashSeed  = "BLACKSTART_CRASH_SEED"
	crashKills = "BLACKSTART_CRASH_KILLS"
	leastKills = 50
)

// What is wrong with the estate that is crashed upon, beside the bad update. Durations are the lab's, 400 times as long as here.
const crashFaults = `never-hit: {count: 2}
faults:
  - {kind: heals-itself, count: 3, crashes: 6..20}
  - {kind: slow-boot, count: 3, boot: 10m..20m}
  - {kind: unreachable-at-first, count: 4, for: 60m..200m}
  - {kind: needs-hands, count: 2}
  - {kind: wrong-disk, count: 2}
  - {kind: drops-connection, count: 5}
  - {kind: relapses, count: 3, after: 20s..5m}
  - {kind: wrong-host-key, count: 1}
  - {kind: silent-ssh, count: 1, times: 1}
  - {kind: floods, count: 2, bytes: 1000000}
`

// The real binary is killed with SIGKILL at 50 moments of one incident and started again with the same command on the same data.
// The estate around it, real SSH and real agents in this process, notices nothing but that its coordinator is away. The program is
// the shipped one at the machine's own clock: the machines boot 400 times as fast, and the playbook's waits are those of a test.
//
// After each death the journal is copied as the dead process left it, and so is the snapshot that it kept. Both must open; the
// copy must begin with every byte that was there at the death before and hold whatever had been told to anybody. At the end the
// journal is audited and put beside what the machines count themselves.
func TestCrashesOverOneIncident(t *testing.T) {
	n, kills := crashNumber(t, crashSeed, rand.Uint64N(1<<32)), int(crashNumber(t, crashKills, leastKills)) //nolint:gosec // a test's dice; a count
	t.Logf("%s=%d %s=%d go test -tags e2e -count=1 -run '^%s$' -v ./server", crashSeed, n, crashKills, kills, t.Name())
	began := time.Now()
	dice := rand.New(rand.NewPCG(n, 2)) //nolint:gosec // a test's dice
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute+time.Duration(kills)*5*time.Second)
	defer cancel()

	text := crashEstate(max(kills, leastKills)*8/5, fmt.Sprintf("127.%d", 32+dice.IntN(200)))
	v := newVictim(t, text, n, dice)
	l := v.lab
	v.live(ctx)
	if err := l.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, m := range l.Truth() { // until its rescue system is at hand
		if err := l.Await(ctx, m.Host, func(m lab.Truth) bool { return m.Up || m.Boots > 1 }); err != nil {
			t.Fatal(err)
		}
	}

	over := make(chan error, 1)
	r := &responder{T: t, client: v.client, lab: l}
	go func() { over <- r.recover(ctx, windowsBook) }()
	stop := v.listen(ctx)
	defer stop()
	for i, m := range deal(kills, dice) {
		if !v.await(ctx, m) {
			m.name = "after all"
			v.vain++
		}
		v.die(m.name)
		select {
		case err := <-over:
			t.Fatalf("the incident ended before kill %d of %d: %v; make the estate larger", i+1, kills, err)
		default:
		}
		v.rest(ctx)
		v.live(ctx)
	}
	killing, then := time.Since(began), len(v.entries)
	select {
	case err := <-over:
		if err != nil {
			v.whoIsLeft()
			t.Fatal(err)
		}
	case err := <-v.ended:
		t.Fatalf("the last coordinator died by itself: %v\n%s", err, v.tail(20))
	}
	for _, m := range l.Truth() { // a relapse may still be on its way round
		if err := l.Await(ctx, m.Host, func(m lab.Truth) bool { return m.Up && m.Bad == 0 }); err != nil {
			t.Error(err)
		}
	}
	stop()
	v.die("after the close")
	checkTruth(t, l)
	v.judge(v.site, l)
	v.sum(n, kills)
	t.Logf("the kills took %v, up to entry %d; the whole %v", killing.Round(time.Second), then, time.Since(began).Round(time.Second))
}

// deal returns the moments of so many kills: every kind comes as often as it is on the deck, in the order of the dice.
func deal(kills int, dice *rand.Rand) []moment {
	var hand []moment
	for len(hand) < kills {
		hand = append(hand, moments...)
	}
	dice.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
	return hand[:kills]
}

// crashEstate writes the fleet file of n Windows hosts in five tiers of two services each.
func crashEstate(n int, network string) string {
	var b strings.Builder
	b.WriteString("fleet: crashes\npolicy: {backoff: 1s, backoff-max: 2s, max-attempts: 12, max-in-flight: 8, ")
	b.WriteString("incident-failures: 60%, same-signature: 50}\ntiers:\n")
	tiers := []string{"infrastructure", "critical", "important", "standard", "rest"}
	for _, tier := range tiers {
		fmt.Fprintf(&b, "  - {name: %s, rto: 2h, gate: {success: 80%%, soak: 2s, max-failed: 20%%, max-unreachable: 20%%}}\n", tier)
	}
	b.WriteString("services:\n")
	for _, tier := range tiers {
		fmt.Fprintf(&b, "  - {name: %s-data, tier: %s, up: 60%%}\n  - {name: %s-web, tier: %s, needs: [%s-data]}\n", tier, tier, tier, tier, tier)
	}
	b.WriteString(`groups:
  - {name: pair, max-at-once: 1, members: "infrastructure-data[01-02]"}
  - {name: cluster, max-at-once: 2, members: "critical-data[01-06]"}
resources: {ssh: 6}
ladders:
  rescue:
    - {name: rescue, environment: rescue-linux, reboots: true, port: 2222}
    - {name: hands, kind: hands}
`)
	b.WriteString("defaults: {os: windows-2019, data: none, agent: true, ladder: rescue, edr: {product: crowdstrike-falcon}}\nhosts:\n")
	for i := range n {
		service := tiers[i%len(tiers)] + []string{"-data", "-web"}[i/len(tiers)%2]
		critical := ""
		if i < len(tiers) {
			critical = ", critical: true"
		}
		fmt.Fprintf(&b, "  - {name: %s%02d, service: %s, address: %s.%d.%d%s}\n", service, i/len(tiers)/2+1, service, network, i/200, i%200+1, critical)
	}
	return b.String()
}

// newVictim makes the site of the coordinator that is killed, and the estate that it works on.
func newVictim(t *testing.T, text string, n uint64, dice *rand.Rand) *victim {
	t.Helper()
	before, within := soak, verifyWithin
	t.Cleanup(func() { soak, verifyWithin = before, within }) // the tests after this one play in the story's time
	soak, verifyWithin = "1s", "15s"
	dir := t.TempDir()
	quickBooks(t, filepath.Join(dir, "playbooks"), "sleep 0.4") // so that a kill meets scripts that run
	keyFile, key := sshKey(t, dir)
	known, snapshot := filepath.Join(dir, "known_hosts"), filepath.Join(t.TempDir(), "snapshot.db")
	s := newSite(t, text, "--playbooks", filepath.Join(dir, "playbooks"), "--ssh-key", keyFile, "--known-hosts", known, "--snapshot", snapshot)
	l := machines(t, lab.Config{Hosts: hostSpecs(parse(t, text)), Scenario: scenario(t, story+crashFaults), Seed: n, Speed: 400,
		Dir: filepath.Join(dir, "lab"), AuthorizedKey: key, Coordinators: []string{s.address}, ListenAsIs: true,
		AgentTLS: func(host string) (*tls.Config, error) {
			base := filepath.Join(s.site(), "agents", host)
			conf, _, err := pki.AgentTLS(filepath.Join(s.site(), "ca.pem"), base+".pem", base+"-key.pem")
			return conf, err
		}})
	if err := os.WriteFile(known, l.KnownHosts(), 0o600); err != nil {
		t.Fatal(err)
	}
	return &victim{site: s, lab: l, dice: dice, snapshot: snapshot, deaths: map[string]int{}, remains: remains{last: map[string]int{}}}
}

// sum prints what was played, and fails the test when the kills met too little to prove anything.
func (v *victim) sum(seed uint64, kills int) {
	v.Helper()
	counts := map[string]int{}
	joined, lost := 0, 0
	for _, e := range v.entries {
		counts[e.Event.Kind()]++
		if end, ok := e.Event.(*recovery.AttemptEnded); ok {
			if end.Result.Joined {
				joined++
			}
			if end.Result.Class == recovery.Lost {
				lost++
			}
		}
	}
	v.Logf("seed %d: %d kills, %d restarts in the journal, start-up %v in the median and %v at most", seed, kills, counts["coordinator-restarted"],
		median(v.starts).Round(time.Millisecond), slices.Max(v.starts).Round(time.Millisecond))
	v.Logf("%d attempts, %d joined, %d lost, %d executions; %d relapses; %d entries", counts["attempt-started"], joined, lost,
		v.executions, counts["host-relapsed"], len(v.entries))
	v.Logf("killed %v", v.deaths)
	v.Logf("the deaths, by the journals that they left: %+v; the last entry was %v; %d snapshots read", v.met, v.last, v.snapshots)
	if m := v.met; m.starting == 0 || m.attempting < kills/4 || m.awaiting < kills/4 || joined < kills/4 || v.snapshots == 0 {
		v.Errorf("the kills met too little: %+v, %d attempts joined, %d snapshots", m, joined, v.snapshots)
	}
	if v.vain > kills/2 {
		v.Errorf("%d of %d kills waited in vain for their moment", v.vain, kills)
	}
	if v.said("panic") > 0 {
		v.Error("the coordinator panicked")
	}
}

// crashNumber reads a number from the environment.
func crashNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	if s := os.Getenv(name); s != "" {
		if _, err := fmt.Sscan(s, &otherwise); err != nil {
			t.Fatalf("%s=%s is no number", name, s)
		}
	}
	return otherwise
}
