package remedy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxGreeting = 2 << 20 // what a host may send before it lets us in; a login takes some 4 KiB and a Banner file
	maxIdent    = 255     // RFC 4253, 4.2
)

// greeting is the connection to a host that has not let us in yet. It takes out what comes before the SSH identification,
// keeps a little of what the host says for people, and bounds the whole.
type greeting struct {
	net.Conn
	in    *bufio.Reader
	ident []byte // the identification, as far as the handshake has not read it
	words *kept  // the last of the lines before the identification, and of the login banners

	heard                   atomic.Int64 // bytes up to the login
	admitted, flooded, over atomic.Bool  // we are in; it sent too much; the connection is at its end
}

func newGreeting(conn net.Conn) *greeting {
	return &greeting{Conn: conn, in: bufio.NewReaderSize(conn, 512), words: newKept(0, 1<<10)}
}

// Read gives the identification and all that follows it. Up to the login it ends with errFlood after maxGreeting.
func (g *greeting) Read(p []byte) (int, error) {
	if len(g.ident) > 0 {
		n := copy(p, g.ident)
		g.ident = g.ident[n:]
		return n, nil
	}
	if g.admitted.Load() {
		if g.in.Buffered() > 0 {
			return g.in.Read(p)
		}
		return g.Conn.Read(p)
	}
	n, err := g.in.Read(p)
	if g.heard.Add(int64(n)) > maxGreeting {
		g.flooded.Store(true)
		return 0, errFlood
	}
	if err != nil {
		g.over.Store(true)
	}
	return n, err
}

// identify waits so long for the host's identification. What comes before it is legal (RFC 4253, 4.2), and skipped.
func (r *SSH) identify(ctx context.Context, g *greeting, patience time.Duration) *end {
	_, err := within(ctx, patience, func() { _ = g.Close() }, func() (struct{}, error) { return struct{}{}, g.skip() })
	words := g.words.last()
	switch {
	case err == nil && bytes.HasPrefix(g.ident, []byte("SSH-1.")) && !bytes.HasPrefix(g.ident, []byte("SSH-1.99-")):
		return failed("SSH version one", "The host speaks only SSH version 1, which nobody should use any more; bring it up to date or use another rung.")
	case err == nil:
		return nil
	case errors.Is(err, errFlood), errors.Is(err, errSlow) && g.heard.Load() > 0:
		return unreachable("not an SSH server", "What answers on the host's SSH port is not an SSH server"+saying(words)+"; check address and port in the fleet file.")
	case errors.Is(err, errSlow):
		return unreachable("silent after connecting", "The host accepts the connection and says nothing; it is half up or overloaded: look at its console.")
	case ctx.Err() != nil:
		return stopped(context.Cause(ctx))
	case tooManyLogins(words):
		return unreachable("too many logins at once", "The host turns us away"+saying(words)+": more logins are under way there than its MaxStartups allows, or its PerSourcePenalties hold our address; it is tried again, and a larger MaxStartups there helps.")
	default:
		return closedEarly(words)
	}
}

// tooManyLogins knows the words of sshd before 9.8, and since then.
func tooManyLogins(words string) bool {
	return strings.Contains(words, "Exceeded MaxStartups") || strings.Contains(words, "Not allowed at this time")
}

func closedEarly(words string) *end {
	return unreachable("closed before the banner", "The host closes the connection before it is greeted as an SSH server"+saying(words)+"; sshd may be refusing this address, have too many logins under way, or be failing to start.")
}

// saying puts what a host said into a sentence.
func saying(words string) string {
	if words == "" {
		return ""
	}
	return ", saying " + quoted(words)
}

// skip reads up to the identification.
func (g *greeting) skip() error {
	for fresh := true; ; {
		line, err := g.in.ReadSlice('\n')
		heard := g.heard.Add(int64(len(line)))
		whole := err == nil
		if fresh && whole && len(line) <= maxIdent && bytes.HasPrefix(line, []byte("SSH-")) {
			g.ident = bytes.Clone(line)
			return nil
		}
		_, _ = g.words.Write(line)
		switch {
		case heard > maxGreeting:
			return errFlood
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
		fresh = whole
	}
}
