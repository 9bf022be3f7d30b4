package recovery

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"time"
)

// What is taken for granted where neither the fleet file nor this incident says how long something takes.
const (
	repairEstimate  = 10 * time.Minute
	handsEstimate   = 45 * time.Minute
	restoreEstimate = 30 * time.Minute // where size or bandwidth are unknown
)

// lanes tell when work would be done if it began now: repairs on so many slots at once, restores through the bandwidth that the
// restores of a repository share. Whoever is booked stands before all that come later.
type lanes struct {
	stock    *stock
	learned  *learned
	slots    slotTimes // when each slot for repairs is free
	restores map[string]*pipe
}

// pipe is one repository, as wide as its bandwidth.
type pipe struct {
	rate   float64   // bytes per second, all its restores together; 0: unknown
	slots  int       // restores at once
	sizes  []int64   // of what is booked, in order
	total  int64     // of sizes
	booked slotTimes // where the rate is unknown: when each slot is free
}

// quote is what one way of making a host well would cost in time.
type quote struct {
	queue time.Duration // before it can start
	takes time.Duration // from its start to the proof
}

func (q quote) done() time.Duration { return q.queue + q.takes }

func newLanes(k *stock, l *learned, slots int) *lanes {
	return &lanes{stock: k, learned: l, slots: make(slotTimes, max(slots, 1)), restores: map[string]*pipe{}}
}

func (l *lanes) pipe(repository string) *pipe {
	n := l.restores[repository]
	if n == nil {
		n = &pipe{slots: 1, rate: l.learned.rate(l.stock.repositories[repository])}
		if r := l.stock.repositories[repository]; r != nil {
			n.slots = max(r.Slots, 1)
		}
		n.booked = make(slotTimes, n.slots)
		l.restores[repository] = n
	}
	return n
}

// repair quotes a rung that is no restore.
func (l *lanes) repair(r *Rung) quote { return quote{l.slots[0], l.repairTime(r)} }

func (l *lanes) repairTime(r *Rung) time.Duration {
	estimate := r.Estimate
	switch {
	case r.Kind == RungHands:
		return or(estimate, handsEstimate)
	case estimate == 0:
		estimate = repairEstimate
	}
	return l.learned.correct(r.Kind, estimate)
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func (l *lanes) bookRepair(r *Rung) {
	l.slots.add(l.repairTime(r))
}

// restore quotes an offer: its data sets one after the other, each when those before it have been through its repository.
func (l *lanes) restore(o *Offer, r *Rung) quote {
	var q quote
	for _, x := range o.Restores {
		part := l.pipe(x.Point.Repository).quote(x.Size, r)
		q.queue = max(q.queue, part.queue)
		q.takes += part.takes
	}
	q.takes += l.after(r, o)
	return q
}

// after is what a restore takes besides moving data: its rung's estimate, where the transfer is reckoned by itself.
func (l *lanes) after(r *Rung, o *Offer) time.Duration {
	for _, x := range o.Restores {
		if l.pipe(x.Point.Repository).rate == 0 || x.Size == 0 {
			return 0 // the rung's estimate stands for the whole
		}
	}
	return l.learned.correct(RungRestore, r.Estimate)
}

func (l *lanes) bookRestore(o *Offer, r *Rung) {
	for _, x := range o.Restores {
		l.pipe(x.Point.Repository).book(x.Size, r)
	}
}

func (n *pipe) quote(size int64, r *Rung) quote {
	if n.rate == 0 || size == 0 {
		return quote{n.booked[0], or(r.Estimate, restoreEstimate)}
	}
	queue := n.seconds(n.total - n.running())
	return quote{queue, n.seconds(n.total+size) - queue}
}

// running is how much of what is booked the slots work on while the next one waits: the last slots-1.
func (n *pipe) running() (sum int64) {
	for _, size := range n.sizes[max(0, len(n.sizes)-n.slots+1):] {
		sum += size
	}
	return sum
}

func (n *pipe) book(size int64, r *Rung) {
	if n.rate == 0 || size == 0 {
		n.booked.add(or(r.Estimate, restoreEstimate))
		return
	}
	n.sizes = append(n.sizes, size)
	n.total += size
}

// bookLeft books what is left of a restore that has run for some time at its share of the rate.
func (n *pipe) bookLeft(size int64, gone time.Duration, r *Rung) {
	if n.rate == 0 || size == 0 {
		if left := or(r.Estimate, restoreEstimate) - gone; left > 0 {
			n.booked.add(left)
		}
		return
	}
	if left := size - int64(gone.Seconds()*n.rate/float64(n.slots)); left > 0 {
		n.book(left, r)
	}
}

func (n *pipe) seconds(bytes int64) time.Duration {
	return time.Duration(min(float64(bytes)/n.rate, 1e8) * float64(time.Second))
}

// slotTimes is a heap of the times at which slots are free.
type slotTimes []time.Duration

// add makes the slot that is free first busy for so much longer.
func (s *slotTimes) add(d time.Duration) {
	(*s)[0] += d
	heap.Fix(s, 0)
}

func (s slotTimes) Len() int           { return len(s) }
func (s slotTimes) Less(i, j int) bool { return s[i] < s[j] }
func (s slotTimes) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *slotTimes) Push(x any)        { *s = append(*s, x.(time.Duration)) } //nolint:forcetypeassert // heap.Interface: only durations are pushed
func (s *slotTimes) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// learned corrects estimates by what this incident has shown.
type learned struct {
	kinds map[string]*experience // by kind of rung: from attempt (of a restore: from its end) to proof
	moved map[string]*experience // by repository: bytes in took
}

type experience struct {
	n        int
	expected time.Duration
	took     time.Duration
	bytes    int64
}

const leastExperience = 2 // cases, before they are believed

func newLearned() *learned {
	return &learned{kinds: map[string]*experience{}, moved: map[string]*experience{}}
}

func experienceOf(m map[string]*experience, key string) *experience {
	e := m[key]
	if e == nil {
		e = &experience{}
		m[key] = e
	}
	return e
}

// proven takes how long it took to a proof against what was expected.
func (l *learned) proven(kind string, expected, took time.Duration) {
	if took > 0 && expected > 0 {
		e := experienceOf(l.kinds, kind)
		e.n, e.expected, e.took = e.n+1, e.expected+expected, e.took+took
	}
}

// transferred takes how long a restore has moved bytes out of a repository.
func (l *learned) transferred(repository string, bytes int64, took time.Duration) {
	if bytes > 0 && took > 0 {
		e := experienceOf(l.moved, repository)
		e.n, e.bytes, e.took = e.n+1, e.bytes+bytes, e.took+took
	}
}

// correct is an estimate in the light of this incident, within a factor of ten.
func (l *learned) correct(kind string, estimate time.Duration) time.Duration {
	if l == nil {
		return estimate
	}
	e := l.kinds[kind]
	if e == nil || e.n < leastExperience || e.expected <= 0 {
		return estimate
	}
	factor := min(max(float64(e.took)/float64(e.expected), 0.1), 10)
	return time.Duration(float64(estimate) * factor).Round(time.Second)
}

// rate is what a repository delivers in all: what its restores have shown, each by itself, times its slots, and no more than the fleet file
// says that it has. 0: unknown.
func (l *learned) rate(r *Repository) float64 {
	if r == nil {
		return 0
	}
	declared := float64(r.Bandwidth)
	if l == nil {
		return declared
	}
	e := l.moved[r.Name]
	if e == nil || e.n < leastExperience {
		return declared
	}
	shown := float64(e.bytes) / e.took.Seconds() * float64(max(r.Slots, 1))
	if declared > 0 {
		return min(shown, declared)
	}
	return shown
}

// weighing is a choice between repair and restore.
type weighing struct {
	rung   int // index; -1: people
	method Method
	quote  quote
	other  *quote // by the method that was not chosen, where both were possible
	offer  *Offer // of the restore, chosen or not; nil: there is no rung for it
	closed string // why it cannot be restored, where a rung says that it could
}

// weigh chooses how a host is made well. A stateless host takes the quicker way; every other is repaired first, and restored only when
// no way above is left.
func (t terms) weigh(h *Host, l *lanes) weighing {
	w := weighing{rung: t.nextRepair(h), method: MethodRepair}
	if w.rung >= 0 {
		w.quote = l.repair(&h.Ladder[w.rung])
	}
	at := restoreRung(h)
	if at >= 0 {
		offer, problem := t.stock.offer(h, &h.Ladder[at])
		w.offer, w.closed = &offer, problem
		w.closed = firstOf(w.closed, t.problem(h, &h.Ladder[at]))
		if w.closed == "" && w.rung >= 0 && t.reaches != nil && !t.reaches(w.offer.Runner) {
			w.closed = "the agent of " + w.offer.Runner + " is not connected"
		}
	}
	switch {
	case at < 0 || w.closed != "":
		if w.rung < 0 {
			return t.byHand(h, w, l)
		}
		return w
	case w.rung < 0:
		w.rung, w.method, w.quote = at, MethodRestore, l.restore(w.offer, &h.Ladder[at])
		return w
	case h.Data != DataNone:
		return w
	}
	restore, repair := l.restore(w.offer, &h.Ladder[at]), w.quote
	if restore.done() < repair.done() {
		w.rung, w.method, w.quote, w.other = at, MethodRestore, restore, &repair
	} else {
		w.other = &restore
	}
	return w
}

func (t terms) byHand(h *Host, w weighing, l *lanes) weighing {
	w.method, w.quote.takes = MethodHands, handsEstimate
	if n := len(h.Ladder); n > 0 && h.Ladder[n-1].Kind == RungHands {
		w.quote.takes = l.repairTime(&h.Ladder[n-1])
	}
	return w
}

// nextRepair is the first usable rung that is no restore, or -1.
func (t terms) nextRepair(h *Host) int {
	for i := range h.Ladder {
		if h.Ladder[i].Kind != RungRestore && t.problem(h, &h.Ladder[i]) == "" {
			return i
		}
	}
	return -1
}

// why tells what the choice rested on.
func (w weighing) why(h *Host) string {
	switch {
	case w.method == MethodRestore && w.other != nil:
		return fmt.Sprintf("restore from %s: it is stateless, and back sooner, after %s against %s by repair", refsText(w.offer.Points()), w.quote.text(), w.other.text())
	case w.method == MethodRestore:
		return fmt.Sprintf("restore from %s: no way to repair it can be used", refsText(w.offer.Points()))
	case h.Data == DataPrimary:
		return "repair in place: it holds primary data"
	case h.Data == DataReplica:
		return "repair first: it can be rebuilt from a peer if that fails"
	case w.other != nil:
		return fmt.Sprintf("repair: it is stateless, and back no later, after %s against %s by restore", w.quote.text(), w.other.text())
	case w.closed != "":
		return "repair: it is stateless, and cannot be restored"
	}
	return "repair: it is stateless; no restore point is known"
}

// otherwise tells what would change the choice, or "".
func (w weighing) otherwise(h *Host) string {
	switch {
	case w.method == MethodHands && w.closed != "":
		return "restore, if it could be: " + w.closed
	case w.closed != "":
		return "restore is out of the question: " + w.closed
	case w.other != nil && w.method == MethodRestore:
		return fmt.Sprintf("repair, if that took less than %s in all", brief(w.quote.done()))
	case w.other != nil:
		return fmt.Sprintf("restore from %s, if that took less than %s in all", refsText(w.offer.Points()), brief(w.quote.done()))
	case w.method == MethodRestore:
		return "repair, if a rung of its ladder could be used"
	case w.offer != nil:
		return fmt.Sprintf("restore from %s when every way above has failed%s", refsText(w.offer.Points()), note(w.offer.Approval))
	}
	return ""
}

// book makes whoever comes later wait for this host.
func (l *lanes) book(h *Host, w weighing) {
	switch w.method {
	case MethodRepair:
		l.bookRepair(&h.Ladder[w.rung])
	case MethodRestore:
		l.bookRestore(w.offer, &h.Ladder[w.rung])
	}
}

func (q quote) text() string {
	if q.queue < time.Minute {
		return brief(q.takes)
	}
	return fmt.Sprintf("%s (%s of them waiting)", brief(q.done()), brief(q.queue))
}

// brief rounds a duration to what an estimate is worth.
func brief(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 10*time.Hour:
		h, m := int(math.Round(d.Minutes()))/60, int(math.Round(d.Minutes()))%60
		switch {
		case h == 0:
			return fmt.Sprintf("%d min", m)
		case m == 0:
			return fmt.Sprintf("%d h", h)
		}
		return fmt.Sprintf("%d h %d min", h, m)
	}
	return fmt.Sprintf("%d h", int(math.Round(d.Hours())))
}

// fairly orders hosts of a wave as their turns would come: each time the council with the fewest hosts so far, in it the order given.
func fairly[H any](hosts []H, council func(H) string) []H {
	var names []string
	queues := map[string][]H{}
	for _, h := range hosts {
		c := council(h)
		if queues[c] == nil {
			names = append(names, c)
		}
		queues[c] = append(queues[c], h)
	}
	if len(names) < 2 {
		return hosts
	}
	list := make([]H, 0, len(hosts))
	for round := 0; len(list) < len(hosts); round++ {
		for _, c := range names {
			if round < len(queues[c]) {
				list = append(list, queues[c][round])
			}
		}
	}
	return slices.Clip(list)
}
