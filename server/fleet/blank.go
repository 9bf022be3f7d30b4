package fleet

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// fillIn is the mark of a value that nobody but a person can know. Importers write it; a file that holds it is not sound yet.
const fillIn = "FILL-IN"

// blank adds a value that is still to be filled in.
func (p *problems) blank(where at, what string) {
	if len(p.list) < maxProblems {
		p.note(Error{File: p.file, Line: where.line, Column: where.col, Message: printable(what + " is still to be filled in"), Do: "write it in place of " + fillIn, Blank: true})
	}
}

// whose is what messages call a value: its key, and what it belongs to where it is still to be filled in, because the place
// alone does not tell a person which of fifty services is meant.
func whose(sh *shape, n, key, value *yaml.Node) string {
	isBlank := func(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && strings.Contains(n.Value, fillIn) }
	if !isBlank(value) && (value.Kind != yaml.SequenceNode || !slices.ContainsFunc(value.Content, isBlank)) {
		return key.Value
	}
	if sh.what == "defaults" {
		return "the default " + key.Value
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if name := n.Content[i+1]; n.Content[i].Value == "name" && name.Kind == yaml.ScalarNode && name != value {
			return fmt.Sprintf("%s of %s %s", key.Value, sh.what, cut(name.Value))
		}
	}
	return key.Value + " of " + sh.what
}

// cut shortens a name for a message.
func cut(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}
