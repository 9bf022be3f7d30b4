package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// showIncident prints how an incident stands and what a responder can do next; whole is what -o json prints.
func (o *options) showIncident(c *cobra.Command, in *pb.Incident, whole proto.Message) error {
	if o.json() {
		return printProto(c, whole)
	}
	say(c, "%s  %s  %s", in.GetId(), strings.ToUpper(in.GetStatus()), cell(in.GetTitle(), 200))
	say(c, "began %s, declared %s, playbook %s", wallClock(in.GetBeganAt()), wallClock(in.GetDeclaredAt()), in.GetPlaybook())
	if versions := in.GetPlaybookVersions(); len(versions) > 1 {
		now := versions[len(versions)-1]
		say(c, "revision %d of the playbook, %s, since %s, by %s: %s", len(versions)-1, short(now.GetDigest()), wallClock(now.GetSince()),
			strings.TrimPrefix(now.GetBy(), "operator:"), cell(now.GetReason(), 200))
	}
	if in.GetReason() != "" {
		say(c, "reason: %s", cell(in.GetReason(), 500))
	}
	if in.GetStatus() == "declared" {
		say(c, "what is known of the hosts: %s", tally(in.GetScope()))
	}
	if in.GetWaveZero() && in.GetClosedAt() == nil {
		say(c, "%s", waveZero(in.GetUnverified()))
	}
	say(c, "")
	printWaves(c, in)
	say(c, "\n%s; %s open", counts(in.GetCounts()), plural(int(in.GetOpenDebts()), "debt"))
	if in.GetStatus() == "running" {
		for _, line := range pace(in) {
			say(c, "%s", line)
		}
	}
	if next := nextSteps(in); len(next) > 0 {
		say(c, "\nnext:")
		for _, line := range next {
			say(c, "  %s %s", again(c), line)
		}
	}
	return nil
}

// waveZero says how far the checks have come that an incident begins with.
func waveZero(unverified []string) string {
	if len(unverified) == 0 {
		return "wave zero: nothing is left to check; backups list tells what was found"
	}
	return fmt.Sprintf("wave zero: %s without a restore point that is verified as far as is asked (%s); backups jobs tells how far the checks are",
		plural(len(unverified), "data set"), named(unverified))
}

func counts(n *pb.Counts) string {
	return fmt.Sprintf("%d recovered, %d in flight, %d waiting, %d need hands, %d skipped, %d not hit", n.GetRecovered(), n.GetAttempting()+n.GetVerifying(),
		n.GetWaiting(), n.GetNeedsHands(), n.GetSkipped(), n.GetNotHit())
}

func printWaves(c *cobra.Command, in *pb.Incident) {
	var rows []table.Row
	for _, w := range in.GetWaves() {
		n := w.GetCounts()
		rows = append(rows, table.Row{w.GetWave(), w.GetTier(), w.GetStatus(), w.GetSize(), n.GetRecovered(), n.GetAttempting() + n.GetVerifying(), n.GetWaiting(), n.GetNeedsHands(), cell(w.GetReason(), longCell)})
	}
	printTable(c, table.Row{"WAVE", "TIER", "STATUS", "HOSTS", "RECOVERED", "IN FLIGHT", "WAITING", "HANDS", "REASON"}, rows)
}

// nextSteps are the commands, without the program's name, that a responder is likely to need now, the most urgent first.
func nextSteps(in *pb.Incident) []string {
	switch in.GetStatus() {
	case "declared":
		if len(in.GetUnverified()) > 0 {
			return []string{"backups jobs    approve when wave zero is done: until then, nothing can be restored for these", "incident plan", "incident approve --plan " + in.GetPlanDigest()}
		}
		return []string{"incident plan", "incident approve --plan " + in.GetPlanDigest()}
	case "paused":
		return []string{`incident resume --reason "…"`}
	case "closed", "closed-with-exceptions", "aborted":
		return []string{"report " + in.GetId()}
	case "aborting":
		return []string{"watch    what is in flight ends by itself"}
	}
	var next []string
	for i, w := range in.GetWaves() {
		switch {
		case w.GetStatus() == "held":
			next = append(next, fmt.Sprintf("host list --wave %d", w.GetWave()), fmt.Sprintf(`incident resume --wave %d --reason "…"    accepts its failures so far`, w.GetWave()))
		case awaitsApproval(in, i):
			next = append(next, fmt.Sprintf("incident approve --wave %d", w.GetWave()))
		}
	}
	switch {
	case in.GetCounts().GetNeedsHands() > 0:
		next = append(next, "host hands")
	case in.GetStatus() == "settled" && in.GetOpenDebts() > 0:
		next = append(next, "host debts")
	case in.GetStatus() == "settled":
		next = append(next, "incident close")
	}
	return next
}

// awaitsApproval reports whether only a person's word keeps wave i closed: a wave behind a passed gate opens at once otherwise.
func awaitsApproval(in *pb.Incident, i int) bool {
	w := in.GetWaves()
	return i > 0 && in.GetStatus() == "running" && w[i].GetStatus() == "closed" && w[i-1].GetStatus() == "passed" && w[i].GetSize() > 0
}

// pace tells the rate, and when the rest will be back, as a range.
func pace(in *pb.Incident) []string {
	f := in.GetForecast()
	if f.GetEarliest() == nil {
		return []string{"forecast: " + f.GetReason()}
	}
	now := in.GetNow().AsTime()
	left := func(t time.Time) string { return span(max(t.Sub(now), 0).Round(time.Minute)) }
	return []string{
		fmt.Sprintf("rate %.0f hosts an hour; to go %s to %s, so the rest is back between %s and %s", f.GetHostsPerHour(),
			left(f.GetEarliest().AsTime()), left(f.GetLatest().AsTime()), clock(f.GetEarliest()), clock(f.GetLatest())),
		"forecast: " + f.GetReason(),
	}
}
