package main

import (
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

func newServe(o *options) *cobra.Command {
	var fleetFile, playbooks string
	var listen []string
	var ssh remedy.Config
	c := &cobra.Command{
		Use: "serve --fleet FILE", Short: "Run the coordinator", Args: cobra.NoArgs,
		Long: `Serve runs the coordinator: agents phone home to it, responders steer it with the other commands. It sends nothing before an incident is declared and its plan is approved.

After a crash, start it again with the same command: the incident goes on, and scripts that are still running on hosts are joined, not run again. Only one coordinator can use a data folder.`,
		Example: "  blackstart serve --fleet fleet.yaml --listen 10.0.0.5:7443 --ssh-key ~/.ssh/id_ed25519 --known-hosts known_hosts",
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := fleet.Load(fleetFile)
			if err != nil {
				return usage("%w", err)
			}
			books, err := loadPlaybooks(playbooks)
			if err != nil {
				return err
			}
			tls, err := pki.ServerTLS(o.dir)
			if err != nil {
				return usage("%w", err)
			}
			cfg := server.Config{Dir: o.path("data"), TLS: tls, Fleet: f, Playbooks: books, SSH: ssh, Log: o.logger()}
			for _, addr := range listen {
				l, err := net.Listen("tcp", addr)
				if err != nil {
					return err
				}
				cfg.Listeners = append(cfg.Listeners, l)
			}
			cfg.Ready = func() {
				for _, l := range cfg.Listeners {
					cfg.Log.Info("serving", "address", l.Addr().String(), "hosts", len(f.Hosts), "fleet", f.Name)
				}
			}
			raiseFileLimit(cfg.Log, len(f.Hosts))
			return server.Run(c.Context(), cfg)
		},
	}
	fl := c.Flags()
	fl.StringVar(&fleetFile, "fleet", "", "the fleet file")
	fl.StringVar(&playbooks, "playbooks", "", "a folder of playbooks beside the built-in ones; same names replace them")
	fl.StringSliceVar(&listen, "listen", []string{"127.0.0.1:" + defaultPort}, "IP:port to listen on; may be repeated")
	sshFlags(c, &ssh)
	must(c.MarkFlagRequired("fleet"))
	return c
}

// sshFlags are the flags of every command that reaches hosts.
func sshFlags(c *cobra.Command, ssh *remedy.Config) {
	fl := c.Flags()
	fl.StringSliceVar(&ssh.Keys, "ssh-key", nil, "private key file, with KEY-cert.pub beside it if there is one; may be repeated")
	fl.StringVar(&ssh.AgentSocket, "ssh-agent", os.Getenv("SSH_AUTH_SOCK"), "socket of an ssh-agent; empty uses none")
	fl.StringSliceVar(&ssh.Certificates, "ssh-cert", nil, "further user certificates; may be repeated")
	fl.StringSliceVar(&ssh.KnownHosts, "known-hosts", defaultKnownHosts(), "known_hosts files; a host whose key is in none is not touched")
	fl.StringVar(&ssh.User, "ssh-user", "root", "user where the fleet file names none")
	fl.IntVar(&ssh.Handshakes, "ssh-handshakes", 16, "SSH handshakes at once, over all hosts")
}

func defaultKnownHosts() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	file := filepath.Join(home, ".ssh", "known_hosts")
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	return []string{file}
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
