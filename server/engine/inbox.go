package engine

import (
	"context"
	"sync/atomic"
)

// Inbox is how callers from anywhere have something done in the one goroutine that owns a state. It is bounded: who sends more waits.
type Inbox struct {
	queue   chan func()
	done    chan struct{}
	stopped error
}

// NewInbox has room for size functions. stopped answers whoever asks after End.
func NewInbox(size int, stopped error) *Inbox {
	return &Inbox{queue: make(chan func(), size), done: make(chan struct{}), stopped: stopped}
}

// Queue is what the owner takes from, and runs.
func (b *Inbox) Queue() <-chan func() { return b.queue }

// End is the owner's last act, once: nothing is run any more.
func (b *Inbox) End() { close(b.done) }

// Done is closed by End.
func (b *Inbox) Done() <-chan struct{} { return b.done }

// Call has f run by the owner and waits for it, for its place in the queue too, until ctx ends. When Call returns, f has ended or will never
// run: what f writes to is the caller's own again.
func (b *Inbox) Call(ctx context.Context, f func() error) error {
	var taken atomic.Bool // by the owner, who then runs f, or by the caller, who has given up
	answer := make(chan error, 1)
	in := func() {
		if taken.CompareAndSwap(false, true) {
			answer <- f()
		}
	}
	if err := b.Send(ctx, in); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-b.done:
		select {
		case err := <-answer:
			return err
		default:
			return b.stopped
		}
	case <-ctx.Done():
		if taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-answer
	}
}

// Send puts f into the queue. It waits for its place until ctx ends.
func (b *Inbox) Send(ctx context.Context, f func()) error {
	select {
	case <-b.done:
		return b.stopped
	default:
	}
	select {
	case b.queue <- f:
		return nil
	case <-b.done:
		return b.stopped
	case <-ctx.Done():
		return ctx.Err()
	}
}
