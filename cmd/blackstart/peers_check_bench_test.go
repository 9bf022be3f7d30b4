//go:build bench

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestPeersJudge gives the benchmark answers with one mistake each, because a benchmark that believes wrong results measures nothing.
func TestPeersJudge(t *testing.T) {
	hosts := peerHosts(60, true)
	want := func(h peerHost) string { return "it is " + h.addr }
	good := func() map[string]peerAnswer {
		answers := map[string]peerAnswer{}
		for _, h := range hosts {
			answers[h.addr] = peerAnswer{h.kind != "dead", h.exit(), want(h) + "\n"}
		}
		return answers
	}
	if wrong := peerJudge(hosts, want, good()); len(wrong) > 0 {
		t.Errorf("right answers are called wrong: %v", wrong)
	}
	find := func(what string, is func(peerHost) bool) string {
		i := slices.IndexFunc(hosts, is)
		if i < 0 {
			t.Fatalf("there is no %s host among %d", what, len(hosts))
		}
		return hosts[i].addr
	}
	live := find("live", func(h peerHost) bool { return h.kind == "live" })
	slow := find("slow", func(h peerHost) bool { return h.kind == "slow" })
	dead := find("dead", func(h peerHost) bool { return h.kind == "dead" })
	seven := find("failing", func(h peerHost) bool { return h.kind == "live" && h.exit() == 7 })
	for name, spoil := range map[string]func(map[string]peerAnswer){
		"a host is missing":               func(a map[string]peerAnswer) { delete(a, live) },
		"a dead host is missing":          func(a map[string]peerAnswer) { delete(a, dead) },
		"a slow host is called dead":      func(a map[string]peerAnswer) { a[slow] = peerAnswer{exit: 255} },
		"a dead host is called well":      func(a map[string]peerAnswer) { a[dead] = peerAnswer{reached: true} },
		"an exit code is lost":            func(a map[string]peerAnswer) { a[seven] = peerAnswer{true, 0, a[seven].output} },
		"an output is lost":               func(a map[string]peerAnswer) { a[live] = peerAnswer{reached: true} },
		"an output is another host's":     func(a map[string]peerAnswer) { a[live] = peerAnswer{true, 0, a[slow].output} },
		"an output has more than it must": func(a map[string]peerAnswer) { a[live] = peerAnswer{true, 0, a[live].output + a[live].output} },
		"a host that nobody asked for":    func(a map[string]peerAnswer) { a["10.0.0.1"] = peerAnswer{reached: true} },
	} {
		answers := good()
		spoil(answers)
		if wrong := peerJudge(hosts, want, answers); len(wrong) != 1 {
			t.Errorf("%s: judged %v", name, wrong)
		}
	}
}

// TestPeersRead feeds each client's own words to what reads them.
func TestPeersRead(t *testing.T) {
	const a, b, c = "127.88.0.1", "127.88.0.50", "198.18.0.8"
	want := map[string]peerAnswer{a: {true, 0, "one\n"}, b: {true, 7, "two\n"}, c: {false, 0, ""}}
	e := &peerEstate{hosts: []peerHost{{a, "live"}, {b, "live"}, {c, "dead"}}}
	for name, of := range map[string]struct {
		said peerSaid
		read func(*peerEstate, peerSaid) (map[string]peerAnswer, error)
	}{
		"bare": {peerSaid{stdout: `{"host":"127.88.0.1","exit":0,"output":"one\n"}
{"host":"127.88.0.50","exit":7,"output":"two\n"}
{"host":"198.18.0.8","exit":0,"output":"","error":"i/o timeout"}
`}, bareAnswers},
		"blackstart": {peerSaid{stdout: `{"hosts":[{"host":"h-127-88-0-1","class":"succeeded","exit":0,"output":"one\n"},
{"host":"h-127-88-0-50","class":"failed","exit":7,"output":"two\n"},{"host":"h-198-18-0-8","class":"unreachable"}]}`}, runAnswers},
		"clush": {peerSaid{"127.88.0.1: one\n127.88.0.50: two\n", `198.18.0.8: ssh: connect to host 198.18.0.8 port 2200: Connection timed out
clush: 198.18.0.8: exited with exit code 255
clush: 127.88.0.50: exited with exit code 7
`}, clushAnswers},
		"pssh": {peerSaid{stdout: `[1] 00:45:04 [SUCCESS] 127.88.0.1
one
[2] 00:45:04 [FAILURE] 127.88.0.50 Exited with error code 7
two
[3] 00:45:14 [FAILURE] 198.18.0.8 Exited with error code 255
Stderr: ssh: connect to host 198.18.0.8 port 2200: Connection timed out`}, psshAnswers},
		"ansible raw": {peerSaid{stdout: `127.88.0.1 | CHANGED | rc=0 >>
one

127.88.0.50 | FAILED | rc=7 >>
two
non-zero return code
198.18.0.8 | UNREACHABLE! => {
    "changed": false,
    "unreachable": true
}
`}, ansibleAnswers},
		"ansible script": {peerSaid{stdout: `127.88.0.1 | CHANGED => {
    "rc": 0,
    "stdout": "one\n"
}
An exception occurred during task execution. To see the full traceback, use -vvv. The error was: NoneType: None
127.88.0.50 | FAILED! => {
    "msg": "non-zero return code",
    "rc": 7,
    "stdout": "two\n"
}
198.18.0.8 | UNREACHABLE! => {
    "unreachable": true
}
`}, ansibleAnswers},
	} {
		got, err := of.read(e, of.said)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for host, w := range want {
			g, ok := got[host]
			switch {
			case !ok || g.reached != w.reached || len(got) != len(want):
				t.Errorf("%s: %s is %+v (%t) of %d", name, host, g, ok, len(got))
			case w.reached && (g.exit != w.exit || strings.TrimSpace(g.output) != strings.TrimSpace(w.output)):
				t.Errorf("%s: %s is %+v", name, host, g)
			}
		}
	}
}

// TestPeersFigures checks what is made of the runs: medians, ratios, and promises kept and broken.
func TestPeersFigures(t *testing.T) {
	row := func(name string, cpu int, walls ...int) *peerRow {
		r := &peerRow{Client: name}
		for _, w := range walls {
			r.Runs = append(r.Runs, peerCost{Wall: time.Duration(w) * time.Second, CPU: time.Duration(cpu) * time.Second})
		}
		return r
	}
	wrong, once := row("pssh", 1), row("ansible raw", 1, 40)
	wrong.Wrong, once.Wrong = []string{"lost"}, []string{"late"}
	tables := []*peerTable{
		{Scenario: "sshd", Hosts: 9, Rows: []*peerRow{row(peerBareName, 2, 9, 10, 30), row(peerOurName, 5, 99, 12, 11), row("clush", 9, 20, 10, 13), once, wrong}},
		{Scenario: "bad", Hosts: 9, Rows: []*peerRow{row(peerOurName, 1, 23), row("clush", 1, 22)}},
	}
	for _, part := range []string{"| 3/3   | 12.00   | 11.00–99.00 | 1.20   | 1.00         | 5.00          | 2.50   |", "| 1/2   |", "| WRONG   |", "pssh was wrong once, which has no time: lost"} {
		if text := tables[0].markdown(); !strings.Contains(text, part) {
			t.Errorf("the table does not say %q:\n%s", part, text)
		}
	}
	var got []string
	for _, g := range peerTargets(tables) {
		got = append(got, fmt.Sprint(g.Promise, " ", g.Met))
	}
	want := []string{
		"sshd: wall ahead of clush true", "sshd: wall ahead of ansible raw true", "sshd: wall at most 1.25 × the bare loop true", "sshd: client CPU at most 2 × the bare loop false",
		"bad: wall ahead of clush false", "bad: wall at most one timeout (10 s) above the run without dead hosts false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
