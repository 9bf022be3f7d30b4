package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
	"github.com/blackstart-recovery/blackstart/agent/restore"
)

// MachineAgent is what one run of an agent on a machine needs. It lives from the network's coming up until the machine
// loses power.
type MachineAgent struct {
	Host         string
	Coordinators []string
	TLS          *tls.Config
	Root         string // the machine's disk
	StateDir     string // on that disk
	BootID       string
	EDRVersion   string
	Checks       []health.Check
	Backends     map[string]restore.Backend // of its work on backups; nil: it does none
	Dial         func(ctx context.Context, address string) (net.Conn, error)
	Log          hclog.Logger
}

// startAgent runs the agent until the power goes. It waits for the end of the one before, which shares its state folder.
func (m *machine) startAgent() {
	conf, err := m.lab.tlsFor(m.spec.Name)
	if err != nil {
		m.log.Error("agent has no certificate, so it does not run", "error", err)
		return
	}
	ctx, stop := context.WithCancel(m.lab.ctx)
	m.stop = stop
	before, out := m.agentOut, make(chan struct{})
	m.agentOut = out
	a := MachineAgent{
		Host: m.spec.Name, Coordinators: m.lab.coordinators, TLS: conf, Root: m.disk.root, StateDir: m.stateDir(),
		BootID: m.boot, EDRVersion: m.spec.EDRVersion, Log: m.log.Named("agent"),
		Checks: []health.Check{{Name: "edr-driver", Run: m.driver}},
	}
	if m.spec.Restores {
		a.Backends = map[string]restore.Backend{"restic": m.lab.vault}
	}
	a.Dial = func(ctx context.Context, address string) (net.Conn, error) { return m.dialOut(ctx, a.BootID, address) }
	m.lab.running.Go(func() {
		defer close(out)
		if before != nil {
			<-before
		}
		if ctx.Err() != nil {
			return
		}
		if err := m.lab.runAgent(ctx, a); err != nil && ctx.Err() == nil {
			m.log.Error("agent has stopped", "error", err)
		}
	})
}

// realAgent runs the code that runs on real servers. Its patience with a coordinator that is away is in the scenario's time, within bounds.
func (l *Lab) realAgent(ctx context.Context, a MachineAgent) error {
	patience := func(d, least time.Duration) time.Duration {
		return min(d, max(time.Duration(float64(d)/l.speed), least))
	}
	cfg := agent.Config{
		Host: a.Host, Coordinators: a.Coordinators, TLS: a.TLS, Root: a.Root, StateDir: a.StateDir, Version: "lab",
		BootID:     func() (string, error) { return a.BootID, nil },
		BootMode:   func() string { return "normal" },
		EDRVersion: func() string { return a.EDRVersion },
		Checks:     a.Checks,
		MinBackoff: patience(time.Second, 100*time.Millisecond),
		MaxBackoff: patience(30*time.Second, 2*time.Second),
		Dial:       a.Dial,
		Log:        a.Log,
	}
	if a.Backends != nil {
		worker, err := restore.New(restore.Config{StateDir: a.StateDir, Host: a.Host, BootID: cfg.BootID, Backends: a.Backends, Log: a.Log.Named("work")})
		if err != nil {
			return err
		}
		defer worker.Close()
		cfg.Worker = worker
	}
	return agent.Run(ctx, cfg)
}

// driver is a health check: the EDR's driver runs with content that will not crash it.
func (m *machine) driver(context.Context) (string, error) {
	names, err := m.disk.scan()
	switch {
	case err != nil:
		return "", err
	case len(names) > 0:
		return "", fmt.Errorf("bad content is loaded: %s", filepath.Base(names[0]))
	}
	return "running", nil
}

func (m *machine) stateDir() string {
	if windows(m.spec.OS) {
		return filepath.Join(m.disk.root, "ProgramData", "Blackstart")
	}
	return filepath.Join(m.disk.root, "var", "lib", "blackstart-agent")
}

// dialOut connects from the machine to the world, as long as it is the same boot and its network is up.
func (m *machine) dialOut(ctx context.Context, boot, address string) (net.Conn, error) {
	fail := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Addr: textAddr(address), Err: err} }
	if !m.online(boot) {
		return nil, fail(syscall.ENETUNREACH)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.network || m.boot != boot {
		_ = c.Close()
		return nil, fail(syscall.ENETUNREACH)
	}
	m.live[c] = struct{}{}
	return &outConn{Conn: c, machine: m}, nil
}

func (m *machine) online(boot string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.network && m.boot == boot
}

// outConn forgets itself when it is closed.
type outConn struct {
	net.Conn
	machine *machine
}

func (c *outConn) Close() error {
	c.machine.logout(c.Conn)
	err := c.Conn.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil // the power went first
	}
	return err
}

// textAddr is an address as somebody wrote it.
type textAddr string

func (textAddr) Network() string  { return "tcp" }
func (a textAddr) String() string { return string(a) }
