package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newQuarantine(o *options) *cobra.Command {
	var from string
	r := &pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_QUARANTINE}
	c := judgeCommand(o, r, &cobra.Command{
		Use: "quarantine DATASET", Short: "Keep points from being restored: one, or all of a data set whose data is suspect", Args: cobra.ExactArgs(1),
		Long: `Quarantine keeps points from being restored until a person releases them: the one named by --point; or all that hold data since --from, those that come later too; or, without either, every point of the data set. A database with logs can still go back to a moment before --from. Nothing is deleted.`,
		Example: `  blackstart backups quarantine people-db --from "2024-07-18 22:00" --reason "totals differ since the power cut"
  blackstart backups quarantine people-db --point 3f2a91c0 --reason "taken while the disk failed"`,
		PreRunE: func(c *cobra.Command, _ []string) error {
			if from == "" {
				return neededReason(c, r.GetReason())
			}
			if r.GetPoint() != "" {
				return usage("--from is about a whole data set, --point about one point: give one of them")
			}
			t, err := parseWhen("from", from, time.Now())
			if err != nil {
				return err
			}
			r.From = timestamppb.New(t)
			return neededReason(c, r.GetReason())
		}})
	pointFlag(c, &r.Point)
	c.Flags().StringVar(&from, "from", "", "data since `when` is suspect: 05:30, \"2024-07-18 22:00\", 2024-07-19T05:30:00+01:00, or how long ago, as in 90m or 2d")
	c.Flags().StringVar(&r.Reason, "reason", "", "why; it stands with the points and in the report")
	return c
}

func newRelease(o *options) *cobra.Command {
	r := &pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_RELEASE}
	c := judgeCommand(o, r, &cobra.Command{
		Use: "release DATASET", Short: "Lift the quarantine of one point, or of a whole data set", Args: cobra.ExactArgs(1),
		Long:    "Release lifts the quarantine of the point named by --point, or of the data set with all its points, on your own word. What a point failed stays on record, and it counts as verified only as far as it passed.",
		Example: `  blackstart backups release people-db --point 3f2a91c0 --reason "the check itself was wrong: see ticket 4711"`,
		PreRunE: func(c *cobra.Command, _ []string) error { return neededReason(c, r.GetReason()) }})
	pointFlag(c, &r.Point)
	c.Flags().StringVar(&r.Reason, "reason", "", "why; it stands with the points and in the report")
	return c
}

func newVouch(o *options) *cobra.Command {
	r := &pb.JudgePointsRequest{Word: pb.PointWord_POINT_WORD_VOUCH}
	c := judgeCommand(o, r, &cobra.Command{
		Use: "vouch DATASET", Short: "Say that you looked at what was restored from a point and found it right: L5", Args: cobra.ExactArgs(1),
		Example: `  blackstart backups vouch people-db --point 3f2a91c0 --note "opened ten case files of June with the duty manager"`,
		PreRunE: func(c *cobra.Command, _ []string) error {
			if err := needed(c, r.GetPoint(), "point", "ID"); err != nil {
				return err
			}
			if strings.TrimSpace(r.GetReason()) == "" {
				return usage("%s needs --note \"…\": what you looked at", called(c))
			}
			return nil
		}})
	pointFlag(c, &r.Point)
	c.Flags().StringVar(&r.Reason, "note", "", "what you looked at; it stands with the point")
	return c
}

// judgeCommand builds a command that says a person's word on points, and shows them afterwards.
func judgeCommand(o *options, r *pb.JudgePointsRequest, c *cobra.Command) *cobra.Command {
	c.RunE = func(c *cobra.Command, args []string) error {
		r.DataSet = args[0]
		return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
			out, err := client.JudgePoints(ctx, r)
			if err != nil || o.json() {
				return first(err, func() error { return printProto(c, out) })
			}
			if len(out.GetPoints()) == 0 {
				say(c, "%s has no restore point yet; the word counts for those to come", r.GetDataSet())
				return nil
			}
			printPoints(c, out.GetPoints(), time.Now())
			return nil
		})
	}
	return c
}

func pointFlag(c *cobra.Command, point *string) {
	c.Flags().StringVar(point, "point", "", "one point, by the `ID` that `backups list` shows behind the repository's name")
}
