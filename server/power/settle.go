package power

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// change is something to bring about: an action, and the reading that proves it.
type change struct {
	action string
	more   map[string]string // options beside the control's
	want   string
	read   func(context.Context) (string, error)
	always bool // act even if the reading is the wanted one already
}

// Reading back: the first pause between two readings, the longest one, and how many readings in a row must agree. A board that is
// changing its mind gives one answer, and then the other.
const (
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	agreeing     = 2
)

// settle brings the change about and returns when it was read back. The program has two thirds of the time to act; whatever it says
// then, the readings decide.
func (a *Agent) settle(ctx context.Context, c change) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if !c.always {
		if done, err := a.already(ctx, c); done || err != nil {
			return err
		}
	}
	acted := a.actInTime(ctx, c)
	if classOf(acted) == recovery.AuthRefused {
		return acted
	}
	return a.await(ctx, c, acted)
}

// already reports whether the change is there before anything was done.
func (a *Agent) already(ctx context.Context, c change) (bool, error) {
	for range agreeing {
		if is, err := c.read(ctx); err != nil || is != c.want {
			return false, err
		}
	}
	return true, nil
}

// actInTime runs the change's action so that time is left for reading back. A program that tired of waiting for the change, or that we
// tired of waiting for, may have done its part.
func (a *Agent) actInTime(ctx context.Context, c change) error {
	end, _ := ctx.Deadline()
	acting, cancel := context.WithTimeout(ctx, time.Until(end)*2/3)
	defer cancel()
	err := a.act(acting, c.action, c.more)
	var e *Error
	if errors.As(err, &e) && e.tired || acting.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// await reads, with growing pauses, until the readings agree on what is wanted or the time is up. A program that failed to act gets one
// look: perhaps the change is there all the same.
func (a *Agent) await(ctx context.Context, c change, acted error) error {
	end, _ := ctx.Deadline()
	var (
		wavered bool   // a wanted reading was followed by another
		seen    string // the last reading, never the wanted one
		unread  error  // the last reading that failed
	)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		is, err := c.read(ctx)
		for agreed := 1; err == nil && is == c.want; agreed++ {
			if agreed == agreeing {
				return nil
			}
			wavered = true
			is, err = c.read(ctx)
		}
		switch {
		case classOf(err) == recovery.AuthRefused, classOf(err) == recovery.Lost:
			return err
		case acted != nil:
			return acted
		case err == nil:
			seen = is
		default:
			unread = err
		}
		if time.Until(end) <= pause {
			return a.unproven(c, wavered, seen, unread)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// unproven is the error of a change that was not read back in time.
func (a *Agent) unproven(c change, wavered bool, seen string, unread error) error {
	switch {
	case seen == "":
		return unread
	case wavered:
		return a.problem(recovery.Failed, c.action+" does not last",
			fmt.Sprintf("was told %q and says now %q, now %q; look at the machine's own console", c.action, c.want, seen))
	default:
		return a.problem(recovery.Failed, c.action+" not obeyed",
			fmt.Sprintf("was told %q and still says %q after %s; look at the machine's own console", c.action, seen, a.timeout))
	}
}
