package main

import (
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

func newInit(o *options) *cobra.Command {
	var ips []string
	var name string
	c := &cobra.Command{
		Use: "init [DIR]", Short: "Make a certificate authority, the coordinator's and an operator's certificate", Args: cobra.MaximumNArgs(1),
		Long:    "Init makes everything that the coordinator and its first operator need to know each other. It refuses to touch an authority that is there.",
		Example: "  blackstart init --ip 10.0.0.5 --ip 192.168.7.5",
		RunE: func(c *cobra.Command, args []string) error {
			dir := o.dir
			if len(args) > 0 {
				dir = args[0]
			}
			opt := pki.Options{Operator: o.operator, Name: name}
			for _, s := range ips {
				ip := net.ParseIP(s)
				if ip == nil {
					return usage("--ip %s: give an IP address", s)
				}
				opt.IPs = append(opt.IPs, ip)
			}
			if err := pki.Init(dir, opt); err != nil {
				return err
			}
			if o.json() {
				return printJSON(c, map[string]any{"dir": dir, "operator": opt.Operator, "ips": ips})
			}
			say(c, `made in %s:
  ca.pem, ca-key.pem            the authority; keep ca-key.pem away from servers
  coordinator.pem               for this machine: 127.0.0.1%s
  operators/%s.pem       for you

next:
  blackstart --dir %s agent issue HOST            a certificate for each host's agent
  blackstart --dir %s serve --fleet fleet.yaml    run the coordinator`, dir, list(ips), o.operator, dir, dir)
			return nil
		},
	}
	c.Flags().StringSliceVar(&ips, "ip", nil, "an address at which agents reach this machine; may be repeated")
	c.Flags().StringVar(&name, "name", "", `the coordinator's name; default "coordinator"`)
	return c
}

func list(items []string) string {
	out := ""
	for _, s := range items {
		out += ", " + s
	}
	return out
}

func newAgent(o *options) *cobra.Command {
	var fleetFile string
	issue := &cobra.Command{
		Use: "issue HOST… | --fleet FILE", Short: "Make the certificates of hosts, or of every host of a fleet file that has none",
		Example: "  blackstart agent issue brt-app03\n  blackstart agent issue --fleet fleet.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			if (len(args) == 0) == (fleetFile == "") {
				return usage("name the hosts, or a fleet file with --fleet")
			}
			made := args
			if fleetFile != "" {
				f, err := fleet.Load(fleetFile)
				if err != nil {
					return usage("%w", err)
				}
				made = nil
				for _, h := range f.Hosts {
					if h.Agent {
						made = append(made, h.Name)
					}
				}
				n, err := pki.IssueAgents(o.dir, made)
				if err != nil {
					return err
				}
				return o.issued(c, n, len(made))
			}
			for _, h := range args {
				if err := pki.IssueAgent(o.dir, h); err != nil {
					return err
				}
			}
			return o.issued(c, len(args), len(args))
		},
	}
	issue.Flags().StringVar(&fleetFile, "fleet", "", "every host of this fleet file that has an agent")
	c := &cobra.Command{Use: "agent", Short: "Certificates of the agents on the servers"}
	c.AddCommand(issue)
	return c
}

func (o *options) issued(c *cobra.Command, n, of int) error {
	if o.json() {
		return printJSON(c, map[string]int{"issued": n, "hosts": of})
	}
	say(c, "made %d of %d certificates in %s; copy HOST.pem, HOST-key.pem and ca.pem to each host", n, of, filepath.Join(o.dir, "agents"))
	return nil
}

func newOperator(o *options) *cobra.Command {
	issue := &cobra.Command{
		Use: "issue NAME", Short: "Make a person's certificate; the name stands beside everything that person does", Args: cobra.ExactArgs(1),
		Example: "  blackstart operator issue ada\n  blackstart --operator ada incident show",
		RunE: func(c *cobra.Command, args []string) error {
			if err := pki.IssueOperator(o.dir, args[0]); err != nil {
				return err
			}
			if o.json() {
				return printJSON(c, map[string]string{"operator": args[0]})
			}
			say(c, "made %s", filepath.Join(o.dir, "operators", args[0]+".pem"))
			return nil
		},
	}
	c := &cobra.Command{Use: "operator", Short: "Certificates of the people who steer"}
	c.AddCommand(issue)
	return c
}
