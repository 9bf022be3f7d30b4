//go:build mutants

package sim

// mutant is one deliberate fault: a text of a file that is replaced, and the promises that may kill it.
type mutant struct {
	name, file, fault string
	old, new          string
	killers           []string
}

// Files that mutants stand in.
const (
	inAttempt  = "server/recovery/attempt.go"
	inApply    = "server/recovery/applyhost.go"
	inBoot     = "server/recovery/boot.go"
	inDecide   = "server/recovery/decide.go"
	inEngine   = "server/engine/engine.go"
	inGate     = "server/recovery/gate.go"
	inKeeper   = "server/engine/timekeeper.go"
	inProof    = "server/recovery/proof.go"
	inSchedule = "server/recovery/schedule.go"
	inScope    = "server/recovery/scope.go"
	inState    = "server/recovery/fold.go"
	inSurvey   = "server/recovery/survey.go"
	inTerms    = "server/recovery/terms.go"
	inPoints   = "server/recovery/points.go"
	inStock    = "server/recovery/stock.go"
	inRestore  = "server/recovery/restore.go"
	inMethod   = "server/recovery/method.go"
	inChoose   = "server/recovery/choose.go"
	inHost     = "server/recovery/host.go"
	inPeople   = "server/recovery/people.go"
	inTick     = "server/recovery/tick.go"
	inUsage    = "server/recovery/usage.go"
	inWhy      = "server/recovery/why.go"
	inJobs     = "server/recovery/work.go"
	inWork     = "server/engine/work.go"
)

var mutants = []mutant{
	{"drops-the-fsync", "server/sim/disk.go", "an append returns before the disk has it", "	d.sync()\n	return nil", "	return nil", []string{"intent-before-act"}},
	{"goes-on-after-a-failed-append", inEngine, "the disk refuses and memory runs ahead", "		e.failed = err\n		return fmt.Errorf", "		return nil\n		return fmt.Errorf", []string{"intent-before-act", "replay-equals-live", "no-error"}},
	{"applies-before-it-appends", inEngine, "the state has what the disk refuses", "	if err := e.append(id, entries); err != nil {\n		return nil, err\n	}\n	for _, entry := range entries {\n		s.Apply(entry)\n	}",
		"	for _, entry := range entries {\n		s.Apply(entry)\n	}\n	s.Seq -= uint64(len(entries))\n	if err := e.append(id, entries); err != nil {\n		e.failed = nil\n		return nil, err\n	}\n	s.Seq += uint64(len(entries))", []string{"intent-before-act", "replay-equals-live", "no-error", "journal-opens"}},
	{"decides-by-writing", inSchedule, "a decision changes the state that it reads", "	r.unproven++\n	for _, g := range h.Host.Groups {\n		sv.group[g]++", "	r.unproven++\n	h.tries++\n	for _, g := range h.Host.Groups {\n		sv.group[g]++", []string{"replay-equals-live", "tries-per-rung"}},
	{"accepts-stale-results", inAttempt, "any result ends the attempt under way", "	if a := h.attempt(); a != nil && a.ID == in.Job && h.Phase == Attempting {", "	if a := h.attempt(); a != nil && h.Phase == Attempting {", []string{"stale-changes-nothing", "ends-once", "attempt-numbers"}},
	{"late-results-count", inApply, "a late result moves its host", "		a.late = true\n", "		a.late = true\n		h.move(NeedsHands, v.Reason, at)\n", []string{"stale-changes-nothing", "legal-move"}},
	{"unreachable-is-success", inAttempt, "a host that was not reached counts as repaired", "	switch r.Class {\n	case Succeeded:", "	if r.Class == Unreachable {\n		verify(\"counts as done\")\n		return e\n	}\n	switch r.Class {\n	case Succeeded:", []string{"class-decides"}},
	{"exit-0-is-proof", inProof, "the answer to the request proves, whatever it says", "	if v.BootMode != \"\" && v.BootMode != BootNormal {", "	if true {\n		return \"\"\n	}\n	if v.BootMode != \"\" && v.BootMode != BootNormal {", []string{"recovered-is-well", "proof-complete"}},
	{"any-boot-proves", inProof, "no other boot id is asked for", "	case slices.Contains(h.changed.boots, v.BootID):\n		return \"it has not", "	case false:\n		return \"it has not", []string{"proof-after-restart", "recovered-is-well"}},
	{"a-failed-script-leaves-no-trace", inApply, "no restart is asked for after a script that was stopped in mid-run", "		case ran(v.Result):", "		case false:", []string{"proof-after-restart", "stale-changes-nothing"}},
	{"old-answers-prove", inProof, "facts that were asked for earlier prove too", "	if h.askAt(s.soakOver(h, now)) != v.Answers {", "	if false {", []string{"proof-answers", "recovered-is-well"}},
	{"sick-hosts-are-well", inProof, "health checks do not count", "	if ok, check := v.healthy(); !ok {", "	if ok, check := v.healthy(); !ok && false {", []string{"recovered-is-well", "proof-complete"}},
	{"no-soak", inState, "the soak is over at once", "	return h.Phase == Verifying && !h.ProvenAt.IsZero() && !s.clock(now).Before(h.soakUntil)", "	return h.Phase == Verifying && !h.ProvenAt.IsZero()", []string{"soak-held"}},
	{"clocks-run-while-paused", inState, "a pause does not stop the clocks", "	if !s.PausedAt.IsZero() && at.After(s.PausedAt) {\n		at = s.PausedAt\n	}\n	var frozen", "	var frozen", []string{"soak-held", "clock-stands-still", "proof-answers"}},
	{"clocks-run-while-down", inEngine, "the time in which no coordinator ran counts", "	_, err := e.Take(\"engine\", recovery.Restarted{Alive: e.alive}, now)\n	return err\n}\n\n// Take", "	return nil\n}\n\n// Take", []string{"restart-is-told", "silence-is-not-relapse", "clock-stands-still"}},
	{"leaps-count", inEngine, "a leap of the machine's clock counts", "	if !e.Open() {\n		return nil\n	}\n	_, err := e.Take(\"engine\", recovery.Restarted{Alive: now.Add(-by)", "	if e.Open() {\n		return nil\n	}\n	_, err := e.Take(\"engine\", recovery.Restarted{Alive: now.Add(-by)", []string{"clock-stands-still", "silence-is-not-relapse"}},
	{"time-goes-back", inKeeper, "a clock that was set back is believed", "			k.offset -= drift", "			k.now = wall", []string{"clock-stands-still", "time-goes-on"}},
	{"works-while-paused", inWhy, "attempts start in a paused incident", "	case !s.PausedAt.IsZero():\n		return Reason{WaitPaused", "	case false:\n		return Reason{WaitPaused", []string{"pause-stops", "waits-for-a-true-reason"}},
	{"floor-in-the-gate", inSurvey, "the share is rounded down", "(n*percent + 99) / 100", "n * percent / 100", []string{"wave-numbers", "wave-gate"}},
	{"opens-without-a-gate", inGate, "the next wave opens at once", "	if before.PassedAt.IsZero() {", "	if false {", []string{"wave-order"}},
	{"critical-hosts-do-not-matter", inGate, "a gate does not wait for critical hosts", "CriticalUnrecovered: t.critical,", "", []string{"wave-gate", "wave-numbers"}},
	{"below-share-hides-limits", inGate, "a wave that is held for its share has no other limits", "	if w.OpenedAt.IsZero() || w.HeldBy != \"\" && w.HeldBy != BreakerBelowShare {", "	if w.OpenedAt.IsZero() || w.HeldBy != \"\" {", []string{"over-limit"}},
	{"held-waves-go-on", inWhy, "a held wave starts attempts", "{ return w.HeldBy != \"\" && w.HeldBy != BreakerBelowShare }", "{ return false }", []string{"held-wave", "over-limit"}},
	{"no-canary", inWhy, "nobody goes first", "	if r.recovered == 0 && r.unproven+r.proven > 0 {", "	if false {", []string{"canary-first"}},
	{"no-ramp", inSurvey, "the ramp allows twice as many", "{ return r.proven + 1 }", "{ return 2*r.proven + 2 }", []string{"ramp"}},
	{"one-too-many-in-a-group", inUsage, "a group's limit is exceeded by one", "n >= max(1, g.MaxAtOnce)", "n > max(1, g.MaxAtOnce)", []string{"group-at-once"}},
	{"one-slot-too-many", inUsage, "a resource gives one slot more than it has", "if n, ok := u.slots[name]; ok && n <= 0 {", "if n, ok := u.slots[name]; ok && n < 0 {", []string{"resource-slots"}},
	{"slots-are-free-too-early", inSurvey, "a rung's resources are given back before the proof", "			sv.takeAll(rungResources(h.Host, h.lastRung()), 1)", "			_ = rungResources", []string{"resource-slots"}},
	{"forbidden-reboots", inTerms, "a rung that restarts is used although the playbook forbids it", "	case r.Restarts() && t.Reboot == RebootForbidden:", "	case false:", []string{"no-forbidden-reboot", "reboot-forbidden", "ladder-order"}},
	{"dependencies-do-not-matter", inWhy, "a host starts before what it needs", "			if !sv.up[need] {", "			if false {", []string{"dependencies-first"}},
	{"relapses-go-unnoticed", inProof, "a recovered host that reports bad content stays recovered", "	case Recovered:\n		if bad {", "	case Recovered:\n		if false {", []string{"relapse-is-noticed"}},
	{"no-cap", inAttempt, "a host is tried for ever", "len(h.Attempts)-h.base >= s.policy().MaxAttempts }", "false }", []string{"attempt-cap", "ends"}},
	{"no-backoff", inWhy, "an unreachable host is tried again at once", "	if clock.Before(h.nextAt) {", "	if false {", []string{"backoff"}},
	{"another-machine-is-retried", inAttempt, "a wrong host key is tried again without a person", "	case AuthRefused, HostKeyMismatch:\n		e.Next, e.Reason = NeedsHands", "	case AuthRefused, HostKeyMismatch:\n		e.Next, e.Reason = Waiting", []string{"a-person-looks", "class-decides"}},
	{"forgets-the-lease", inTick, "an attempt whose remedy never returns is never let go of", "!clock.Before(a.Deadline) {", "false {", []string{"ends"}},
	{"mass-silence-is-relapse", inTick, "many silent hosts are sent back to work", "	if quiet >= massSilenceFloor &&", "	if false &&", []string{"silence-is-not-relapse"}},
	{"owned-hosts-are-worked-on", inWhy, "the engine works on a host that a person has claimed", "	if owner := s.owner(h, now); owner != \"\" {", "	if owner := s.owner(h, now); false {", []string{"one-owner"}},
	{"serves-rescue-twice", inBoot, "the rescue system is given more than once for an attempt", "	case a.served:", "	case false:", []string{"rescue-once"}},
	{"steps-go-back", inBoot, "an attempt takes a step again that it has left", "	case to < from:", "	case false:", []string{"steps-forward", "one-power-cycle", "stale-changes-nothing"}},
	{"boot-targets-are-forgotten", inBoot, "a boot target is set and nobody owes it", "	if in.Step == StepBootTarget && !h.hasDebt(DebtBootTarget) {", "	if false {", []string{"rescue-is-a-debt", "boot-target"}},
	{"debts-do-not-matter", inDecide, "an incident closes over open debts", "	if debts > 0 {", "	if false {", []string{"close-whole"}},
	{"exceptions-are-hidden", inDecide, "an incident with skips and overrides is plainly closed", "	if len(exceptions) > 0 {", "	if false {", []string{"honest-outcome"}},
	{"forgets-what-it-resumed", inWork, "an attempt of an earlier life that is not reached was never started", "Start{job, e.resumed[key]})", "Start{job, false})", []string{"one-script-at-a-time", "recovered-is-well", "proof-after-restart"}},
	{"starts-jobs-twice", inWork, "a job that runs is started again", "		if e.jobs[key] == nil {", "		if true {", []string{"intent-before-act"}},
	{"attempts-change-their-version", inJobs, "an attempt that is taken up again runs the version that is in force now", "book := s.book(a.Playbook)", "book := s.Playbook", []string{"sent-as-recorded", "no-forbidden-reboot", "reboot-forbidden"}},
	{"jobs-outlive-their-lease", inJobs, "a job has twenty times the time that was recorded", "h.Host.Ladder[a.Rung], a.Timeout, a.Step", "h.Host.Ladder[a.Rung], 20 * a.Timeout, a.Step", []string{"sent-as-recorded"}},
	{"safe-mode-proves", inProof, "facts out of safe mode prove", "	if v.BootMode != \"\" && v.BootMode != BootNormal {", "	if false {", []string{"proof-complete", "recovered-is-well"}},
	{"cancels-nothing", inWork, "nobody is told to stop", "			o.Cancel = append(o.Cancel, key)", "			_ = key", []string{"told-to-stop"}},
	{"proofs-boast", inProof, "the reason of a proof calls every boot new", "	boot := \"boot id \" + v.BootID", "	boot := \"new boot id \" + v.BootID", []string{"proof-tells-what-it-saw"}},
	{"loses-hosts", inScope, "a host that was never heard of is taken for one that was never hit", "	if !seen {\n		return HostScope{Class: Unknown, Planned: true,", "	if !seen {\n		return HostScope{Class: Unknown,", []string{"accounted", "declares", "scope-evidence"}},
	{"restores-what-nobody-verified", inPoints, "how far a point was verified does not matter", "	case p.Level() < need:", "	case false:", []string{"last-known-good", "ladder-order", "bad-is-not-restored"}},
	{"restores-out-of-quarantine", inPoints, "a quarantine keeps nothing from being restored", "q.active() && !q.From.After(moment) {", "q.active() && false {", []string{"last-known-good", "ladder-order", "bad-is-not-restored"}},
	{"restores-what-is-gone", inPoints, "a point that its repository no longer has is gone back to", "	case p.Gone:", "	case false:", []string{"last-known-good", "ladder-order"}},
	{"restores-what-came-after-the-cutoff", inStock, "points from after the bad content came in are good enough", "k.Points.Best(d, need, k.Cutoff)", "k.Points.Best(d, need, time.Time{})", []string{"last-known-good", "ladder-order"}},
	{"primary-data-is-nothing-special", inStock, "primary data is restored without a person's word", "	case h.Data == DataPrimary:\n		o.Approval", "	case false:\n		o.Approval", []string{"restore-consent", "waits-for-a-true-reason"}},
	{"losses-do-not-matter", inStock, "more than the RPO is lost without a person's word", "	case o.Loss > rpo:", "	case false:", []string{"restore-consent"}},
	{"a-consent-is-to-anything", inRestore, "a consent holds for other points, too", "slices.Equal(h.approved.points, o.Points()) && ", "", []string{"restore-consent"}},
	{"a-person-may-restore-first", inPeople, "a person has primary data restored that nobody tried to repair", "	if problem := s.restoreTooSoon(h, rung, v.Rung); problem != \"\" {", "	if problem := s.restoreTooSoon(h, rung, v.Rung); false {", []string{"repair-first"}},
	{"repositories-have-no-end", inUsage, "restores take no slot of the repository that they read", "	u.takeAll(reads, n)\n", "", []string{"resource-slots", "repository-slots"}},
	{"restores-have-no-canary", inHost, "a restore counts with the repairs of the playbook", "	if h.Rung < len(h.Host.Ladder) && h.Host.Ladder[h.Rung].Kind == RungRestore {", "	if false {", []string{"canary-first", "ramp"}},
	{"swaps-leave-nothing", inRestore, "the old copy is no debt", "	e.Debts = s.restoreDebts(h, a, r)\n", "", []string{"swap-is-owed", "nothing-is-lost"}},
	{"goes-on-after-a-failed-start", inRestore, "a host whose data was swapped, and does not start, is tried again", "	case swapped:\n", "	case false:\n", []string{"swap-is-owed"}},
	{"forgets-what-restores-find", inRestore, "a point that failed in a restore is restored again", "	s.found(r)\n	if r.Class", "	if r.Class", []string{"last-known-good", "bad-is-not-restored", "ladder-order"}},
	{"repairs-beside-a-lost-restore", inAttempt, "a repair follows a restore that may still be going on", "a.Method == MethodRestore && a.Result.Class == Lost {", "false {", []string{"never-together", "repair-or-restore"}},
	{"goes-on-after-a-cancel", inRestore, "a restore that a person has stopped begins again", "	case r.Class == Cancelled && a.Cancel != \"\":", "	case false:", []string{"restore-cancel"}},
	{"checks-less-than-was-recorded", inRestore, "an agent is asked for less than the journal says", "SeenAt: p.SeenAt}, Level: r.Level}", "SeenAt: p.SeenAt}, Level: L0}", []string{"sent-as-recorded"}},
	{"chooses-against-a-person", inChoose, "the engine takes another rung than a person has named", "&& !h.named ", "", []string{"ladder-order"}},
	{"restores-replicas-at-once", inMethod, "data that can be rebuilt is restored before it is repaired", "	case h.Data != DataNone:\n		return w", "	case false:\n		return w", []string{"ladder-order", "restore-consent"}},
	{"does-not-wait-for-checks", inTick, "a host whose points are being verified is put before a person", " || s.awaited(h)", "", []string{"checks-awaited"}},
	{"waits-for-ever", inRestore, "a host waits for checks that have ended", "		s.stock.verifying = v.Verifying\n	}", "	}", []string{"waits-for-a-true-reason", "checks-awaited"}},
}
