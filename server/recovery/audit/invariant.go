package audit

import "slices"

// Invariant is one promise, with the field truth or rule of the design that it comes from.
type Invariant struct{ Name, Promise, Source string }

// Invariants lists all that the auditor checks, in a fixed order.
func Invariants() []Invariant { return slices.Clone(invariants) }

// The names of the invariants.
const (
	sequence       = "sequence"
	closedForGood  = "closed-for-good"
	scopeEvidence  = "scope-evidence"
	wholePlan      = "whole-plan"
	approvalFirst  = "approval-first"
	pauseStops     = "pause-stops"
	abortStops     = "abort-stops"
	legalMove      = "legal-move"
	oneAttempt     = "one-attempt-at-a-time"
	attemptNumbers = "attempt-numbers"
	endsOnce       = "ends-once"
	lateIsNothing  = "late-changes-nothing"
	waveOrder      = "wave-order"
	waveNumbers    = "wave-numbers"
	waveFirst      = "wave-open-first"
	waveGate       = "wave-gate"
	gateSoak       = "gate-soak"
	heldWave       = "held-wave"
	overLimit      = "over-limit"
	canaryFirst    = "canary-first"
	rampLimit      = "ramp"
	groupAtOnce    = "group-at-once"
	groupDown      = "group-down-together"
	slotsHold      = "resource-slots"
	needsFirst     = "dependencies-first"
	oneOwner       = "one-owner"
	noReboot       = "reboot-forbidden"
	ladderOrder    = "ladder-order"
	attemptCap     = "attempt-cap"
	triesPerRung   = "tries-per-rung"
	backoffHolds   = "backoff"
	classDecides   = "class-decides"
	personLooks    = "a-person-looks"
	stepsForward   = "steps-forward"
	rescueOnce     = "rescue-once"
	bootTarget     = "boot-target"
	proofComplete  = "proof-complete"
	proofRestart   = "proof-after-restart"
	proofAnswer    = "proof-answers"
	soakHeld       = "soak-held"
	debtsRecorded  = "debts-recorded"
	revisitNamed   = "revisit-named"
	relapseCap     = "relapse-cap"
	fatesTold      = "abort-fates"
	closeWhole     = "close-whole"
	honestOutcome  = "honest-outcome"
	accountedFor   = "accounted-for"
	restoreTold    = "restore-is-told"
	knownGood      = "last-known-good"
	restoreConsent = "restore-consent"
	repairFirst    = "repair-first"
	checksAwaited  = "checks-awaited"
	restoreCancel  = "restore-cancel"
	swapOwed       = "swap-is-owed"
	neverTogether  = "never-together"
)

var invariants = []Invariant{
	{sequence, "entries are numbered 1, 2, 3 … without a gap, the first declares the incident, and each is about what was declared", "design 3.1: the journal is the truth"},
	{closedForGood, "nothing follows the close but debts that are cleared", "doc of IncidentClosed"},
	{scopeEvidence, "every host is classified once, and only positive evidence leaves one out", "field truths 1 and 5"},
	{wholePlan, "every planned host stands in exactly one wave, that of its tier; the others are excluded by name", "field truth 9"},
	{approvalFirst, "nothing opens or starts before a person has approved the plan, and that very plan", "field truth 11"},
	{pauseStops, "while the incident is paused nothing starts, and no wave opens, passes or is held", "design 3.3: pause freezes every clock"},
	{abortStops, "after an abort nothing starts and nothing is put back to work", "design 3.3: abort"},
	{legalMove, "hosts move only as the table of legal moves says", "doc of server/recovery: legal moves of a host"},
	{oneAttempt, "a host has at most one attempt under way", "rule: exactly one attempt at a time, once"},
	{attemptNumbers, "attempts are named HOST/n, and n counts up by one", "rule: exactly one attempt at a time, once"},
	{endsOnce, "only the attempt under way ends, and it ends once", "rule: exactly one attempt at a time, once"},
	{lateIsNothing, "a late result is recorded once, of an attempt that is over, and changes nothing", "rule: exactly one attempt at a time, once"},
	{waveOrder, "a wave opens once, after the one before has passed, and been approved where the policy wants it, or a person opens it", "design 3.3: waves and gates"},
	{waveNumbers, "a wave's size is that of its hosts, its share is rounded up, its limits are rounded down", "design 3.3: waves and gates"},
	{waveFirst, "no attempt starts in a wave that is not open, unless a person lifted the host's holds", "design 3.3: waves and gates"},
	{waveGate, "a wave passes with its share recovered, its critical hosts too and no limit exceeded, or a person waived it", "design 3.3: waves and gates"},
	{gateSoak, "the share of a wave has held through the gate's soak, on the incident clock, before it passes", "design 3.3: waves and gates"},
	{heldWave, "no attempt starts in a held wave, unless it is held below its share or a person lifted the host's holds", "design 3.3: waves and gates"},
	{overLimit, "no attempt starts in a wave, or an incident, in which more hosts fail than its limits allow, or too many alike", "field truth 10"},
	{canaryFirst, "until one host of a wave and OS is recovered with the playbook, or by a restore, one at most is tried so", "field truth 10"},
	{rampLimit, "no more hosts of a wave and OS are unproven than are proven and one more, or than the wave's limit in flight", "field truth 10"},
	{groupAtOnce, "no more members of a group are worked on, and not proven, than it allows", "field truth 9"},
	{groupDown, "a member that is up is not worked on while as many others are down as the group allows (needs Hear)", "field truth 9"},
	{slotsHold, "no resource, backup repositories included, carries more attempts than it has slots; a rung's own resources are held until the host is proven", "field truth 10"},
	{needsFirst, "no attempt starts before the services are up that the host's service needs, unless a person lifted that", "field truth 9"},
	{oneOwner, "a host that a person has claimed is left to that person, and nobody claims what the engine works on", "field truth 12"},
	{noReboot, "where the playbook forbids a restart no rung, step or result restarts a host", "field truth 2"},
	{ladderOrder, "an attempt takes the rung that was decided, one that can be used, and the ladder is climbed one usable rung at a time; only a stateless host chooses between repair and restore, before anything was tried", "field truth 3"},
	{attemptCap, "no host has more attempts than the cap, counted from when a person or a relapse gave it a new chance", "field truth 7"},
	{triesPerRung, "a rung is tried no more often than the policy says, but for waits on the last one, and restores from another point", "design 3.2: retry policy is per class"},
	{backoffHolds, "unreachable and timed-out are followed by a pause that doubles, and no attempt starts in it", "design 3.2: retry policy is per class"},
	{classDecides, "what follows from a result is what its class allows: a claim to verification, a failure to another try or a person", "design 3.2: the result of an attempt is a class"},
	{personLooks, "after host-key-mismatch, auth-refused or locked a host goes to a person", "design 3.2: never retry by themselves"},
	{stepsForward, "steps are taken by the attempt under way, on a rung from outside, and only forward", "architecture: into a host that does not boot"},
	{rescueOnce, "the rescue system is served once per attempt, only while that waits for it", "architecture: into a host that does not boot"},
	{bootTarget, "from its step on the boot target is a debt, and a person's word clears it only after a try of the engine has failed", "architecture: into a host that does not boot"},
	{proofComplete, "a proof is a connected host in its own system with good content, none that is bad, all checks passed and its own boot target", "rule: proof"},
	{proofRestart, "where the playbook wants a restart, the boot of a proof is none in which we changed the host", "rule: proof"},
	{proofAnswer, "a proof answers a question asked after the last attempt, and a new one after a relapse or a soak", "rule: proof"},
	{soakHeld, "a host is recovered only out of a proof that has held through the whole soak on the incident clock", "rule: proof"},
	{debtsRecorded, "every debt that the work on a host leaves stands in its record when it is recovered", "field truth 6"},
	{revisitNamed, "a new version of the playbook names the recovered hosts that another touched or proved, and a visit is their debt", "field truth 11"},
	{relapseCap, "a host that relapses too often goes to a person", "field truth 7"},
	{fatesTold, "an abort says for every host in the work what becomes of it", "design 3.3: abort"},
	{closeWhole, "an incident closes with no debt open, no host on the hands board and nothing in flight; an aborted one with nothing in flight", "field truth 6"},
	{honestOutcome, "skips, accepted failures, overrides and gates that were not passed make it closed-with-exceptions, and each is named", "design 3.3: never plain closed"},
	{accountedFor, "at the end every planned host is recovered, skipped, or named by the abort", "field truth 1"},
	{restoreTold, "an attempt on a rung that restores, and no other, names the agent that does it and one point for each data set of the rung", "design 3.4: repair or restore"},
	{knownGood, "a restore goes back to the newest data that the journal knows to be there, from before the cutoff, in no quarantine, condemned by no check, and verified as far as is asked", "field truth 8"},
	{restoreConsent, "primary data, and more than the RPO of any data that can be lost, is restored only as a person has approved: these points, and no greater loss", "design 3.4: method"},
	{repairFirst, "primary data is restored only when every rung above that can be used was tried", "design 3.4: method"},
	{checksAwaited, "a host that lacks nothing to be restored but points that are being verified waits for them, and not on the hands board", "field truth 8"},
	{restoreCancel, "only a person lets go of an attempt, with a reason, and only of a restore; what comes next is for a person, too", "design 3.4: restore"},
	{swapOwed, "what a restore has swapped in leaves the old copy and what is to be entered again as debts, and its host, when it fails after that, goes to a person", "field truths 6 and 8"},
	{neverTogether, "after a restore of which nobody knows how far it came no other attempt follows before a person has looked: an agent may still be at it", "design 3.4: repair and restore never run on one host together"},
}
