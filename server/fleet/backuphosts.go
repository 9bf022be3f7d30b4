package fleet

import (
	"slices"
	"strings"
)

// setHosts finds the hosts of an entry, and the hosts whose agents work for them.
func (b *builder) setHosts(x *backupSets, hosts map[string]int) {
	if !x.Host.given() || len(hosts) == 0 {
		return
	}
	p, problem, do := parsePattern(x.Host.s, maxSets)
	if problem != "" {
		b.add(x.Host.at, do, "host %s", problem)
		return
	}
	for _, name := range p.expand() {
		i, ok := hosts[name]
		if !ok {
			b.add(x.Host.at, "declare it in hosts: or correct the name", "%s is of an unknown host %s", x.label(), quote(name))
			x.hosts = nil
			return
		}
		x.hosts = append(x.hosts, i)
	}
	b.setRunners(x, hosts)
}

// setRunners finds whose agents work for the hosts of an entry.
func (b *builder) setRunners(x *backupSets, hosts map[string]int) {
	runsOn := x.hosts
	if x.Runner.given() {
		words, problem, do := wordsFor(x.Runner.s, len(x.hosts))
		if problem != "" {
			b.add(x.Runner.at, do, "runner %s", problem)
			x.hosts = nil
			return
		}
		runsOn = make([]int, len(words))
		for n, name := range words {
			i, ok := hosts[name]
			if !ok {
				b.add(x.Runner.at, "declare it in hosts: or correct the name", "runner of %s is an unknown host %s", x.label(), quote(name))
				x.hosts = nil
				return
			}
			runsOn[n] = i
		}
		x.runners = words
	}
	x.windows = make([]bool, len(runsOn))
	for n, i := range runsOn {
		h := &b.out.Hosts[i]
		x.windows[n] = strings.HasPrefix(h.OS, "windows")
		switch {
		case h.Agent:
		case x.runners != nil:
			b.once(x.Runner.at, "name a host with an agent", "runner %s of %s has no agent, which would do the work", h.Name, x.label())
		default:
			b.once(x.Host.at, "add runner: and the name of a host with an agent", "host %s of %s has no agent, which would do the work", h.Name, x.label())
		}
	}
}

// wordsFor writes a text out for count hosts: a range of that length, or one word for all.
func wordsFor(s string, count int) (words []string, problem, do string) {
	if !strings.Contains(s, "[") {
		return slices.Repeat([]string{s}, count), "", ""
	}
	return expandFor(s, count)
}

// setNames names the data sets of an entry.
func (b *builder) setNames(x *backupSets, book *backupBook) {
	if !x.Name.given() || len(x.hosts) == 0 {
		return
	}
	if problem, do := checkPlaces(x.Name.s); problem != "" {
		b.add(x.Name.at, do, "the data set's name %s", problem)
		return
	}
	if len(x.hosts) > 1 && !strings.ContainsAny(x.Name.s, "{[") {
		b.add(x.Name.at, "put {name} into it, or a range of the same length", "%s is of %d hosts, but data sets have names of their own", x.label(), len(x.hosts))
		return
	}
	words, problem, do := wordsFor(x.Name.s, len(x.hosts))
	if problem != "" {
		b.add(x.Name.at, do, "data set %s", problem)
		return
	}
	var twice repeated
	for n, word := range words {
		f := b.facts[b.out.Hosts[x.hosts[n]].Name]
		name := b.fill(x.Name.at, word, "the data set's name", &f)
		if problem, do := checkName(name); problem != "" {
			b.add(x.Name.at, do, "a data set's name %s", problem)
			return
		}
		if first, ok := book.names[strings.ToLower(name)]; ok {
			twice.note(name, first)
			name = ""
		} else {
			book.names[strings.ToLower(name)] = owner{name, x.Name.line}
		}
		words[n] = name
	}
	if twice.count > 0 {
		b.add(x.Name.at, "rename one of them, or put {name} into it", "data set %s is already in line %d%s", twice.what, twice.first.line, twice.more())
	}
	x.names = words
}
