// Package audit reads an incident's journal, entry by entry, and tells the first promise that was broken. It keeps a small model
// of its own, built from the entries alone by rules told once more and apart from the engine's code, so that a fault there is not
// believed here. It is pure and takes a constant time for an entry, whatever the size of the estate.
//
// What rests on sightings alone is not in a journal: whether a silent host was rightly sent back to work, and which members of a group
// were up. Whoever knows what was heard of the hosts tells it with [Auditor.Hear]; then max-down-together is judged too.
package audit

import (
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Breach is the first broken promise. It is an error.
type Breach struct {
	Invariant string // its name
	Seq       uint64 // of the entry that broke it
	Host      string // empty when no host did
	Detail    string
}

func (b *Breach) Error() string {
	where := fmt.Sprintf("entry %d", b.Seq)
	if b.Host != "" {
		where += " on " + b.Host
	}
	return fmt.Sprintf("%s breaks %s: %s", where, b.Invariant, b.Detail)
}

// Auditor judges one incident's journal, entry by entry.
type Auditor struct {
	breach *Breach
	seq    uint64
	at     time.Time // of the entry being read
	actor  string    // likewise
	clock  clock

	run      bool              // the journal of a run, which makes none of an incident's promises but the order of its entries
	playbook recovery.Playbook // the version in use
	books    []recovery.Playbook
	policy   recovery.Policy

	hosts     map[string]*host
	waves     []*wave
	services  map[string]*service
	groups    map[string]*group
	resources map[string]*resource
	canaries  map[canaryKey]*canary
	kinds     map[canaryKey]*kind // without a version
	vault     vault
	ssh       resource

	digest   string // of the plan
	scoped   bool
	planned  bool
	approved bool
	aborted  bool
	closed   bool
	fates    map[string]bool

	inPhase   map[recovery.Phase]int
	failures  int // hosts whose failure counts
	debts     int // open ones
	livedWith int // accepted without being settled
	overrides map[string]bool
	accepted  map[failure]bool
	starting  bool // the entry before started an attempt: this one was decided with it
	tooMany   bool // the incident was over its limit when that decision was made
}

// New returns an auditor before the first entry.
func New() *Auditor {
	return &Auditor{
		hosts: map[string]*host{}, services: map[string]*service{}, groups: map[string]*group{}, resources: map[string]*resource{},
		canaries: map[canaryKey]*canary{}, kinds: map[canaryKey]*kind{},
		inPhase: map[recovery.Phase]int{}, accepted: map[failure]bool{}, fates: map[string]bool{}, overrides: map[string]bool{},
	}
}

// See judges the next entry: nil while all promises hold. After a breach it returns that breach for ever.
func (a *Auditor) See(e recovery.Entry) *Breach {
	if a.breach != nil {
		return a.breach
	}
	first := a.seq == 0
	if e.Seq != a.seq+1 {
		a.seq = e.Seq
		a.broken(sequence, "", "it follows entry %d", e.Seq-1)
		return a.breach
	}
	a.seq, a.at, a.actor = e.Seq, e.At.UTC().Round(0), e.Actor
	a.order(e.Event, first)
	if a.breach == nil && !a.run {
		a.surveyLimits(e.Event)
		a.judge(e.Event)
	}
	return a.breach
}

// Hear tells what was heard of a host: whether it is connected now. Journals do not hold it; without it the auditor does not judge
// max-down-together.
func (a *Auditor) Hear(host string, connected bool) {
	if h := a.hosts[host]; h != nil {
		h.heard, h.connected = true, connected
	}
}

// End judges an incident that is over: every host that was planned is accounted for.
func (a *Auditor) End() *Breach {
	if a.breach == nil && !a.run {
		a.account()
	}
	return a.breach
}

// Check judges a whole journal, and its end when the incident is closed.
func Check(entries []recovery.Entry) *Breach {
	a := New()
	for _, e := range entries {
		if b := a.See(e); b != nil {
			return b
		}
	}
	if a.closed {
		return a.End()
	}
	return nil
}

// broken records the first breach only.
func (a *Auditor) broken(invariant, host, format string, args ...any) {
	if a.breach == nil {
		a.breach = &Breach{Invariant: invariant, Seq: a.seq, Host: host, Detail: fmt.Sprintf(format, args...)}
	}
}

// order holds the kinds of entry to the order that every journal has.
func (a *Auditor) order(e recovery.Event, first bool) {
	switch e.(type) {
	case *recovery.IncidentDeclared:
		if !first {
			a.broken(sequence, "", "an incident is declared once, by its first entry")
		}
		return
	case *recovery.RunDeclared:
		a.run = first
	}
	switch {
	case a.run:
	case first:
		a.broken(sequence, "", "a journal begins with the declaration, this one with %s", e.Kind())
	case a.closed:
		if _, clears := e.(*recovery.DebtCleared); !clears {
			a.broken(closedForGood, recovery.HostOf(e), "%s after the incident was closed", e.Kind())
		}
	}
}

// judge holds one entry against the promises, and then believes it.
func (a *Auditor) judge(e recovery.Event) {
	switch v := e.(type) {
	case *recovery.IncidentDeclared:
		a.declare(v)
	case *recovery.IncidentScoped:
		a.scope(v)
	case *recovery.PlanProposed:
		a.plan(v)
	case *recovery.PlanApproved:
		a.approve(v)
	case *recovery.IncidentPaused:
		a.pause()
	case *recovery.IncidentResumed:
		a.resume(v)
	case *recovery.CoordinatorRestarted:
		a.clock.lose(v.Alive.UTC().Round(0), a.at)
		a.cancelAnew()
	case *recovery.PlaybookRevised:
		a.revise(v)
	case *recovery.IncidentAborted:
		a.abort(v)
	case *recovery.IncidentClosed:
		a.close(v)
	case *recovery.HoldOverridden:
		a.override(v)
	case *recovery.WaveOpened, *recovery.WavePassed, *recovery.WaveHeld, *recovery.WaveReleased, *recovery.WaveApproved:
		a.judgeWave(v)
	case *recovery.PointsLearnt:
		a.pointsLearnt(v)
	case *recovery.AgentRefused:
	case *recovery.RunDeclared, *recovery.RunEnded, *recovery.PointChecked, *recovery.PointsQuarantined, *recovery.PointsReleased, *recovery.PointsHeld,
		*recovery.HoldPlaced, *recovery.BackupJobStarted, *recovery.BackupJobEnded:
		a.broken(sequence, "", "%s stands in the journal of an incident", e.Kind())
	default:
		a.judgeHost(v)
	}
}

// judgeHost judges an entry about one host. What the host weighs on everything else is taken away before and booked again after,
// so that no count can drift.
func (a *Auditor) judgeHost(e recovery.Event) {
	h := a.hosts[recovery.HostOf(e)]
	if h == nil {
		a.broken(sequence, recovery.HostOf(e), "%s is about a host that is not in the fleet", e.Kind())
		return
	}
	switch v := e.(type) {
	case *recovery.AttemptStarted:
		a.mayStart(h, v)
	case *recovery.AttemptEnded:
		a.mayEnd(h, v)
	}
	a.legalMove(h, e)
	a.weigh(h, -1)
	a.believe(h, e)
	a.weigh(h, 1)
	h.wave.markShare(a.now())
}

// believe judges what concerns the host alone and takes it into the model.
func (a *Auditor) believe(h *host, e recovery.Event) {
	switch v := e.(type) {
	case *recovery.AttemptStarted:
		a.attemptStarted(h, v)
	case *recovery.AttemptEnded:
		a.attemptEnded(h, v)
	case *recovery.AttemptProgressed:
		a.progressed(h, v)
	case *recovery.RescueServed:
		a.rescueServed(h, v)
	case *recovery.BootTargetCleared:
		a.bootTargetCleared(h)
	case *recovery.BootTargetStuck:
		a.bootTargetStuck(h)
	case *recovery.HostProven:
		a.proven(h, v)
	case *recovery.ProofFailed:
		a.proofFailed(h, v)
	case *recovery.HostRecovered:
		a.recovered(h, v)
	case *recovery.HostRelapsed:
		a.relapsed(h, v)
	case *recovery.HostNeedsHands:
		a.needsHands(h)
	case *recovery.HostClaimed:
		a.claimed(h, v)
	case *recovery.HandsFinished:
		a.handsFinished(h, v)
	case *recovery.HostSkipped:
		a.skipped(h, v)
	case *recovery.HostReturned:
		a.returned(h, v)
	case *recovery.RestoreApproved:
		a.restoreApproved(h, v)
	case *recovery.AttemptCancelAsked:
		a.cancelAsked(h, v)
	case *recovery.DebtCleared:
		a.debtCleared(h, v)
	default:
		a.broken(sequence, h.name, "the auditor does not know %s: teach it", e.Kind())
	}
}
