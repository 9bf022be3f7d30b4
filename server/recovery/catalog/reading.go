package catalog

import (
	"fmt"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// reading is what checks at L1 have read of one restic repository. Such a check reads the repository, or part n of t of it, and not one
// point, so its result is about every point in it:
//
//   - A point has passed L1 when a check of the whole, or one of each of the t parts, has passed that began after the point was listed
//     as it is. Which pack belongs to which part does not change, so t parts read in t nights are the whole; but a pack that was written
//     after its part was read has not been read, hence "after". The level is as old as the oldest of the parts.
//   - A check that failed says which pack is bad and not whose it is. It puts every point of the repository in doubt until the whole
//     has been read again without a fault, or until a check of that point (L2 and up) has passed later. Only the point that the
//     check was about is quarantined.
//
// Other kinds of repository are checked at L1 point by point.
type reading struct {
	repository *recovery.Repository
	quiet      window
	read       []time.Time // for each part when its newest check that passed began; zero: none since the last fault
	last       time.Time   // when the newest check of a part began
	whole      time.Time   // when the newest check of the whole that passed began
	fault      *recovery.PointCheck
}

// together reports whether one check at L1 is about all points of the repository.
func (r *reading) together() bool { return r.repository.Kind == recovery.RepositoryRestic }

// passed takes a check that passed, of part n of t or (t below 2) of the whole.
func (r *reading) passed(n, t int, began time.Time) {
	switch {
	case t < 2:
		r.whole = began
	case len(r.read) != t:
		r.read = make([]time.Time, t)
		fallthrough
	default:
		if n >= 1 && n <= t {
			r.read[n-1] = began
		}
	}
	if r.fault != nil && !r.since(r.fault.At).IsZero() {
		r.fault = nil
	}
}

// failed takes a check that failed: what was read before says nothing any more.
func (r *reading) failed(check recovery.PointCheck) {
	r.fault = &check
	r.whole = time.Time{}
	clear(r.read)
}

// since is the age of the oldest reading that the whole of the repository as it was at that time rests on; zero: not all was read
// since then.
func (r *reading) since(at time.Time) time.Time {
	var oldest time.Time
	for i, began := range r.read {
		if began.IsZero() || began.Before(at) {
			oldest = time.Time{}
			break
		}
		if i == 0 || began.Before(oldest) {
			oldest = began
		}
	}
	if !r.whole.Before(at) && r.whole.After(oldest) {
		oldest = r.whole
	}
	return oldest
}

// tell adds to a point what readings of its repository say of it.
func (r *reading) tell(p *recovery.RestorePoint) {
	if !r.together() || p.Gone {
		return
	}
	check := recovery.PointCheck{Level: recovery.L1, OK: true, At: r.since(p.SeenAt), By: "restic check"}
	switch {
	case !check.At.IsZero() && check.At.Equal(r.whole):
	case !check.At.IsZero():
		check.By = fmt.Sprintf("restic check, all %d parts", len(r.read))
	case r.fault != nil:
		check = *r.fault
		check.Detail = recovery.Clean("of the repository as a whole: "+check.Detail, maxText)
	default:
		return
	}
	for i := range p.Checks {
		if p.Checks[i].Level == recovery.L1 {
			if check.At.After(p.Checks[i].At) {
				p.Checks[i] = check
			}
			return
		}
	}
	p.Checks = append([]recovery.PointCheck{check}, p.Checks...)
}

// parts is into how many parts a repository is divided, one a day, so that all are read within verify.
func parts(verify time.Duration) int { return int(min(max(verify/(24*time.Hour), 1), 256)) }

// part is the part to read next.
func (r *reading) part(t int) int {
	if len(r.read) != t {
		return 1
	}
	next := 0
	for i := range r.read {
		if r.read[i].Before(r.read[next]) {
			next = i
		}
	}
	return next + 1
}
