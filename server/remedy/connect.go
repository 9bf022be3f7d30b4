package remedy

import (
	"context"
	"errors"
	"net"
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
	via      []hop      // outermost first
	passed   func(Step) // told of each step of the way in; may be nil
	begins   bool       // a script is to be started: the turn for the handshake is kept up to that, or for a moment
	hunt     *hunt      // the host is not up yet, or not for long; nil: it is dialled once
}

func (t target) pass(s Step) {
	if t.passed != nil {
		t.passed(s)
	}
}

// link is one living SSH connection.
type link struct {
	client *ssh.Client
	quit   func() // stops what watches over it
	settle func() // gives back what bounds how many hosts begin at once
}

func (l *link) close() {
	l.quit()
	l.settle()
	_ = l.client.Close()
}

// connect opens a connection within its phases' deadlines. The connection ends with ctx, and by itself when keepalives go unanswered.
func (r *SSH) connect(ctx context.Context, c *clock, t target) (*link, *end) {
	l, e := r.connectOnce(ctx, c, t)
	if e == nil || e.signature != accountRefused {
		return l, e
	}
	// A host that goes down in that moment drops us in the same way; a second later it is seen which of the two it was.
	timer := time.NewTimer(r.cfg.Timeouts.Retry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return r.connectOnce(ctx, c, t)
	case <-ctx.Done():
		return nil, e
	}
}

const accountRefused = "account refused"

func (r *SSH) connectOnce(ctx context.Context, c *clock, t target) (*link, *end) {
	g, there, e := r.arrive(ctx, c, t)
	if e != nil {
		return nil, e
	}
	// Only now turns are taken: a silent host must not hold back those that answer.
	turn := &turn{}
	for _, handshakes := range append(there, r.handshakes) {
		if err := turn.take(ctx, c, handshakes); err != nil {
			turn.give()
			_ = g.Close()
			return nil, stopped(err)
		}
	}
	l, e := r.handshake(ctx, g, t)
	if e != nil {
		turn.give()
		return nil, e
	}
	l.settle = turn.give
	if t.begins {
		time.AfterFunc(beginning, turn.give)
	} else {
		turn.give()
	}
	return l, nil
}

// beginning is how long a host may take from its login to its script's start and still hold its turn. To begin is what costs a
// host, and what shares its jump host and hypervisor, most; so it is not only the handshakes that are held to a few at once.
const beginning = time.Second

// arrive comes as far as the host's identification, by one dial or by a hunt. there is what bounds the handshakes on that way.
func (r *SSH) arrive(ctx context.Context, c *clock, t target) (_ *greeting, there []turns, _ *end) {
	if t.hunt != nil {
		return r.hunted(ctx, t)
	}
	conn, there, e := r.reach(ctx, c, t)
	if e != nil {
		return nil, nil, e
	}
	t.pass(StepTCP)
	g := newGreeting(conn)
	if e := r.identify(ctx, g, r.cfg.Timeouts.Handshake); e != nil {
		_ = g.Close()
		return nil, nil, e
	}
	t.pass(StepBanner)
	return g, there, nil
}

// reach opens the TCP connection, directly or through the jump hosts. there is what bounds the handshakes on that way.
func (r *SSH) reach(ctx context.Context, c *clock, t target) (_ net.Conn, there []turns, _ *end) {
	if len(t.via) > 0 {
		return r.reachThrough(ctx, c, t)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeouts.Dial, errSlow)
	defer cancel()
	conn, err := r.cfg.Dial(ctx, "tcp", t.addr)
	if err != nil {
		return nil, nil, dialEnd(ctx, err)
	}
	return conn, nil, nil
}

func dialEnd(ctx context.Context, err error) *end {
	var timeout net.Error
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow):
		return stopped(context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable("connection refused", "The host refuses connections on its SSH port; see at its console whether it has booted and sshd runs.")
	case errors.Is(err, syscall.ECONNRESET):
		return closedEarly("")
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
	l := &link{client: client, quit: cancel}
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
