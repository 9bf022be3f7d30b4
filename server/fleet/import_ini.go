package fleet

import (
	"bytes"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	iniSection   = regexp.MustCompile(`^\[([^:\]\s\p{Z}]+)(?::(\w+))?\]\s*(?:#.*)?$`)
	iniChild     = regexp.MustCompile(`^([^:\]\s\p{Z}]+)\s*(?:#.*)?$`)
	variableName = regexp.MustCompile(`^[\pL_][\pL\pN_.\-]*$`)
)

// iniReader reads the INI form of an inventory, line by line.
type iniReader struct {
	*inventory
	group *invGroup
	kind  string // hosts, vars or children
}

func (inv *inventory) readINI(data []byte) {
	if !inv.readable(data) {
		return
	}
	r := iniReader{inv, inv.groups["ungrouped"], "hosts"}
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
		if i := strings.IndexAny(line, "\r\u0085\u2028\u2029"); i >= 0 { // Ansible breaks lines at them, editors do not
			inv.add(at{number, utf8.RuneCountInString(line[:i]) + 1}, "remove it", "a line holds a hidden line break")
			continue
		}
		trimmed := strings.TrimLeftFunc(line, unicode.IsSpace)
		col := utf8.RuneCountInString(line) - utf8.RuneCountInString(trimmed) + 1
		trimmed = strings.TrimSpace(trimmed)
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == ';' {
			continue
		}
		if !r.section(trimmed, at{number, col}) {
			r.content(trimmed, at{number, col})
		}
		if inv.full() {
			return
		}
	}
}

// section reads a line that begins a section, and reports whether it is one.
func (r *iniReader) section(line string, where at) bool {
	m := iniSection.FindStringSubmatch(line)
	if m == nil {
		if line[0] != '[' || line[len(line)-1] != ']' {
			return false
		}
		r.add(where, "write it as [group], [group:children] or [group:vars], without blanks", "%s is not a section", quote(line))
		r.kind = ""
		return true
	}
	r.kind = m[2]
	switch r.kind {
	case "":
		r.kind = "hosts"
	case "hosts", "children", "vars":
	default:
		r.add(where, "write [group], [group:children] or [group:vars]", "the section %s is of an unknown kind", quote("["+m[1]+":"+m[2]+"]"))
		r.kind = ""
		return true
	}
	r.group = r.inventory.group(m[1], where)
	r.group.declared = r.group.declared || r.kind != "vars"
	return true
}

// content reads a line of a section. Lines of a section that was refused are left alone.
func (r *iniReader) content(line string, where at) {
	switch r.kind {
	case "hosts":
		r.hostLine(line, where)
	case "vars":
		r.variable(line, where)
	case "children":
		m := iniChild.FindStringSubmatch(line)
		if m == nil {
			r.add(where, "write one group's name on the line", "%s is not a group's name", quote(line))
			return
		}
		r.addChild(r.group, r.inventory.group(m[1], where), where)
	}
}

func (r *iniReader) variable(line string, where at) {
	key, value, found := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !found || key == "" {
		r.add(where, "write it as name=value", "%s sets no variable", quote(line))
		return
	}
	r.setGroup(r.group, key, iniValue(value, where))
}

// hostLine reads a host, or many written as ranges, with variables behind it.
func (r *iniReader) hostLine(line string, where at) {
	words, problem, col := shellWords(line, true)
	if problem != "" {
		r.add(at{where.line, where.col + col - 1}, "close it, or write it in front of a quotation mark as \\", "the line %s", problem)
		return
	}
	if strings.HasSuffix(words[0].s, ":") || words[0].s == "---" {
		r.add(where, "write one host's name; if this is YAML, give the file a name that ends in .yml", "%s is not a host's name", quote(words[0].s))
		return
	}
	hosts := r.addHosts(words[0].s, r.group, where)
	for _, w := range words[1:] {
		place := at{where.line, where.col + w.col - 1}
		key, value, found := strings.Cut(w.s, "=")
		if !found || key == "" {
			r.add(place, "write it as name=value, without blanks round the =", "%s sets no variable", quote(w.s))
			continue
		}
		r.setAll(hosts, key, iniValue(value, place))
	}
}
