package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newWatch(o *options) *cobra.Command {
	var untilHeld bool
	c := &cobra.Command{
		Use: "watch [INCIDENT]", Short: "Watch the waves: a live view in a terminal, timestamped lines when piped", Args: cobra.MaximumNArgs(1),
		Long: `Watch follows an incident until it closes: exit 0, or 3 when it closed with exceptions or was aborted. With --until-held it also ends, with exit 3, as soon as the incident is paused or a wave is held. When the coordinator goes away it waits for its return, for a while. Ctrl-C ends it and changes nothing.

With -o json it prints one object a line. NO_COLOR leaves out bold type.`,
		Example: "  blackstart watch\n  blackstart watch | tee incident.log\n  blackstart watch --until-held -o json",
		RunE: func(c *cobra.Command, args []string) error {
			client, hangUp, err := o.dial()
			if err != nil {
				return err
			}
			defer hangUp()
			w := o.newWatcher(c, client)
			w.incident, w.untilHeld = arg(args, 0), untilHeld
			w.ready = o.busy(c, "waiting for the coordinator at "+o.coordinator)
			defer w.ready()
			return o.reached(w.follow(c.Context()))
		},
	}
	c.Flags().BoolVar(&untilHeld, "until-held", false, "end with exit 3 when the incident is paused or a wave is held")
	return c
}

// watcher follows one incident over as many streams as it takes.
type watcher struct {
	open      func(context.Context, *pb.WatchRequest) (recv func() (*pb.WatchResponse, error), err error)
	show      func(*pb.WatchResponse)
	notice    func(string)
	ready     func() // the coordinator has answered
	incident  string
	untilHeld bool

	after uint64 // the last entry that was shown
	heard bool   // a coordinator has answered
	lost  int    // connections that failed since it last answered
}

func (o *options) newWatcher(c *cobra.Command, client pb.OperatorServiceClient) *watcher {
	out := c.OutOrStdout()
	w := &watcher{
		open: func(ctx context.Context, r *pb.WatchRequest) (func() (*pb.WatchResponse, error), error) {
			stream, err := client.Watch(ctx, r)
			if err != nil {
				return nil, err
			}
			return stream.Recv, nil
		},
		notice: func(text string) { fmt.Fprintln(c.ErrOrStderr(), "blackstart: "+text) },
	}
	f, ok := asFile(out)
	switch {
	case o.json():
		w.show = func(u *pb.WatchResponse) { jsonLines(out, u) }
	case ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb":
		s := &screen{out: f, color: os.Getenv("NO_COLOR") == "", call: again(c)}
		w.show, w.notice = s.update, s.say
	default:
		w.show = func(u *pb.WatchResponse) { lines(out, u) }
	}
	return w
}

// How often a watch looks for a coordinator that went away: for about two minutes in all.
const (
	mostReconnects = 18
	firstReconnect = 500 * time.Millisecond
	lastReconnect  = 8 * time.Second
)

// follow shows updates until the incident closes or ctx ends. A stream that breaks is opened again behind the last entry.
func (w *watcher) follow(ctx context.Context) error {
	wait := firstReconnect
	for {
		ended, err := w.stream(ctx)
		switch {
		case ctx.Err() != nil:
			return errInterrupted
		case ended || !w.heard || !away(err):
			return err
		}
		if w.lost == 0 {
			wait = firstReconnect
			w.notice("the coordinator is away; the incident waits on its disk; looking for it …")
		}
		if w.lost++; w.lost > mostReconnects {
			return &outcome{exitFailed, "the coordinator did not come back: start it with the same `blackstart serve`, then watch again"}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errInterrupted
		}
		wait = min(2*wait, lastReconnect)
	}
}

// stream follows one stream. ended says that there is nothing more to follow; err is then the watch's own.
func (w *watcher) stream(ctx context.Context) (ended bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	recv, err := w.open(ctx, &pb.WatchRequest{Incident: w.incident, AfterSeq: w.after})
	if err != nil {
		return false, err
	}
	for {
		u, err := recv()
		if err != nil {
			return false, err
		}
		if w.lost > 0 {
			w.notice("the coordinator is back")
		}
		in := u.GetIncident()
		w.heard, w.lost, w.incident, w.after = true, 0, in.GetId(), in.GetSeq()
		w.ready()
		w.show(u)
		switch {
		case in.GetClosedAt() != nil && in.GetStatus() == recovery.OutcomeClosed:
			return true, nil
		case in.GetClosedAt() != nil:
			return true, &outcome{exitHeld, "the incident is " + in.GetStatus() + ": see `blackstart report " + in.GetId() + "`"}
		case w.untilHeld:
			if why := heldWhy(in); why != "" {
				return true, &outcome{exitHeld, why}
			}
		}
	}
}

// away reports whether an error means that the coordinator has gone and may come back.
func away(err error) bool {
	return errors.Is(err, io.EOF) || status.Code(err) == codes.Unavailable
}

// heldWhy says what a person must lift before the incident goes on; empty when nothing is held.
func heldWhy(in *pb.Incident) string {
	if in.GetStatus() == "paused" {
		return "the incident is paused: " + recovery.Clean(in.GetReason(), 400)
	}
	i := slices.IndexFunc(in.GetWaves(), func(w *pb.Wave) bool { return w.GetStatus() == "held" })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("wave %d is held: %s", in.GetWaves()[i].GetWave(), recovery.Clean(in.GetWaves()[i].GetReason(), 400))
}

// lines prints what happened, one timestamped line each.
func lines(w io.Writer, u *pb.WatchResponse) {
	for _, e := range u.GetEntries() {
		fmt.Fprintf(w, "%s %s\n", e.GetAt().AsTime().UTC().Format(time.RFC3339), recovery.Clean(e.GetText(), 1000))
	}
}

func jsonLines(w io.Writer, u *pb.WatchResponse) {
	if data, err := (protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}).Marshal(u); err == nil {
		fmt.Fprintln(w, compact(data))
	}
}
