package recovery

import (
	"fmt"
	"slices"
	"time"
)

// loopWindow is how recent the last words of a host must be for several boots to count as a loop rather than as parked.
const loopWindow = 15 * time.Minute

// Scope classifies every host of the fleet: who is hit, each with its evidence. It is pure: the sightings are what is
// known, at the time now.
func Scope(f Fleet, p Playbook, seen map[string]Sighting, now time.Time) []HostScope {
	scopes := make([]HostScope, 0, len(f.Hosts))
	for _, h := range f.Hosts {
		s, ok := seen[h.Name]
		scope := scopeHost(h, p, s, ok, now)
		scope.Host = h.Name
		if ok {
			scope.Sighting = &s
		}
		scopes = append(scopes, scope)
	}
	return scopes
}

func scopeHost(h Host, p Playbook, s Sighting, seen bool, now time.Time) HostScope {
	if !p.Fits(h) {
		return HostScope{Class: OutOfScope, Evidence: fmt.Sprintf("playbook %s is for %s; this host runs %s on %s", p.Name, p.Match.EDR, orNone(h.EDR.Product), h.OS)}
	}
	if !seen {
		return HostScope{Class: Unknown, Planned: true, Evidence: "never heard of; the fleet file says it runs " + orNone(h.EDR.Product)}
	}
	c, probed := s.content(p.Digest)
	ago := now.Sub(s.At).Round(time.Second)
	wasBad := slices.Contains(s.everBad(), p.Digest)
	switch {
	case !probed && wasBad && s.Connected:
		return HostScope{Class: Looping, Planned: true, Evidence: fmt.Sprintf("was seen with bad content and has restarted since, boot %d; not probed yet", s.Boots)}
	case !probed && wasBad && s.Boots > 1 && now.Sub(s.At) < loopWindow:
		return HostScope{Class: Looping, Planned: true, Evidence: fmt.Sprintf("%d boots since first heard of, was seen with bad content, silent for %s", s.Boots, ago)}
	case !probed && wasBad:
		return HostScope{Class: Parked, Planned: true, Evidence: fmt.Sprintf("was seen with bad content, has restarted since and is silent for %s", ago)}
	case !probed && s.Connected:
		return HostScope{Class: Unknown, Planned: true, Evidence: "connected, but its content has not been probed yet"}
	case !probed:
		return HostScope{Class: Unknown, Planned: true, Evidence: fmt.Sprintf("silent for %s; its last words held no probe result", ago)}
	case c.Bad > 0 && s.Connected:
		return HostScope{Class: Looping, Planned: true, Evidence: fmt.Sprintf("up with bad content (%s), boot %d since first heard of", plural(c.Bad, "file"), s.Boots)}
	case c.Bad > 0 && s.Boots > 1 && now.Sub(s.At) < loopWindow:
		return HostScope{Class: Looping, Planned: true, Evidence: fmt.Sprintf("%d boots since first heard of, bad content (%s) in its last words %s ago", s.Boots, plural(c.Bad, "file"), ago)}
	case c.Bad > 0:
		return HostScope{Class: Parked, Planned: true, Evidence: fmt.Sprintf("bad content (%s) in its last words, silent for %s", plural(c.Bad, "file"), ago)}
	case !s.Connected:
		return HostScope{Class: Unknown, Planned: true, Evidence: fmt.Sprintf("silent for %s; its last words showed no bad content", ago)}
	}
	if missing := contentProof(c); missing != "" {
		return HostScope{Class: Unknown, Planned: true, Evidence: "connected, but " + missing}
	}
	if ok, check := s.healthy(); !ok {
		return HostScope{Class: Unknown, Planned: true, Evidence: "connected with good content, but its health check " + check + " fails"}
	}
	if wasBad {
		return HostScope{Class: SelfHealed, Planned: true, Evidence: "was seen with bad content, is up with good content now"}
	}
	return HostScope{Class: NeverHit, Evidence: fmt.Sprintf("up with good content (%s), never seen with bad", plural(c.Good, "file"))}
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
