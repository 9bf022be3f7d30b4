package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/catalog"
)

// The formats of an audit.
const (
	formatTable    = "table"
	formatJSON     = "json"
	formatMarkdown = "markdown"
)

func newBackupsAudit(o *options) *cobra.Command {
	var format, file string
	c := &cobra.Command{
		Use: "audit", Short: "Answer whether every system has an adequate backup, against what its service promised itself", Args: cobra.NoArgs,
		Long: `Audit holds every data set against its backup policy: points that are missing or late, never verified or long ago, not as far as asked; kept for less time than damage may stay unseen, so that every point kept may already be bad; no copy elsewhere. Hosts with data of their own that nothing backs up are listed too.

With -o markdown it writes a page fit for a council's agenda.

Exit codes: 0 every data set is adequate; 3 something falls short; 1 failed; 2 usage or invalid input.`,
		Example: `  blackstart backups audit
  blackstart backups audit -o markdown --out backups.md
  blackstart backups audit -o json`,
		RunE: func(c *cobra.Command, _ []string) error {
			r := &pb.AuditBackupsRequest{Format: pb.ReportFormat_REPORT_FORMAT_JSON}
			switch format {
			case formatTable:
				if file != "" {
					return usage("--out FILE: say which form it gets, with -o markdown or -o json")
				}
			case formatJSON:
			case formatMarkdown:
				r.Format = pb.ReportFormat_REPORT_FORMAT_MARKDOWN
			default:
				return usage("-o %s: an audit is a table, json or markdown", format)
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.AuditBackups(ctx, r)
				if err != nil {
					return err
				}
				if err := tellBackupsAudit(c, out.GetBody(), format, file); err != nil || out.GetShort() == 0 {
					return err
				}
				return &outcome{exitHeld, plural(int(out.GetShort()), "data set or host") + " without an adequate backup: the findings say what each lacks"}
			})
		},
	}
	c.Flags().StringVarP(&format, "output", "o", formatTable, "table, json or markdown")
	c.Flags().StringVar(&file, "out", "", "write it to this `file` instead, with -o markdown or json")
	return c
}

// tellBackupsAudit prints an audit, or writes it to a file.
func tellBackupsAudit(c *cobra.Command, body []byte, format, file string) error {
	if format == formatTable {
		var a catalog.Audit
		if err := json.Unmarshal(body, &a); err != nil {
			return fmt.Errorf("the coordinator's audit cannot be read: does it run the same version of blackstart? %w", err)
		}
		printBackupsAudit(c, a)
		return nil
	}
	text := strings.TrimRight(string(body), "\n") + "\n"
	if file == "" {
		_, err := fmt.Fprint(c.OutOrStdout(), text)
		return err
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // meant to be read by others
		return fmt.Errorf("the audit could not be written: %w", err)
	}
	say(c, "written to %s", file)
	return nil
}

func printBackupsAudit(c *cobra.Command, a catalog.Audit) {
	rows := make([]table.Row, 0, len(a.Rows))
	for _, r := range a.Rows {
		finding := "ok"
		texts := make([]string, 0, len(r.Findings))
		for _, f := range r.Findings {
			texts = append(texts, strings.TrimSuffix(cell(f.Text, 400), "."))
		}
		if len(texts) > 0 {
			finding = strings.Join(texts, "; ")
		}
		level := "-"
		if r.Level > recovery.L0 {
			level = r.Level.String()
		}
		rows = append(rows, table.Row{cell(r.DataSet, 60), cell(r.Host, 60), cell(r.Service, 60), cell(r.Policy, 40), r.Points, ago(r.Newest, a.AsOf), level, ago(r.VerifiedAt, a.AsOf), finding})
	}
	if len(rows) == 0 {
		say(c, "the fleet file names no data: there is nothing to audit")
		return
	}
	printTable(c, table.Row{"DATA SET", "HOST", "SERVICE", "POLICY", "POINTS", "NEWEST", "LEVEL", "CHECKED", "FINDINGS"}, rows)
	say(c, "\n%d adequate, %d short; %s of %s kept, as of %s", a.Adequate, a.Short, plural(a.Points, "restore point"), plural(a.DataSets, "data set"), clockTime(a.AsOf))
}
