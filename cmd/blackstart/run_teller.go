package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// runTeller says on standard error how a run goes, once it takes longer than a person waits without wondering: one line that
// changes in a terminal, a line now and then elsewhere. Programs are not told.
type runTeller struct {
	c      *cobra.Command
	quiet  bool
	resume string // how to take the run up

	mu     sync.Mutex
	counts recovery.RunCounts
	out    io.Writer
	live   bool // a terminal: one line, drawn again
	drawn  bool
	last   string
	ended  chan struct{}
	over   sync.WaitGroup
}

const (
	redrawEvery = 500 * time.Millisecond
	lineEvery   = 5 * time.Second
)

// begin starts telling: the run is on disk.
func (t *runTeller) begin(s *recovery.AdHoc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts, t.out = s.Counts(), t.c.ErrOrStderr()
	if t.quiet {
		return
	}
	note := restartNote(&s.Declared)
	f, ok := asFile(t.out)
	t.live = ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	every := lineEvery
	if t.live {
		every = redrawEvery
	}
	t.ended = make(chan struct{})
	t.over.Go(func() {
		wait := time.NewTimer(patience)
		defer wait.Stop()
		select {
		case <-t.ended:
			return
		case <-wait.C:
		}
		fmt.Fprintln(t.out, "blackstart: "+note)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			t.show()
			select {
			case <-t.ended:
				return
			case <-tick.C:
			}
		}
	})
}

// progress takes the newest counts.
func (t *runTeller) progress(c recovery.RunCounts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts = c
}

func (t *runTeller) show() {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := "blackstart: " + runLine(t.counts)
	switch {
	case t.live:
		width := terminalWidth(t.out)
		if width > 0 {
			line = text.Trim(line, width-1)
		}
		fmt.Fprint(t.out, "\r"+line+"\x1b[K")
		t.drawn = true
	case line != t.last:
		fmt.Fprintln(t.out, line)
	}
	t.last = line
}

// runLine is how a run stands, in one line.
func runLine(c recovery.RunCounts) string {
	ended := c.Ended()
	var parts []string
	for _, class := range classOrder {
		if n := c.Results[recovery.Class(class)]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	line := fmt.Sprintf("%d of %d hosts ended", ended, ended+c.UnderWay+c.Waiting)
	if len(parts) > 0 {
		line += " (" + strings.Join(parts, ", ") + ")"
	}
	return line + fmt.Sprintf("; %d under way, %d waiting", c.UnderWay, c.Waiting)
}

// stopping says what the first Ctrl-C does.
func (t *runTeller) stopping() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		return // nothing was sent yet
	}
	t.wipe()
	fmt.Fprintf(t.out, "blackstart: stopping: nothing more is started; waiting for %s under way. Ctrl-C again leaves at once; scripts go on, and this takes the run up: %s\n", plural(t.counts.UnderWay, "host"), t.resume)
}

// end stops telling and clears the line.
func (t *runTeller) end() {
	if t.ended != nil {
		close(t.ended)
		t.over.Wait()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wipe()
}

func (t *runTeller) wipe() {
	if t.drawn {
		fmt.Fprint(t.out, "\r\x1b[K")
		t.drawn = false
	}
}
