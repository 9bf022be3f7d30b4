package main

import (
	"context"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// newAgentList calls the roll before anything is declared: who speaks, who is bad, who was never heard of.
func newAgentList(o *options) *cobra.Command {
	var silent bool
	c := &cobra.Command{
		Use: "list", Short: "Call the roll: what was last heard of every host, incident or not", Args: cobra.NoArgs,
		Long:    "List shows the last that was heard of every host of the fleet file. Look at it before declaring: a host that has not phoned home yet is classified as unknown.",
		Example: "  blackstart agent list\n  blackstart agent list --silent",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
				if err != nil {
					return err
				}
				if silent {
					kept := out.GetAgents()[:0]
					for _, a := range out.GetAgents() {
						if !a.GetConnected() {
							kept = append(kept, a)
						}
					}
					out.Agents = kept
				}
				if o.json() {
					return printProto(c, out)
				}
				printRoll(c, out.GetAgents())
				return nil
			})
		},
	}
	c.Flags().BoolVar(&silent, "silent", false, "only hosts that are not connected")
	return c
}

func printRoll(c *cobra.Command, agents []*pb.Agent) {
	var rows []table.Row
	connected, bad, never := 0, 0, 0
	for _, a := range agents {
		state := "silent"
		switch {
		case a.GetConnected():
			state = "connected"
			connected++
		case a.GetLastSeen() == nil:
			state = "never heard of"
			never++
		}
		if a.GetBad() > 0 {
			bad++
		}
		rows = append(rows, table.Row{a.GetHost(), state, clock(a.GetLastSeen()), a.GetBoots(), a.GetBad(), a.GetGood(), cell(a.GetUnwell(), 30), cell(a.GetEdrVersion(), 20)})
	}
	printTable(c, table.Row{"HOST", "AGENT", "LAST HEARD", "BOOTS", "BAD", "GOOD", "UNWELL", "EDR"}, rows)
	say(c, "\n%d hosts: %d connected, %d with bad content in their last words, %d never heard of", len(agents), connected, bad, never)
}
