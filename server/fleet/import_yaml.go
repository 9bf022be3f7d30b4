package fleet

import (
	"strings"

	"go.yaml.in/yaml/v4"
)

// readYAML reads the YAML form of an inventory: groups, each with hosts, vars and children.
func (inv *inventory) readYAML(data []byte) {
	root := inv.document(data, "write all: with hosts: below it")
	if root == nil {
		return
	}
	if root.Kind != yaml.MappingNode {
		inv.add(position(root), "write all: with hosts: below it", "the inventory is %s", kindName(root))
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "plugin" {
			inv.add(position(root.Content[i]), useJSON, "this file sets up an inventory plugin (%s), which only Ansible can ask for its hosts", quote(root.Content[i+1].Value))
			return
		}
	}
	inv.entries(root, "the inventory", func(key, value *yaml.Node) { inv.yamlGroup(key, value) })
}

// entries calls each for every key of a mapping that Ansible takes for a text.
func (inv *inventory) entries(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	inv.pairs(n, what, func(key, value *yaml.Node) {
		switch {
		case inv.full():
		case key.Value == "<<" && key.Style == 0:
			inv.add(position(key), useJSON, "merging with << is not allowed")
		case key.Style == 0 && notText.MatchString(key.Value):
			inv.add(position(key), "put it into quotes", "Ansible does not read %s in %s as a text", quote(key.Value), what)
		default:
			each(key, value)
		}
	})
}

// mapping reports whether a value is a mapping that can be read; nothing at all is fine too.
func (inv *inventory) mapping(n *yaml.Node, what, do string) bool {
	if isNull(n) || !inv.plain(n) {
		return false
	}
	if n.Kind != yaml.MappingNode {
		inv.add(position(n), do, "%s is %s", what, kindName(n))
		return false
	}
	return true
}

func (inv *inventory) yamlGroup(key, value *yaml.Node) *invGroup {
	g := inv.group(key.Value, position(key))
	g.declared = true
	if !inv.mapping(value, "group "+g.name, "write hosts:, vars: or children: below it") {
		return g
	}
	inv.entries(value, "group "+g.name, func(key, value *yaml.Node) {
		what := key.Value + " of group " + g.name
		switch key.Value {
		case "hosts":
			inv.each(value, what, func(key, value *yaml.Node) {
				hosts := inv.addHosts(key.Value, g, position(key))
				inv.yamlVars(value, "host "+key.Value, func(key string, v invValue) { inv.setAll(hosts, key, v) })
			})
		case "children":
			inv.each(value, what, func(key, value *yaml.Node) { inv.addChild(g, inv.yamlGroup(key, value), position(key)) })
		case "vars":
			inv.yamlVars(value, what, func(key string, v invValue) { inv.setGroup(g, key, v) })
		default:
			inv.add(position(key), "write hosts, vars or children, or remove it", "group %s has %s, which Ansible leaves out", g.name, quote(key.Value))
		}
	})
	return g
}

// each reads the keys of hosts: or children:. A single name may stand without a mapping.
func (inv *inventory) each(n *yaml.Node, what string, each func(key, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && !isNull(n) && inv.plain(n) {
		if n.Style == 0 && notText.MatchString(n.Value) {
			inv.add(position(n), "put it into quotes", "Ansible does not read %s in %s as a text", quote(n.Value), what)
			return
		}
		each(n, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column})
		return
	}
	if inv.mapping(n, what, `write each name on a line of its own, with a colon behind it`) {
		inv.entries(n, what, each)
	}
}

func (inv *inventory) yamlVars(n *yaml.Node, what string, set func(key string, v invValue)) {
	if inv.mapping(n, what, `write its variables as "name: value" lines`) {
		inv.entries(n, what, func(key, value *yaml.Node) { set(key.Value, yamlValue(value)) })
	}
}

// yamlValue reads a value as Ansible does, or notes why that is not certain.
func yamlValue(n *yaml.Node) invValue {
	v := invValue{at: position(n)}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		v.problem, v.do = "is an alias or has an anchor", useJSON
	case n.Style&yaml.TaggedStyle != 0 && strings.Contains(n.Tag, "vault") || n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Value == "__ansible_vault":
		v.problem, v.do = "is locked in a vault", "write it in the open; it is no secret"
	case n.Style&yaml.TaggedStyle != 0:
		v.problem, v.do = "has the tag "+quote(n.Tag), "remove the tag"
	case n.Kind != yaml.ScalarNode:
		v.problem, v.do = "is "+kindName(n), "write a single value"
	case isNull(n) || n.Value == "":
		v.problem, v.do = "has no value", "write one, or remove it"
	case holdsTemplate(n.Value):
		v.problem, v.do = "holds a template, "+quote(n.Value), useJSON
	case n.Style == 0 && (n.Tag != "!!str" || notText.MatchString(n.Value)) && !decimal.MatchString(n.Value):
		v.problem, v.do = "is "+quote(n.Value)+", which Ansible does not read as a text", "put it into quotes"
	default:
		v.s = n.Value
	}
	return v
}
