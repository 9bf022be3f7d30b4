package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// WaveCount is what one wave of a fleet consists of.
type WaveCount struct {
	Wave       int                        `json:"wave"` // 1-based
	Tier       string                     `json:"tier"`
	Title      string                     `json:"title,omitempty"`
	RTO        time.Duration              `json:"rto,omitempty"` // nanoseconds
	Hosts      int                        `json:"hosts"`
	Services   int                        `json:"services"` // with at least one host in this wave
	Critical   int                        `json:"critical"` // hosts that the gate waits for by name
	NoAgent    int                        `json:"no_agent"` // hosts whose proof is fetched over SSH
	Data       map[recovery.DataClass]int `json:"data"`
	OS         map[string]int             `json:"os"`
	Ladders    map[string]int             `json:"ladders"`  // hosts by their rungs: "rescue, hands"
	Councils   map[string]int             `json:"councils"` // hosts by council; "" are nobody's
	DataSets   int                        `json:"data_sets"`
	Restorable int                        `json:"restorable"` // hosts with a rung that restores from backup
}

// RepositoryCount is what one repository is used for.
type RepositoryCount struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	DataSets int    `json:"data_sets"` // that have it as their repository
	Copies   int    `json:"copies"`    // data sets that have copies in it
	Slots    int    `json:"slots"`     // restores at once
	OffSite  bool   `json:"off_site"`
}

// Repositories counts the data sets of a fleet's repositories, in the order of the file.
func Repositories(f recovery.Fleet) []RepositoryCount {
	out := make([]RepositoryCount, len(f.Repositories))
	index := make(map[string]int, len(f.Repositories))
	for i, r := range f.Repositories {
		index[r.Name] = i
		out[i] = RepositoryCount{Name: r.Name, Kind: r.Kind, Slots: r.Slots, OffSite: r.OffSite}
	}
	for _, d := range f.DataSets {
		out[index[d.Repository]].DataSets++
		for _, c := range d.Copies {
			out[index[c]].Copies++
		}
	}
	return out
}

// LevelGap is data sets that a rung restores only once they are verified further than any machine can.
type LevelGap struct {
	Asked    recovery.Level `json:"asked"` // by the hosts' tier or data
	Reach    recovery.Level `json:"reach"` // by engine, check and invariants
	DataSets []string       `json:"data_sets"`
}

// LevelGaps finds data sets that would wait for a person to look at a restore point, whatever is verified before.
func LevelGaps(f recovery.Fleet) []LevelGap {
	restored := map[string]recovery.Level{}
	for i := range f.Hosts {
		for _, r := range f.Hosts[i].Ladder {
			for _, name := range r.Sets {
				restored[name] = f.Asks(&f.Hosts[i])
			}
		}
	}
	type key struct{ asked, reach recovery.Level }
	found := map[key][]string{}
	for i := range f.DataSets {
		d := &f.DataSets[i]
		if k := (key{restored[d.Name], reach(d)}); k.asked > k.reach {
			found[k] = append(found[k], d.Name)
		}
	}
	out := make([]LevelGap, 0, len(found))
	for k, names := range found {
		out = append(out, LevelGap{k.asked, k.reach, names})
	}
	slices.SortFunc(out, func(x, y LevelGap) int { return cmp.Or(cmp.Compare(y.Asked, x.Asked), cmp.Compare(x.Reach, y.Reach)) })
	return out
}

// reach is how far machines can verify a data set.
func reach(d *recovery.DataSet) recovery.Level {
	switch {
	case len(d.Invariants) > 0:
		return recovery.L4
	case d.Engine != "":
		return recovery.L3
	}
	return recovery.L2
}

// ControlCount is what one power control or boot target is used for.
type ControlCount struct {
	Section string `json:"section"` // as in the fleet file: "power" or "boot"
	Name    string `json:"name"`
	Through string `json:"through"` // the program, or "redfish"
	Hosts   int    `json:"hosts"`   // that name it, themselves or on a rung
	Restart int    `json:"restart"` // of these, hosts that a rung of their ladder restarts through it
	AtOnce  int    `json:"at_once"` // hosts restarted through it and not yet proven; 0 means no limit of its own
}

// Controls counts the hosts of a fleet's power controls and boot targets that are used at all: power before boot, each by name.
func Controls(f recovery.Fleet) []ControlCount {
	slots := map[string]int{}
	for _, r := range f.Resources {
		slots[r.Name] = r.Slots
	}
	type key struct{ section, name string }
	found := map[key]*ControlCount{}
	count := func(section string, c *recovery.Control, restarts bool) {
		if c == nil {
			return
		}
		k := key{section, c.Name}
		if found[k] == nil {
			found[k] = &ControlCount{Section: section, Name: c.Name, Through: cmp.Or(c.Program, c.Kind), AtOnce: slots[slotsOf(section, c.Name)]}
		}
		found[k].Hosts++
		if restarts {
			found[k].Restart++
		}
	}
	for _, h := range f.Hosts {
		rescue := func(r recovery.Rung) bool { return restartsByPower(r.Kind) }
		count(sectionPower, h.Power, slices.ContainsFunc(h.Ladder, rescue))
		seen := map[string]bool{}
		for _, r := range h.Ladder {
			if r.Boot != nil && !seen[r.Boot.Name] {
				seen[r.Boot.Name] = true
				count(sectionBoot, r.Boot, true)
			}
		}
	}
	out := make([]ControlCount, 0, len(found))
	for _, c := range found {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y ControlCount) int {
		return cmp.Or(-strings.Compare(x.Section, y.Section), strings.Compare(x.Name, y.Name))
	})
	return out
}

// Counts counts a fleet's waves, in order.
func Counts(f recovery.Fleet) []WaveCount {
	out := make([]WaveCount, len(f.Tiers))
	index := make(map[string]int, len(f.Tiers))
	services := make([]map[string]bool, len(f.Tiers))
	for i, t := range f.Tiers {
		index[t.Name] = i
		services[i] = map[string]bool{}
		out[i] = WaveCount{
			Wave: i + 1, Tier: t.Name, Title: t.Title, RTO: t.RTO,
			Data: map[recovery.DataClass]int{}, OS: map[string]int{}, Ladders: map[string]int{}, Councils: map[string]int{},
		}
	}
	sets := make(map[string]int, len(f.DataSets)) // by host
	for _, d := range f.DataSets {
		sets[d.Host]++
	}
	for _, h := range f.Hosts {
		i, ok := index[h.Tier]
		if !ok {
			continue
		}
		w := &out[i]
		w.Hosts++
		w.DataSets += sets[h.Name]
		if slices.ContainsFunc(h.Ladder, func(r recovery.Rung) bool { return r.Kind == recovery.RungRestore }) {
			w.Restorable++
		}
		if h.Critical {
			w.Critical++
		}
		if !h.Agent {
			w.NoAgent++
		}
		if h.Service != "" && !services[i][h.Service] {
			services[i][h.Service] = true
			w.Services++
		}
		w.Data[h.Data]++
		w.OS[h.OS]++
		w.Councils[h.Council]++
		rungs := make([]string, len(h.Ladder))
		for n, r := range h.Ladder {
			rungs[n] = r.Name
		}
		w.Ladders[strings.Join(rungs, ", ")]++
	}
	return out
}
