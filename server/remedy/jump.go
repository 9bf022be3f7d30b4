package remedy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// hop is one jump host on the way.
type hop struct{ user, addr string }

func parseHop(text, user string) (hop, error) {
	h := hop{user: user, addr: text}
	if name, addr, ok := strings.Cut(text, "@"); ok {
		h.user, h.addr = name, addr
	}
	host, port, err := net.SplitHostPort(h.addr)
	if err != nil {
		host, port = strings.Trim(h.addr, "[]"), "22"
	}
	if host == "" || h.user == "" {
		return hop{}, fmt.Errorf("jump %q: write it as user@address:port", text)
	}
	h.addr = net.JoinHostPort(host, port)
	return h, nil
}

// jump is one connection to a jump host, shared by all that go through it and made anew when it has died.
type jump struct {
	path       []hop // to it, itself last
	handshakes turns
	channels   turns

	mu      sync.Mutex
	shared  *shared // nil while there is none
	dialing *dialing
}

// shared is one connection with its users; jump.mu guards them.
type shared struct {
	*link
	users int
	idle  *time.Timer // closes it
}

// dialing is a connection being made; those who need it wait together.
type dialing struct {
	done chan struct{}
	end  *end
}

func (r *SSH) jumpFor(path []hop) *jump {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fmt.Sprint(path)
	j := r.jumps[key]
	if j == nil {
		j = &jump{path: path, handshakes: make(turns, jumpHandshakes), channels: make(turns, jumpChannels)}
		r.jumps[key] = j
	}
	return j
}

// reachThrough opens a TCP connection from the last jump host, whose turns bound the handshakes through it.
func (r *SSH) reachThrough(ctx context.Context, c *clock, t target) (net.Conn, []turns, *end) {
	j := r.jumpFor(t.via)
	if err := j.channels.take(ctx, c); err != nil {
		return nil, nil, stopped(err)
	}
	via, e := r.jumpLink(ctx, c, j)
	if e != nil {
		j.channels.give()
		return nil, nil, e
	}
	t.pass(StepJump)
	leave := sync.OnceFunc(func() {
		r.leave(j, via)
		j.channels.give()
	})
	dialCtx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeouts.Dial, errSlow)
	defer cancel()
	conn, err := via.client.DialContext(dialCtx, "tcp", t.addr)
	if err != nil {
		leave()
		return nil, nil, throughEnd(dialCtx, err)
	}
	return &jumpedConn{conn, leave}, []turns{j.handshakes}, nil
}

func throughEnd(ctx context.Context, err error) *end {
	var refused *ssh.OpenChannelError
	switch {
	case ctx.Err() != nil && !errors.Is(context.Cause(ctx), errSlow):
		return stopped(context.Cause(ctx))
	case errors.As(err, &refused) && refused.Reason == ssh.Prohibited:
		return unreachable("jump host: forwarding forbidden", "The jump host does not allow to go on from it; set AllowTcpForwarding and PermitOpen there.")
	case errors.As(err, &refused):
		return unreachable("no connection from the jump host", "The jump host cannot connect to the host's SSH port; check the host's power and console, and the firewall between the two.")
	case ctx.Err() != nil:
		return unreachable("no answer", "The host does not answer to the jump host; check its power, its console and the firewall between.")
	default:
		return unreachable("jump host: connection lost", "The connection to the jump host was lost; it is made anew with the next try.")
	}
}

// jumpedConn gives back its place on the jump host when it is closed.
type jumpedConn struct {
	net.Conn
	leave func()
}

func (c *jumpedConn) Close() error {
	err := c.Conn.Close()
	c.leave()
	return err
}

// jumpLink returns the jump host's connection and counts one user in, who must leave.
func (r *SSH) jumpLink(ctx context.Context, c *clock, j *jump) (*shared, *end) {
	for {
		j.mu.Lock()
		if s := j.shared; s != nil {
			s.users++
			s.idle.Stop()
			j.mu.Unlock()
			return s, nil
		}
		d := j.dialing
		if d == nil {
			d = &dialing{done: make(chan struct{})}
			j.dialing = d
			r.work.Go(func() { r.dialJump(j, d) })
		}
		j.mu.Unlock()

		c.pause() // the making of a shared connection has its own deadlines
		select {
		case <-d.done:
			c.resume()
		case <-ctx.Done():
			return nil, stopped(context.Cause(ctx))
		}
		if d.end != nil {
			return nil, d.end
		}
	}
}

// dialJump makes the connection for all that wait; it lives with the remedy, not with one job.
func (r *SSH) dialJump(j *jump, d *dialing) {
	defer close(d.done)
	l, failed := r.connectJump(j.path)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dialing = nil
	if d.end = failed; failed != nil {
		return
	}
	s := &shared{link: l}
	s.idle = time.AfterFunc(r.cfg.Timeouts.JumpIdle, func() { j.drop(s, true) })
	j.shared = s
	r.work.Go(func() {
		_ = l.client.Wait()
		j.drop(s, false)
	})
}

func (r *SSH) connectJump(path []hop) (*link, *end) {
	last := path[len(path)-1]
	keys, err := r.trust.expect(nil, last.addr, "")
	if err != nil {
		return nil, &end{recovery.Failed, "jump host: bad address", "The jump host's address cannot be used: " + err.Error() + "."}
	}
	l, e := r.connect(r.ctx, nil, target{addr: last.addr, user: last.user, expected: keys, via: path[:len(path)-1]})
	if e != nil && !strings.HasPrefix(e.signature, "jump host: ") {
		e = &end{e.class, "jump host: " + e.signature, "At the jump host " + last.addr + ": " + e.detail}
	}
	return l, e
}

// leave counts one user out; the last one starts the idle time.
func (r *SSH) leave(j *jump, s *shared) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s.users--; s.users == 0 {
		s.idle.Reset(r.cfg.Timeouts.JumpIdle)
	}
}

// drop takes a connection out that is dead, or idle.
func (j *jump) drop(s *shared, idle bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if idle && s.users > 0 {
		return
	}
	s.idle.Stop()
	s.close()
	if j.shared == s {
		j.shared = nil
	}
}
