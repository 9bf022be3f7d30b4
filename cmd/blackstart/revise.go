package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newRevise(o *options) *cobra.Command {
	var reason, incident string
	c := &cobra.Command{
		Use: "revise [PLAYBOOK]", Short: "Take another version of the incident's playbook from here on", Args: cobra.MaximumNArgs(1),
		Long: `Revise has the coordinator read its playbook folder again (serve --playbooks) and run what it holds by now. PLAYBOOK is the
incident's own playbook, which is the default, or the digest of a version that the coordinator has loaded before, or its beginning:
so an incident goes back.

Attempts under way end with the version that they began with. Later ones run the new version, a canary first. Every proof is asked
for anew with the new probes, also of hosts that soak. Hosts that have recovered under an older version owe the debt "revisit".
Failures so far count on: a held wave goes on when it is resumed.`,
		Example: `  blackstart incident revise --reason "the vendor's advice of 11:40"
  blackstart incident revise sha256:3b1f9a --reason "back to the first version"`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := neededReason(c, reason); err != nil {
				return err
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ReviseIncident(ctx, &pb.ReviseIncidentRequest{Incident: incident, Playbook: arg(args, 0), Reason: reason})
				if err != nil {
					return err
				}
				if !o.json() {
					printRevision(c, out)
				}
				return o.showIncident(c, out.GetIncident(), out)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	incidentFlag(c, &incident)
	return c
}

// printRevision tells what the revision means, before how things stand.
func printRevision(c *cobra.Command, r *pb.ReviseIncidentResponse) {
	say(c, "playbook %s is now %s", r.GetIncident().GetPlaybook(), r.GetIncident().GetPlaybookDigest())
	if n := len(r.GetChanges()); n > 0 {
		say(c, "changed: %s", strings.Join(r.GetChanges(), "; "))
	} else {
		say(c, "changed: nothing that hosts would notice")
	}
	if n := len(r.GetEnding()); n > 0 {
		say(c, "%s with the version before: %s", plural(n, "attempt")+" under way ends by itself", named(r.GetEnding()))
	}
	if n := len(r.GetRevisit()); n > 0 {
		say(c, "to revisit: %s, see host debts: %s", plural(n, "host"), named(r.GetRevisit()))
	}
	say(c, "")
}
