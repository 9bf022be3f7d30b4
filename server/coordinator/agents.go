package coordinator

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// link is one connected agent.
type link struct {
	out  chan recovery.Instruction // the newest instruction; an older one that was not taken is replaced
	sent string                    // id of the last one
}

// Attach makes a host's agent known as connected and returns the instructions for it, newest only. The caller tells of its end
// with Detach. A later Attach for the same host takes over.
func (c *Coordinator) Attach(ctx context.Context, first recovery.Sighting) (<-chan recovery.Instruction, error) {
	l := &link{out: make(chan recovery.Instruction, 1)}
	err := c.call(ctx, func() error {
		c.links[first.Host] = l
		c.sighted(first)
		c.dirty = true
		return nil
	})
	return l.out, err
}

// Detach ends what Attach began: what was heard so far were the host's last words.
func (c *Coordinator) Detach(host string, instructions <-chan recovery.Instruction) {
	_ = c.send(context.Background(), func() {
		l := c.links[host]
		if l == nil || (<-chan recovery.Instruction)(l.out) != instructions {
			return
		}
		delete(c.links, host)
		c.sighted(recovery.Sighting{Host: host, At: c.now(), Source: "agent"})
		c.dirty = true
	})
}

// Sighted brings what an agent said. It waits for a place in the queue until ctx ends.
func (c *Coordinator) Sighted(ctx context.Context, v recovery.Sighting) error {
	return c.send(ctx, func() { c.sighted(v) })
}

// Refuse records a connection that was not believed.
func (c *Coordinator) Refuse(ctx context.Context, r recovery.Refused) error {
	return c.call(ctx, func() error {
		c.cfg.Log.Warn("refused an agent", "host", r.Host, "peer", r.Peer, "why", r.Why)
		if c.state.ID == "" {
			return nil
		}
		_, err := c.take("agent:"+r.Host, r)
		return err
	})
}

// sighted records a sighting and lets it move its host.
func (c *Coordinator) sighted(v recovery.Sighting) {
	if v.At.IsZero() {
		v.At = c.now()
	}
	merged := c.see(v)
	if c.state.ID == "" {
		return
	}
	if _, err := c.take("agent:"+v.Host, recovery.Sighted{Sighting: merged}); err != nil && c.failed == nil {
		c.cfg.Log.Error("a sighting was refused", "host", v.Host, "error", err)
	}
	c.instruct(v.Host)
}

func (c *Coordinator) see(v recovery.Sighting) recovery.Sighting {
	merged := c.state.See(v)
	c.seen[v.Host] = merged
	c.unsaved[v.Host] = true
	return merged
}

func (c *Coordinator) instructAll() {
	for host := range c.links {
		c.instruct(host)
	}
}

// instruct tells a connected agent what the state wants of it now, once.
func (c *Coordinator) instruct(host string) {
	l := c.links[host]
	if l == nil || c.failed != nil {
		return
	}
	in := c.state.Instruct(host, c.now())
	if in.ID == "" || in.ID == l.sent {
		return
	}
	l.sent = in.ID
	select {
	case <-l.out:
	default:
	}
	l.out <- in
}

// saveSightings puts the last words that are not on disk there, in one transaction.
func (c *Coordinator) saveSightings() {
	if len(c.unsaved) == 0 {
		return
	}
	batch := make([]recovery.Sighting, 0, len(c.unsaved))
	for host := range c.unsaved {
		batch = append(batch, c.seen[host])
	}
	if err := c.cfg.Journal.SaveSightings(batch); err != nil {
		c.cfg.Log.Error("the last sightings could not be saved", "hosts", len(batch), "error", err)
		return
	}
	c.unsaved = map[string]bool{}
}
