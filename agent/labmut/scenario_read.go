package lab

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"go.yaml.in/yaml/v4"
)

// ReadScenario reads a scenario file. name is what errors call it. It reports every error at once, each as
// NAME:LINE:COLUMN with what to do; an unknown or repeated key is an error.
func ReadScenario(name string, data []byte) (*Scenario, error) {
	r := &reader{name: name}
	var doc yaml.Node
	err := yaml.Load(data, &doc)
	var bad *yaml.LoadError
	switch {
	case errors.As(err, &bad) && bad.Mark.Line > 0:
		return nil, fmt.Errorf("%s:%d:%d: %s; mend the YAML here", name, bad.Mark.Line, bad.Mark.Column, bad.Message)
	case err != nil || doc.Kind != yaml.DocumentNode || len(doc.Content) == 0:
		return nil, fmt.Errorf("%s:1:1: there is not one YAML document in it; see the estate-2024 scenario for an example", name)
	}
	s := &Scenario{}
	r.scenario(doc.Content[0], s)
	if len(r.errs) > 0 {
		sort.SliceStable(r.errs, func(i, j int) bool { return r.errs[i].before(r.errs[j]) })
		all := make([]error, len(r.errs))
		for i, e := range r.errs {
			all[i] = e
		}
		return nil, errors.Join(all...)
	}
	return s, nil
}

// reader walks a YAML tree and gathers errors.
type reader struct {
	name string
	errs []*lineError
}

// lineError is one mistake in its place.
type lineError struct {
	name      string
	line, col int
	text      string
}

func (e *lineError) Error() string { return fmt.Sprintf("%s:%d:%d: %s", e.name, e.line, e.col, e.text) }

func (e *lineError) before(o *lineError) bool {
	return e.line < o.line || e.line == o.line && e.col < o.col
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, &lineError{r.name, n.Line, n.Column, fmt.Sprintf(format, args...)})
}

// field is one key of a mapping. read gets the value's node.
type field struct {
	key  string
	must bool
	read func(*yaml.Node)
}

// mapping reads n as a mapping with these keys and no others, in the order of fields. It returns the keys' nodes.
func (r *reader) mapping(n *yaml.Node, what string, fields ...field) map[string]*yaml.Node {
	seen := make(map[string]*yaml.Node)
	if n.Kind != yaml.MappingNode {
		r.fail(n, "%s must be a mapping of keys to values", what)
		return seen
	}
	var known []string
	for _, f := range fields {
		known = append(known, f.key)
	}
	values := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case !contains(known, key.Value):
			r.fail(key, "%s has no key %q; it takes %s", what, key.Value, strings.Join(known, ", "))
		case seen[key.Value] != nil:
			r.fail(key, "%s is here twice, first on line %d; keep one", key.Value, seen[key.Value].Line)
		default:
			seen[key.Value], values[key.Value] = key, n.Content[i+1]
		}
	}
	for _, f := range fields {
		switch v := values[f.key]; {
		case v != nil && v.Kind == yaml.AliasNode:
			r.fail(v, "%s is an alias; write the value itself", f.key)
		case v != nil:
			f.read(v)
		case f.must:
			r.fail(n, "%s needs a key %q", what, f.key)
		}
	}
	return seen
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// each reads n as a list.
func (r *reader) each(n *yaml.Node, what string, read func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "%s must be a list", what)
		return
	}
	for _, e := range n.Content {
		read(e)
	}
}

// scalar makes a field of one plain value.
func scalar[T any](r *reader, key string, must bool, into *T, parse func(string) (T, error)) field {
	return field{key, must, func(n *yaml.Node) {
		if n.Kind != yaml.ScalarNode {
			r.fail(n, "%s must be one value", key)
			return
		}
		v, err := parse(n.Value)
		if err != nil {
			r.fail(n, "%s: %v", key, err)
			return
		}
		*into = v
	}}
}

func (r *reader) scenario(n *yaml.Node, s *Scenario) {
	r.mapping(n, "a scenario",
		scalar(r, "name", true, &s.Name, parseName),
		scalar(r, "title", false, &s.Title, parseText),
		scalar(r, "story", false, &s.Story, parseText),
		scalar(r, "seed", false, &s.Seed, parseSeed),
		scalar(r, "clock", true, &s.Clock, parseTime),
		field{"update", true, func(n *yaml.Node) { r.update(n, &s.Update) }},
		scalar(r, "boot", true, &s.Boot, parseRange),
		field{"loop", true, func(n *yaml.Node) {
			r.mapping(n, "loop",
				scalar(r, "up", true, &s.Loop.Up, parseRange),
				scalar(r, "network", true, &s.Loop.Network, parsePercent),
				scalar(r, "park-after", false, &s.Loop.ParkAfter, parsePark))
		}},
		field{"never-hit", false, func(n *yaml.Node) {
			r.mapping(n, "never-hit",
				scalar(r, "count", false, &s.NeverHit.Count, parseWhole),
				field{"hosts", false, func(n *yaml.Node) {
					r.each(n, "hosts", func(e *yaml.Node) {
						if err := validPattern(e.Value); err != nil {
							r.fail(e, "hosts: %v", err)
						}
						s.NeverHit.Hosts = append(s.NeverHit.Hosts, e.Value)
					})
				}})
		}},
		field{"faults", false, func(n *yaml.Node) {
			r.each(n, "faults", func(e *yaml.Node) { s.Faults = append(s.Faults, r.fault(e)) })
		}})
}

func (r *reader) update(n *yaml.Node, u *Update) {
	part := func(key string, into **Content) field {
		return field{key, false, func(n *yaml.Node) {
			*into = &Content{}
			r.content(n, key, *into)
		}}
	}
	before := len(r.errs)
	r.mapping(n, "update",
		scalar(r, "edr", false, &u.EDR, parseText), part("windows", &u.Windows), part("linux", &u.Linux))
	if u.Windows == nil && u.Linux == nil && len(r.errs) == before {
		r.fail(n, "update needs a key windows or linux, or it hits nobody")
	}
}

func (r *reader) content(n *yaml.Node, what string, c *Content) {
	file := func(key string, must bool, into *File) field {
		return field{key, must, func(n *yaml.Node) {
			r.mapping(n, key,
				scalar(r, "name", true, &into.Name, parseFileName),
				scalar(r, "modified", true, &into.Modified, parseTime),
				scalar(r, "size", false, &into.Size, parseSize))
		}}
	}
	before := len(r.errs)
	var old File
	seen := r.mapping(n, what,
		scalar(r, "folder", true, &c.Folder, func(s string) (string, error) { return s, validFolder(s) }),
		scalar(r, "header", true, &c.Header, parseHeader),
		scalar(r, "bad-from", true, &c.From, parseTime),
		scalar(r, "bad-to", true, &c.To, parseTime),
		file("before", false, &old),
		file("bad", true, &c.Bad),
		file("good", true, &c.Good))
	if len(r.errs) > before {
		return
	}
	if seen["before"] != nil {
		c.Before = &old
	}
	switch {
	case !c.From.Before(c.To):
		r.fail(seen["bad-to"], "bad-to must be later than bad-from")
	case !c.inWindow(c.Bad.Modified):
		r.fail(seen["bad"], "bad is modified outside bad-from..bad-to, so nothing would crash; move its time or the window")
	case c.inWindow(c.Good.Modified):
		r.fail(seen["good"], "good is modified within bad-from..bad-to, so it would crash machines too; move its time or the window")
	case c.Before != nil && c.inWindow(c.Before.Modified):
		r.fail(seen["before"], "before is modified within bad-from..bad-to, so machines would crash too soon; move its time or the window")
	case c.Bad.Name == c.Good.Name || c.Before != nil && c.Before.Name == c.Good.Name:
		r.fail(seen["good"], "good needs a name of its own, because good and bad lie side by side")
	}
}

func (r *reader) fault(n *yaml.Node) FaultSpec {
	var f FaultSpec
	kind, params := "", faultParams(&f)
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == "kind" {
				kind = n.Content[i+1].Value
			}
		}
	}
	own, known := params[Kind(kind)]
	if !known {
		var names []string
		for k := range params {
			names = append(names, string(k))
		}
		sort.Strings(names)
		r.fail(n, "a fault needs a kind out of %s", strings.Join(names, ", "))
		return f
	}
	f.Kind = Kind(kind)
	fields := []field{
		{"kind", true, func(*yaml.Node) {}},
		scalar(r, "count", false, &f.Count, parsePositive),
		scalar(r, "hosts", false, &f.Hosts, func(s string) (string, error) { return s, validPattern(s) }),
	}
	for _, p := range own {
		var none struct{}
		fields = append(fields, scalar(r, p.key, p.must, &none, func(s string) (struct{}, error) { return none, p.read(s) }))
	}
	seen := r.mapping(n, kind, fields...)
	if seen["count"] == nil && seen["hosts"] == nil {
		r.fail(n, "%s needs a count, or hosts, or both", kind)
	}
	return f
}

// faultParam is one parameter of a kind of fault.
type faultParam struct {
	key  string
	must bool
	read func(string) error
}

// faultParams lists every kind that a scenario may ask for, with its own parameters, which are read into f.
func faultParams(f *FaultSpec) map[Kind][]faultParam {
	span := func(key string) []faultParam {
		return []faultParam{{key, true, func(v string) (err error) { f.Span, err = parseRange(v); return err }}}
	}
	return map[Kind][]faultParam{
		HealsItself: {{"crashes", true, func(v string) (err error) { f.Crashes, err = parseCount(v); return err }}},
		Unreachable: append(span("for"), faultParam{"answer", false, func(v string) error {
			f.Silent = v == "silent"
			if !f.Silent && v != "refused" {
				return fmt.Errorf("%q is no answer; write refused or silent", v)
			}
			return nil
		}}),
		WrongHostKey: nil,
		WrongDisk:    nil,
		Relapses:     span("after"),
		NeedsHands:   nil,
		DropsSSH:     nil,
		SilentSSH:    {{"times", false, func(v string) (err error) { f.Times, err = parsePositive(v); return err }}},
		Floods:       {{"bytes", false, func(v string) (err error) { f.Bytes, err = parsePositive(v); return err }}},
		NeverEnds:    nil,
		SlowBoot:     span("boot"),
	}
}
