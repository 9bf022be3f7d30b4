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

// take books the slots of one attempt; with n = -1 it gives them back.
func (u *usage) take(h *Host, n int) {
	u.slots[ResourceSSH] -= n
	for _, r := range h.Resources {
		if _, scarce := u.slots[r]; scarce && r != ResourceSSH {
			u.slots[r] -= n
		}
	}
	u.councils[h.Council] += n
}

func (u *usage) slotBlocked(h *Host) (Reason, bool) {
	if u.slots[ResourceSSH] <= 0 {
		return Reason{WaitSlot, "no free slot on " + ResourceSSH}, true
	}
	for _, name := range h.Resources {
		if n, ok := u.slots[name]; ok && n <= 0 {
			return Reason{WaitSlot, "no free slot on " + name}, true
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
