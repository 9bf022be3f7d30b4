package coordinator

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Boot asks what a host that boots from the network shall have. Without an error it is the rescue system, once, for the attempt
// that is returned; that is on disk by then. An error says why it is the host's own disk.
func (c *Coordinator) Boot(ctx context.Context, host, peer string) (incident, attempt string, err error) {
	err = c.inbox.Call(ctx, func() error {
		if err := c.take("host:"+host, recovery.BootAsked{Host: host, Peer: peer}); err != nil {
			return err
		}
		for _, b := range c.engine.State().RescueBoots() {
			if b.Host == host {
				incident, attempt = b.Incident, b.Attempt
			}
		}
		return nil
	})
	return incident, attempt, err
}

// RescueBoots lists the hosts that have been given the rescue system for an attempt that is under way.
func (c *Coordinator) RescueBoots(ctx context.Context) (list []recovery.RescueBoot, err error) {
	err = c.inbox.Call(ctx, func() error {
		list = c.engine.State().RescueBoots()
		return nil
	})
	return list, err
}
