package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// readJSON reads what `ansible-inventory --list` prints: groups with their hosts and children, and under _meta the variables
// of each host; with --export groups have their variables too.
func (inv *inventory) readJSON(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if len(data) > maxBytes {
		inv.add(top, "split the inventory", "the file is larger than %d MiB", maxBytes>>20)
		return
	}
	if !inv.readable(data) {
		return
	}
	root := inv.jsonDocument(data)
	if root == nil {
		return
	}
	const expected = "give the output of `ansible-inventory --list`"
	if !inv.mapping(root, "the file", expected) {
		return
	}
	var meta *yaml.Node
	inv.pairs(root, "the file", func(key, value *yaml.Node) {
		if key.Value == "_meta" {
			meta = value
			return
		}
		inv.jsonGroup(key, value)
	})
	if meta == nil {
		inv.add(top, expected, "the file has no _meta")
		return
	}
	inv.jsonMeta(meta)
}

func (inv *inventory) jsonGroup(key, value *yaml.Node) {
	g := inv.group(key.Value, position(key))
	g.declared = true
	if !inv.mapping(value, "group "+g.name, "give the output of `ansible-inventory --list`") {
		return
	}
	inv.pairs(value, "group "+g.name, func(key, value *yaml.Node) {
		switch what := key.Value + " of group " + g.name; key.Value {
		case "hosts":
			inv.texts(value, what, func(n *yaml.Node) { inv.jsonHost(n, g) })
		case "children":
			inv.texts(value, what, func(n *yaml.Node) {
				child := inv.group(n.Value, position(n))
				child.declared = true // Ansible leaves out those that have neither hosts nor children
				inv.addChild(g, child, position(n))
			})
		case "vars":
			inv.yamlVars(value, what, func(key string, v invValue) { inv.setGroup(g, key, v) })
		default:
			inv.add(position(key), "remove it", "unknown key %s in group %s", quote(key.Value), g.name)
		}
	})
}

// jsonHost adds a host. Its name is what it is: ranges and ports are written out already.
func (inv *inventory) jsonHost(n *yaml.Node, g *invGroup) {
	if problem, do := checkName(n.Value); problem != "" {
		if strings.Contains(n.Value, ":") {
			do = "give the host a name, and the address as ansible_host"
		}
		inv.add(position(n), do, "a host's name %s", problem)
		return
	}
	inv.addHosts(n.Value, g, position(n))
}

func (inv *inventory) jsonMeta(meta *yaml.Node) {
	if !inv.mapping(meta, "_meta", "give the output of `ansible-inventory --list`") {
		return
	}
	inv.pairs(meta, "_meta", func(key, value *yaml.Node) {
		if key.Value != "hostvars" {
			return // newer versions put their profile here
		}
		if !inv.mapping(value, "hostvars", "give the output of `ansible-inventory --list`") {
			return
		}
		inv.pairs(value, "hostvars", func(key, value *yaml.Node) {
			if h, ok := inv.hosts[key.Value]; ok {
				inv.yamlVars(value, "host "+h.name, func(key string, v invValue) { inv.setAll([]*invHost{h}, key, v) })
			} else if checked, _ := checkName(key.Value); checked == "" {
				inv.add(position(key), "put it into one, or remove it", "host %s is in no group", key.Value)
			}
		})
	})
}

// texts calls each for the items of a list of texts.
func (inv *inventory) texts(n *yaml.Node, what string, each func(n *yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		inv.add(position(n), "write a list", "%s is %s", what, kindName(n))
		return
	}
	for _, item := range n.Content {
		if inv.full() {
			return
		}
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			inv.add(position(item), "write a text", "an item of %s is %s", what, kindName(item))
			continue
		}
		each(item)
	}
}

// jsonReader makes of JSON the nodes that YAML would give, each with its place.
type jsonReader struct {
	data []byte
	dec  *json.Decoder
	seen int // up to here lines and columns were counted
	at   at  // the place of seen
}

func (inv *inventory) jsonDocument(data []byte) *yaml.Node {
	r := jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data)), at: top}
	r.dec.UseNumber()
	root, err := r.node(0)
	if err == nil {
		where := r.next()
		if _, err = r.dec.Token(); errors.Is(err, io.EOF) {
			return root
		}
		if err == nil {
			inv.add(where, "give one list", "something follows after the end of the list")
			return nil
		}
	}
	message := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		message = "it ends too early"
	}
	inv.add(r.place(int(r.dec.InputOffset())), "give the output of `ansible-inventory --list`", "this is not JSON: %s", strings.TrimPrefix(message, "json: "))
	return nil
}

// place is where an offset stands. Offsets only grow.
func (r *jsonReader) place(offset int) at {
	for ; r.seen < min(offset, len(r.data)); r.seen++ {
		switch c := r.data[r.seen]; {
		case c == '\n':
			r.at = at{r.at.line + 1, 1}
		case utf8.RuneStart(c):
			r.at.col++
		}
	}
	return r.at
}

// next is where the next token begins.
func (r *jsonReader) next() at {
	i := int(r.dec.InputOffset())
	for i < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[i]) >= 0 {
		i++
	}
	return r.place(i)
}

func (r *jsonReader) node(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	where := r.next()
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: where.line, Column: where.col, Style: yaml.DoubleQuotedStyle}
	switch t := token.(type) {
	case json.Delim:
		n.Kind, n.Style = yaml.MappingNode, yaml.FlowStyle
		if t == '[' {
			n.Kind = yaml.SequenceNode
		}
		for r.dec.More() {
			child, err := r.node(depth + 1)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err = r.dec.Token() // the closing bracket
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value, n.Style = "!!int", t.String(), 0
	case bool:
		n.Tag, n.Value, n.Style = "!!bool", fmt.Sprint(t), 0
	case nil:
		n.Tag, n.Value, n.Style = "!!null", "null", 0
	}
	return n, err
}
