package fleet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// hostBook is what must be there once in the whole file.
type hostBook struct {
	names     map[string]owner // by name in lower case: certificates and file systems do not tell cases apart
	endpoints map[endpoint]owner
}

type owner struct {
	name string
	line int
}

// endpoint is where an SSH connection ends. The same private address may be used behind different jump hosts.
type endpoint struct {
	via string
	to  netip.AddrPort
}

func (b *builder) hostList(e *fileEntry) {
	book := hostBook{map[string]owner{}, map[endpoint]owner{}}
	room := maxHosts
	for _, entry := range e.Hosts {
		entry.inherit(e.Defaults)
		p, problem, do := parsePattern(entry.Name.s, maxHosts)
		if problem == "" && p.count > room {
			problem, do = fmt.Sprintf("%s makes more than %d hosts in all", quote(entry.Name.s), maxHosts), "split the estate"
		}
		var hostNames []string
		switch {
		case !entry.Name.given():
		case problem != "":
			b.add(entry.Name.at, do, "host %s", problem)
		default:
			room -= p.count
			hostNames = p.expand()
		}
		b.hosts(entry, hostNames, &book)
	}
	if len(e.Hosts) == 0 && len(b.list) == 0 {
		b.add(top, "write hosts: with at least one entry", "the fleet has no hosts")
	}
}

// inherit fills in what the entry does not say.
func (e *hostEntry) inherit(d hostFields) {
	texts := func(own *text, other text) {
		if !own.at.given() {
			*own = other
		}
	}
	texts(&e.Service, d.Service)
	texts(&e.Tier, d.Tier)
	texts(&e.Site, d.Site)
	texts(&e.OS, d.OS)
	texts(&e.Data, d.Data)
	if !e.Critical.given() {
		e.Critical = d.Critical
	}
	if !e.Agent.given() {
		e.Agent = d.Agent
	}
	if e.Groups == nil {
		e.Groups = d.Groups
	}
	if e.Resources == nil {
		e.Resources = d.Resources
	}
	if !e.Ladder.at.given() {
		e.Ladder = d.Ladder
	}
	if !e.EDR.given() {
		e.EDR = d.EDR
	}
}

// hosts adds the hosts of one entry. Without names (they were refused) it only checks the rest.
func (b *builder) hosts(e hostEntry, hostNames []string, book *hostBook) {
	h := b.template(e)
	l := b.entryLadder(e, h.OS)
	var addresses [][]netip.Addr
	if len(hostNames) > 0 {
		addresses = b.rungAddresses(e, l, len(hostNames))
	}
	var twice, taken repeated
	for n, name := range hostNames {
		if problem, do := checkName(name); problem != "" {
			b.add(e.Name.at, do, "a host's name %s", problem)
			return
		}
		lower := strings.ToLower(name)
		if first, ok := book.names[lower]; ok {
			twice.note(name, first)
			continue
		}
		book.names[lower] = owner{name, e.Name.line}
		h.Name = name
		h.Ladder = slices.Clone(l.rungs)
		for i := range h.Ladder {
			if addresses[i] == nil {
				continue
			}
			rung, a := &h.Ladder[i], addresses[i][n]
			rung.Address = a.String()
			to := endpoint{strings.Join(rung.Jump, " "), netip.AddrPortFrom(a, uint16(rung.Port))} //nolint:gosec // checked: 1 to 65535
			if first, ok := book.endpoints[to]; ok && first.name != name {
				taken.note(to.to.String(), first)
				continue
			}
			book.endpoints[to] = owner{name, e.Name.line}
		}
		b.out.Hosts = append(b.out.Hosts, h)
	}
	if twice.count > 0 {
		b.add(e.Name.at, "rename or remove one of them", "host %s is already in line %d%s", twice.what, twice.first.line, twice.more())
	}
	if taken.count > 0 {
		where := e.Address.at
		if !where.given() {
			where = e.Name.at
		}
		b.add(where, "give each host its own", "address %s is already that of host %s in line %d%s", taken.what, taken.first.name, taken.first.line, taken.more())
	}
}

// repeated gathers what one entry has in common with earlier ones, to tell it once.
type repeated struct {
	what  string
	first owner
	count int
}

func (r *repeated) note(what string, first owner) {
	if r.count == 0 {
		r.what, r.first = what, first
	}
	r.count++
}

func (r *repeated) more() string {
	if r.count == 1 {
		return ""
	}
	return fmt.Sprintf(" (and %d more like it)", r.count-1)
}

// template makes what all hosts of an entry have in common.
func (b *builder) template(e hostEntry) recovery.Host {
	h := recovery.Host{
		Service: e.Service.s, Tier: e.Tier.s, Site: e.Site.s, OS: e.OS.s,
		Data: recovery.DataClass(e.Data.or(string(recovery.DataPrimary))), Critical: e.Critical.on,
		Agent: e.Agent.on || !e.Agent.given(), EDR: recovery.EDR{Product: e.EDR.Product.s, Version: e.EDR.Version.s},
	}
	known(b, b.tiers, e.Tier, "tier", "tiers:")
	if known(b, b.services, e.Service, "service", "services:") {
		s := b.out.Services[b.services[e.Service.s]]
		h.Council = s.Council
		if h.Tier == "" {
			h.Tier = s.Tier
		}
	}
	if !e.Service.at.given() && !e.Tier.at.given() {
		b.add(e.at, "give it a service:, or a tier: of its own", "host %s has no tier", e.label())
	}
	if known(b, b.sites, e.Site, "site", "sites:") && b.sites[e.Site.s] {
		h.Resources = append(h.Resources, e.Site.s)
	}
	for _, r := range b.uses(b.resources, e.Resources, "resource", "resources:") {
		if r != recovery.ResourceSSH && !slices.Contains(h.Resources, r) { // every SSH attempt takes a slot of ssh by itself
			h.Resources = append(h.Resources, r)
		}
	}
	h.Groups = b.uses(b.groups, e.Groups, "group", "groups:")
	family, _, _ := strings.Cut(e.OS.s, "-")
	switch {
	case !e.OS.at.given():
		b.add(e.at, "write os: windows-2019, or put it into defaults", "host %s has no os", e.label())
	case e.OS.given() && family != "windows" && family != "linux":
		b.add(e.OS.at, "write windows or linux, with an optional version after a hyphen", "os is %s", quote(e.OS.s))
	}
	return h
}

// label is how messages call the hosts of an entry.
func (e *hostEntry) label() string { return e.Name.or("without a name") }

// entryLadder finds or makes the entry's ladder.
func (b *builder) entryLadder(e hostEntry, os string) ladder {
	var l ladder
	switch {
	case e.Ladder.Rungs != nil:
		l = b.ladder(e.Ladder.Rungs)
	case e.Ladder.given() && known(b, b.ladders, e.Ladder.text, "ladder", "ladders:"):
		l = b.ladders[e.Ladder.s]
	default:
		l = b.ladder(nil)
	}
	windows := strings.HasPrefix(os, "windows")
	ssh := 0
	for _, r := range l.rungs {
		if r.Kind != recovery.RungSSH {
			continue
		}
		ssh++
		if os == "" {
			continue
		}
		if windows && r.Environment == recovery.EnvLinux || !windows && r.Environment == recovery.EnvWindowsSafeMode {
			b.add(e.at, "choose another ladder, or correct the rung's environment", "rung %s leads into %s, but the os of host %s is %s", r.Name, r.Environment, e.label(), os)
		}
	}
	if ssh == 0 && e.Address.given() && !e.Ladder.at.given() {
		b.add(e.Address.at, "give the host a ladder:, or remove the address", "host %s has an address but no ladder that would use it", e.label())
	}
	for _, row := range e.Addresses {
		i := slices.IndexFunc(l.rungs, func(r recovery.Rung) bool { return r.Name == row.Key.s && r.Kind == recovery.RungSSH })
		switch {
		case i < 0 && ssh > 0:
			b.add(row.Key.at, "name a rung of its ladder, or remove it", "host %s has no SSH rung named %s", e.label(), quote(row.Key.s))
		case i >= 0 && !row.Value.at.given():
			b.add(row.Key.at, "write it, or remove the line", "rung %s has no address", row.Key.s)
		}
	}
	return l
}

// rungAddresses finds each SSH rung's addresses for the entry's hosts: those that the entry gives this rung, else the
// rung's own, else the hosts'. Other rungs, and those whose addresses were refused, have nil.
func (b *builder) rungAddresses(e hostEntry, l ladder, count int) [][]netip.Addr {
	own := b.addresses(e.Address, count, nil)
	out := make([][]netip.Addr, len(l.rungs))
	for i, r := range l.rungs {
		if r.Kind != recovery.RungSSH {
			continue
		}
		from := l.addresses[i]
		for _, row := range e.Addresses {
			if row.Key.s == r.Name {
				from = row.Value
			}
		}
		switch {
		case e.Address.at.given() && own == nil: // refused, and said so
		case from.given():
			out[i] = b.addresses(from, count, own)
		case from.at.given():
		case e.Address.at.given():
			out[i] = own
		default:
			b.add(e.at, "give the host an address:, or one for this rung in addresses:", "rung %s leads nowhere: host %s has no address", r.Name, e.label())
		}
	}
	return out
}

// addresses reads count addresses; nil means that there are none, or that they were refused.
func (b *builder) addresses(t text, count int, hosts []netip.Addr) []netip.Addr {
	if !t.given() {
		return nil
	}
	if !strings.Contains(t.s, "{") {
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
