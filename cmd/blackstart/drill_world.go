package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// world is what a drill plays in: the simulated estate, and a real coordinator with a real client.
type world struct {
	dir    string
	temp   bool // dir goes at the end
	lab    *lab.Lab
	clock  coordinator.Clock
	server server.Config
	client pb.OperatorServiceClient
	end    []func()
	log    hclog.Logger
	served chan error
}

// lateBy is how long the outage has lasted when the story begins: nothing told the service before.
const lateBy = time.Hour

// build lays out everything; nothing runs yet.
func (s *story) build(o *options) (_ *world, err error) {
	w := &world{dir: s.keep, log: o.drillLogger(), served: make(chan error, 1)}
	if w.dir == "" {
		w.temp = true
		if w.dir, err = os.MkdirTemp("", "blackstart-drill-"); err != nil {
			return nil, err
		}
	} else if err := os.Mkdir(w.dir, 0o700); err != nil {
		return nil, usage("--keep: %w", err)
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	raiseFileLimit(w.log, len(s.fleet.Hosts))
	keyFile, key, err := s.sshKey(w.dir)
	if err != nil {
		return nil, err
	}
	authority, err := pki.NewAuthority()
	if err != nil {
		return nil, err
	}
	books, err := loadPlaybooks(s.playbooks)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w.end = append(w.end, func() { _ = l.Close() })
	if w.lab, err = s.machines(w, authority, key, l.Addr().String()); err != nil {
		return nil, err
	}
	served := s.fleet
	if s.way != "" {
		served = s.way.only(w.lab, s.fleet)
	}
	known := filepath.Join(w.dir, "known_hosts")
	if err := os.WriteFile(known, w.lab.KnownHosts(), 0o600); err != nil {
		return nil, err
	}
	own, err := authority.Issue(pki.RoleCoordinator, "drill", nil)
	if err != nil {
		return nil, err
	}
	w.server = server.Config{Dir: filepath.Join(w.dir, "data"), Listeners: []net.Listener{l}, TLS: pki.ServerConfig(authority.Pool(), own),
		Fleet: served, Playbooks: books, Log: w.log,
		SSH: remedy.Config{Keys: []string{keyFile}, KnownHosts: []string{known}, User: "root", Dial: w.lab.Dial, Timeouts: drillTimeouts}}
	return w, w.connect(authority, l.Addr().String())
}

// drillTimeouts are shorter than the remedy's own: on loopback silence is no slow network.
var drillTimeouts = remedy.Timeouts{Dial: time.Second, Handshake: 2 * time.Second, Retry: 200 * time.Millisecond, Pause: 200 * time.Millisecond}

// machines lays out the simulated estate. Each tells its own root to the scripts and has its own keys and its own way to restart:
// what the fleet file says of these is dropped, because scripts and commands really run, on this computer.
func (s *story) machines(w *world, authority *pki.Authority, key ssh.PublicKey, coordinator string) (*lab.Lab, error) {
	cfg := lab.Config{Scenario: s.scenario, Seed: s.seed, Speed: s.speed, Dir: filepath.Join(w.dir, "lab"), AuthorizedKey: key,
		Coordinators: []string{coordinator}, StartStruck: true, Log: w.log.Named("lab"),
		AgentTLS: func(host string) (*tls.Config, error) {
			cert, err := authority.Issue(pki.RoleAgent, host, nil)
			if err != nil {
				return nil, err
			}
			return pki.ClientConfig(authority.Pool(), cert), nil
		}}
	images := s.images()
	if images != nil {
		cfg.Repositories = images.repositories
	}
	for i := range s.fleet.Hosts {
		h := &s.fleet.Hosts[i]
		spec := lab.HostSpec{Name: h.Name, OS: h.OS, Agent: h.Agent, EDRProduct: h.EDR.Product, EDRVersion: h.EDR.Version}
		if images != nil {
			spec.Image, spec.Restores = images.sizes[h.Name], images.runners[h.Name]
		}
		for j := range h.Ladder {
			r := &h.Ladder[j]
			if r.Kind == recovery.RungSSH {
				r.Root, r.HostKeys, r.Jump, r.RebootCmd = "", nil, nil, ""
				spec.Rungs = append(spec.Rungs, lab.Rung{Name: r.Name, Environment: r.Environment, Address: r.Address, Port: r.Port})
			}
		}
		cfg.Hosts = append(cfg.Hosts, spec)
	}
	l, err := lab.New(cfg)
	if err != nil {
		return nil, usage("%w", err)
	}
	return l, nil
}

// connect makes the operator's client.
func (w *world) connect(authority *pki.Authority, addr string) error {
	own, err := authority.Issue(pki.RoleOperator, "drill", nil)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientConfig(authority.Pool(), own))),
		grpc.WithNoProxy(), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)))
	if err != nil {
		return err
	}
	w.end = append(w.end, func() { _ = conn.Close() })
	w.client = pb.NewOperatorServiceClient(conn)
	return nil
}

// start lets the story begin: the machines have been looping for lateBy when the coordinator starts.
func (w *world) start(ctx context.Context, s *story) error {
	w.clock = coordinator.NewClock(s.scenario.Clock.Add(lateBy), s.speed)
	ctx, stop := context.WithCancel(ctx)
	ready := make(chan struct{})
	w.server.Clock = w.clock
	w.server.Ready = func() { close(ready) }
	go func() { w.served <- server.Run(ctx, w.server) }()
	w.end = append(w.end, func() {
		stop()
		if err := <-w.served; err != nil {
			w.log.Error("the coordinator ended", "error", err)
		}
	})
	select {
	case <-ready:
	case err := <-w.served:
		w.served <- nil
		return fmt.Errorf("the coordinator did not start: %w", err)
	}
	if err := w.lab.Start(ctx); err != nil {
		return err
	}
	w.end = append(w.end, func() { _ = w.lab.Close() })
	if s.way != "" {
		if err := w.knowPoints(ctx, s); err != nil {
			return err
		}
	}
	w.clock.Begin() // setting up is not part of the story
	return nil
}

// wait lets d of the story pass.
func (w *world) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(w.clock.Real(d))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case err := <-w.served:
		w.served <- err
		return errors.Join(errors.New("the coordinator stopped"), err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// halt ends what runs, last first.
func (w *world) halt() {
	for i := len(w.end) - 1; i >= 0; i-- {
		w.end[i]()
	}
	w.end = nil
}

// close ends what runs, and removes what is not kept.
func (w *world) close() {
	w.halt()
	if w.temp {
		_ = os.RemoveAll(w.dir)
	}
}

// sshKey makes the responder's key, from the seed: a drill protects nothing.
func (s *story) sshKey(dir string) (string, ssh.PublicKey, error) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], s.seed)
	r := rand.NewChaCha8(seed)
	raw := make([]byte, ed25519.SeedSize)
	_, _ = r.Read(raw)
	private := ed25519.NewKeyFromSeed(raw)
	block, err := ssh.MarshalPrivateKey(private, "blackstart drill")
	if err != nil {
		return "", nil, err
	}
	file := filepath.Join(dir, "id_ed25519")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		return "", nil, err
	}
	public, err := ssh.NewPublicKey(private.Public())
	return file, public, err
}

// drillLogger keeps a drill's own voice clear: warnings of the coordinator are part of the story, so only errors are logged
// unless --log-level asks for more.
func (o *options) drillLogger() hclog.Logger {
	level := hclog.LevelFromString(o.logLevel)
	if level == hclog.Info {
		level = hclog.Error
	}
	return hclog.New(&hclog.LoggerOptions{Name: "drill", Level: level, Output: os.Stderr})
}
