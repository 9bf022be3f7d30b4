package report

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds on text that came from hosts or people, in characters.
const (
	maxPart  = 300  // one part of a sentence
	maxField = 2000 // one field of the report
)

// part makes text safe to stand inside a sentence on a terminal or in a file.
func part(s string) string { return clean(s, maxPart) }

// clean drops terminal sequences, control and invisible formatting characters, turns white space into single spaces, and
// cuts what is longer than limit characters.
func clean(s string, limit int) string {
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
			if written >= limit {
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

// scrub cleans every string of a report: the one door through which its text goes.
func scrub(r *Report) { scrubValue(reflect.ValueOf(r).Elem()) }

func scrubValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(clean(v.String(), maxField))
	case reflect.Pointer:
		if !v.IsNil() {
			scrubValue(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			scrubValue(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			scrubValue(v.Field(i))
		}
	}
}

// escaper takes the meaning of Markdown and HTML from text, links included.
var escaper = strings.NewReplacer(
	`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`, "#", `\#`, "~", `\~`, "$", `\$`,
	"<", "&lt;", ">", "&gt;", "&", "&amp;", "://", ":&#47;/", "www.", "www&#46;", "@", "&#64;",
	"\n", " ", "\r", " ",
)

func escape(s string) string { return escaper.Replace(s) }

// utc is a time as it stands in the report; one that JSON cannot write counts as unknown.
func utc(t time.Time) time.Time {
	t = t.UTC().Truncate(time.Millisecond)
	if t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}

func seconds(d time.Duration) float64 { return round(d.Seconds()) }

func round(f float64) float64 { return math.Round(f*1000) / 1000 }

// stamp writes a time for people, in UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format(time.DateTime)
}

// span writes a duration, given in seconds, for people.
func span(secs float64) string {
	s := int64(math.Round(math.Abs(secs)))
	switch {
	case s == 0 && secs != 0:
		return "under 1s"
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm %ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh %dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd %dh", s/86400, s%86400/3600)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// some joins the first names of a list and says how many are left out.
func some(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// who names an actor for people.
func who(actor string) string {
	kind, name, ok := strings.Cut(part(actor), ":")
	switch {
	case actor == "" || actor == "engine":
		return "the engine"
	case ok && kind == "operator":
		return name
	case ok && kind == "agent":
		return "the agent of " + name
	}
	return part(actor)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
