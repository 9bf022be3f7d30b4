package health

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		fold, want    bool
	}{
		{"", "", false, true},
		{"", "a", false, false},
		{"*", "", false, true},
		{"?", "", false, false},
		{"C-00000291*.sys", "C-00000291-00000000-00000032.sys", false, true},
		{"C-00000291*.sys", "c-00000291-00000000-00000032.SYS", false, false},
		{"C-00000291*.sys", "c-00000291-00000000-00000032.SYS", true, true},
		{"C-00000291*.sys", "C-00000292-00000000-00000032.sys", true, false},
		{"C-00000291*.sys", "C-00000291-00000000-00000032.sys.bak", true, false},
		{"a*b*c", "aXbXbXc", false, true},
		{"a*b*c", "aXbXbX", false, false},
		{"**?", "é", false, true},
		{"??", "é", false, false},
		{"*??yz", "€yz", false, false},
		{"É*", "étage", true, true},
		{"k", "\u212a", true, true}, // the Kelvin sign folds to k
		{"[a]", "a", false, false},
		{"[a]", "[a]", false, true},
		{"\xff", "\xfe", true, false},
		{"\xff?", "\xff\xfe", true, true},
	} {
		if got := match(c.pattern, c.name, c.fold); got != c.want {
			t.Errorf("match(%q, %q, fold %v) = %v", c.pattern, c.name, c.fold, got)
		}
	}
}

// expression is the oracle: the same pattern as a regular expression.
func expression(pattern string, fold bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^(?s)")
	if fold {
		b.WriteString("(?i)")
	}
	for _, r := range pattern {
		switch r {
		case '*':
			b.WriteString(".*")
		case '?':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return regexp.MustCompile(b.String() + "$")
}

func TestMatchIsARegularExpression(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringOfN(rapid.RuneFrom([]rune("aAbB*?é€.[")), 0, 12, -1).Draw(t, "pattern")
		name := rapid.StringOfN(rapid.RuneFrom([]rune("aAbBéÉ€.[\n")), 0, 16, -1).Draw(t, "name")
		fold := rapid.Bool().Draw(t, "fold")
		if got, want := match(pattern, name, fold), expression(pattern, fold).MatchString(name); got != want {
			t.Fatalf("match(%q, %q, fold %v) = %v, the oracle says %v", pattern, name, fold, got, want)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("C-00000291*.sys", "c-00000291-00000000-00000032.SYS", true)
	f.Add("a*b*?", "aXbYb\n", false)
	f.Add("\xff*", "\xff\xfe", true)
	f.Fuzz(func(t *testing.T, pattern, name string, fold bool) {
		if len(pattern) > 64 || len(name) > 256 {
			return // the oracle's time, not ours
		}
		got := match(pattern, name, fold)
		if !match("*", name, fold) || !match(name, name, fold) {
			t.Errorf("%q does not match itself or *", name)
		}
		if utf8.ValidString(pattern) && utf8.ValidString(name) && !strings.ContainsRune(pattern+name, utf8.RuneError) {
			if want := expression(pattern, fold).MatchString(name); got != want {
				t.Errorf("match(%q, %q, fold %v) = %v, the oracle says %v", pattern, name, fold, got, want)
			}
		}
	})
}
