package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newHands(o *options) *cobra.Command {
	var incident string
	c := &cobra.Command{Use: "hands", Short: "The hands board: see what waits for people; claim a host, give it back, report the work done", Args: cobra.NoArgs,
		Example: "  blackstart host hands\n  blackstart host hands card > cards.txt\n  blackstart host hands take brt-app03 --for 1h",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.listHosts(c, &pb.ListHostsRequest{Incident: incident, Phase: string(recovery.NeedsHands)}, "no host needs hands")
		}}
	incidentFlag(c, &incident)
	c.AddCommand(newHandsCard(o), newHandsTake(o), newHandsRelease(o), newHandsDone(o))
	return c
}

func newHandsCard(o *options) *cobra.Command {
	var incident string
	c := &cobra.Command{
		Use: "card [HOST...]", Short: "Write the work card of each host named, or of all on the hands board, for the person at the console",
		Long:    `Card writes a work card for each host: where it stands, what was tried and why that failed, whether it may be restarted, what to beware of, and what the playbook tells a person to do. Each card begins a new page when printed.`,
		Example: "  blackstart host hands card brt-app03\n  blackstart host hands card > cards.txt",
		RunE: func(c *cobra.Command, args []string) error {
			r := &pb.WorkCardsRequest{Incident: incident, Hosts: args}
			if o.json() {
				r.Format = pb.ReportFormat_REPORT_FORMAT_JSON
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.WorkCards(ctx, r)
				if err != nil {
					return err
				}
				body := strings.TrimRight(string(out.GetBody()), "\n")
				if body == "" {
					say(c, "no host needs hands")
					return nil
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), body)
				return err
			})
		},
	}
	incidentFlag(c, &incident)
	return c
}

func newHandsTake(o *options) *cobra.Command {
	var duration time.Duration
	c := hostCommand(o, &cobra.Command{Use: "take HOST", Short: "Claim a host: nobody else works on it until then", Args: cobra.ExactArgs(1),
		Example: "  blackstart host hands take brt-app03 --for 1h",
		PreRunE: func(*cobra.Command, []string) error {
			if duration <= 0 {
				return usage("--for %s: give a time such as 1h", duration)
			}
			return nil
		}},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.Claim(ctx, &pb.ClaimRequest{Incident: id, Host: args[0], For: durationpb.New(duration)})
			return out.GetHost(), out, err
		})
	c.Flags().DurationVar(&duration, "for", time.Hour, "how long")
	return c
}

func newHandsRelease(o *options) *cobra.Command {
	return hostCommand(o, &cobra.Command{Use: "release HOST", Short: "Give a claimed host back", Args: cobra.ExactArgs(1), Example: "  blackstart host hands release brt-app03"},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.Claim(ctx, &pb.ClaimRequest{Incident: id, Host: args[0]})
			return out.GetHost(), out, err
		})
}

func newHandsDone(o *options) *cobra.Command {
	var spent time.Duration
	var note string
	c := hostCommand(o, &cobra.Command{Use: "done HOST", Short: "Report that the hand work is done; the host must still prove that it is well", Args: cobra.ExactArgs(1),
		Example: `  blackstart host hands done brt-app03 --spent 25m --note "deleted the file from the recovery console"`,
		PreRunE: func(*cobra.Command, []string) error {
			if spent < 0 {
				return usage("--spent %s: give a time such as 25m", spent)
			}
			return nil
		}},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.HandsDone(ctx, &pb.HandsDoneRequest{Incident: id, Host: args[0], Note: note, Spent: durationpb.New(spent)})
			return out.GetHost(), out, err
		})
	c.Flags().DurationVar(&spent, "spent", 0, "time spent, as in 25m, for the account of costs")
	c.Flags().StringVar(&note, "note", "", "what was done")
	return c
}
