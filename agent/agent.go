// Package agent phones home from one server until it is told to stop: it says who and how the machine is, and looks at
// its disk when the coordinator asks. Without a Worker it runs no command, and an instruction can only make it look. With one,
// which the machine's own settings must ask for, it also does work on backups, and an instruction can make it restore,
// run the programs that this takes, and restart the machine: see agent/restore.
//
// Reading order: Run (dial, back off, again), session.go (one stream), judge.go (which instructions are obeyed),
// gather.go (facts, off the stream's path), work.go (work on backups and its reports), memory.go (what a reboot must not take
// away), tls.go (whom it believes).
package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/agent/health"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// Config says who the agent is, whom it calls and where it looks. Host, Coordinators and TLS are required.
type Config struct {
	Host         string                 // as in the client certificate
	Coordinators []string               // "IP:port" each, tried in turn; names are refused, because DNS is down when it matters
	TLS          *tls.Config            // see ClientTLS
	Root         string                 // the disk that is probed; empty means the running system's
	StateDir     string                 // survives a reboot; empty means that nothing is remembered
	Version      string                 // the agent's own
	BootID       func() (string, error) // asked once; nil means the system's
	BootMode     func() string          // "normal", "safe" or "rescue"; asked once; nil means the system's
	EDRVersion   func() string          // asked before each hello; nil means unknown
	Checks       []health.Check         // nil means health.System(Root, nil, nil)
	Worker       Worker                 // does work on backups; nil means that it is refused

	Beat       time.Duration // between heartbeats, until the coordinator changes it; 0 means 10 s
	MinBackoff time.Duration // upper end of the first wait before dialling again; 0 means 1 s
	MaxBackoff time.Duration // upper end of any wait before dialling again; 0 means 30 s, or up to 60 s when the coordinator asks for it

	Dial func(ctx context.Context, addr string) (net.Conn, error) // nil means TCP
	Log  hclog.Logger                                             // nil means silence
}

// Run phones home until ctx ends, then says its last words and returns nil. An error means that it could not begin: the
// Config is wrong or the machine does not tell its boot id. No trouble with a coordinator ends it.
func Run(ctx context.Context, cfg Config) error {
	a, err := newAgent(cfg)
	if err != nil {
		return err
	}
	defer a.close()
	for next, failed := 0, 0; ctx.Err() == nil; {
		addr := a.cfg.Coordinators[next]
		began := time.Now()
		heard, err := a.session(ctx, addr)
		if ctx.Err() != nil {
			break
		}
		a.log(addr, err)
		if heard || time.Since(began) > a.cfg.MaxBackoff {
			failed = 0
		} else {
			next = (next + 1) % len(a.cfg.Coordinators)
			failed++
			if failed%len(a.cfg.Coordinators) != 0 {
				continue // another address may answer now
			}
		}
		wait(ctx, a.pause(failed/len(a.cfg.Coordinators), heard && gone(err)))
	}
	return nil
}

// agent is owned by the goroutine of Run; the only other ones receive from the stream and gather facts, and a Worker's, which reach
// only the outbox.
type agent struct {
	cfg      Config
	hello    *pb.Hello // what stays the same in every hello
	memory   memory
	unsaved  bool // memory is newer than its file
	beat     time.Duration
	within   time.Duration // agents of this fleet spread their return over this time; 0: the coordinator has not said
	longest  time.Duration // that within may be
	lastWarn string
	outbox   *outbox // of the Worker's reports

	ctx     context.Context // ends when Run ends; gathering runs under it
	stop    context.CancelFunc
	disk    *health.Scanner // used by the running gathering only
	facts   *pb.Facts       // the newest; nil before the first gathering ended
	running chan gathered   // of the gathering under way; nil: none
	since   time.Time       // when it began
}

func newAgent(cfg Config) (*agent, error) {
	switch {
	case cfg.Host == "":
		return nil, errors.New("agent: no host name; set it to the one in the certificate")
	case cfg.TLS == nil:
		return nil, errors.New("agent: no TLS configuration; make one with ClientTLS")
	case len(cfg.Coordinators) == 0:
		return nil, errors.New("agent: no coordinator; give at least one IP:port")
	}
	for _, c := range cfg.Coordinators {
		if addr, err := netip.ParseAddrPort(c); err != nil || addr.Port() == 0 {
			return nil, fmt.Errorf("agent: coordinator %q is not IP:port; names are not looked up, because DNS is down when it matters", c)
		}
	}
	if cfg.Root == "" {
		cfg.Root = systemRoot()
	}
	if cfg.BootID == nil {
		cfg.BootID = bootID
	}
	if cfg.BootMode == nil {
		cfg.BootMode = bootMode
	}
	if cfg.EDRVersion == nil {
		cfg.EDRVersion = func() string { return "" }
	}
	if cfg.Checks == nil {
		cfg.Checks = health.System(cfg.Root, nil, nil)
	}
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Dial == nil {
		dialer := &net.Dialer{Timeout: connectLimit}
		cfg.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	longest := or(cfg.MaxBackoff, longestReturn)
	cfg.Beat = or(cfg.Beat, 10*time.Second)
	cfg.MinBackoff = or(cfg.MinBackoff, time.Second)
	cfg.MaxBackoff = max(or(cfg.MaxBackoff, 30*time.Second), cfg.MinBackoff)

	boot, err := cfg.BootID()
	if err != nil {
		return nil, fmt.Errorf("agent: boot id: %w", err)
	}
	remembered, err := recall(cfg.StateDir)
	if err != nil {
		cfg.Log.Warn("starting without memory of earlier instructions", "error", err)
	}
	a := &agent{
		cfg: cfg,
		hello: &pb.Hello{
			Host:         cfg.Host,
			BootId:       boot,
			BootMode:     wireBootMode(cfg.BootMode()),
			AgentVersion: cfg.Version,
			Instance:     rand.Text(),
			Works:        cfg.Worker != nil,
		},
		memory:  remembered,
		beat:    cfg.Beat,
		longest: longest,
		outbox:  newOutbox(),
		disk:    health.NewScanner(cfg.Root),
	}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a, nil
}

// BootID names the running system's boot: it is another after every start.
func BootID() (string, error) { return bootID() }

// log warns once about each new trouble; the same again is only of interest when debugging.
func (a *agent) log(addr string, err error) {
	level := hclog.Debug
	if text := addr + err.Error(); text != a.lastWarn {
		a.lastWarn, level = text, hclog.Warn
	}
	a.cfg.Log.Log(level, "no stream to the coordinator; dialling again", "coordinator", addr, "error", err)
}

func wireBootMode(mode string) pb.BootMode {
	switch mode {
	case "normal":
		return pb.BootMode_BOOT_MODE_NORMAL
	case "safe":
		return pb.BootMode_BOOT_MODE_SAFE
	case "rescue":
		return pb.BootMode_BOOT_MODE_RESCUE
	}
	return pb.BootMode_BOOT_MODE_UNSPECIFIED
}

// systemRoot is the running system's disk.
func systemRoot() string {
	if runtime.GOOS == "windows" {
		if drive := os.Getenv("SystemDrive"); drive != "" {
			return drive + `\`
		}
		return `C:\`
	}
	return "/"
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
