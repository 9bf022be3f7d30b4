package recovery

import (
	"strings"
	"testing"
	"unicode"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain text", "plain text"},
		{"  two  spaces ", "two spaces"},
		{"red \x1b[31malarm\x1b[0m!", "red alarm!"},
		{"a\x1b]0;owned\ab", "ab"},
		{"a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"},
		{"a\x1b]0;no end, and what follows stays", "a0;no end, and what follows stays"},
		{"a\x1bcb\x1b(Bc\x1b", "abc"},
		{"\u009b31mred", "red"},
		{"line one\r\nline\ttwo\x00\x07\x7f", "line one line two"},
		{"abc\u202edef\u200b\u2066g\u2028h", "abcdefg h"},
		{"broken \xff byte", "broken � byte"},
		{"grün – 日本", "grün – 日本"},
		{"", ""},
	} {
		if got := Clean(c.in, 100); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Clean(strings.Repeat("é", 50), 10); got != strings.Repeat("é", 10)+"…" {
		t.Errorf("a long text became %q", got)
	}
	if got := Clean(strings.Repeat("x", 50), 10); got != strings.Repeat("x", 10)+"…" {
		t.Errorf("a long plain text became %q", got)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31mb\x1b]0;x\a")
	f.Add(strings.Repeat("x", 39) + " yz")
	f.Add("\u009d\x1b\x1b[\x1bP")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clean(s, 40)
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("Clean(%q) = %q holds %U", s, got, r)
			}
		}
		if n := len([]rune(got)); n > 41 {
			t.Fatalf("Clean(%q) has %d characters", s, n)
		}
		if again := Clean(got, 41); again != got {
			t.Fatalf("Clean(%q) = %q is not clean: %q", s, got, again)
		}
	})
}
