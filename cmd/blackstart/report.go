package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newReport(o *options) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use: "report [INCIDENT]", Short: "Write the after-action report, finished or as of now", Args: cobra.MaximumNArgs(1),
		Example: "  blackstart report > report.md\n  blackstart report 2024-07-19-1 -o json",
		RunE: func(c *cobra.Command, args []string) error {
			r := &pb.ReportRequest{Incident: arg(args, 0)}
			switch format {
			case "md":
				r.Format = pb.ReportFormat_REPORT_FORMAT_MARKDOWN
			case "json":
				r.Format = pb.ReportFormat_REPORT_FORMAT_JSON
			default:
				return usage("-o %s: a report is md or json", format)
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.Report(ctx, r)
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), strings.TrimRight(string(out.GetBody()), "\n"))
				return err
			})
		},
	}
	c.Flags().StringVarP(&format, "output", "o", "md", "md or json")
	return c
}
