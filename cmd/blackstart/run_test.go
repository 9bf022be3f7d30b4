package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// runStory is an uneventful day: nothing strikes, and one machine shows a key that is not its own.
const runStory = `name: quiet
clock: 2026-01-15T11:35:00Z
update:
  linux:
    folder: opt/edr/content
    header: 45 44 52 43 01 00
    bad-from: 2026-01-15T10:00:00Z
    bad-to: 2026-01-15T11:30:00Z
    bad: {name: rules-2.bin, modified: 2026-01-15T10:00:12Z, size: 4100}
    good: {name: rules-3.bin, modified: 2026-01-15T11:30:08Z, size: 4100}
boot: 1s..1s
loop: {up: 10s..40s, network: 35%}
faults:
  - {kind: wrong-host-key, hosts: web06}
`

// Scripts about runs can say, beside what TestScripts brings:
//
//	machines         six Linux machines, web01 to web06, up until the script ends, with fleet.yaml and known_hosts; the fleet
//	                 file knows web07 too, of which there is nothing, and win01, which has no ssh rung
//	wrote FILE N     wait until scripts have left FILE on N machines
//	startedonce      no machine has started the script of one attempt twice
//	runfolder NAME DIR  set NAME to the one run's folder below DIR
func machines(ts *testscript.TestScript, _ bool, _ []string) {
	network, port := freeNetwork(ts)
	key, err := os.ReadFile(ts.MkAbs("id"))
	ts.Check(err)
	signer, err := ssh.ParsePrivateKey(key)
	ts.Check(err)
	story, err := lab.ReadScenario("scenario.yaml", []byte(runStory))
	ts.Check(err)
	c := lab.Config{Scenario: story, Speed: 1000, Seed: 1, Dir: ts.MkAbs("lab"), AuthorizedKey: signer.PublicKey(), ListenAsIs: true}
	for i := 1; i <= 6; i++ {
		c.Hosts = append(c.Hosts, lab.HostSpec{Name: fmt.Sprintf("web%02d", i), OS: "linux", EDRProduct: "edr-linux",
			Rungs: []lab.Rung{{Name: "own", Environment: lab.EnvLinux, Address: fmt.Sprintf("%s%d", network, i), Port: port}}})
	}
	l, err := lab.New(c)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), scriptPatience)
	defer cancel()
	ts.Check(l.Start(context.Background()))
	ts.Defer(func() { ts.Check(l.Close()) })
	for _, h := range c.Hosts {
		ts.Check(l.Await(ctx, h.Name, func(t lab.Truth) bool { return t.Up }))
	}
	ts.Check(os.WriteFile(ts.MkAbs("known_hosts"), l.KnownHosts(), 0o600))
	fleet := fmt.Sprintf(`fleet: depot
tiers: [{name: base, gate: {success: 100%%}}, {name: rest, gate: {success: 100%%}}]
services: [{name: web, tier: base}, {name: desk, tier: rest}]
resources: {ssh: 4}
groups: [{name: pair, max-at-once: 1, members: ["web[01-02]"]}]
ladders:
  own: [{name: own, environment: linux, port: %d}, {name: hands, kind: hands}]
  hands: [{name: hands, kind: hands}]
defaults: {os: linux, data: none, agent: false, edr: {product: edr-linux}, ladder: own}
hosts:
  - {name: "web[01-07]", service: web, address: %s1}
  - {name: win01, service: desk, os: windows-2019, edr: {product: crowdstrike-falcon}, ladder: hands}
`, port, network)
	ts.Check(os.WriteFile(ts.MkAbs("fleet.yaml"), []byte(fleet), 0o600))
}

// freeNetwork is a loopback network of which nothing else has the port.
func freeNetwork(ts *testscript.TestScript) (network string, port int) {
	network = fmt.Sprintf("127.%d.%d.", 32+rand.IntN(200), rand.IntN(250)) //nolint:gosec // a test's dice: two scripts, or two runs, ought not to meet
	l, err := net.Listen("tcp", network+"1:0")
	ts.Check(err)
	defer l.Close()
	return network, l.Addr().(*net.TCPAddr).Port
}

func wrote(ts *testscript.TestScript, _ bool, args []string) {
	tryUntil(ts, args[0]+" on "+args[1]+" machines", func() bool {
		files, err := filepath.Glob(ts.MkAbs("lab/disks/*/" + args[0]))
		ts.Check(err)
		return fmt.Sprint(len(files)) == args[1]
	})
}

func runFolder(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(filepath.Join(ts.MkAbs(args[1]), "runs", "RUN-*"))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("runs below %s: %v", args[1], found)
	}
	ts.Setenv(args[0], found[0])
}

func startedOnce(ts *testscript.TestScript, _ bool, _ []string) {
	files, err := filepath.Glob(ts.MkAbs("lab/disks/*/began"))
	ts.Check(err)
	for _, f := range files {
		data, err := os.ReadFile(f)
		ts.Check(err)
		lines := strings.Fields(string(data))
		slices.Sort(lines)
		if n := len(lines); n != len(slices.Compact(lines)) {
			ts.Fatalf("%s: %d starts: %s", f, n, data)
		}
	}
	if len(files) == 0 {
		ts.Fatalf("no script has started")
	}
}

// accountWith is the account of a run on hosts that ended so.
func accountWith(complete bool, hosts ...hostAccount) *runAccount {
	a := &runAccount{Complete: complete, Playbook: "p", Dir: "d", Hosts: hosts, restarts: "nothing is restarted", Totals: runTotals{Chosen: len(hosts), Classes: map[string]int{}}}
	for _, h := range hosts {
		a.Totals.Classes[h.Class]++
	}
	a.Totals.Succeeded = a.Totals.Classes["succeeded"]
	return a
}

func TestRunVerdict(t *testing.T) {
	ok, failed, refused, left := hostAccount{Class: "succeeded"}, hostAccount{Class: "nothing-found"}, hostAccount{Class: classRefused}, hostAccount{Class: classNotStarted}
	for _, c := range []struct {
		name string
		a    *runAccount
		exit int
		says string
	}{
		{"all well", accountWith(true, ok, ok), exitDone, ""},
		{"one found nothing", accountWith(true, ok, failed), exitFailed, "1 of 2 hosts did not succeed"},
		{"one failed and one cannot", accountWith(true, ok, failed, refused), exitFailed, "1 of 2 hosts did not succeed"},
		{"one cannot", accountWith(true, ok, refused), exitRefused, "1 of 2 chosen hosts could not take part; the others succeeded"},
		{"stopped", accountWith(false, ok, left, refused), exitFailed, "stopped with 1 host left; take it up with: blackstart run --resume d"},
	} {
		says, exit := end(c.a.verdict("blackstart run --resume d"))
		if exit != c.exit || says != c.says {
			t.Errorf("%s: exit %d, %q", c.name, exit, says)
		}
	}
}

// Hosts that ended alike stand in one line, what went well first; text of a host cannot move the cursor.
func TestRunAccountIsFolded(t *testing.T) {
	var hosts []hostAccount
	for i := range 9 {
		hosts = append(hosts, hostAccount{Host: fmt.Sprintf("h%d", i), Class: "failed", Signature: "exit 3: disk full", Detail: fmt.Sprintf("said by h%d \x1b[2J", i)})
	}
	hosts = append(hosts, hostAccount{Host: "x", Class: classRefused, Detail: "its ladder has no ssh rung"}, hostAccount{Host: "y", Class: "unreachable", Signature: "no answer", Detail: "No answer."},
		hostAccount{Host: "z", Class: "succeeded", Detail: "The script ended with 0."})
	var out bytes.Buffer
	c := &cobra.Command{}
	c.SetOut(&out)
	accountWith(true, hosts...).print(c)
	want := `CLASS        HOSTS  WHICH                      WHAT
succeeded        1  z                          The script ended with 0.
failed           9  h0, h1, h2, h3 and 5 more  exit 3: disk full: said by h0
unreachable      1  y                          no answer: No answer.
refused          1  x                          its ladder has no ssh rung

1 of 12 hosts succeeded in 0.0s with p (); nothing is restarted
exit 0 is a claim: this run has proven nothing. What proves hosts is an incident (` + "`blackstart incident declare`" + `)
record: d (journal.db, output/)
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRunOutputIsShownOnce(t *testing.T) {
	same, other := "a  b\n\tc\x1b]0;title\a\n", "alone"
	var out bytes.Buffer
	c := &cobra.Command{}
	c.SetOut(&out)
	accountWith(true, hostAccount{Host: "h1", Class: "succeeded", Output: &same}, hostAccount{Host: "h2", Class: "failed", Output: &other}, hostAccount{Host: "h3", Class: "succeeded", Output: &same}).printOutputs(c)
	if want := "---- h1, h3 (2 hosts): succeeded\na  b\nc\n\n---- h2: failed\nalone\n\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestRunOutputIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "long.log")
	if err := os.WriteFile(file, bytes.Repeat([]byte("\xff234567\n"), mostShown), 0o600); err != nil {
		t.Fatal(err)
	}
	text := readStart(file)
	if len(text) > 2*mostShown || !strings.HasSuffix(text, "\n[the rest is in "+file+"]\n") || !utf8.ValidString(text) {
		t.Errorf("%d bytes, ending in %q", len(text), text[len(text)-80:])
	}
}

func TestRunLine(t *testing.T) {
	c := recovery.RunCounts{Waiting: 7, UnderWay: 2, Results: map[recovery.Class]int{recovery.Unreachable: 1, recovery.Succeeded: 3}}
	if got, want := runLine(c), "4 of 13 hosts ended (3 succeeded, 1 unreachable); 2 under way, 7 waiting"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A script that another program should read fails on every host, one by one, if a shell gets it.
func TestOnlyShellScriptsAreRun(t *testing.T) {
	for text, want := range map[string]string{
		"echo hi\n": "", "#!/bin/sh\n": "", "#! /usr/bin/env bash\n": "", "#!/bin/busybox ash\n": "", "#!/usr/bin/env -S dash -e\n": "", "#!\n": "",
		"#!/usr/bin/env python3\nprint(1)\n": "python3", "#!/usr/bin/perl -w\n": "perl", "#!/bin/awk -f\r\n": "awk",
	} {
		if got, other := otherInterpreter([]byte(text)); other != (want != "") || other && got != want {
			t.Errorf("%q: %q, %v", text, got, other)
		}
	}
}
