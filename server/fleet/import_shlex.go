package fleet

import (
	"strings"
	"unicode/utf8"
)

// word is one word of a line, and the column of its first character.
type word struct {
	s   string
	col int
}

// shellWords splits a line as Ansible does, which is Python's shlex.split: blanks part words, quotes of either kind and the
// backslash keep them together, and with comments a # ends the line wherever it stands outside of quotes. A problem comes
// with its column.
func shellWords(line string, comments bool) (words []word, problem string, col int) {
	const blanks, quotes = " \t\r\n", `'"`
	var b strings.Builder
	var quoted rune // the quote that is open
	started, escaped := false, false
	start, col := 0, 0
	end := func() {
		if started {
			words = append(words, word{b.String(), start})
			b.Reset()
			started = false
		}
	}
	begin := func() {
		if !started {
			started, start = true, col
		}
	}
	for _, c := range line {
		col++
		switch {
		case escaped:
			if quoted != 0 && c != '\\' && c != quoted { // inside double quotes it escapes only these
				b.WriteByte('\\')
			}
			b.WriteRune(c)
			escaped = false
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == '"' && c == '\\':
			escaped = true
		case quoted != 0:
			b.WriteRune(c)
		case strings.ContainsRune(blanks, c):
			end()
		case comments && c == '#':
			end()
			return words, "", 0
		case c == '\\':
			begin()
			escaped = true
		case strings.ContainsRune(quotes, c):
			begin()
			quoted = c
		default:
			begin()
			b.WriteRune(c)
		}
	}
	switch {
	case escaped:
		return nil, "ends with a backslash", utf8.RuneCountInString(line)
	case quoted != 0:
		return nil, "has a quotation mark (" + string(quoted) + ") that is never closed", start
	}
	end()
	return words, "", 0
}
