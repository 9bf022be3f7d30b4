package fleet

import (
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
