package recovery

// move is one line of the table of legal phase moves: an event takes a host from one phase to another.
type move struct {
	from  Phase
	event string
	to    []Phase
	when  string
}

// moves is the one table of legal phase moves. What is not in it never happens: the tests hold every event that is ever
// applied against it, and it is printed in the package comment.
var moves = []move{
	{NotHit, "host-returned", []Phase{Waiting}, "it was left alone and now reports bad content"},
	{Waiting, "attempt-started", []Phase{Attempting}, "nothing holds it"},
	{Waiting, "host-proven", []Phase{Verifying}, "it healed by itself, or its proof came late; it soaks like any other"},
	{Waiting, "hands-finished", []Phase{Verifying}, "a person was quicker"},
	{Waiting, "host-needs-hands", []Phase{NeedsHands}, "no rung leads to it"},
	{Waiting, "host-skipped", []Phase{Skipped}, "a person took it out"},
	{Waiting, "host-returned", []Phase{Waiting}, "a person wants another rung, or no backoff"},
	{Attempting, "attempt-ended", []Phase{Verifying, Waiting, NeedsHands}, "by the class of the result"},
	{Verifying, "host-proven", []Phase{Verifying}, "the soak begins, or begins again after a restart"},
	{Verifying, "host-recovered", []Phase{Recovered}, "the proof held through the soak"},
	{Verifying, "proof-failed", []Phase{Waiting, NeedsHands}, "no proof in time: next try, next rung or a person"},
	{Verifying, "host-relapsed", []Phase{Waiting, NeedsHands}, "proven, and ill again in the soak"},
	{Recovered, "host-relapsed", []Phase{Waiting, NeedsHands}, "ill or silent again; too often, and a person looks"},
	{NeedsHands, "hands-finished", []Phase{Verifying}, "a person says that the work is done"},
	{NeedsHands, "host-proven", []Phase{Verifying}, "it came back without being told of"},
	{NeedsHands, "host-returned", []Phase{Waiting}, "a person wants another automatic try"},
	{NeedsHands, "host-skipped", []Phase{Skipped}, "a person took it out"},
	{Skipped, "host-returned", []Phase{Waiting}, "a person put it back"},
}
