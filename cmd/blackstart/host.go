package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newHost(o *options) *cobra.Command {
	c := &cobra.Command{Use: "host", Short: "Look at hosts; retry, skip, claim and report hand work"}
	c.AddCommand(newHostList(o), newHostShow(o), newRetry(o), newSkip(o), newHostOverride(o), newHands(o), newDebts(o))
	return c
}

func newHostList(o *options) *cobra.Command {
	var phase, incident string
	var wave int32
	c := &cobra.Command{
		Use: "list", Short: "List hosts with what each waits for", Args: cobra.NoArgs,
		Example: "  blackstart host list --phase needs-hands\n  blackstart host list --wave 2 -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			if phase != "" && !strings.Contains(" waiting attempting verifying recovered needs-hands skipped not-hit ", " "+phase+" ") {
				return usage("--phase %s: use waiting, attempting, verifying, recovered, needs-hands, skipped or not-hit", phase)
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListHosts(ctx, &pb.ListHostsRequest{Incident: incident, Phase: phase, Wave: wave})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				var rows []table.Row
				for _, h := range out.GetHosts() {
					rows = append(rows, table.Row{h.GetName(), h.GetWave(), h.GetService(), h.GetPhase(), len(h.GetAttempts()), cell(h.GetOwner(), 20), cell(h.GetReason(), 110)})
				}
				printTable(c, table.Row{"HOST", "WAVE", "SERVICE", "PHASE", "ATTEMPTS", "OWNER", "REASON"}, rows)
				return nil
			})
		},
	}
	c.Flags().StringVar(&phase, "phase", "", "only hosts in this phase")
	c.Flags().Int32Var(&wave, "wave", 0, "only hosts of this wave")
	c.Flags().StringVar(&incident, "incident", "", "the incident; default the open one")
	return c
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
				o.printHost(c, out.GetHost())
				for _, e := range out.GetStory() {
					say(c, "%s  %-16s %s", clock(e.GetAt()), e.GetActor(), cell(e.GetText(), 300))
				}
				return nil
			})
		},
	}
	c.Flags().StringVar(&incident, "incident", "", "the incident; default the open one")
	return c
}

func (o *options) printHost(c *cobra.Command, h *pb.Host) {
	say(c, "%s  %s  service %s, tier %s, wave %d", h.GetName(), strings.ToUpper(h.GetPhase()), h.GetService(), h.GetTier(), h.GetWave())
	say(c, "reason    %s", cell(h.GetReason(), 300))
	say(c, "scope     %s: %s", h.GetScope(), cell(h.GetEvidence(), 200))
	seen := "never heard of"
	if h.GetLastSeen() != nil {
		seen = clock(h.GetLastSeen())
		if h.GetConnected() {
			seen = "connected, last word " + seen
		}
	}
	say(c, "agent     %s, boot id %s", seen, cell(h.GetBootId(), 40))
	for _, a := range h.GetAttempts() {
		say(c, "attempt   %s on %s: %s %s", a.GetId(), a.GetRung(), why(a.GetClass(), "under way"), strings.TrimPrefix(cell(a.GetDetail(), 200), "-"))
		if a.GetOutput() != "" {
			say(c, "          output kept in %s", a.GetOutput())
		}
	}
	for _, d := range h.GetDebts() {
		state := "open"
		if d.GetClearedAt() != nil {
			state = "cleared by " + d.GetBy()
		}
		say(c, "debt      %s (%s): %s", d.GetId(), state, d.GetWhat())
	}
}

// hostCommand builds a command on one host that shows how the host stands afterwards.
func hostCommand(o *options, c *cobra.Command, call func(context.Context, pb.OperatorServiceClient, string, []string) (*pb.Host, proto.Message, error)) *cobra.Command {
	var incident string
	c.Flags().StringVar(&incident, "incident", "", "the incident; default the open one")
	c.RunE = func(c *cobra.Command, args []string) error {
		return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
			h, whole, err := call(ctx, client, incident, args)
			if err != nil || o.json() {
				return first(err, func() error { return printProto(c, whole) })
			}
			o.printHost(c, h)
			return nil
		})
	}
	return c
}

func newRetry(o *options) *cobra.Command {
	var rung, reason string
	c := hostCommand(o, &cobra.Command{Use: "retry HOST", Short: "Give a host another try, from its first rung or the one named", Args: cobra.ExactArgs(1),
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
		Example: `  blackstart host skip brt-app03 --reason "decommissioned last week"`},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			if strings.TrimSpace(reason) == "" {
				return nil, nil, usage("blackstart host skip needs --reason: it will stand in the report")
			}
			out, err := client.Skip(ctx, &pb.SkipRequest{Incident: id, Host: args[0], Reason: reason})
			return out.GetHost(), out, err
		})
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}

func newHostOverride(o *options) *cobra.Command {
	var reason, incident string
	c := &cobra.Command{
		Use: "override HOST", Short: "Let a host start out of its order, on your own word", Args: cobra.ExactArgs(1),
		Example: `  blackstart host override brt-app03 --reason "the mayor's office"`,
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(reason) == "" {
				return usage("%s needs --reason: it will stand in the report", c.CommandPath())
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				if _, err := client.Override(ctx, &pb.OverrideRequest{Incident: incident, Target: "host:" + args[0], Reason: reason}); err != nil {
					return err
				}
				out, err := client.ShowHost(ctx, &pb.ShowHostRequest{Incident: incident, Host: args[0]})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				o.printHost(c, out.GetHost())
				return nil
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	c.Flags().StringVar(&incident, "incident", "", "the incident; default the open one")
	return c
}

func newHands(o *options) *cobra.Command {
	c := &cobra.Command{Use: "hands", Short: "The hands board: claim a host, give it back, report the work done"}
	var duration, spent time.Duration
	var note string
	take := hostCommand(o, &cobra.Command{Use: "take HOST", Short: "Claim a host: nobody else works on it until then", Args: cobra.ExactArgs(1),
		Example: "  blackstart host hands take brt-app03 --for 1h"},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			if duration <= 0 {
				return nil, nil, usage("--for %s: give a time such as 1h", duration)
			}
			out, err := client.Claim(ctx, &pb.ClaimRequest{Incident: id, Host: args[0], For: durationpb.New(duration)})
			return out.GetHost(), out, err
		})
	take.Flags().DurationVar(&duration, "for", time.Hour, "how long")
	back := hostCommand(o, &cobra.Command{Use: "release HOST", Short: "Give a claimed host back", Args: cobra.ExactArgs(1), Example: "  blackstart host hands release brt-app03"},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.Claim(ctx, &pb.ClaimRequest{Incident: id, Host: args[0]})
			return out.GetHost(), out, err
		})
	done := hostCommand(o, &cobra.Command{Use: "done HOST", Short: "Report that the hand work is done; the host must still prove that it is well", Args: cobra.ExactArgs(1),
		Example: `  blackstart host hands done brt-app03 --spent 25m --note "deleted the file from the recovery console"`},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.HandsDone(ctx, &pb.HandsDoneRequest{Incident: id, Host: args[0], Note: note, Spent: durationpb.New(spent)})
			return out.GetHost(), out, err
		})
	done.Flags().DurationVar(&spent, "spent", 0, "time spent, for the account of costs")
	done.Flags().StringVar(&note, "note", "", "what was done")
	c.AddCommand(take, back, done)
	return c
}

func newDebts(o *options) *cobra.Command {
	var note, incident string
	c := &cobra.Command{Use: "debts", Short: "List what repairs have left behind; clear one debt", Args: cobra.NoArgs, Example: "  blackstart host debts\n  blackstart host debts clear brt-app03 kept-copies --note \"removed\"",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListHosts(ctx, &pb.ListHostsRequest{Incident: incident})
				if err != nil {
					return err
				}
				var owing []*pb.Host
				var rows []table.Row
				for _, h := range out.GetHosts() {
					for _, d := range h.GetDebts() {
						if d.GetClearedAt() == nil {
							rows = append(rows, table.Row{h.GetName(), d.GetId(), clock(d.GetSince()), d.GetWhat()})
						}
					}
					if len(h.GetDebts()) > 0 {
						owing = append(owing, h)
					}
				}
				if o.json() {
					return printProto(c, &pb.ListHostsResponse{Hosts: owing})
				}
				printTable(c, table.Row{"HOST", "DEBT", "SINCE", "WHAT"}, rows)
				say(c, "\n%d open", len(rows))
				return nil
			})
		}}
	c.PersistentFlags().StringVar(&incident, "incident", "", "the incident; default the open one")
	clear := &cobra.Command{
		Use: "clear HOST DEBT", Short: "Say that a debt of a host is settled", Args: cobra.ExactArgs(2), Example: `  blackstart host debts clear brt-app03 kept-copies --note "removed"`,
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ClearDebt(ctx, &pb.ClearDebtRequest{Incident: incident, Host: args[0], Debt: args[1], Note: note})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				o.printHost(c, out.GetHost())
				return nil
			})
		},
	}
	clear.Flags().StringVar(&note, "note", "", "how it was settled")
	c.AddCommand(clear)
	return c
}

func why(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func newReport(o *options) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "report [INCIDENT]", Short: "Write the after-action report", Args: cobra.MaximumNArgs(1), Example: "  blackstart report -o md > report.md",
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if format != "md" && format != "json" {
				return usage("-o %s: a report is md or json", format)
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				r := &pb.ReportRequest{Incident: arg(args, 0), Format: pb.ReportFormat_REPORT_FORMAT_MARKDOWN}
				if format == "json" {
					r.Format = pb.ReportFormat_REPORT_FORMAT_JSON
				}
				out, err := client.Report(ctx, r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), strings.TrimRight(string(out.GetBody()), "\n"))
				return err
			})
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "md", "md or json")
	return c
}
