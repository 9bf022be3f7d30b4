package recovery

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ofFleet are the points of data sets that the fleet has.
func ofFleet(f Fleet, points []RestorePoint) []RestorePoint {
	known := make(map[string]bool, len(f.DataSets))
	for _, d := range f.DataSets {
		known[d.Name] = true
	}
	var list []RestorePoint
	for _, p := range points {
		if known[p.DataSet] {
			list = append(list, p)
		}
	}
	return list
}

func learnAll(points []RestorePoint) *Points {
	b := NewPoints()
	for _, p := range points {
		b.Learn(p)
	}
	return b
}

// lastKnownGood names the best point of every data set of the fleet: what an incident must be able to go back to.
func lastKnownGood(f Fleet, s Stock) []PointRef {
	k := newStock(&f, s)
	hosts := make(map[string]*Host, len(f.Hosts))
	for i := range f.Hosts {
		hosts[f.Hosts[i].Name] = &f.Hosts[i]
	}
	var refs []PointRef
	for i := range f.DataSets {
		d := &f.DataSets[i]
		if h := hosts[d.Host]; h != nil {
			if best, why := k.best(d, k.need(h)); why == "" {
				refs = append(refs, best.Point.PointRef)
			}
		}
	}
	return refs
}

// declareStock takes what was known of backups when the incident was declared.
func (s *State) declareStock(v *IncidentDeclared) {
	s.Cutoff, s.WaveZero, s.Held = v.Cutoff, v.WaveZero, v.Held
	if s.Cutoff.IsZero() {
		s.Cutoff = v.Began
	}
	for _, p := range v.Points {
		s.Points.Learn(p)
	}
	s.stock = newStock(&s.Fleet, Stock{Points: s.Points, Cutoff: s.Cutoff, Began: s.Began})
	s.stock.verifying = v.Verifying
	s.chooses = slices.ContainsFunc(s.Fleet.Hosts, func(h Host) bool { return restoreRung(&h) >= 0 })
}

// Stock is what the incident's hosts could be restored from.
func (s *State) Stock() Stock { return Stock{Points: s.Points, Cutoff: s.Cutoff, Began: s.Began} }

// Holds names the points that must not expire while the incident is open: the last known good ones of its declaration, those of now (wave zero may
// have found them since), and those that restores go back to.
func (s *State) Holds() []PointRef {
	if s.over() {
		return nil
	}
	refs, known := slices.Clone(s.Held), make(map[PointRef]bool, len(s.Held))
	for _, ref := range refs {
		known[ref] = true
	}
	hold := func(ref PointRef) {
		if !known[ref] {
			known[ref] = true
			refs = append(refs, ref)
		}
	}
	for i := range s.Fleet.DataSets {
		d := &s.Fleet.DataSets[i]
		if h := s.hosts[d.Host]; h != nil {
			if best, why := s.stock.best(d, s.stock.need(h.Host)); why == "" {
				hold(best.Point.PointRef)
			}
		}
	}
	for _, h := range s.order {
		for _, a := range h.Attempts {
			for _, r := range a.Restores {
				hold(r.Point)
			}
		}
	}
	return refs
}

// Unverified names the data sets of which no point may be restored yet because none is verified as far as is asked: what wave zero
// has to look at. It is empty when the incident has no wave zero.
func (s *State) Unverified() []string {
	if s.over() || !s.WaveZero {
		return nil
	}
	var names []string
	for i := range s.Fleet.DataSets {
		d := &s.Fleet.DataSets[i]
		h := s.hosts[d.Host]
		if h == nil || h.Phase == NotHit || h.Phase == Skipped {
			continue
		}
		if s.stock.unverified(d, s.stock.need(h.Host)) {
			names = append(names, d.Name)
		}
	}
	return names
}

// learnt takes from the catalog of backups what the incident does not know yet.
func (s *State) learnt(v Learnt, now time.Time) []Event {
	if s.over() || s.stock == nil {
		return nil
	}
	e := &PointsLearnt{Reason: why(v.Reason, "the catalog of backups says so")}
	for _, p := range ofFleet(s.Fleet, v.Points) {
		if s.Points.news(p) {
			e.Points = append(e.Points, p)
		}
	}
	for _, name := range v.Verifying {
		if d := s.stock.sets[name]; d != nil && s.heardLately(d.RunsOn(), now) {
			e.Verifying = append(e.Verifying, name)
		}
	}
	slices.Sort(e.Verifying)
	e.Verifying = slices.Compact(e.Verifying)
	if e.Points == nil && slices.Equal(e.Verifying, s.stock.verifying) {
		return nil
	}
	return []Event{e}
}

// checkerPatience is how long a host waits for the checks of an agent that has fallen silent.
const checkerPatience = 5 * time.Minute

// heardLately reports whether a host's agent is connected, or was so a little while ago on the incident clock.
func (s *State) heardLately(host string, now time.Time) bool {
	v, ok := s.seen[host]
	return ok && (v.Connected || s.clock(now).Sub(s.clock(v.At)) < checkerPatience)
}

// news reports whether Learn would take anything from a point that could matter: not that it was listed once more, and nothing of one that
// was never there for this incident.
func (b *Points) news(p RestorePoint) bool {
	old, ok := b.Find(p.PointRef)
	if !ok {
		return !p.Gone
	}
	try := NewPoints()
	try.Learn(old)
	return try.Learn(p)
}

func (s *State) applyPoints(v *PointsLearnt) {
	for _, p := range v.Points {
		s.Points.Learn(p)
	}
	if s.stock != nil {
		s.stock.verifying = v.Verifying
	}
	s.restock()
}

// restock forgets what was found among the points before they changed.
func (s *State) restock() {
	if s.stock != nil {
		s.stock.changed()
	}
}

// found takes what the checks of a restore said of its points: a failed one puts a point into quarantine.
func (s *State) found(r Result) {
	for _, x := range r.Sets {
		for _, c := range x.Checks {
			s.Points.Check(PointRef{x.DataSet, x.Repository, x.Point}, c)
		}
	}
	if len(r.Sets) > 0 {
		s.restock()
	}
}

// asked notes with the checks of a result what they were asked, whatever the agent says of that.
func (s *State) asked(r Result) Result {
	r.Sets = slices.Clone(r.Sets)
	for i := range r.Sets {
		x := &r.Sets[i]
		x.Checks = slices.Clone(x.Checks)
		d := s.stock.sets[x.DataSet]
		for k := range x.Checks {
			if x.Checks[k].Of = ""; d != nil && x.Checks[k].Level >= L3 {
				x.Checks[k].Of = d.Asked()
			}
		}
	}
	return r
}

// Offer says what restoring a host would mean now. ok is false where it has no rung for that; a problem says why it cannot be restored.
func (s *State) Offer(h *HostState) (o Offer, problem string, ok bool) {
	at := restoreRung(h.Host)
	if at < 0 || s.stock == nil {
		return o, "", false
	}
	o, problem = s.stock.offer(h.Host, &h.Host.Ladder[at])
	if problem != "" {
		return o, problem, true
	}
	if h.approves(&o) {
		o.Approval = ""
	}
	o.Estimate = newLanes(s.stock, s.learned, 1).restore(&o, &h.Host.Ladder[at]).takes
	return o, "", true
}

// approval is a person's consent: to these points and no others, as long as no more is lost than was read.
type approval struct {
	points []PointRef
	loss   time.Duration
}

func (h *HostState) approves(o *Offer) bool {
	return h.approved != nil && slices.Equal(h.approved.points, o.Points()) && o.Loss <= h.approved.loss
}

func (s *State) approveRestore(v ApproveRestore, _ time.Time) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	o, problem, ok := s.Offer(h)
	switch {
	case s.Aborted:
		return nil, refused("incident %s is being aborted: nothing new starts", s.ID)
	case !ok:
		return nil, refused("%s has no rung of kind restore: give its ladder one in the fleet file before the next incident", v.Host)
	case problem != "":
		return nil, refused("%s cannot be restored: %s", v.Host, problem)
	case h.Phase == Recovered || h.Phase == NotHit || h.Phase == Skipped:
		return nil, refused("%s is %s: there is nothing to restore", v.Host, h.Phase)
	case o.Approval == "":
		return nil, refused("the restore of %s needs no approval, or has it already", v.Host)
	case o.Loss > v.Loss+time.Minute:
		return nil, refused("restoring %s would lose %s of data, more than the %s that you approve: read the offer again (host restore %s)", v.Host, Minutes(o.Loss), Minutes(v.Loss), v.Host)
	}
	return []Event{&RestoreApproved{Host: v.Host, Points: o.Points(), Loss: o.Loss, Reason: why(v.Reason, "approved by a person")}}, nil
}

func (s *State) cancelAttempt(v CancelAttempt) ([]Event, error) {
	h, err := s.find(v.Host)
	if err != nil {
		return nil, err
	}
	a := h.attempt()
	switch {
	case a == nil || h.Phase != Attempting:
		return nil, refused("no attempt on %s is under way", v.Host)
	case a.Method != MethodRestore:
		return nil, refused("attempt %s is a repair: a script that runs on a host is not stopped half-way", a.ID)
	case v.Reason == "":
		return nil, invalid("cancelling the restore of %s needs a reason: it will stand in the report", v.Host)
	}
	return []Event{&AttemptCancelAsked{Attempt: a.ID, Host: v.Host, Reason: v.Reason}}, nil
}

// approvalMissing says why a host's restore waits for a person, or "".
func (s *State) approvalMissing(h *HostState, rung int) string {
	if rung >= len(h.Host.Ladder) || h.Host.Ladder[rung].Kind != RungRestore {
		return ""
	}
	o, problem := s.stock.offer(h.Host, &h.Host.Ladder[rung])
	if problem != "" || o.Approval == "" || h.approves(&o) {
		return ""
	}
	return fmt.Sprintf("its restore from %s (data of %s UTC) needs a person's approval: %s (host restore %s)", refsText(o.Points()), o.Moment.UTC().Format("2006-01-02 15:04"), o.Approval, h.Host.Name)
}

// restoreJob is the work of an attempt that restores.
func (s *State) restoreJob(h *HostState, a *Attempt, j Job) Job {
	j.ID, j.Kind, j.Rung, j.Timeout, j.Runner = a.ID, JobRestore, h.Host.Ladder[a.Rung], a.Timeout, a.Runner
	j.Reboot = a.Runner == h.Host.Name && s.book(a.Playbook).Reboot == RebootRequired
	for _, r := range a.Restores {
		d, repo := s.stock.sets[r.Point.DataSet], s.stock.repositories[r.Point.Repository]
		if d == nil || repo == nil {
			continue
		}
		p, _ := s.Points.Find(r.Point)
		w := SetWork{Set: *d, Repository: *repo, Point: RestorePoint{PointRef: r.Point, Kind: p.Kind, TakenAt: p.TakenAt, Until: p.Until, Size: r.Size, SeenAt: p.SeenAt}, Level: r.Level}
		if p.Kind == PointDatabase && r.Moment.Before(p.Latest()) {
			w.Target = r.Moment
		}
		j.Sets = append(j.Sets, w)
	}
	return j
}

// cancelJob lets go of a restore, as long as that was not passed on.
func (s *State) cancelJob(h *HostState) (Job, bool) {
	a := h.attempt()
	if a == nil || h.Phase != Attempting || a.Method != MethodRestore || a.Cancel == "" || a.Step == StepCancel {
		return Job{}, false
	}
	return Job{ID: a.ID + cancelSuffix, Incident: s.ID, Kind: JobCancel, Host: *h.Host, Playbook: s.Playbook.Digest, Timeout: a.Timeout, Runner: a.Runner, Of: a.ID}, true
}

const cancelSuffix = "/cancel"

// cancelAnew has agents told once more to let go of restores: one that was told may have been killed with the coordinator that told it, and go on.
func (s *State) cancelAnew() {
	for _, h := range s.order {
		if a := h.attempt(); a != nil && a.Step == StepCancel {
			a.Step = ""
		}
	}
}

// restoreEnded decides what follows from the end of a restore, beyond what its class says. done is false when the class decides.
func (s *State) restoreEnded(h *HostState, a *Attempt, e *AttemptEnded) (done bool) {
	r := &e.Result
	what := string(r.Class) + note(firstOf(r.Signature, r.Detail))
	swapped := slices.ContainsFunc(r.Sets, func(x SetResult) bool { return x.Swapped })
	e.Debts = s.restoreDebts(h, a, r)
	switch {
	case r.Class == Succeeded && !swapped:
		r.Class, r.Signature = Failed, firstOf(r.Signature, "nothing was swapped in")
		e.Next, e.Reason = NeedsHands, "the agent says that it restored, and that it swapped nothing in: a person looks"
		return true
	case r.Class == Succeeded:
		return false
	case r.Signature == leaseRanOut:
		e.Next, e.Reason = NeedsHands, what+"; an agent may still be at it, so nothing else is done to the host: a person looks"
		return true
	case swapped:
		e.Next, e.Reason = NeedsHands, what+"; data was swapped in, so nothing more is done to the host by itself: a person looks"
		return true
	case r.Class == Cancelled && a.Cancel != "":
		e.Next, e.Reason = NeedsHands, "let go of, as a person wanted: "+a.Cancel
		return true
	case r.Class == Failed && s.anotherPoint(h, a, r):
		if s.capped(h) {
			e.Next, e.Reason = NeedsHands, what+"; "+s.capText(h)
			return true
		}
		e.Next, e.Reason = Waiting, what+"; another restore point follows"
		return true
	}
	return false
}

// anotherPoint reports whether a check has condemned a point and the host could be restored from another one.
func (s *State) anotherPoint(h *HostState, a *Attempt, r *Result) bool {
	after := learnAll(nil)
	bad := false
	for _, x := range a.Restores {
		for _, p := range s.Points.Of(x.Point.DataSet) {
			after.Learn(p)
		}
	}
	for _, x := range r.Sets {
		for _, c := range x.Checks {
			bad = bad || !c.OK
			after.Check(PointRef{x.DataSet, x.Repository, x.Point}, c)
		}
	}
	if !bad || a.Rung >= len(h.Host.Ladder) {
		return false
	}
	then := *s.stock
	then.Points, then.known = after, map[string]found{}
	_, problem := then.offer(h.Host, &h.Host.Ladder[a.Rung])
	return problem == ""
}

// Debts that a restore leaves; the data set's name, or the attempt, follows.
const (
	DebtOldCopy     = "old-copy"
	DebtReEnter     = "re-enter"
	DebtTrust       = "domain-trust"
	DebtReplication = "replication"
)

// restoreDebts is what a restore leaves behind, as far as it came.
func (s *State) restoreDebts(h *HostState, a *Attempt, r *Result) []Debt {
	var debts []Debt
	owe := func(id, format string, args ...any) {
		if !h.hasDebt(id) && !slices.ContainsFunc(debts, func(d Debt) bool { return d.ID == id }) {
			debts = append(debts, Debt{ID: id, What: fmt.Sprintf(format, args...)})
		}
	}
	swapped := false
	for _, x := range r.Sets {
		if !x.Swapped {
			continue
		}
		swapped = true
		if x.Kept != "" {
			owe(fmt.Sprintf("%s/%s/%d", DebtOldCopy, x.DataSet, a.N), "The data from before the restore of %s is kept at %s on %s: remove it when nobody can need it any more.", x.DataSet, Clean(x.Kept, maxNote), a.Runner)
		}
		moment := x.Moment
		for _, y := range a.Restores {
			if y.Point.DataSet == x.DataSet && moment.IsZero() {
				moment = y.Moment
			}
		}
		if lost := s.Began.Sub(moment); h.Host.Data != DataNone && lost > 0 {
			owe(DebtReEnter+"/"+x.DataSet, "%s holds the data of %s UTC: what was entered in the %s until the outage is to be entered again.", x.DataSet, moment.UTC().Format("2006-01-02 15:04"), Minutes(lost))
		}
		d := s.stock.sets[x.DataSet]
		if d != nil && d.Kind == PointImage && strings.HasPrefix(h.Host.OS, "windows") {
			owe(DebtTrust, "See that the host's trust with its domain holds: its machine password may be older than the domain's.")
		}
	}
	if swapped && h.Host.Data == DataReplica {
		owe(DebtReplication, "See that replication with its peers runs and has caught up: the host holds older data than they do.")
	}
	return debts
}

// applyRestoreEnd folds what a restore has shown.
func (s *State) applyRestoreEnd(a *Attempt, r Result, at time.Time) {
	s.found(r)
	if r.Class != Succeeded {
		return
	}
	var bytes int64
	from := readFrom(a.Restores)
	for _, x := range r.Sets {
		bytes += x.Bytes
	}
	if len(from) == 1 {
		s.learned.transferred(from[0], bytes, s.clock(at).Sub(s.clock(a.Started)))
	}
}

// Found lists what the incident's own restores have shown of points: the catalog of backups wants to know too.
func (s *State) Found() []RestorePoint {
	var list []RestorePoint
	for _, h := range s.order {
		for _, a := range h.Attempts {
			for _, x := range a.Result.Sets {
				if p, ok := s.Points.Find(PointRef{x.DataSet, x.Repository, x.Point}); ok && len(x.Checks) > 0 {
					list = append(list, p)
				}
			}
		}
	}
	return list
}
