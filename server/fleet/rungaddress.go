package fleet

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// addressLists are the addresses that an entry's texts stand for, each read once. A text stands for one shared address on some
// rungs and for a row of them on others.
type addressLists struct {
	own  []netip.Addr
	read map[addressText][]netip.Addr
}

type addressText struct {
	at
	shared bool
}

// rungAddresses finds each rung's addresses for the entry's hosts: those that the entry gives this rung, else the rung's own,
// else the hosts'. A person and a backup have none, nor have rungs whose addresses were refused.
func (b *builder) rungAddresses(e hostEntry, label string, l ladder, count int, lists *addressLists) [][]netip.Addr {
	out := make([][]netip.Addr, len(l))
	for i, r := range l {
		if !byLogin(r.Kind) {
			continue
		}
		from, helper := r.address, r.Kind == recovery.RungHelper
		for _, row := range e.Addresses {
			if row.Key.s == r.Name {
				from = row.Value
			}
		}
		switch {
		case e.Address.at.given() && lists.own == nil: // refused, and said so
		case from.given():
			key := addressText{from.at, helper}
			if _, ok := lists.read[key]; !ok {
				if lists.read == nil {
					lists.read = map[addressText][]netip.Addr{}
				}
				lists.read[key] = b.addresses(from, count, lists.own, helper)
			}
			out[i] = lists.read[key]
		case from.at.given():
		case helper:
			b.add(e.at, "give the rung the helper's address:, or the host one in addresses:", "rung %s of host %s leads nowhere: the helper has no address", r.Name, label)
		case e.Address.at.given():
			out[i] = lists.own
		default:
			b.add(e.at, "give the host an address:, or one for this rung in addresses:", "rung %s leads nowhere: host %s has no address", r.Name, label)
		}
	}
	return out
}

// addresses reads count addresses; nil means that there are none, or that they were refused. Where it is shared, one address
// written out is the same for all, and else the first of a row.
func (b *builder) addresses(t text, count int, hosts []netip.Addr, shared bool) []netip.Addr {
	if !t.given() || count == 0 {
		return nil
	}
	if !strings.Contains(t.s, "{") {
		if shared && !strings.Contains(t.s, "[") {
			a, problem, do := parseAddress(t.s)
			if problem != "" {
				b.add(t.at, do, "address %s", problem)
				return nil
			}
			return slices.Repeat([]netip.Addr{a}, count)
		}
		list, problem, do := parseAddresses(t.s, count)
		if problem != "" {
			b.add(t.at, do, "address %s", problem)
		}
		return list
	}
	if hosts == nil {
		b.add(t.at, "give the host an address:, or write this one out", "address %s is made of the host's own, which it does not have", quote(t.s))
		return nil
	}
	out := make([]netip.Addr, len(hosts))
	for i, h := range hosts {
		a, problem, do := fromOctets(t.s, h)
		if problem != "" {
			b.add(t.at, do, "address %s", problem)
			return nil
		}
		out[i] = a
	}
	return out
}
