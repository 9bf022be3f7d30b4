package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/pki"
)

func newInit(o *options) *cobra.Command {
	var ips []string
	var name string
	c := &cobra.Command{
		Use: "init [DIR]", Short: "Make a certificate authority, the coordinator's and an operator's certificate", Args: cobra.MaximumNArgs(1),
		Long:    "Init makes everything that the coordinator and its first operator need to know each other, in DIR or --dir. It refuses to touch an authority that is there.",
		Example: "  blackstart init --ip 10.0.0.5 --ip 192.168.7.5\n  blackstart init /media/usb/blackstart --operator ada",
		RunE: func(c *cobra.Command, args []string) error {
			dir := o.dir
			if len(args) > 0 {
				dir = args[0]
			}
			opt := pki.Options{Operator: o.operator, Name: name}
			for _, s := range ips {
				ip := net.ParseIP(s)
				if ip == nil {
					return usage("--ip %s: give an IP address, as in 10.0.0.5", s)
				}
				opt.IPs = append(opt.IPs, ip)
			}
			taken := exists(os.Lstat, filepath.Join(dir, "ca.pem")) || exists(os.Lstat, filepath.Join(dir, "ca-key.pem"))
			if err := pki.Init(dir, opt); err != nil {
				return certificateError(err, taken)
			}
			if o.json() {
				return printJSON(c, map[string]any{"dir": dir, "operator": opt.Operator, "ips": append([]string{}, ips...)})
			}
			made := [][2]string{{"ca.pem", "the authority"}, {"ca-key.pem", "its key: whoever has it can be anyone; no server needs it"},
				{"coordinator.pem", "for the coordinator, at " + strings.Join(append([]string{"127.0.0.1"}, ips...), ", ")},
				{"operators/" + opt.Operator + ".pem", "for you"}}
			say(c, "made in %s:", dir)
			for _, m := range made {
				say(c, "  %-28s %s", m[0], m[1])
			}
			say(c, `
next:
  blackstart --dir %[1]s agent issue --fleet fleet.yaml    a certificate for each host's agent
  blackstart --dir %[1]s serve --fleet fleet.yaml          run the coordinator`, quoted(dir))
			return nil
		},
	}
	c.Flags().StringSliceVar(&ips, "ip", nil, "an `address` at which agents and operators reach this machine, beside 127.0.0.1; may be repeated")
	c.Flags().StringVar(&name, "name", "", `the coordinator's name; default "coordinator"`)
	return c
}

// certificateError sorts an error of making certificates: what is there already is refused, the disk may fail, and all else is
// what the caller gave.
func certificateError(err error, taken bool) error {
	var path *fs.PathError
	switch {
	case taken:
		return &outcome{exitRefused, err.Error()}
	case errors.As(err, &path) && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return usage("%w", err)
}
