package coordinator

import (
	"context"
	"sync/atomic"
)

// call runs f in the loop and waits for it. The inbox is bounded: a caller waits for its place until ctx ends. When call
// returns, f has ended or will never run: what f writes to is the caller's own again.
func (c *Coordinator) call(ctx context.Context, f func() error) error {
	var taken atomic.Bool // by the loop, which then runs f, or by the caller, who has given up
	answer := make(chan error, 1)
	in := func() {
		if taken.CompareAndSwap(false, true) {
			answer <- f()
		}
	}
	if err := c.send(ctx, in); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-c.done:
		select {
		case err := <-answer:
			return err
		default:
			return ErrStopped
		}
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-answer
	}
}

// send puts f into the inbox.
func (c *Coordinator) send(ctx context.Context, f func()) error {
	select {
	case <-c.done:
		return ErrStopped
	default:
	}
	select {
	case c.inbox <- f:
		return nil
	case <-c.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}
