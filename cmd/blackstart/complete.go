package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// completeTimeout bounds what a shell waits for after Tab: a coordinator that is away must not freeze a terminal.
const completeTimeout = time.Second

// phases are the phases of a host, in the order of its life.
var phases = []string{string(recovery.Waiting), string(recovery.Attempting), string(recovery.Verifying), string(recovery.Recovered),
	string(recovery.NeedsHands), string(recovery.Skipped), string(recovery.NotHit)}

func newCompletion() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print the completion script for your shell", Args: cobra.ExactArgs(1), ValidArgs: shells,
		Long: `Completion prints a script that lets your shell complete commands, flags, playbooks and phases, and, while a coordinator runs, names of hosts, incidents, data sets and restore points.`,
		Example: `  source <(blackstart completion bash)
  blackstart completion zsh > "${fpath[1]}/_blackstart"
  blackstart completion fish > ~/.config/fish/completions/blackstart.fish
  blackstart completion powershell | Out-String | Invoke-Expression`,
		RunE: func(c *cobra.Command, args []string) error {
			out, root := c.OutOrStdout(), c.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return usage("there is no completion for %q: use %s", args[0], strings.Join(shells, ", "))
		},
	}
}

// completeFlags completes the values of the flags in the whole tree, by their names, and arguments by their names in Use.
func (o *options) completeFlags(c *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"output": words("table", "json"), "log-level": words("debug", "info", "warn", "error"), "phase": words(phases...),
		"playbook": o.completePlaybooks, "incident": o.completeIncidents, "wave": o.completeWaves, "coordinator": cobra.NoFileCompletions,
		"hosts": completePattern, "rung": completeRungs, "level": words(checkLevels...), "host": o.completeHostFlag, "point": o.completePoints,
		"loss": cobra.NoFileCompletions, "cutoff": cobra.NoFileCompletions, "from": cobra.NoFileCompletions,
		"operator": cobra.NoFileCompletions, "reason": cobra.NoFileCompletions, "note": cobra.NoFileCompletions, "title": cobra.NoFileCompletions,
	} {
		if c.LocalNonPersistentFlags().Lookup(flag) != nil || c.PersistentFlags().Lookup(flag) != nil {
			switch {
			case c.Name() == "report" && flag == "output":
				complete = words("md", "json")
			case called(c) == "backups audit" && flag == "output":
				complete = words(formatTable, formatJSON, formatMarkdown)
			}
			must(c.RegisterFlagCompletionFunc(flag, complete))
		}
	}
	if c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
		switch _, args, _ := strings.Cut(c.Use, " "); {
		case strings.HasPrefix(args, "HOST"):
			c.ValidArgsFunction = o.completeHosts
		case strings.HasPrefix(args, "DATASET"), strings.HasPrefix(args, "[DATASET"):
			c.ValidArgsFunction = o.completeDataSets
		case strings.HasPrefix(args, "[PLAYBOOK]"):
			c.ValidArgsFunction = o.completePlaybooks
		case strings.HasPrefix(args, "[INCIDENT]"):
			c.ValidArgsFunction = o.completeIncidents
		case !strings.HasPrefix(args, "FILE") && !strings.HasPrefix(args, "[DIR]"):
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	for _, sub := range c.Commands() {
		o.completeFlags(sub)
	}
}

func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

func (o *options) completeHosts(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && c.Name() != "issue" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.lookUp(c, func(ctx context.Context, client pb.OperatorServiceClient) ([]string, error) {
		out, err := client.ListHosts(ctx, &pb.ListHostsRequest{})
		var names []string
		for _, h := range out.GetHosts() {
			names = append(names, cobra.CompletionWithDesc(h.GetName(), h.GetPhase()+", "+h.GetService()))
		}
		return names, err
	})
}

func (o *options) completeHostFlag(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return o.completeHosts(c, nil, word)
}

// completeDataSets offers data sets that restore points are known of, and not those that stand on the line already.
func (o *options) completeDataSets(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && !strings.HasSuffix(c.Use, "...]") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.lookUp(c, func(ctx context.Context, client pb.OperatorServiceClient) ([]string, error) {
		out, err := client.ListPoints(ctx, &pb.ListPointsRequest{})
		var names []string
		for _, s := range shelves(out.GetDataSets(), out.GetPoints()) {
			if !slices.Contains(args, s.dataSet) {
				names = append(names, cobra.CompletionWithDesc(s.dataSet, s.host+", "+plural(s.points, "restore point")))
			}
		}
		return names, err
	})
}

// completePoints offers the points of the data set on the line.
func (o *options) completePoints(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.lookUp(c, func(ctx context.Context, client pb.OperatorServiceClient) ([]string, error) {
		out, err := client.ListPoints(ctx, &pb.ListPointsRequest{DataSet: args[0]})
		var ids []string
		for _, p := range out.GetPoints() {
			if !p.GetGone() {
				ids = append(ids, cobra.CompletionWithDesc(p.GetId(), clock(p.GetTakenAt())+", "+p.GetLevel()))
			}
		}
		return ids, err
	})
}

func (o *options) completeIncidents(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.lookUp(c, func(ctx context.Context, client pb.OperatorServiceClient) ([]string, error) {
		out, err := client.ListIncidents(ctx, &pb.ListIncidentsRequest{})
		var ids []string
		for _, in := range out.GetIncidents() {
			ids = append(ids, cobra.CompletionWithDesc(in.GetId(), in.GetStatus()+", "+recovery.Clean(in.GetTitle(), 60)))
		}
		return ids, err
	})
}

func (o *options) completeWaves(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return o.lookUp(c, func(ctx context.Context, client pb.OperatorServiceClient) ([]string, error) {
		out, err := client.ShowIncident(ctx, &pb.ShowIncidentRequest{})
		var waves []string
		for _, w := range out.GetIncident().GetWaves() {
			waves = append(waves, cobra.CompletionWithDesc(strconv.Itoa(int(w.GetWave())), w.GetTier()+", "+w.GetStatus()))
		}
		return waves, err
	})
}

// lookUp asks the coordinator, if there is one, quickly; without an answer there is simply nothing to complete.
func (o *options) lookUp(c *cobra.Command, ask func(context.Context, pb.OperatorServiceClient) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	client, hangUp, err := o.dial()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer hangUp()
	parent := c.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completeTimeout)
	defer cancel()
	list, err := ask(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func (o *options) completePlaybooks(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	dir := ""
	if f := c.Flags().Lookup("playbooks"); f != nil {
		dir = f.Value.String()
	}
	lib, err := loadPlaybooks(dir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range lib.All() {
		names = append(names, cobra.CompletionWithDesc(b.Facts.Name, b.Facts.Title))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
