package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// sshFlags are the flags of a command that reaches hosts; completeSSH fills in what they leave open.
func sshFlags(c *cobra.Command, ssh *remedy.Config) {
	fl := c.Flags()
	fl.StringArrayVar(&ssh.Keys, "ssh-key", nil, "private key `file`, with KEY-cert.pub beside it if there is one; may be repeated")
	fl.StringVar(&ssh.AgentSocket, "ssh-agent", "", "`socket` of an ssh-agent; default that of SSH_AUTH_SOCK, empty uses none")
	fl.StringArrayVar(&ssh.Certificates, "ssh-cert", nil, "`file` of a further user certificate; may be repeated")
	fl.StringArrayVar(&ssh.KnownHosts, "known-hosts", nil, "known_hosts `file`; a host whose key is in none is not touched; may be repeated; default ~/.ssh/known_hosts")
	fl.StringVar(&ssh.User, "ssh-user", "root", "user where the fleet file names none")
	fl.IntVar(&ssh.Handshakes, "ssh-handshakes", 16, "SSH handshakes at once, over all hosts")
}

func completeSSH(c *cobra.Command, ssh *remedy.Config) error {
	if !c.Flags().Changed("ssh-agent") {
		ssh.AgentSocket = os.Getenv("SSH_AUTH_SOCK")
	}
	if !c.Flags().Changed("known-hosts") {
		ssh.KnownHosts = defaultKnownHosts()
	}
	if ssh.Handshakes < 1 {
		return usage("--ssh-handshakes %d: at least one is needed", ssh.Handshakes)
	}
	if len(ssh.Keys) == 0 && ssh.AgentSocket == "" {
		return usage("%s has nothing to log in to hosts with: give --ssh-key FILE, or --ssh-agent SOCKET", called(c))
	}
	for flag, files := range map[string][]string{"ssh-key": ssh.Keys, "ssh-cert": ssh.Certificates, "known-hosts": ssh.KnownHosts} {
		for _, file := range files {
			if _, err := os.Stat(file); err != nil {
				return usage("--%s: %w", flag, err)
			}
		}
	}
	return nil
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
