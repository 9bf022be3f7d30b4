package main

import (
	"context"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newHost(o *options) *cobra.Command {
	c := &cobra.Command{Use: "host", Short: "Look at hosts; retry, skip, restore, claim and report hand work", Example: "  blackstart host list --phase needs-hands\n  blackstart host show brt-app03"}
	c.AddCommand(newHostList(o), newHostShow(o), newRetry(o), newSkip(o), newHostOverride(o), newHostRestore(o), newHostCancel(o), newHands(o), newDebts(o))
	return c
}

// incidentFlag names the incident of a command that has another argument.
func incidentFlag(c *cobra.Command, incident *string) {
	c.Flags().StringVar(incident, "incident", "", "the incident's `id`; default the open one")
}

func newHostList(o *options) *cobra.Command {
	var phase, incident string
	var wave int32
	c := &cobra.Command{
		Use: "list", Short: "List hosts with what each waits for", Args: cobra.NoArgs,
		Example: "  blackstart host list --phase needs-hands\n  blackstart host list --wave 2 -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if phase != "" && !slices.Contains(phases, phase) {
				return usage("--phase %s: use one of %s", phase, strings.Join(phases, ", "))
			}
			if wave < 0 {
				return usage("--wave %d: waves count from 1", wave)
			}
			return o.listHosts(c, &pb.ListHostsRequest{Incident: incident, Phase: phase, Wave: wave}, "no host is in that phase and wave")
		},
	}
	c.Flags().StringVar(&phase, "phase", "", "only hosts in this `phase`: "+strings.Join(phases, ", "))
	c.Flags().Int32Var(&wave, "wave", 0, "only hosts of this wave")
	incidentFlag(c, &incident)
	return c
}

// listHosts prints hosts as a table; none is what it says when there are none.
func (o *options) listHosts(c *cobra.Command, r *pb.ListHostsRequest, none string) error {
	return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
		out, err := client.ListHosts(ctx, r)
		if err != nil || o.json() {
			return first(err, func() error { return printProto(c, out) })
		}
		var rows []table.Row
		for _, h := range out.GetHosts() {
			rows = append(rows, table.Row{h.GetName(), h.GetWave(), h.GetService(), h.GetPhase(), len(h.GetAttempts()), cell(h.GetOwner(), 20), underWay(h)})
		}
		if len(rows) == 0 {
			say(c, "%s", none)
			return nil
		}
		printTable(c, table.Row{"HOST", "WAVE", "SERVICE", "PHASE", "ATTEMPTS", "OWNER", "REASON"}, rows)
		say(c, "\n%s", plural(len(rows), "host"))
		return nil
	})
}

func newHostShow(o *options) *cobra.Command {
	var incident string
	c := &cobra.Command{
		Use: "show HOST", Short: "Tell one host's story", Args: cobra.ExactArgs(1), Example: "  blackstart host show brt-app03",
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ShowHost(ctx, &pb.ShowHostRequest{Incident: incident, Host: args[0]})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				printHost(c, out.GetHost())
				if len(out.GetStory()) > 0 {
					say(c, "")
				}
				for _, e := range out.GetStory() {
					say(c, "%s  %s", clock(e.GetAt()), cell(e.GetText(), 600))
				}
				return nil
			})
		},
	}
	incidentFlag(c, &incident)
	return c
}

func printHost(c *cobra.Command, h *pb.Host) {
	say(c, "%s  %s  service %s, tier %s, wave %d", h.GetName(), strings.ToUpper(h.GetPhase()), cell(h.GetService(), 80), h.GetTier(), h.GetWave())
	say(c, "reason    %s", cell(h.GetReason(), 600))
	say(c, "scope     %s: %s", h.GetScope(), cell(h.GetEvidence(), 400))
	if h.GetOwner() != "" {
		say(c, "owner     %s has claimed it", cell(h.GetOwner(), 80))
	}
	switch {
	case h.GetLastSeen() == nil:
		say(c, "agent     never heard of")
	case h.GetConnected():
		say(c, "agent     connected, last word %s, boot id %s", clock(h.GetLastSeen()), cell(h.GetBootId(), 40))
	default:
		say(c, "agent     silent since %s, boot id %s", clock(h.GetLastSeen()), cell(h.GetBootId(), 40))
	}
	if p := h.GetProgress(); p != nil {
		say(c, "progress  %s", howFar(p))
	}
	if h.GetRestore() != nil {
		offerLines(c, h.GetRestore())
	}
	for _, a := range h.GetAttempts() {
		class := a.GetClass()
		if class == "" {
			class = "under way"
		}
		detail := recovery.Clean(a.GetDetail(), 400)
		if detail != "" {
			detail = ": " + detail
		}
		say(c, "attempt   %s on %s, %s%s", a.GetId(), a.GetRung(), class, detail)
		if a.GetOutput() != "" {
			say(c, "          output kept in %s", a.GetOutput())
		}
	}
	for _, r := range h.GetLadder() {
		if len(h.GetLadder()) > 2 || h.GetPhase() == string(recovery.NeedsHands) {
			say(c, "rung      %s (%s): %s", cell(r.GetName(), 40), cell(r.GetKind(), 20), cell(r.GetText(), 400))
		}
	}
	for _, d := range h.GetDebts() {
		state := "open"
		if d.GetClearedAt() != nil {
			state = "cleared by " + cell(d.GetBy(), 80)
		}
		say(c, "debt      %s (%s): %s", d.GetId(), state, cell(d.GetWhat(), 400))
	}
	if h.GetPhase() == string(recovery.NeedsHands) {
		say(c, "\nnext:\n  %[1]s host hands card %[2]s\n  %[1]s host hands take %[2]s\n  %[1]s host hands done %[2]s --spent 30m --note \"…\"\nor, when only a cause above was mended (a secret, a cable):\n  %[1]s host retry %[2]s", again(c), h.GetName())
	}
}

// hostCommand builds a command on one host that shows how the host stands afterwards.
func hostCommand(o *options, c *cobra.Command, call func(context.Context, pb.OperatorServiceClient, string, []string) (*pb.Host, proto.Message, error)) *cobra.Command {
	var incident string
	incidentFlag(c, &incident)
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
			h, whole, err := call(ctx, client, incident, args)
			if err != nil || o.json() {
				return first(err, func() error { return printProto(c, whole) })
			}
			printHost(c, h)
			return nil
		})
	}
	return c
}

func newRetry(o *options) *cobra.Command {
	var rung, reason string
	c := hostCommand(o, &cobra.Command{Use: "retry HOST", Short: "Give a host another try, from its first rung or the one named; puts a skipped host back", Args: cobra.ExactArgs(1),
		Example: `  blackstart host retry brt-app03 --rung rescue --reason "host key checked on the console"`},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.Retry(ctx, &pb.RetryRequest{Incident: id, Host: args[0], Rung: rung, Reason: reason})
			return out.GetHost(), out, err
		})
	c.Flags().StringVar(&rung, "rung", "", "the rung of its ladder to use")
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}

func newSkip(o *options) *cobra.Command {
	var reason string
	c := hostCommand(o, &cobra.Command{Use: "skip HOST", Short: "Take a host out of the incident; it becomes an exception in the report", Args: cobra.ExactArgs(1),
		Example: `  blackstart host skip brt-app03 --reason "decommissioned last week"`,
		PreRunE: func(c *cobra.Command, _ []string) error { return neededReason(c, reason) }},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.Skip(ctx, &pb.SkipRequest{Incident: id, Host: args[0], Reason: reason})
			return out.GetHost(), out, err
		})
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}

func newHostOverride(o *options) *cobra.Command {
	var reason string
	c := hostCommand(o, &cobra.Command{Use: "override HOST", Short: "Let a host start out of its order, on your own word", Args: cobra.ExactArgs(1),
		Long:    "Override lifts what holds the host back by order: what its service needs, canary and ramp, its wave. It never lifts what a playbook forbids, a group's limit or a resource's slots.",
		Example: `  blackstart host override brt-app03 --reason "the mayor's office"`,
		PreRunE: func(c *cobra.Command, _ []string) error { return neededReason(c, reason) }},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			if _, err := client.Override(ctx, &pb.OverrideRequest{Incident: id, Target: "host:" + args[0], Reason: reason}); err != nil {
				return nil, nil, err
			}
			out, err := client.ShowHost(ctx, &pb.ShowHostRequest{Incident: id, Host: args[0]})
			return out.GetHost(), out, err
		})
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}
