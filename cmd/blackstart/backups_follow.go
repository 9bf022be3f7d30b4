package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// follower waits for work on backups, telling how far it comes.
type follower struct {
	list   func(context.Context, *pb.ListPointsRequest) (*pb.ListPointsResponse, error)
	watch  func(context.Context) (recv func() (*pb.WatchBackupsResponse, error), err error)
	show   func(running, waiting []*pb.BackupWork, now time.Time)
	ended  func(ctx context.Context, w *pb.BackupWork, failed string) error // of a piece of the work; failed: why it could not be done, and when it is tried again
	notice func(string)

	recv   func() (*pb.WatchBackupsResponse, error) // of the stream that is open; nil: none is
	hangUp context.CancelFunc                       // ends that stream
	heard  bool                                     // a coordinator has answered
	gone   time.Time                                // since when none does; zero: it does
}

const (
	redialGap = time.Second      // between two looks for a coordinator that is away
	mostAway  = 2 * time.Minute  // without an answer before a coordinator is given up
	plainGap  = 30 * time.Second // between two lines of one job where nobody looks at a terminal
	mostWaits = 3                // of those that wait, how many lines a terminal shows
)

// workKey is what a piece of work is about, whatever job does it.
type workKey struct{ kind, dataSet, repository, point string }

func keyOf(w *pb.BackupWork) workKey {
	return workKey{w.GetKind(), w.GetDataSet(), w.GetRepository(), w.GetPoint()}
}

// byKey finds work by what it is about: what is to be tried again only where no job is there.
func byKey(work []*pb.BackupWork) map[workKey]*pb.BackupWork {
	m := make(map[workKey]*pb.BackupWork, len(work))
	for _, w := range work {
		if known := m[keyOf(w)]; known == nil || known.GetJob() == "" {
			m[keyOf(w)] = w
		}
	}
	return m
}

// follow returns when all of the work has ended or could not be done, or when ctx ends.
func (f *follower) follow(ctx context.Context, left []*pb.BackupWork) error {
	defer f.drop()
	for len(left) > 0 {
		out, err := f.next(ctx)
		if err != nil {
			return err
		}
		if left, err = f.tell(ctx, left, out); err != nil {
			return err
		}
	}
	return nil
}

// tell tells how the work that is left stands, and returns what is left of it now.
func (f *follower) tell(ctx context.Context, left []*pb.BackupWork, out *pb.WatchBackupsResponse) (rest []*pb.BackupWork, err error) {
	var running, waiting, over []*pb.BackupWork
	now := byKey(out.GetWork())
	for _, w := range left {
		switch is := now[keyOf(w)]; {
		case is == nil, is.GetJob() == "": // it has ended; or it was tried, and will be again: nobody need wait for that
			over = append(over, w)
			continue
		case is.GetWaits() == "":
			running = append(running, is)
		default:
			waiting = append(waiting, is)
		}
		rest = append(rest, w)
	}
	if len(over) > 0 {
		f.show(nil, nil, out.GetNow().AsTime()) // what is told of an end stays; what is under way comes after it
	}
	for _, w := range over {
		if err := f.ended(ctx, w, now[keyOf(w)].GetWaits()); err != nil {
			return nil, err
		}
	}
	f.show(running, waiting, out.GetNow().AsTime())
	return rest, nil
}

// next is how the work stands at first, and then each time that this has changed.
func (f *follower) next(ctx context.Context) (out *pb.WatchBackupsResponse, err error) {
	err = f.reach(ctx, func() (err error) {
		if f.recv == nil {
			out, err = f.open(ctx)
		} else {
			out, err = f.recv()
		}
		return err
	})
	return out, err
}

// open opens a stream and returns what it tells first, for which it waits no longer than for the answer to a call.
func (f *follower) open(ctx context.Context) (*pb.WatchBackupsResponse, error) {
	ctx, f.hangUp = context.WithCancel(ctx)
	late := time.AfterFunc(callTimeout, f.hangUp)
	var out *pb.WatchBackupsResponse
	recv, err := f.watch(ctx)
	if err == nil {
		f.recv = recv
		out, err = recv()
	}
	if !late.Stop() {
		return nil, status.FromContextError(context.DeadlineExceeded).Err()
	}
	return out, err
}

// drop ends the stream that is open, if one is.
func (f *follower) drop() {
	if f.hangUp != nil {
		f.hangUp()
	}
	f.recv, f.hangUp = nil, nil
}

// look asks for what is known of a data set's points, or of all.
func (f *follower) look(ctx context.Context, dataSet string) (out *pb.ListPointsResponse, err error) {
	err = f.reach(ctx, func() (err error) {
		out, err = f.list(ctx, &pb.ListPointsRequest{DataSet: dataSet})
		return err
	})
	return out, err
}

// reach asks until it is answered. A coordinator that is away may come back: agents go on meanwhile. The stream went with it.
func (f *follower) reach(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil {
			if !f.gone.IsZero() {
				f.notice("the coordinator is back")
			}
			f.gone, f.heard = time.Time{}, true
			return nil
		}
		f.drop()
		switch {
		case ctx.Err() != nil:
			return errInterrupted
		case !f.heard || !away(err):
			return err
		case f.gone.IsZero():
			f.gone = time.Now()
			f.notice("the coordinator is away; what agents have begun goes on; looking for it …")
		case time.Since(f.gone) >= mostAway:
			return err
		}
		if err := wait(ctx, redialGap); err != nil {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errInterrupted
	}
}

// workName names the work in a line: data set, point and level.
func workName(w *pb.BackupWork) string {
	name := w.GetKind() + " " + w.GetDataSet()
	if w.GetPoint() != "" {
		name += " " + w.GetRepository() + "/" + w.GetPoint()
		if w.GetKind() == "check" && w.GetLevel() != "" {
			name += " to " + w.GetLevel()
		}
	}
	return cell(name, 120)
}

// newFollower shows progress the way that suits the output: redrawn in a terminal, lines elsewhere, nothing in JSON.
func (o *options) newFollower(c *cobra.Command, client pb.OperatorServiceClient) *follower {
	f := &follower{ended: func(context.Context, *pb.BackupWork, string) error { return nil },
		notice: func(text string) { fmt.Fprintln(c.ErrOrStderr(), "blackstart: "+text) },
		list: func(ctx context.Context, r *pb.ListPointsRequest) (*pb.ListPointsResponse, error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return client.ListPoints(ctx, r)
		},
		watch: func(ctx context.Context) (func() (*pb.WatchBackupsResponse, error), error) {
			stream, err := client.WatchBackups(ctx, &pb.WatchBackupsRequest{})
			if err != nil {
				return nil, err
			}
			return stream.Recv, nil
		}}
	file, ok := asFile(c.OutOrStdout())
	switch {
	case o.json():
		f.show = func([]*pb.BackupWork, []*pb.BackupWork, time.Time) {}
	case ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb":
		b := &workBoard{out: file, width: func() int { return terminalWidth(file) }}
		say := f.notice
		f.show = b.show
		f.notice = func(text string) {
			b.draw(nil)
			say(text)
		}
	default:
		f.show = (&workLines{out: c.OutOrStdout(), told: map[string]toldLine{}}).show
	}
	return f
}

// workBoard redraws the work that is under way at the end of a terminal.
type workBoard struct {
	out   io.Writer
	width func() int
	lines int // drawn, above the cursor
}

func (b *workBoard) show(running, waiting []*pb.BackupWork, _ time.Time) {
	var list []string
	for _, w := range running {
		list = append(list, strings.TrimSuffix(workName(w)+"  "+howFar(w.GetProgress()), "  "))
	}
	for i, w := range waiting {
		if i == mostWaits {
			list = append(list, fmt.Sprintf("… and %d more wait", len(waiting)-mostWaits))
			break
		}
		list = append(list, workName(w)+"  waits: "+cell(w.GetWaits(), 200))
	}
	b.draw(list)
}

// draw replaces what was drawn before.
func (b *workBoard) draw(list []string) {
	var s strings.Builder
	if b.lines > 0 {
		fmt.Fprintf(&s, "\x1b[%dA\x1b[J", b.lines)
	}
	width := b.width()
	for _, line := range list {
		if width > 1 {
			line = text.Snip(line, width-1, "…") // a line that wraps would be two
		}
		s.WriteString(line + "\n")
	}
	b.lines = len(list)
	_, _ = io.WriteString(b.out, s.String()) // a terminal that is gone ends the program by itself
}

// workLines tells work that is under way in lines: each new stage, and from time to time how far it is.
type workLines struct {
	out   io.Writer
	told  map[string]toldLine // by work
	waits string              // the reason told last
}

type toldLine struct {
	stage string
	at    time.Time
}

func (t *workLines) show(running, waiting []*pb.BackupWork, now time.Time) {
	for _, w := range running {
		name, stage := workName(w), w.GetProgress().GetStage()
		last, known := t.told[name]
		if known && last.stage == stage && now.Sub(last.at) < plainGap {
			continue
		}
		t.told[name] = toldLine{stage, now}
		fmt.Fprintf(t.out, "%s %s\n", now.UTC().Format(time.RFC3339), strings.TrimSuffix(name+": "+howFar(w.GetProgress()), ": "))
	}
	if len(waiting) == 0 {
		return
	}
	if why := workName(waiting[0]) + " waits: " + cell(waiting[0].GetWaits(), 200); why != t.waits {
		t.waits = why
		if n := len(waiting) - 1; n > 0 {
			why += fmt.Sprintf("; %d more behind it", n)
		}
		fmt.Fprintf(t.out, "%s %s\n", now.UTC().Format(time.RFC3339), why)
	}
}
