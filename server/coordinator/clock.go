package coordinator

import "time"

// Clock is the time that an incident lives in. The zero Clock is the machine's own. A drill runs on a faster one: boots, soaks
// and pauses pass Speed times as fast, and the story begins at Start.
type Clock struct {
	start time.Time // in the story
	began time.Time // on the machine
	speed float64
}

// NewClock returns a clock that shows start now and runs speed times as fast as the machine's.
func NewClock(start time.Time, speed float64) Clock {
	return Clock{start: start, began: time.Now(), speed: speed}
}

// Now is the time in the story.
func (c Clock) Now() time.Time {
	if c.speed == 0 {
		return time.Now()
	}
	return c.start.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
}

// Real is how long the machine takes for d of the story.
func (c Clock) Real(d time.Duration) time.Duration {
	if c.speed == 0 {
		return d
	}
	return time.Duration(float64(d) / c.speed)
}
