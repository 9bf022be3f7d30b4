package coordinator

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Link is one connected agent. At most one link of a host counts: an older one is deaf and dumb once a newer one is attached.
type Link struct {
	c    *Coordinator
	host string
	out  chan recovery.Instruction // the newest instruction; an older one that was not taken is replaced
	sent string                    // id of the last one; owned by the loop
}

// Attach makes a host's agent known as connected, with what its hello said. The caller ends it with Detach. A later Attach for
// the same host takes over.
func (c *Coordinator) Attach(ctx context.Context, first recovery.Sighting) (*Link, error) {
	l := &Link{c: c, host: first.Host, out: make(chan recovery.Instruction, 1)}
	err := c.inbox.Call(ctx, func() error {
		c.links[l.host] = l
		c.sighted(first)
		c.changed = true
		if c.cfg.Heard != nil {
			c.cfg.Heard(l.host)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Instructions holds the newest instruction for the agent that was not taken yet.
func (l *Link) Instructions() <-chan recovery.Instruction { return l.out }

// Sighted brings what the agent said. It waits for a place in the queue until ctx ends.
func (l *Link) Sighted(ctx context.Context, v recovery.Sighting) error {
	v.Host = l.host
	return l.c.inbox.Send(ctx, func() {
		if l.c.links[l.host] == l {
			l.c.sighted(v)
		}
	})
}

// Detach ends what Attach began: what was heard so far were the host's last words.
func (l *Link) Detach() {
	_ = l.c.inbox.Send(context.Background(), func() {
		if l.c.links[l.host] != l {
			return
		}
		delete(l.c.links, l.host)
		l.c.sighted(recovery.Sighting{Host: l.host, Source: "agent"})
		l.c.changed = true
	})
}

// Member returns a host as the open incident knows it, or else as the fleet file does: a host that has left the file since the
// incident was declared must still be able to prove itself, and one that is new in it may report already.
func (c *Coordinator) Member(ctx context.Context, name string) (host recovery.Host, ok bool, err error) {
	err = c.inbox.Call(ctx, func() error {
		if h := c.engine.State().Host(name); h != nil && c.engine.State().Outcome == "" {
			host, ok = *h.Host, true
			return nil
		}
		host, ok = c.fleet[name]
		return nil
	})
	return host, ok, err
}

// sighted records a sighting and lets it move its host.
func (c *Coordinator) sighted(v recovery.Sighting) {
	if err := c.engine.Sighted(v, c.now()); err != nil && c.engine.Failed() == nil {
		c.logFault(err)
		c.cfg.Log.Error("a sighting was refused", "host", v.Host, "error", err)
	}
	c.instruct(v.Host)
}

func (c *Coordinator) instructAll() {
	for host := range c.links {
		c.instruct(host)
	}
}

// instruct tells a connected agent what the state wants of it now, once. It never waits.
func (c *Coordinator) instruct(host string) {
	l := c.links[host]
	if l == nil || c.engine.Failed() != nil {
		return
	}
	in := c.engine.State().Instruct(host, c.now())
	if in.ID == "" || in.ID == l.sent {
		return
	}
	l.sent = in.ID
	select {
	case <-l.out:
	default:
	}
	l.out <- in // there is room: only the loop sends
}

// saveSightings puts the last words that are not on disk there, in one transaction.
func (c *Coordinator) saveSightings() {
	if err := c.engine.SaveSightings(c.cfg.Journal.SaveSightings); err != nil {
		c.cfg.Log.Error("the last words are kept in memory only", "error", err)
	}
}
