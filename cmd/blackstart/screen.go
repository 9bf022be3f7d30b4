package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// screen is the live view of a watch: it redraws in place.
type screen struct {
	out   *os.File
	color bool
	call  string // how the caller calls blackstart

	in      *pb.Incident // the newest
	last    []string     // the newest entries
	message string       // about the connection
	seen    int          // updates that have shown it
	drawn   bool
}

const (
	mostEntries  = 40 // entries kept for a tall terminal
	leastEntries = 3  // entries shown in a low one
)

// update takes in news and redraws.
func (s *screen) update(u *pb.WatchResponse) {
	for _, e := range u.GetEntries() {
		s.last = append(s.last, e.GetAt().AsTime().UTC().Format(time.TimeOnly)+" "+recovery.Clean(e.GetText(), 400))
	}
	if n := len(s.last); n > mostEntries {
		s.last = s.last[n-mostEntries:]
	}
	s.in = u.GetIncident()
	if s.seen++; s.seen > 1 {
		s.message = ""
	}
	s.draw()
}

// say shows a message about the connection, until news after it have come twice.
func (s *screen) say(message string) {
	s.message, s.seen = message, 0
	if s.in != nil {
		s.draw()
	}
}

func (s *screen) draw() {
	width, height, err := term.GetSize(int(s.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		width, height = 100, 30
	}
	var b strings.Builder
	if !s.drawn {
		b.WriteString("\x1b[2J")
		s.drawn = true
	}
	b.WriteString("\x1b[H")
	for _, line := range s.view(height - 1) {
		b.WriteString(text.Trim(line, width) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	_, _ = s.out.WriteString(b.String()) // a terminal that is gone ends the program by itself
}

// view is the whole screen, line by line, at most height of them: the standing first, then as many entries as there is room for.
func (s *screen) view(height int) []string {
	in := s.in
	n := in.GetCounts()
	planned := n.GetWaiting() + n.GetAttempting() + n.GetVerifying() + n.GetRecovered() + n.GetNeedsHands() + n.GetSkipped()
	out := []string{
		fmt.Sprintf("%s  %s  %s", in.GetId(), s.bold(strings.ToUpper(in.GetStatus())), recovery.Clean(in.GetTitle(), 200)),
		fmt.Sprintf("now %s, began %s, %s ago", wallClock(in.GetNow()), wallClock(in.GetBeganAt()), span(in.GetNow().AsTime().Sub(in.GetBeganAt().AsTime()).Truncate(time.Minute))),
		fmt.Sprintf("%s %d of %d hosts", bar(int(n.GetRecovered()), int(planned), 24), n.GetRecovered(), planned),
		counts(n) + "; " + plural(int(in.GetOpenDebts()), "debt") + " open",
	}
	if in.GetStatus() == "running" || in.GetStatus() == "settled" {
		out = append(out, pace(in)...)
	}
	if in.GetReason() != "" {
		out = append(out, s.bold(strings.ToUpper(in.GetStatus())+": "+recovery.Clean(in.GetReason(), 400)))
	}
	out = append(out, "")
	out = append(out, s.waves(in)...)
	out = append(out, "", services(in))
	for i, step := range nextSteps(in) {
		if i == 0 {
			out = append(out, "")
		}
		out = append(out, "next: "+s.call+" "+step)
	}
	if s.message != "" {
		out = append(out, "", s.bold(s.message))
	}
	room := height - len(out) - 1
	if room < leastEntries {
		room = leastEntries
		out = out[:max(0, min(len(out), height-room-1))]
	}
	return append(append(out, ""), s.last[max(0, len(s.last)-room):]...)
}

// waves shows each wave in a line, and in another why it is not over.
func (s *screen) waves(in *pb.Incident) []string {
	tier := 0
	for _, w := range in.GetWaves() {
		tier = max(tier, min(20, text.StringWidth(w.GetTier())))
	}
	var out []string
	for _, w := range in.GetWaves() {
		c := w.GetCounts()
		status := text.Pad(w.GetStatus(), 6, ' ')
		if w.GetStatus() == "held" {
			status = s.bold(text.Pad("HELD", 6, ' '))
		}
		out = append(out, fmt.Sprintf("wave %d %s %s %s %4d/%-4d in flight %-3d waiting %-4d hands %-3d", w.GetWave(), text.Pad(text.Snip(w.GetTier(), tier, "…"), tier, ' '), status,
			bar(int(c.GetRecovered()), int(w.GetSize()), 16), c.GetRecovered(), w.GetSize(), c.GetAttempting()+c.GetVerifying(), c.GetWaiting(), c.GetNeedsHands()))
		if w.GetStatus() != "passed" && w.GetReason() != "" {
			out = append(out, "       "+recovery.Clean(w.GetReason(), 400))
		}
	}
	return out
}

// services counts what people miss.
func services(in *pb.Incident) string {
	up, late := 0, 0
	var down []string
	for _, v := range in.GetServices() {
		if v.GetIsUp() {
			up++
			continue
		}
		down = append(down, v.GetName())
		if v.GetRtoAt() != nil && in.GetNow().AsTime().After(v.GetRtoAt().AsTime()) {
			late++
		}
	}
	line := fmt.Sprintf("services: %d of %d up", up, len(in.GetServices()))
	if late > 0 {
		line += fmt.Sprintf(", %d past their RTO", late)
	}
	if len(down) > 0 {
		line += "; down: " + named(down)
	}
	return line
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
