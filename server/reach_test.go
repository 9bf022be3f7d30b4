package server

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// fakeEstate is hosts without a network: some are SSH servers behind pipes, the others swallow what is sent to them. Inside a
// synctest bubble its deadlines cost no time, and the bubble's clock counts them.
type fakeEstate struct {
	t        *testing.T
	keyFile  string
	hostKey  ssh.Signer
	behind   bool            // hosts are behind a jump host, which alone is dialled
	dead     map[string]bool // addresses that swallow
	greets   time.Duration   // it takes a host to say who it is
	grace    time.Duration   // a host gives a login; 0: as long as it likes
	looks    time.Duration   // it takes a host to answer what it is asked
	dials    atomic.Int32    // connections asked for, also of the jump host
	dialling atomic.Int32    // under way
	most     atomic.Int32    // of dialling
	jumps    atomic.Int32    // connections to the jump host
}

const jumpAddress = "10.9.9.9:22"

func newFakeEstate(t *testing.T) *fakeEstate {
	t.Helper()
	e := &fakeEstate{t: t, keyFile: filepath.Join(t.TempDir(), "id"), dead: map[string]bool{}}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.keyFile, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if e.hostKey, err = ssh.NewSignerFromKey(private); err != nil { // one key for all will do here
		t.Fatal(err)
	}
	return e
}

// host n is at 10.0.x.y and has an ssh rung and a person.
func (e *fakeEstate) host(n int, dead bool) recovery.Host {
	address := fmt.Sprintf("10.0.%d.%d", n/250, n%250+1)
	e.dead[address+":22"] = dead
	h := recovery.Host{Name: fmt.Sprintf("h%03d", n), Tier: "apps", Service: "app", Ladder: []recovery.Rung{
		{Name: "ssh", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: address, Port: 22, User: "root", HostKeys: []string{string(ssh.MarshalAuthorizedKey(e.hostKey.PublicKey()))}},
		{Name: "hands", Kind: recovery.RungHands},
	}}
	if e.behind {
		h.Ladder[0].Jump = []string{"root@" + jumpAddress}
	}
	return h
}

func (e *fakeEstate) config() remedy.Config {
	cfg := remedy.Config{Keys: []string{e.keyFile}, Dial: e.dial}
	if e.behind {
		known := filepath.Join(e.t.TempDir(), "known_hosts")
		if err := os.WriteFile(known, []byte("10.9.9.9 "+string(ssh.MarshalAuthorizedKey(e.hostKey.PublicKey()))), 0o600); err != nil {
			e.t.Fatal(err)
		}
		cfg.KnownHosts = []string{known}
	}
	return cfg
}

// dial is the network. To the jump host it leads to a server that forwards in the same way.
func (e *fakeEstate) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	e.dials.Add(1)
	n := e.dialling.Add(1)
	defer e.dialling.Add(-1)
	for old := e.most.Load(); n > old && !e.most.CompareAndSwap(old, n); old = e.most.Load() {
	}
	if e.dead[addr] {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if addr == jumpAddress {
		e.jumps.Add(1)
	}
	near, far := net.Pipe()
	go e.serve(newQueuedConn(far))
	return newQueuedConn(near), nil
}

func (e *fakeEstate) serve(conn net.Conn) {
	defer conn.Close()
	config := &ssh.ServerConfig{Config: ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}}, PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(e.hostKey)
	if e.grace > 0 {
		over := time.AfterFunc(e.grace, func() { _ = conn.Close() })
		config.AuthLogCallback = func(_ ssh.ConnMetadata, _ string, err error) {
			if err == nil {
				over.Stop()
			}
		}
	}
	time.Sleep(e.greets) //nolint:forbidigo // in a synctest bubble
	sc, chans, reqs, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	gone, cancel := context.WithCancel(context.Background())
	defer cancel()
	go ssh.DiscardRequests(reqs)
	for nc := range chans {
		if nc.ChannelType() == "direct-tcpip" {
			go e.forward(gone, nc)
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		go func() {
			for req := range reqs {
				_ = req.Reply(true, nil)
				if req.Type == "exec" {
					go e.look(ch, string(req.Payload))
				}
			}
		}()
	}
	_ = sc.Close()
}

var (
	knock     = regexp.MustCompile(`echo (\w+);`)
	nonceLine = regexp.MustCompile(`^bs_nonce='(\w+)'`)
)

// look answers as sh and reach.sh do on a well host.
func (e *fakeEstate) look(ch ssh.Channel, command string) {
	defer ch.Close()
	time.Sleep(e.looks) //nolint:forbidigo // in a synctest bubble
	if found := knock.FindStringSubmatch(command); found != nil {
		_, _ = fmt.Fprintf(ch, "\n%s\n", found[1])
	}
	for lines := bufio.NewScanner(ch); lines.Scan(); {
		if found := nonceLine.FindStringSubmatch(lines.Text()); found != nil {
			_, _ = fmt.Fprintf(ch, "\n%s hello\nagent no\nfree 99999999\n\n%s end\n", found[1], found[1])
			return
		}
	}
}

func (e *fakeEstate) forward(gone context.Context, nc ssh.NewChannel) {
	var to struct {
		Host  string
		Port  uint32
		From  string
		FPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "bad")
		return
	}
	conn, err := e.dial(gone, "tcp", fmt.Sprintf("%s:%d", to.Host, to.Port))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, "gone")
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		_ = conn.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	go func() {
		pour(conn, ch)
		_ = conn.Close()
	}()
	pour(ch, conn)
	_ = ch.Close()
	_ = conn.Close()
}

func pour(to interface{ Write([]byte) (int, error) }, from interface{ Read([]byte) (int, error) }) {
	for buffer := make([]byte, 4<<10); ; {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// queuedConn is a pipe whose writer does not wait for the reader: both sides of SSH begin by writing.
type queuedConn struct {
	net.Conn
	queue chan []byte
	quit  chan struct{}
	once  sync.Once
}

func newQueuedConn(c net.Conn) *queuedConn {
	q := &queuedConn{Conn: c, queue: make(chan []byte, 64), quit: make(chan struct{})}
	go func() {
		for {
			select {
			case p := <-q.queue:
				if _, err := c.Write(p); err != nil {
					return
				}
			case <-q.quit:
				return
			}
		}
	}()
	return q
}

func (q *queuedConn) Write(p []byte) (int, error) {
	select {
	case q.queue <- append([]byte(nil), p...):
		return len(p), nil
	case <-q.quit:
		return 0, net.ErrClosed
	}
}

func (q *queuedConn) Close() error {
	q.once.Do(func() { close(q.quit) })
	return q.Conn.Close()
}

// TestSilentHostsCostOneTimeoutInAll reaches the whole estate with a third of it dead. The bubble's clock moves only when
// everything waits, so what it shows is the sum of all deadlines that anybody had to wait for.
func TestSilentHostsCostOneTimeoutInAll(t *testing.T) {
	for name, c := range map[string]struct {
		behind      bool
		hosts, dead int
	}{
		"934 hosts, 300 of them black holes": {hosts: 934, dead: 300},
		"behind a jump host":                 {hosts: 120, dead: 60, behind: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newFakeEstate(t)
			e.behind = c.behind
			var hosts []recovery.Host
			for n := range c.hosts {
				hosts = append(hosts, e.host(n, (n+1)*c.dead/c.hosts > n*c.dead/c.hosts))
			}
			cfg := ReachConfig{SSH: e.config(), Hosts: hosts}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				early := 0 // hosts that were done before the first timeout
				cfg.Tested = func(int) {
					if time.Since(began) < 10*time.Second {
						early++
					}
				}
				found, err := Reach(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(began)
				count := map[string]int{}
				for _, h := range found {
					r := h.Rungs[0]
					count[h.Verdict+" "+string(r.Step)+" "+r.Signature]++
				}
				silent := "hands none no answer"
				if c.behind {
					silent = "hands jump no answer"
				}
				if len(count) != 2 || count["repairable needs "] != c.hosts-c.dead || count[silent] != c.dead {
					t.Errorf("%v", count)
				}
				if took < 10*time.Second || took > 12*time.Second {
					t.Errorf("it waited %s for %d silent hosts, not about one dial timeout", took, c.dead)
				}
				if early != c.hosts-c.dead {
					t.Errorf("%d of %d hosts that answer were done before the first timeout", early, c.hosts-c.dead)
				}
				if want := int32(c.hosts) + e.jumps.Load(); e.dials.Load() != want || c.behind != (e.jumps.Load() == 1) {
					t.Errorf("%d dials, %d of them to the jump host; want %d", e.dials.Load(), e.jumps.Load(), want)
				}
			})
		})
	}
}

// TestReachForgivesConnectionsThatGrewOld has hosts that greet late, so that all are connected before most of them have their
// turn, and then end the connections of those that wait for it. That is no fault of theirs.
func TestReachForgivesConnectionsThatGrewOld(t *testing.T) {
	e := newFakeEstate(t)
	e.greets, e.looks, e.grace = 5*time.Second, 15*time.Second, 30*time.Second
	var hosts []recovery.Host
	for n := range 120 {
		hosts = append(hosts, e.host(n, false))
	}
	cfg := ReachConfig{SSH: e.config(), Hosts: hosts}
	synctest.Test(t, func(t *testing.T) {
		found, err := Reach(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range found {
			if h.Verdict != Repairable {
				t.Fatalf("%+v", h)
			}
		}
		if e.dials.Load() <= 120 {
			t.Error("no connection grew too old, so the test shows nothing")
		}
	})
}

func TestReachKeepsToItsPlaces(t *testing.T) {
	e := newFakeEstate(t)
	var hosts []recovery.Host
	for n := range 30 {
		hosts = append(hosts, e.host(n, true))
	}
	cfg := ReachConfig{SSH: e.config(), Hosts: hosts, AtOnce: 10}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := Reach(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if e.most.Load() != 10 || time.Since(began) != 30*time.Second {
			t.Errorf("%d at once, %s", e.most.Load(), time.Since(began))
		}
	})
}

func TestReachEndsWithItsContext(t *testing.T) {
	e := newFakeEstate(t)
	cfg := ReachConfig{SSH: e.config(), AtOnce: 1, Hosts: []recovery.Host{e.host(0, true), e.host(1, true), e.host(2, true)}}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := Reach(ctx, cfg); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestReachJudgesTheLadder(t *testing.T) {
	e := newFakeEstate(t)
	ladder := func(n int, rungs ...func(*recovery.Rung)) recovery.Host {
		h := e.host(n, false)
		ssh := h.Ladder[0]
		h.Ladder = nil
		for i, change := range rungs {
			r := ssh
			r.Name = fmt.Sprintf("rung%d", i+1)
			change(&r)
			h.Ladder = append(h.Ladder, r)
		}
		return h
	}
	e.dead["10.1.1.1:22"] = true
	well := func(*recovery.Rung) {}
	dead := func(r *recovery.Rung) { r.Address = "10.1.1.1" }
	strange := func(r *recovery.Rung) { r.HostKeys = nil }
	windows := func(r *recovery.Rung) { r.Environment = recovery.EnvWindowsSafeMode }
	hands := func(r *recovery.Rung) { *r = recovery.Rung{Name: "hands", Kind: recovery.RungHands} }
	other := func(r *recovery.Rung) { *r = recovery.Rung{Name: "power", Kind: "fence"} }
	cfg := ReachConfig{SSH: e.config(), Hosts: []recovery.Host{
		ladder(0, dead, well, well, hands), ladder(1, dead, strange, dead, hands), ladder(2, hands), ladder(3, other, windows, dead), ladder(4, well),
	}}
	verdicts := func(t *testing.T) (out []string) {
		found, err := Reach(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range found {
			line := h.Verdict + " " + h.Rung
			if why, ok := strings.CutPrefix(h.Why, "only by hand: rung "); ok {
				rung, _, _ := strings.Cut(why, ":")
				line += "for " + rung
			}
			for _, r := range h.Rungs {
				line += "|" + r.NotTested + string(r.Step) + " " + r.Signature
			}
			out = append(out, line)
			if h.Why == "" || h.Tier != "apps" || h.Service != "app" {
				t.Errorf("%+v", h)
			}
		}
		return out
	}
	check := func(want ...string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			if got := verdicts(t); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
	check("repairable rung2|none no answer|needs |needs |a person climbs it ",
		"hands for rung2|none no answer|banner unknown host key|none no answer|a person climbs it ",
		"hands |a person climbs it ",
		"hands for rung2|reach knows no rungs of kind fence |login environment not supported|none no answer",
		"repairable rung1|needs ")
	cfg.Rung = "rung3"
	const others = "only rung rung3 was asked for "
	check("repairable rung3|"+others+"|"+others+"|needs |a person climbs it ",
		"hands for rung3|"+others+"|"+others+"|none no answer|a person climbs it ",
		"hands |a person climbs it ",
		"hands for rung3|"+others+"|"+others+"|none no answer",
		"hands |"+others)
	cfg.SSH.Keys = []string{"/nowhere"}
	if _, err := Reach(t.Context(), cfg); err == nil {
		t.Error("a key file that does not exist is no error")
	}
}
