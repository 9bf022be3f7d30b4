// Package server wires the coordinator together: one straight line from files and sockets to a running server.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/blackstart-recovery/blackstart/server/api"
	"github.com/blackstart-recovery/blackstart/server/climb"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/netboot"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

// Config is what a server needs.
type Config struct {
	Dir       string // data: the journal and the kept output of attempts
	Listeners []net.Listener
	TLS       *tls.Config
	Fleet     recovery.Fleet
	Playbooks *playbook.Library
	SSH       remedy.Config     // its OutputDir and Log are set here
	Boot      *Boot             // nil: no host gets the rescue system
	Clock     coordinator.Clock // zero: the machine's own
	Beat      time.Duration     // how often agents report; 0 means the default
	Log       hclog.Logger
	Snapshot  string // a file that gets a copy of the journal every minute; empty: none
	Ready     func() // called once the server accepts connections; may be nil
}

// JournalFile is the name of the journal in the data folder.
const JournalFile = "journal.db"

// shutdownGrace is how long running calls may take to end.
const shutdownGrace = 5 * time.Second

// Run serves until ctx ends, which is no error, or until the journal cannot be written.
func Run(ctx context.Context, cfg Config) error {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	log, err := journal.Open(filepath.Join(cfg.Dir, JournalFile))
	if err != nil {
		return err
	}
	defer log.Close()
	epoch, err := log.NextEpoch(uint64(time.Now().Unix())) //nolint:gosec // the time is after 1970
	if err != nil {
		return err
	}
	cfg.SSH.Log, cfg.SSH.OutputDir = cfg.Log.Named("ssh"), filepath.Join(cfg.Dir, "output")
	ssh, err := remedy.New(cfg.SSH)
	if err != nil {
		return err
	}
	defer ssh.Close()
	var c *coordinator.Coordinator
	outside := climb.Config{SSH: ssh, Switch: openSwitch, Boot: openBoot, Log: cfg.Log.Named("climb")}
	var boot *netboot.Service
	if cfg.Boot != nil {
		if boot, err = newNetboot(cfg, &c); err != nil {
			return err
		}
		outside.Netboot, outside.Image = boot, imageOf(boot)
		if err := rescueImage(cfg.Boot.ImageDir, "", ssh); err != nil {
			cfg.Log.Warn("hosts could not be repaired in the rescue system", "error", err)
		}
	}
	if err := cfg.Playbooks.Keep(filepath.Join(cfg.Dir, "versions")); err != nil {
		cfg.Log.Warn("an earlier version of a playbook is not known any more", "error", err)
	}
	hub := restore.New()
	hub.Changed = func() { c.Changed() }
	hub.ConnectWithin = max(cfg.Clock.Real(agentWithin), leastTimeout)
	known, err := openVault(cfg, hub)
	if err != nil {
		return err
	}
	defer known.close()
	c, err = coordinator.New(coordinator.Config{Journal: log, Remedy: &remedies{ssh, climb.New(outside), hub, cfg.Playbooks, cfg.Clock}, Playbooks: cfg.Playbooks,
		Fleet: cfg.Fleet, Points: known.source(), Clock: cfg.Clock, Log: cfg.Log.Named("coordinator"), Heard: ssh.Poke})
	if err != nil {
		return err
	}
	edge := api.New(api.Config{Coordinator: c, Playbooks: cfg.Playbooks, TLS: cfg.TLS, Epoch: epoch, Beat: cfg.Beat, Hosts: len(cfg.Fleet.Hosts), Log: cfg.Log.Named("api"),
		Work: hub, Backups: known.keeperOf(), DataSets: cfg.Fleet.DataSets, Progress: hub.Progress})
	keeping, let := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	if known != nil {
		kept.Go(func() { known.run(keeping, cfg, c) })
	}
	defer kept.Wait()
	defer let()
	if cfg.Snapshot == "" {
		return serve(ctx, cfg, c, edge, boot)
	}
	copying, stop := context.WithCancel(context.WithoutCancel(ctx))
	var copies sync.WaitGroup
	copies.Go(func() { keepSnapshots(copying, log, cfg.Snapshot, cfg.Log.Named("snapshot")) })
	if known != nil {
		copies.Go(func() { keepSnapshots(copying, known.log, cfg.Snapshot+"."+BackupsFile, cfg.Log.Named("snapshot")) })
	}
	err = serve(ctx, cfg, c, edge, boot)
	stop()
	copies.Wait()
	return err
}

// serve runs the loop and the listeners until the first of them ends, then stops the others.
func serve(ctx context.Context, cfg Config, c *coordinator.Coordinator, edge *grpc.Server, boot *netboot.Service) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	others := len(cfg.Listeners)
	ends := make(chan error, 2+others)
	go func() { ends <- c.Run(ctx) }()
	if boot != nil {
		others++
		go func() { ends <- boot.Serve(ctx, cfg.Boot.Listener) }()
	}
	for _, l := range cfg.Listeners {
		go func() {
			err := edge.Serve(l)
			if errors.Is(err, grpc.ErrServerStopped) {
				err = nil
			}
			ends <- err
		}()
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	err := <-ends
	stop()
	<-c.Done()
	halt(edge)
	for range others {
		if e := <-ends; err == nil {
			err = e
		}
	}
	return err
}

// halt lets running calls end, but not for ever.
func halt(edge *grpc.Server) {
	forced := time.AfterFunc(shutdownGrace, edge.Stop)
	defer forced.Stop()
	edge.GracefulStop()
}

// remedies gives each job to the remedy that can do it, with what it needs from its playbook.
type remedies struct {
	ssh     *remedy.SSH
	climber *climb.Climber
	agents  *restore.Hub
	books   *playbook.Library
	clock   coordinator.Clock
}

// Run implements coordinator.Remedy.
func (r *remedies) Run(ctx context.Context, job recovery.Job, told func(recovery.Step, string) error) recovery.Result {
	job.Timeout = max(r.clock.Real(job.Timeout), leastTimeout)
	if job.Runner != "" {
		return r.agents.Run(ctx, job)
	}
	job.Rung.Within = max(r.clock.Real(cmp.Or(job.Rung.Within, recovery.DefaultWithin)), leastTimeout)
	if job.Kind == recovery.JobUnboot {
		return r.climber.Run(ctx, job, remedy.Scripts{}, told)
	}
	book, ok := r.books.ByDigest(job.Playbook)
	switch {
	case !ok && job.Step != "": // the host is not left where it is
		return r.climber.Run(ctx, job, remedy.Scripts{}, told)
	case !ok:
		// Only an attempt from before a restart, with a version that a revision has replaced since: its script may run still.
		return recovery.Result{Class: recovery.Lost, Signature: "playbook missing",
			Detail: "No playbook with digest " + job.Playbook + " is loaded, so what was begun with it cannot be joined: start the coordinator with the folder that holds it."}
	}
	scripts := remedy.Scripts{Limit: max(r.clock.Real(book.Facts.Timeout), leastTimeout/2)}
	if job.Kind == recovery.JobVerify {
		scripts.Verify = verify(book, job.BootBefore)
	} else if scripts.Repair, ok = book.Script(job.Rung.Environment); !ok {
		return recovery.Result{Class: recovery.Failed, Signature: "no script for " + job.Rung.Environment,
			Detail: "Playbook " + book.Facts.Name + " has no script for " + job.Rung.Environment + "."}
	}
	if job.Rung.Kind == recovery.RungRescue || job.Rung.Kind == recovery.RungHelper {
		return r.climber.Run(ctx, job, scripts, told)
	}
	return r.ssh.Run(ctx, job, scripts)
}

// agentWithin is how long work waits for an agent that is not connected before the next way is tried.
const agentWithin = 3 * time.Minute

// leastTimeout keeps a fast clock from cutting off work that takes its time on the real machine.
const leastTimeout = 5 * time.Second

var errSameBoot = errors.New("the host still runs the boot from before the attempt")

// verify fetches proof over SSH; facts of the boot before the attempt are no answer yet.
func verify(book *playbook.Playbook, bootBefore string) remedy.Verify {
	return remedy.Verify{Script: []byte(playbook.ShellProbe(book)), Parse: func(out []byte) ([]recovery.Content, string, error) {
		content, boot, err := playbook.ParseProbeOutput(out)
		if err == nil && bootBefore != "" && boot == bootBefore {
			err = errSameBoot
		}
		return content, boot, err
	}}
}
