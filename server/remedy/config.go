package remedy

import (
	"cmp"
	"context"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Config is what an SSH remedy needs. Zero values mean the defaults that are named.
type Config struct {
	Log       hclog.Logger
	OutputDir string // kept output, one file of at most 256 KiB per attempt; empty keeps none

	KnownHosts   []string // known_hosts files
	Keys         []string // private key files; KEY-cert.pub beside a key is used too
	Certificates []string // further user certificates, each for one of the keys (also of the agent's)
	AgentSocket  string   // ssh-agent; empty uses none
	User         string   // for rungs and jumps that name none; default "root"

	Handshakes int // SSH handshakes in flight over all hosts; default 16
	Sessions   int // jobs in flight over all hosts; default 256
	Racers     int // races in flight over all hosts, besides Sessions; default 64

	// Dial opens a TCP connection; default net.Dialer. A drill maps addresses here.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Timeouts Timeouts
}

// Timeouts bound the phases of a job. None of them runs while the job waits for its turn.
type Timeouts struct {
	Dial      time.Duration // TCP, also through a jump host; default 10 s
	Handshake time.Duration // from connected to a known host key; default 15 s
	Auth      time.Duration // from there to logged in; default 30 s
	Shell     time.Duration // from logged in to the runner's first word; default 30 s
	Push      time.Duration // of the script; default 60 s
	Watch     time.Duration // a script that runs longer gets a watchdog on the host, that ends it at its limit; default 1 s
	Collect   time.Duration // of exit and output; default 60 s
	Probe     time.Duration // one run of a verify script; default 60 s
	Pause     time.Duration // between two probes of a verify job; default 3 s
	Retry     time.Duration // before the first try to join again, doubling up to 16 times as much; default 1 s
	Keepalive time.Duration // between two, and for each one's answer; default 12 s
	JumpIdle  time.Duration // an unused connection to a jump host is closed after it; default 60 s
	Job       time.Duration // for jobs that name none; default 15 min
}

func (t Timeouts) withDefaults() Timeouts {
	for _, d := range []struct {
		set *time.Duration
		to  time.Duration
	}{
		{&t.Dial, 10 * time.Second}, {&t.Handshake, 15 * time.Second}, {&t.Auth, 30 * time.Second},
		{&t.Shell, 30 * time.Second}, {&t.Push, time.Minute}, {&t.Watch, time.Second}, {&t.Collect, time.Minute},
		{&t.Probe, time.Minute}, {&t.Pause, 3 * time.Second}, {&t.Retry, time.Second},
		{&t.Keepalive, 12 * time.Second}, {&t.JumpIdle, time.Minute}, {&t.Job, 15 * time.Minute},
	} {
		*d.set = cmp.Or(*d.set, d.to)
	}
	return t
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = hclog.NewNullLogger()
	}
	c.User = cmp.Or(c.User, "root")
	c.Handshakes = cmp.Or(c.Handshakes, 16)
	c.Sessions = cmp.Or(c.Sessions, 256)
	c.Racers = cmp.Or(c.Racers, 64)
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	c.Timeouts = c.Timeouts.withDefaults()
	return c
}

// racing is the same for races: a host is up for seconds, so what takes long there is dead, and is asked anew.
func (c Config) racing() Config {
	c.Sessions = c.Racers
	t := &c.Timeouts
	t.Handshake = min(t.Handshake, 5*time.Second)
	t.Auth, t.Shell = min(t.Auth, 10*time.Second), min(t.Shell, 10*time.Second)
	t.Retry, t.Keepalive = min(t.Retry, racePace), min(t.Keepalive, 2*time.Second)
	return c
}

// The bounds that a jump host gets: sshd's defaults are MaxStartups 10:30:100.
const (
	jumpHandshakes = 8   // handshakes through one jump host at once
	jumpChannels   = 256 // connections through one jump host at once
)
