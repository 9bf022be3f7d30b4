package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newIncident(o *options) *cobra.Command {
	c := &cobra.Command{Use: "incident", Short: "Declare, steer and close an incident", Example: "  blackstart incident declare \"EDR update\" --began 05:30\n  blackstart incident show"}
	c.AddCommand(newDeclare(o), newIncidentList(o), newIncidentShow(o), newIncidentPlan(o), newApprove(o), newPause(o), newResume(o),
		newRevise(o), newAbort(o), newClose(o), newOverride(o))
	return c
}

func newDeclare(o *options) *cobra.Command {
	var book, began, cutoff string
	var waveZero bool
	c := &cobra.Command{
		Use: "declare TITLE", Short: "Declare an incident: classify the hosts and propose a plan",
		Long: `Declare classifies every host by what its agent said last, and proposes a plan. Nothing is sent to any host before the plan is approved.

Two times decide which restore points may be used, and they are not the same. The cutoff is when the bad content came in: a point must hold data from before it. Give it with --cutoff where that was earlier than --began, when people noticed. The other is when the data was last verified: a point counts only as far as it was checked, however old it is, and never when it is in quarantine. So the newest point is not always the one, and damage that nobody has seen is found by checks, not by the cutoff.

Declaring keeps the last known good points from expiring while the incident is open. With --wave-zero, points that are not verified as far as their tiers ask are checked from the start, while the waves go on.`,
		Example: `  blackstart incident declare "EDR update of 19 July" --began 05:30
  blackstart incident declare "EDR update" --began 2024-07-19T05:30:00+01:00 --playbook crowdstrike-channel-file-291
  blackstart incident declare "totals differ" --began 08:10 --cutoff "2024-07-18 22:00" --wave-zero`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if strings.TrimSpace(args[0]) == "" {
				return usage("an incident needs a title: it stands over the report")
			}
			r := &pb.DeclareRequest{Title: args[0], Playbook: book, WaveZero: waveZero}
			for _, when := range []struct {
				flag, typed string
				into        **timestamppb.Timestamp
			}{{"began", began, &r.Began}, {"cutoff", cutoff, &r.Cutoff}} {
				if when.typed == "" {
					continue
				}
				t, err := parseWhen(when.flag, when.typed, time.Now())
				if err != nil {
					return err
				}
				*when.into = timestamppb.New(t)
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.Declare(ctx, r)
				if err != nil {
					return err
				}
				return o.showIncident(c, out.GetIncident(), out)
			})
		},
	}
	c.Flags().StringVar(&book, "playbook", "", "the playbook's `name`; needed only when more than one fits the fleet")
	c.Flags().StringVar(&began, "began", "", "`when` the outage began: 05:30, 2024-07-19T05:30:00+01:00, or how long ago, as in 90m or 2d; the RTO clocks start there; default now")
	c.Flags().StringVar(&cutoff, "cutoff", "", "`when` the bad content came in, in the same forms: restore points must be older; default --began")
	c.Flags().BoolVar(&waveZero, "wave-zero", false, "check restore points from the start, as far as their tiers ask")
	return c
}

// parseWhen reads when something was: a moment, the last time that the clock on the wall showed that, or how long ago.
func parseWhen(flag, s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02 15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	if t, err := time.ParseInLocation("15:04", s, now.Location()); err == nil {
		t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location())
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	if d, err := parseAge(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, usage("--%s %s: give a time as in 05:30 or 2024-07-19T05:30:00+01:00, or how long ago, as in 90m or 2d", flag, s)
}

// parseAge reads a duration that may begin with days of 24 hours, at most 10,000 of them: 2d, 1d12h, 90m.
func parseAge(s string) (time.Duration, error) {
	before, rest, ok := strings.Cut(s, "d")
	days, err := strconv.ParseUint(before, 10, 64)
	if !ok || err != nil || days > 10_000 {
		return time.ParseDuration(s)
	}
	age := time.Duration(days) * 24 * time.Hour //nolint:gosec // at most 10,000
	if rest == "" {
		return age, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, errors.New("after the days comes no duration")
	}
	return age + d, nil
}

func newIncidentList(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List all incidents, oldest first", Args: cobra.NoArgs, Example: "  blackstart incident list",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListIncidents(ctx, &pb.ListIncidentsRequest{})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				var rows []table.Row
				for _, in := range out.GetIncidents() {
					rows = append(rows, table.Row{in.GetId(), in.GetStatus(), clock(in.GetDeclaredAt()), clock(in.GetClosedAt()), in.GetCounts().GetRecovered(), cell(in.GetTitle(), longCell)})
				}
				if len(rows) == 0 {
					say(c, "no incident has been declared yet")
					return nil
				}
				printTable(c, table.Row{"INCIDENT", "STATUS", "DECLARED", "CLOSED", "RECOVERED", "TITLE"}, rows)
				return nil
			})
		},
	}
}

func newIncidentShow(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show [INCIDENT]", Short: "Show how an incident stands", Args: cobra.MaximumNArgs(1), Example: "  blackstart incident show",
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ShowIncident(ctx, &pb.ShowIncidentRequest{Incident: arg(args, 0)})
				if err != nil {
					return err
				}
				return o.showIncident(c, out.GetIncident(), out)
			})
		},
	}
}

func newIncidentPlan(o *options) *cobra.Command {
	var why bool
	c := &cobra.Command{
		Use: "plan [INCIDENT]", Short: "Print the proposed plan: host, wave, method, how long it takes, what data is lost, reason", Args: cobra.MaximumNArgs(1),
		Example: "  blackstart incident plan\n  blackstart incident plan --why",
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.Plan(ctx, &pb.PlanRequest{Incident: arg(args, 0)})
				if err != nil || o.json() {
					return first(err, func() error { return printProto(c, out) })
				}
				printPlan(c, out, why)
				return nil
			})
		},
	}
	whyFlag(c, &why)
	return c
}

func whyFlag(c *cobra.Command, why *bool) {
	c.Flags().BoolVar(why, "why", false, "tell for each host the reason in full, and what would change the choice")
}

// printPlan prints a declared plan as a table.
func printPlan(c *cobra.Command, p *pb.PlanResponse, why bool) {
	var t plannedTable
	line := func(h *pb.PlannedHost) plannedLine {
		return plannedLine{host: h.GetHost(), service: h.GetService(), method: h.GetMethod(), rung: h.GetRung(), reason: h.GetReason(), points: h.GetPoints(),
			estimate: h.GetEstimate().AsDuration(), queue: h.GetQueue().AsDuration(), loss: h.GetLoss().AsDuration(), approval: h.GetApproval(), otherwise: h.GetOtherwise()}
	}
	for _, w := range p.GetWaves() {
		hosts := make([]plannedLine, 0, len(w.GetHosts()))
		for _, h := range w.GetHosts() {
			hosts = append(hosts, line(h))
		}
		t.wave(int(w.GetWave()), w.GetTier(), hosts)
	}
	for _, h := range p.GetExcluded() {
		t.leaveAlone(line(h))
	}
	t.print(c, len(p.GetExcluded()), why)
	say(c, "playbook %s\nplan %s", p.GetPlaybookDigest(), p.GetDigest())
	if len(p.GetNow()) == 0 {
		return
	}
	var rows []table.Row
	for _, h := range p.GetNow() {
		rows = append(rows, table.Row{h.GetHost(), h.GetMethod(), h.GetRung(), takes(h.GetEstimate().AsDuration()), minutes(h.GetLoss().AsDuration()), cell(h.GetReason(), longCell)})
	}
	say(c, "\nmore is known of restore points since this plan was made; these hosts would now be done otherwise, and are, when their turn comes:")
	printTable(c, table.Row{"HOST", "METHOD", "RUNG", "TAKES", "DATA LOSS", "REASON"}, rows)
}

func newApprove(o *options) *cobra.Command {
	var digest, incident string
	var wave int32
	c := &cobra.Command{
		Use: "approve", Short: "Approve the plan that you have read, or the opening of a wave", Args: cobra.NoArgs,
		Example: "  blackstart incident approve --plan sha256:3b1f…\n  blackstart incident approve --wave 2",
		RunE: func(c *cobra.Command, _ []string) error {
			if (digest == "") == (wave == 0) {
				return usage("say what you approve: --plan DIGEST (see `blackstart incident plan`) or --wave N")
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.Approve(ctx, &pb.ApproveRequest{Incident: incident, Digest: digest, Wave: wave})
				if err != nil {
					return err
				}
				return o.showIncident(c, out.GetIncident(), out)
			})
		},
	}
	c.Flags().StringVar(&digest, "plan", "", "digest of the plan")
	c.Flags().Int32Var(&wave, "wave", 0, "number of the wave to open")
	incidentFlag(c, &incident)
	return c
}

// steer builds a command that takes an optional incident and a reason and shows how things stand afterwards.
func steer(o *options, use, short, example string, needReason bool, call func(context.Context, pb.OperatorServiceClient, string, string) (*pb.Incident, proto.Message, error)) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: use + " [INCIDENT]", Short: short, Example: example, Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := neededReason(c, reason); needReason && err != nil {
				return err
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				in, out, err := call(ctx, client, arg(args, 0), reason)
				var ended *outcome // what was asked for is done, with an exit code of its own
				if err != nil && !errors.As(err, &ended) {
					return err
				}
				return errors.Join(o.showIncident(c, in, out), err)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	return c
}

func newPause(o *options) *cobra.Command {
	return steer(o, "pause", "Freeze every clock and start nothing new", `  blackstart incident pause --reason "vendor call"`, false,
		func(ctx context.Context, client pb.OperatorServiceClient, id, reason string) (*pb.Incident, proto.Message, error) {
			out, err := client.Pause(ctx, &pb.PauseRequest{Incident: id, Reason: reason})
			return out.GetIncident(), out, err
		})
}

func newResume(o *options) *cobra.Command {
	var wave int32
	c := steer(o, "resume", "Go on after a pause or a hold; accepts the failures so far, in your name", `  blackstart incident resume --wave 2 --reason "two old NICs, accepted"`, true,
		func(ctx context.Context, client pb.OperatorServiceClient, id, reason string) (*pb.Incident, proto.Message, error) {
			out, err := client.Resume(ctx, &pb.ResumeRequest{Incident: id, Wave: wave, Reason: reason})
			return out.GetIncident(), out, err
		})
	c.Flags().Int32Var(&wave, "wave", 0, "only this held wave; default everything that is paused or held")
	return c
}

func newAbort(o *options) *cobra.Command {
	return steer(o, "abort", "End the sending for good; says for each host what becomes of it", `  blackstart incident abort --reason "wrong playbook"`, true,
		func(ctx context.Context, client pb.OperatorServiceClient, id, reason string) (*pb.Incident, proto.Message, error) {
			out, err := client.Abort(ctx, &pb.AbortRequest{Incident: id, Reason: reason})
			return out.GetIncident(), out, err
		})
}

func newClose(o *options) *cobra.Command {
	return steer(o, "close", "Close an incident in which nothing is left to do and no debt is open", "  blackstart incident close", false,
		func(ctx context.Context, client pb.OperatorServiceClient, id, reason string) (*pb.Incident, proto.Message, error) {
			out, err := client.Close(ctx, &pb.CloseRequest{Incident: id, Reason: reason})
			if err == nil && out.GetIncident().GetStatus() == "closed-with-exceptions" {
				err = &outcome{exitHeld, "the incident is closed with exceptions: see `blackstart report`"}
			}
			return out.GetIncident(), out, err
		})
}

func newOverride(o *options) *cobra.Command {
	var reason, incident string
	c := &cobra.Command{
		Use: "override host:NAME|service:NAME|wave:N", Short: "Lift a hold on your own word: a host's order, a service's dependency, a wave's gate",
		Long:    "Override lifts what holds a host back by order (dependencies, canary, ramp, its wave), takes a service for up, or opens a wave and passes its gate. It never lifts what a playbook forbids, a group's limit or a resource's slots.",
		Example: `  blackstart incident override service:storage --reason "checked by hand"`, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := neededReason(c, reason); err != nil {
				return err
			}
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.Override(ctx, &pb.OverrideRequest{Incident: incident, Target: args[0], Reason: reason})
				if err != nil {
					return err
				}
				return o.showIncident(c, out.GetIncident(), out)
			})
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; it stands in the report")
	incidentFlag(c, &incident)
	return c
}

func neededReason(c *cobra.Command, reason string) error {
	if strings.TrimSpace(reason) != "" {
		return nil
	}
	return usage("%s needs --reason \"…\": it will stand in the report", called(c))
}

func arg(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

// first returns err, or what then returns when there is none.
func first(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}
