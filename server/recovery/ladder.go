package recovery

import (
	"fmt"
	"strings"
)

// RungStory is what came of one rung of a host's ladder in this incident.
type RungStory struct {
	Name     string
	Kind     string
	Tries    int    // attempts on it
	Last     Class  // of the last that has ended
	Problem  string // why it may not be used; empty when it may
	Text     string // one phrase: why it failed, why it is not allowed, or that it has not been tried
	Attempts []Attempt
}

// LadderOf tells a host's ladder, best rung first, with why each rung failed or was not allowed.
func (s *State) LadderOf(h *HostState) []RungStory {
	list := make([]RungStory, len(h.Host.Ladder))
	for i, r := range h.Host.Ladder {
		t := &list[i]
		t.Name, t.Kind = r.Name, r.Kind
		for _, a := range h.Attempts {
			if a.Rung == i || a.Rung < 0 && r.Kind == RungHands {
				t.Attempts = append(t.Attempts, a)
				t.Tries++
				t.Last = firstClass(a.Result.Class, t.Last)
			}
		}
		if r.Kind != RungHands {
			t.Problem = s.terms().problem(h.Host, &r)
		}
		t.Text = t.phrase()
	}
	return list
}

func firstClass(a, b Class) Class {
	if a != "" {
		return a
	}
	return b
}

func (t *RungStory) phrase() string {
	switch {
	case t.Tries == 0 && t.Problem != "":
		return "not allowed: " + t.Problem
	case t.Tries == 0:
		return "not tried"
	case t.Last == "":
		return "under way"
	}
	last := t.Attempts[len(t.Attempts)-1].Result
	if last.Class == "" {
		return fmt.Sprintf("%s, one under way", plural(t.Tries, "attempt"))
	}
	return fmt.Sprintf("%s, the last %s%s", plural(t.Tries, "attempt"), t.Last, note(firstOf(last.Signature, last.Detail)))
}

// above says in one phrase why a host's next attempt does not take a higher rung, or "".
func (s *State) above(h *HostState) string {
	if h.Rung == 0 {
		return ""
	}
	var parts []string
	for _, t := range s.LadderOf(h)[:min(h.Rung, len(h.Host.Ladder))] {
		parts = append(parts, t.Name+": "+t.Text)
	}
	return "above it " + strings.Join(parts, "; ")
}
