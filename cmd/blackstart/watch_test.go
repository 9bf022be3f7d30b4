package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

var errGone = status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`)

// streams plays one list of answers for each stream that is opened; behind the last list nobody answers.
type streams struct {
	asked   []*pb.WatchRequest
	answers [][]any // *pb.WatchResponse or error
}

func (s *streams) open(_ context.Context, r *pb.WatchRequest) (func() (*pb.WatchResponse, error), error) {
	s.asked = append(s.asked, r)
	if len(s.answers) == 0 {
		return nil, errGone
	}
	list := s.answers[0]
	s.answers = s.answers[1:]
	return func() (*pb.WatchResponse, error) {
		if len(list) == 0 {
			return nil, io.EOF
		}
		next := list[0]
		list = list[1:]
		if err, ok := next.(error); ok {
			return nil, err
		}
		return next.(*pb.WatchResponse), nil
	}, nil
}

func news(seq uint64, state string) *pb.WatchResponse {
	in := &pb.Incident{Id: "2024-07-19-1", Seq: seq, Status: state}
	if strings.HasPrefix(state, "closed") || state == "aborted" {
		in.ClosedAt = timestamppb.Now()
	}
	return &pb.WatchResponse{Incident: in}
}

func TestWatchOutlivesCoordinators(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers [][]any
		asked   []uint64 // AfterSeq of each stream
		notices int
		exit    int
		message string
	}{
		{"closes", [][]any{{news(3, "running"), news(9, "closed")}}, []uint64{0}, 0, exitDone, ""},
		{"closes with exceptions", [][]any{{news(3, "closed-with-exceptions")}}, []uint64{0}, 0, exitHeld, "closed-with-exceptions"},
		{"goes on behind the last entry", [][]any{{news(3, "running"), errGone}, {errGone}, {news(9, "closed")}}, []uint64{0, 3, 3}, 2, exitDone, ""},
		{"the server hangs up", [][]any{{news(3, "running")}, {news(4, "aborted")}}, []uint64{0, 3}, 2, exitHeld, "aborted"},
		{"goes away twice", [][]any{{news(3, "running")}, {news(4, "running")}, {news(5, "closed")}}, []uint64{0, 3, 4}, 4, exitDone, ""},
		{"was never there", nil, []uint64{0}, 0, exitFailed, "no coordinator answers there"},
		{"is refused", [][]any{{status.Error(codes.NotFound, "there is no incident x")}}, []uint64{0}, 0, exitUsage, "there is no incident x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &streams{answers: tc.answers}
				notices := 0
				w := &watcher{open: s.open, show: func(*pb.WatchResponse) {}, notice: func(string) { notices++ }, ready: func() {}}
				message, exit := end(w.follow(t.Context()))
				if exit != tc.exit || !strings.Contains(message, tc.message) {
					t.Errorf("exit %d, %q; want %d, %q", exit, message, tc.exit, tc.message)
				}
				var asked []uint64
				for _, r := range s.asked {
					asked = append(asked, r.GetAfterSeq())
				}
				if !slices.Equal(asked, tc.asked) || notices != tc.notices {
					t.Errorf("asked after %v with %d notices; want %v with %d", asked, notices, tc.asked, tc.notices)
				}
			})
		})
	}
}

func TestWatchGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &streams{answers: [][]any{{news(3, "running")}}}
		w := &watcher{open: s.open, show: func(*pb.WatchResponse) {}, notice: func(string) {}, ready: func() {}}
		began := time.Now()
		message, exit := end(w.follow(t.Context()))
		if exit != exitFailed || !strings.Contains(message, "did not come back") || len(s.asked) != 1+mostReconnects {
			t.Errorf("exit %d after %d streams: %q", exit, len(s.asked), message)
		}
		if d := time.Since(began); d < time.Minute || d > 5*time.Minute {
			t.Errorf("it looked for %s", d)
		}
		if s.asked[1].GetIncident() != "2024-07-19-1" {
			t.Errorf("it looked for incident %q", s.asked[1].GetIncident())
		}
	})
}

func TestWatchIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &streams{answers: [][]any{{news(3, "running")}}}
		ctx, cancel := context.WithCancel(t.Context())
		w := &watcher{open: s.open, show: func(*pb.WatchResponse) {}, notice: func(string) { cancel() }, ready: func() {}}
		if err := w.follow(ctx); !errors.Is(err, errInterrupted) {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestWatchUntilHeld(t *testing.T) {
	held := news(4, "running")
	held.Incident.Waves = []*pb.Wave{{Wave: 1, Status: "passed"}, {Wave: 2, Status: "held", Reason: "5 failed"}}
	s := &streams{answers: [][]any{{news(3, "running"), held, news(9, "closed")}}}
	w := &watcher{open: s.open, show: func(*pb.WatchResponse) {}, notice: func(string) {}, ready: func() {}, untilHeld: true}
	if message, exit := end(w.follow(t.Context())); exit != exitHeld || message != "wave 2 is held: 5 failed" {
		t.Errorf("exit %d, %q", exit, message)
	}
}

// board is an incident with everything that a live view can show.
func board() *pb.Incident {
	now := time.Date(2024, 7, 19, 10, 0, 0, 0, time.UTC)
	at := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }
	return &pb.Incident{Id: "2024-07-19-1", Title: "EDR update", Status: "running", Now: at(0), BeganAt: at(-4 * time.Hour), DeclaredAt: at(-3 * time.Hour),
		Counts:    &pb.Counts{Recovered: 74, Attempting: 10, Verifying: 6, Waiting: 380, NeedsHands: 12, Skipped: 2, NotHit: 2},
		OpenDebts: 80, Forecast: &pb.Forecast{HostsPerHour: 120, Earliest: at(2 * time.Hour), Latest: at(3 * time.Hour), Reason: "396 hosts left at 100 to 120 an hour"},
		Waves: []*pb.Wave{
			{Wave: 1, Tier: "infrastructure", Status: "passed", Size: 74, Counts: &pb.Counts{Recovered: 74}, Reason: "all is well"},
			{Wave: 2, Tier: "critical", Status: "held", Size: 410, Counts: &pb.Counts{Attempting: 10, Verifying: 6, Waiting: 382, NeedsHands: 12}, Reason: "same signature five times: " + strings.Repeat("long ", 60)},
			{Wave: 3, Tier: "standard", Status: "closed", Size: 450, Counts: &pb.Counts{Waiting: 450}, Reason: "wave 2 has not passed its gate"}},
		Services: []*pb.Service{{Name: "directory", IsUp: true}, {Name: "housing", RtoAt: at(-time.Hour)}, {Name: "libraries", RtoAt: at(time.Hour)}}}
}

func TestScreenShowsTheStanding(t *testing.T) {
	s := &screen{in: board(), color: true, call: "blackstart"}
	for i := range mostEntries {
		s.last = append(s.last, fmt.Sprintf("entry %d", i))
	}
	view := strings.Join(s.view(40), "\n")
	for _, want := range []string{"74 of 484 hosts", "74 recovered, 16 in flight, 380 waiting, 12 need hands, 2 skipped, 2 not hit; 80 debts open",
		"rate 120 hosts an hour; to go 2h to 3h", "\x1b[1mHELD", "same signature five times", "1 of 3 up, 1 past their RTO; down: housing, libraries",
		"next: blackstart incident resume --wave 2", "next: blackstart host hands", "began 19 Jul 06:00:00 UTC", "4h ago", "entry 39"} {
		if !strings.Contains(view, want) {
			t.Errorf("the view lacks %q:\n%s", want, view)
		}
	}
	if strings.Contains(view, "all is well") {
		t.Error("a passed wave needs no reason")
	}
	s.color = false
	if strings.Contains(strings.Join(s.view(40), ""), "\x1b") {
		t.Error("NO_COLOR is not honoured")
	}
	for height := range 60 {
		if n := len(s.view(height)); n > max(height, leastEntries+1) {
			t.Errorf("%d lines on a screen of %d", n, height)
		}
	}
	for _, line := range s.view(40) {
		if n := text.StringWidthWithoutEscSequences(text.Trim(line, 80)); n > 80 {
			t.Errorf("a line has %d columns: %q", n, line)
		}
	}
}

func TestNextSteps(t *testing.T) {
	in := board()
	in.Waves[1].Status = "passed"
	if got := nextSteps(in); !slices.Equal(got, []string{"incident approve --wave 3", "host hands"}) {
		t.Errorf("behind a passed gate: %q", got)
	}
	in.Status, in.Waves[2].Status, in.Counts.NeedsHands = "settled", "passed", 0
	if got := nextSteps(in); !slices.Equal(got, []string{"host debts"}) {
		t.Errorf("with debts: %q", got)
	}
	in.OpenDebts = 0
	if got := nextSteps(in); !slices.Equal(got, []string{"incident close"}) {
		t.Errorf("settled: %q", got)
	}
}
