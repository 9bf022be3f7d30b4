package recovery

import (
	"slices"
	"time"
)

// Sighting is the last that was heard of a host: an agent's hello or heartbeat, the end of its stream, or a probe over SSH.
// Sightings live beside the journal, not in it; an event that rests on one carries a copy of what it used.
type Sighting struct {
	Host         string    `json:"host"`
	At           time.Time `json:"at"`        // coordinator's clock
	Connected    bool      `json:"connected"` // false: these are its last words
	Source       string    `json:"source"`    // "agent" or "ssh"
	BootID       string    `json:"boot_id"`
	BootMode     string    `json:"boot_mode,omitempty"` // BootNormal, BootSafe, BootRescue
	Boots        int       `json:"boots,omitempty"`     // different boot ids seen since the coordinator first heard of it
	FirstBootAt  time.Time `json:"first_boot_at,omitzero"`
	BootAt       time.Time `json:"boot_at,omitzero"` // when this boot id was first heard of
	AgentVersion string    `json:"agent_version,omitempty"`
	EDRVersion   string    `json:"edr_version,omitempty"`
	Content      []Content `json:"content,omitempty"` // one per playbook that was probed in this boot
	WasBad       []string  `json:"was_bad,omitempty"` // digests of playbooks whose bad content an earlier sighting found
	Health       []Check   `json:"health,omitempty"`
	Answers      string    `json:"answers,omitempty"` // id of the Instruction that the facts were gathered for
}

// Boot modes.
const (
	BootNormal = "normal"
	BootSafe   = "safe"
	BootRescue = "rescue"
)

// Content is what a playbook's probes found on the host.
type Content struct {
	Playbook string `json:"playbook"`          // digest
	Bad      int    `json:"bad"`               // files that are positively bad
	Good     int    `json:"good"`              // files that are positively good
	Missing  bool   `json:"missing,omitempty"` // the expected place does not exist: says nothing about bad or good
	Error    string `json:"error,omitempty"`   // the probe could not run to its end
	Detail   string `json:"detail,omitempty"`
	WasBad   bool   `json:"was_bad,omitempty"` // an earlier sighting found bad content
}

// Check is one of the host's own health checks.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// content returns what the sighting says about a playbook.
func (s Sighting) content(digest string) (Content, bool) {
	for _, c := range s.Content {
		if c.Playbook == digest {
			return c, true
		}
	}
	return Content{}, false
}

// Merge returns the newer sighting with what must survive from the older one: the count of boots, facts of the same boot
// that the newer one does not repeat, and whether bad content was ever seen.
func (s Sighting) Merge(next Sighting) Sighting {
	if s.Host == "" {
		if next.Boots == 0 && next.BootID != "" {
			next.Boots, next.FirstBootAt = 1, next.At
		}
		if next.BootAt.IsZero() && next.BootID != "" {
			next.BootAt = next.At
		}
		return next
	}
	next.Boots, next.FirstBootAt, next.BootAt = s.Boots, s.FirstBootAt, s.BootAt
	if next.BootID == "" {
		next.BootID, next.BootMode = s.BootID, s.BootMode
	}
	if next.AgentVersion == "" {
		next.AgentVersion = s.AgentVersion
	}
	if next.EDRVersion == "" {
		next.EDRVersion = s.EDRVersion
	}
	if next.BootID != s.BootID {
		next.Boots++
		next.BootAt = next.At
		if next.FirstBootAt.IsZero() {
			next.FirstBootAt = next.At
		}
	} else if next.Answers == "" || next.Answers == s.Answers { // a new answer stands by its own facts
		if len(next.Content) == 0 {
			next.Content = s.Content
		}
		if len(next.Health) == 0 {
			next.Health = s.Health
		}
		next.Answers = s.Answers
	}
	next.WasBad = s.everBad()
	for i, c := range next.Content {
		if !c.WasBad && slices.Contains(next.WasBad, c.Playbook) {
			next.Content = slices.Clone(next.Content)
			next.Content[i].WasBad = true
		}
	}
	return next
}

// everBad lists the playbooks whose bad content this or an earlier sighting found. It forgets nothing over a restart.
func (s Sighting) everBad() []string {
	list := s.WasBad
	for _, c := range s.Content {
		if (c.Bad > 0 || c.WasBad) && !slices.Contains(list, c.Playbook) {
			list = append(slices.Clone(list), c.Playbook)
		}
	}
	return list
}

// healthy reports whether every health check passed, or names the first that did not.
func (s Sighting) healthy() (bool, string) {
	for _, c := range s.Health {
		if !c.OK {
			return false, c.Name
		}
	}
	return true, ""
}
