package remedy

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errOutOfTime = errors.New("the job's time is over")

// clock ends a job's context when its time is used up. It stands still while the job waits for its turn.
// A nil clock is that of work that belongs to no job.
type clock struct {
	mu     sync.Mutex
	timer  *time.Timer
	left   time.Duration
	since  time.Time
	paused bool
}

// newClock starts a clock of d. The context ends with errOutOfTime as its cause; stop releases it.
func newClock(ctx context.Context, d time.Duration) (_ context.Context, _ *clock, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &clock{left: d, since: time.Now()}
	c.timer = time.AfterFunc(d, func() { cancel(errOutOfTime) })
	return ctx, c, func() {
		c.pause()
		cancel(nil)
	}
}

func (c *clock) pause() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.paused {
		c.paused = true
		c.timer.Stop()
		c.left -= time.Since(c.since)
	}
}

func (c *clock) resume() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.paused, c.since = false, time.Now()
		c.timer.Reset(max(c.left, 0))
	}
}

// remaining is what is left of the job's time.
func (c *clock) remaining() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		return c.left
	}
	return c.left - time.Since(c.since)
}

// turns hands out a number of turns. Waiting for one does not count as the job's time.
type turns chan struct{}

// take waits for a turn.
func (t turns) take(ctx context.Context, c *clock) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	c.pause()
	defer c.resume()
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) give() { <-t }

// turn is what one holder has taken, to be given back once.
type turn struct {
	taken []turns
	given sync.Once
}

func (t *turn) take(ctx context.Context, c *clock, of turns) error {
	if err := of.take(ctx, c); err != nil {
		return err
	}
	t.taken = append(t.taken, of)
	return nil
}

// give may be called more than once, and by anybody.
func (t *turn) give() {
	t.given.Do(func() {
		for _, of := range t.taken {
			of.give()
		}
	})
}

// errSlow says that a phase ran over its deadline.
var errSlow = errors.New("no answer in time")

// within runs f, and when d passes or ctx ends first, calls cut, which must make f return soon, and does not wait for it.
func within[T any](ctx context.Context, d time.Duration, cut func(), f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		value, err := f()
		done <- answer{value, err}
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	var none T
	select {
	case got := <-done:
		return got.value, got.err
	case <-timer.C:
		cut()
		return none, errSlow
	case <-ctx.Done():
		cut()
		return none, context.Cause(ctx)
	}
}
