package backups

import (
	"context"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/engine"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// Do decides an input in the loop; when it returns nil, what follows is on disk. A refusal is a *recovery.Error.
func (k *Keeper) Do(ctx context.Context, actor string, in catalog.Input) error {
	return k.inbox.Call(ctx, func() error {
		_, err := k.take(actor, in)
		return err
	})
}

// Read lets f look at the catalog in the loop. f must not keep it, and be quick.
func (k *Keeper) Read(ctx context.Context, f func(c *catalog.Catalog, now time.Time)) error {
	return k.inbox.Call(ctx, func() error {
		err := engine.Guard("look at backups", func() { f(k.catalog, k.moment) })
		if err != nil {
			k.logFault(err)
		}
		return err
	})
}

// Watch tells that something has changed since the channel was last read. It is closed when ctx or the keeper ends.
func (k *Keeper) Watch(ctx context.Context) <-chan struct{} { return k.watch.add(ctx) }

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
