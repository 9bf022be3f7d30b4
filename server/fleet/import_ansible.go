package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ImportAnsible makes a fleet file of an Ansible inventory in the INI or YAML form; name is the inventory's file name, whose
// ending tells the form as it does for Ansible. What is wrong with the inventory comes back as Errors; another error is about
// the options.
func ImportAnsible(name string, data []byte, o ImportOptions) (Imported, error) {
	return importInventory(name, o, func(inv *inventory) { inv.readFile(name, data) })
}

// ImportAnsibleList makes a fleet file of what `ansible-inventory --list` prints. Errors are as with ImportAnsible.
func ImportAnsibleList(name string, data []byte, o ImportOptions) (Imported, error) {
	return importInventory(name, o, func(inv *inventory) { inv.readJSON(data) })
}

func importInventory(name string, o ImportOptions, read func(*inventory)) (Imported, error) {
	im, err := newImporter(name, o)
	if err != nil {
		return Imported{}, err
	}
	inv := newInventory(name)
	read(inv)
	settled := inv.settle()
	im.problems, im.aside = inv.problems, inv.aside
	if settled {
		a := &ansible{importer: im, inv: inv, args: map[string]sshArguments{}, argsSeen: map[at]bool{}, terms: map[*invUnion]map[string]string{}}
		if err := a.options(o); err != nil {
			return Imported{}, errors.Join(im.err(), err)
		}
		a.hosts()
	}
	return im.finish()
}

// readFile reads an inventory in the form that its name, or else its first line, tells.
func (inv *inventory) readFile(name string, data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxBytes {
		inv.add(top, "split the inventory", "the file is larger than %d MiB", maxBytes>>20)
		return
	}
	ext := strings.ToLower(filepath.Ext(name))
	switch {
	case bytes.HasPrefix(data, []byte("$ANSIBLE_VAULT;")):
		inv.add(top, "decrypt a copy with `ansible-vault decrypt`, or import the output of `ansible-inventory --list` with --json", "the file is locked in a vault")
	case bytes.HasPrefix(data, []byte("#!")):
		inv.add(top, "import the output of `ansible-inventory --list` with --json", "the file is a program that makes an inventory")
	case ext == ".toml":
		inv.add(top, "import the output of `ansible-inventory --list` with --json", "the file is an inventory in TOML")
	case ext == ".json":
		inv.add(top, "add --json if it is the output of `ansible-inventory --list`", "the file is JSON")
	case ext == ".yml" || ext == ".yaml" || firstLine(data):
		inv.readYAML(data)
	default:
		inv.readINI(data)
	}
}

var yamlStart = regexp.MustCompile(`^(---.*|["']?[^\[\s=:#"']+["']?:(\s.*)?|[{].*)$`)

// firstLine reports whether the first line that says something is one of YAML.
func firstLine(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && line[0] != ';' {
			return yamlStart.Match(line)
		}
	}
	return false
}

// ansible turns the hosts of an inventory into those of a fleet.
type ansible struct {
	*importer
	inv      *inventory
	maps     map[*invGroup][]groupMap
	skip     map[*invGroup]bool
	skipHost map[string]bool
	args     map[string]sshArguments
	argsSeen map[at]bool
	terms    map[*invUnion]map[string]string
}

// groupMap says what a group's hosts are.
type groupMap struct{ kind, value string }

var mapForm = regexp.MustCompile(`^(.+)=([a-z-]+):(.+)$`)

// options reads --map and --skip, which name groups and hosts of this inventory.
func (a *ansible) options(o ImportOptions) error {
	a.maps, a.skip, a.skipHost = map[*invGroup][]groupMap{}, map[*invGroup]bool{}, map[string]bool{}
	unknown := func(option, name string) error {
		do := a.nearest(name, slices.Sorted(maps.Keys(a.inv.groups)), "look it up there")
		what, file := "group", a.file
		if strings.HasPrefix(option, "--skip") {
			what = "group or host"
		}
		if file == "-" {
			file = "standard input"
		}
		return fmt.Errorf("%s: there is no %s %s in %s: %s", option, what, quote(name), file, do)
	}
	for _, m := range o.Map {
		parts := mapForm.FindStringSubmatch(m)
		if len(parts) == 0 || !slices.Contains(groupTerms, parts[2]) {
			return fmt.Errorf("--map %s: write it as GROUP=KIND:NAME, where KIND is %s", quote(m), either(groupTerms))
		}
		g, ok := a.inv.groups[parts[1]]
		if !ok {
			return unknown("--map "+quote(m), parts[1])
		}
		value, err := a.optionTerm("--map "+quote(m), parts[2], parts[3])
		if err != nil {
			return err
		}
		if parts[2] == termTier {
			a.tier(value)
		}
		for _, other := range a.maps[g] {
			if other.kind == parts[2] && other.value != value {
				return fmt.Errorf("--map gives group %s the %ss %s and %s: keep one", g.name, other.kind, other.value, value)
			}
		}
		a.maps[g] = append(a.maps[g], groupMap{parts[2], value})
	}
	for _, name := range o.Skip {
		g, isGroup := a.inv.groups[name]
		_, isHost := a.inv.hosts[name]
		switch {
		case isGroup:
			a.skip[g] = true
		case isHost:
			a.skipHost[name] = true
		default:
			return unknown("--skip "+quote(name), name)
		}
	}
	return nil
}

func (a *ansible) hosts() {
	become := a.aside["ansible_become"] > 0
	for _, h := range a.inv.list {
		u := a.inv.union(h)
		if a.skipHost[h.name] || slices.ContainsFunc(u.groups, func(g *invGroup) bool { return a.skip[g] }) {
			a.skipped++
			continue
		}
		a.host(h, u)
	}
	if become {
		a.notes = append(a.notes, "ansible_become is set, but Blackstart's scripts run as the user who logs in, without sudo: check the users in ladders")
	}
}

func (a *ansible) host(h *invHost, u *invUnion) {
	out := &importHost{at: h.at, name: h.name, terms: maps.Clone(a.mapped(h, u))}
	for _, g := range h.groups {
		out.groups = append(out.groups, g.name)
	}
	a.importer.hosts = append(a.importer.hosts, out)
	if v, ok := a.usable(h, u, varConnection); ok && v.s != "ssh" && v.s != "smart" && v.s != "ansible.builtin.ssh" {
		a.add(v.at, "leave these hosts out with --skip, or correct it", "%s is %s, but Blackstart reaches hosts by ssh", varConnection, quote(v.s))
	}
	a.address(out, h, u)
	if v, ok := a.either(h, u, varPort); ok {
		if problem := checkPort(v.s); problem != "" {
			a.add(v.at, "write a port from 1 to 65535", "%s %s", varPort, problem)
		}
		out.port, _ = strconv.Atoi(v.s) // checked
	}
	if v, ok := a.either(h, u, varUser); ok {
		if problem := checkUser(v.s); problem != "" {
			a.add(v.at, "write one such as root", "%s %s", varUser, problem+": "+quote(v.s))
		}
		out.user = v.s
	}
	a.arguments(out, h, u)
}

// usable returns what holds for a host, and refuses a value that cannot be read with certainty.
func (a *ansible) usable(h *invHost, u *invUnion, key string) (invValue, bool) {
	v, ok := h.value(u, key)
	if ok && v.problem != "" {
		a.add(v.at, v.do, "%s %s", key, v.problem)
		return v, false
	}
	return v, ok
}

// either is usable for a variable that has an older name too.
func (a *ansible) either(h *invHost, u *invUnion, key string) (invValue, bool) {
	v, ok := a.usable(h, u, key)
	old, isOld := a.usable(h, u, oldNames[key])
	if ok && isOld && old.s != v.s {
		a.add(old.at, "keep one of the two", "%s differs from %s in line %d", oldNames[key], key, v.line)
	}
	if !ok {
		return old, isOld
	}
	return v, ok
}

func (a *ansible) address(out *importHost, h *invHost, u *invUnion) {
	v, ok := a.either(h, u, varHost)
	if !ok { // its name may be one
		out.address, _, _, _ = importAddress(h.name)
		return
	}
	var problem, do string
	out.address, out.hint, problem, do = importAddress(v.s)
	if problem != "" {
		a.add(v.at, do, "the address %s", problem)
	}
	if out.hint == out.name {
		out.hint = ""
	}
}

// arguments reads what is added to the ssh command, in which a jump host may stand.
func (a *ansible) arguments(out *importHost, h *invHost, u *invUnion) {
	jump := ""
	for _, key := range sshArgs {
		v, ok := a.usable(h, u, key)
		if !ok {
			continue
		}
		args, known := a.args[v.s]
		if !known {
			var problem, do string
			if args, problem, do = readArguments(v.s); problem != "" {
				a.add(v.at, do, "%s %s", key, problem)
				continue
			}
			a.args[v.s] = args
		}
		if !a.argsSeen[v.at] {
			a.argsSeen[v.at] = true
			for _, name := range args.aside {
				a.aside[name]++
			}
		}
		if args.jump == "" {
			continue
		}
		if jump != "" && jump != args.jump {
			a.add(v.at, "keep one of the two", "%s names another jump host than another variable does", key)
		}
		jump = args.jump
		var problem, do string
		if out.jump, out.hints, problem, do = jumpHops(jump); problem != "" {
			a.add(v.at, do, "%s: the jump host %s", key, problem)
		}
	}
}

// mapped is what --map says of a host: a group in another one outdoes it, and two beside each other must not differ.
func (a *ansible) mapped(h *invHost, u *invUnion) map[string]string {
	if terms, ok := a.terms[u]; ok {
		return terms
	}
	terms, from := map[string]string{}, map[string]*invGroup{}
	for _, g := range u.groups { // by depth
		for _, m := range a.maps[g] {
			if other := from[m.kind]; other != nil && !g.above[other] && terms[m.kind] != m.value {
				a.add(h.at, "map one of the two, or a group that is in both", "host %s is in groups %s and %s, of which --map makes the %ss %s and %s", h.name, other.name, g.name, m.kind, terms[m.kind], m.value)
				continue
			}
			terms[m.kind], from[m.kind] = m.value, g
		}
	}
	a.terms[u] = terms
	return terms
}
