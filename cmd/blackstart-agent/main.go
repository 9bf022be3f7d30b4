// Command blackstart-agent is the small program on every server: it phones home to the coordinator, says how the machine
// is, and looks at its disk when asked. It runs no command, unless its settings let it do work on backups (restore = yes): then it
// restores and checks them, and runs what this takes. See agent.conf, blackstart-agent.service and restore.conf beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/restore"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "dev"

const usage = `usage: blackstart-agent [run] [flags]   phone home until told to stop
       blackstart-agent service [flags]  the same as a Windows service; only the service manager starts this
       blackstart-agent version

`

// The exit codes, as those of blackstart.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(start(os.Args[1:], os.Stdout, os.Stderr)) }

func start(args []string, stdout, stderr io.Writer) int {
	command := "run"
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		fmt.Fprintln(stdout, "blackstart-agent", version)
		return exitDone
	case "run", "service":
	default:
		fmt.Fprintf(stderr, "blackstart-agent: unknown command %q\n%s", command, usage)
		return exitUsage
	}
	s, err := readSettings(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	if err != nil {
		fmt.Fprintln(stderr, "blackstart-agent:", err)
		return exitUsage
	}
	thrift(s.restore)
	if command == "service" {
		err = serve(s)
	} else {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = phoneHome(ctx, s, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "blackstart-agent:", err)
		return exitFailed
	}
	return exitDone
}

// thrift keeps the program small beside what the server is there for. The limit is soft: above it the collector works
// harder, nothing is refused.
func thrift(restores bool) {
	debug.SetGCPercent(50)
	if restores {
		debug.SetMemoryLimit(64 << 20) // a repository may list thousands of points
		return
	}
	debug.SetMemoryLimit(16 << 20)
}

func phoneHome(ctx context.Context, s settings, logTo io.Writer) error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "blackstart-agent", Output: logTo, Level: hclog.Info})
	cfg.Log.Info("starting", "version", version, "host", cfg.Host, "coordinators", cfg.Coordinators, "root", cfg.Root, "restore", s.restore)
	if s.restore {
		worker, err := newWorker(cfg)
		if err != nil { // to be heard matters more
			cfg.Log.Error("no work on backups is done on this host until this is mended and the agent started again", "error", err)
			return agent.Run(ctx, cfg)
		}
		defer worker.Close()
		cfg.Worker = worker
	}
	return agent.Run(ctx, cfg)
}

// newWorker makes what does work on backups here. It keeps its claims and results beside the agent's memory.
func newWorker(cfg agent.Config) (*restore.Worker, error) {
	return restore.New(restore.Config{
		StateDir: cfg.StateDir, Host: cfg.Host, BootID: agent.BootID, Log: cfg.Log.Named("work"),
		Backends: restore.Backends(), Engines: restore.Engines(), Restart: restore.Restart,
	})
}
