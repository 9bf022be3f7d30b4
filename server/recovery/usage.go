package recovery

import (
	"slices"
	"strconv"
)

// usage is what attempts under way take: slots of resources, places in groups, and each council's share.
type usage struct {
	slots    map[string]int // free ones, by resource
	group    map[string]int // members being worked on and not yet proven
	councils map[string]int // attempts under way
}

func newUsage(resources []Resource) usage {
	u := usage{slots: map[string]int{ResourceSSH: DefaultSSHSlots}, group: map[string]int{}, councils: map[string]int{}}
	for _, r := range resources {
		u.slots[r.Name] = r.Slots
	}
	return u
}

// take books the slots of one attempt on a rung; with n = -1 it gives them back. A restore takes one of each repository that it reads,
// until it has ended, and none of ssh.
func (u *usage) take(h *Host, rung int, reads []string, n int) {
	if !restores(h, rung) {
		u.slots[ResourceSSH] -= n
	}
	u.takeAll(reads, n)
	u.takeAll(rungResources(h, rung), n)
	for _, r := range h.Resources {
		if !slices.Contains(rungResources(h, rung), r) { // an attempt takes one slot of each, however often it is named
			u.takeOne(r, n)
		}
	}
	u.councils[h.Council] += n
}

func (u *usage) takeAll(resources []string, n int) {
	for _, r := range resources {
		u.takeOne(r, n)
	}
}

func (u *usage) takeOne(resource string, n int) {
	if _, scarce := u.slots[resource]; scarce && resource != ResourceSSH {
		u.slots[resource] -= n
	}
}

// rungResources are what an attempt on the rung takes besides the host's, and holds until the host is proven: a host that
// starts weighs on its hypervisor and its power as long as it starts.
func rungResources(h *Host, rung int) []string {
	if rung < 0 || rung >= len(h.Ladder) {
		return nil
	}
	return h.Ladder[rung].Resources
}

// restores reports whether a rung is a restore.
func restores(h *Host, rung int) bool {
	return rung >= 0 && rung < len(h.Ladder) && h.Ladder[rung].Kind == RungRestore
}

// fullFor names a resource without a free slot that an attempt on the rung needs, or "".
func (u *usage) fullFor(h *Host, rung int, reads []string) string {
	if u.slots[ResourceSSH] <= 0 && !restores(h, rung) {
		return ResourceSSH
	}
	for _, list := range [][]string{reads, h.Resources, rungResources(h, rung)} {
		for _, name := range list {
			if n, ok := u.slots[name]; ok && n <= 0 {
				return name
			}
		}
	}
	return ""
}

// groupFull counts the members of a group that are being worked on, and reports whether these are the most allowed.
func (u *usage) groupFull(g *Group) (int, bool) {
	n := u.group[g.Name]
	return n, n >= max(1, g.MaxAtOnce)
}

func groupIsFull(g *Group, n int) Reason {
	return Reason{WaitGroup, strconv.Itoa(n) + " of group " + g.Name + " are being worked on, the most allowed"}
}

func slotIsTaken(resource string) Reason { return Reason{WaitSlot, "no free slot on " + resource} }

// turn is the council whose turn it is: of those that wait, the first of those with the fewest attempts under way.
func (u *usage) turn(councils []string, waits func(council string) bool) (best string, found bool) {
	for _, c := range councils {
		if waits(c) && (!found || u.councils[c] < u.councils[best]) {
			best, found = c, true
		}
	}
	return best, found
}
