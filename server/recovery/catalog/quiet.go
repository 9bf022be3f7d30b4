package catalog

import (
	"strings"
	"time"
)

// window is a time of every day, UTC. It may pass midnight; from equal to till is always.
type window struct{ from, till time.Duration }

// quietOf reads a repository's Quiet. What says nothing, or cannot be read, is always: the fleet file's own check refuses the latter.
func quietOf(text string) window {
	from, till, _ := strings.Cut(text, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(from))
	b, errB := time.Parse("15:04", strings.TrimSpace(till))
	if errA != nil || errB != nil {
		return window{}
	}
	return window{sinceMidnight(a), sinceMidnight(b)}
}

func sinceMidnight(t time.Time) time.Duration {
	t = t.UTC()
	return t.Sub(time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC))
}

// next is the first moment from t on that lies in the window.
func (w window) next(t time.Time) time.Time {
	at := sinceMidnight(t)
	switch {
	case w.from == w.till,
		w.from < w.till && at >= w.from && at < w.till,
		w.from > w.till && (at >= w.from || at < w.till):
		return t
	case at < w.from:
		return t.Add(w.from - at)
	}
	return t.Add(w.from - at + 24*time.Hour)
}
