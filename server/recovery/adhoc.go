package recovery

import (
	"fmt"
	"strings"
	"time"
)

// A run is one playbook, or one script, on some hosts without an incident: the same attempts, limits and results, each host
// tried once, and nothing proven. NewRun declares it, AdHoc is its state, AdHoc.Decide says what comes next.

// RunRequest is what a person asks for.
type RunRequest struct {
	Run      string
	Playbook Playbook
	Scripts  []RunScript
	Plain    bool   // see RunDeclared
	Reboot   bool   // see RunDeclared
	Fleet    Fleet  // with the chosen hosts alone
	Rung     string // the rung that each host takes; empty: the first usable one
	AtOnce   int    // hosts at once over all, in place of the fleet's slots of ResourceSSH; 0: the fleet's
}

// NewRun chooses each host's rung and says which hosts cannot take part, and why. What a playbook forbids is refused as a whole.
func NewRun(r RunRequest) (*RunDeclared, error) {
	switch {
	case r.Run == "":
		return nil, invalid("a run needs a name")
	case len(r.Fleet.Hosts) == 0:
		return nil, invalid("no host is chosen: a run needs at least one")
	case len(r.Scripts) == 0:
		return nil, invalid("playbook %s has no script: there is nothing to run", r.Playbook.Name)
	case r.Reboot && r.Playbook.Reboot == RebootForbidden:
		return nil, refused("playbook %s forbids to restart a host: run it without a restart", r.Playbook.Name)
	}
	d := &RunDeclared{Run: r.Run, Playbook: r.Playbook, Scripts: r.Scripts, Plain: r.Plain, Reboot: r.Reboot,
		Fleet: Fleet{Name: r.Fleet.Name, Policy: r.Fleet.Policy}}
	p := picker{RunRequest: r, groups: map[string]*Group{}, restarts: map[string]int{}}
	for i := range r.Fleet.Groups {
		p.groups[r.Fleet.Groups[i].Name] = &r.Fleet.Groups[i]
	}
	seen := make(map[string]bool, len(r.Fleet.Hosts))
	for i := range r.Fleet.Hosts {
		h := &r.Fleet.Hosts[i]
		if seen[h.Name] {
			return nil, invalid("host %s is chosen twice", h.Name)
		}
		seen[h.Name] = true
		c := p.host(h)
		if c.Refused == "" {
			d.Fleet.Hosts = append(d.Fleet.Hosts, *h)
		}
		d.Hosts = append(d.Hosts, c)
	}
	d.Fleet.limit(r)
	return d, nil
}

// limit keeps of the fleet's limits those that concern the run's hosts.
func (f *Fleet) limit(r RunRequest) {
	used := map[string]bool{ResourceSSH: true}
	grouped := map[string]bool{}
	for i := range f.Hosts {
		for _, name := range f.Hosts[i].Resources {
			used[name] = true
		}
		for _, r := range f.Hosts[i].Ladder {
			for _, name := range r.Resources {
				used[name] = true
			}
		}
		for _, name := range f.Hosts[i].Groups {
			grouped[name] = true
		}
	}
	ssh := Resource{ResourceSSH, r.AtOnce}
	for _, res := range r.Fleet.Resources {
		switch {
		case res.Name == ResourceSSH && ssh.Slots == 0:
			ssh.Slots = res.Slots
		case res.Name != ResourceSSH && used[res.Name]:
			f.Resources = append(f.Resources, res)
		}
	}
	if ssh.Slots < 1 {
		ssh.Slots = DefaultSSHSlots
	}
	f.Resources = append(f.Resources, ssh)
	for _, g := range r.Fleet.Groups {
		if grouped[g.Name] {
			f.Groups = append(f.Groups, g)
		}
	}
}

// picker chooses rungs.
type picker struct {
	RunRequest
	groups   map[string]*Group
	restarts map[string]int // members of a group that this run will restart
}

func (p *picker) host(h *Host) RunHost {
	c := RunHost{Host: h.Name, Rung: -1}
	rung, problem := p.rung(h)
	if problem == "" {
		problem = p.restart(h)
	}
	if problem != "" {
		c.Refused = problem
		return c
	}
	c.Rung, c.RungName = rung, h.Ladder[rung].Name
	return c
}

func (p *picker) rung(h *Host) (rung int, problem string) {
	if !p.Playbook.Fits(*h) {
		return -1, p.misfit(h)
	}
	if p.Rung == "" {
		for rung = range h.Ladder {
			if p.notSSH(h.Ladder[rung]) == "" && (terms{Playbook: p.Playbook}).problem(h, &h.Ladder[rung]) == "" {
				return rung, ""
			}
		}
		return -1, p.noRung(h)
	}
	var names []string
	for i, r := range h.Ladder {
		if r.Name == p.Rung {
			if problem = p.notSSH(r); problem == "" {
				problem = (terms{Playbook: p.Playbook}).problem(h, &r)
			}
			return i, problem
		}
		names = append(names, r.Name)
	}
	return -1, fmt.Sprintf("its ladder has no rung %s, only %s", p.Rung, firstOf(strings.Join(names, ", "), "none at all"))
}

// notSSH says why a run does not climb a rung: what works on a host from outside belongs into an incident.
func (p *picker) notSSH(r Rung) string {
	if r.Kind == RungSSH || r.Kind == RungHands {
		return ""
	}
	return "a run takes only rungs of kind ssh, and " + r.Name + " is of kind " + r.Kind + ": declare an incident for it"
}

func (p *picker) misfit(h *Host) string {
	m := p.Playbook.Match
	if m.EDR != "" && m.EDR != h.EDR.Product {
		return fmt.Sprintf("playbook %s is for hosts that run %s, and this one runs %s", p.Playbook.Name, m.EDR, firstOf(h.EDR.Product, "none that the fleet file names"))
	}
	return fmt.Sprintf("playbook %s is for %s, and this host is %s", p.Playbook.Name, strings.Join(m.OS, ", "), firstOf(h.OS, "of no known OS"))
}

func (p *picker) noRung(h *Host) string {
	for _, r := range h.Ladder {
		switch {
		case p.Plain && r.Kind == RungSSH && r.Environment == EnvRescueLinux:
			return "its first usable rung is " + r.Name + ", and a script of no playbook runs in a rescue system only where that rung is asked for by name"
		case r.Kind == RungSSH:
			return terms{Playbook: p.Playbook}.problems(h, 0)
		}
	}
	return "its ladder has no ssh rung"
}

// restart keeps a run from taking down more of a group than may be down together: a run does not wait until a host is proven
// to be back, so it restarts no more of them at all.
func (p *picker) restart(h *Host) string {
	if !p.Reboot {
		return ""
	}
	for _, name := range h.Groups {
		g := p.groups[name]
		if g == nil {
			continue
		}
		most := max(1, g.MaxAtOnce)
		if g.MaxDown > 0 {
			most = min(most, g.MaxDown)
		}
		if p.restarts[name] >= most {
			return fmt.Sprintf("%d of group %s will be restarted by this run, the most that may be down: run it again for this host when they are back", p.restarts[name], name)
		}
	}
	for _, name := range h.Groups {
		p.restarts[name]++
	}
	return ""
}

// attemptTimeout is how long one attempt on a rung may take in all.
func attemptTimeout(p Playbook, h *Host, rung int) time.Duration {
	timeout := p.Timeout + connectAllowance
	if rung < 0 || rung >= len(h.Ladder) {
		return timeout
	}
	switch r := h.Ladder[rung]; r.Kind {
	case RungRace:
		timeout += r.waits()
	case RungRescue: // off, on; and off, on again for its own disk; the boot target to and fro
		timeout += r.waits() + 4*h.Power.waits() + 2*r.Boot.waits()
	case RungHelper:
		timeout += 2*r.waits() + 2*h.Power.waits()
	}
	return timeout
}

// waits is how long the rung's own waiting may take.
func (r Rung) waits() time.Duration {
	if r.Within > 0 {
		return r.Within
	}
	return DefaultWithin
}

// waits is how long one action of a control may take; without a control it takes no time.
func (c *Control) waits() time.Duration {
	switch {
	case c == nil:
		return 0
	case c.Timeout > 0:
		return c.Timeout
	}
	return DefaultControlTimeout
}
