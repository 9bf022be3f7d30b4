package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
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

// printTable prints rows for people: plain columns, no frames, so that it reads well in a terminal and in a mail.
func printTable(c *cobra.Command, head table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.SetOutputMirror(c.OutOrStdout())
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = 0
	t.SetStyle(style)
	t.AppendHeader(head)
	t.AppendRows(rows)
	t.SuppressTrailingSpaces()
	t.Render()
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

func clockTime(t time.Time) string { return t.Local().Format("02 Jan 15:04:05") }

// cell makes text from elsewhere safe and short enough for a table.
func cell(s string, limit int) string {
	if s == "" {
		return "-"
	}
	return recovery.Clean(s, limit)
}

// sortedKeys are a map's keys in order.
func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
