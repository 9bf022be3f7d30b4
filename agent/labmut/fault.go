package lab

import (
	"fmt"
	"path"
	"sort"
	"time"
)

// Kind names a fault. A machine has at most one.
type Kind string

// The faults. Each acts on the machine itself; none touches a result.
const (
	HealsItself  Kind = "heals-itself"         // after some crashes the good content arrives while the network is up
	Unreachable  Kind = "unreachable-at-first" // its rescue does not answer for a time
	WrongHostKey Kind = "wrong-host-key"       // it answers with another key until a person has been there
	WrongDisk    Kind = "wrong-disk"           // its rescue mounts one half of a split mirror; it boots from the other
	Relapses     Kind = "relapses"             // some time after it came up the bad update arrives once more
	NeedsHands   Kind = "needs-hands"          // its rescue never answers
	DropsSSH     Kind = "drops-connection"     // its first script loses the connection in the middle, and goes on
	SilentSSH    Kind = "silent-ssh"           // it accepts a connection and says nothing
	Floods       Kind = "floods"               // its scripts are drowned in noise on stdout
	NeverEnds    Kind = "never-ends"           // its first script hangs
	SlowBoot     Kind = "slow-boot"            // it takes its time
	Spared       Kind = "never-hit"            // no fault: it does not take the update; listed beside them
)

// Fault is what is wrong with one machine beside the bad update. Durations are in the scenario's time.
type Fault struct {
	Host    string        `json:"host"`
	Kind    Kind          `json:"kind"`
	Crashes int           `json:"crashes,omitempty"` // HealsItself: crashes until the good content arrives
	Span    time.Duration `json:"span,omitempty"`    // Unreachable: since the strike; Relapses: since it is up; SlowBoot: each boot
	Silent  bool          `json:"silent,omitempty"`  // Unreachable: connections wait instead of being refused
	Times   int           `json:"times,omitempty"`   // SilentSSH: this many connections; 0 means for ever
	Bytes   int           `json:"bytes,omitempty"`   // Floods: size of the noise
}

const floodBytes = 5_000_000

// assign gives faults to machines. The same seed, hosts and scenario give the same faults in any order of hosts.
func assign(s *Scenario, seed uint64, hosts []HostSpec) (map[string]Fault, error) {
	var order []HostSpec // those that take the update, in the seed's order
	for _, h := range hosts {
		if s.Update.content(h) != nil {
			order = append(order, h)
		}
	}
	rank := make(map[string]uint64, len(order))
	for _, h := range order {
		rank[h.Name] = draw(seed, h.Name, "fault", 0)
	}
	sort.Slice(order, func(i, j int) bool {
		a, b := rank[order[i].Name], rank[order[j].Name]
		return a < b || a == b && order[i].Name < order[j].Name
	})

	got := make(map[string]Fault)
	take := func(what, pattern string, count int, f func(HostSpec) Fault, fits func(HostSpec) bool) error {
		left := count
		for _, h := range order {
			if match, _ := path.Match(pattern, h.Name); !match && pattern != "" {
				continue
			}
			if _, has := got[h.Name]; has || !fits(h) {
				continue
			}
			got[h.Name] = f(h)
			if left--; left == 0 {
				return nil
			}
		}
		switch {
		case count == 0 && left == 0:
			return fmt.Errorf("scenario %s: %s matches no free machine for %q; change the pattern", s.Name, what, pattern)
		case count > 0:
			return fmt.Errorf("scenario %s: %s wants %d machines, but %d fit and are free; lower the count", s.Name, what, count, count-left)
		}
		return nil
	}
	spare := func(h HostSpec) Fault { return Fault{Host: h.Name, Kind: Spared} }
	everyone := func(HostSpec) bool { return true }
	for _, pattern := range s.NeverHit.Hosts {
		if err := take("never-hit", pattern, 0, spare, everyone); err != nil {
			return nil, err
		}
	}
	if s.NeverHit.Count > 0 {
		if err := take("never-hit", "", s.NeverHit.Count, spare, everyone); err != nil {
			return nil, err
		}
	}
	for _, named := range []bool{true, false} { // faults that ask for hosts by name choose first
		for _, spec := range s.Faults {
			if (spec.Hosts != "") != named {
				continue
			}
			f := func(h HostSpec) Fault { return spec.on(seed, h) }
			if err := take(string(spec.Kind), spec.Hosts, spec.Count, f, spec.fits); err != nil {
				return nil, err
			}
		}
	}
	return got, nil
}

// on draws one machine's fault.
func (s FaultSpec) on(seed uint64, h HostSpec) Fault {
	u := draw(seed, h.Name, string(s.Kind), 0)
	f := Fault{
		Host: h.Name, Kind: s.Kind, Crashes: s.Crashes.pick(u), Span: s.Span.pick(u),
		Silent: s.Silent, Times: s.Times, Bytes: s.Bytes,
	}
	if f.Kind == Floods && f.Bytes == 0 {
		f.Bytes = floodBytes
	}
	return f
}

// fits reports whether the fault could show on the machine at all.
func (s FaultSpec) fits(h HostSpec) bool {
	rescue, ssh := false, false
	for _, r := range h.Rungs {
		rescue = rescue || r.Environment == EnvRescueLinux
		ssh = ssh || served(r.Environment)
	}
	switch s.Kind {
	case WrongDisk, Unreachable, NeedsHands:
		return rescue
	case WrongHostKey, DropsSSH, SilentSSH, Floods, NeverEnds:
		return ssh
	default:
		return true
	}
}
