package fleet

import (
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// resourceList makes the resources: those of the file, ssh, and every site that has a number.
func (b *builder) resourceList(e *fileEntry) {
	b.sites, b.resources = map[string]bool{}, map[string]int{}
	slots := func(r row[whole], what string) {
		if r.Value.n < 1 {
			b.add(r.Value.at, "write 1 or more", "%s %s has 0 slots", what, r.Key.s)
		}
		b.out.Resources = append(b.out.Resources, recovery.Resource{Name: r.Key.s, Slots: r.Value.n})
	}
	for _, r := range e.Resources {
		if !r.Value.given() {
			b.add(r.Key.at, "write a number after it", "resource %s has no slots", r.Key.s)
			continue
		}
		b.declare(b.resources, r.Key, len(b.out.Resources), "resource")
		slots(r, "resource")
	}
	if _, ok := b.resources[recovery.ResourceSSH]; !ok {
		b.resources[recovery.ResourceSSH] = len(b.out.Resources)
		b.out.Resources = append(b.out.Resources, recovery.Resource{Name: recovery.ResourceSSH, Slots: recovery.DefaultSSHSlots})
	}
	for _, r := range e.Sites {
		b.name(r.Key, "site")
		b.sites[r.Key.s] = r.Value.given()
		if _, ok := b.resources[r.Key.s]; ok {
			b.add(r.Key.at, "rename one of them", "site %s has the name of a resource", r.Key.s)
			continue
		}
		if r.Value.given() {
			b.resources[r.Key.s] = len(b.out.Resources)
			slots(r, "site")
		}
	}
}

// scarceOnes checks a list of resources, of a host or a rung.
func (b *builder) scarceOnes(list names) []string {
	for _, t := range list {
		if _, ok := b.stores[t.s]; ok {
			b.add(t.at, "remove it", "repository %s is named as a resource, but a restore takes its slot by itself", t.s)
		}
	}
	return b.uses(b.resources, list, "resource", "resources:")
}

func (b *builder) groupList(entries []groupEntry) {
	b.groups = map[string]int{}
	for i, e := range entries {
		b.declare(b.groups, e.Name, i, "group")
		if e.MaxAtOnce.given() && e.MaxAtOnce.n < 1 {
			b.add(e.MaxAtOnce.at, "write 1 or more, or nobody could ever work on its members", "max-at-once of group %s is 0", e.Name.s)
		}
		if e.MaxDownTogether.given() && e.MaxDownTogether.n < 1 {
			b.add(e.MaxDownTogether.at, "write 1 or more, or leave the key out", "max-down-together of group %s is 0", e.Name.s)
		}
		b.out.Groups = append(b.out.Groups, recovery.Group{Name: e.Name.s, MaxAtOnce: e.MaxAtOnce.n, MaxDown: e.MaxDownTogether.n})
	}
}

// memberList is the hosts that one item of a group's members means.
type memberList struct {
	text
	hosts []string
}

// memberNames writes out the groups' members.
func (b *builder) memberNames(entries []groupEntry) {
	b.named = make([][]memberList, len(entries))
	named := 0
	for i, e := range entries {
		for _, t := range e.Members {
			p, problem, do := parsePattern(t.s, maxHosts)
			if problem != "" {
				b.add(t.at, do, "member %s", problem)
				continue
			}
			if named += p.count; named > maxMembers {
				b.add(t.at, "use fewer or smaller groups", "the groups name more than %d members", maxMembers)
				return
			}
			b.named[i] = append(b.named[i], memberList{t, p.expand()})
		}
	}
}

// members puts hosts into the groups that name them, and refuses groups that stay empty.
func (b *builder) members(entries []groupEntry) {
	if len(b.out.Hosts) == 0 {
		return
	}
	index := make(map[string]int, len(b.out.Hosts))
	size := make([]int, len(b.out.Groups))
	for i, h := range b.out.Hosts {
		index[h.Name] = i
		for _, g := range h.Groups {
			size[b.groups[g]]++
		}
	}
	for i, e := range entries {
		for _, m := range b.named[i] {
			for _, name := range m.hosts {
				h, ok := index[name]
				if !ok {
					b.add(m.at, "declare it in hosts: or correct the name", "group %s has an unknown member %s", e.Name.s, quote(name))
					break
				}
				host := &b.out.Hosts[h]
				if len(host.Groups) >= maxList {
					b.add(m.at, "merge groups", "host %s is in more than %d groups", name, maxList)
					break
				}
				if !slices.Contains(host.Groups, e.Name.s) {
					host.Groups = append(slices.Clip(host.Groups), e.Name.s)
				}
			}
		}
		if len(e.Members) == 0 && size[i] == 0 {
			b.add(e.at, "write its members:, or remove it", "group %s has no members", e.Name.s)
		}
	}
}
