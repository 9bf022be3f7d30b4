package fleet

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// invariants checks the business rules of a data set's entry.
func (b *builder) invariants(e backupEntry, engine string, engineClear bool) []recovery.Invariant {
	list := e.Invariants
	if len(list) > maxInvariants {
		b.add(list[maxInvariants].at, "merge some", "%s has more than %d invariants", e.label(), maxInvariants)
		list = list[:maxInvariants]
	}
	if len(list) > 0 && engine == "" && engineClear {
		b.add(list[0].at, "add engine: postgresql or sqlite, or a check:", "%s has invariants, but neither an engine nor a check to go before them", e.label())
		engineClear = false
	}
	seen := map[string]bool{}
	var out []recovery.Invariant
	for _, i := range list {
		b.name(i.Name, "invariant")
		if i.Name.given() && seen[i.Name.s] {
			b.add(i.Name.at, "rename one of them", "%s has two invariants named %s", e.label(), i.Name.s)
		}
		seen[i.Name.s] = true
		b.question(i, engine, engineClear)
		if problem, do := checkExpect(i.Expect.s); problem != "" && i.Expect.given() {
			b.add(i.Expect.at, do, "expect of invariant %s %s", i.Name.s, problem)
		}
		out = append(out, recovery.Invariant{Name: i.Name.s, SQL: i.SQL.s, Expect: i.Expect.s})
	}
	return out
}

// question checks what an invariant asks.
func (b *builder) question(i invariantEntry, engine string, engineClear bool) {
	switch sql, command := i.SQL.at.given(), i.Command != nil; {
	case sql && command:
		b.add(i.SQL.at, "keep one of the two", "invariant %s has both sql and command", i.Name.s)
	case !sql && !command:
		b.add(i.at, "add sql: and a query, or command: and a program", "invariant %s asks nothing", i.Name.s)
	case sql && engineClear && engine != recovery.EnginePostgreSQL && engine != recovery.EngineSQLite:
		b.add(i.SQL.at, "write command: and a program", "invariant %s has sql, which engine %s does not speak", i.Name.s, engine)
	}
	b.command(i.Command, "command of invariant "+i.Name.s, i.at)
}

// relations are what an answer is held against, the longer ones first.
var relations = []string{"!=", "<=", ">=", "=", "<", ">"}

var numeric = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$`)

// checkExpect takes what the agents understand: equal, a relation and a value, or within and a length of time.
func checkExpect(s string) (problem, do string) {
	const (
		longest = 200
		like    = `write equal, "= X", "!= X", "< N", "<= N", "> N", ">= N" or "within 26h"`
	)
	s = strings.TrimSpace(s)
	if len(s) > longest || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "is " + quote(s), "write at most 200 bytes of plain characters"
	}
	if s == "equal" {
		return "", ""
	}
	if age, ok := strings.CutPrefix(s, "within "); ok {
		var d span
		if problem, _ := d.parse(strings.TrimSpace(age)); problem != "" || d.d < time.Second {
			return "is " + quote(s) + ", which is no length of time", "write one such as within 26h or within 2d"
		}
		return "", ""
	}
	for _, relation := range relations {
		value, ok := strings.CutPrefix(s, relation)
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch {
		case value == "" || strings.ContainsAny(value[:1], "=<>!"):
			return "is " + quote(s) + ", which compares with nothing", "write a value after " + relation
		case relation != "=" && relation != "!=" && !numeric.MatchString(value):
			return "is " + quote(s) + ", which compares with no number", "write one such as " + quote(relation+" 1000")
		}
		return "", ""
	}
	return "is " + quote(s), like
}
