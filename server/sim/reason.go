package sim

import (
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// reasons holds the reason of every waiting host against the state, by rules of its own.
func (w *World) reasons(s *recovery.State) {
	h := w.house
	why := s.Why(h.moment)
	use := w.usage(s)
	up := map[string]bool{}
	for _, svc := range s.Services() {
		up[svc.Service.Name] = svc.IsUp
	}
	for _, x := range s.Hosts() {
		if x.Phase != recovery.Waiting {
			continue
		}
		r := why[x.Host.Name]
		if lie := w.lie(s, x, r, use, up); r.Text == "" || lie != "" {
			w.breach("waits-for-a-true-reason", x.Host.Name, "its reason is %s (%s); in truth %s", r.Code, r.Text, lie)
			return
		}
	}
}

// lie says what is wrong with a reason, or nothing.
func (w *World) lie(s *recovery.State, x *recovery.HostState, r recovery.Reason, use use, up map[string]bool) string {
	wave := &recovery.WaveState{}
	if x.Wave > 0 {
		wave = s.Waves[x.Wave-1]
	}
	switch r.Code {
	case recovery.WaitPaused:
		return unless(!s.PausedAt.IsZero(), "nothing is paused")
	case recovery.WaitAborted:
		return unless(s.Aborted, "nothing is aborted")
	case recovery.WaitApproval:
		return unless(!s.Approved || asksConsent(x), "the plan is approved, and nothing is lost by its next attempt")
	case recovery.WaitWave:
		return unless(x.Wave < 1 || wave.OpenedAt.IsZero(), "its wave is open")
	case recovery.WaitHeld:
		return unless(wave.HeldBy != "" && wave.HeldBy != recovery.BreakerBelowShare, "its wave is not held")
	case recovery.WaitOwned:
		return unless(x.Owner != "", "nobody has claimed it")
	case recovery.WaitDependency:
		for _, svc := range s.Fleet.Services {
			if svc.Name != x.Host.Service {
				continue
			}
			for _, need := range svc.Needs {
				if !up[need] {
					return ""
				}
			}
		}
		return "all that it needs is up"
	case recovery.WaitGroup:
		for _, g := range x.Host.Groups {
			if use.group[g] > 0 || use.down[g] > 0 {
				return ""
			}
		}
		return "nobody of its groups is worked on or down"
	case recovery.WaitSlot:
		return unless(use.full(x), "every resource that it needs has a free slot")
	case recovery.WaitCanary, recovery.WaitRamp:
		return unless(use.wave[[2]any{x.Wave, x.Host.OS}] > 0, "nobody of its wave and OS is worked on")
	case recovery.WaitVerifying:
		for _, d := range s.Fleet.DataSets {
			if d.Host == x.Host.Name && slices.Contains(w.told, d.Name) {
				return ""
			}
		}
		return "none of its data sets is being verified"
	case recovery.WaitForbidden:
		return unless(!s.PausedAt.IsZero() || wave.OpenedAt.IsZero(), "it belongs on the hands board")
	case recovery.WaitBackoff, recovery.WaitHealing:
		return unless(w.house.engine.State().Wake(w.house.moment).After(w.house.moment), "nothing will wake it")
	}
	return "nothing holds it, and it has not started"
}

// asksConsent: only a restore of data that can be lost waits for a person.
func asksConsent(x *recovery.HostState) bool {
	return x.Rung < len(x.Host.Ladder) && x.Host.Ladder[x.Rung].Kind == recovery.RungRestore && x.Host.Data != recovery.DataNone
}

func unless(ok bool, lie string) string {
	if ok {
		return ""
	}
	return lie
}

// use is what is worked on, counted anew.
type use struct {
	slots map[string]int // free ones
	group map[string]int // members that are worked on
	down  map[string]int // members that do not serve
	wave  map[[2]any]int // unproven or proven and soaking hosts

	repositories []recovery.Repository
}

func (w *World) usage(s *recovery.State) use {
	u := use{slots: map[string]int{recovery.ResourceSSH: recovery.DefaultSSHSlots}, group: map[string]int{}, down: map[string]int{}, wave: map[[2]any]int{}, repositories: s.Fleet.Repositories}
	for _, r := range s.Fleet.Resources {
		u.slots[r.Name] = r.Slots
	}
	for _, x := range s.Hosts() {
		attempting := x.Phase == recovery.Attempting
		unproven := attempting || x.Phase == recovery.Verifying && x.ProvenAt.IsZero()
		for _, g := range x.Host.Groups {
			if unproven {
				u.group[g]++
			}
			if !x.Up() && x.Phase != recovery.Skipped {
				u.down[g]++
			}
		}
		if attempting || x.Phase == recovery.Verifying || x.Phase == recovery.Recovered {
			u.wave[[2]any{x.Wave, x.Host.OS}]++
		}
		if attempting {
			if reads := readFrom(x.Attempts[len(x.Attempts)-1]); len(reads) > 0 {
				for name := range reads {
					u.slots[name]--
				}
			} else {
				u.slots[recovery.ResourceSSH]--
			}
			for _, r := range x.Host.Resources {
				u.slots[r]--
			}
		}
		if n := len(x.Attempts); unproven && n > 0 && x.Attempts[n-1].Rung >= 0 {
			for _, r := range x.Host.Ladder[x.Attempts[n-1].Rung].Resources {
				u.slots[r]--
			}
		}
	}
	return u
}

// readFrom are the repositories that an attempt reads.
func readFrom(a recovery.Attempt) map[string]bool {
	names := map[string]bool{}
	for _, r := range a.Restores {
		names[r.Point.Repository] = true
	}
	return names
}

// full reports whether a resource that the host's next attempt needs has no free slot. A stateless host may be about to take any of its
// rungs.
func (u use) full(x *recovery.HostState) bool {
	names := slices.Clone(x.Host.Resources)
	for i, r := range x.Host.Ladder {
		switch {
		case i != x.Rung && x.Host.Data != recovery.DataNone:
		case r.Kind == recovery.RungRestore:
			for _, repository := range u.repositories {
				names = append(names, repository.Name)
			}
		default:
			names = append(append(names, recovery.ResourceSSH), r.Resources...)
		}
	}
	for _, n := range names {
		if u.slots[n] <= 0 {
			return true
		}
	}
	return false
}
