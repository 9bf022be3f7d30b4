package audit

import (
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (a *Auditor) declare(v *recovery.IncidentDeclared) {
	f := v.Fleet
	a.playbook, a.policy = v.Playbook, filled(f.Policy)
	a.keepBook(v.Playbook)
	a.vault = newVault(v)
	tier := map[string]*wave{}
	for i, t := range f.Tiers {
		w := &wave{n: i + 1, tier: t, signatures: map[string]int{}}
		tier[t.Name] = w
		a.waves = append(a.waves, w)
	}
	for _, s := range f.Services {
		a.services[s.Name] = &service{needs: s.Needs}
	}
	for _, g := range f.Groups {
		a.groups[g.Name] = &group{spec: g}
	}
	a.ssh.slots = recovery.DefaultSSHSlots
	for _, r := range f.Resources {
		if r.Name == recovery.ResourceSSH {
			a.ssh.slots = r.Slots
			continue
		}
		a.resources[r.Name] = &resource{slots: r.Slots}
	}
	members := map[string]int{}
	for i := range f.Hosts {
		h := &host{name: f.Hosts[i].Name, spec: &f.Hosts[i], phase: recovery.NotHit, wave: tier[f.Hosts[i].Tier]}
		if a.hosts[h.name] != nil || h.wave == nil {
			a.broken(wholePlan, h.name, "it stands in the fleet twice, or its tier %q does not", h.spec.Tier)
			return
		}
		a.hosts[h.name] = h
		a.place(h)
		members[h.spec.Service]++
		a.weigh(h, 1)
	}
	for _, s := range f.Services {
		percent := s.UpPercent
		if percent == 0 {
			percent = 50
		}
		a.services[s.Name].need = roundedUp(members[s.Name], percent)
	}
}

// place joins a host to what it belongs to.
func (a *Auditor) place(h *host) {
	h.service = a.services[h.spec.Service]
	for _, name := range h.spec.Groups {
		if g := a.groups[name]; g != nil {
			h.groups = append(h.groups, g)
			g.members = append(g.members, h)
		}
	}
	for _, name := range h.spec.Resources {
		if r := a.resources[name]; r != nil && !slices.Contains(h.weights, r) {
			h.weights = append(h.weights, r)
		}
	}
	h.usable, h.awaited = make([]bool, len(h.spec.Ladder)), make([]bool, len(h.spec.Ladder))
	a.lookAgain(h)
}

// usable tells which rungs the engine may climb by itself.
func (a *Auditor) usable(h *host, r recovery.Rung) bool {
	switch r.Kind {
	case recovery.RungRestore:
		return !(r.Reboots && a.playbook.Reboot == recovery.RebootForbidden) && a.vault.restorable(h, r)
	case recovery.RungSSH, recovery.RungRace, recovery.RungHelper:
	case recovery.RungRescue:
		if h.spec.Power == nil {
			return false
		}
	default:
		return false
	}
	if a.playbook.Reboot == recovery.RebootForbidden && restarts(r) {
		return false
	}
	runs := r.Environment == recovery.EnvLinux || r.Environment == recovery.EnvRescueLinux
	return runs && slices.Contains(a.playbook.Environments, r.Environment)
}

func restarts(r recovery.Rung) bool { return r.Reboots || fromOutside(r) }

func fromOutside(r recovery.Rung) bool {
	return r.Kind == recovery.RungRescue || r.Kind == recovery.RungHelper
}

// filled gives a policy the numbers that the fleet file left out.
func filled(p recovery.Policy) recovery.Policy {
	d := recovery.DefaultPolicy()
	for _, n := range []struct{ set, otherwise *int }{
		{&p.MaxAttempts, &d.MaxAttempts}, {&p.MaxInFlight, &d.MaxInFlight}, {&p.TriesPerRung, &d.TriesPerRung},
		{&p.MaxRelapses, &d.MaxRelapses}, {&p.SameSignature, &d.SameSignature},
	} {
		if *n.set == 0 {
			*n.set = *n.otherwise
		}
	}
	if p.Backoff == 0 {
		p.Backoff = d.Backoff
	}
	if p.BackoffMax == 0 {
		p.BackoffMax = d.BackoffMax
	}
	if p.IncidentFailures == (recovery.Limit{}) {
		p.IncidentFailures = d.IncidentFailures
	}
	return p
}

func roundedUp(n, percent int) int { return (n*percent + 99) / 100 }

func roundedDown(l recovery.Limit, n int) int {
	if l.Percent {
		return n * l.Count / 100
	}
	return l.Count
}

func (a *Auditor) scope(v *recovery.IncidentScoped) {
	if a.scoped || len(v.Hosts) != len(a.hosts) {
		a.broken(scopeEvidence, "", "%d hosts are classified, the fleet has %d", len(v.Hosts), len(a.hosts))
		return
	}
	a.scoped = true
	for _, sc := range v.Hosts {
		h := a.hosts[sc.Host]
		if h == nil || h.scoped {
			a.broken(scopeEvidence, sc.Host, "it is not in the fleet, or is classified twice")
			return
		}
		a.leftOut(h, sc)
		a.weigh(h, -1)
		h.scoped, h.planned = true, sc.Planned
		if sc.Sighting != nil {
			h.scopeBoot = sc.Sighting.BootID
		}
		if sc.Planned {
			h.phase = recovery.Waiting
		}
		a.weigh(h, 1)
	}
}

// leftOut asks for the evidence that leaves a host out of the work.
func (a *Auditor) leftOut(h *host, sc recovery.HostScope) {
	switch sc.Class {
	case recovery.NeverHit:
		v := sc.Sighting
		if v == nil || !v.Connected || slices.Contains(v.WasBad, a.playbook.Digest) || lacks(v, a.playbook.Digest) != "" {
			a.broken(scopeEvidence, h.name, "it is taken for never hit without a sighting that shows it up, with good content, and never bad")
		}
	case recovery.OutOfScope:
		if a.fits(h.spec) {
			a.broken(scopeEvidence, h.name, "it is out of scope, and playbook %s is for it", a.playbook.Name)
		}
	default:
		if !sc.Planned {
			a.broken(scopeEvidence, h.name, "it is %s and takes no part", sc.Class)
		}
		return
	}
	if sc.Planned {
		a.broken(scopeEvidence, h.name, "it is %s and takes part", sc.Class)
	}
}

func (a *Auditor) fits(h *recovery.Host) bool {
	m := a.playbook.Match
	if m.EDR != "" && m.EDR != h.EDR.Product {
		return false
	}
	return len(m.OS) == 0 || slices.ContainsFunc(m.OS, func(os string) bool { return strings.HasPrefix(h.OS+"-", os+"-") })
}

func (a *Auditor) plan(v *recovery.PlanProposed) {
	if !a.scoped || a.planned || len(v.Plan.Waves) != len(a.waves) || v.Plan.Playbook != a.playbook.Digest {
		a.broken(wholePlan, "", "a plan of %d waves with playbook %q: the fleet has %d tiers, the incident is one of %q, and its hosts are classified once before",
			len(v.Plan.Waves), v.Plan.Playbook, len(a.waves), a.playbook.Digest)
		return
	}
	a.planned, a.digest = true, v.Plan.Digest
	for i, pw := range v.Plan.Waves {
		for _, ph := range pw.Hosts {
			h := a.hosts[ph.Host]
			if h == nil || !h.planned || h.member || h.wave != a.waves[i] || pw.Wave != i+1 {
				a.broken(wholePlan, ph.Host, "it stands in wave %d of the plan, and is not hit, or stands in another, or belongs there", pw.Wave)
				return
			}
			if !slices.Contains(h.plannedOn(), ph.Rung) {
				a.broken(ladderOrder, h.name, "it is planned on rung %d, and belongs on one of %v", ph.Rung, h.plannedOn())
			}
			h.member, h.rung = true, ph.Rung
			if h.rung < 0 { // the first is as unusable as any, but for one whose points are being verified
				h.rung = max(slices.Index(h.awaited, true), 0)
			}
			h.wave.members++
		}
	}
	for _, ph := range v.Plan.Excluded {
		if h := a.hosts[ph.Host]; h == nil || h.planned || h.excluded {
			a.broken(wholePlan, ph.Host, "it is excluded, and is hit, or excluded twice, or unknown")
		} else {
			h.excluded = true
		}
	}
	for name, h := range a.hosts {
		if h.planned != h.member || h.planned == h.excluded {
			a.broken(wholePlan, name, "hit is %v, in a wave %v, excluded %v", h.planned, h.member, h.excluded)
		}
	}
}

func (a *Auditor) approve(v *recovery.PlanApproved) {
	switch {
	case !a.planned || a.approved || v.Digest != a.digest:
		a.broken(approvalFirst, "", "plan %q is approved, the one proposed is %q (approved before: %v)", v.Digest, a.digest, a.approved)
	case a.aborted:
		a.broken(abortStops, "", "the plan is approved after the abort")
	}
	a.approved = true
}

func (a *Auditor) pause() {
	switch {
	case a.clock.paused():
		a.broken(pauseStops, "", "it is paused already")
	case a.aborted:
		a.broken(abortStops, "", "an incident that is being aborted cannot be paused: what is in flight must end")
	}
	a.clock.stop(a.at)
}

func (a *Auditor) resume(v *recovery.IncidentResumed) {
	if !a.clock.paused() {
		a.broken(pauseStops, "", "it is resumed, and was not paused")
	}
	a.clock.start(a.at)
	a.accept(v.Accepted)
}

func (a *Auditor) accept(list []recovery.Failure) {
	for _, f := range list {
		h := a.hosts[f.Host]
		if h != nil {
			a.weigh(h, -1)
		}
		a.accepted[failure{f.Host, f.Class, f.Signature}] = true
		if h != nil {
			a.weigh(h, 1)
		}
	}
}

// abort names a fate for every host in the work, and for no other.
func (a *Auditor) abort(v *recovery.IncidentAborted) {
	if a.aborted {
		a.broken(abortStops, "", "it is aborted twice")
	}
	a.clock.start(a.at) // what is in flight must come to its end
	a.aborted = true
	for _, f := range v.Fates {
		h := a.hosts[f.Host]
		if h == nil || a.fates[f.Host] || f.Rule == "" || !inWork(h) {
			a.broken(fatesTold, f.Host, "it is given a fate (%q), and is not in the work, or has one", f.Rule)
		}
		a.fates[f.Host] = true
	}
	for name, h := range a.hosts {
		if inWork(h) && !a.fates[name] {
			a.broken(fatesTold, name, "nothing says what becomes of it; it is %s", h.phase)
		}
	}
}

func inWork(h *host) bool { return h.phase != recovery.NotHit && h.phase != recovery.Skipped }

func (a *Auditor) override(v *recovery.HoldOverridden) {
	a.overrides[v.Target] = true
	kind, name, _ := strings.Cut(v.Target, ":")
	switch kind {
	case "host":
		if h := a.hosts[name]; h != nil {
			h.overridden = true
		}
	case "service":
		if s := a.services[name]; s != nil {
			s.overridden = true
		}
	case "wave":
		a.overrideWave(name)
	}
}

// close: nothing is left to do, and what was left undone is said.
func (a *Auditor) close(v *recovery.IncidentClosed) {
	a.closed = true
	flying := a.inPhase[recovery.Attempting] + a.inPhase[recovery.Verifying]
	if a.aborted {
		a.closeAborted(v, flying)
		return
	}
	unpassed := 0
	for _, w := range a.waves {
		if w.members > 0 && !w.passed {
			unpassed++
		}
		if w.members > 0 && !w.opened {
			a.broken(closeWhole, "", "wave %d has not opened", w.n)
		}
	}
	waiting, hands, skipped := a.inPhase[recovery.Waiting], a.inPhase[recovery.NeedsHands], a.inPhase[recovery.Skipped]
	if !a.approved || a.clock.paused() || waiting+flying+hands+a.debts > 0 {
		a.broken(closeWhole, "", "approved %v, paused %v, %d hosts wait, %d are in flight, %d need hands, %d debts are open",
			a.approved, a.clock.paused(), waiting, flying, hands, a.debts)
		return
	}
	exceptions := skipped + unpassed + len(a.overrides) + min(1, len(a.accepted)) + a.livedWith
	outcome := recovery.OutcomeClosed
	if exceptions > 0 {
		outcome = recovery.OutcomeWithExceptions
	}
	if v.Outcome != outcome || len(v.Exceptions) < exceptions {
		a.broken(honestOutcome, "", "it is %s with %d exceptions named; %d are skipped, %d waves not passed, %d holds overridden, %d failures accepted",
			v.Outcome, len(v.Exceptions), skipped, unpassed, len(a.overrides), len(a.accepted))
	}
}

func (a *Auditor) closeAborted(v *recovery.IncidentClosed, flying int) {
	if v.Outcome != recovery.OutcomeAborted {
		a.broken(honestOutcome, "", "it was aborted and is %s", v.Outcome)
	}
	if flying > 0 {
		a.broken(closeWhole, "", "%d hosts are in flight", flying)
	}
	for name, h := range a.hosts {
		if h.owes(recovery.DebtBootTarget) && h.stuck < triesAtAbort {
			a.broken(bootTarget, name, "the incident closes over it after %d tries to clear it, %d are due", h.stuck, triesAtAbort)
		}
	}
}

// triesAtAbort is how often the engine tries to give a host its own disk back before it closes an aborted incident over that.
const triesAtAbort = 3

// account adds up at the end.
func (a *Auditor) account() {
	if !a.closed {
		a.broken(accountedFor, "", "the incident is not closed")
		return
	}
	total := 0
	for _, n := range a.inPhase {
		total += n
	}
	if total != len(a.hosts) || !a.scoped || !a.planned {
		a.broken(accountedFor, "", "%d hosts are counted, the fleet has %d", total, len(a.hosts))
		return
	}
	for name, h := range a.hosts {
		done := h.phase == recovery.Recovered || h.phase == recovery.Skipped || a.aborted && a.fates[name]
		if (h.member || h.planned) && !done {
			a.broken(accountedFor, name, "it is %s at the end, and nothing says what becomes of it", h.phase)
		}
	}
}
