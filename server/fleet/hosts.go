package fleet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func (b *builder) hostList(e *fileEntry) {
	book := newHostBook()
	b.defaults = (&partEntry{at: e.Defaults.at, settings: e.Defaults.settings}).says()
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
		b.hosts(entry, hostNames, book)
	}
	if len(e.Hosts) == 0 && len(b.list) == 0 {
		b.add(top, "write hosts: with at least one entry", "the fleet has no hosts")
	}
}

// inherit fills in what only defaults may say instead of the entry; settle does the rest.
func (e *hostEntry) inherit(d hostFields) {
	texts := func(own *text, other text) {
		if !own.at.given() {
			*own = other
		}
	}
	texts(&e.Service, d.Service)
	texts(&e.Tier, d.Tier)
	texts(&e.Site, d.Site)
	if e.Groups == nil {
		e.Groups = d.Groups
	}
}

// alike is what hosts of one entry have in common that are in the same groups.
type alike struct {
	host      recovery.Host
	ladder    ladder
	addresses [][]netip.Addr // by rung, then by host
	power     *control
	options   table[option]
}

// entryHosts is one entry while its hosts are made.
type entryHosts struct {
	hostEntry
	count                       int
	macs                        [][]string // by host
	uuids                       []string
	lists                       addressLists
	alike                       map[string]*alike
	twice, taken, cards, boards repeated
	switches, targets           repeated
}

// hosts adds the hosts of one entry. Without names (they were refused) it only checks the rest.
func (b *builder) hosts(e hostEntry, hostNames []string, book *hostBook) {
	x := &entryHosts{hostEntry: e, count: len(hostNames), alike: map[string]*alike{}}
	x.lists.own = b.addresses(e.Address, x.count, nil, false)
	x.macs, x.uuids = b.identities(e, x.count)
	if x.count == 0 {
		b.alikeOf(x, "")
	}
	for n, name := range hostNames {
		if problem, do := checkName(name); problem != "" {
			b.add(e.Name.at, do, "a host's name %s", problem)
			return
		}
		b.host(x, n, name, book)
	}
	b.repeats(x)
	b.shared(x)
}

// host adds host n of an entry.
func (b *builder) host(x *entryHosts, n int, name string, book *hostBook) {
	a := b.alikeOf(x, name)
	who := owner{name, x.Name.line}
	if !book.call(who, &x.twice) {
		return
	}
	h := a.host
	h.Name, h.MACs, h.UUID = name, x.macs[n], x.uuids[n]
	for _, card := range h.MACs {
		book.identify(who, card, &x.cards)
	}
	book.identify(who, h.UUID, &x.boards)
	f := x.facts(&h, n)
	if a.power != nil {
		h.Power = b.forHost(a.power, a.options, &f)
	}
	h.Ladder = make([]recovery.Rung, len(a.ladder))
	for i := range a.ladder {
		h.Ladder[i] = b.rungFor(&a.ladder[i], &f)
		if a.addresses[i] != nil {
			h.Ladder[i].Address = a.addresses[i][n].String()
			book.lead(who, &h.Ladder[i], a.addresses[i][n], &x.taken)
		}
		if restartsByPower(h.Ladder[i].Kind) {
			book.command(who, sectionPower, h.Power, &x.switches)
		}
		book.command(who, sectionBoot, h.Ladder[i].Boot, &x.targets)
	}
	if b.facts != nil {
		b.facts[name] = f
	}
	b.restorer(x, a.ladder, f)
	b.out.Hosts = append(b.out.Hosts, h)
}

// repeats tells what hosts of the entry share with earlier ones.
func (b *builder) repeats(x *entryHosts) {
	address := x.Address.at
	if !address.given() {
		address = x.Name.at
	}
	if r := x.twice; r.count > 0 {
		b.add(x.Name.at, "rename or remove one of them", "host %s is already in line %d%s", r.what, r.first.line, r.more())
	}
	for _, r := range []struct {
		where at
		what  string
		repeated
	}{{address, "address", x.taken}, {x.MAC.first(), "mac", x.cards}, {x.UUID.at, "uuid", x.boards}} {
		if r.count > 0 {
			b.add(r.where, "give each host its own", "%s %s is already that of host %s in line %d%s", r.what, r.repeated.what, r.first.name, r.first.line, r.more())
		}
	}
}

// shared tells which control would act on another host as well. It speaks only of a file that is right so far: what could not be filled
// in would look alike.
func (b *builder) shared(x *entryHosts) {
	if len(b.list) > 0 {
		return
	}
	for _, r := range []struct {
		section string
		repeated
	}{{sectionPower, x.switches}, {sectionBoot, x.targets}} {
		if r.count > 0 {
			b.add(x.Name.at, "let an option differ from host to host, by {name}, {address} and the like, or give the host's power: options of its own",
				"%s control %s is told the same for host %s in line %d%s: what switches one would switch the other", r.section, r.what, r.first.name, r.first.line, r.more())
		}
	}
}

// facts are what the file's places stand for on host n of the entry.
func (x *entryHosts) facts(h *recovery.Host, n int) facts {
	f := facts{name: h.Name, uuid: h.UUID}
	switch {
	case x.lists.own != nil:
		f.address = x.lists.own[n]
	case x.Address.at.given():
		f.address = sample.address
	}
	switch {
	case len(h.MACs) > 0:
		f.mac = h.MACs[0]
	case len(x.MAC) > 0:
		f.mac = sample.mac
	}
	if h.UUID == "" && x.UUID.at.given() {
		f.uuid = sample.uuid
	}
	return f
}

// alikeOf finds what a host of the entry has in common with those that are in the same groups, or makes it.
func (b *builder) alikeOf(x *entryHosts, name string) *alike {
	groups, site := b.parts.applying(name, &x.hostEntry)
	key := fmt.Sprint(groups)
	if a, ok := x.alike[key]; ok {
		return a
	}
	label := x.label()
	if len(b.parts.groups[name]) > 0 { // perhaps not all of the entry
		label = name
	}
	e := x.hostEntry
	b.settle(&e, label, groups, site)
	a := &alike{host: b.common(e, label)}
	a.power = b.powerOf(e, label)
	a.options = e.Power.Options
	a.ladder = slices.Clone(b.entryLadder(e, label, a.host.OS))
	for i := range a.ladder {
		a.ladder[i].Resources = a.ladder[i].guarded(a.power, a.host.Resources)
	}
	if x.count > 0 {
		a.addresses = b.rungAddresses(e, label, a.ladder, x.count, &x.lists)
	}
	x.alike[key] = a
	return a
}

// common makes what all hosts of a settled entry have in common, apart from their ladder and power.
func (b *builder) common(e hostEntry, label string) recovery.Host {
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
		b.add(e.at, "give it a service:, or a tier: of its own", "host %s has no tier", label)
	}
	if known(b, b.sites, e.Site, "site", "sites:") && b.sites[e.Site.s] {
		h.Resources = append(h.Resources, e.Site.s)
	}
	for _, r := range b.scarceOnes(e.Resources) {
		if r != recovery.ResourceSSH && !slices.Contains(h.Resources, r) { // every SSH attempt takes a slot of ssh by itself
			h.Resources = append(h.Resources, r)
		}
	}
	h.Groups = b.uses(b.groups, e.Groups, "group", "groups:")
	family, _, _ := strings.Cut(e.OS.s, "-")
	switch {
	case !e.OS.at.given():
		b.add(e.at, "write os: windows-2019, or put it into defaults", "host %s has no os", label)
	case e.OS.given() && family != "windows" && family != "linux":
		b.add(e.OS.at, "write windows or linux, with an optional version after a hyphen", "os is %s", quote(e.OS.s))
	}
	return h
}

// label is how messages call the hosts of an entry.
func (e *hostEntry) label() string { return e.Name.or("without a name") }

// powerOf finds what switches the hosts of a settled entry on and off; nil when nothing does.
func (b *builder) powerOf(e hostEntry, label string) *control {
	use := e.Power.Use
	switch {
	case !use.at.given() && len(e.Power.Options) > 0:
		b.add(e.Power.at, "add use:, or a power: to its site or to defaults", "power of host %s has options, but says not of which control", label)
		return nil
	case use.s == noControl:
		if len(e.Power.Options) > 0 {
			b.add(e.Power.at, "remove them", "power of host %s is none, but has options", label)
		}
		return nil
	case !known(b, b.power, use, "power control", "power:"):
		return nil
	}
	c := b.power[use.s]
	b.options(e.Power.Options, "power of host "+label, controlOptions)
	for _, row := range c.Secrets {
		b.apart(e.Power.Options, row.Key.s, c)
	}
	return c
}

// entryLadder finds or makes the ladder of a settled entry, and checks that its hosts can climb it.
func (b *builder) entryLadder(e hostEntry, label, os string) ladder {
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
	for _, r := range l {
		if !byLogin(r.Kind) {
			continue
		}
		ssh++
		if r.Kind == recovery.RungRescue {
			b.bootable(e, label, &r)
		}
		if os == "" {
			continue
		}
		if windows && r.Environment == recovery.EnvLinux || !windows && r.Environment == recovery.EnvWindowsSafeMode {
			b.add(e.at, "choose another ladder, or correct the rung's environment", "rung %s leads into %s, but the os of host %s is %s", r.Name, r.Environment, label, os)
		}
	}
	if ssh == 0 && e.Address.given() && !e.Ladder.at.given() {
		b.add(e.Address.at, "give the host a ladder:, or remove the address", "host %s has an address but no ladder that would use it", label)
	}
	for _, row := range e.Addresses {
		i := slices.IndexFunc(l, func(r rung) bool { return r.Name == row.Key.s && byLogin(r.Kind) })
		switch {
		case i < 0 && ssh > 0:
			b.add(row.Key.at, "name a rung of its ladder, or remove it", "host %s has no SSH rung named %s", label, quote(row.Key.s))
		case i >= 0 && !row.Value.at.given():
			b.add(row.Key.at, "write it, or remove the line", "rung %s has no address", row.Key.s)
		}
	}
	return l
}

// bootable checks that the hosts can be booted into the rescue system. However it was booted, it asks for its keys by the MAC
// addresses and the UUID that it finds.
func (b *builder) bootable(e hostEntry, label string, r *rung) {
	if !e.Power.at.given() || e.Power.Use.s == noControl {
		b.add(e.at, "give it power:, or another ladder", "rung %s restarts host %s, but nothing switches it on and off", r.Name, label)
	}
	if len(e.MAC) == 0 && !e.UUID.at.given() {
		b.add(e.at, "give it mac: or uuid:", "rung %s boots host %s into the rescue system, which could not tell whose disk it sees", r.Name, label)
	}
}
