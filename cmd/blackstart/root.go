package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

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

// The families of commands, as `blackstart` alone lists them.
var families = []*cobra.Group{
	{ID: "prepare", Title: "Before, while all is well:"},
	{ID: "recover", Title: "In an incident, in this order:"},
	{ID: "account", Title: "Afterwards, and all else:"},
}

func init() {
	cobra.EnableCommandSorting = false // help lists commands in the order in which they are needed
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "blackstart",
		Short: "Bring a crashed server estate back in waves, from one cold laptop",
		Long: `Blackstart brings a server estate back that a bad endpoint-security update has crashed: in waves, by order of what matters, each host proven before it counts. It needs no directory, DNS, single sign-on or internet.

The way through an incident, each step in a few words:
  blackstart serve --fleet fleet.yaml        let agents phone home; nothing is sent yet
  blackstart agent list                      who has phoned home, and with what
  blackstart incident declare "what it is"   classify the hosts, propose a plan
  blackstart incident plan                   read it
  blackstart incident approve --plan DIGEST  let the first wave begin
  blackstart watch                           see what is held, and why
  blackstart report                          the account, at any time

Exit codes: 0 done; 1 failed; 2 usage or invalid input; 3 held, or closed with exceptions; 4 refused.`,
		Example: `  blackstart drill
  blackstart plan --fleet fleet.yaml
  blackstart --dir /media/usb/blackstart --coordinator 10.0.0.5:7443 --operator ada watch`,
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE:          func(c *cobra.Command, _ []string) error { return o.check(c) },
	}
	f := root.PersistentFlags()
	f.StringVar(&o.dir, "dir", fromEnv("BLACKSTART_DIR", defaultDir), "`folder` with certificates and data (env BLACKSTART_DIR)")
	f.StringVar(&o.coordinator, "coordinator", fromEnv("BLACKSTART_COORDINATOR", "127.0.0.1:"+defaultPort), "the coordinator's `IP:port` (env BLACKSTART_COORDINATOR)")
	f.StringVar(&o.operator, "operator", fromEnv("BLACKSTART_OPERATOR", "operator"), "`name` whose certificate to use (env BLACKSTART_OPERATOR)")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%w: see `%s --help`", err, c.CommandPath())
	})
	root.AddGroup(families...)
	for i, commands := range [][]*cobra.Command{
		{newDrill(o), newInit(o), newFleet(o), newPlaybook(o), newPlan(o), newReach(o), newBackups(o), newAgent(o), newOperator(o), newRescue(o)},
		{newServe(o), newIncident(o), newWatch(o), newHost(o), newReport(o), newRun(o)},
		{newJournal(o), newCompletion(), newVersion(o)},
	} {
		for _, c := range commands {
			c.GroupID = families[i].ID
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("account")
	// A family of commands does nothing by itself: its usage is the one with a command.
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", `{{if and .Runnable (not (index .Annotations "group"))}}`, 1))
	o.completeFlags(root)
	wrapArgs(root)
	return root
}

// wrapArgs makes a wrong number of arguments and an unknown command a usage error, for c and everywhere below it.
func wrapArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.HasSubCommands() && cobra.NoArgs(cmd, args) != nil && check(cmd, args) != nil {
				return unknownCommand(cmd, args[0])
			}
			if check(cmd, args) == nil {
				return nil
			}
			takes := "no arguments"
			if _, words, ok := strings.Cut(cmd.Use, " "); ok {
				takes = words
			}
			return usage("%s takes %s, and %s given: see `%s --help`", called(cmd), takes, were(len(args)), cmd.CommandPath())
		}
	}
	if c.HasSubCommands() && c.RunE == nil {
		c.Annotations = map[string]string{"group": "yes"}
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		}
	}
	for _, sub := range c.Commands() {
		wrapArgs(sub)
	}
}

// called is a command as one speaks of it: without the program's name.
func called(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

func were(n int) string {
	if n == 1 {
		return "1 argument was"
	}
	return fmt.Sprintf("%d arguments were", n)
}

func unknownCommand(c *cobra.Command, name string) error {
	if near := c.SuggestionsFor(name); len(near) > 0 {
		return usage("there is no command %q: did you mean `%s %s`?", name, c.CommandPath(), near[0])
	}
	return usage("there is no command %q: see `%s --help`", name, c.CommandPath())
}

func (o *options) check(c *cobra.Command) error {
	if c.Flags().Lookup("output") != c.Root().PersistentFlags().Lookup("output") {
		o.output = "table" // the command has an -o of its own and checks it
	}
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
	return hclog.New(&hclog.LoggerOptions{Name: "blackstart", Level: hclog.LevelFromString(o.logLevel), Output: os.Stderr, JSONFormat: o.json()})
}

// again is how the caller would call blackstart once more with the same certificates and coordinator: for advice that can be
// copied into the same terminal.
func again(c *cobra.Command) string {
	line := "blackstart"
	for _, name := range []string{"dir", "coordinator", "operator"} {
		if f := c.Flags().Lookup(name); f != nil && f.Changed {
			line += " --" + name + " " + quoted(f.Value.String())
		}
	}
	return line
}

// quoted is a word as a shell reads it back.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@%+,=") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// needed refuses a command without a flag that it cannot do without.
func needed(c *cobra.Command, value, flag, what string) error {
	if strings.TrimSpace(value) != "" {
		return nil
	}
	return usage("%s needs --%s %s: see `%s --help`", called(c), flag, what, c.CommandPath())
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
		Use: "version", Short: "Say which version this is", Args: cobra.NoArgs, Example: "  blackstart version",
		RunE: func(c *cobra.Command, _ []string) error {
			if o.json() {
				return printJSON(c, map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), "blackstart "+version)
			return err
		},
	}
}
