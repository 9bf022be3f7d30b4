package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
)

// options are what every command shares.
type options struct {
	dir         string // certificates and data
	coordinator string // IP:port
	operator    string // whose certificate
	output      string // "table" or "json"
	logLevel    string
}

const (
	defaultDir  = "blackstart-data"
	defaultPort = "7443"
)

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "blackstart",
		Short: "Bring a crashed server estate back in waves, from one cold laptop",
		Long: `Blackstart brings a server estate back that a bad endpoint-security update has crashed: in waves, by order of what matters, each host proven before it counts.

It needs no directory, DNS, single sign-on or internet. See it work first:
  blackstart drill

Exit codes: 0 done; 1 failed; 2 usage or invalid input; 3 held, or closed with exceptions; 4 refused.`,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return o.check() },
	}
	f := root.PersistentFlags()
	f.StringVar(&o.dir, "dir", fromEnv("BLACKSTART_DIR", defaultDir), "folder with certificates and data (env BLACKSTART_DIR)")
	f.StringVar(&o.coordinator, "coordinator", fromEnv("BLACKSTART_COORDINATOR", "127.0.0.1:"+defaultPort), "the coordinator's IP:port (env BLACKSTART_COORDINATOR)")
	f.StringVar(&o.operator, "operator", fromEnv("BLACKSTART_OPERATOR", "operator"), "whose certificate to use (env BLACKSTART_OPERATOR)")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w: see `%s --help`", err, c.CommandPath())
	})
	root.AddCommand(newDrill(o), newInit(o), newAgent(o), newOperator(o), newFleet(o), newPlaybook(o), newPlan(o), newServe(o),
		newIncident(o), newHost(o), newWatch(o), newReport(o), newJournal(o), newVersion(o))
	for _, c := range root.Commands() {
		wrapArgs(c)
	}
	return root
}

// wrapArgs makes a wrong number of arguments a usage error, everywhere below c.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usage("%w: see `%s --help`", err, cmd.CommandPath())
			}
			return nil
		}
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("there is no command %q: see `%s --help`", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

func (o *options) check() error {
	if o.output != "table" && o.output != "json" {
		return usage("-o %s: use table or json", o.output)
	}
	if hclog.LevelFromString(o.logLevel) == hclog.NoLevel {
		return usage("--log-level %s: use debug, info, warn or error", o.logLevel)
	}
	return nil
}

func (o *options) json() bool { return o.output == "json" }

func (o *options) path(elem ...string) string {
	return filepath.Join(append([]string{o.dir}, elem...)...)
}

func (o *options) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "blackstart", Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr})
}

func fromEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "dev"

func newVersion(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.json() {
				return printJSON(c, map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "blackstart "+version)
			return err
		},
	}
}
