package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Exceptions is everything that went past the rules, or round the plan, and on whose word.
type Exceptions struct {
	Skips     []Skip       `json:"skips"`
	Accepted  []Acceptance `json:"accepted"`
	Overrides []Override   `json:"overrides"`
	Relapses  []Relapse    `json:"relapses"`
	Refused   []Refused    `json:"refused"`
	Closing   []string     `json:"closing"` // why it closed with exceptions, as the close recorded it
}

// Skip is a host that a person took out.
type Skip struct {
	At         time.Time `json:"at"`
	By         string    `json:"by"`
	Host       string    `json:"host"`
	Reason     string    `json:"reason"`
	ReturnedAt time.Time `json:"returned_at,omitzero"` // put back: the skip stands no more
}

// Acceptance is a resumption with failures that count no more.
type Acceptance struct {
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Wave     int       `json:"wave,omitempty"` // left out: the whole incident
	Reason   string    `json:"reason"`
	Failures []Failure `json:"failures"`
}

// Failure is one host's accepted failure.
type Failure struct {
	Host      string `json:"host"`
	Attempt   string `json:"attempt,omitempty"`
	Class     string `json:"class"`
	Signature string `json:"signature,omitempty"`
}

// Override is a hold that a person lifted.
type Override struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Target string    `json:"target"` // "host:NAME", "service:NAME" or "wave:N"
	Reason string    `json:"reason"`
}

// Relapse is a host that had been proven and was lost again.
type Relapse struct {
	At     time.Time `json:"at"`
	Host   string    `json:"host"`
	Reason string    `json:"reason"`
	Next   string    `json:"next"` // the phase that followed
}

// Refused is a connection that was not believed.
type Refused struct {
	At   time.Time `json:"at"`
	Host string    `json:"host"` // as it called itself
	Peer string    `json:"peer"`
	Why  string    `json:"why"`
}

func (b *builder) exceptions() Exceptions {
	x := b.past.exceptions
	if b.past.first == 0 {
		for _, r := range b.s.Refusals {
			x.Refused = append(x.Refused, Refused{utc(r.At), r.Host, r.Peer, r.Why})
		}
		for _, h := range b.s.Hosts() {
			if h.Phase == recovery.Skipped {
				x.Skips = append(x.Skips, Skip{At: utc(h.Since), By: "unknown", Host: h.Host.Name, Reason: h.Reason})
			}
		}
	}
	return x
}

// Debts is what the repairs left behind.
type Debts struct {
	Open    int         `json:"open"`
	Cleared int         `json:"cleared"`
	Groups  []DebtGroup `json:"groups"` // by id
}

// DebtGroup is one kind of debt over all hosts.
type DebtGroup struct {
	ID      string     `json:"id"`
	What    string     `json:"what"`
	Open    int        `json:"open"`
	Cleared int        `json:"cleared"`
	Hosts   []HostDebt `json:"hosts"`
}

// HostDebt is one host's debt of a group.
type HostDebt struct {
	Host    string    `json:"host"`
	Since   time.Time `json:"since,omitzero"`
	Cleared time.Time `json:"cleared,omitzero"`
	By      string    `json:"by,omitempty"`
	Note    string    `json:"note,omitempty"`
}

func debts(hosts []Host) Debts {
	all := Debts{Groups: []DebtGroup{}}
	place := map[string]int{}
	for i := range hosts {
		for _, d := range hosts[i].Debts {
			k, ok := place[d.ID]
			if !ok {
				k = len(all.Groups)
				place[d.ID] = k
				all.Groups = append(all.Groups, DebtGroup{ID: d.ID, What: d.What})
			}
			g := &all.Groups[k]
			g.Hosts = append(g.Hosts, HostDebt{hosts[i].Name, d.Since, d.Cleared, d.By, d.Note})
			if d.Cleared.IsZero() {
				g.Open++
				all.Open++
			} else {
				g.Cleared++
				all.Cleared++
			}
		}
	}
	slices.SortFunc(all.Groups, func(x, y DebtGroup) int { return strings.Compare(x.ID, y.ID) })
	return all
}

// People is the time that people booked for work by hand.
type People struct {
	Jobs    int      `json:"jobs"`
	Spent   float64  `json:"spent_seconds"`
	Unknown int      `json:"jobs_without_time"`
	Persons []Person `json:"persons"` // by name; empty when the journal was not given
}

// Person is one person's share.
type Person struct {
	Name  string   `json:"name"`
	Jobs  int      `json:"jobs"`
	Spent float64  `json:"spent_seconds"`
	Hosts []string `json:"hosts"` // one per job, in order of time
}

func (b *builder) people() People {
	all := People{Persons: []Person{}}
	var total time.Duration
	for _, h := range b.s.Hosts() {
		for _, a := range h.Attempts {
			if a.Rung >= 0 {
				continue
			}
			all.Jobs++
			total += a.Result.Took
			if a.Result.Took <= 0 {
				all.Unknown++
			}
		}
	}
	all.Spent = seconds(total)
	place := map[string]int{}
	spent := map[string]time.Duration{}
	for _, w := range b.past.hands {
		k, ok := place[w.by]
		if !ok {
			k = len(all.Persons)
			place[w.by] = k
			all.Persons = append(all.Persons, Person{Name: w.by})
		}
		p := &all.Persons[k]
		spent[w.by] += w.spent
		p.Jobs, p.Spent, p.Hosts = p.Jobs+1, seconds(spent[w.by]), append(p.Hosts, w.host)
	}
	slices.SortFunc(all.Persons, func(x, y Person) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// namesShown is how many names a sentence lists; the JSON has them all in its hosts.
const namesShown = 10

// doesNotKnow lists what the report cannot vouch for.
func (b *builder) doesNotKnow(r Report) []string {
	list := []string{}
	if b.s.ID == "" {
		return list
	}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	about := func(names []string, text string) {
		if len(names) > 0 {
			say("%s: %s (%s).", plural(len(names), "host"), text, some(names, namesShown))
		}
	}
	if b.past.missing != "" {
		list = append(list, b.past.missing)
	}
	var unknown, ssh, boot, lost, unproven, outside []string
	for i := range r.Hosts {
		h := &r.Hosts[i]
		if h.Verdict == VerdictUnknown {
			unknown = append(unknown, h.Name)
		}
		if h.Scope == string(recovery.OutOfScope) && h.Phase == string(recovery.NotHit) {
			outside = append(outside, h.Name)
		}
		if h.Phase == string(recovery.Recovered) && h.Proof != nil {
			if h.Proof.Source == "ssh" {
				ssh = append(ssh, h.Name)
			}
			if !h.Proof.BootBeforeKnown && len(h.Attempts) > 0 && b.s.Playbook.Reboot == recovery.RebootRequired {
				boot = append(boot, h.Name)
			}
		}
		if h.Phase == string(recovery.Recovered) && h.Proof == nil && b.past.missing == "" {
			unproven = append(unproven, h.Name)
		}
		if slices.ContainsFunc(h.Attempts, func(a Attempt) bool {
			return a.Class == string(recovery.Lost) || a.Class == string(recovery.TimedOut)
		}) {
			lost = append(lost, h.Name)
		}
	}
	about(unknown, "hit or not is not known, so in neither count")
	about(outside, "outside the playbook's scope, so nothing was checked, and its service counts it as serving")
	about(ssh, "proven over SSH rather than by an agent, so nothing watches for a relapse after the soak")
	about(boot, "no boot id from before the work is known, so the restart itself is shown only by what was found after it")
	about(lost, "at least one attempt was lost or timed out, so what its script did before is not known")
	about(unproven, "recovered, but no proof stands in the entries")
	if n := r.Numbers.NeedsHands; n > 0 {
		say("%s with people, for whom there is no forecast: people have no pace that a machine could know.", isAre(n))
	}
	if r.People.Unknown > 0 {
		say("%s by hand carried no time, so the hours booked are too few.", plural(r.People.Unknown, "job"))
	}
	if r.Closed.IsZero() {
		say("The incident is not closed: everything here is as of %s UTC and may change.", stamp(r.AsOf))
	}
	say("When the outage began (%s UTC) is what people said at declaration; every objective is judged from it.", stamp(r.Began))
	say("Recovered means booted with good content and its own health checks passed; nothing here says that the data on a host is whole.")
	return list
}
