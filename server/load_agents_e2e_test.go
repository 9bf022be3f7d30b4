//go:build e2e && linux

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
)

// The agents of the load test, in a process of their own: this test binary again, with its order in a file. It reads a
// word with its arguments from each line of its standard input, and answers each with one line.
const (
	loadEnv      = "BLACKSTART_LOAD_CHILD"
	loadStarting = 64 // agents that begin at once
	allLimit     = 5 * backWithin
	loadLine     = 4 << 20 // bytes of a line between the processes
)

type loadOrder struct {
	Role    string // "agents" or "bad"
	Dir     string // of certificates
	Work    string // the process's own
	Address string // of the coordinator
	Hosts   []string
	Struck  int  // so many of the hosts, the first ones, have the bad content
	Naive   bool // the agents dial again at once, as ours never do
}

// loadPort is what tells one agent's trouble from another's.
var loadPort = regexp.MustCompile(`127\.0\.0\.1:\d+(->)?`)

type loadWord struct {
	Do    string
	Hosts []string
	Since time.Time
}

// loadLook is how the agents are.
type loadLook struct {
	Connected int
	Lost      map[string]int // streams that broke, by why, since the beginning
	Missing   map[string]int // those who are not connected, by why
	Dials     []int          // in each second after Since
	Came      []int          // connections in which the coordinator answered, likewise
	Last      time.Time      // when the last of them came
	Began     map[string]time.Time
}

func init() {
	file := os.Getenv(loadEnv)
	if file == "" {
		return
	}
	// A real agent has a machine of its own. Thousands in one process would spend half of their time on sweeping up after each other.
	debug.SetGCPercent(500)
	var order loadOrder
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &order)
	}
	switch {
	case err != nil:
	case order.Role == "bad":
		err = order.misbehave()
	default:
		err = order.phoneHome()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "process", order.Role, "of the load test:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// crowd is all agents of the process.
type crowd struct {
	order     loadOrder
	bad, good string // disks
	agents    map[string]*crowdAgent

	mu        sync.Mutex
	connected int
	changed   chan struct{} // closed and renewed with each change of connected
	lost      map[string]int
	dials     []time.Time
	came      []time.Time
}

// crowdAgent is one real agent, and the ear that hears what it logs.
type crowdAgent struct {
	hclog.Logger
	crowd *crowd
	host  string
	stop  context.CancelFunc
	ended chan error
	why   string    // it is not connected; under the crowd's lock
	up    bool      // under the crowd's lock
	began time.Time // when its first dial of this boot was made; under the crowd's lock
}

func (o loadOrder) phoneHome() error {
	c := &crowd{order: o, agents: map[string]*crowdAgent{}, lost: map[string]int{}, changed: make(chan struct{}),
		bad: filepath.Join(o.Work, "struck"), good: filepath.Join(o.Work, "sound")}
	err := errors.Join(
		loadDisk(c.bad, "rules-2.bin", time.Date(2026, 1, 15, 10, 0, 12, 0, time.UTC)),
		loadDisk(c.good, "rules-3.bin", time.Date(2026, 1, 15, 11, 30, 8, 0, time.UTC)))
	if err != nil {
		return err
	}
	return answerWords(func(w loadWord) (any, error) {
		switch w.Do {
		case "start":
			for i, host := range o.Hosts {
				root := c.good
				if i < o.Struck {
					root = c.bad
				}
				if err := c.start(host, root, 1); err != nil {
					return nil, err
				}
				c.await(i+1-loadStarting, loadLimit)
			}
			c.await(len(o.Hosts), loadLimit)
		case "mend":
			return c.mend(w.Hosts)
		case "all":
			c.await(len(o.Hosts), allLimit)
		}
		return c.look(w.Since), nil
	})
}

// answerWords answers each line of the standard input, and ends the process with it.
func answerWords(answer func(loadWord) (any, error)) error {
	out := json.NewEncoder(os.Stdout)
	lines := make(chan []byte)
	go func() {
		words := bufio.NewScanner(os.Stdin)
		words.Buffer(nil, loadLine)
		for words.Scan() {
			lines <- bytes.Clone(words.Bytes())
		}
		os.Exit(0)
	}()
	for line := range lines {
		var w loadWord
		if err := json.Unmarshal(line, &w); err != nil {
			return err
		}
		a, err := answer(w)
		if err := errors.Join(err, out.Encode(a)); err != nil {
			return err
		}
	}
	return nil
}

// loadDisk is a disk with one content file, which is bad or good by when it was written.
func loadDisk(root, name string, written time.Time) error {
	dir := filepath.Join(root, "opt", "edr", "content")
	file := filepath.Join(dir, name)
	return errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(file, append([]byte("EDRC\x01\x00"), make([]byte, 4094)...), 0o600), os.Chtimes(file, written, written))
}

// start boots a host: its agent begins with that disk, in that boot.
func (c *crowd) start(host, root string, boot int) error {
	files := make([][]byte, 3)
	for i, name := range []string{"ca.pem", "agents/" + host + ".pem", "agents/" + host + "-key.pem"} {
		var err error
		if files[i], err = os.ReadFile(filepath.Join(c.order.Dir, name)); err != nil {
			return err
		}
	}
	conf, err := agent.ClientTLS(files[0], files[1], files[2])
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &crowdAgent{Logger: hclog.NewNullLogger(), crowd: c, host: host, stop: stop, ended: make(chan error, 1)}
	c.agents[host] = a
	cfg := agent.Config{Host: host, Coordinators: []string{c.order.Address}, TLS: conf, Root: root, Version: "1.2.3", Log: a, Dial: a.dial,
		BootID: func() (string, error) { return fmt.Sprintf("%s-boot-%d", host, boot), nil }, BootMode: func() string { return "normal" },
		Checks: []health.Check{{Name: "disk-space", Run: func(context.Context) (string, error) { return "61 % free of 40 GiB", nil }}}}
	if c.order.Naive {
		cfg.MinBackoff, cfg.MaxBackoff = time.Nanosecond, time.Nanosecond
	}
	go func() { a.ended <- agent.Run(ctx, cfg) }()
	return nil
}

func (a *crowdAgent) dial(ctx context.Context, addr string) (net.Conn, error) {
	now := time.Now()
	a.crowd.mu.Lock()
	a.crowd.dials = append(a.crowd.dials, now)
	if a.began.IsZero() {
		a.began = now
	}
	a.crowd.mu.Unlock()
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
}

// Info hears that the coordinator has answered.
func (a *crowdAgent) Info(msg string, _ ...any) {
	if msg != "connected" {
		return
	}
	a.crowd.mu.Lock()
	defer a.crowd.mu.Unlock()
	a.crowd.came = append(a.crowd.came, time.Now())
	a.turn(true)
}

// Log hears that there is no stream any more, and why.
func (a *crowdAgent) Log(_ hclog.Level, _ string, args ...any) {
	why := fmt.Sprint(args[len(args)-1])
	if i := strings.Index(why, "desc = "); i >= 0 {
		why = why[i+len("desc = "):]
	}
	a.crowd.mu.Lock()
	defer a.crowd.mu.Unlock()
	if a.up {
		a.crowd.lost[why]++
	}
	a.why = why
	a.turn(false)
}

// turn notes whether the agent is connected. The crowd is locked.
func (a *crowdAgent) turn(up bool) {
	switch {
	case up && !a.up:
		a.crowd.connected++
	case !up && a.up:
		a.crowd.connected--
	}
	a.up = up
	close(a.crowd.changed)
	a.crowd.changed = make(chan struct{})
}

// await returns when so many are connected, or the time is over.
func (c *crowd) await(n int, limit time.Duration) {
	over := time.After(limit)
	for {
		c.mu.Lock()
		enough, changed := c.connected >= n, c.changed
		c.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-changed:
		case <-over:
			return
		}
	}
}

// mend gives hosts a sound disk and boots them, and tells when each began to phone home.
func (c *crowd) mend(hosts []string) (loadLook, error) {
	ends := make(chan error, len(hosts))
	for _, host := range hosts {
		a := c.agents[host]
		go func() { a.stop(); ends <- <-a.ended }()
	}
	for range hosts {
		if err := <-ends; err != nil {
			return loadLook{}, err
		}
	}
	for _, host := range hosts {
		c.mu.Lock()
		c.agents[host].turn(false)
		c.mu.Unlock()
		if err := c.start(host, c.good, 2); err != nil {
			return loadLook{}, err
		}
	}
	c.await(len(c.order.Hosts), loadLimit)
	look := c.look(time.Time{})
	look.Began = map[string]time.Time{}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, host := range hosts {
		look.Began[host] = c.agents[host].began
	}
	return look, nil
}

func (c *crowd) look(since time.Time) loadLook {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := loadLook{Connected: c.connected, Lost: map[string]int{}, Missing: map[string]int{}, Dials: bySecond(c.dials, since), Came: bySecond(c.came, since)}
	for why, n := range c.lost {
		l.Lost[why] = n
	}
	for _, a := range c.agents {
		if !a.up {
			l.Missing[loadPort.ReplaceAllString(a.why, "")]++
		}
	}
	if len(c.came) > 0 {
		l.Last = c.came[len(c.came)-1]
	}
	return l
}

// bySecond counts what happened in each second after since, if that is asked.
func bySecond(at []time.Time, since time.Time) []int {
	var out []int
	for _, t := range at {
		if since.IsZero() || t.Before(since) {
			continue
		}
		i := int(t.Sub(since) / time.Second)
		for len(out) <= i {
			out = append(out, 0)
		}
		out[i]++
	}
	return out
}

// loadChild is one of the processes.
type loadChild struct {
	*testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan []byte
}

func newLoadChild(t *testing.T, order loadOrder) *loadChild {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(order.Work, "order.json") // too long for the environment
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &loadChild{T: t, cmd: exec.Command(self), lines: make(chan []byte, 1)}
	c.cmd.Env = append(os.Environ(), loadEnv+"="+file)
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
		s.Buffer(nil, loadLine)
		for s.Scan() {
			c.lines <- bytes.Clone(s.Bytes())
		}
	}()
	t.Cleanup(c.end)
	return c
}

// ask says a word and fills in the answer.
func (c *loadChild) ask(limit time.Duration, w loadWord, into any) {
	c.Helper()
	text, err := json.Marshal(w)
	if err != nil {
		c.Fatal(err)
	}
	if _, err := c.in.Write(append(text, '\n')); err != nil {
		c.Fatal(err)
	}
	select {
	case line, ok := <-c.lines:
		if !ok {
			c.Fatal("a process of the test has ended")
		}
		if err := json.Unmarshal(line, into); err != nil {
			c.Fatalf("a process of the test says %q: %v", line, err)
		}
	case <-time.After(limit):
		c.Fatalf("%q is not done after %v", w.Do, limit)
	}
}

// end kills it.
func (c *loadChild) end() {
	_ = c.cmd.Process.Kill()
	for range c.lines {
	}
	_ = c.cmd.Wait()
}
