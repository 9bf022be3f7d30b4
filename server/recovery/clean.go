package recovery

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text that comes from a host or a person safe to show in one line: terminal sequences, control and invisible
// formatting characters go, white space becomes single spaces, invalid UTF-8 becomes U+FFFD, and what is longer than limit
// characters is cut with an ellipsis. What a host says is hostile until then.
func Clean(s string, limit int) string {
	if plain(s) && len(s) <= limit {
		return s
	}
	var out strings.Builder
	written, space := 0, false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == esc || r == csi || r == osc:
			i += sequence(s[i:])
			continue
		case unicode.IsSpace(r):
			space = written > 0
		case !unicode.IsGraphic(r):
		default:
			if written >= limit || space && written+1 >= limit {
				out.WriteString("…")
				return out.String()
			}
			if space {
				out.WriteByte(' ')
				written, space = written+1, false
			}
			out.WriteRune(r) // a broken byte was decoded to U+FFFD
			written++
		}
		i += size
	}
	return out.String()
}

// plain reports whether text is printable ASCII without anything to tidy.
func plain(s string) bool {
	before := byte(' ')
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == ' ' && before == ' ' {
			return false
		}
		before = c
	}
	return s == "" || before != ' '
}

const (
	esc = 0x1b
	csi = 0x9b // as one character
	osc = 0x9d
)

// sequence returns the length in bytes of the terminal sequence at the start of s. Of a string sequence without an end only
// the introducer is taken, so that it cannot swallow what follows.
func sequence(s string) int {
	r, i := utf8.DecodeRuneInString(s)
	var kind byte
	switch {
	case r == csi:
		kind = '['
	case r == osc:
		kind = ']'
	case i < len(s) && s[i] < utf8.RuneSelf && s[i] >= ' ':
		kind = s[i]
		i++
	default:
		return i
	}
	switch kind {
	case '[':
		for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
			i++
		}
		if i < len(s) && s[i] >= 0x40 && s[i] <= 0x7e {
			i++
		}
	case ']', 'P', 'X', '^', '_':
		for _, end := range []string{"\a", "\x1b\\", "\u009c"} {
			if n := strings.Index(s[i:], end); n >= 0 {
				return i + n + len(end)
			}
		}
	default:
		for kind >= 0x20 && kind <= 0x2f && i < len(s) && s[i] >= 0x20 && s[i] <= 0x7e {
			kind = s[i]
			i++
		}
	}
	return i
}
