package fleet

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// reader turns YAML nodes into the entries of file.go. It goes on after each problem, so that all are told at once. Its
// recursion follows the entries' types, never the file's nesting.
type reader struct {
	problems
	shapes map[reflect.Type]*shape
}

// shape is what a struct type's tags say.
type shape struct {
	what   string // how messages call it
	fields map[string]shapeField
	keys   []string // in the order of the type
}

type shapeField struct {
	index    []int
	required bool
	enum     []string
}

// composite reads itself from a node.
type composite interface {
	read(r *reader, n *yaml.Node, what string)
}

// value reads a node into v; what is how messages call it.
func (r *reader) value(n *yaml.Node, v reflect.Value, what string) {
	if !r.plain(n) {
		return
	}
	switch into := v.Addr().Interface().(type) {
	case composite:
		into.read(r, n, what)
	case scalar:
		r.scalar(n, into, what)
	default:
		switch v.Kind() {
		case reflect.Struct:
			r.structure(n, v)
		case reflect.Slice:
			r.sequence(n, v, what)
		}
	}
}

// plain refuses the parts of YAML that make a file mean more than it shows.
func (r *reader) plain(n *yaml.Node) bool {
	where := position(n)
	switch {
	case n.Kind == yaml.AliasNode:
		r.add(where, "write the value out, or use defaults and ladders", "an alias (*%s) is not allowed here", n.Value)
	case n.Anchor != "":
		r.add(where, "remove it; defaults and ladders say things once", "an anchor (&%s) is not allowed here", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		r.add(where, "remove the tag", "a tag (%s) is not allowed here", quote(n.Tag))
	default:
		return true
	}
	return false
}

func (r *reader) scalar(n *yaml.Node, into scalar, what string) {
	switch into.(type) {
	case *text, *option, *secretRef, *level: // one that is refused still has its place
		into.place(n.Line, n.Column)
	}
	if n.Kind != yaml.ScalarNode {
		r.add(position(n), "write a single value", "%s is %s", what, kindName(n))
		return
	}
	if isNull(n) {
		r.add(position(n), "write one or remove the key", "%s has no value", what)
		return
	}
	if strings.Contains(n.Value, fillIn) {
		r.blank(position(n), what)
		return
	}
	if problem, do := into.parse(n.Value); problem != "" {
		r.add(position(n), do, "%s %s", what, problem)
		return
	}
	into.place(n.Line, n.Column)
}

func (r *reader) sequence(n *yaml.Node, v reflect.Value, what string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.add(position(n), `write each item on a line of its own after "- "`, "%s is %s, not a list", what, kindName(n))
		return
	}
	if len(n.Content) > maxItems {
		r.add(position(n.Content[maxItems]), "use ranges, or split the estate", "%s has more than %d items", what, maxItems)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for _, item := range n.Content {
		if isNull(item) {
			r.add(position(item), "write it, or remove its place in the list", "an item of %s is empty", what)
			continue
		}
		v.SetLen(v.Len() + 1)
		last := v.Index(v.Len() - 1)
		r.value(item, last, what)
		if place := last.Addr().Interface().(interface{ where() at }); !place.where().given() { // refused, and said so
			last.SetZero()
			v.SetLen(v.Len() - 1)
		}
	}
}

func (r *reader) structure(n *yaml.Node, v reflect.Value) {
	sh := r.shape(v.Type())
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.add(position(n), `write it as "key: value" lines`, "%s is %s", sh.what, kindName(n))
		return
	}
	v.Addr().Interface().(interface{ place(line, col int) }).place(n.Line, n.Column)
	lines := r.pairs(n, sh.what, func(key, value *yaml.Node) {
		f, ok := sh.fields[key.Value]
		switch {
		case key.Value == "<<":
			r.add(position(key), "use defaults or a named ladder", "merging with << is not allowed")
		case !ok:
			r.add(position(key), r.nearest(key.Value, sh.keys, "remove it"), "unknown key %s in %s", quote(key.Value), sh.what)
		default:
			field := v.FieldByIndex(f.index)
			r.value(value, field, whose(sh, n, key, value))
			if t, isText := field.Addr().Interface().(*text); isText && t.s != "" && len(f.enum) > 0 && !slices.Contains(f.enum, t.s) {
				r.add(t.at, "write "+either(f.enum), "%s is %s", key.Value, quote(t.s))
				t.s = ""
			}
		}
	})
	for _, key := range sh.keys {
		if _, ok := lines[key]; !ok && sh.fields[key].required {
			r.add(position(n), "add "+key+":", "%s has no %s", label(sh, v), key)
		}
	}
}

// label is how messages call a struct: what it is, and its name if it has one.
func label(sh *shape, v reflect.Value) string {
	if f, ok := sh.fields["name"]; ok {
		if t, ok := v.FieldByIndex(f.index).Addr().Interface().(*text); ok && t.given() {
			return sh.what + " " + t.s
		}
	}
	return sh.what
}

// pairs calls each for every key of a mapping that is a plain word and stands there for the first time.
func (r *reader) pairs(n *yaml.Node, what string, each func(key, value *yaml.Node)) map[string]int {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !r.plain(key) {
			continue
		}
		if key.Kind != yaml.ScalarNode {
			r.add(position(key), "write a plain word", "a key in %s is %s", what, kindName(key))
			continue
		}
		if first, ok := lines[key.Value]; ok {
			r.add(position(key), "keep one of the two", "%s stands twice in %s (first in line %d)", quote(key.Value), what, first)
			continue
		}
		lines[key.Value] = key.Line
		each(key, value)
	}
	return lines
}

// shape reads a type's tags once.
func (r *reader) shape(t reflect.Type) *shape {
	if sh, ok := r.shapes[t]; ok {
		return sh
	}
	sh := &shape{fields: map[string]shapeField{}}
	for _, f := range reflect.VisibleFields(t) {
		if what, ok := f.Tag.Lookup("what"); ok && len(f.Index) == 1 {
			sh.what = what
		}
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		field := shapeField{index: f.Index}
		for word := range strings.SplitSeq(f.Tag.Get("jsonschema"), ",") {
			if allowed, ok := strings.CutPrefix(word, "enum="); ok {
				field.enum = append(field.enum, allowed)
			}
			field.required = field.required || word == "required"
		}
		sh.fields[key] = field
		sh.keys = append(sh.keys, key)
	}
	if r.shapes == nil {
		r.shapes = map[reflect.Type]*shape{}
	}
	r.shapes[t] = sh
	return sh
}

// names is a list of texts; a single one may stand without a list.
type names []text

func (l *names) read(r *reader, n *yaml.Node, what string) {
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		*l = make(names, 1)
		r.scalar(n, &(*l)[0], what)
		return
	}
	r.sequence(n, reflect.ValueOf(l).Elem(), what)
	*l = slices.DeleteFunc(*l, func(t text) bool { return !t.given() })
}

// first is where the list's first item stands.
func (l names) first() at {
	if len(l) == 0 {
		return at{}
	}
	return l[0].at
}

// table is a mapping from names that the writer chooses, in the order of the file.
type table[V any] []row[V]

type row[V any] struct {
	Key   text
	Value V
}

func (t *table[V]) read(r *reader, n *yaml.Node, what string) {
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		is := kindName(n)
		if n.Kind == yaml.ScalarNode { // which may be a secret
			is = "a single value"
		}
		r.add(position(n), `write it as "name: value" lines`, "%s is %s", what, is)
		return
	}
	r.pairs(n, what, func(key, value *yaml.Node) {
		var one row[V]
		r.scalar(key, &one.Key, "a name in "+what)
		if !one.Key.given() {
			return
		}
		if !isNull(value) {
			r.value(value, reflect.ValueOf(&one.Value).Elem(), what+" "+key.Value)
		}
		*t = append(*t, one)
	})
}

// get returns the value of a name.
func (t table[V]) get(key string) (v V, ok bool) {
	for _, row := range t {
		if row.Key.s == key {
			return row.Value, true
		}
	}
	return v, false
}

// ladderRef is the name of a ladder, or a ladder.
type ladderRef struct {
	text
	Rungs []rungEntry
}

func (l *ladderRef) read(r *reader, n *yaml.Node, what string) {
	if n.Kind == yaml.SequenceNode {
		l.place(n.Line, n.Column)
		r.sequence(n, reflect.ValueOf(&l.Rungs).Elem(), what)
		return
	}
	r.scalar(n, &l.text, what)
}

func (p *powerRef) read(r *reader, n *yaml.Node, what string) {
	if n.Kind == yaml.MappingNode {
		r.structure(n, reflect.ValueOf(&p.powerUse).Elem())
		return
	}
	p.place(n.Line, n.Column)
	r.scalar(n, &p.Use, what)
}

func position(n *yaml.Node) at { return at{n.Line, n.Column} }

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return `a block of "key: value"`
	case yaml.SequenceNode:
		return "a list"
	}
	if isNull(n) {
		return "empty"
	}
	return "the single value " + quote(n.Value)
}

// either joins words for a sentence: a, b or c.
func either(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
