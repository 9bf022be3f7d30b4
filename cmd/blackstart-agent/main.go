// Command blackstart-agent is the small program on every server: it phones home to the coordinator, says how the machine
// is, and looks at its disk when asked. It runs no command. See agent.conf and blackstart-agent.service beside it.
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
	thrift()
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
func thrift() {
	debug.SetGCPercent(50)
	debug.SetMemoryLimit(16 << 20)
}

func phoneHome(ctx context.Context, s settings, logTo io.Writer) error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	cfg.Log = hclog.New(&hclog.LoggerOptions{Name: "blackstart-agent", Output: logTo, Level: hclog.Info})
	cfg.Log.Info("starting", "version", version, "host", cfg.Host, "coordinators", cfg.Coordinators, "root", cfg.Root)
	return agent.Run(ctx, cfg)
}
