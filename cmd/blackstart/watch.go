package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newWatch(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "watch [INCIDENT]", Short: "Watch the waves: a live view in a terminal, timestamped lines when piped", Args: cobra.MaximumNArgs(1),
		Long:    "Watch ends when the incident closes (exit 0, or 3 when it closed with exceptions or was aborted), or with Ctrl-C. With -o json it prints one object a line.",
		Example: "  blackstart watch\n  blackstart watch | tee incident.log",
		RunE: func(c *cobra.Command, args []string) error {
			client, end, err := o.dial()
			if err != nil {
				return err
			}
			defer end()
			stream, err := client.Watch(c.Context(), &pb.WatchRequest{Incident: arg(args, 0)})
			if err != nil {
				return err
			}
			return o.follow(c, stream.Recv)
		},
	}
}

// follow shows updates until the incident closes.
func (o *options) follow(c *cobra.Command, recv func() (*pb.WatchResponse, error)) error {
	show := lines
	f, ok := c.OutOrStdout().(*os.File)
	switch {
	case o.json():
		show = jsonLines
	case ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb":
		show = (&screen{out: f, color: os.Getenv("NO_COLOR") == ""}).draw
	}
	for {
		u, err := recv()
		switch {
		case errors.Is(err, io.EOF), c.Context().Err() != nil && !errors.Is(context.Cause(c.Context()), context.DeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
		show(c.OutOrStdout(), u)
		if in := u.GetIncident(); in.GetClosedAt() != nil {
			if in.GetStatus() != "closed" {
				return &outcome{exitHeld, "the incident is " + in.GetStatus() + ": see `blackstart report`"}
			}
			return nil
		}
	}
}

// lines prints what happened, one timestamped line each.
func lines(w io.Writer, u *pb.WatchResponse) {
	for _, e := range u.GetEntries() {
		fmt.Fprintf(w, "%s %s\n", e.GetAt().AsTime().Local().Format("2006-01-02T15:04:05Z07:00"), recovery.Clean(e.GetText(), 400))
	}
}

func jsonLines(w io.Writer, u *pb.WatchResponse) {
	if data, err := (protojson.MarshalOptions{UseProtoNames: true}).Marshal(u); err == nil {
		fmt.Fprintln(w, string(data))
	}
}

// screen redraws a view in place.
type screen struct {
	out   *os.File
	color bool
	last  []string // the newest entries
	drawn bool
}

const screenTail = 8 // entries shown under the waves

func (s *screen) draw(w io.Writer, u *pb.WatchResponse) {
	for _, e := range u.GetEntries() {
		s.last = append(s.last, e.GetAt().AsTime().Local().Format("15:04:05")+" "+e.GetText())
	}
	if n := len(s.last); n > screenTail {
		s.last = s.last[n-screenTail:]
	}
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		width, height = 100, 30
	}
	var b strings.Builder
	if !s.drawn {
		b.WriteString("\x1b[2J")
		s.drawn = true
	}
	b.WriteString("\x1b[H")
	for i, line := range s.view(u.GetIncident()) {
		if i >= height-1 {
			break
		}
		b.WriteString(fit(line, width) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(w, b.String())
}

// view is the whole screen, line by line.
func (s *screen) view(in *pb.Incident) []string {
	n := in.GetCounts()
	out := []string{
		fmt.Sprintf("%s  %s  %s", in.GetId(), s.bold(strings.ToUpper(in.GetStatus())), recovery.Clean(in.GetTitle(), 80)),
		fmt.Sprintf("now %s, began %s   %d recovered  %d in flight  %d waiting  %d hands  %d debts", clock(in.GetNow()), clock(in.GetBeganAt()),
			n.GetRecovered(), n.GetAttempting()+n.GetVerifying(), n.GetWaiting(), n.GetNeedsHands(), in.GetOpenDebts()),
		forecastLine(in.GetForecast()), "",
	}
	if in.GetStatus() == "paused" {
		out = append(out, s.bold("PAUSED: "+recovery.Clean(in.GetReason(), 200)), "")
	}
	for _, w := range in.GetWaves() {
		c := w.GetCounts()
		out = append(out, fmt.Sprintf("wave %d %-16s %-7s %s %4d/%-4d in flight %-3d waiting %-4d hands %-3d", w.GetWave(), recovery.Clean(w.GetTier(), 16), w.GetStatus(),
			bar(int(c.GetRecovered()), int(w.GetSize()), 24), c.GetRecovered(), w.GetSize(), c.GetAttempting()+c.GetVerifying(), c.GetWaiting(), c.GetNeedsHands()),
			"       "+recovery.Clean(w.GetReason(), 200))
	}
	down := 0
	for _, svc := range in.GetServices() {
		if !svc.GetIsUp() {
			down++
		}
	}
	out = append(out, "", fmt.Sprintf("services: %d of %d up", len(in.GetServices())-down, len(in.GetServices())), "")
	for _, line := range s.last {
		out = append(out, recovery.Clean(line, 300))
	}
	return out
}

func (s *screen) bold(text string) string {
	if !s.color {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

func bar(n, of, width int) string {
	if of == 0 {
		return strings.Repeat(".", width)
	}
	full := min(n*width/of, width)
	return strings.Repeat("#", full) + strings.Repeat(".", width-full)
}

// fit cuts a line to the terminal's width; escape sequences of our own are few and short, so a bold line may be cut early.
func fit(line string, width int) string {
	if r := []rune(line); len(r) > width {
		return string(r[:width])
	}
	return line
}
