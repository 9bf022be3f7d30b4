package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Audit is the answer to "does every system have an adequate backup?".
type Audit struct {
	Fleet    string     `json:"fleet"`
	AsOf     time.Time  `json:"as_of"`
	Rows     []AuditRow `json:"rows"`      // what falls short first, the worst of it before the rest, then by tier and name
	DataSets int        `json:"data_sets"` // of the fleet
	Adequate int        `json:"adequate"`  // rows without a finding
	Short    int        `json:"short"`     // rows with one: data sets, and hosts that have data and no data set
	Points   int        `json:"points"`    // kept, of all data sets
}

// AuditRow is one data set against its policy, or a host with data of its own that has none.
type AuditRow struct {
	DataSet    string         `json:"data_set,omitempty"` // empty: the host has no data set
	Host       string         `json:"host"`
	Service    string         `json:"service,omitempty"`
	Title      string         `json:"title,omitempty"` // of the service
	Council    string         `json:"council,omitempty"`
	Owner      string         `json:"owner,omitempty"`
	Tier       string         `json:"tier,omitempty"`
	Repository string         `json:"repository,omitempty"`
	Policy     string         `json:"policy,omitempty"`
	Points     int            `json:"points"`          // that are kept
	Newest     time.Time      `json:"newest,omitzero"` // data that is kept
	Oldest     time.Time      `json:"oldest,omitzero"`
	Level      recovery.Level `json:"level"` // the highest that a point passed which may be restored
	VerifiedAt time.Time      `json:"verified_at,omitzero"`
	Findings   []Finding      `json:"findings,omitempty"`
}

// Finding is one way in which a data set falls short.
type Finding struct {
	Code string `json:"code"` // one of the Finding constants
	Text string `json:"text"` // one sentence
}

// The findings' codes, the worst first.
const (
	FindingNoBackup        = "no-backup"         // the host has data, and nothing backs it up
	FindingMissing         = "missing"           // there is no point at all
	FindingQuarantined     = "quarantined"       // the newest point or all may not be restored
	FindingCannotBeListed  = "cannot-be-listed"  // nobody can tell what the repository holds
	FindingLate            = "late"              // the newest point is too old
	FindingAllMayBeBad     = "all-may-be-bad"    // damage may stay unseen for longer than points are kept
	FindingShortRetention  = "short-retention"   // points are kept for less than the policy says
	FindingGap             = "gap"               // points are missing in the time that should be kept
	FindingNoLogs          = "no-logs"           // points do not reach any moment where the policy says that they do
	FindingNeverVerified   = "never-verified"    // nothing was ever checked
	FindingBelowLevel      = "below-level"       // it was, not as far as asked
	FindingVerifiedLongAgo = "verified-long-ago" // it was, too long ago
	FindingNoOffSite       = "no-off-site"       // no copy lies elsewhere
	FindingNoPolicy        = "no-policy"         // nobody has said what is enough
)

var worst = []string{FindingNoBackup, FindingMissing, FindingQuarantined, FindingCannotBeListed, FindingLate, FindingAllMayBeBad, FindingShortRetention,
	FindingGap, FindingNoLogs, FindingNeverVerified, FindingBelowLevel, FindingVerifiedLongAgo, FindingNoOffSite, FindingNoPolicy}

// AssumedUndetected is for how long damage is assumed to stay unseen where a policy does not say. A municipality whose database was
// damaged by a power cut in January found it in April, eleven weeks later, with every backup of fourteen days already bad: four weeks
// are no pessimism.
const AssumedUndetected = 28 * 24 * time.Hour

// Audit holds every data set against its policy, and finds the hosts with data that nothing backs up.
func (c *Catalog) Audit(now time.Time) Audit {
	now = now.UTC().Round(0)
	a := Audit{Fleet: c.fleet.Name, AsOf: now, DataSets: len(c.order)}
	services := map[string]*recovery.Service{}
	for i := range c.fleet.Services {
		services[c.fleet.Services[i].Name] = &c.fleet.Services[i]
	}
	tiers := map[string]int{}
	for i, t := range c.fleet.Tiers {
		tiers[t.Name] = i
	}
	backed := map[string]bool{}
	for _, s := range c.order {
		backed[s.Host] = true
		row := c.audit(s, now)
		row.of(s.host, services)
		a.Points += row.Points
		a.Rows = append(a.Rows, row)
	}
	for i := range c.fleet.Hosts {
		if h := &c.fleet.Hosts[i]; !backed[h.Name] && (h.Data == recovery.DataPrimary || h.Data == recovery.DataReplica) {
			row := AuditRow{Host: h.Name}
			row.of(h, services)
			row.find(FindingNoBackup, "the fleet file says that host %s holds %s data and names no data set of it: nothing of it is known to be backed up",
				h.Name, h.Data)
			a.Rows = append(a.Rows, row)
		}
	}
	for i := range a.Rows {
		if len(a.Rows[i].Findings) > 0 {
			a.Short++
		}
	}
	a.Adequate = len(a.Rows) - a.Short
	slices.SortStableFunc(a.Rows, func(x, y AuditRow) int {
		return cmp.Or(cmp.Compare(x.rank(), y.rank()), cmp.Compare(tiers[x.Tier], tiers[y.Tier]), cmp.Compare(x.DataSet, y.DataSet), cmp.Compare(x.Host, y.Host))
	})
	return a
}

// of names whose data it is.
func (r *AuditRow) of(h *recovery.Host, services map[string]*recovery.Service) {
	if h == nil {
		return
	}
	r.Host, r.Service, r.Tier, r.Council = h.Name, h.Service, h.Tier, h.Council
	if svc := services[h.Service]; svc != nil {
		r.Title, r.Owner = svc.Title, svc.Owner
	}
}

func (r *AuditRow) find(code, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{code, recovery.Clean(fmt.Sprintf(format, args...), 2*maxText)})
}

// rank orders rows by their worst finding; those without one come last.
func (r *AuditRow) rank() int {
	best := len(worst)
	for _, f := range r.Findings {
		best = min(best, slices.Index(worst, f.Code))
	}
	return best
}

// audit holds one data set against its policy.
func (c *Catalog) audit(s *set, now time.Time) AuditRow {
	row := AuditRow{DataSet: s.Name, Host: s.Host, Repository: s.Repository, Policy: s.Policy}
	view := c.viewOf(s)
	kept := make([]*recovery.RestorePoint, 0, len(view)) // newest data first
	for i := range view {
		if !view[i].Gone {
			kept = append(kept, &view[i])
		}
	}
	row.Points = len(kept)
	c.unlisted(&row, s, now)
	if len(kept) == 0 {
		text := "no restore point is kept"
		if len(view) == 0 {
			text = "no restore point is known"
		}
		row.find(FindingMissing, "%s: what is lost now is lost for good", text)
		return row
	}
	row.Newest, row.Oldest = kept[0].Latest(), oldest(kept).TakenAt
	quarantined(&row, kept)
	if s.policy == nil {
		row.find(FindingNoPolicy, "no policy says how often it must be backed up, for how long that is kept, or how it is checked: name one in the fleet file")
	} else {
		late(&row, s.policy, now)
		gaps(&row, s, kept, now)
		retention(&row, s.policy, view, kept, now)
		logs(&row, s, kept[0])
		c.offSite(&row, s, kept)
	}
	c.verification(&row, s, kept, now)
	c.restorable(&row, s, view)
	slices.SortStableFunc(row.Findings, func(x, y Finding) int { return slices.Index(worst, x.Code) - slices.Index(worst, y.Code) })
	return row
}

// restorable finds data sets of which an incident could restore nothing, whatever the policy promises: a restore asks what the host's
// tier, or what would be lost, asks.
func (c *Catalog) restorable(row *AuditRow, s *set, view []recovery.RestorePoint) {
	told := slices.ContainsFunc(row.Findings, func(f Finding) bool {
		return f.Code == FindingNeverVerified || f.Code == FindingBelowLevel || f.Code == FindingQuarantined
	})
	if s.host == nil || told {
		return
	}
	known := recovery.NewPoints()
	for _, p := range view {
		known.Learn(p)
	}
	need := c.fleet.Asks(s.host)
	_, why := known.Best(s.DataSet, need, time.Time{})
	switch {
	case why == "":
	case need > s.reach():
		row.find(FindingBelowLevel, "an incident could not restore it: that asks for %s, and no machine can verify it further than %s; give it an engine, a check or invariants, or look yourself (backups vouch)", need, s.reach())
	default:
		row.find(FindingBelowLevel, "an incident could not restore it: %s", why)
	}
}

func oldest(kept []*recovery.RestorePoint) *recovery.RestorePoint {
	return slices.MinFunc(kept, func(a, b *recovery.RestorePoint) int { return a.TakenAt.Compare(b.TakenAt) })
}

// unlisted finds repositories of which nobody can tell what they hold. One failure is no finding where an earlier listing has told: hosts
// restart.
func (c *Catalog) unlisted(row *AuditRow, s *set, now time.Time) {
	for _, name := range s.repositories() {
		l := c.listings[place{s.Name, name}]
		switch {
		case l == nil:
			row.find(FindingCannotBeListed, "the fleet file names repository %s and does not say where it lies", name)
		case l.fails > 1, l.fails == 1 && (len(c.viewOf(s)) == 0 || now.Sub(l.since) > time.Hour):
			row.find(FindingCannotBeListed, "repository %s cannot be listed since %s: %s", name, minute(l.since), l.why)
		}
	}
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func quarantined(row *AuditRow, kept []*recovery.RestorePoint) {
	n, reason := 0, ""
	for _, p := range kept {
		if p.Quarantined() {
			if n++; reason == "" {
				reason = p.Quarantine.Reason
			}
		}
	}
	switch {
	case n == len(kept):
		row.find(FindingQuarantined, "all restore points that are kept (%d) are quarantined: %s", n, reason)
	case kept[0].Quarantined():
		row.find(FindingQuarantined, "the newest restore point is quarantined, %d of %d in all: %s", n, len(kept), kept[0].Quarantine.Reason)
	}
}

// slack is what may be missing of a rhythm before it is a finding.
func slack(every time.Duration) time.Duration { return every + every/2 }

func late(row *AuditRow, p *recovery.BackupPolicy, now time.Time) {
	if age := now.Sub(row.Newest); p.Every > 0 && age > slack(p.Every) {
		row.find(FindingLate, "the newest data that is kept is from %s, %s ago, where policy %s promises it every %s",
			minute(row.Newest), about(age), p.Name, days(p.Every))
	}
}

// gaps finds times within the kept period that no point covers. A point of a database with logs covers the time that its logs reach.
func gaps(row *AuditRow, s *set, kept []*recovery.RestorePoint, now time.Time) {
	p := s.policy
	if p.Every <= 0 {
		return
	}
	byTime := slices.Clone(kept)
	slices.SortFunc(byTime, func(a, b *recovery.RestorePoint) int { return a.TakenAt.Compare(b.TakenAt) })
	n, largest := 0, time.Duration(0)
	var from, to time.Time
	covered := byTime[0].Latest()
	for _, next := range byTime[1:] {
		if gap := next.TakenAt.Sub(covered); gap > slack(p.Every) && next.TakenAt.After(now.Add(-p.Keep)) {
			if n++; gap > largest {
				largest, from, to = gap, covered, next.TakenAt
			}
		}
		covered = later(covered, next.Latest())
	}
	switch {
	case n == 1:
		row.find(FindingGap, "no restore point is kept between %s and %s", minute(from), minute(to))
	case n > 1:
		row.find(FindingGap, "restore points are missing at %d times, the longest between %s and %s", n, minute(from), minute(to))
	}
}

// retention finds points that were expired before their time, and a time that is too short to outlast damage that nobody sees. The
// latter is no finding where a kept point has been looked into so far that damage would have shown (L4).
func retention(row *AuditRow, p *recovery.BackupPolicy, view []recovery.RestorePoint, kept []*recovery.RestorePoint, now time.Time) {
	if expired := earliest(view); p.Keep > 0 && now.Sub(row.Oldest) < p.Keep-slack(p.Every) && expired.Before(row.Oldest) {
		row.find(FindingShortRetention, "the oldest restore point is %s old, older ones are gone, and policy %s promises to keep them for %s",
			about(now.Sub(row.Oldest)), p.Name, days(p.Keep))
	}
	seen := slices.ContainsFunc(kept, func(q *recovery.RestorePoint) bool { return !q.Quarantined() && q.Level() >= recovery.L4 })
	undetected, assumed := p.Undetected, ""
	if undetected == 0 {
		undetected, assumed = AssumedUndetected, " (assumed: the policy does not say)"
	}
	if p.Keep > 0 && p.Keep < undetected && !seen {
		row.find(FindingAllMayBeBad, "every restore point that is kept may already be bad: damage may stay unseen for %s%s, "+
			"points are kept for %s, and none of them has been looked into so far that it would have shown (L4)", days(undetected), assumed, days(p.Keep))
	}
}

// earliest is when the first point that was ever known was taken.
func earliest(view []recovery.RestorePoint) time.Time {
	first := view[0].TakenAt
	for i := range view {
		if view[i].TakenAt.Before(first) {
			first = view[i].TakenAt
		}
	}
	return first
}

func logs(row *AuditRow, s *set, newest *recovery.RestorePoint) {
	switch {
	case !s.policy.Logs:
	case newest.Kind != recovery.PointDatabase:
		row.find(FindingNoLogs, "policy %s promises any moment, and its restore points hold no logs: only the times at which they were taken can be had",
			s.policy.Name)
	case !newest.Until.After(newest.TakenAt):
		row.find(FindingNoLogs, "policy %s promises any moment, and no log has come since the newest restore point, from %s",
			s.policy.Name, minute(newest.TakenAt))
	}
}

// offSite finds that all is in one place.
func (c *Catalog) offSite(row *AuditRow, s *set, kept []*recovery.RestorePoint) {
	if !s.policy.OffSite {
		return
	}
	named := ""
	for _, name := range s.repositories() {
		r := c.repository(name)
		if r == nil || !r.OffSite {
			continue
		}
		if named = name; slices.ContainsFunc(kept, func(p *recovery.RestorePoint) bool { return p.Repository == name }) {
			return
		}
	}
	if named != "" {
		row.find(FindingNoOffSite, "repository %s lies elsewhere and holds no restore point of it", named)
		return
	}
	row.find(FindingNoOffSite, "no copy of it lies elsewhere: what takes the building takes the backup")
}

// verification finds what nobody has looked into. Without a policy it is held against what its tier asks before it may be restored.
func (c *Catalog) verification(row *AuditRow, s *set, kept []*recovery.RestorePoint, now time.Time) {
	checked := false
	for _, p := range kept {
		checked = checked || len(p.Checks) > 0
		if level := p.Level(); !p.Quarantined() && level > recovery.L0 && level >= row.Level {
			if at := p.VerifiedAt(); level > row.Level || at.After(row.VerifiedAt) {
				row.Level, row.VerifiedAt = level, at
			}
		}
	}
	asked := "its tier asks"
	if s.policy != nil && s.policy.Level > recovery.L0 {
		asked = "policy " + s.policy.Name + " asks"
	}
	switch at := c.verifiedAt(s, s.asks); {
	case s.asks == recovery.L0:
	case !checked:
		row.find(FindingNeverVerified, "no restore point was ever checked: nobody knows whether one can be restored, and %s for %s", asked, s.asks)
	case row.Level < s.asks:
		row.find(FindingBelowLevel, "no restore point that may be used is verified further than %s, where %s for %s", row.Level, asked, s.asks)
	case s.policy != nil && s.policy.Verify > 0 && now.Sub(at) > s.policy.Verify+s.policy.Verify/4:
		row.find(FindingVerifiedLongAgo, "the last check to %s is from %s, %s ago, where policy %s promises one every %s",
			s.asks, minute(at), about(now.Sub(at)), s.policy.Name, days(s.policy.Verify))
	}
}

// about tells a span in the largest unit that fits.
func about(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d minutes", d/time.Minute)
}
