package report

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Bounds on text that came from hosts or people, in characters.
const (
	maxPart  = 300  // one part of a sentence
	maxField = 2000 // one field of the report
)

// part makes text safe to stand inside a sentence on a terminal or in a file.
func part(s string) string { return recovery.Clean(s, maxPart) }

// scrub cleans every string of a report: the one door through which its text goes.
func scrub(r *Report) { scrubValue(reflect.ValueOf(r).Elem()) }

func scrubValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(recovery.Clean(v.String(), maxField))
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
