package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Alert is something that a person should know before the next incident shows it. Its text stays the same as long as the matter does.
type Alert struct {
	At      time.Time
	DataSet string // empty: a repository as a whole
	Text    string
}

// triesBeforeAlert is how often in a row a thing must have failed: hosts restart.
const triesBeforeAlert = 3

// Alerts lists what is wrong now, the oldest first: points that must not be restored, repositories that are damaged or cannot be
// listed, checks and holds that cannot be made. Whether that is enough of a backup is the Audit's matter.
func (c *Catalog) Alerts(time.Time) []Alert {
	var list []Alert
	for _, s := range c.order {
		list = c.alertsOf(list, s)
	}
	for _, r := range c.fleet.Repositories {
		if fault := c.readings[r.Name].fault; fault != nil {
			text := "repository %s is damaged (%s): none of its points is trusted until all of it has been read without a fault: %s"
			list = append(list, Alert{fault.At, "", fmt.Sprintf(text, r.Name, fault.By, fault.Detail)})
		}
	}
	for _, key := range c.sortedHolds() {
		if h := c.holds[key]; h.wanted && h.fails >= triesBeforeAlert {
			text := fmt.Sprintf("%s cannot be kept from expiring for incident %s: %s", key.point, key.incident, h.why)
			list = append(list, Alert{h.since, key.point.DataSet, text})
		}
	}
	slices.SortStableFunc(list, func(a, b Alert) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.DataSet, b.DataSet), cmp.Compare(a.Text, b.Text))
	})
	return list
}

func (c *Catalog) alertsOf(list []Alert, s *set) []Alert {
	view := c.viewOf(s)
	for i := range view {
		if p := &view[i]; !p.Gone && p.Quarantined() {
			text := fmt.Sprintf("the restore point from %s (%s) is quarantined: %s", moment(p), p.PointRef, p.Quarantine.Reason)
			list = append(list, Alert{p.Quarantine.At, s.Name, text})
		}
	}
	for _, name := range s.repositories() {
		if l := c.listings[place{s.Name, name}]; l != nil && l.fails >= triesBeforeAlert {
			list = append(list, Alert{l.since, s.Name, fmt.Sprintf("its points in %s cannot be listed: %s", name, l.why)})
		}
	}
	if s.retry.fails >= triesBeforeAlert {
		list = append(list, Alert{s.retry.since, s.Name, "its newest point cannot be checked: " + s.retry.why})
	}
	return list
}
