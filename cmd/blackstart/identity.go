package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/pki"
)

func newAgent(o *options) *cobra.Command {
	c := &cobra.Command{Use: "agent", Short: "The agents on the servers: their certificates, and who has phoned home", Example: "  blackstart agent issue --fleet fleet.yaml"}
	c.AddCommand(newAgentIssue(o), newAgentList(o))
	return c
}

func newAgentIssue(o *options) *cobra.Command {
	var fleetFile string
	issue := &cobra.Command{
		Use: "issue HOST… | --fleet FILE", Short: "Make the certificates of hosts, or of every host of a fleet file that has none",
		Long:    "Issue makes certificates in DIR/agents. HOST.pem, HOST-key.pem and ca.pem then go to the host. With --fleet, hosts that have a certificate keep it, so that it can be run again whenever the fleet grows.",
		Example: "  blackstart agent issue brt-app03\n  blackstart agent issue --fleet fleet.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (fleetFile == "") {
				return usage("%s: name the hosts, or a fleet file with --fleet, and not both", called(c))
			}
			if fleetFile == "" {
				for _, h := range args {
					if err := pki.IssueAgent(o.dir, h); err != nil {
						return certificateError(err, o.has("agents", h))
					}
				}
				return o.issued(c, len(args), len(args))
			}
			f, err := o.loadFleet(c, fleetFile)
			if err != nil {
				return err
			}
			var hosts []string
			for _, h := range f.Hosts {
				if h.Agent {
					hosts = append(hosts, h.Name)
				}
			}
			defer o.busy(c, "making certificates for "+plural(len(hosts), "host"))()
			n, err := pki.IssueAgents(o.dir, hosts)
			if err != nil {
				return certificateError(err, false)
			}
			return o.issued(c, n, len(hosts))
		},
	}
	issue.Flags().StringVar(&fleetFile, "fleet", "", "every host of this fleet `file` that has an agent")
	return issue
}

func (o *options) issued(c *cobra.Command, n, of int) error {
	if o.json() {
		return printJSON(c, map[string]any{"issued": n, "hosts": of, "dir": o.path("agents")})
	}
	if n == 0 {
		say(c, "nothing to do: %s had a certificate already", plural(of, "host"))
		return nil
	}
	say(c, "made %s of %d in %s; copy HOST.pem and HOST-key.pem from there, and %s, to each host", plural(n, "certificate"), of, o.path("agents"), o.path("ca.pem"))
	return nil
}

func newOperator(o *options) *cobra.Command {
	issue := &cobra.Command{
		Use: "issue NAME", Short: "Make a person's certificate; the name stands beside everything that person does", Args: cobra.ExactArgs(1),
		Example: "  blackstart operator issue ada\n  blackstart --operator ada incident show",
		RunE: func(c *cobra.Command, args []string) error {
			taken := o.has("operators", args[0])
			if err := pki.IssueOperator(o.dir, args[0]); err != nil {
				return certificateError(err, taken)
			}
			if o.json() {
				return printJSON(c, map[string]string{"operator": args[0], "dir": o.path("operators")})
			}
			say(c, "made %s; on another machine %s needs it, its key beside it, and ca.pem", o.path("operators", args[0]+".pem"), args[0])
			return nil
		},
	}
	c := &cobra.Command{Use: "operator", Short: "Certificates of the people who steer", Example: "  blackstart operator issue ada"}
	c.AddCommand(issue)
	return c
}

// has reports whether there is a certificate of that name.
func (o *options) has(kind, name string) bool {
	return filepath.Base(name) == name && exists(os.Lstat, o.path(kind, name+".pem"))
}
