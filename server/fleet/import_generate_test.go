package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator makes inventories by chance, in the subset that docs/importing.md names.
type generator struct {
	*rand.Rand
	groups []*randomGroup
	hosts  []*randomHost
	parts  int
}

type randomGroup struct {
	name     string
	children []*randomGroup
	vars     map[string]string
}

// randomHost is one host, or several of one name with a range.
type randomHost struct {
	name   string // may hold a range
	port   string // behind the name
	groups []*randomGroup
	vars   map[string]string
}

func (g *generator) one(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) often(percent int) bool { return g.IntN(100) < percent }

// part adds a few groups, in each other without a circle, and hosts that belong to them.
func (g *generator) part() {
	n := g.parts
	g.parts++
	var groups []*randomGroup
	for i := range 1 + g.IntN(6) {
		group := &randomGroup{name: g.one("g", "web-", "Ünit_", "z.", "9") + fmt.Sprintf("%d_%d", n, i), vars: g.vars()}
		if g.often(15) {
			group.vars["ansible_group_priority"] = fmt.Sprint(g.IntN(20))
		}
		for _, above := range groups {
			if g.often(30) {
				above.children = append(above.children, group)
			}
		}
		groups = append(groups, group)
	}
	g.groups = append(g.groups, groups...)
	for i := range 1 + g.IntN(6) {
		base := g.one("h", "Host-", "0", "db_", "n.") + fmt.Sprintf("%dx%d", n, i)
		h := &randomHost{name: base, vars: g.vars()}
		switch g.IntN(5) {
		case 0:
			low := g.IntN(20)
			h.name = base + fmt.Sprintf("-[%d:%d]", low, low+g.IntN(4))
		case 1:
			h.name = base + "-" + g.one("[08:11]", "[a:d]", "[A:C]", "[1:9:4]", "[a:z:13]", "[001:002]") + g.one("", ".example.org", "-x[1:2]")
		default:
			if g.often(60) {
				h.vars[varHost] = g.one(fmt.Sprintf("10.%d.%d.7", n, i), fmt.Sprintf("fd00::%x:%x", n+1, i+1), base+".example.org")
			}
		}
		if h.vars[varPort] == "" && g.often(20) {
			h.port = fmt.Sprint(1 + g.IntN(65535))
		}
		for _, group := range groups {
			if g.often(35) {
				h.groups = append(h.groups, group)
			}
		}
		g.hosts = append(g.hosts, h)
	}
}

// vars sets some variables, of which some are of no use here.
func (g *generator) vars() map[string]string {
	vars := map[string]string{}
	if g.often(30) {
		vars[varUser] = g.one("root", "deploy", "x0x1f", "Ünal", "e5", "on", "1000", "a-b.c", "DOM\\user")
	}
	if g.often(30) {
		vars[varPort] = fmt.Sprint(1 + g.IntN(65535))
	}
	if g.often(20) {
		vars[g.one("http_port", "note", "x.y", "ansible_become")] = g.one("80", "two words", "true", "{{ a }}", "it's", "a=b")
	}
	return vars
}

// noise is what may stand between two lines.
func (g *generator) noise() string {
	return g.one("", "", "", "\n", "# a comment\n", "; another = one\n", "   \n", "\t# indented\n")
}

// iniWord writes a value behind a host.
func (g *generator) iniWord(s string) string {
	quoted := strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`)
	plain := strings.NewReplacer(`\`, `\\`, " ", `\ `, "'", `\'`).Replace(s)
	forms := []string{`"` + quoted + `"`, plain}
	if !strings.Contains(s, "'") {
		forms = append(forms, "'"+s+"'")
		if !strings.ContainsAny(s, `\`) {
			forms = append(forms, `"'`+s+`'"`) // a text for Python too
		}
	}
	return g.one(forms...)
}

func (g *generator) iniLine(h *randomHost, first bool, vars map[string]string) string {
	line := h.name
	if first && h.port != "" {
		line += ":" + h.port
	}
	for _, key := range slices.Sorted(mapKeys(vars)) {
		line += g.one(" ", "  ", "\t") + key + "=" + g.iniWord(vars[key])
	}
	return g.one("", "", " ", "\t") + line + g.one("", "", " ", " # behind", "#close") + "\n"
}

// ini writes the inventory as INI, sections in any order and some of them twice.
func (g *generator) ini() []byte {
	type section struct {
		head string
		body []string
	}
	var sections []section
	members := map[*randomGroup][]*randomHost{}
	var loose []*randomHost
	for _, h := range g.hosts {
		for _, group := range h.groups {
			members[group] = append(members[group], h)
		}
		if len(h.groups) == 0 {
			loose = append(loose, h)
		}
	}
	for _, group := range g.groups {
		var kids, vars []string
		for _, c := range group.children {
			kids = append(kids, g.one("", "  ")+c.name+g.one("", " ", " # in it")+"\n")
		}
		for _, key := range slices.Sorted(mapKeys(group.vars)) {
			value := group.vars[key]
			if !strings.ContainsAny(value, `'\`) {
				value = g.one(value, "'"+value+"'", `"`+value+`"`)
			}
			vars = append(vars, key+g.one("=", " = ", "= ")+value+"\n")
		}
		sections = append(sections, section{"[" + group.name + "]" + g.one("", " ", "  # behind"), nil})
		if len(kids) > 0 {
			sections = append(sections, section{"[" + group.name + ":children]", kids})
		}
		if len(vars) > 0 {
			sections = append(sections, section{"[" + group.name + ":vars]", vars})
		}
	}
	g.Shuffle(len(sections), func(i, j int) { sections[i], sections[j] = sections[j], sections[i] })
	seen := map[*randomHost]bool{}
	line := func(h *randomHost) string {
		vars := map[string]string{}
		for key, v := range h.vars { // all at the first mention, some again later
			if !seen[h] || g.often(30) {
				vars[key] = v
			}
		}
		first := !seen[h]
		seen[h] = true
		return g.iniLine(h, first, vars)
	}
	var b strings.Builder
	for _, h := range loose {
		b.WriteString(g.noise() + line(h))
	}
	for _, s := range sections {
		b.WriteString(g.noise() + s.head + "\n")
		for _, l := range s.body {
			b.WriteString(g.noise() + l)
		}
		for group, hosts := range members {
			if s.body == nil && strings.HasPrefix(s.head, "["+group.name+"]") {
				for _, h := range hosts {
					b.WriteString(g.noise() + line(h))
				}
			}
		}
	}
	if g.often(50) {
		b.WriteString("[all:vars]\nansible_user=everybody\n")
	}
	return []byte(b.String())
}

// yamlText writes a text as YAML. Numbers may stand bare.
func (g *generator) yamlText(s string) string {
	forms := []string{"'" + strings.ReplaceAll(s, "'", "''") + "'", `"` + strings.ReplaceAll(s, `\`, `\\`) + `"`}
	if decimal.MatchString(s) || plainWord.MatchString(s) && !notText.MatchString(s) {
		forms = append(forms, s)
	}
	return g.one(forms...)
}

// yaml writes the inventory as YAML: each group where it is in another for the first time, or at the top.
func (g *generator) yaml() []byte {
	var b strings.Builder
	members := map[*randomGroup][]*randomHost{}
	below := map[*randomGroup]bool{}
	for _, h := range g.hosts {
		for _, group := range h.groups {
			members[group] = append(members[group], h)
		}
	}
	for _, group := range g.groups {
		for _, c := range group.children {
			below[c] = true
		}
	}
	seen, seenHost := map[*randomGroup]bool{}, map[*randomHost]bool{}
	writeVars := func(indent string, vars map[string]string) {
		for _, key := range slices.Sorted(mapKeys(vars)) {
			b.WriteString(indent + key + ": " + g.yamlText(vars[key]) + "\n")
		}
	}
	writeHosts := func(indent string, hosts []*randomHost) {
		for _, h := range hosts {
			name, vars := h.name, h.vars
			if h.port != "" && !seenHost[h] {
				name += ":" + h.port
			}
			if seenHost[h] && g.often(60) {
				vars = nil
			}
			seenHost[h] = true
			b.WriteString(indent + g.yamlKey(name) + ":" + g.one("", " ", "  # a comment") + "\n")
			writeVars(indent+"  ", vars)
		}
	}
	var write func(indent string, group *randomGroup)
	write = func(indent string, group *randomGroup) {
		b.WriteString(indent + g.yamlKey(group.name) + ":\n")
		if seen[group] {
			return
		}
		seen[group] = true
		if len(members[group]) > 0 {
			b.WriteString(indent + "  hosts:\n")
			writeHosts(indent+"    ", members[group])
		}
		if len(group.vars) > 0 {
			b.WriteString(indent + "  vars:\n")
			writeVars(indent+"    ", group.vars)
		}
		if len(group.children) > 0 {
			b.WriteString(indent + "  children:\n")
			for _, c := range group.children {
				write(indent+"    ", c)
			}
		}
	}
	b.WriteString(g.one("---\n", "# all of it\n") + "all:\n  hosts:\n")
	var loose []*randomHost
	for _, h := range g.hosts {
		if len(h.groups) == 0 {
			loose = append(loose, h)
		}
	}
	writeHosts("    ", loose)
	b.WriteString("  children:\n    ungrouped:\n")
	var later []*randomGroup
	for _, group := range g.groups {
		switch {
		case below[group]:
		case g.often(50):
			write("    ", group)
		default:
			later = append(later, group)
		}
	}
	if g.often(50) {
		b.WriteString("  vars: {ansible_user: everybody}\n")
	}
	for _, group := range later {
		write("", group)
	}
	return []byte(b.String())
}

func (g *generator) yamlKey(s string) string {
	if plainWord.MatchString(s) && !notText.MatchString(s) {
		return g.one(s, `"`+s+`"`, "'"+s+"'")
	}
	return g.one(`"`+s+`"`, "'"+s+"'")
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// largeINI is an inventory with many hosts, each with variables, in groups three deep.
func largeINI(hosts int) []byte {
	var b strings.Builder
	b.WriteString("[all:vars]\nansible_user=everybody\nntp=10.0.0.1\n")
	const groups = 50
	for g := range groups {
		fmt.Fprintf(&b, "[g%d]\n", g)
		for i := g; i < hosts; i += groups {
			fmt.Fprintf(&b, "host%05d.example.org ansible_host=10.%d.%d.%d http_port=%d # number %d\n", i, i>>16, i>>8&255, i&255, i%7, i)
		}
		fmt.Fprintf(&b, "[site%d:children]\ng%d\n[g%d:vars]\nansible_port=%d\n", g%5, g, g, 2000+g%3)
	}
	b.WriteString("[estate:children]\n")
	for s := range 5 {
		fmt.Fprintf(&b, "site%d\n", s)
	}
	return []byte(b.String())
}

// largeYAML is the same in YAML, with ranges.
func largeYAML(hosts int) []byte {
	var b strings.Builder
	b.WriteString("all:\n  vars: {ansible_user: everybody}\n  children:\n")
	const each = 100
	for g := range hosts / each {
		fmt.Fprintf(&b, "    g%d:\n      vars: {ansible_port: %d}\n      hosts:\n        r%d-[01:%d]:\n", g, 2000+g%3, g, each/2)
		for i := range each / 2 {
			fmt.Fprintf(&b, "        host%d-%d: {ansible_host: 10.%d.%d.7, note: \"x\"}\n", g, i, g, i)
		}
	}
	return []byte(b.String())
}
