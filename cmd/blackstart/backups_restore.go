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

func newHostRestore(o *options) *cobra.Command {
	var incident, reason, loss string
	var approve bool
	c := &cobra.Command{
		Use: "restore HOST", Short: "Show what restoring a host from backup would mean; with --approve consent to it", Args: cobra.ExactArgs(1),
		Long: `Restore shows from which points a host would be restored, whose data it would hold then, how much is lost by it, and how long it takes. It starts nothing.

With --approve you consent to restore this host, at the loss that is shown. With --loss as well you consent to the loss that you have read before: when it is more by now, nothing is approved. An approval is one host's, and is needed where the host holds primary data, or where the loss is above its service's RPO. The restore then starts when its wave, its limits and the repository let it. The old data is kept.`,
		Example: `  blackstart host restore brt-db01
  blackstart host restore brt-db01 --approve --loss 35m --reason "the head of housing agreed by phone"`,
		RunE: func(c *cobra.Command, args []string) error {
			read, err := lossRead(c, loss, approve)
			if err != nil {
				return err
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ShowHost(ctx, &pb.ShowHostRequest{Incident: incident, Host: args[0]})
				switch {
				case err != nil:
					return err
				case !approve && o.json():
					return printProto(c, out)
				case !approve:
					printOffer(c, out.GetHost())
					return nil
				}
				offer := out.GetHost().GetRestore()
				if len(offer.GetPoints()) == 0 {
					return &outcome{exitRefused, noOffer(out.GetHost())}
				}
				if read == nil {
					read = offer.GetLoss()
				}
				if !o.json() {
					printOffer(c, out.GetHost())
					say(c, "")
				}
				done, err := client.ApproveRestore(ctx, &pb.ApproveRestoreRequest{Incident: incident, Host: args[0], Loss: read, Reason: reason})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, done) })
				}
				printHost(c, done.GetHost())
				return nil
			})
		},
	}
	c.Flags().BoolVar(&approve, "approve", false, "consent to restore the host")
	c.Flags().StringVar(&loss, "loss", "", "with --approve: the most `time` of data that may be lost, as in 35m; default what is shown now")
	c.Flags().StringVar(&reason, "reason", "", "why, and who agreed; it stands in the report")
	incidentFlag(c, &incident)
	return c
}

// lossRead is the loss that the caller says to have read; nil: none was named.
func lossRead(c *cobra.Command, loss string, approve bool) (*durationpb.Duration, error) {
	if loss == "" {
		return nil, nil
	}
	if !approve {
		return nil, usage("%s: --loss is what you consent to: give it with --approve", called(c))
	}
	d, err := time.ParseDuration(loss)
	if err != nil || d < 0 {
		return nil, usage("--loss %s: give a time such as 35m or 14h", loss)
	}
	return durationpb.New(d), nil
}

func noOffer(h *pb.Host) string {
	if h.GetRestore() == nil {
		return h.GetName() + " would not be restored: it is " + h.GetPhase() + ", or its ladder has no rung of kind restore"
	}
	return h.GetName() + " cannot be restored: " + cell(h.GetRestore().GetReason(), 400)
}

// printOffer tells what restoring a host would mean, and what to type to have it done.
func printOffer(c *cobra.Command, h *pb.Host) {
	r := h.GetRestore()
	if len(r.GetPoints()) == 0 {
		say(c, "%s", noOffer(h))
		return
	}
	say(c, "%s  %s  service %s", h.GetName(), strings.ToUpper(h.GetPhase()), cell(h.GetService(), 80))
	offerLines(c, r)
	if r.GetWantsApproval() {
		say(c, "\nnext:\n  %s host restore %s --approve --loss %s --reason \"…\"", again(c), h.GetName(), lossFlag(r.GetLoss()))
	}
}

// offerLines tells an offer, one line for each thing that a person weighs.
func offerLines(c *cobra.Command, r *pb.RestoreOffer) {
	if len(r.GetPoints()) == 0 {
		say(c, "restore   not possible: %s", cell(r.GetReason(), 400))
		return
	}
	for i, p := range r.GetPoints() {
		head := ""
		if i == 0 {
			head = "restore"
		}
		say(c, "%-9s from %s", head, cell(p, 200))
	}
	line := fmt.Sprintf("          data of %s, lost: %s", clock(r.GetMoment()), orNothing(r.GetLoss().AsDuration()))
	if r.GetEstimate().AsDuration() > 0 {
		line += ", takes about " + about(r.GetEstimate().AsDuration())
	}
	say(c, "%s", line)
	if r.GetReason() != "" {
		say(c, "          %s", cell(r.GetReason(), 400))
	}
	if r.GetWantsApproval() {
		say(c, "          it waits for a person's approval of that loss")
	}
}

// lossFlag is a loss as --loss takes it, never less than it is.
func lossFlag(loss *durationpb.Duration) string {
	return fmt.Sprintf("%dm", (max(loss.AsDuration(), 0)+time.Minute-1)/time.Minute)
}

func newHostCancel(o *options) *cobra.Command {
	var reason string
	c := hostCommand(o, &cobra.Command{Use: "cancel HOST", Short: "Let go of a host's restore that is under way", Args: cobra.ExactArgs(1),
		Long:    "Cancel stops a restore before it replaces anything: the old data stays as it was, and what was restored beside it is removed. What was swapped in already stays.",
		Example: `  blackstart host cancel brt-db01 --reason "the vendor has a repair after all"`,
		PreRunE: func(c *cobra.Command, _ []string) error { return neededReason(c, reason) }},
		func(ctx context.Context, client pb.OperatorServiceClient, id string, args []string) (*pb.Host, proto.Message, error) {
			out, err := client.CancelAttempt(ctx, &pb.CancelAttemptRequest{Incident: id, Host: args[0], Reason: reason})
			return out.GetHost(), out, err
		})
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}

// underWay is a host's reason, or how far a restore of it has come.
func underWay(h *pb.Host) string {
	if p := h.GetProgress(); p != nil && h.GetPhase() == string(recovery.Attempting) {
		return howFar(p)
	}
	return cell(h.GetReason(), longCell)
}

// orNothing tells a loss of data.
func orNothing(loss time.Duration) string {
	if loss <= 0 {
		return "nothing"
	}
	return minutes(loss)
}
