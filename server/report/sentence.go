package report

import (
	"fmt"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Sentence tells one journal entry in one plain sentence on one line, safe for a terminal. Times in it are UTC. An entry
// without an event gives "".
func Sentence(e recovery.Entry) string {
	if e.Event == nil {
		return ""
	}
	text := ofIncident(e)
	if text == "" {
		text = ofWave(e)
	}
	if text == "" {
		text = ofAttempt(e)
	}
	if text == "" {
		text = ofHost(e)
	}
	if text == "" {
		text = ofBackups(e)
	}
	if text == "" {
		text = "Event " + part(e.Event.Kind())
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "!") && !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text
}

func ofIncident(e recovery.Entry) string {
	by := who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.IncidentDeclared:
		text := fmt.Sprintf("%s declared incident %s%s for %s of fleet %s, with playbook %s", upper(by), part(v.Incident), quoted(v.Title),
			plural(len(v.Fleet.Hosts), "host"), or(part(v.Fleet.Name), "(unnamed)"), part(v.Playbook.Name))
		if !v.Began.IsZero() {
			text += "; the outage began at " + stamp(v.Began)
		}
		if n := len(v.Verifying); n > 0 {
			text += "; the restore points of " + plural(n, "data set") + " are being verified"
		}
		return text
	case *recovery.IncidentScoped:
		return "The hosts were classified: " + scopeCounts(v.Hosts)
	case *recovery.PlanProposed:
		planned := 0
		for _, w := range v.Plan.Waves {
			planned += len(w.Hosts)
		}
		return fmt.Sprintf("A plan was made: %s in %s, %s left alone (digest %s)", plural(planned, "host"), plural(len(v.Plan.Waves), "wave"),
			plural(len(v.Plan.Excluded), "host"), part(v.Plan.Digest))
	case *recovery.PlanApproved:
		return fmt.Sprintf("%s approved the plan (digest %s)", upper(by), part(v.Digest))
	case *recovery.IncidentPaused:
		return upper(by) + " paused the incident" + breaker(v.Breaker) + because(v.Reason)
	case *recovery.IncidentResumed:
		return upper(by) + " resumed the incident" + accepting(v.Accepted) + because(v.Reason)
	case *recovery.CoordinatorRestarted:
		return "The coordinator was started again" + because(v.Reason)
	case *recovery.PlaybookRevised:
		text := fmt.Sprintf("%s revised playbook %s: version %s is in use from here on", upper(by), part(v.Playbook.Name), part(v.Playbook.Digest))
		if n := len(v.Revisit); n > 0 {
			text += "; to revisit: " + plural(n, "host")
		}
		return text + because(v.Reason)
	case *recovery.IncidentAborted:
		return upper(by) + " aborted the incident" + because(v.Reason)
	case *recovery.IncidentClosed:
		text := "The incident ended as " + or(part(v.Outcome), "closed")
		if len(v.Exceptions) > 0 {
			text += fmt.Sprintf(" (%s)", plural(len(v.Exceptions), "exception"))
		}
		return text + because(v.Reason)
	case *recovery.RunDeclared:
		return fmt.Sprintf("%s started run %s of playbook %s on %s, without an incident", upper(by), part(v.Run), part(v.Playbook.Name), plural(len(v.Fleet.Hosts), "host"))
	case *recovery.RunEnded:
		return fmt.Sprintf("The run ended: %d of %s succeeded%s", v.Succeeded, plural(v.Hosts, "host"), because(v.Reason))
	case *recovery.HoldOverridden:
		return fmt.Sprintf("%s lifted the holds of %s%s", upper(by), strings.Replace(part(v.Target), ":", " ", 1), because(v.Reason))
	case *recovery.AgentRefused:
		return fmt.Sprintf("A connection from %s that called itself %s was refused%s", or(part(v.Peer), "an unknown address"), or(part(v.Host), "nothing"), because(v.Why))
	}
	return ""
}

func ofWave(e recovery.Entry) string {
	by := who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.WaveOpened:
		return fmt.Sprintf("Wave %d opened with %s, %d of them needed%s", v.Wave, plural(v.Size, "host"), v.Need, because(v.Reason))
	case *recovery.WavePassed:
		return fmt.Sprintf("Wave %d passed%s", v.Wave, because(v.Reason))
	case *recovery.WaveHeld:
		return fmt.Sprintf("Wave %d was held%s%s", v.Wave, breaker(v.Breaker), because(v.Reason))
	case *recovery.WaveReleased:
		return fmt.Sprintf("%s released wave %d%s%s", upper(by), v.Wave, accepting(v.Accepted), because(v.Reason))
	case *recovery.WaveApproved:
		return fmt.Sprintf("%s approved the opening of wave %d", upper(by), v.Wave)
	}
	return ""
}

func ofAttempt(e recovery.Entry) string {
	switch v := e.Event.(type) {
	case *recovery.AttemptStarted:
		a := v.Attempt
		return fmt.Sprintf("%s: started %s", part(a.Host), or(part(v.Reason), fmt.Sprintf("attempt %d on rung %s", a.N, part(a.RungName))))
	case *recovery.AttemptProgressed:
		return fmt.Sprintf("%s: attempt %s, %s", part(v.Host), number(v.Attempt), or(part(v.Reason), "step "+part(string(v.Step))))
	case *recovery.RescueServed:
		return fmt.Sprintf("%s: the rescue system was given to %s for attempt %s%s", part(v.Host), or(part(v.Peer), "it"), number(v.Attempt), because(v.Reason))
	case *recovery.AttemptEnded:
		class := or(part(string(v.Result.Class)), "no class")
		if v.Late {
			return fmt.Sprintf("%s: attempt %s brought %s%s", part(v.Host), number(v.Attempt), class, because(v.Reason))
		}
		if reason := part(v.Reason); strings.HasPrefix(reason, class) {
			return fmt.Sprintf("%s: attempt %s ended: %s", part(v.Host), number(v.Attempt), reason)
		}
		return fmt.Sprintf("%s: attempt %s ended: %s%s", part(v.Host), number(v.Attempt), class, because(v.Reason))
	case *recovery.HostProven:
		text := part(v.Host) + ": proven" + because(v.Reason)
		if !v.SoakUntil.IsZero() {
			text += "; it soaks until " + stamp(v.SoakUntil)
		}
		return text
	case *recovery.ProofFailed:
		return part(v.Host) + ": not proven" + because(or(v.Reason, v.Missing))
	case *recovery.HandsFinished:
		text := fmt.Sprintf("%s: %s finished the work by hand", part(v.Host), or(part(v.By), who(e.Actor)))
		if v.Spent > 0 {
			text += " in " + span(v.Spent.Seconds())
		}
		return text + because(v.Note) + "; proof is awaited"
	}
	return ""
}

func ofHost(e recovery.Entry) string {
	host, by := part(recovery.HostOf(e.Event)), who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.HostRecovered:
		text := host + ": recovered" + because(v.Reason)
		if n := len(v.Debts); n > 0 {
			text += fmt.Sprintf("; %s to clear", plural(n, "debt"))
		}
		return text
	case *recovery.HostRelapsed:
		return host + ": relapsed" + because(v.Reason) + next(v.Next)
	case *recovery.HostNeedsHands:
		return host + ": needs hands" + because(v.Reason)
	case *recovery.HostClaimed:
		if v.Until.IsZero() {
			return fmt.Sprintf("%s: %s gave it back", host, or(part(v.By), by))
		}
		return fmt.Sprintf("%s: %s claimed it until %s", host, or(part(v.By), by), stamp(v.Until))
	case *recovery.HostSkipped:
		return host + ": skipped by " + by + because(v.Reason)
	case *recovery.HostReturned:
		return fmt.Sprintf("%s: put back to work by %s, at rung %d of its ladder%s", host, by, v.Rung+1, because(v.Reason))
	case *recovery.BootTargetCleared:
		return host + ": its boot target is its own disk again" + because(v.Reason)
	case *recovery.BootTargetStuck:
		return host + ": its boot target could not be cleared" + because(v.Reason)
	case *recovery.DebtCleared:
		if v.Accepted {
			return fmt.Sprintf("%s: %s accepted that debt %s is not settled%s", host, or(part(v.By), by), part(v.Debt), because(v.Note))
		}
		return fmt.Sprintf("%s: debt %s was cleared by %s%s", host, part(v.Debt), or(part(v.By), by), because(v.Note))
	}
	return ""
}

func because(reason string) string {
	if reason = part(reason); reason == "" {
		return ""
	}
	return ": " + reason
}

func breaker(b string) string {
	if b = part(b); b == "" {
		return ""
	}
	return " (" + b + ")"
}

func accepting(fs []recovery.Failure) string {
	if len(fs) == 0 {
		return ""
	}
	return fmt.Sprintf(", accepting %s", plural(len(fs), "failure"))
}

func next(p recovery.Phase) string {
	if p == "" {
		return ""
	}
	return "; it is " + part(string(p)) + " now"
}

func quoted(title string) string {
	if title = part(title); title == "" {
		return ""
	}
	return " (" + title + ")"
}

// number is the n of an attempt's id "HOST/n".
func number(id string) string { return part(id[strings.LastIndexByte(id, '/')+1:]) }

func upper(s string) string {
	if strings.HasPrefix(s, "the ") {
		return "T" + s[1:]
	}
	return s
}

func scopeCounts(hosts []recovery.HostScope) string {
	count := map[recovery.ScopeClass]int{}
	for _, h := range hosts {
		count[h.Class]++
	}
	var parts []string
	for _, m := range scopeMeanings {
		if n := count[m.class]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, m.class))
		}
	}
	return or(strings.Join(parts, ", "), "none")
}

// moment is an entry as it stands in a timeline or a host's story.
func moment(e recovery.Entry) Moment {
	return Moment{At: utc(e.At), Event: e.Event.Kind(), Text: Sentence(e)}
}
