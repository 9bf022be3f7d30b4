package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newBackupsBisect(o *options) *cobra.Command {
	var level string
	c := &cobra.Command{
		Use: "bisect DATASET", Short: "Find between which two kept points of a data set the damage came in", Args: cobra.ExactArgs(1),
		Long: `Bisect checks restore points of a data set, the middle one of those that are left each time, until it can name the newest good and the oldest bad one: the damage came in between them. It takes checks that were made before for what they are. A point that fails goes into quarantine. With -o json it prints one object a line.

Damage that every check can see only from L3 or L4 on is invisible below: choose the level by what went wrong. Ctrl-C ends the waiting; the check under way goes on, and another bisect begins where this one was.

Exit codes: 0 it named the pair, or every point that is kept is good; 3 every point that is kept is bad, so the damage is older than the oldest; 1 it could not tell; 2 usage or invalid input.`,
		Example: "  blackstart backups bisect people-db\n  blackstart backups bisect people-db --level L4 -o json",
		RunE: func(c *cobra.Command, args []string) error {
			if level != "" && !slices.Contains(checkLevels, level) {
				return usage("--level %s: use one of %s", level, strings.Join(checkLevels, ", "))
			}
			client, hangUp, err := o.dial()
			if err != nil {
				return err
			}
			defer hangUp()
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			stream, err := client.BisectBackups(ctx, &pb.BisectBackupsRequest{DataSet: args[0], Level: level})
			if err != nil {
				return o.settled(c, err)
			}
			return o.settled(c, o.bisect(c, stream.Recv))
		},
	}
	c.Flags().StringVar(&level, "level", "", "how far to check: L2 to L4; default what the backup policy, or else the tier, asks")
	return c
}

// bisect tells each standing of the search, and how it ended.
func (o *options) bisect(c *cobra.Command, recv func() (*pb.BisectBackupsResponse, error)) error {
	told := ""
	for {
		b, err := recv()
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("the search ended without an answer: look at the coordinator's log, then start it again")
		case err != nil:
			return err
		case o.json():
			data, err := (protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}).Marshal(b)
			if err != nil {
				return err
			}
			say(c, "%s", compact(data))
		case !b.GetDone():
			line := fmt.Sprintf("checking %s; %d checked, at most %d to go", cell(b.GetChecking(), 80), b.GetChecked(), b.GetAtMost())
			if line != told {
				say(c, "%s", line)
			}
			told = line
		default:
			printBisection(c, b)
		}
		if b.GetDone() {
			return bisected(b)
		}
	}
}

func printBisection(c *cobra.Command, b *pb.BisectBackupsResponse) {
	if len(b.GetPoints()) > 0 {
		say(c, "")
		newest := slices.Clone(b.GetPoints())
		slices.Reverse(newest)
		printPoints(c, newest, time.Now())
		say(c, "")
	}
	for _, end := range []struct {
		what  string
		point *pb.RestorePoint
	}{{"the newest good point", b.GetGood()}, {"the oldest bad point", b.GetBad()}} {
		if end.point == nil {
			say(c, "%-22s none", end.what)
			continue
		}
		say(c, "%-22s %s, data of %s", end.what, cell(end.point.GetRepository()+"/"+end.point.GetId(), 80), clock(timestamppb.New(reaches(end.point))))
	}
	say(c, "%s", cell(b.GetVerdict(), 600))
}

// bisected is the end of a search as an exit code.
func bisected(b *pb.BisectBackupsResponse) error {
	switch {
	case b.GetAtMost() > 0: // given up before its end
	case b.GetGood() != nil:
		return nil // the pair, or all is good
	case b.GetBad() != nil:
		return &outcome{exitHeld, "every point that could be checked is bad: " + cell(b.GetVerdict(), 400)}
	}
	return errors.New("it could not be told: " + cell(b.GetVerdict(), 400))
}
