package audit

import (
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// host is what the journal has told of one host so far.
type host struct {
	name    string
	spec    *recovery.Host
	usable  []bool // by rung
	awaited []bool // by rung: a restore whose points are being verified
	wave    *wave
	service *service
	groups  []*group
	weights []*resource // that the host's attempts take, the rung's own not counted

	scoped, planned, excluded bool
	scopeBoot                 string // boot id of the evidence in its scope
	member                    bool   // of its wave's hosts
	joined                    bool   // after the wave's size was fixed
	overridden                bool

	phase      recovery.Phase
	rung       int // that the next attempt takes
	attempts   []attempt
	base       int      // attempts before its last new chance
	named      bool     // a person has named the rung
	consent    *consent // to its restore
	accounted  int      // attempts before it was last recovered
	tries      int      // on the rung, in a row
	notBefore  time.Time
	failure    *failure
	failedOn   int  // the rung whose attempt failed
	counts     bool // the failure is booked
	owner      string
	ownedUntil time.Time
	relapses   int
	debts      []string // open ones
	stuck      int      // tries to clear the boot target that failed

	proven     bool
	provenBoot string
	provenBy   string // the version whose probes proved it
	revised    int    // revisions so far
	soakUntil  time.Time
	proofs     int // since the last attempt
	bootBefore string
	change     *change
	ranIn      []string // boots in which a script of ours ran and found something

	heard, connected bool
}

type attempt struct {
	id       string
	n        int
	rung     int // -1: a person's
	class    recovery.Class
	playbook string
	canary   *canary // whom it counts with; nil for a person's
	kind     *kind   // likewise
	step     int
	served   bool
	ended    bool
	late     bool

	restore   bool
	restores  []recovery.Restore
	runner    string
	cancel    bool // a person wants it to be let go of
	cancelled bool // and its agent was told
}

// change is the last that was done to a host and claimed to help.
type change struct {
	boots     []string // that it came after or happened in
	restarted bool     // the host was sent back into its own system after it
}

type failure struct {
	host      string
	class     recovery.Class
	signature string
}

type wave struct {
	n          int
	tier       recovery.Tier
	size, need int
	limits     recovery.Limits
	members    int

	opened, passed, approved bool
	forced, waived           bool
	heldBy                   string
	shareAt                  time.Time // incident clock; zero while too few are recovered

	recovered    int // of those that the size counts
	criticalDown int
	failed       int
	unreachable  int
	signatures   map[string]int
	over         string // the limit that it was over when the attempt being judged was decided
}

type service struct {
	need, up, criticalDown int
	overridden             bool
	needs                  []string
}

type group struct {
	spec    recovery.Group
	members []*host
	working int
}

type resource struct{ slots, used int }

// canaryKey groups hosts that one canary speaks for.
type canaryKey struct {
	wave   int
	os     string
	digest string // of the playbook; MethodRestore for those that are restored
}

// kind is all hosts of a wave and OS that are repaired, whatever version touched them, or that are restored.
type kind struct{ unproven int }

type canary struct{ recovered, proven, unproven int }

func (h *host) current() *attempt {
	if n := len(h.attempts); n > 0 && !h.attempts[n-1].ended {
		return &h.attempts[n-1]
	}
	return nil
}

func (h *host) find(id string) *attempt {
	for i := len(h.attempts) - 1; i >= 0; i-- {
		if h.attempts[i].id == id {
			return &h.attempts[i]
		}
	}
	return nil
}

// lastRung is the rung of the last attempt, or -1 for a person's or none.
func (h *host) lastRung() int {
	if n := len(h.attempts); n > 0 {
		return h.attempts[n-1].rung
	}
	return -1
}

func (h *host) ladder(rung int) recovery.Rung {
	if rung < 0 || rung >= len(h.spec.Ladder) {
		return recovery.Rung{Kind: recovery.RungHands}
	}
	return h.spec.Ladder[rung]
}

func (h *host) canUse(rung int) bool { return rung >= 0 && rung < len(h.usable) && h.usable[rung] }

func (h *host) owes(debt string) bool { return slices.Contains(h.debts, debt) }

// working: something is done to the host and no proof has come of it.
func (h *host) working() bool {
	return h.phase == recovery.Attempting || h.phase == recovery.Verifying && !h.proven
}

func (h *host) up() bool {
	return h.phase == recovery.NotHit || h.phase == recovery.Recovered || h.phase == recovery.Verifying && h.proven
}

func (w *wave) markShare(now time.Time) {
	switch {
	case !w.opened || w.recovered < w.need:
		w.shareAt = time.Time{}
	case w.shareAt.IsZero():
		w.shareAt = now
	}
}

func (s *service) serves() bool { return s.criticalDown == 0 && s.up >= s.need }

// failureCounts: one that was not accepted counts. That a rung does not reach a host says nothing while others are left to climb.
func (a *Auditor) failureCounts(h *host) bool {
	switch {
	case h.failure == nil || a.accepted[*h.failure]:
		return false
	case h.failure.class != recovery.Unreachable:
		return true
	case h.phase == recovery.Verifying:
		return false
	case h.phase == recovery.Waiting || h.phase == recovery.Attempting:
		return h.following() < 0 && h.tries >= a.policy.TriesPerRung && h.failedOn == h.rung
	case h.phase == recovery.NeedsHands && len(h.attempts) > 0:
		last := h.attempts[len(h.attempts)-1]
		return last.class != recovery.Cancelled || last.rung == h.failedOn
	}
	return true
}

// weigh books n times what the host weighs on its service, wave, groups and resources.
func (a *Auditor) weigh(h *host, n int) {
	a.inPhase[h.phase] += n
	if s := h.service; s != nil {
		switch {
		case h.up():
			s.up += n
		case h.spec.Critical:
			s.criticalDown += n
		}
	}
	if h.wave == nil || h.phase == recovery.NotHit {
		return
	}
	a.weighWave(h, n)
	a.weighFailure(h, n)
	if h.working() {
		for _, g := range h.groups {
			g.working += n
		}
	}
	switch {
	case h.phase == recovery.Attempting:
		at := &h.attempts[len(h.attempts)-1]
		if !at.restore {
			a.ssh.used += n
		}
		for _, r := range a.taken(h, at.rung, at.restores) {
			r.used += n
		}
	case h.working():
		for _, name := range h.ladder(h.lastRung()).Resources {
			if r := a.resources[name]; r != nil {
				r.used += n
			}
		}
	}
}

func (a *Auditor) weighWave(h *host, n int) {
	w := h.wave
	recovered := h.phase == recovery.Recovered
	if recovered && !h.joined {
		w.recovered += n
	}
	if h.spec.Critical && !recovered {
		w.criticalDown += n
	}
	if h.lastRung() < 0 {
		return // one that healed by itself or by hand says nothing about the playbook
	}
	at := &h.attempts[len(h.attempts)-1]
	switch c := at.canary; {
	case h.working():
		c.unproven += n
		at.kind.unproven += n
	case recovered:
		c.recovered += n
		c.proven += n
	case h.phase == recovery.Verifying:
		c.proven += n
	}
}

// canary is how far a version of the playbook, or where the rung is one the restore, has come among the hosts of this one's wave and OS.
func (a *Auditor) canary(h *host, rung int, digest string) *canary {
	if h.restores(rung) {
		digest = string(recovery.MethodRestore)
	}
	key := canaryKey{h.wave.n, h.spec.OS, digest}
	if a.canaries[key] == nil {
		a.canaries[key] = &canary{}
	}
	return a.canaries[key]
}

func (a *Auditor) kind(h *host, rung int) *kind {
	key := canaryKey{wave: h.wave.n, os: h.spec.OS}
	if h.restores(rung) {
		key.digest = string(recovery.MethodRestore)
	}
	if a.kinds[key] == nil {
		a.kinds[key] = &kind{}
	}
	return a.kinds[key]
}

func (a *Auditor) weighFailure(h *host, n int) {
	if n > 0 {
		h.counts = a.failureCounts(h)
	}
	if !h.counts {
		return
	}
	a.failures += n
	if h.failure.class == recovery.Unreachable {
		h.wave.unreachable += n
		return
	}
	h.wave.failed += n
	alike := h.failure.signature
	if alike == "" {
		alike = string(h.failure.class)
	}
	h.wave.signatures[alike] += n
}

// taken are the resources that an attempt on a rung takes, each once; a restore takes the repositories that it reads, too.
func (a *Auditor) taken(h *host, rung int, restores []recovery.Restore) []*resource {
	own := h.ladder(rung).Resources
	if len(own)+len(restores) == 0 {
		return h.weights
	}
	list := slices.Clone(h.weights)
	for _, r := range restores {
		own = append(slices.Clip(own), r.Point.Repository)
	}
	for _, name := range own {
		if r := a.resources[name]; r != nil && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}

func (h *host) fail(class recovery.Class, signature string) {
	h.failure, h.failedOn = &failure{h.name, class, signature}, h.lastRung()
}

// retry sets what the next attempt is: its rung, and not before when.
func (h *host) retry(rung int, notBefore time.Time) {
	if rung = max(rung, 0); rung != h.rung {
		h.tries = 0
	}
	h.rung, h.notBefore, h.proven = rung, notBefore, false
}

// later turns a moment that an entry names into one of the incident clock.
func (a *Auditor) later(until time.Time) time.Time {
	if until.IsZero() {
		return time.Time{}
	}
	return a.now().Add(until.Sub(a.at))
}

func (a *Auditor) now() time.Time { return a.clock.read(a.at) }
