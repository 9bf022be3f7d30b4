//go:build bench

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPeers runs one script of 1 KB on many hosts with Blackstart and with what people would have used instead, and prints
// tables with medians and ratios. docs/benchmarks.md says how it measures. It must be root, and needs what
// tools/install-bench-deps.sh installs. A wrong result of Blackstart fails the test; a missed target does not, it is printed
// as missed.
//
//	BLACKSTART_BENCH_HOSTS      targets, 934
//	BLACKSTART_BENCH_RUNS       measured runs of each client, alternated, 5
//	BLACKSTART_BENCH_SCENARIOS  of sshd, go, bad, gobad; default sshd,go,bad
//	BLACKSTART_BENCH_CLIENTS    words that the names of the clients to run begin with, or "=" and a whole name; default all
//	BLACKSTART_BENCH_FANOUTS    what the tuning tries, 16,32,64
//	BLACKSTART_BENCH_TUNE       targets of the tuning runs; default all, so that tails weigh as much as in the measured runs
//	BLACKSTART_BENCH_JSON       a file for the figures of every single run
func TestPeers(t *testing.T) {
	if os.Getenv(peerInsideEnv) == "" {
		peerOutside(t)
		return
	}
	b := newPeerBench(t)
	for _, name := range b.scenarios {
		b.scenario(name)
		b.save()
	}
	b.report()
}

// peerInsideEnv marks the process that has namespaces of its own, and names its folder.
const peerInsideEnv = "BLACKSTART_BENCH_INSIDE"

// peerOutside runs this test again where it has its own network and its own process table: nothing of it can be left behind.
func peerOutside(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this benchmark makes network namespaces and logs in as root: run it as root, on a machine of your own")
	}
	for _, tool := range []string{"ip", "ssh", "ssh-keygen", "clush", "parallel-ssh", "ansible", "cksum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: run tools/install-bench-deps.sh", err)
		}
	}
	args := []string{"-test.run=^TestPeers$", "-test.v"}
	if deadline, ok := t.Deadline(); ok {
		args = append(args, "-test.timeout="+time.Until(deadline).Round(time.Second).String())
	} else {
		args = append(args, "-test.timeout=0")
	}
	// On the disk where hosts would have their state, not in memory; a short path, for ssh's control sockets.
	dir, err := os.MkdirTemp("/var/tmp", "bsbench") //nolint:usetesting // the path of t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), peerInsideEnv+"="+dir)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	runtime.LockOSThread() // the signal is sent when this thread ends
	defer runtime.UnlockOSThread()
	if err := c.Run(); err != nil {
		t.Errorf("inside its namespaces: %v", err)
	}
}

// peerBench is the benchmark under way.
type peerBench struct {
	*testing.T
	world     *peerWorld
	hosts     int
	runs      int
	tune      int
	scenarios []string
	fanouts   []int
	only      []string
	tables    []*peerTable
	number    int // of the last run
}

func newPeerBench(t *testing.T) *peerBench {
	t.Helper()
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{{"none", "/", "", syscall.MS_REC | syscall.MS_PRIVATE}, {"proc", "/proc", "proc", 0}} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			t.Fatalf("mount %s: %v", m.target, err)
		}
	}
	b := &peerBench{T: t}
	b.hosts = b.count("HOSTS", 934)
	b.runs = b.count("RUNS", 5)
	b.tune = min(b.hosts, b.count("TUNE", b.hosts))
	b.scenarios = peerList("SCENARIOS", "sshd,go,bad")
	b.only = peerList("CLIENTS", "")
	for _, word := range peerList("FANOUTS", "16,32,64") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			t.Fatalf("BLACKSTART_BENCH_FANOUTS: %q is no number", word)
		}
		b.fanouts = append(b.fanouts, n)
	}
	b.world = newPeerWorld(t, os.Getenv(peerInsideEnv))
	return b
}

func (b *peerBench) count(name string, otherwise int) int {
	b.Helper()
	text := os.Getenv("BLACKSTART_BENCH_" + name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 50000 {
		b.Fatalf("BLACKSTART_BENCH_%s: %q is no number from 1 to 50000", name, text)
	}
	return n
}

func peerList(name, otherwise string) []string {
	return strings.FieldsFunc(cmp.Or(os.Getenv("BLACKSTART_BENCH_"+name), otherwise), func(r rune) bool { return r == ',' })
}

// peerKinds are the scenarios: which server the hosts have, and whether some are dead and some slow.
var peerKinds = map[string]struct {
	title, server string
	bad           bool
}{
	"sshd":  {"real sshd", "sshd", false},
	"go":    {"one Go SSH server process", "go", false},
	"bad":   {"real sshd, 5 % dead hosts and 5 % slow ones", "sshd", true},
	"gobad": {"one Go SSH server process, 5 % dead hosts and 5 % slow ones", "go", true},
}

// scenario tunes, measures and prints one table.
func (b *peerBench) scenario(name string) {
	b.Helper()
	kind, ok := peerKinds[name]
	if !ok {
		b.Fatalf("BLACKSTART_BENCH_SCENARIOS: %q is none of sshd, go, bad, gobad", name)
	}
	servers := b.world.serve(kind.server)
	defer servers.stop()
	full := b.world.estate(name, peerHosts(b.hosts, kind.bad))
	small := full
	if b.tune < b.hosts {
		small = b.world.estate(name+"-tune", peerHosts(b.tune, kind.bad))
	}
	table := &peerTable{Scenario: name, Title: kind.title, Hosts: b.hosts}
	b.tables = append(b.tables, table)
	for _, c := range peerClients() {
		switch {
		case len(b.only) > 0 && !slices.ContainsFunc(b.only, func(word string) bool { return word == "="+c.name || strings.HasPrefix(c.name, word) }):
		case kind.server == "go" && c.kex == peerDefaultKex:
			// x/crypto's server has no sntrup761, so both key exchanges are curve25519 there.
		default:
			table.Rows = append(table.Rows, &peerRow{Client: c.name, client: c})
		}
	}
	for _, row := range table.Rows {
		row.Setting = b.tuned(servers, small, table, row.client)
	}
	for n := range b.runs {
		for _, row := range table.Rows {
			cost, wrong := b.run(servers, full, row.client, row.Setting)
			if wrong != "" {
				row.Wrong = append(row.Wrong, wrong)
			} else {
				row.Runs = append(row.Runs, cost)
			}
			b.say("%s, run %d of %d: %s", name, n+1, b.runs, peerLine(row.Client, row.Setting, cost, wrong))
		}
	}
	fmt.Println(table.markdown())
}

// tuned tries what there is to choose, once each, and returns what was fastest with right results.
func (b *peerBench) tuned(servers *peerServers, e *peerEstate, table *peerTable, c peerClient) peerSetting {
	b.Helper()
	if c.like != "" {
		for _, row := range table.Rows {
			if row.Client == c.like {
				return row.Setting
			}
		}
	}
	best, fastest := peerSetting{}, time.Duration(0)
	try := func(set peerSetting) {
		cost, wrong := b.run(servers, e, c, set)
		b.say("%s, tuning with %d hosts: %s", table.Scenario, len(e.hosts), peerLine(c.name, set, cost, wrong))
		if wrong == "" && (fastest == 0 || cost.Wall < fastest) {
			best, fastest = set, cost.Wall
		}
	}
	if !c.fanouts {
		return best
	}
	best.Fanout = b.fanouts[0]
	best.Persist = c.persist // Ansible's own default
	for _, n := range b.fanouts {
		try(peerSetting{n, c.persist})
	}
	if c.persist {
		try(peerSetting{best.Fanout, false})
	}
	return best
}

func (b *peerBench) say(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", args...)
}

func peerLine(client string, set peerSetting, cost peerCost, wrong string) string {
	if wrong != "" {
		return fmt.Sprintf("%s (%s): WRONG: %s", client, set, wrong)
	}
	return fmt.Sprintf("%s (%s): wall %s, client CPU %s, hosts' CPU %s", client, set, peerSeconds(cost.Wall), peerSeconds(cost.CPU), peerSeconds(cost.HostsCPU))
}

// run runs a client once and checks every result. wrong is empty when all is as it must be.
func (b *peerBench) run(servers *peerServers, e *peerEstate, c peerClient, set peerSetting) (_ peerCost, wrong string) {
	b.Helper()
	b.number++
	dir := b.world.path(fmt.Sprintf("r%d", b.number))
	if err := os.Mkdir(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e.clean()
	before := servers.idle()

	out, cost, err := b.measured(c.command(e, set, c.kex, dir), e, dir)
	cost.HostsCPU = servers.idle() - before
	if err != nil {
		return cost, err.Error()
	}
	answers, err := c.answers(e, out)
	wrongs := peerJudge(e.hosts, b.world.want, answers)
	switch {
	case err != nil:
		wrong = "its output cannot be read: " + err.Error()
	case len(wrongs) > 0:
		wrong = fmt.Sprintf("%d of %d hosts: %s", len(wrongs), len(e.hosts), strings.Join(wrongs[:min(3, len(wrongs))], "; "))
	default:
		return cost, ""
	}
	return cost, fmt.Sprintf("%s; it exits %d and says last: %q", wrong, cost.Exit, lastLines(out.stderr, 3))
}

// measured runs a client under the eyes of peerMeasure. Its output goes to files, so that nobody's pipe holds it up.
func (b *peerBench) measured(call peerCall, e *peerEstate, dir string) (out peerSaid, cost peerCost, err error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	file := filepath.Join(dir, "cost")
	m := peerPart(ctx, "measure", append([]string{file, cmp.Or(call.part, "-")}, call.args...)...)
	m.Env = append(m.Env, call.env...)
	m.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	m.Cancel = func() error { return syscall.Kill(-m.Process.Pid, syscall.SIGKILL) }
	var open [3]*os.File
	for i, name := range []string{os.DevNull, filepath.Join(dir, "out"), filepath.Join(dir, "err")} {
		mode := os.O_RDWR | os.O_CREATE
		if i == 0 && call.stdin {
			name = e.script
		}
		if i == 0 {
			mode = os.O_RDONLY
		}
		if open[i], err = os.OpenFile(name, mode, 0o600); err != nil {
			b.Fatal(err)
		}
		defer open[i].Close()
	}
	m.Stdin, m.Stdout, m.Stderr = open[0], open[1], open[2]
	err = m.Run()
	out = peerSaid{b.world.read(filepath.Join(dir, "out")), b.world.read(filepath.Join(dir, "err"))}
	switch {
	case ctx.Err() != nil:
		return out, cost, errors.New("it took more than 15 minutes")
	case err != nil:
		return out, cost, fmt.Errorf("%w: %s", err, lastLines(out.stderr, 3))
	}
	return out, cost, json.Unmarshal([]byte(b.world.read(file)), &cost)
}
