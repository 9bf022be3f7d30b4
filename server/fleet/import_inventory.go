package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// What one inventory may hold, beside the bounds of a fleet file.
const (
	maxInvGroups  = 10_000
	maxInvMembers = 1_000_000 // hosts over all groups
	maxInvLinks   = 1_000_000 // groups above groups, however far
)

// The variables of an inventory that say how a host is reached. All others are left aside, and counted.
const (
	varHost       = "ansible_host"
	varPort       = "ansible_port"
	varUser       = "ansible_user"
	varConnection = "ansible_connection"
	varPriority   = "ansible_group_priority"
)

// oldNames are the names that Ansible 1 gave to the same.
var oldNames = map[string]string{varHost: "ansible_ssh_host", varPort: "ansible_ssh_port", varUser: "ansible_ssh_user"}

// sshArgs are the variables that add to the ssh command, in their order in it.
var sshArgs = []string{"ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"}

var usedVars = func() map[string]bool {
	used := map[string]bool{varHost: true, varPort: true, varUser: true, varConnection: true, varPriority: true}
	for _, name := range append(slices.Collect(maps.Values(oldNames)), sshArgs...) {
		used[name] = true
	}
	return used
}()

// inventory is an Ansible inventory: what its groups and hosts say of how hosts are reached.
type inventory struct {
	reader
	groups  map[string]*invGroup
	hosts   map[string]*invHost
	list    []*invHost     // in the order of the file
	aside   map[string]int // variables without use here, and how often they are set
	members int
	unions  map[string]*invUnion
}

type invGroup struct {
	at
	name     string
	declared bool // more than a mention of its variables
	children []invChild
	parents  []*invGroup
	vars     map[string]invValue
	priority int
	depth    int
	above    map[*invGroup]bool // all that it is in, however far
	state    int                // while cycles are looked for
}

type invChild struct {
	at
	group *invGroup
}

type invHost struct {
	at
	name   string
	groups []*invGroup // those that name it
	vars   map[string]invValue
}

// invUnion is what the hosts of the same groups have in common.
type invUnion struct {
	groups []*invGroup // in the order in which later ones win
	vars   map[string]invValue
}

func newInventory(file string) *inventory {
	inv := &inventory{
		reader: reader{problems: problems{file: file}}, groups: map[string]*invGroup{}, hosts: map[string]*invHost{},
		aside: map[string]int{}, unions: map[string]*invUnion{},
	}
	inv.group("all", top).declared = true
	inv.group("ungrouped", top).declared = true
	return inv
}

// group returns the group of a name, a new one at its first mention.
func (inv *inventory) group(name string, where at) *invGroup {
	g, ok := inv.groups[name]
	if !ok {
		g = &invGroup{at: where, name: name, priority: 1}
		inv.groups[name] = g
		if len(inv.groups) == maxInvGroups+1 {
			inv.add(where, "split the inventory", "there are more than %d groups", maxInvGroups)
		}
	}
	return g
}

// full reports whether a bound is passed, so that nothing more needs to be read.
func (inv *inventory) full() bool {
	return len(inv.groups) > maxInvGroups || inv.members > maxInvMembers || len(inv.list) > maxHosts
}

// addHosts puts hosts, written as one pattern, into a group and returns them.
func (inv *inventory) addHosts(pattern string, g *invGroup, where at) []*invHost {
	names, port, problem, do := hostNames(pattern, maxHosts)
	if problem != "" {
		inv.add(where, do, "%s", problem)
		return nil
	}
	out := make([]*invHost, 0, len(names))
	for _, name := range names {
		h, ok := inv.hosts[name]
		if !ok {
			h = &invHost{at: where, name: name}
			inv.hosts[name] = h
			inv.list = append(inv.list, h)
			if len(inv.list) == maxHosts+1 {
				inv.add(where, "split the inventory", "there are more than %d hosts", maxHosts)
			}
		} else if port != "" && h.vars[varPort].s != port {
			inv.add(where, "write the port there, or as ansible_port", "host %s has a port here, which Ansible heeds only at its first mention, in line %d", name, h.line)
		}
		if !slices.Contains(h.groups, g) {
			h.groups = append(h.groups, g)
			if inv.members++; inv.members == maxInvMembers+1 {
				inv.add(where, "split the inventory", "the groups have more than %d members", maxInvMembers)
			}
		}
		out = append(out, h)
		if inv.full() {
			break
		}
	}
	if port != "" {
		inv.setAll(out, varPort, invValue{at: where, s: port})
	}
	return out
}

// setAll sets a variable of hosts.
func (inv *inventory) setAll(hosts []*invHost, key string, v invValue) {
	if !inv.uses(key, v.at) {
		return
	}
	for _, h := range hosts {
		if h.vars == nil {
			h.vars = map[string]invValue{}
		}
		inv.set(h.vars, key, v, "host "+h.name)
	}
}

// setGroup sets a variable of a group.
func (inv *inventory) setGroup(g *invGroup, key string, v invValue) {
	if !inv.uses(key, v.at) {
		return
	}
	if g.vars == nil {
		g.vars = map[string]invValue{}
	}
	inv.set(g.vars, key, v, "group "+g.name)
	if key == varPriority {
		n, err := strconv.Atoi(v.s)
		if v.problem != "" || err != nil {
			inv.add(v.at, "write a whole number", "%s of group %s is %s, not a whole number", key, g.name, quote(v.s))
		}
		g.priority = n
	}
}

func (inv *inventory) uses(key string, where at) bool {
	if usedVars[key] {
		return true
	}
	if !variableName.MatchString(key) {
		inv.add(where, "correct it, or remove it", "%s is not a variable's name", quote(key))
	}
	inv.aside[key]++
	return false
}

// set keeps a value. Ansible lets the last of several win without a word; here two that differ are a mistake.
func (inv *inventory) set(vars map[string]invValue, key string, v invValue, owner string) {
	if old, ok := vars[key]; ok && !old.same(v) {
		inv.add(v.at, "keep one of the two", "%s of %s was set to something else in line %d", key, owner, old.line)
		return
	} else if !ok {
		vars[key] = v
	}
}

// addChild puts a group into another.
func (inv *inventory) addChild(parent, child *invGroup, where at) {
	switch {
	case child.name == "all" || child.name == "ungrouped" && parent.name != "all":
		inv.add(where, "remove it", "group %s cannot be in group %s", child.name, parent.name)
	case parent.name == "ungrouped":
		inv.add(where, "put it into another group", "ungrouped cannot hold groups")
	case !slices.ContainsFunc(parent.children, func(c invChild) bool { return c.group == child }):
		parent.children = append(parent.children, invChild{where, child})
		child.parents = append(child.parents, parent)
	}
}

// settle ends the reading: it checks what only the whole can tell, and finds each group's place below all. Reports whether
// hosts can be looked at.
func (inv *inventory) settle() bool {
	all, ungrouped := inv.groups["all"], inv.groups["ungrouped"]
	names := slices.Sorted(maps.Keys(inv.groups))
	for _, name := range names {
		g := inv.groups[name]
		if !g.declared {
			inv.add(g.at, "declare it, or remove it", "group %s is used but never declared", name)
		}
		if h, ok := inv.hosts[name]; ok {
			inv.add(h.at, "rename one of them", "%s is a host and a group, which Ansible mixes up", name)
		}
		if g != all && len(g.parents) == 0 {
			g.parents = append(g.parents, all)
		}
	}
	for _, name := range names {
		if !inv.acyclic(inv.groups[name]) {
			return false
		}
	}
	links := 0
	for _, name := range names {
		if links += len(inv.climb(inv.groups[name])); links > maxInvLinks {
			inv.add(inv.groups[name].at, "use fewer groups in groups", "the groups are nested too far")
			return false
		}
	}
	for _, h := range inv.list {
		h.groups = slices.DeleteFunc(h.groups, func(g *invGroup) bool { return g == all || g == ungrouped })
		if len(h.groups) == 0 {
			h.groups = []*invGroup{ungrouped}
		}
	}
	return !inv.full()
}

// acyclic refuses groups that are in themselves.
func (inv *inventory) acyclic(g *invGroup) bool {
	const unseen, open, closed = 0, 1, 2
	if g.state == closed {
		return true
	}
	g.state = open
	sound := true
	for _, c := range g.children {
		switch c.group.state {
		case open:
			inv.add(c.at, "remove it", "group %s in group %s closes a circle", c.group.name, g.name)
			sound = false
		case unseen:
			sound = inv.acyclic(c.group) && sound
		}
	}
	g.state = closed
	return sound
}

// climb finds all groups above a group, and its depth: the longest way down from all.
func (inv *inventory) climb(g *invGroup) map[*invGroup]bool {
	if g.above != nil {
		return g.above
	}
	g.above = map[*invGroup]bool{}
	for _, p := range g.parents {
		g.above[p] = true
		maps.Copy(g.above, inv.climb(p))
		g.depth = max(g.depth, p.depth+1)
	}
	return g.above
}

// union finds what a host's groups say together, as Ansible does: all first, then by depth, priority and name.
func (inv *inventory) union(h *invHost) *invUnion {
	var key strings.Builder
	for _, g := range h.groups {
		fmt.Fprintf(&key, "%p ", g)
	}
	if u, ok := inv.unions[key.String()]; ok {
		return u
	}
	set := map[*invGroup]bool{inv.groups["all"]: true}
	for _, g := range h.groups {
		set[g] = true
		maps.Copy(set, g.above)
	}
	u := &invUnion{groups: slices.Collect(maps.Keys(set)), vars: map[string]invValue{}}
	slices.SortFunc(u.groups, func(a, b *invGroup) int {
		return cmp.Or(cmp.Compare(a.depth, b.depth), cmp.Compare(a.priority, b.priority), strings.Compare(a.name, b.name))
	})
	for _, g := range u.groups {
		maps.Copy(u.vars, g.vars)
	}
	inv.unions[key.String()] = u
	return u
}

// value is what holds for a host: its own, or that of its groups.
func (h *invHost) value(u *invUnion, key string) (invValue, bool) {
	if v, ok := h.vars[key]; ok {
		return v, true
	}
	v, ok := u.vars[key]
	return v, ok
}
