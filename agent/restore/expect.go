package restore

import (
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ahead is how far after a point's moment a row may lie: clocks differ, and a backup takes its time.
const ahead = 10 * time.Minute

// Bounds of what an expectation and an answer may be.
const (
	maxExpect = 200  // bytes of an expectation
	maxNumber = 2000 // digits of a number
	maxAnswer = 300  // bytes of an answer that are shown
)

// expectation is what an invariant's answer must be: the words of its expression, read.
type expectation struct {
	relation string // "equal", "within", "=", "!=", "<", "<=", ">", ">="
	value    string // what the answer is compared with
	number   *big.Rat
	age      time.Duration
}

// checkExpect says what is wrong with an expression. docs/backup-exec.md has the grammar.
func checkExpect(expr string) error {
	_, err := parseExpect(expr)
	return err
}

// expect holds an invariant's answer, the columns of its one row, against an expression. moment is whose data the answer is about.
// detail says in words what was found, also when it is as expected. An error says that the expression cannot be used at all; an answer that
// is missing, empty or of another kind than the expression wants is not as expected.
func expect(expr string, columns []string, moment time.Time) (ok bool, detail string, err error) {
	e, err := parseExpect(expr)
	if err != nil {
		return false, "", err
	}
	if e.relation == "equal" && len(columns) == 1 {
		return false, "", fmt.Errorf("the expectation %q wants an answer of at least two columns, and it has one: ask for two values, or expect %q", expr, "= VALUE")
	}
	if e.relation == "within" && moment.IsZero() {
		return false, "", fmt.Errorf("the expectation %q wants the moment of the restore point, and it is not known", expr)
	}
	expr, answer := strings.TrimSpace(expr), clean(strings.Join(columns, " | "), maxAnswer)
	columns = slices.Clone(columns)
	for i, c := range columns {
		columns[i] = strings.TrimSpace(c)
	}
	switch {
	case len(columns) == 0:
		return false, fmt.Sprintf("there is no answer, not one row; expected %s", expr), nil
	case columns[0] == "" || answer == "":
		return false, fmt.Sprintf("the answer is empty, or NULL; expected %s", expr), nil
	}
	ok, why := e.holds(columns, moment)
	detail = "the answer is " + answer
	if !ok {
		detail += "; expected " + expr
	}
	if why != "" {
		detail += ": " + why
	}
	return ok, detail, nil
}

// holds compares the columns of an answer with what is expected, and says why where the answer alone does not show it.
func (e expectation) holds(columns []string, moment time.Time) (ok bool, why string) {
	switch e.relation {
	case "equal":
		for _, c := range columns[1:] {
			if !same(columns[0], c) {
				return false, ""
			}
		}
		return true, ""
	case "within":
		return e.recent(columns, moment)
	case "=":
		return e.names(columns), ""
	case "!=":
		return !e.names(columns), ""
	}
	n, isNumber := number(columns[0])
	if !isNumber {
		return false, "that is no number"
	}
	switch c := n.Cmp(e.number); e.relation {
	case "<":
		return c < 0, ""
	case "<=":
		return c <= 0, ""
	case ">":
		return c > 0, ""
	default:
		return c >= 0, ""
	}
}

// names says whether the answer is the value: its first column, or all of them with a blank between, as a program prints them.
func (e expectation) names(columns []string) bool {
	return same(columns[0], e.value) || strings.Join(columns, " ") == e.value
}

func (e expectation) recent(columns []string, moment time.Time) (ok bool, why string) {
	t, isTime := firstTime(columns)
	at := moment.UTC().Format(time.RFC3339)
	switch {
	case !isTime:
		return false, "that is no time"
	case t.Before(moment.Add(-e.age)):
		return false, "the data is of " + at
	case t.After(moment.Add(ahead)):
		return false, "the data is of " + at + ", which is earlier: a clock is wrong, or the data is of another moment"
	}
	return true, "the data is of " + at
}

// same says whether two values are the same text or the same number.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, isNumber := number(a)
	y, isNumberToo := number(b)
	return isNumber && isNumberToo && x.Cmp(y) == 0
}

var numeric = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`)

// number reads a decimal number exactly, of any size within reason.
func number(s string) (*big.Rat, bool) {
	if len(s) > maxNumber || !numeric.MatchString(s) {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

var (
	zoneName    = regexp.MustCompile(`^[A-Z]{3,5}$`)
	unixSeconds = regexp.MustCompile(`^\d{1,12}(\.\d{1,9})?$`)

	// timeForms are RFC 3339's, PostgreSQL's and SQLite's. What names no zone is UTC; fractions of seconds are taken in each.
	timeForms = []string{
		time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05-07", "2006-01-02 15:04:05-0700", "2006-01-02 15:04:05 -0700", "2006-01-02 15:04:05 MST",
		"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
	}
)

// firstTime reads the time that an answer begins with. A program's words were split at blanks, so it may be the first two or three columns.
func firstTime(columns []string) (time.Time, bool) {
	for n := min(3, len(columns)); n > 0; n-- {
		t, ok := parseTime(strings.Join(columns[:n], " "))
		if ok {
			return t, true
		}
		if n == 3 && zoneName.MatchString(columns[2]) {
			break // the name of another zone says nothing without its offset
		}
	}
	return time.Time{}, false
}

func parseTime(s string) (time.Time, bool) {
	if unixSeconds.MatchString(s) {
		seconds, _ := new(big.Rat).SetString(s)
		nanoseconds := seconds.Mul(seconds, big.NewRat(int64(time.Second), 1)).Num()
		whole, rest := new(big.Int).QuoRem(nanoseconds, big.NewInt(int64(time.Second)), new(big.Int))
		return time.Unix(whole.Int64(), rest.Int64()), true
	}
	for _, form := range timeForms {
		t, err := time.Parse(form, s)
		if err != nil || strings.HasSuffix(form, "MST") && !strings.HasSuffix(s, " UTC") && !strings.HasSuffix(s, " GMT") {
			continue
		}
		return t, true
	}
	return time.Time{}, false
}

// parseExpect reads an expression.
func parseExpect(expr string) (expectation, error) {
	text := strings.TrimSpace(expr)
	switch {
	case len(text) > maxExpect:
		return expectation{}, fmt.Errorf("an expectation of %d bytes is too long; at most %d are taken", len(text), maxExpect)
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return expectation{}, fmt.Errorf("the expectation %q holds a character that cannot be printed; remove it", text)
	case text == "equal":
		return expectation{relation: "equal"}, nil
	}
	if age, found := strings.CutPrefix(text, "within "); found {
		d, err := parseAge(strings.TrimSpace(age))
		if err != nil {
			return expectation{}, fmt.Errorf("the expectation %q: %w", text, err)
		}
		return expectation{relation: "within", age: d}, nil
	}
	for _, relation := range []string{"!=", "<=", ">=", "=", "<", ">"} { // the longer ones first
		value, found := strings.CutPrefix(text, relation)
		if !found {
			continue
		}
		e := expectation{relation: relation, value: strings.TrimSpace(value)}
		switch n, isNumber := number(e.value); {
		case e.value == "" || strings.ContainsAny(e.value[:1], "=<>!"):
			return expectation{}, fmt.Errorf("the expectation %q has nothing to compare with after %s; write %q", text, relation, relation+" VALUE")
		case isNumber:
			e.number = n
		case relation != "=" && relation != "!=":
			return expectation{}, fmt.Errorf("the expectation %q compares with %q, which is no number; write one, such as %q", text, e.value, relation+" 1000")
		}
		return e, nil
	}
	return expectation{}, fmt.Errorf(`the expectation %q is not known; write "equal", "= X", "!= X", "< N", "<= N", "> N", ">= N" or "within 26h"`, text)
}

// parseAge reads a length of time as Go writes it, after whole days where there are some: "26h", "14d", "1d12h".
func parseAge(s string) (time.Duration, error) {
	const most = 3650 // days
	wrong := fmt.Errorf("%q is no length of time up to %dd; write one such as 26h, 14d or 1d12h", s, most)
	rest, age := s, time.Duration(0)
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || n > most {
			return 0, wrong
		}
		rest, age = after, time.Duration(n)*24*time.Hour
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > most*24*time.Hour {
			return 0, wrong
		}
		age += d
	}
	if age <= 0 || age > most*24*time.Hour {
		return 0, wrong
	}
	return age, nil
}
