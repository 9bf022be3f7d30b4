// Package recovery is the core of Blackstart: who is hurt, in what order they heal, and what is legal next. It is pure. It
// imports the standard library only and never reads a clock, a file, a socket or a random number: the same state, input and
// time always give the same facts.
//
// Three functions carry it. [Decide] judges an [Input] against a [State] and returns the [Event]s that follow, each with its
// reason. [State.Apply] folds an event into the state and decides nothing. [State.Work] lists the jobs that ought to be
// running. Whoever owns the state decides, writes to the journal, applies, and acts, in this order; after a crash it folds the
// journal and goes on.
//
// # Glossary
//
//   - After-action report: the account of an incident, told from its journal.
//   - Agent: the program on a host that phones home with its boot id, content and health.
//   - Attempt: one try on one rung of one host, named HOST/n. A host has at most one under way. Its lease ends it when no
//     result comes.
//   - Backoff: a pause before the next attempt that doubles from try to try.
//   - Bad content, good content: what a playbook's probes find on a host. Good and bad may share a name, so that only finding
//     good content says anything.
//   - Boot id: differs after every restart. The proof of a restart is another boot id.
//   - Boot target: what a host boots from next. While it may be the rescue system, that is a debt.
//   - Breaker: a limit that stops sending: too many failed or unreachable, too many alike (same signature), too many recovered
//     hosts silent at once (mass silence), too many in the whole incident; or a wave that is settled below its share.
//   - Canary: the first host of a wave and OS that a version of a playbook is tried on. The others wait until it is recovered.
//   - Claim: a person owns a host for a time; the engine leaves it alone.
//   - Control: what acts on a host from outside, on its power or its boot target.
//   - Council: who shares the estate. Scarce resources are shared fairly between councils.
//   - Critical: a host without which its service is down and its wave does not pass.
//   - Catalog of backups: what is known of restore points between incidents too; see the package catalog.
//   - Cutoff: when the bad content came in. A restore goes back behind it. When data was last verified is another time, and counts for itself.
//   - Data set: what is backed up and restored as one: a database, a folder, a host's image.
//   - Debt: something that a repair leaves behind, such as a disabled agent. No incident closes over an open one.
//   - Gate: what a wave must show before the next one opens: its share recovered, its critical hosts too, a soak, and a
//     person's word where the policy wants it.
//   - Group: hosts that protect each other, such as a pair. It limits how many are worked on, and down, at once.
//   - Helper: a machine that attaches another host's disk, so that the script can run there.
//   - Hands board: the hosts that need a person, with the reason.
//   - Incident clock: the time that deadlines, soaks and pauses between tries run on. It stands still while the incident is paused
//     and while no coordinator runs.
//   - Hold: a restore point that an open incident may need, kept from expiring.
//   - Invariant: a business rule that restored data must keep, such as a count that equals the count of distinct keys.
//   - Ladder, rung: the ways into a host, best first. The last is always a person.
//   - Last known good: the newest data from before the cutoff that is verified as far as its tier asks and not in quarantine.
//   - Last words: the newest sighting of a host that is silent now.
//   - MTD: maximum tolerable downtime of a service.
//   - Override: a person lifts one hold of one host, service or wave, with a reason that stands in the report.
//   - Playbook: what is known about one kind of harm: probes, scripts, whether a restart helps. A version is named by its digest.
//   - Proof: a host phones home with a boot id other than the one before the attempt (where the playbook wants a restart),
//     with no bad content, with good content, and healthy, in answer to a question asked after the attempt. A script's exit
//     status is only a claim.
//   - Quarantine: data that is suspect, from a moment on; points that hold it are not restored.
//   - Race: the rung that delivers a repair in the seconds in which a looping host is up.
//   - Ramp: how many hosts may be unproven together: 1, 2, 4 and so on as proofs come in.
//   - Recovered: proven, and the proof has held through the soak.
//   - Relapse: a proven or recovered host is bad or silent again. Too many relapses of one host go to a person.
//   - Rescue system: a small Linux that a host is booted into, so that its disk can be repaired from outside.
//   - Resource: something scarce with a number of slots: SSH, a site, a hypervisor, a backup repository.
//   - Restore point: a backup to go back to, chosen by how far it was verified and by when it was taken.
//   - Revision: another version of the incident's playbook, taken in its middle. Attempts under way end with the version that they began
//     with; every proof is asked for anew; who recovered under an older version is to be revisited.
//   - Restore helper: a host whose agent restores for others.
//   - RPO: recovery point objective, how much data a service may lose. RTO: recovery time objective, when it must be back.
//   - Run: one playbook or script on some hosts without an incident, each tried once; it proves nothing. Its state is [AdHoc].
//   - Settled: no automatic work is left.
//   - Share: how much of a wave must be recovered, fixed as a number of hosts when the wave opens.
//   - Sighting: the newest that was heard of a host. Sightings are not in the journal; events that rest on one carry a copy.
//   - Signature: groups failures that are alike.
//   - Soak: time that a proof, or a wave's share, must hold before it counts.
//   - Step: how far an attempt on a rung that is more than a login has come. It is recorded before it is taken.
//   - Tier: one step of the order of recovery. Wave: the hosts of one tier that take part in an incident.
//   - Verification level: how far a restore point was checked, L0 (it is listed) to L5 (a person looked).
//   - Work card: all that a person needs at the console of a host on the hands board.
//
// # Legal moves of a host
//
// From each phase, the event that may take it on, and the phases to which that leads:
//
//	not-hit      host-returned     waiting                             it was left alone and now reports bad content
//	waiting      attempt-started   attempting                          nothing holds it
//	waiting      host-proven       verifying                           it healed by itself, or its proof came late; it soaks like any other
//	waiting      hands-finished    verifying                           a person was quicker
//	waiting      host-needs-hands  needs-hands                         no rung leads to it
//	waiting      host-skipped      skipped                             a person took it out
//	waiting      host-returned     waiting                             a person wants another rung, or no backoff
//	attempting   attempt-ended     verifying, waiting, needs-hands     by the class of the result
//	verifying    host-proven       verifying                           the soak begins, or begins again after a restart
//	verifying    host-recovered    recovered                           the proof held through the soak
//	verifying    proof-failed      waiting, needs-hands                no proof in time: next try, next rung or a person
//	verifying    host-relapsed     waiting, needs-hands                proven, and ill again in the soak
//	recovered    host-relapsed     waiting, needs-hands                ill or silent again; too often, and a person looks
//	needs-hands  hands-finished    verifying                           a person says that the work is done
//	needs-hands  host-proven       verifying                           it came back without being told of
//	needs-hands  host-returned     waiting                             a person wants another automatic try
//	needs-hands  host-skipped      skipped                             a person took it out
//	skipped      host-returned     waiting                             a person put it back
package recovery
