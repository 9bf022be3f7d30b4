package engine

import "time"

// Timekeeper makes the incident's time out of the two clocks of a machine: the wall clock, which people and NTP may set, and the
// one that only counts while the machine runs. Its time never goes back. The zero Timekeeper is ready.
type Timekeeper struct {
	started bool
	wall    time.Time
	ran     time.Duration
	offset  time.Duration // what is added to the wall clock, because it was set back
	now     time.Time
}

// leapFrom is the difference between the two clocks, from one look to the next, from which it is taken for a leap.
const leapFrom = 2 * time.Second

// NotBefore lets no time lie before at: an earlier run has told it.
func (k *Timekeeper) NotBefore(at time.Time) {
	if at.After(k.now) {
		k.now = at
	}
}

// Tell returns the time, given what the wall clock shows and how long the machine's own clock has run. When the wall clock was put
// forward since the last call, or the machine slept, it also returns by how much: no clock of an incident may run in that time. When
// it was set back, time goes on from where it was.
func (k *Timekeeper) Tell(wall time.Time, ran time.Duration) (now time.Time, leap time.Duration) {
	if k.started {
		switch drift := wall.Sub(k.wall) - (ran - k.ran); {
		case drift >= leapFrom:
			leap = drift
		case drift <= -leapFrom:
			k.offset -= drift
		}
	} else if wall.Before(k.now) {
		k.offset = k.now.Sub(wall)
	}
	k.started, k.wall, k.ran = true, wall, ran
	if t := wall.Add(k.offset); t.After(k.now) {
		k.now = t
	}
	return k.now, leap
}
