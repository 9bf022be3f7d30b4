package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

func newServe(o *options) *cobra.Command {
	var fleetFile, playbooks, snapshot string
	var listen []string
	var ssh remedy.Config
	c := &cobra.Command{
		Use: "serve --fleet FILE", Short: "Run the coordinator", Args: cobra.NoArgs,
		Long: `Serve runs the coordinator: agents phone home to it, responders steer it with the other commands. It sends nothing before an incident is declared and its plan is approved.

After a crash, start it again with the same command: the incident goes on, and scripts that are still running on hosts are joined, not run again. Only one coordinator can use a data folder. Ctrl-C ends it in the same way.

It logs to standard error, with -o json one object a line.`,
		Example: "  blackstart serve --fleet fleet.yaml --listen 10.0.0.5:7443 --ssh-key ~/.ssh/id_ed25519 --known-hosts known_hosts",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needed(c, fleetFile, "fleet", "FILE"); err != nil {
				return err
			}
			f, err := o.loadFleet(c, fleetFile)
			if err != nil {
				return err
			}
			books, err := loadPlaybooks(playbooks)
			if err != nil {
				return err
			}
			tls, err := pki.ServerTLS(o.dir)
			if err != nil {
				return usage("%w", err)
			}
			if err := completeSSH(c, &ssh); err != nil {
				return err
			}
			cfg := server.Config{Dir: o.path("data"), TLS: tls, Fleet: f, Playbooks: books, SSH: ssh, Snapshot: snapshot, Log: o.logger()}
			for _, addr := range listen {
				l, err := o.listen(addr)
				if err != nil {
					return err
				}
				defer l.Close()
				cfg.Listeners = append(cfg.Listeners, l)
			}
			started := o.busy(c, "reading the journal in "+cfg.Dir)
			defer started()
			cfg.Ready = func() {
				started()
				for _, l := range cfg.Listeners {
					cfg.Log.Info("serving", "address", l.Addr().String(), "hosts", len(f.Hosts), "fleet", f.Name)
				}
				foresee(cfg)
			}
			raiseFileLimit(cfg.Log, len(f.Hosts))
			defer context.AfterFunc(c.Context(), func() { cfg.Log.Info("stopping") })()
			if err := server.Run(c.Context(), cfg); err != nil {
				return err
			}
			cfg.Log.Info("stopped; scripts on hosts go on and are joined at the next start")
			return nil
		},
	}
	fl := c.Flags()
	fl.StringVar(&fleetFile, "fleet", "", "the fleet `file`")
	fl.StringVar(&snapshot, "snapshot", "", "a `file`, best on another disk, that gets a copy of the journal every minute; put it in the place of a damaged data/journal.db to go on")
	fl.StringVar(&playbooks, "playbooks", "", "a `folder` of playbooks beside the built-in ones; same names replace them")
	fl.StringSliceVar(&listen, "listen", []string{"127.0.0.1:" + defaultPort}, "`IP:port` to listen on; may be repeated")
	sshFlags(c, &ssh)
	return c
}

// listen takes an address. When somebody has it, that may be a coordinator on the same data: then that is what is told.
func (o *options) listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host != "" && net.ParseIP(host) == nil {
		return nil, usage("--listen %s: give an IP address and a port, as in 10.0.0.5:%s", addr, defaultPort)
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l, nil
	}
	j, locked := journal.OpenReadOnly(o.path("data", server.JournalFile))
	switch {
	case errors.Is(locked, journal.ErrLocked):
		return nil, locked
	case locked == nil:
		_ = j.Close()
	}
	var reason syscall.Errno
	if errors.As(err, &reason) {
		return nil, fmt.Errorf("cannot listen on %s: %w: stop what uses it, or name another address with --listen", addr, reason)
	}
	return nil, fmt.Errorf("cannot listen: %w", err)
}

// foresee warns of what would only show when hosts are already waiting.
func foresee(cfg server.Config) {
	reachable := false
	for _, l := range cfg.Listeners {
		at, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		reachable = reachable || !at.IP.IsLoopback()
		if leaf := cfg.TLS.Certificates[0].Leaf; !at.IP.IsUnspecified() && leaf != nil && leaf.VerifyHostname(at.IP.String()) != nil {
			cfg.Log.Warn("this address is not in the coordinator's certificate, so nobody will believe it: make certificates with `blackstart init --ip`", "address", at.IP.String())
		}
	}
	if !reachable {
		cfg.Log.Warn("only this machine can reach the coordinator: for agents elsewhere, listen on an address of the network with --listen")
	}
	if len(cfg.SSH.KnownHosts) > 0 {
		return
	}
	unknown := 0
	for _, h := range cfg.Fleet.Hosts {
		if slices.ContainsFunc(h.Ladder, func(r recovery.Rung) bool { return r.Kind == recovery.RungSSH && len(r.HostKeys) == 0 }) {
			unknown++
		}
	}
	if unknown > 0 {
		cfg.Log.Warn("no host key is known for some hosts, so they will not be touched: give --known-hosts, or host-keys in the fleet file", "hosts", unknown)
	}
}

// loadPlaybooks reads the built-in playbooks and those of a folder.
func loadPlaybooks(dir string) (*playbook.Library, error) {
	var lib *playbook.Library
	var err error
	if dir == "" {
		lib, err = playbook.Load(recoveryplaybooks.FS)
	} else {
		lib, err = playbook.LoadWithOverrides(recoveryplaybooks.FS, dir)
	}
	if err != nil {
		return nil, usage("%w", err)
	}
	return lib, nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
