package main

import (
	"fmt"
	"strings"
	"time"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// amount shows bytes as disks are sold: 512 B, 9.5 MB, 40 GB.
func amount(bytes int64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", max(bytes, 0))
	}
	v, units := float64(bytes), []string{"kB", "MB", "GB", "TB", "PB", "EB"}
	for _, unit := range units {
		v /= 1000
		if v < 9.95 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + unit
		}
		if v < 999.5 || unit == units[len(units)-1] {
			return fmt.Sprintf("%.0f %s", v, unit)
		}
	}
	return ""
}

// about shows a duration with no more detail than matters: 45 s, 12 min, 5 h 20 min, 3 days.
func about(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", max(d.Round(time.Second), 0)/time.Second)
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", d.Round(time.Minute)/time.Minute)
	case d < 47*time.Hour+30*time.Minute:
		d = d.Round(time.Minute)
		if d%time.Hour == 0 {
			return fmt.Sprintf("%d h", d/time.Hour)
		}
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	const day = 24 * time.Hour
	return fmt.Sprintf("%d days", d.Round(day)/day)
}

// minutes shows how much data would be lost, in whole minutes, never fewer than it is.
func minutes(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	whole := (d + time.Minute - 1).Truncate(time.Minute)
	if whole < 90*time.Minute {
		return recovery.Minutes(whole)
	}
	return recovery.Minutes(whole) + " (" + about(whole) + ")"
}

// howFar tells in a few words how far a job through an agent has come: "restoring people-db: 41 % of 40 GB, 95 MB/s, 12 min left".
func howFar(p *pb.Progress) string {
	var parts []string
	switch {
	case p.GetTotal() > 0:
		share := min(max(100*float64(p.GetDone())/float64(p.GetTotal()), 0), 100)
		parts = append(parts, fmt.Sprintf("%d %% of %s", int(share), amount(p.GetTotal())))
	case p.GetDone() > 0:
		parts = append(parts, amount(p.GetDone()))
	}
	if p.GetRate() > 0 {
		parts = append(parts, amount(p.GetRate())+"/s")
	}
	if left := p.GetLeft().AsDuration(); left > 0 {
		parts = append(parts, about(left)+" left")
	}
	stage := recovery.Clean(p.GetStage(), 120)
	switch {
	case len(parts) == 0:
		return stage
	case stage == "":
		return strings.Join(parts, ", ")
	}
	return stage + ": " + strings.Join(parts, ", ")
}
