package report

import (
	"bytes"
	"fmt"
	"strings"
)

// Bounds of the Markdown; the JSON holds everything.
const (
	storiesShown = 200 // hosts whose story is told
	momentsShown = 60  // sentences of one story
	rowsShown    = 100 // entries of one list of exceptions
	downShown    = 5   // hosts of a service that are down
)

// page writes Markdown. Every text goes through escape here, so that none can be forgotten.
type page struct{ bytes.Buffer }

func (p *page) heading(level int, text string) {
	if !bytes.HasSuffix(p.Bytes(), []byte("\n\n")) {
		p.WriteByte('\n')
	}
	fmt.Fprintf(p, "%s %s\n\n", strings.Repeat("#", level), escape(text))
}

func (p *page) line(format string, args ...any) {
	p.WriteString(escape(fmt.Sprintf(format, args...)))
	p.WriteByte('\n')
}

func (p *page) item(format string, args ...any) {
	p.WriteString("- ")
	p.line(format, args...)
}

// table starts a table; row adds to it.
func (p *page) table(heads ...string) {
	p.row(heads...)
	p.WriteString("|" + strings.Repeat(" --- |", len(heads)) + "\n")
}

func (p *page) row(cells ...string) {
	for _, c := range cells {
		p.WriteString("| " + escape(c) + " ")
	}
	p.WriteString("|\n")
}

// more says how many of a list were not shown.
func (p *page) more(total, shown int) {
	if total > shown {
		p.item("and %d more (all are in the JSON report)", total-shown)
	}
}

// Markdown returns the report for people. All times in it are UTC.
func (r Report) Markdown() []byte {
	p := &page{}
	title := "After-action report: incident " + or(r.Incident, "(none)")
	if r.Title != "" {
		title += ", " + r.Title
	}
	p.WriteString("# " + escape(title) + "\n\n")
	for _, s := range r.InShort {
		p.line("%s", s)
	}
	if r.Incident == "" {
		return p.Bytes()
	}
	p.header(r)
	p.numbers(r.Numbers)
	p.timeline(r.Timeline)
	p.waves(r.Waves)
	p.services(r.Services)
	p.restores(r.Hosts)
	p.stories(r.Hosts)
	p.exceptions(r.Exceptions)
	p.debts(r.Debts)
	p.people(r.People)
	p.heading(2, "What this report does not know")
	for _, s := range r.DoesNotKnow {
		p.item("%s", s)
	}
	return p.Bytes()
}

func (p *page) header(r Report) {
	p.heading(2, "The incident")
	p.line("All times are UTC.")
	p.WriteByte('\n')
	p.table("", "")
	p.row("Status", r.Status)
	p.row("Fleet", r.Fleet)
	p.row("Outage began", stamp(r.Began))
	p.row("Declared", fmt.Sprintf("%s by %s, %s later", stamp(r.Declared), or(r.DeclaredBy, "(not known)"), span(r.UnawareFor)))
	if r.Closed.IsZero() {
		p.row("Closed", "not yet; this is as of "+stamp(r.AsOf))
	} else {
		p.row("Closed", fmt.Sprintf("%s, %s after the outage began; outcome %s: %s", stamp(r.Closed), span(r.Duration), r.Outcome, r.Reason))
	}
	p.row("Playbook", r.Playbook.Name+" "+r.Playbook.Digest)
	for _, v := range r.Versions {
		if v.By == "" {
			p.row("Version", fmt.Sprintf("%s since %s, the one declared with", v.Digest, stamp(v.Since)))
		} else {
			p.row("Version", fmt.Sprintf("%s since %s, taken by %s: %s", v.Digest, stamp(v.Since), v.By, v.Reason))
		}
	}
	p.row("Plan", r.Plan.Digest)
	switch {
	case r.Plan.ApprovedAt.IsZero():
		p.row("Plan approved", "no approval is recorded")
	default:
		p.row("Plan approved", stamp(r.Plan.ApprovedAt)+" by "+r.Plan.ApprovedBy)
	}
	if f := r.Forecast; f != nil {
		if f.Earliest.IsZero() {
			p.row("Forecast", f.Reason)
		} else {
			p.row("Forecast", fmt.Sprintf("automatic work ends between %s and %s: %s", stamp(f.Earliest), stamp(f.Latest), f.Reason))
		}
	}
}

func (p *page) numbers(n Numbers) {
	p.heading(2, "Numbers")
	p.table("Hosts", "")
	for _, x := range []struct {
		name  string
		count int
	}{
		{"in the fleet", n.Hosts}, {"planned", n.Planned}, {"hit, by evidence", n.Hit}, {"not hit, by evidence", n.NotHit},
		{"hit or not: unknown", n.Unknown}, {"recovered", n.Recovered}, {"need hands", n.NeedsHands}, {"skipped", n.Skipped},
		{"waiting", n.Waiting}, {"attempt under way", n.Attempting}, {"proof awaited", n.Verifying}, {"left alone", n.LeftAlone},
	} {
		p.row(x.name, fmt.Sprint(x.count))
	}
	p.WriteByte('\n')
	p.table("Attempts", "")
	p.row("all", fmt.Sprint(n.Attempts))
	for _, c := range n.ByClass {
		p.row(c.Class, fmt.Sprint(c.Attempts))
	}
	p.row("jobs by hand, not counted above", fmt.Sprint(n.HandsFinished))
	p.row("relapses", fmt.Sprint(n.Relapses))
	p.WriteByte('\n')
	p.table("At declaration", "Hosts", "Meaning")
	for _, c := range n.ByScope {
		p.row(c.Class, fmt.Sprint(c.Hosts), c.Meaning)
	}
}

func (p *page) timeline(list []Moment) {
	p.heading(2, "Timeline")
	if len(list) == 0 {
		p.line("No entries were given.")
	}
	for _, m := range list {
		p.item("%s %s", stamp(m.At), m.Text)
	}
}

func (p *page) waves(list []Wave) {
	p.heading(2, "Waves")
	p.table("Wave", "Tier", "Status", "Size", "Needed", "Recovered", "Need hands", "Skipped", "Opened", "Passed", "Took", "RTO")
	for _, w := range list {
		took := "–"
		if !w.OpenedAt.IsZero() {
			took = span(w.Duration)
		}
		p.row(fmt.Sprint(w.Wave), w.Name, w.Status, fmt.Sprint(w.Size), fmt.Sprint(w.Need), fmt.Sprint(w.Recovered),
			fmt.Sprint(w.NeedsHands), fmt.Sprint(w.Skipped), stamp(w.OpenedAt), stamp(w.PassedAt), took, w.RTO.text())
	}
	first := true
	for _, w := range list {
		for _, h := range w.Holds {
			if first {
				p.WriteByte('\n')
				first = false
			}
			text := fmt.Sprintf("Wave %d was held at %s (%s): %s", w.Wave, stamp(h.At), h.Breaker, h.Reason)
			if h.ReleasedAt.IsZero() {
				text += "; it is held still"
			} else {
				text += fmt.Sprintf("; released at %s by %s after %s: %s", stamp(h.ReleasedAt), h.ReleasedBy,
					span(h.ReleasedAt.Sub(h.At).Seconds()), h.ReleaseReason)
			}
			p.item("%s", text)
		}
	}
}

// text tells an objective in a few words.
func (o *Objective) text() string {
	switch {
	case o == nil:
		return "none"
	case o.Status == ObjectiveMet:
		return "met, " + span(o.Margin) + " to spare"
	case o.Status == ObjectiveMissed && o.Done.IsZero():
		return "missed by " + span(o.Margin) + " so far"
	case o.Status == ObjectiveMissed:
		return "missed by " + span(o.Margin)
	case o.Status == ObjectivePending:
		return "pending, " + span(o.Margin) + " left"
	}
	return "not known"
}

func (p *page) services(list []Service) {
	p.heading(2, "Services")
	p.table("Service", "Council", "Owner", "Tier", "Status", "Hosts up", "Up since", "RTO", "MTD", "Down and why")
	for _, s := range list {
		since := stamp(s.UpSince)
		switch {
		case s.Status == ServiceNeverDown:
			since = "all the time"
		case s.Falls > 0:
			since += fmt.Sprintf(" (first up %s, fell %s)", stamp(s.FirstUp), plural(s.Falls, "time"))
		}
		var down []string
		for i, h := range s.Down {
			if i == downShown {
				down = append(down, fmt.Sprintf("and %d more", len(s.Down)-downShown))
				break
			}
			down = append(down, fmt.Sprintf("%s %s: %s", h.Host, h.Phase, part(h.Reason)))
		}
		p.row(or(s.Title, s.Name), or(s.Council, "–"), or(s.Owner, "–"), s.Tier, s.Status, fmt.Sprintf("%d of %d (%d needed)", s.Up, s.Hosts, s.Need),
			since, s.RTO.text(), s.MTD.text(), or(strings.Join(down, "; "), "–"))
	}
}

// restores lists what was restored from backup, where anything was.
func (p *page) restores(hosts []Host) {
	told := 0
	for i := range hosts {
		for _, a := range hosts[i].Attempts {
			for _, r := range a.Restores {
				if told++; told == 1 {
					p.heading(2, "Restored from backup")
					p.table("host", "attempt", "data set", "restore point", "holds the data of", "outcome", "data from before")
				}
				if told > rowsShown {
					continue
				}
				outcome := or(a.Class, "under way")
				if r.Swapped && a.Class != "succeeded" {
					outcome += ", swapped in"
				}
				p.row(hosts[i].Name, fmt.Sprint(a.N), r.DataSet, r.Repository+"/"+r.Point, stamp(r.Moment), outcome, or(r.Kept, "–"))
			}
		}
	}
	if told > rowsShown {
		p.WriteByte('\n')
		p.more(told, rowsShown)
	}
}

func (p *page) stories(hosts []Host) {
	p.heading(2, "Hosts with something to tell")
	p.line("Failures, relapses, work by hand, skips, overrides and refused agents. The other hosts came back as planned, or had no part.")
	told := 0
	for i := range hosts {
		h := &hosts[i]
		if !h.notable() {
			continue
		}
		if told++; told > storiesShown {
			continue
		}
		p.heading(3, h.Name)
		p.line("Service %s, %s, now %s: %s.", h.Service, h.OS, h.Phase, h.Reason)
		p.line("At declaration %s (%s); counted as %s%s.", or(h.Scope, "not classified"), h.Evidence, h.Verdict, h.laterEvidence())
		p.WriteByte('\n')
		for k, m := range h.Story {
			if k == momentsShown {
				p.more(len(h.Story), k)
				break
			}
			p.item("%s %s", stamp(m.At), strings.TrimPrefix(m.Text, h.Name+": "))
		}
	}
	switch {
	case told == 0:
		p.WriteString("\nNone.\n")
	case told > storiesShown:
		p.WriteByte('\n')
		p.more(told, storiesShown)
	}
}

// laterEvidence is what the verdict rests on, where that is more than the classification.
func (h *Host) laterEvidence() string {
	if h.VerdictWhy == h.Evidence || h.VerdictWhy == h.Scope+": "+h.Evidence {
		return ""
	}
	return ": " + h.VerdictWhy
}

// notable reports whether a host's story is worth telling to people.
func (h *Host) notable() bool {
	return len(h.Story) > 0 || h.Relapses > 0 || h.Phase == "needs-hands" || h.Phase == "skipped"
}

func (p *page) exceptions(x Exceptions) {
	p.heading(2, "Exceptions")
	if len(x.Skips)+len(x.Accepted)+len(x.Overrides)+len(x.Relapses)+len(x.Refused)+len(x.Closing) == 0 {
		p.line("None.")
		return
	}
	list(p, "Recorded at the close", x.Closing, func(s string) string { return s })
	list(p, "Skipped hosts", x.Skips, func(s Skip) string {
		text := fmt.Sprintf("%s %s, by %s: %s", stamp(s.At), s.Host, s.By, s.Reason)
		if !s.ReturnedAt.IsZero() {
			text += "; put back at " + stamp(s.ReturnedAt)
		}
		return text
	})
	list(p, "Accepted failures", x.Accepted, func(a Acceptance) string {
		var names []string
		for _, f := range a.Failures {
			names = append(names, fmt.Sprintf("%s %s", f.Host, or(part(f.Signature), f.Class)))
		}
		where := "the incident"
		if a.Wave > 0 {
			where = fmt.Sprintf("wave %d", a.Wave)
		}
		return fmt.Sprintf("%s %s of %s, by %s: %s (%s)", stamp(a.At), plural(len(a.Failures), "failure"), where, a.By, a.Reason, some(names, namesShown))
	})
	list(p, "Overrides", x.Overrides, func(o Override) string {
		return fmt.Sprintf("%s %s, by %s: %s", stamp(o.At), strings.Replace(o.Target, ":", " ", 1), o.By, o.Reason)
	})
	list(p, "Relapses", x.Relapses, func(l Relapse) string {
		return fmt.Sprintf("%s %s: %s; then %s", stamp(l.At), l.Host, l.Reason, l.Next)
	})
	list(p, "Refused agents", x.Refused, func(f Refused) string {
		return fmt.Sprintf("%s %s from %s: %s", stamp(f.At), f.Host, or(f.Peer, "an unknown address"), f.Why)
	})
}

func list[T any](p *page, title string, entries []T, text func(T) string) {
	if len(entries) == 0 {
		return
	}
	p.heading(3, fmt.Sprintf("%s (%d)", title, len(entries)))
	for i, e := range entries {
		if i == rowsShown {
			break
		}
		p.item("%s", text(e))
	}
	p.more(len(entries), rowsShown)
}

func (p *page) debts(d Debts) {
	p.heading(2, "Debts")
	if len(d.Groups) == 0 {
		p.line("None.")
		return
	}
	p.table("Debt", "What", "Open", "Cleared", "Open on", "Cleared on")
	for _, g := range d.Groups {
		var open, cleared []string
		for _, h := range g.Hosts {
			if h.Cleared.IsZero() {
				open = append(open, h.Host)
			} else {
				cleared = append(cleared, fmt.Sprintf("%s by %s", h.Host, or(h.By, "(not said)")))
			}
		}
		p.row(g.ID, g.What, fmt.Sprint(g.Open), fmt.Sprint(g.Cleared), or(some(open, namesShown), "–"), or(some(cleared, namesShown), "–"))
	}
}

func (p *page) people(x People) {
	p.heading(2, "People's time")
	if x.Jobs == 0 {
		p.line("No work by hand was reported.")
		return
	}
	p.line("%s by hand took %s as booked.", plural(x.Jobs, "job"), span(x.Spent))
	if len(x.Persons) == 0 {
		return
	}
	p.WriteByte('\n')
	p.table("Person", "Jobs", "Time", "Hosts")
	for _, w := range x.Persons {
		p.row(w.Name, fmt.Sprint(w.Jobs), span(w.Spent), some(w.Hosts, namesShown))
	}
}
