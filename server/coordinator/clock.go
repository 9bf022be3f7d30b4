package coordinator

import (
	"sync/atomic"
	"time"
)

// Clock is the time that an incident lives in. The zero Clock is the machine's own. A drill runs on a faster one: boots, soaks
// and pauses pass speed times as fast.
type Clock struct {
	start time.Time // in the story
	speed float64
	began *atomic.Pointer[time.Time] // on the machine; nil until Begin
}

// NewClock returns a clock that shows start until Begin is called, and then runs speed times as fast as the machine's.
func NewClock(start time.Time, speed float64) Clock {
	return Clock{start: start, speed: speed, began: new(atomic.Pointer[time.Time])}
}

// Begin lets the clock run from now on, wherever it was copied to. A second call changes nothing.
func (c Clock) Begin() {
	now := time.Now()
	c.began.CompareAndSwap(nil, &now)
}

// Now is the time in the story.
func (c Clock) Now() time.Time {
	if c.speed == 0 {
		return time.Now()
	}
	began := c.began.Load()
	if began == nil {
		return c.start
	}
	return c.start.Add(time.Duration(float64(time.Since(*began)) * c.speed))
}

// Read is what the clock shows, and how long it has run since the machine started it: the two differ when the machine's clock is set, or
// when it slept.
func (c Clock) Read() (wall time.Time, ran time.Duration) {
	if c.speed == 0 {
		now := time.Now()
		return now.Round(0), now.Sub(processStart)
	}
	wall = c.Now()
	return wall, wall.Sub(c.start)
}

// processStart is where the machine's own clock is read from.
var processStart = time.Now()

// Real is how long the machine takes for d of the story.
func (c Clock) Real(d time.Duration) time.Duration {
	if c.speed == 0 {
		return d
	}
	return time.Duration(float64(d) / c.speed)
}
