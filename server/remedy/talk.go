package remedy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

//go:embed runner.sh
var runnerText string

// lean leaves out the lines of a shell text that are only comment, for they are sent to every host.
func lean(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out.WriteString(line)
		}
	}
	return out.String()
}

var runner = lean(runnerText)

// shellQuote makes text one word of POSIX sh.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// head writes shell assignments; values must not hold NUL.
func head(pairs ...string) string {
	var out strings.Builder
	for n := 0; n < len(pairs); n += 2 {
		fmt.Fprintf(&out, "%s=%s\n", pairs[n], shellQuote(pairs[n+1]))
	}
	return out.String()
}

const (
	maxChatter = 256 << 10 // what a login shell may print before the runner speaks
	maxOutput  = 4 << 20   // what a host may send as a script's output; the runner keeps it to less than 1 MiB
)

var (
	errFlood = errors.New("more output than there can be")
	errEnd   = errors.New("the conversation ended")
)

// talk is a conversation with a shell text on the far side: an exec of sh that has read the text from its stdin and whose
// own words begin with a secret one. The text is sent when sh itself has spoken: a forced command, or a program that a login
// script starts in sh's place, gets none of it, for it might obey it line by line.
type talk struct {
	l       *link
	session *ssh.Session
	nonce   string
	knock   string // sh's first word; another one than nonce, for on the host everybody may read it
	text    string // sent after it; then empty
	in      io.WriteCloser
	out     *bufio.Reader
	chatter *kept // what else it printed, for people
	stderr  *kept
	seen    int
}

// newTalk starts sh with a text that is made for a fresh nonce. errEnd, errSlow or the link's error tell why it cannot be.
func newTalk(ctx context.Context, l *link, deadline time.Duration, text func(nonce string) string) (*talk, error) {
	t := &talk{l: l, nonce: rand.Text(), knock: rand.Text(), chatter: newKept(0, 2<<10), stderr: newKept(0, 2<<10)}
	_, err := within(ctx, deadline, l.close, func() (*talk, error) {
		session, err := l.client.NewSession()
		if err != nil {
			return nil, err
		}
		t.session = session
		session.Stderr = t.stderr
		out, err := session.StdoutPipe()
		if err != nil {
			return nil, err
		}
		t.out = bufio.NewReaderSize(out, 16<<10)
		if t.in, err = session.StdinPipe(); err != nil {
			return nil, err
		}
		t.text = text(t.nonce)
		return t, session.Start("echo; echo " + t.knock + "; exec /bin/sh") // csh and fish read it alike; another shell between would cost
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// say sends one answer.
func (t *talk) say(ctx context.Context, deadline time.Duration, answer string) error {
	_, err := within(ctx, deadline, t.l.close, func() (int, error) { return io.WriteString(t.in, answer+"\n") })
	return err
}

// sayLater sends one answer after a while, unless stop is called before.
func (t *talk) sayLater(after time.Duration, answer string) (stop func() bool) {
	return time.AfterFunc(after, func() { _, _ = io.WriteString(t.in, answer+"\n") }).Stop
}

// hear waits for the other's next words; before the first ones it sends the text.
func (t *talk) hear(ctx context.Context, deadline time.Duration) (string, error) {
	return within(ctx, deadline, t.l.close, func() (string, error) {
		for atStart := true; ; {
			line, whole, err := t.line()
			if err != nil {
				return "", err
			}
			begins := atStart // and is not the rest of a line that is too long for us
			atStart = whole
			if said, ok := bytes.CutPrefix(line, []byte(t.nonce+" ")); ok && whole && begins {
				return strings.TrimRight(string(said), "\r\n"), nil
			}
			if t.text != "" && begins && string(line) == t.knock+"\n" {
				go func(text string) { _, _ = io.WriteString(t.in, text) }(t.text) // ends with the link at the latest
				t.text = ""
				continue
			}
			if t.seen += len(line); t.seen > maxChatter {
				return "", errFlood
			}
			_, _ = t.chatter.Write(line)
		}
	})
}

// hearOutput copies what follows up to the other's next words, without the line break before those.
func (t *talk) hearOutput(ctx context.Context, deadline time.Duration, to *kept) (string, error) {
	return within(ctx, deadline, t.l.close, func() (string, error) {
		held, atStart := false, true
		for total := 0; total < maxOutput; {
			line, whole, err := t.line()
			if err != nil {
				return "", err
			}
			if said, ok := bytes.CutPrefix(line, []byte(t.nonce+" ")); ok && atStart && whole {
				return strings.TrimSpace(string(said)), nil
			}
			if held {
				_, _ = to.Write([]byte("\n"))
			}
			if held = whole; held {
				line = line[:len(line)-1]
			}
			atStart = whole
			n, _ := to.Write(line)
			total += n + 1
		}
		return "", errFlood
	})
}

// line reads up to a line break, or as much of the line as fits the buffer.
func (t *talk) line() (line []byte, whole bool, err error) {
	line, err = t.out.ReadSlice('\n')
	switch {
	case err == nil:
		return line, true, nil
	case errors.Is(err, bufio.ErrBufferFull):
		return line, false, nil
	case errors.Is(err, io.EOF):
		return nil, false, errEnd
	default:
		return nil, false, err
	}
}

// hearOut waits a moment for what the other side has said beside its words before it ended: that comes on a way of its own.
func (t *talk) hearOut() {
	_, _ = within(context.Background(), time.Second, t.part, func() (struct{}, error) { return struct{}{}, t.session.Wait() })
}

// part ends the conversation without waiting for the other side.
func (t *talk) part() { _ = t.session.Close() }
