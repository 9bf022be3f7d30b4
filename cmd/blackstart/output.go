package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func printJSON(c *cobra.Command, v any) error {
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printProto prints a message as JSON with the field names of the .proto files: the contract for programs.
func printProto(c *cobra.Command, m proto.Message) error {
	data, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	var v any // protojson spaces its output at random on purpose; encoding/json does not
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	return printJSON(c, v)
}

// compact is JSON in one line without the blanks that protojson puts in at random.
func compact(data []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return string(data)
	}
	return b.String()
}

// columnGap stands between two columns of a table.
const columnGap = "  "

// printTable prints rows for people: plain columns, no frames, so that it reads well in a terminal and in a mail. In a terminal
// the last column, which is the longest, is cut to what fits in a line; elsewhere nothing is cut.
func printTable(c *cobra.Command, head table.Row, rows []table.Row) {
	width := terminalWidth(c.OutOrStdout())
	if width > 0 {
		rows = cutRows(head, rows, width)
	}
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", columnGap
	style.Format.Header = 0
	t.SetStyle(style)
	t.AppendHeader(head)
	t.AppendRows(rows)
	t.SuppressTrailingSpaces()
	for line := range strings.Lines(t.Render()) {
		line = strings.TrimSuffix(line, "\n")
		if width > 0 {
			line = text.Snip(line, width, "…")
		}
		say(c, "%s", line)
	}
}

// leastCut is the width below which cutting the last column makes no sense.
const leastCut = 12

// cutRows shortens the last column so that a line fits in width.
func cutRows(head table.Row, rows []table.Row, width int) []table.Row {
	last := len(head) - 1
	left := width
	for i := range last {
		widest := text.StringWidth(fmt.Sprint(head[i]))
		for _, r := range rows {
			widest = max(widest, text.StringWidth(fmt.Sprint(r[i])))
		}
		left -= widest + len(columnGap)
	}
	left = max(left, leastCut)
	out := make([]table.Row, len(rows))
	for i, r := range rows {
		out[i] = r
		if s, ok := r[last].(string); ok && text.StringWidth(s) > left {
			out[i] = slices.Clone(r)
			out[i][last] = text.Snip(s, left, "…")
		}
	}
	return out
}

// terminalWidth is the number of columns of the terminal that w is, or 0 when it is none.
func terminalWidth(w io.Writer) int {
	f, ok := asFile(w)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

func say(c *cobra.Command, format string, args ...any) {
	fmt.Fprintf(c.OutOrStdout(), format+"\n", args...)
}

// clock shows a moment; an unset one is a dash.
func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return clockTime(t.AsTime())
}

// clockTime tells UTC and says so, as reasons, reports and the journal do: nobody should have to guess which clock is meant.
func clockTime(t time.Time) string { return t.UTC().Format("02 Jan 15:04:05 UTC") }

// wallClock is clock with what the clock on the wall shows, where that is something else.
func wallClock(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	here := t.AsTime().Local()
	if _, offset := here.Zone(); offset == 0 {
		return clock(t)
	}
	return clock(t) + here.Format(" (15:04 MST)")
}

// cell makes text from elsewhere safe and short enough for a table.
func cell(s string, limit int) string {
	if s == "" {
		return "-"
	}
	return recovery.Clean(s, limit)
}

// longCell bounds a last column: printTable cuts it to a terminal's width.
const longCell = 2000

// span shows a duration as a person would say it: 8h30m, 90s, 2d.
func span(d time.Duration) string {
	if d >= 48*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// plural counts something whose plural takes an s.
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// mostNamed is how many names a summary line holds.
const mostNamed = 12

// named lists names, the first of them when there are many.
func named(names []string) string {
	if len(names) > mostNamed {
		return fmt.Sprintf("%s … and %d more", strings.Join(names[:mostNamed], ", "), len(names)-mostNamed)
	}
	return strings.Join(names, ", ")
}

// sortedKeys are a map's keys in order.
func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
