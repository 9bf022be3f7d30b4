package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Error is one problem of a fleet file: where, what and what to do about it. Line and Column count from 1.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
	Do      string
	Blank   bool // nothing is wrong yet, but a value is still to be filled in
}

// Error returns the problem as one line: file:line:column: what; what to do.
func (e Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Do != "" {
		b.WriteString("; ")
		b.WriteString(e.Do)
	}
	return b.String()
}

// Errors is every problem of a fleet file, in the order of its lines. Load and Parse return it for whatever is wrong with
// the content, never empty.
type Errors []Error

const (
	maxPrinted  = 100    // lines that Errors.Error prints
	maxProblems = 10_000 // problems that are kept at all
)

// Error returns one line per problem, at most a hundred of them.
func (e Errors) Error() string {
	var b strings.Builder
	for i, one := range e {
		if i == maxPrinted {
			more := "more"
			if len(e) == maxProblems {
				more = "or more"
			}
			fmt.Fprintf(&b, "\nand %d %s", len(e)-maxPrinted, more)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.Error())
	}
	return b.String()
}

// problems collects what is wrong, each thing once.
type problems struct {
	file string
	list Errors
	seen map[Error]bool
}

// add records a problem at a place in the file. Whatever the file holds, the message stays one line that a terminal shows.
func (p *problems) add(where at, do, format string, args ...any) {
	if len(p.list) >= maxProblems {
		return
	}
	p.note(Error{File: p.file, Line: where.line, Column: where.col, Message: printable(fmt.Sprintf(format, args...)), Do: printable(do)})
}

// note keeps a problem, if it is new.
func (p *problems) note(e Error) {
	if p.seen[e] {
		return
	}
	if p.seen == nil {
		p.seen = map[Error]bool{}
	}
	p.seen[e] = true
	p.list = append(p.list, e)
}

// err returns the problems in the order of the file, or nil.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	slices.SortStableFunc(p.list, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return p.list
}

// nearest returns advice that names the known word most like the one that was written, or lists the known ones. It gives
// up when there are so many problems or words that looking would take long.
func (p *problems) nearest(word string, known []string, otherwise string) string {
	const few, many = 12, 2000
	if len(p.list) > maxPrinted || len(known) > many || len(word) > 60 {
		return otherwise
	}
	best, distance := "", 2 // a short word may have one letter wrong, a longer one two or more
	if len(word) > 3 {
		distance = max(2, len(word)/3) + 1
	}
	for _, k := range known {
		if d := editDistance(word, k); d < distance {
			best, distance = k, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(known) > 0 && len(known) <= few:
		return otherwise + " (known: " + strings.Join(known, ", ") + ")"
	}
	return otherwise
}

// editDistance counts the insertions, deletions and replacements between two words.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, s)
}

// quote shows a value of the file in a message, cut to a bearable length.
func quote(s string) string {
	const longest = 60
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
