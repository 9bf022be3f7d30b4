package fleet

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// at is a place in the file. Every value carries its own, so that a problem found late still points at its cause; a value
// that the file does not have is nowhere.
type at struct{ line, col int }

func (a *at) place(line, col int) { a.line, a.col = line, col }

// where returns the place itself, for whoever knows only that there is one.
func (a at) where() at { return a }

// given reports whether the file has this value.
func (a at) given() bool { return a.line > 0 }

// scalar is a value that is written as one word or sentence. parse returns what is wrong and what to do, or nothing.
type scalar interface {
	place(line, col int)
	parse(s string) (problem, do string)
}

// text is any words; a number stays as it was written (1.10 is not 1.1).
type text struct {
	at
	s string
}

// given reports whether there is a usable text; one that was refused has a place and nothing else.
func (t text) given() bool { return t.s != "" }

const longestText = 1000

func (t *text) parse(s string) (problem, do string) {
	if len(s) > longestText {
		return fmt.Sprintf("is %d bytes long", len(s)), fmt.Sprintf("write at most %d", longestText)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Sprintf("holds a control character: %s", quote(s)), "write it on one line in plain characters"
	}
	if strings.TrimSpace(s) == "" {
		return "is empty", "write a value or leave the key out"
	}
	t.s = s
	return "", ""
}

// or returns the text, or another one where the file says nothing.
func (t text) or(other string) string {
	if t.s == "" {
		return other
	}
	return t.s
}

// version is a text that editors may take for a number.
type version struct{ text }

// whole is a whole number that is not negative.
type whole struct {
	at
	n int
}

func (w *whole) parse(s string) (problem, do string) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > math.MaxInt32 || s[0] == '+' {
		return fmt.Sprintf("is %s, not a whole number", quote(s)), "write one such as 3"
	}
	w.n = n
	return "", ""
}

// boolean is true or false.
type boolean struct {
	at
	on bool
}

func (f *boolean) parse(s string) (problem, do string) {
	if s != "true" && s != "false" {
		return fmt.Sprintf("is %s, neither true nor false", quote(s)), "write true or false"
	}
	f.on = s == "true"
	return "", ""
}

// span is a length of time: Go's notation, and d for days.
type span struct {
	at
	d time.Duration
}

const longestSpan = 3650 * 24 * time.Hour

func (d *span) parse(s string) (problem, do string) {
	notOne := func() (string, string) {
		return fmt.Sprintf("is %s, not a length of time", quote(s)), "write one such as 90s, 10m, 8h30m or 2d"
	}
	rest, total := s, time.Duration(0)
	if days, after, found := strings.Cut(s, "d"); found {
		n, err := strconv.Atoi(days)
		if err != nil || days[0] == '+' {
			return notOne()
		}
		if n < 0 || n > int(longestSpan/(24*time.Hour)) {
			return fmt.Sprintf("is %s", quote(s)), "write a length of time between 0 and 3650d"
		}
		total, rest = time.Duration(n)*24*time.Hour, after
	}
	if rest != "" || s == "" {
		part, err := time.ParseDuration(rest)
		if err != nil {
			return notOne()
		}
		if part < 0 || part > longestSpan-total {
			return fmt.Sprintf("is %s", quote(s)), "write a length of time between 0 and 3650d"
		}
		total += part
	}
	d.d = total
	return "", ""
}

// share is a percentage from 1% to 100%.
type share struct {
	at
	n int
}

func (p *share) parse(s string) (problem, do string) {
	n, ok := percentage(s)
	if !ok {
		return fmt.Sprintf("is %s, not a percentage", quote(s)), "write a whole one such as 90%"
	}
	if n < 1 || n > 100 {
		return fmt.Sprintf("is %s", quote(s)), "write a percentage from 1% to 100%"
	}
	p.n = n
	return "", ""
}

// limit is a count of hosts or a percentage of them.
type limit struct {
	at
	l recovery.Limit
}

func (l *limit) parse(s string) (problem, do string) {
	if n, ok := percentage(s); ok {
		if n > 100 {
			return fmt.Sprintf("is %s, more than all", quote(s)), "write a percentage from 0% to 100%"
		}
		l.l = recovery.Limit{Count: n, Percent: true}
		return "", ""
	}
	var w whole
	if problem, _ := w.parse(s); problem != "" {
		return fmt.Sprintf("is %s, neither a count nor a percentage", quote(s)), "write one such as 3 or 5%"
	}
	l.l = recovery.Limit{Count: w.n}
	return "", ""
}

// percentage reads "90%".
func percentage(s string) (int, bool) {
	digits, ok := strings.CutSuffix(s, "%")
	if !ok || digits == "" || len(digits) > 9 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}
