package playbook

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// yamlFile reads one YAML document strictly and gathers every problem with its place.
type yamlFile struct {
	name     string // as people see it in messages
	problems []error
}

// fail records a problem at a node.
func (f *yamlFile) fail(n *yaml.Node, format string, args ...any) {
	f.problems = append(f.problems, &Problem{File: f.name, Line: n.Line, Column: n.Column, What: fmt.Sprintf(format, args...)})
}

// Problem is one thing wrong in a playbook's folder: where it is, what it is and what to do.
type Problem struct {
	File   string
	Line   int // 1-based; 0 when the problem is the file itself
	Column int
	What   string
}

// Error gives file:line:column and the sentence.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.What
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.What)
}

// sorted returns the problems in the order of the file.
func (f *yamlFile) sorted() []error {
	slices.SortStableFunc(f.problems, func(a, b error) int {
		var x, y *Problem
		if !errors.As(a, &x) || !errors.As(b, &y) {
			return 0
		}
		return cmp.Or(cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	return f.problems
}

// document returns the root of the only document, or nil with a problem recorded.
func (f *yamlFile) document(data []byte) *yaml.Node {
	if bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.HasPrefix(data, []byte("\xff\xfe")) { // YAML allows it, and counts its lines in another way
		f.problems = append(f.problems, &Problem{File: f.name, What: "the file is UTF-16; save it as plain UTF-8 text"})
		return nil
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		p := &Problem{File: f.name}
		var le *yaml.LoadError
		switch {
		case doc.Kind == yaml.DocumentNode:
			p.What = "there is more than one document; keep the first and remove the line ---"
		case errors.As(err, &le) && le.Mark.Line > 0:
			p.Line, p.Column = le.Mark.Line, le.Mark.Column
			p.What = "not valid YAML: " + le.Message + "; check the indentation, quotes and brackets here and just above"
		case errors.As(err, &le) && !strings.Contains(le.Message, "no documents"):
			p.What = "not valid YAML: " + le.Message + "; save it as plain UTF-8 text"
		default:
			p.What = "the file is empty; write the playbook's manifest into it"
		}
		f.problems = append(f.problems, p)
		return nil
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		f.problems = append(f.problems, &Problem{File: f.name, What: "the file is empty; write the playbook's manifest into it"})
		return nil
	}
	return doc.Content[0]
}

// mapping is a YAML mapping whose keys have been checked.
type mapping struct {
	node   *yaml.Node
	values map[string]*yaml.Node
}

// mapping checks that n is a mapping with the allowed keys only, each once. The result is never nil, so that reading goes on.
func (f *yamlFile) mapping(n *yaml.Node, what string, allowed ...string) *mapping {
	m := &mapping{node: n, values: map[string]*yaml.Node{}}
	if n.Kind != yaml.MappingNode {
		f.fail(n, "%s must be a mapping of the keys %s", what, strings.Join(allowed, ", "))
		return m
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(allowed, key.Value):
			f.fail(key, "unknown key %q in %s; the keys are %s", key.Value, what, strings.Join(allowed, ", "))
		case m.values[key.Value] != nil:
			f.fail(key, "the key %s stands twice in %s; remove one", key.Value, what)
		default:
			m.values[key.Value] = value
		}
	}
	return m
}

// text reads a required scalar of one line; optional ones are asked for with has.
func (f *yamlFile) text(m *mapping, key string) (string, *yaml.Node) {
	n, ok := m.values[key]
	if !ok {
		if m.node.Kind == yaml.MappingNode {
			f.fail(m.node, "the key %s is missing; add it", key)
		}
		return "", nil
	}
	return f.scalar(n, key)
}

func (f *yamlFile) scalar(n *yaml.Node, what string) (string, *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		f.fail(n, "%s is an alias; write the value out", what)
	case n.Kind != yaml.ScalarNode:
		f.fail(n, "%s must be a single value", what)
	case n.Tag == "!!null" || strings.TrimSpace(n.Value) == "":
		f.fail(n, "%s is empty; give it a value or remove the key", what)
	case n.Tag == "!!binary":
		f.fail(n, "%s must be plain text", what)
	case strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		f.fail(n, "%s must be one line of plain text", what)
	default:
		return n.Value, n
	}
	return "", nil
}

func (m *mapping) has(key string) bool { return m.values[key] != nil }

// oneOf reads a required scalar out of a set.
func (f *yamlFile) oneOf(m *mapping, key string, set ...string) string {
	s, n := f.text(m, key)
	if n != nil && !slices.Contains(set, s) {
		f.fail(n, "%s is %q; use one of %s", key, s, strings.Join(set, ", "))
		return ""
	}
	return s
}

// flag reads a boolean; a missing one is false.
func (f *yamlFile) flag(m *mapping, key string) bool {
	if !m.has(key) {
		return false
	}
	s, n := f.text(m, key)
	if n != nil && (n.Tag != "!!bool" || s != "true" && s != "false") {
		f.fail(n, "%s is %q; write true or false", key, s)
	}
	return s == "true"
}

// duration reads a required duration between the two ends.
func (f *yamlFile) duration(m *mapping, key string, least, most time.Duration) time.Duration {
	s, n := f.text(m, key)
	if n == nil {
		return 0
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		f.fail(n, "%s is %q, which is no duration; write it like 90s, 5m or 1h30m", key, s)
		return 0
	case d < least || d > most:
		f.fail(n, "%s is %s; use a duration from %s to %s", key, s, least, most)
		return 0
	}
	return d
}

// instant reads an optional time in UTC with whole seconds.
func (f *yamlFile) instant(m *mapping, key string) time.Time {
	if !m.has(key) {
		return time.Time{}
	}
	s, n := f.text(m, key)
	if n == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !strings.HasSuffix(s, "Z") || t.Nanosecond() != 0 || t.Year() < 1970 {
		f.fail(n, "%s is %q; write a UTC time in whole seconds like 2024-07-19T04:09:00Z", key, s)
		return time.Time{}
	}
	return t.UTC()
}

// size reads an optional number of bytes.
func (f *yamlFile) size(m *mapping, key string) int64 {
	if !m.has(key) {
		return 0
	}
	s, n := f.text(m, key)
	if n == nil {
		return 0
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 1 {
		f.fail(n, "%s is %q; write a whole number of bytes, 1 or more", key, s)
		return 0
	}
	return v
}

// items returns the elements of an optional sequence; most bounds their number.
func (f *yamlFile) items(m *mapping, key string, most int) []*yaml.Node {
	n, ok := m.values[key]
	switch {
	case !ok:
		return nil
	case n.Kind != yaml.SequenceNode:
		f.fail(n, "%s must be a list", key)
		return nil
	case len(n.Content) == 0:
		f.fail(n, "%s is empty; give it an element or remove the key", key)
		return nil
	case len(n.Content) > most:
		f.fail(n, "%s has %d elements; use at most %d", key, len(n.Content), most)
		return nil
	}
	return n.Content
}
