package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
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
	var boot bootOptions
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
			if cfg.Boot, err = boot.open(o); err != nil {
				return err
			}
			if cfg.Boot != nil {
				defer cfg.Boot.Listener.Close()
			}
			for _, addr := range listen {
				l, err := o.listen("listen", addr, defaultPort)
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
				if cfg.Boot != nil {
					cfg.Log.Info("serving the rescue system", "address", cfg.Boot.Listener.Addr().String(), "url", cfg.Boot.URL, "image", cfg.Boot.ImageDir)
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
	fl.StringVar(&snapshot, "snapshot", "", "a `file`, best on another disk, that gets a copy of the journal every minute; put it in the place of a damaged data/journal.db to go on, after a look at the limits in docs/architecture.md")
	fl.StringVar(&playbooks, "playbooks", "", "a `folder` of playbooks beside the built-in ones; same names replace them")
	fl.StringSliceVar(&listen, "listen", []string{"127.0.0.1:" + defaultPort}, "`IP:port` to listen on; may be repeated")
	fl.StringVar(&boot.listen, "boot-listen", "", "`IP:port` on which hosts that start from the network get the rescue system, over plain HTTP; needs --rescue-image")
	fl.StringVar(&boot.url, "boot-url", "", "`http://IP:PORT` by which hosts reach --boot-listen; default its own address")
	fl.StringVar(&boot.image, "rescue-image", "", "the `folder` of the rescue image, as rescue build writes it")
	sshFlags(c, &ssh)
	return c
}

// bootOptions are the flags of the boot service.
type bootOptions struct{ listen, url, image string }

// open checks the flags and takes the address. Without flags there is no service.
func (b bootOptions) open(o *options) (*server.Boot, error) {
	if b == (bootOptions{}) {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	switch {
	case b.listen == "":
		return nil, usage("--boot-url and --rescue-image are for the boot service: name its address with --boot-listen too")
	case b.image == "":
		return nil, usage("--boot-listen needs a rescue image: build it with `blackstart rescue build`, and name its folder with --rescue-image")
	}
	if err := server.CheckRescueImage(b.image, ""); err != nil {
		return nil, usage("--rescue-image: %w", err)
	}
	at, err := netip.ParseAddrPort(b.listen)
	if b.url == "" && err == nil && !at.Addr().IsUnspecified() && at.Port() != 0 {
		b.url = "http://" + at.String()
	}
	if b.url == "" {
		return nil, usage("--boot-listen %s: say with --boot-url by which IP address hosts reach it, as in http://10.0.0.5:%s", b.listen, bootPort)
	}
	if err := checkBootURL(b.url); err != nil {
		return nil, err
	}
	if err := server.CheckRescueImage(b.image, strings.TrimRight(b.url, "/")); err != nil {
		return nil, usage("--rescue-image: %w", err)
	}
	l, err := o.listen("boot-listen", b.listen, bootPort)
	if err != nil {
		return nil, err
	}
	return &server.Boot{Listener: l, URL: b.url, ImageDir: b.image}, nil
}

// bootPort is the port that examples name for the boot service.
const bootPort = "7480"

// checkBootURL wants an IP address: a host that starts has no DNS.
func checkBootURL(text string) error {
	u, err := url.Parse(text)
	if err == nil && u.Scheme == "http" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && strings.Trim(u.Path, "/") == "" {
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !ip.IsUnspecified() {
			return nil
		}
	}
	return usage("--boot-url %s: give an IP address that hosts can reach and a port, as in http://10.0.0.5:%s", recovery.Clean(text, 100), bootPort)
}

// listen takes the address that a flag names. When somebody has it, that may be a coordinator on the same data: then that is what is
// told.
func (o *options) listen(flag, addr, port string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host != "" && net.ParseIP(host) == nil {
		return nil, usage("--%s %s: give an IP address and a port, as in 10.0.0.5:%s", flag, addr, port)
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
		return nil, fmt.Errorf("cannot listen on %s: %w: stop what uses it, or name another address with --%s", addr, reason, flag)
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
	if n := server.RescueRungs(cfg.Fleet); n > 0 && cfg.Boot == nil {
		cfg.Log.Warn("hosts have a rescue rung but no rescue system is served, so their attempts on it will fail: give --boot-listen, --boot-url and --rescue-image", "hosts", n)
	}
	if len(cfg.SSH.KnownHosts) > 0 {
		return
	}
	unknown := 0
	for _, h := range cfg.Fleet.Hosts {
		if slices.ContainsFunc(h.Ladder, func(r recovery.Rung) bool {
			return (r.Kind == recovery.RungSSH || r.Kind == recovery.RungRace || r.Kind == recovery.RungHelper) && len(r.HostKeys) == 0
		}) {
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
