package fleet

import (
	"fmt"
	"slices"
	"strings"
)

// parts is defaults-for: what each entry says, which entries are for a site or group, and who is in which group.
type parts struct {
	says    [][]setting
	bySite  map[string][]int // indices in says
	byGroup map[string][]int
	groups  map[string][]string // groups by host, where the group names it as a member; only groups in byGroup
}

// partList checks the entries of defaults-for. It needs the groups' members.
func (b *builder) partList(entries []partEntry, groups []groupEntry) {
	if len(entries) > maxParts {
		b.add(entries[maxParts].at, "merge some: site: and group: take lists", "there are more than %d entries in defaults-for", maxParts)
		entries = entries[:maxParts]
	}
	b.parts = parts{bySite: map[string][]int{}, byGroup: map[string][]int{}, groups: map[string][]string{}}
	for i, e := range entries {
		says := e.says()
		switch site, group := e.Site != nil, e.Group != nil; {
		case site == group:
			b.add(e.at, "write one of site: and group:", "an entry of defaults-for is for one or more sites, or for one or more groups")
		case len(says) == 0:
			b.add(e.at, "write what its hosts get, or remove it", "an entry of defaults-for gives nothing")
		}
		for _, t := range e.Site {
			if known(b, b.sites, t, "site", "sites:") {
				b.parts.bySite[t.s] = append(b.parts.bySite[t.s], i)
			}
		}
		for _, t := range e.Group {
			if known(b, b.groups, t, "group", "groups:") {
				b.parts.byGroup[t.s] = append(b.parts.byGroup[t.s], i)
			}
		}
		b.references(&e.settings)
		b.parts.says = append(b.parts.says, says)
	}
	for i, e := range groups {
		if b.parts.byGroup[e.Name.s] == nil {
			continue
		}
		for _, m := range b.named[i] {
			for _, host := range m.hosts {
				b.parts.groups[host] = append(b.parts.groups[host], e.Name.s)
			}
		}
	}
}

// references checks the names in settings that perhaps no host uses.
func (b *builder) references(s *settings) {
	b.scarceOnes(s.Resources)
	if s.Ladder.Rungs == nil {
		known(b, b.ladders, s.Ladder.text, "ladder", "ladders:")
	}
	if s.Power.Use.s != noControl {
		known(b, b.power, s.Power.Use, "power control", "power:")
	}
}

// setting is one of the things that settings say.
type setting struct {
	at
	key   string
	value string             // to compare, and for messages
	give  func(to *settings) // hands it on
}

// says lists what an entry gives its hosts, in the order of the type.
func (e *partEntry) says() []setting {
	s := &e.settings
	var list []setting
	add := func(where at, key, value string, give func(to *settings)) {
		if where.given() {
			list = append(list, setting{where, key, value, give})
		}
	}
	add(s.OS.at, "os", s.OS.s, func(to *settings) { to.OS = s.OS })
	add(s.Data.at, "data", s.Data.s, func(to *settings) { to.Data = s.Data })
	add(s.Critical.at, "critical", fmt.Sprint(s.Critical.on), func(to *settings) { to.Critical = s.Critical })
	if s.Resources != nil {
		where := s.Resources.first()
		if !where.given() { // an empty list
			where = e.at
		}
		add(where, "resources", s.Resources.String(), func(to *settings) { to.Resources = s.Resources })
	}
	add(s.Ladder.at, "ladder", s.Ladder.String(), func(to *settings) { to.Ladder = s.Ladder })
	add(s.Power.at, "power", s.Power.String(), func(to *settings) { to.Power = to.Power.over(s.Power) })
	add(s.Agent.at, "agent", fmt.Sprint(s.Agent.on), func(to *settings) { to.Agent = s.Agent })
	add(s.EDR.at, "edr", strings.TrimSpace(s.EDR.Product.s+" "+s.EDR.Version.s), func(to *settings) { to.EDR = s.EDR })
	return list
}

func (l names) String() string {
	words := make([]string, len(l))
	for i, t := range l {
		words[i] = t.s
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func (l ladderRef) String() string {
	if l.Rungs != nil {
		return fmt.Sprintf("of line %d, column %d", l.line, l.col)
	}
	return l.s
}

func (p powerRef) String() string {
	words := make([]string, len(p.Options))
	for i, row := range p.Options {
		words[i] = row.Key.s + "=" + row.Value.s
	}
	slices.Sort(words)
	return strings.TrimSpace(p.Use.s + " " + strings.Join(words, " "))
}

// over returns p with what q adds to it: a control, if p names none, and the options that p does not set. Who names a control
// says all there is to say.
func (p powerRef) over(q powerRef) powerRef {
	if !p.at.given() || p.Use.at.given() {
		if p.at.given() {
			return p
		}
		return q
	}
	p.Use = q.Use
	p.Options = slices.Clip(p.Options)
	for _, row := range q.Options {
		if _, ok := p.Options.get(row.Key.s); !ok {
			p.Options = append(p.Options, row)
		}
	}
	return p
}

// complete reports whether nobody else is asked for this setting any more.
func (s *settings) complete(key string) bool { return key != "power" || s.Power.Use.at.given() }

// applying returns the indices of the parts that a host is in: those of its groups, and those of its site.
func (p *parts) applying(name string, e *hostEntry) (groups, site []int) {
	if len(p.says) == 0 {
		return nil, nil
	}
	for _, t := range e.Groups {
		groups = append(groups, p.byGroup[t.s]...)
	}
	for _, g := range p.groups[name] {
		groups = append(groups, p.byGroup[g]...)
	}
	slices.Sort(groups)
	return slices.Compact(groups), p.bySite[e.Site.s]
}

// settle completes what a host says itself by what its groups say, then its site, then defaults. Of two groups neither goes
// before the other, so they must not differ.
func (b *builder) settle(e *hostEntry, name string, groups, site []int) {
	s := &e.settings
	done := make(map[string]bool, 8)
	for _, own := range (&partEntry{at: e.at, settings: *s}).says() {
		done[own.key] = s.complete(own.key)
	}
	for _, level := range [][][]setting{b.parts.pick(groups), b.parts.pick(site), {b.defaults}} {
		taken := map[string]setting{}
		for _, says := range level {
			for _, said := range says {
				first, again := taken[said.key]
				switch {
				case done[said.key]:
				case !again:
					taken[said.key] = said
					said.give(s)
				case first.value != said.value:
					b.once(said.at, "write "+said.key+": on the host, or in one of these lines only", "host %s gets %s %s here, but %s in line %d, and neither goes before the other",
						name, said.key, said.value, first.value, first.line)
				}
			}
		}
		for key := range taken {
			done[key] = s.complete(key)
		}
	}
}

func (p *parts) pick(indices []int) [][]setting {
	out := make([][]setting, len(indices))
	for i, n := range indices {
		out[i] = p.says[n]
	}
	return out
}
