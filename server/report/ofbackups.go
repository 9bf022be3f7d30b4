package report

import (
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func ofBackups(e recovery.Entry) string {
	by := who(e.Actor)
	switch v := e.Event.(type) {
	case *recovery.RestoreApproved:
		return fmt.Sprintf("%s: %s approved its restore from %s, with %s of data lost%s", part(v.Host), by, points(v.Points), minutes(v.Loss), because(v.Reason))
	case *recovery.AttemptCancelAsked:
		return fmt.Sprintf("%s: %s wants attempt %s to be let go of%s", part(v.Host), by, number(v.Attempt), because(v.Reason))
	case *recovery.PointsLearnt:
		return learnt(v)
	case *recovery.PointChecked:
		verdict := "passed"
		if !v.Check.OK {
			verdict = "failed"
		}
		return fmt.Sprintf("Restore point %s %s at %s (%s)%s", pointName(v.Point), verdict, v.Check.Level, part(v.Check.By), because(or(v.Reason, v.Check.Detail)))
	case *recovery.PointsQuarantined:
		return fmt.Sprintf("%s put %s into quarantine, with data from %s on%s", upper(or(part(v.By), by)), pointsOrAll(v.Point, v.DataSet), stamp(v.From), because(v.Reason))
	case *recovery.PointsReleased:
		return fmt.Sprintf("%s released %s from quarantine%s", upper(or(part(v.By), by)), pointsOrAll(v.Point, v.DataSet), because(v.Reason))
	case *recovery.PointsHeld:
		if v.Release {
			return fmt.Sprintf("%s need not be kept for incident %s any more%s", upper(plural(len(v.Points), "restore point")), part(v.Incident), because(v.Reason))
		}
		return fmt.Sprintf("%s must not expire while incident %s is open%s", upper(plural(len(v.Points), "restore point")), part(v.Incident), because(v.Reason))
	case *recovery.HoldPlaced:
		if v.Release {
			return fmt.Sprintf("The hold on %s was lifted%s", pointName(v.Point), because(v.Reason))
		}
		return fmt.Sprintf("%s is kept from expiring%s", upper(pointName(v.Point)), because(v.Reason))
	case *recovery.BackupJobStarted:
		return fmt.Sprintf("Job %s was given to the agent of %s%s", part(v.Job), part(v.Runner), because(v.Reason))
	case *recovery.BackupJobEnded:
		return fmt.Sprintf("Job %s ended: %s%s", part(v.Job), or(part(string(v.Result.Class)), "no class"), because(or(v.Reason, v.Result.Detail)))
	}
	return ""
}

// learnt tells of points, and of checks that hosts may wait for.
func learnt(v *recovery.PointsLearnt) string {
	text := "No check of restore points is on its way any more"
	switch {
	case len(v.Points) > 0:
		text = "More is known of " + plural(len(v.Points), "restore point")
		if n := len(v.Verifying); n > 0 {
			text += ", and those of " + plural(n, "data set") + " are being verified"
		}
	case len(v.Verifying) > 0:
		text = "The restore points of " + plural(len(v.Verifying), "data set") + " are being verified"
	}
	return text + because(v.Reason)
}

func pointName(r recovery.PointRef) string { return part(r.String()) }

func points(refs []recovery.PointRef) string {
	text := ""
	for i, r := range refs {
		if i == 5 {
			return text + fmt.Sprintf(" and %d more", len(refs)-i)
		}
		if i > 0 {
			text += ", "
		}
		text += pointName(r)
	}
	return or(text, "no point")
}

func pointsOrAll(ref *recovery.PointRef, dataSet string) string {
	if ref != nil {
		return "restore point " + pointName(*ref)
	}
	return "the restore points of " + part(dataSet)
}

func minutes(d time.Duration) string { return recovery.Minutes(d) }
