package remedy

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// end is how something ended that did not succeed, in the terms of recovery.Result.
type end struct {
	class             recovery.Class
	signature, detail string
}

func (e *end) Error() string { return e.detail }

func unreachable(signature, detail string) *end {
	return &end{recovery.Unreachable, signature, detail}
}

// target is where a connection goes.
type target struct {
	addr     string // IP:port
	user     string
	expected *expected
	via      []hop // outermost first
}

// link is one living SSH connection.
type link struct {
	client *ssh.Client
	quit   func() // stops what watches over it
}

func (l *link) close() {
	l.quit()
	_ = l.client.Close()
}

// connect opens a connection within its phases' deadlines. The connection ends with ctx, and by itself when keepalives go unanswered.
func (r *SSH) connect(ctx context.Context, c *clock, t target) (*link, *end) {
	conn, release, e := r.reach(ctx, c, t)
	if e != nil {
		return nil, e
	}
	defer release()
	first, e := r.firstByte(ctx, conn)
	if e != nil {
		_ = conn.Close()
		return nil, e
	}
	// Only now a turn is taken: a silent host must not hold back those that answer.
	if err := r.handshakes.take(ctx, c); err != nil {
		_ = conn.Close()
		return nil, stopped(err)
	}
	defer r.handshakes.give()
	return r.handshake(ctx, &begunConn{conn, first}, t)
}

// reach opens the TCP connection, directly or through the jump hosts. release gives back the turn for a handshake there.
func (r *SSH) reach(ctx context.Context, c *clock, t target) (_ net.Conn, release func(), _ *end) {
	if len(t.via) > 0 {
		return r.reachThrough(ctx, c, t)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeouts.Dial, errSlow)
	defer cancel()
	conn, err := r.cfg.Dial(ctx, "tcp", t.addr)
	if err != nil {
		return nil, nil, dialEnd(ctx, err)
	}
	return conn, func() {}, nil
}

func dialEnd(ctx context.Context, err error) *end {
	var timeout net.Error
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow):
		return stopped(context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("connection refused", "The host refuses connections on its SSH port; see at its console whether it has booted and sshd runs.")
	case errors.Is(err, syscall.ECONNRESET):
		return closedEarly()
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return unreachable("no route", "There is no route to the host; check the address in the fleet file, the host's power and the network between.")
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return unreachable("no answer", "The host does not answer on its SSH port; check its power, its console and the firewall between.")
	default:
		return unreachable("no connection", "No connection to the host could be made ("+oneLine(err.Error(), 200)+"); check the address in the fleet file.")
	}
}

// stopped is the end of what a context stopped before anything was started.
func stopped(cause error) *end {
	if errors.Is(cause, errOutOfTime) {
		return &end{recovery.TimedOut, "no start in time", "The job's time was over before anything was started on the host; it may be tried again."}
	}
	return &end{recovery.Cancelled, "cancelled", "The job was cancelled before anything was started on the host."}
}

// firstByte waits until the host says something.
func (r *SSH) firstByte(ctx context.Context, conn net.Conn) ([]byte, *end) {
	first, err := within(ctx, r.cfg.Timeouts.Handshake, func() { _ = conn.Close() }, func() ([]byte, error) {
		first := make([]byte, 1)
		_, err := io.ReadFull(conn, first)
		return first, err
	})
	switch {
	case err == nil:
		return first, nil
	case errors.Is(err, errSlow):
		return nil, unreachable("silent after connecting", "The host accepts the connection and says nothing; it is half up or overloaded: look at its console.")
	case ctx.Err() != nil:
		return nil, stopped(context.Cause(ctx))
	default:
		return nil, closedEarly()
	}
}

func closedEarly() *end {
	return unreachable("closed before the banner", "The host closes the connection before it says anything; sshd may be refusing this address or failing to start.")
}

// begunConn is a connection of which the first bytes have been read.
type begunConn struct {
	net.Conn
	first []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// handshake logs in. A deadline of its own runs up to the host key, another one for the authentication.
func (r *SSH) handshake(ctx context.Context, conn net.Conn, t target) (*link, *end) {
	method, agent, err := r.identity.offer(r.cfg.Timeouts.Auth)
	if err != nil {
		_ = conn.Close()
		return nil, &end{recovery.AuthRefused, "ssh-agent does not answer", "The ssh-agent does not answer, so no key can be shown; start it and load the key."}
	}
	defer func() { _ = agent.Close() }()

	var mu sync.Mutex // the callback runs in the connection's goroutine, also at a later key exchange
	var refusal *end
	var authenticating, slow atomic.Bool
	cut := time.AfterFunc(r.cfg.Timeouts.Handshake, func() {
		slow.Store(true)
		_ = conn.Close()
	})
	defer cut.Stop()
	config := &ssh.ClientConfig{
		User:              t.user,
		Auth:              []ssh.AuthMethod{method},
		HostKeyAlgorithms: t.expected.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if e := t.expected.check(key); e != nil {
				mu.Lock()
				defer mu.Unlock()
				refusal = e
				return e
			}
			if !authenticating.Swap(true) && cut.Stop() {
				cut.Reset(r.cfg.Timeouts.Auth)
			}
			return nil
		},
	}
	l, err := within(ctx, r.cfg.Timeouts.Handshake+r.cfg.Timeouts.Auth, func() { _ = conn.Close() }, func() (*link, error) {
		c, chans, reqs, err := ssh.NewClientConn(conn, t.addr, config)
		if err != nil {
			return nil, err
		}
		return r.watch(ctx, ssh.NewClient(c, chans, reqs)), nil
	})
	if err == nil {
		return l, nil
	}
	_ = conn.Close()
	mu.Lock()
	defer mu.Unlock()
	switch {
	case refusal != nil:
		return nil, refusal
	case ctx.Err() != nil:
		return nil, stopped(context.Cause(ctx))
	default:
		return nil, handshakeEnd(err, authenticating.Load(), slow.Load() || errors.Is(err, errSlow))
	}
}

func handshakeEnd(err error, authenticating, slow bool) *end {
	var algorithm *ssh.AlgorithmNegotiationError
	text := err.Error()
	switch {
	case errors.As(err, &algorithm) && strings.Contains(algorithm.What, "host key"):
		return &end{recovery.HostKeyMismatch, "wrong kind of host key", "The host has no key of a kind that is known for it; it may be another machine: compare its keys at the console."}
	case errors.As(err, &algorithm):
		return unreachable("no common algorithm", "The host and this program have no common algorithm for the "+algorithm.What+"; its SSH server is too old to be used safely.")
	case strings.Contains(text, "unable to authenticate"), authenticating && strings.Contains(text, "ssh: disconnect, reason"):
		return &end{recovery.AuthRefused, "no key accepted", "The host knows us by none of the keys that we showed; check the user in the fleet file and the host's authorized_keys or user CA."}
	case authenticating && slow:
		return unreachable("stalled in authentication", "The host never ended the authentication; it may wait for a directory server that is down.")
	case authenticating:
		return unreachable("dropped in authentication", "The host dropped the connection during the authentication; see its SSH server's log.")
	case slow:
		return unreachable("stalled in the handshake", "The host began to talk and then stalled in the SSH handshake; it is half up or overloaded: look at its console.")
	case strings.Contains(text, "version"):
		return unreachable("not an SSH server", "What answers on the host's SSH port is not an SSH server; check address and port in the fleet file.")
	default:
		return unreachable("dropped in the handshake", "The host dropped the connection in the SSH handshake; it is half up or refuses this address.")
	}
}

// alive asks the host whether it is still there, and closes the connection if it does not answer.
func (l *link) alive(ctx context.Context, deadline time.Duration) bool {
	_, err := within(ctx, deadline, func() { _ = l.client.Close() }, func() (bool, error) {
		_, _, err := l.client.SendRequest("keepalive@openssh.com", true, nil)
		return true, err
	})
	return err == nil
}

// watch closes the connection when ctx ends and when the host stops answering keepalives.
func (r *SSH) watch(ctx context.Context, client *ssh.Client) *link {
	ctx, cancel := context.WithCancel(ctx)
	l := &link{client, cancel}
	context.AfterFunc(ctx, func() { _ = client.Close() })
	go func() {
		defer cancel()
		every := time.NewTicker(r.cfg.Timeouts.Keepalive)
		defer every.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
			}
			if !l.alive(ctx, r.cfg.Timeouts.Keepalive) {
				return
			}
		}
	}()
	return l
}
