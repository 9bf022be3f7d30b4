package recovery

import "fmt"

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

// take books the slots of one attempt on a rung; with n = -1 it gives them back.
func (u *usage) take(h *Host, rung, n int) {
	u.slots[ResourceSSH] -= n
	u.takeAll(h.Resources, n)
	u.takeAll(rungResources(h, rung), n)
	u.councils[h.Council] += n
}

func (u *usage) takeAll(resources []string, n int) {
	for _, r := range resources {
		if _, scarce := u.slots[r]; scarce && r != ResourceSSH {
			u.slots[r] -= n
		}
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

func (u *usage) slotBlocked(h *Host, rung int) (Reason, bool) {
	if u.slots[ResourceSSH] <= 0 {
		return Reason{WaitSlot, "no free slot on " + ResourceSSH}, true
	}
	for _, list := range [][]string{h.Resources, rungResources(h, rung)} {
		for _, name := range list {
			if n, ok := u.slots[name]; ok && n <= 0 {
				return Reason{WaitSlot, "no free slot on " + name}, true
			}
		}
	}
	return Reason{}, false
}

func (u *usage) groupFull(g *Group) (Reason, bool) {
	if n, most := u.group[g.Name], max(1, g.MaxAtOnce); n >= most {
		return Reason{WaitGroup, fmt.Sprintf("%d of group %s are being worked on, the most allowed", n, g.Name)}, true
	}
	return Reason{}, false
}

// turn is the council whose turn it is: of those that wait, the first of those with the fewest attempts under way.
func (u *usage) turn(councils []string, waits func(council string) bool) (best string, found bool) {
	for _, c := range councils {
		if waits(c) && (!found || u.councils[c] < u.councils[best]) {
			best, found = c, true
		}
	}
	return best, found
}
