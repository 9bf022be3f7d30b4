package recovery

import "strings"

// Clean makes text from a host safe to show: control characters (newlines and tabs become blanks) and invalid UTF-8 go, and
// what is longer than limit bytes is cut with an ellipsis. What a host says is hostile until then.
func Clean(s string, limit int) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "") {
		switch {
		case r == '\n' || r == '\t':
			r = ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0xfeff:
			continue
		}
		if b.Len()+len(string(r)) > limit {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
