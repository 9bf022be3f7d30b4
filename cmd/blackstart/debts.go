package main

import (
	"context"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newDebts(o *options) *cobra.Command {
	var incident string
	c := &cobra.Command{Use: "debts", Short: "List what repairs have left behind; clear one debt", Args: cobra.NoArgs,
		Long:    "A debt is something that a repair leaves on a host and that somebody must settle: an incident cannot close while one is open.",
		Example: "  blackstart host debts\n  blackstart host debts clear brt-app03 kept-copies --note \"removed\"",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListHosts(ctx, &pb.ListHostsRequest{Incident: incident})
				if err != nil {
					return err
				}
				var owing []*pb.Host
				for _, h := range out.GetHosts() {
					if len(h.GetDebts()) > 0 {
						owing = append(owing, h)
					}
				}
				if o.json() {
					return printProto(c, &pb.ListHostsResponse{Hosts: owing})
				}
				printDebts(c, owing)
				return nil
			})
		}}
	c.PersistentFlags().StringVar(&incident, "incident", "", "the incident's `id`; default the open one")
	c.AddCommand(newDebtsClear(o, &incident))
	return c
}

func printDebts(c *cobra.Command, owing []*pb.Host) {
	var rows []table.Row
	open := map[string]int{}
	for _, h := range owing {
		for _, d := range h.GetDebts() {
			if d.GetClearedAt() == nil {
				rows = append(rows, table.Row{h.GetName(), d.GetId(), clock(d.GetSince()), cell(d.GetWhat(), longCell)})
				open[d.GetId()]++
			}
		}
	}
	if len(rows) == 0 {
		say(c, "no debt is open")
		return
	}
	printTable(c, table.Row{"HOST", "DEBT", "SINCE", "WHAT"}, rows)
	say(c, "\n%d open: %s\n\nnext:", len(rows), tally(open))
	for _, id := range sortedKeys(open) {
		say(c, "  %s host debts clear --all %s --note \"…\"", again(c), id)
	}
}

func newDebtsClear(o *options, incident *string) *cobra.Command {
	var note string
	var all, accept bool
	c := &cobra.Command{
		Use: "clear HOST DEBT | --all DEBT", Short: "Say that a debt of a host, or of all hosts, is settled, or lived with",
		Long:    "Clear says that a debt is settled. With --accept it is not: somebody answers for living with it, the note says why, and the incident ends with that exception.",
		Example: "  blackstart host debts clear brt-app03 kept-copies --note \"removed\"\n  blackstart host debts clear --all kept-copies --note \"removed by the nightly job\"",
		Args: func(c *cobra.Command, args []string) error {
			if all {
				return cobra.ExactArgs(1)(c, args)
			}
			return cobra.ExactArgs(2)(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			r := &pb.ClearDebtRequest{Incident: *incident, Debt: args[len(args)-1], Note: note, Accepted: accept}
			if !all {
				r.Host = args[0]
				if r.GetHost() == "" {
					return usage("%s: name the host, or say --all", called(c))
				}
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ClearDebt(ctx, r)
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				if !all {
					printHost(c, out.GetHost())
					return nil
				}
				in, err := client.ShowIncident(ctx, &pb.ShowIncidentRequest{Incident: *incident})
				if err != nil {
					return err
				}
				say(c, "%s is settled on every host; %s open", r.GetDebt(), plural(int(in.GetIncident().GetOpenDebts()), "debt"))
				return nil
			})
		},
	}
	c.Flags().StringVar(&note, "note", "", "how it was settled; it stands in the report")
	c.Flags().BoolVar(&all, "all", false, "on every host that has it")
	c.Flags().BoolVar(&accept, "accept", false, "it is not settled: live with it, and say why in --note")
	return c
}
