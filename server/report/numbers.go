package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Numbers counts hosts and attempts. Hit, NotHit and Unknown add up to Hosts; so do the phases from Recovered to LeftAlone;
// so do the counts of ByScope. The counts of ByClass add up to Attempts.
type Numbers struct {
	Hosts         int          `json:"hosts"`
	Planned       int          `json:"planned"` // taking part in a wave
	Hit           int          `json:"hit"`     // by evidence
	NotHit        int          `json:"not_hit"` // by evidence
	Unknown       int          `json:"unknown"` // no evidence either way
	Recovered     int          `json:"recovered"`
	NeedsHands    int          `json:"needs_hands"`
	Skipped       int          `json:"skipped"`
	Waiting       int          `json:"waiting"`
	Attempting    int          `json:"attempting"`
	Verifying     int          `json:"verifying"`
	LeftAlone     int          `json:"left_alone"` // never part of the work
	Attempts      int          `json:"attempts"`   // automatic ones
	HandsFinished int          `json:"hands_finished"`
	Relapses      int          `json:"relapses"`
	ByClass       []ClassCount `json:"by_class"` // of Attempts, most frequent first
	ByScope       []ScopeCount `json:"by_scope"` // at declaration
}

// ClassCount counts the automatic attempts that ended in a class, or are "under-way".
type ClassCount struct {
	Class    string `json:"class"`
	Attempts int    `json:"attempts"`
}

// ScopeCount counts the hosts of a scope class at declaration.
type ScopeCount struct {
	Class   string `json:"class"`
	Hosts   int    `json:"hosts"`
	Meaning string `json:"meaning"`
}

var scopeMeanings = []struct {
	class   recovery.ScopeClass
	meaning string
}{
	{recovery.Looping, "booting again and again, or up with bad content"},
	{recovery.Parked, "its last words showed bad content, then silence"},
	{recovery.SelfHealed, "was seen with bad content, was up with good content at declaration"},
	{recovery.Unknown, "neither hit nor well by any evidence at declaration: planned all the same, and counted as hit only when something later showed it"},
	{recovery.NeverHit, "up with good content, never seen with bad"},
	{recovery.OutOfScope, "the playbook is not meant for it"},
}

func (b *builder) numbers(hosts []Host) Numbers {
	n := Numbers{Hosts: len(hosts), ByClass: []ClassCount{}, ByScope: []ScopeCount{}}
	for _, w := range b.s.Waves {
		n.Planned += len(w.Hosts)
	}
	classes, scopes := map[string]int{}, map[string]int{}
	for i := range hosts {
		h := &hosts[i]
		switch h.Verdict {
		case VerdictHit:
			n.Hit++
		case VerdictNotHit:
			n.NotHit++
		default:
			n.Unknown++
		}
		n.phase(recovery.Phase(h.Phase))
		n.Relapses += h.Relapses
		scopes[h.Scope]++
		for _, a := range h.Attempts {
			if a.Hands {
				n.HandsFinished++
				continue
			}
			n.Attempts++
			classes[or(a.Class, "under-way")]++
		}
	}
	for class, count := range classes {
		n.ByClass = append(n.ByClass, ClassCount{class, count})
	}
	slices.SortFunc(n.ByClass, func(x, y ClassCount) int {
		if x.Attempts != y.Attempts {
			return y.Attempts - x.Attempts
		}
		return strings.Compare(x.Class, y.Class)
	})
	for _, m := range scopeMeanings {
		if c := scopes[string(m.class)]; c > 0 {
			n.ByScope = append(n.ByScope, ScopeCount{string(m.class), c, m.meaning})
		}
	}
	if c := scopes[""]; c > 0 {
		n.ByScope = append(n.ByScope, ScopeCount{"unclassified", c, "the incident was not scoped yet"})
	}
	return n
}

func (n *Numbers) phase(p recovery.Phase) {
	switch p {
	case recovery.Recovered:
		n.Recovered++
	case recovery.NeedsHands:
		n.NeedsHands++
	case recovery.Skipped:
		n.Skipped++
	case recovery.Waiting:
		n.Waiting++
	case recovery.Attempting:
		n.Attempting++
	case recovery.Verifying:
		n.Verifying++
	case recovery.NotHit:
		n.LeftAlone++
	}
}

// inShort tells the incident in three sentences.
func inShort(r Report) []string {
	if r.Incident == "" {
		return []string{"No incident has been declared."}
	}
	n := r.Numbers
	hit := fmt.Sprintf("The outage began at %s UTC and hit %d of %s in fleet %s by evidence", stamp(r.Began), n.Hit, plural(n.Hosts, "host"), or(r.Fleet, "(unnamed)"))
	if n.Unknown > 0 {
		hit += fmt.Sprintf(" (of %d more it is not known)", n.Unknown)
	}
	hit += fmt.Sprintf("; the incident was declared %s later.", span(r.UnawareFor))

	work := fmt.Sprintf("After %s and %s by hand, %s proven well and soaked; needing hands: %d; skipped: %d", plural(n.Attempts, "attempt"), plural(n.HandsFinished, "job"), isAre(n.Recovered), n.NeedsHands, n.Skipped)
	if left := n.Waiting + n.Attempting + n.Verifying; left > 0 {
		work += fmt.Sprintf("; %s still in automatic work", isAre(left))
	}

	met, judged, down := 0, 0, 0
	for _, s := range r.Services {
		if s.Status == ServiceDown {
			down++
		}
		if s.RTO != nil && (s.RTO.Status == ObjectiveMet || s.RTO.Status == ObjectiveMissed) {
			judged++
			if s.RTO.Status == ObjectiveMet {
				met++
			}
		}
	}
	end := fmt.Sprintf("The incident is %s %s after the outage began", r.Status, span(r.Duration))
	if r.Outcome != "" {
		end = fmt.Sprintf("The incident ended as %s %s after the outage began", r.Outcome, span(r.Duration))
	}
	end += fmt.Sprintf("; %d of %s down", down, plural(len(r.Services), "service"))
	if judged > 0 {
		end += fmt.Sprintf(", %d of %d judged met their RTO", met, judged)
	}
	end += fmt.Sprintf(", and %s open.", debtsOpen(r.Debts.Open))
	return []string{hit, work + ".", end}
}

func isAre(n int) string {
	if n == 1 {
		return "1 host is"
	}
	return fmt.Sprintf("%d hosts are", n)
}

func debtsOpen(n int) string {
	if n == 1 {
		return "1 debt is"
	}
	return fmt.Sprintf("%d debts are", n)
}
