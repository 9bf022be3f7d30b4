package report

import (
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// history is what only the journal knows: who did what and when, and what the state has forgotten since.
type history struct {
	first, last uint64   // entries read; 0: none
	missing     string   // what the entries lack, or ""
	versions    []string // digests of the playbook's

	declaredBy string
	approvedAt time.Time
	approvedBy string
	timeline   []Moment
	holds      map[int][]Hold
	exceptions Exceptions
	hands      []handWork
	hosts      map[string]*hostHistory
	services   map[string]*serviceHistory
}

// hostHistory is one host's part of the journal.
type hostHistory struct {
	story      []recovery.Entry // everything about the host, oldest first
	troubled   bool             // something in the story is worth telling to people
	proof      *Proof           // the last complete one
	badSeen    string           // evidence, after scoping, that bad content was on it
	overridden string           // the reason of the last override
	bootBefore string           // a boot id from before the last work, or ""
	byHand     bool             // the last work was a person's
}

type handWork struct {
	host, by string
	spent    time.Duration
}

// read goes through the journal once. It folds a state of its own beside it, to see what each entry changed.
func read(entries []recovery.Entry, s *recovery.State) *history {
	p := &history{
		versions: digests(s),
		holds:    map[int][]Hold{}, hosts: map[string]*hostHistory{}, services: map[string]*serviceHistory{}, timeline: []Moment{},
		exceptions: Exceptions{Skips: []Skip{}, Accepted: []Acceptance{}, Overrides: []Override{}, Relapses: []Relapse{}, Refused: []Refused{}, Closing: []string{}},
	}
	past := recovery.NewState()
	for _, e := range entries {
		if e.Event == nil || e.Seq > s.Seq {
			continue
		}
		if p.first == 0 {
			p.first = e.Seq
		}
		p.last = e.Seq
		name := recovery.HostOf(e.Event)
		before := past.Host(name)
		wasNotHit, wasUp := before != nil && before.Phase == recovery.NotHit, before != nil && before.Up()
		past.Apply(e)
		p.tell(e)
		if name != "" {
			p.tellHost(name, e, wasNotHit)
			if x := past.Host(name); x != nil && x.Scope.Sighting != nil && p.hosts[name].byHand {
				p.hosts[name].bootBefore = or(p.hosts[name].bootBefore, x.Scope.Sighting.BootID)
			}
		}
		p.serve(past, e, past.Host(name), wasUp)
	}
	switch {
	case s.ID == "":
	case p.first == 0:
		p.missing = "The journal's entries were not given: who approved, the timeline, holds, exceptions and the hosts' stories are left out."
	case p.first != 1 || p.last != s.Seq:
		p.missing = "The journal's entries were given only in part: what happened outside them is left out."
	}
	return p
}

// tell notes what an entry means for the whole incident.
func (p *history) tell(e recovery.Entry) {
	important := true
	at, by := utc(e.At), who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.IncidentDeclared:
		p.declaredBy = by
	case *recovery.PlanApproved:
		p.approvedAt, p.approvedBy = e.At, by
	case *recovery.WaveHeld:
		p.holds[v.Wave] = append(p.holds[v.Wave], Hold{At: at, Breaker: v.Breaker, Reason: v.Reason})
	case *recovery.WaveReleased:
		p.release(v.Wave, Hold{ReleasedAt: at, ReleasedBy: by, ReleaseReason: v.Reason, Accepted: len(v.Accepted)})
		p.accept(at, by, v.Wave, v.Reason, v.Accepted)
	case *recovery.WavePassed:
		p.release(v.Wave, Hold{ReleasedAt: at, ReleasedBy: by, ReleaseReason: v.Reason})
	case *recovery.IncidentResumed:
		p.accept(at, by, 0, v.Reason, v.Accepted)
	case *recovery.HoldOverridden:
		p.exceptions.Overrides = append(p.exceptions.Overrides, Override{at, by, v.Target, v.Reason})
		if name, ok := strings.CutPrefix(v.Target, "host:"); ok {
			h := p.host(name)
			h.overridden, h.troubled = v.Reason, true
			h.story = append(h.story, e)
		}
	case *recovery.WaveOpened, *recovery.WaveApproved, *recovery.IncidentPaused, *recovery.CoordinatorRestarted, *recovery.PlaybookRevised, *recovery.IncidentAborted:
	case *recovery.IncidentClosed:
		p.exceptions.Closing = append(p.exceptions.Closing, v.Exceptions...)
	default:
		important = false
	}
	if important {
		p.timeline = append(p.timeline, moment(e))
	}
}

// release ends the last hold of a wave, if one stands.
func (p *history) release(wave int, how Hold) {
	list := p.holds[wave]
	if len(list) == 0 || !list[len(list)-1].ReleasedAt.IsZero() {
		return
	}
	h := &list[len(list)-1]
	h.ReleasedAt, h.ReleasedBy, h.ReleaseReason, h.Accepted = how.ReleasedAt, how.ReleasedBy, how.ReleaseReason, how.Accepted
}

func (p *history) accept(at time.Time, by string, wave int, reason string, fs []recovery.Failure) {
	if len(fs) == 0 {
		return
	}
	a := Acceptance{At: at, By: by, Wave: wave, Reason: reason, Failures: []Failure{}}
	for _, f := range fs {
		a.Failures = append(a.Failures, Failure{f.Host, f.Attempt, string(f.Class), f.Signature})
	}
	p.exceptions.Accepted = append(p.exceptions.Accepted, a)
}

func (p *history) host(name string) *hostHistory {
	h := p.hosts[name]
	if h == nil {
		h = &hostHistory{}
		p.hosts[name] = h
	}
	return h
}

// tellHost notes what an entry means for one host. wasNotHit says that the host had no part in the work until then.
func (p *history) tellHost(name string, e recovery.Entry, wasNotHit bool) {
	h := p.host(name)
	h.story = append(h.story, e)
	at, by := utc(e.At), who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.AttemptStarted:
		h.bootBefore, h.byHand = v.BootBefore, false
	case *recovery.AttemptEnded:
		h.troubled = h.troubled || v.Late || v.Result.Class != recovery.Succeeded
		h.bootBefore = or(h.bootBefore, v.Result.Boot)
		if c := v.Result.Sighting; c != nil && sightedBad(*c, p.versions) {
			h.badSeen = "facts fetched with attempt " + v.Attempt + " showed bad content"
		}
	case *recovery.HostProven:
		h.proof = &Proof{At: at, Reason: v.Reason, Source: v.Sighting.Source, BootID: v.Sighting.BootID,
			BootBeforeKnown: h.bootBefore != "", ByHand: h.byHand}
		if sightedBad(v.Sighting, p.versions) {
			h.badSeen = "bad content had been seen on it before its proof"
		}
	case *recovery.ProofFailed:
		h.troubled = true
		h.sawBad(v.Missing)
	case *recovery.HostRelapsed:
		h.troubled = true
		h.sawBad(v.Signature)
		h.sawBad(v.Reason)
		p.exceptions.Relapses = append(p.exceptions.Relapses, Relapse{at, name, v.Reason, string(v.Next)})
	case *recovery.HostNeedsHands, *recovery.HostClaimed, *recovery.BootTargetStuck:
		h.troubled = true
	case *recovery.HandsFinished:
		h.troubled, h.byHand = true, true
		p.hands = append(p.hands, handWork{name, or(v.By, by), v.Spent})
	case *recovery.HostSkipped:
		h.troubled = true
		p.exceptions.Skips = append(p.exceptions.Skips, Skip{At: at, By: by, Host: name, Reason: v.Reason})
	case *recovery.HostReturned:
		h.troubled = true
		if wasNotHit {
			h.badSeen = "it was taken for well at first and reported bad content later"
		}
		for i := range p.exceptions.Skips {
			if k := &p.exceptions.Skips[i]; k.Host == name && k.ReturnedAt.IsZero() {
				k.ReturnedAt = at
			}
		}
	case *recovery.AgentRefused:
		h.troubled = true
		p.exceptions.Refused = append(p.exceptions.Refused, Refused{at, name, v.Peer, v.Why})
	}
}

// The core's words for bad content that a sighting showed, as they begin a proof's lack, a relapse's signature or its reason.
var badContentWords = []string{"bad content is there", "bad content came back", "it reports bad content", "relapsed: bad content"}

// sawBad takes the core's words for bad content as evidence. Only their beginning counts: what follows may be a host's text.
func (h *hostHistory) sawBad(words string) {
	words = strings.TrimPrefix(words, "no proof at the end of the soak: ")
	for _, w := range badContentWords {
		if strings.HasPrefix(words, w) {
			h.badSeen = "a sighting showed bad content: " + words
		}
	}
}

// sightedBad reports whether a sighting shows content that a version of the playbook calls bad, now or earlier.
func sightedBad(v recovery.Sighting, versions []string) bool {
	return slices.ContainsFunc(versions, func(version string) bool {
		return slices.Contains(v.WasBad, version) || slices.ContainsFunc(v.Content, func(c recovery.Content) bool {
			return c.Playbook == version && (c.Bad > 0 || c.WasBad)
		})
	})
}
