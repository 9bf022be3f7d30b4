package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/fleet"
)

func newFleet(o *options) *cobra.Command {
	check := &cobra.Command{
		Use: "check FILE", Short: "Check a fleet file and count its waves", Args: cobra.ExactArgs(1), Example: "  blackstart fleet check fleet.yaml",
		RunE: func(c *cobra.Command, args []string) error {
			f, err := fleet.Load(args[0])
			if err != nil {
				return usage("%w", err)
			}
			counts := fleet.Counts(f)
			if o.json() {
				return printJSON(c, map[string]any{"fleet": f.Name, "hosts": len(f.Hosts), "services": len(f.Services), "waves": counts})
			}
			var rows []table.Row
			for _, w := range counts {
				rows = append(rows, table.Row{w.Wave, w.Tier, w.Hosts, w.Services, w.Critical, w.RTO, tally(w.Data), tally(w.OS), tally(w.Ladders)})
			}
			printTable(c, table.Row{"WAVE", "TIER", "HOSTS", "SERVICES", "CRITICAL", "RTO", "DATA", "OS", "LADDERS"}, rows)
			say(c, "\n%s: %d hosts, %d services, %d groups; the file is sound", f.Name, len(f.Hosts), len(f.Services), len(f.Groups))
			return nil
		},
	}
	schema := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the fleet file, for editors", Args: cobra.NoArgs, Example: "  blackstart fleet schema > fleet.schema.json",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), strings.TrimSpace(string(fleet.Schema)))
			return err
		},
	}
	c := &cobra.Command{Use: "fleet", Short: "Check the fleet file"}
	c.AddCommand(check, schema)
	return c
}

// tally shows counts by name, largest first.
func tally[K ~string](m map[K]int) string {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%d %s", m[k], k)
	}
	return strings.Join(parts, "; ")
}
