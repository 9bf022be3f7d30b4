package recovery

import "time"

// RebootPolicy is what a playbook says about restarting a host.
type RebootPolicy string

// The reboot policies.
const (
	RebootRequired  RebootPolicy = "required"  // no proof without a boot id other than the one before the attempt
	RebootHelps     RebootPolicy = "helps"     // allowed, not needed
	RebootForbidden RebootPolicy = "forbidden" // a restart makes it worse; refused also when a person asks
)

// Playbook is what the core needs to know of a playbook. Scripts and probes stay with the library that holds them,
// found again by Digest.
type Playbook struct {
	Name         string        `json:"name"`
	Title        string        `json:"title,omitempty"`
	Digest       string        `json:"digest"` // content address over every file of the playbook: "sha256:…"
	Match        Match         `json:"match"`
	Reboot       RebootPolicy  `json:"reboot"`
	Environments []string      `json:"environments"`  // those that it has a script for
	Timeout      time.Duration `json:"timeout"`       // for the script
	VerifyWithin time.Duration `json:"verify_within"` // from a claimed success to the first proof
	Soak         time.Duration `json:"soak"`          // how long the proof must hold
	Debts        []DebtSpec    `json:"debts,omitempty"`
}

// Match says which hosts a playbook is for.
type Match struct {
	EDR string   `json:"edr"`          // product name
	OS  []string `json:"os,omitempty"` // prefixes of Host.OS; empty means any
}

// DebtSpec is something that a repair leaves behind and that somebody must clear before the incident closes. Hand work leaves
// every debt of the playbook: nobody knows in which environment it was done.
type DebtSpec struct {
	ID           string   `json:"id"`
	What         string   `json:"what"`
	Environments []string `json:"environments,omitempty"` // only after a repair in one of these; empty means always
}

// Fits reports whether the playbook is meant for the host.
func (p Playbook) Fits(h Host) bool {
	if p.Match.EDR != "" && p.Match.EDR != h.EDR.Product {
		return false
	}
	if len(p.Match.OS) == 0 {
		return true
	}
	for _, os := range p.Match.OS {
		if h.OS == os || len(h.OS) > len(os) && h.OS[:len(os)] == os && h.OS[len(os)] == '-' {
			return true
		}
	}
	return false
}

// HasEnvironment reports whether the playbook has a script for the environment.
func (p Playbook) HasEnvironment(env string) bool {
	for _, e := range p.Environments {
		if e == env {
			return true
		}
	}
	return false
}
