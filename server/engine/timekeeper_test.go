package engine

import (
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

// What the two clocks show after each step, and what the incident is told.
func TestTimekeeper(t *testing.T) {
	type look struct {
		wall, ran, want, leap time.Duration // since noon, since the start
	}
	for name, c := range map[string]struct {
		notBefore time.Duration
		looks     []look
	}{
		"steady":                    {0, []look{{0, 0, 0, 0}, {time.Second, time.Second, time.Second, 0}, {time.Hour, time.Hour, time.Hour, 0}}},
		"the machine slept":         {0, []look{{0, 0, 0, 0}, {2 * time.Hour, time.Minute, 2 * time.Hour, 2*time.Hour - time.Minute}, {2*time.Hour + time.Second, 61 * time.Second, 2*time.Hour + time.Second, 0}}},
		"set back":                  {0, []look{{0, 0, 0, 0}, {-3 * time.Hour, time.Minute, time.Minute, 0}, {-3*time.Hour + time.Minute, 2 * time.Minute, 2 * time.Minute, 0}}},
		"set back, then forward":    {0, []look{{0, 0, 0, 0}, {-time.Hour, 0, 0, 0}, {time.Minute, time.Minute, time.Hour + time.Minute, time.Hour}}},
		"slewed a little":           {0, []look{{0, 0, 0, 0}, {-time.Second, 0, 0, 0}, {time.Second, time.Second, time.Second, 0}}},
		"behind an earlier run":     {time.Hour, []look{{0, 0, time.Hour, 0}, {time.Minute, time.Minute, time.Hour + time.Minute, 0}}},
		"long after an earlier run": {-time.Hour, []look{{0, 5 * time.Hour, 0, 0}, {time.Minute, 5*time.Hour + time.Minute, time.Minute, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			var k Timekeeper
			k.NotBefore(noon.Add(c.notBefore))
			for i, l := range c.looks {
				now, leap := k.Tell(noon.Add(l.wall), l.ran)
				if got := now.Sub(noon); got != l.want || leap != l.leap {
					t.Errorf("look %d: %s and a leap of %s, want %s and %s", i, got, leap, l.want, l.leap)
				}
			}
		})
	}
}
