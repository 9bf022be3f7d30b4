package coordinator

import "sync"

// watchers are told that something changed; what, they look up themselves. A slow watcher misses nothing but moments.
type watchers struct {
	mu  sync.Mutex
	set map[chan struct{}]bool
}

// Watch returns a channel that receives after every change, and a function that ends it.
func (c *Coordinator) Watch() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	if c.watch.set == nil {
		c.watch.set = map[chan struct{}]bool{}
	}
	c.watch.set[ch] = true
	return ch, func() {
		c.watch.mu.Lock()
		defer c.watch.mu.Unlock()
		delete(c.watch.set, ch)
	}
}

// Changed tells the watchers that something has changed which the engine need not know, such as a job's progress.
func (c *Coordinator) Changed() { c.watch.notify() }

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

// Done is closed when the coordinator has stopped.
func (c *Coordinator) Done() <-chan struct{} { return c.inbox.Done() }
