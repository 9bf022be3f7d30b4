// Package restore gives work on backups to the agents that do it, and waits for what comes of it. It decides nothing and keeps nothing
// on disk: the agent keeps a job's claim and result under its id, so a job that is asked for again, after a lost connection or a
// restart, is joined.
package restore

import (
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Order is what an agent is told.
type Order struct {
	Job  recovery.Job // of kind JobRestore, JobList, JobCheck or JobHold
	Stop bool         // let go of the job Job.ID instead
}

// Report is what an agent told of a job; with a Result it has ended.
type Report struct {
	Incident, Job string
	Progress      recovery.Progress
	Result        *recovery.Result
}
