//go:build bench && linux

package server_test

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/pki"
)

// What an agent that has phoned home costs the coordinator, and what it costs itself, beside a bare grpc-go bidirectional stream:
//
//	go test -tags bench -run TestAgentsFootprint -v -timeout 60m ./server
//
// Each figure comes from processes of their own: one server, and one client process that holds every agent. The kinds take
// turns, round after round, and a figure is the median of its rounds. Environment:
//
//	BLACKSTART_BENCH_AGENTS=934,10000   how many agents
//	BLACKSTART_BENCH_ROUNDS=5           how often each kind has its turn
//	BLACKSTART_BENCH_WINDOW=10s         for how long CPU time is counted
const (
	mostMemory = 1.5              // times a bare stream's
	upLimit    = 15 * time.Minute // for every agent to be connected
	lookLimit  = 5 * time.Minute  // for a process to say how it is
	windows    = 5                // tries to have all connected from a window's beginning to its end
)

// kinds are what takes turns: a server and who calls it. The first is ours; the others are what it is compared with.
var kinds = []struct{ name, server, client string }{
	{"blackstart", "coordinator", "agents"},
	{"bare", "bare", "bare-agents"},
	{"bare, small buffers", "bare-small", "bare-agents"},
}

// figures are one process's costs for each agent.
type figures struct {
	Resident float64 // KiB of VmRSS, as it is
	InUse    float64 // KiB of heap and stacks after a collection
	CPU      float64 // microseconds a second
	Routines float64 // goroutines
}

func TestAgentsFootprint(t *testing.T) {
	rounds := number(t, "BLACKSTART_BENCH_ROUNDS", 5)
	window, err := time.ParseDuration(cmp.Or(os.Getenv("BLACKSTART_BENCH_WINDOW"), "10s"))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, text := range strings.Split(cmp.Or(os.Getenv("BLACKSTART_BENCH_AGENTS"), "934,10000"), ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("BLACKSTART_BENCH_AGENTS: %q is no number of agents", text)
		}
		dir := t.TempDir()
		if err := pki.Init(dir, pki.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := pki.IssueAgents(dir, agentNames(t, n)); err != nil {
			t.Fatal(err)
		}
		got := map[string][]figures{}
		for round := range rounds {
			for i := range kinds {
				k := kinds[(i+round)%len(kinds)]
				server, client := play(t, dir, n, k.server, k.client, window)
				got["server "+k.name], got["client "+k.name] = append(got["server "+k.name], server), append(got["client "+k.name], client)
				t.Logf("round %d, %d agents, %s: server %+.1f, client %+.1f, load %s", round+1, n, k.name, server, client, load(t))
			}
		}
		for _, side := range []string{"server", "client"} {
			report(t, &table, side, n, got)
		}
	}
	fmt.Println(table.String())
}

// play runs one server with n agents and returns what each process paid for one agent.
func play(t *testing.T, dir string, n int, server, client string, window time.Duration) (figures, figures) {
	t.Helper()
	order := childOrder{Dir: dir, Agents: n, Work: t.TempDir()}
	order.Role = server
	s := newChild(t, order)
	defer s.end()
	order.Role, order.Address = client, s.ready.Address
	c := newChild(t, order)
	defer c.end()
	s0, c0 := s.ask("collect"), c.ask("collect")
	c.ask("go") // returns when every agent has been connected
	all := func(here, there childLook) bool { return here.Sockets-s0.Sockets == n && there.Sockets-c0.Sockets == n }
	for range windows {
		wait(benchBeat + 2*time.Second) // the first beat brings what only the first one brings
		s1, c1 := s.ask("look"), c.ask("look")
		wait(window)
		s2, c2 := s.ask("look"), c.ask("look")
		if all(s1, c1) && all(s2, c2) {
			return each(s0, s1, s2, s.ask("collect"), n), each(c0, c1, c2, c.ask("collect"), n)
		}
		t.Logf("%s: of %d agents %d are connected, says the server; %d, says the client", server, n, s2.Sockets-s0.Sockets, c2.Sockets-c0.Sockets)
	}
	t.Fatalf("%s: not all of %d agents stay connected: the machine has too much else to do", server, n)
	return figures{}, figures{}
}

// wait lets time pass: it is what is measured over.
func wait(d time.Duration) { <-time.After(d) }

// each is the cost of one agent: memory over what the process held without any, CPU over the window.
func each(before, from, to, collected childLook, n int) figures {
	per := func(bytes int64) float64 { return float64(bytes) / 1024 / float64(n) }
	return figures{
		Resident: per(to.Resident - before.Resident),
		InUse:    per(collected.InUse - before.InUse),
		CPU:      float64((to.CPU - from.CPU).Microseconds()) / to.At.Sub(from.At).Seconds() / float64(n),
		Routines: float64(collected.Routines-before.Routines) / float64(n),
	}
}

// report writes a side's rows and fails when ours costs more memory than it may.
func report(t *testing.T, w io.Writer, side string, n int, got map[string][]figures) {
	t.Helper()
	who := map[string]string{"server": "coordinator", "client": "agents, all in one process"}[side]
	fmt.Fprintf(w, "\n%s, %d agents | resident KiB | in use KiB | CPU µs/s | goroutines | resident, ours ÷ it | in use, ours ÷ it | CPU, ours ÷ it\n", who, n)
	fmt.Fprintln(w, "--- | ---: | ---: | ---: | ---: | ---: | ---: | ---:")
	ours := middle(got[side+" "+kinds[0].name])
	for _, k := range kinds {
		m := middle(got[side+" "+k.name])
		fmt.Fprintf(w, "%s | %.1f | %.1f | %.1f | %.1f | %.2f | %.2f | %.2f\n", k.name, m.Resident, m.InUse, m.CPU, m.Routines,
			ours.Resident/m.Resident, ours.InUse/m.InUse, ours.CPU/m.CPU)
		if ours.InUse > mostMemory*m.InUse {
			t.Errorf("%s, %d agents: %.1f KiB in use for each is more than %.1f × the %.1f of %s", who, n, ours.InUse, mostMemory, m.InUse, k.name)
		}
		if ours.Resident > mostMemory*m.Resident {
			t.Errorf("%s, %d agents: %.1f KiB resident for each is more than %.1f × the %.1f of %s", who, n, ours.Resident, mostMemory, m.Resident, k.name)
		}
	}
}

func middle(of []figures) figures {
	mid := func(pick func(figures) float64) float64 {
		all := make([]float64, len(of))
		for i, f := range of {
			all[i] = pick(f)
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return figures{
		Resident: mid(func(f figures) float64 { return f.Resident }), InUse: mid(func(f figures) float64 { return f.InUse }),
		CPU: mid(func(f figures) float64 { return f.CPU }), Routines: mid(func(f figures) float64 { return f.Routines }),
	}
}

// child is one of the processes: this test binary again, in a role.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ready childReady
}

func newChild(t *testing.T, order childOrder) *child {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self), lines: make(chan string, 1)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.lines)
		s := bufio.NewScanner(out)
		for s.Scan() {
			c.lines <- s.Text()
		}
	}()
	c.read(upLimit, &c.ready)
	return c
}

// ask sends a word and returns how the process is once it has done it.
func (c *child) ask(word string) childLook {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, word); err != nil {
		c.t.Fatal(err)
	}
	limit := lookLimit
	if word == "go" {
		limit = upLimit
	}
	var l childLook
	c.read(limit, &l)
	return l
}

func (c *child) read(limit time.Duration, into any) {
	c.t.Helper()
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.t.Fatal("a process of the test has ended")
		}
		if err := json.Unmarshal([]byte(line), into); err != nil {
			c.t.Fatalf("a process of the test says %q: %v", line, err)
		}
	case <-time.After(limit):
		c.t.Fatalf("a process of the test says nothing for %v", limit)
	}
}

// end kills it: what it would say at its end is of no interest here.
func (c *child) end() {
	_ = c.cmd.Process.Kill()
	for range c.lines {
	}
	_ = c.cmd.Wait()
}

func agentNames(t *testing.T, n int) []string {
	t.Helper()
	var names []string
	for _, h := range parse(t, benchFleet(n)).Hosts[:n] {
		names = append(names, h.Name)
	}
	return names
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is no number", name, text)
	}
	return n
}

func load(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text))[:1], " ")
}

// benchFleet is a fleet file of at least n hosts.
func benchFleet(n int) string {
	return estate((n+3)/4, 22, func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) })
}
