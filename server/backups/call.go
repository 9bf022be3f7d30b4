package backups

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// Do decides an input in the loop; when it returns nil, what follows is on disk. A refusal is a *recovery.Error.
func (k *Keeper) Do(ctx context.Context, actor string, in catalog.Input) error {
	return k.call(ctx, func() error {
		_, err := k.take(actor, in)
		return err
	})
}

// Read lets f look at the catalog in the loop. f must not keep it, and be quick.
func (k *Keeper) Read(ctx context.Context, f func(c *catalog.Catalog, now time.Time)) error {
	return k.call(ctx, func() error {
		err := engine.Guard("look at backups", func() { f(k.catalog, k.moment) })
		if err != nil {
			k.logFault(err)
		}
		return err
	})
}

// Watch tells that something has changed since the channel was last read. It is closed when ctx or the keeper ends.
func (k *Keeper) Watch(ctx context.Context) <-chan struct{} { return k.watch.add(ctx) }

// call runs f in the loop and waits for it. The inbox is bounded: a caller waits for its place until ctx ends. When call returns, f
// has ended or will never run: what f writes to is the caller's own again.
func (k *Keeper) call(ctx context.Context, f func() error) error {
	var taken atomic.Bool // by the loop, which then runs f, or by the caller, who has given up
	answer := make(chan error, 1)
	in := func() {
		if taken.CompareAndSwap(false, true) {
			answer <- f()
		}
	}
	if err := k.send(ctx, in); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-k.done:
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
func (k *Keeper) send(ctx context.Context, f func()) error {
	select {
	case <-k.done:
		return ErrStopped
	default:
	}
	select {
	case k.inbox <- f:
		return nil
	case <-k.done:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watchers are told that something changed; what, they look up themselves. A slow watcher misses nothing but moments.
type watchers struct {
	mu    sync.Mutex
	set   map[chan struct{}]func() bool // what stops the waiting for its context
	ended bool
}

func (w *watchers) add(ctx context.Context) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch := make(chan struct{}, 1)
	if w.ended {
		close(ch)
		return ch
	}
	if w.set == nil {
		w.set = map[chan struct{}]func() bool{}
	}
	w.set[ch] = context.AfterFunc(ctx, func() { w.remove(ch) })
	return ch
}

func (w *watchers) remove(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.set[ch]; ok {
		delete(w.set, ch)
		close(ch)
	}
}

func (w *watchers) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.set {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// close ends all watching.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for ch, stop := range w.set {
		stop()
		delete(w.set, ch)
		close(ch)
	}
}
