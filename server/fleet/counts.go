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
	Wave     int                        `json:"wave"` // 1-based
	Tier     string                     `json:"tier"`
	Title    string                     `json:"title,omitempty"`
	RTO      time.Duration              `json:"rto,omitempty"` // nanoseconds
	Hosts    int                        `json:"hosts"`
	Services int                        `json:"services"` // with at least one host in this wave
	Critical int                        `json:"critical"` // hosts that the gate waits for by name
	NoAgent  int                        `json:"no_agent"` // hosts whose proof is fetched over SSH
	Data     map[recovery.DataClass]int `json:"data"`
	OS       map[string]int             `json:"os"`
	Ladders  map[string]int             `json:"ladders"`  // hosts by their rungs: "rescue, hands"
	Councils map[string]int             `json:"councils"` // hosts by council; "" are nobody's
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
	for _, h := range f.Hosts {
		i, ok := index[h.Tier]
		if !ok {
			continue
		}
		w := &out[i]
		w.Hosts++
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
