package fleet

import (
	"fmt"
	"strconv"
	"strings"
)

// pattern is a name with ranges in it: brt-app[01-24], rack[1,3]-node[1-8]. It stands for count names.
type pattern struct {
	parts []patternPart
	count int
}

// patternPart is a literal, or a range when it has spans.
type patternPart struct {
	literal string
	spans   []numberSpan
}

// numberSpan is the numbers from low to high, written with at least width digits.
type numberSpan struct{ low, high, width int }

// parsePattern reads a pattern. It counts what the pattern stands for without writing it out, and refuses more than most.
func parsePattern(s string, most int) (p pattern, problem, do string) {
	p.count = 1
	for rest := s; rest != ""; {
		open := strings.IndexAny(rest, "[]")
		if open < 0 {
			p.parts = append(p.parts, patternPart{literal: rest})
			break
		}
		if rest[open] == ']' {
			return p, fmt.Sprintf("%s has a ] without a [", quote(s)), "write ranges as [01-24] or [1,3,5]"
		}
		if open > 0 {
			p.parts = append(p.parts, patternPart{literal: rest[:open]})
		}
		inside, after, ok := strings.Cut(rest[open+1:], "]")
		if !ok {
			return p, fmt.Sprintf("%s has a [ without a ]", quote(s)), "write ranges as [01-24] or [1,3,5]"
		}
		spans, count, problem, do := parseSpans(inside)
		if problem != "" {
			return p, quote(s) + " " + problem, do
		}
		if count > most/p.count {
			return p, fmt.Sprintf("%s stands for more than %d names", quote(s), most), "write a smaller range"
		}
		p.count *= count
		p.parts = append(p.parts, patternPart{spans: spans})
		rest = after
	}
	return p, "", ""
}

// parseSpans reads what stands between the brackets.
func parseSpans(s string) (spans []numberSpan, count int, problem, do string) {
	const digits = "0123456789"
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		low, high, isRange := strings.Cut(item, "-")
		if !isRange {
			high = low
		}
		if low == "" || high == "" || strings.Trim(low+high, digits) != "" {
			return nil, 0, fmt.Sprintf("has a range [%s] that is not made of numbers", s), "write ranges as [01-24] or [1,3,5]"
		}
		if len(low) > 9 || len(high) > 9 {
			return nil, 0, fmt.Sprintf("has a range [%s] with a number of more than nine digits", s), "write a smaller range"
		}
		padded := low[0] == '0' && len(low) > 1 || high[0] == '0' && len(high) > 1
		if padded && len(low) != len(high) {
			return nil, 0, fmt.Sprintf("has a range [%s] whose ends have different numbers of digits", s), "write both with the same leading zeros, as in [01-24]"
		}
		from, _ := strconv.Atoi(low) // at most nine digits
		to, _ := strconv.Atoi(high)
		if from > to {
			return nil, 0, fmt.Sprintf("has a range [%s] that runs backwards", s), "write the smaller number first"
		}
		span := numberSpan{low: from, high: to}
		if padded {
			span.width = len(low)
		}
		spans = append(spans, span)
		count = min(count, 1e9) + to - from + 1 // never overflows, and stays too many
	}
	return spans, count, "", ""
}

// expand writes out the names, the last range running fastest.
func (p pattern) expand() []string {
	out := make([]string, 0, p.count)
	line := make([]byte, 0, 64)
	var write func(parts []patternPart, line []byte)
	write = func(parts []patternPart, line []byte) {
		if len(parts) == 0 {
			out = append(out, string(line))
			return
		}
		if parts[0].spans == nil {
			write(parts[1:], append(line, parts[0].literal...))
			return
		}
		for _, span := range parts[0].spans {
			for n := span.low; n <= span.high; n++ {
				write(parts[1:], appendPadded(line, n, span.width))
			}
		}
	}
	write(p.parts, line)
	return out
}

func appendPadded(line []byte, n, width int) []byte {
	digits := strconv.Itoa(n)
	for range width - len(digits) {
		line = append(line, '0')
	}
	return append(line, digits...)
}

// checkName refuses names that would not survive in a certificate, a file name or a column of a table.
func checkName(s string) (problem, do string) {
	const longest = 253
	bad := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	}
	switch {
	case len(s) > longest:
		return fmt.Sprintf("is %d characters long", len(s)), fmt.Sprintf("write at most %d", longest)
	case strings.ContainsFunc(s, bad):
		return fmt.Sprintf("is %s", quote(s)), "use letters, digits, hyphens, dots and underscores only"
	case s == "" || strings.ContainsRune("-._", rune(s[0])):
		return fmt.Sprintf("is %s", quote(s)), "begin with a letter or a digit"
	}
	return "", ""
}
