package health

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// match reports whether name fits pattern, where * stands for any run of characters (none too) and ? for exactly one.
// Nothing else is special. With fold, letters match without regard to case. The time is at most len(pattern)*len(name).
func match(pattern, name string, fold bool) bool {
	p, n := 0, 0
	star, mark := -1, 0 // where the last * stands, and up to where it has eaten the name
	for n < len(name) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, n
			p++
			continue
		}
		nr, nw := utf8.DecodeRuneInString(name[n:])
		if p < len(pattern) {
			pr, pw := utf8.DecodeRuneInString(pattern[p:])
			if pr == '?' || same(pattern[p:p+pw], name[n:n+nw], pr, nr, fold) {
				p, n = p+pw, n+nw
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, w := utf8.DecodeRuneInString(name[mark:])
		mark += w
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// same compares one character; the strings tell apart bytes that are no UTF-8, which all decode to the same rune.
func same(ps, ns string, p, n rune, fold bool) bool {
	if p == utf8.RuneError || n == utf8.RuneError || !fold {
		return ps == ns
	}
	if p == n {
		return true
	}
	for r := unicode.SimpleFold(p); r != p; r = unicode.SimpleFold(r) {
		if r == n {
			return true
		}
	}
	return false
}

// plain reports whether only one name fits the pattern.
func plain(pattern string) bool { return !strings.ContainsAny(pattern, "*?") }
