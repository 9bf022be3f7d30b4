package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode"
)

// command is one run of an outside program. What it prints is not trusted: bounded, and clean before it goes anywhere.
type command struct {
	path string
	args []string // no secrets: anybody on the machine can read them
	env  []string // added to a small, clean environment; secrets go here, or in a file that a variable names
	dir  string
	in   []byte            // on its standard input; nil: nothing
	user string            // the system user that it runs as, when we are root; empty: ours
	line func(line string) // told each line of standard output, without its end, cut at maxLine
	out  io.Writer         // gets standard output instead of line

	started func(pid int) // told once, when it runs; it holds nothing up
}

// ended is how a program ended by itself.
type ended struct {
	exit   int    // -1: by a signal
	signal string // "killed"
	said   string // the end of what it said on standard error, on one line
}

const (
	maxLine   = 1 << 20         // bytes of one line
	maxSaid   = 2000            // bytes of standard error that are kept
	letGo     = 5 * time.Second // from asking a program to end until it is made to
	drainTime = 2 * time.Second // for pipes that a grandchild holds open
)

// run runs the program and everything that it starts in a process group of its own, which ends with ctx: asked first, killed then. An
// error says that it could not be started or did not end by itself; ctx's own error is among it when that was why.
func (c command) run(ctx context.Context) (ended, error) {
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env = append(cleanEnv(), c.env...)
	cmd.Dir = c.dir
	if c.in != nil {
		cmd.Stdin = bytes.NewReader(c.in)
	}
	tail := &tailWriter{max: maxSaid}
	cmd.Stderr = tail
	var lines *lineWriter
	switch {
	case c.out != nil:
		cmd.Stdout = c.out
	case c.line != nil:
		lines = &lineWriter{told: c.line}
		cmd.Stdout = lines
	}
	cmd.WaitDelay = letGo + drainTime
	if err := own(cmd, c.user); err != nil {
		return ended{}, err
	}
	defer tie(cmd)()
	if err := cmd.Start(); err != nil {
		return ended{}, &Fault{Failed, "program cannot be started", fmt.Sprintf("%s cannot be started: %v; install it, or name where it is.", c.path, err)}
	}
	if c.started != nil {
		c.started(cmd.Process.Pid)
	}
	err := cmd.Wait()
	sweep(cmd)
	if lines != nil {
		lines.end()
	}
	e := ended{said: tail.String()}
	if ctx.Err() != nil {
		return e, context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		e.exit, e.signal = exit.ExitCode(), signalOf(exit)
	case errors.Is(err, exec.ErrWaitDelay): // it ended; something that it left behind held its pipes
		e.exit = cmd.ProcessState.ExitCode()
	default:
		return e, err
	}
	return e, nil
}

// cleanEnv is all of our environment that a program gets.
func cleanEnv() []string {
	return append(systemEnv(), "LC_ALL=C", "TZ=UTC", "HOME="+os.Getenv("HOME"), "PATH="+os.Getenv("PATH"), "TMPDIR="+os.TempDir())
}

// lineWriter cuts what is written into lines.
type lineWriter struct {
	told func(string)
	part bytes.Buffer
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		chunk := p
		if i >= 0 {
			chunk = p[:i]
		}
		if room := maxLine - w.part.Len(); len(chunk) > room {
			chunk = chunk[:room]
		}
		w.part.Write(chunk)
		if i < 0 {
			break
		}
		w.end()
		p = p[i+1:]
	}
	return n, nil
}

func (w *lineWriter) end() {
	if w.part.Len() > 0 {
		w.told(strings.TrimSuffix(w.part.String(), "\r"))
		w.part.Reset()
	}
}

// tailWriter keeps the end of what is written.
type tailWriter struct {
	max int
	mu  sync.Mutex
	buf []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if len(w.buf) > 2*w.max {
		w.buf = append(w.buf[:0], w.buf[len(w.buf)-w.max:]...)
	}
	return len(p), nil
}

func (w *tailWriter) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return clean(string(w.buf[max(0, len(w.buf)-w.max):]), w.max)
}

// clean makes foreign text one line of at most limit bytes without control sequences.
func clean(text string, limit int) string {
	var b strings.Builder
	scan := bufio.NewScanner(strings.NewReader(text))
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		line := strings.TrimSpace(strings.Map(func(r rune) rune {
			if r == '\t' {
				return ' '
			}
			if unicode.IsControl(r) || !unicode.IsPrint(r) {
				return -1
			}
			return r
		}, scan.Text()))
		if line == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	s := b.String()
	if len(s) > limit {
		s = strings.ToValidUTF8(s[len(s)-limit:], "")
	}
	return s
}
