package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/report"
)

// account is how a drill ended: the object that -o json prints.
type account struct {
	Hosts            int                  `json:"hosts"`
	Hit              int                  `json:"hit"`             // in truth, as the lab knows it
	HitByEvidence    int                  `json:"hit_by_evidence"` // as the coordinator could know it
	Recovered        int                  `json:"recovered"`
	FalseRecoveries  int                  `json:"false_recoveries"` // counted as recovered while the lab knows better
	NeedsHands       int                  `json:"needs_hands"`
	Skipped          int                  `json:"skipped"`
	HandsDone        int                  `json:"hands_done"`
	Attempts         int                  `json:"attempts"`
	DoubleExecutions int                  `json:"double_executions"`
	Waves            []report.WaveSummary `json:"waves"`
	Timeline         []report.Moment      `json:"timeline"`
	Faults           map[lab.Kind]int     `json:"faults"`
	Outcome          string               `json:"outcome"`
	WallSeconds      float64              `json:"wall_seconds"`
	StorySeconds     float64              `json:"story_seconds"` // from the declaration to the close, on the drill's clock
	MaxRSSBytes      int64                `json:"max_rss_bytes"`
	Speed            float64              `json:"speed"`
	Seed             uint64               `json:"seed"`
	PlanDigest       string               `json:"plan_digest"`
	ExitReason       string               `json:"exit_reason"`

	full   report.Report
	failed bool
}

// account asks the coordinator for its report and the lab for the truth.
func (w *world) account(ctx context.Context, s *story, began time.Time, ended error) (*account, error) {
	a := &account{Seed: s.seed, Speed: s.speed, Faults: map[lab.Kind]int{}, Hosts: len(s.fleet.Hosts)}
	out, err := w.client.Report(ctx, &pb.ReportRequest{Format: pb.ReportFormat_REPORT_FORMAT_JSON})
	if err != nil {
		return nil, errors.Join(ended, err)
	}
	if err := json.Unmarshal(out.GetBody(), &a.full); err != nil {
		return nil, err
	}
	sum := a.full.Summary()
	a.HitByEvidence, a.Recovered, a.NeedsHands, a.Skipped = sum.Hit, sum.Recovered, sum.NeedsHands, sum.Skipped
	a.Attempts, a.Waves, a.Timeline = sum.Attempts, sum.Waves, sum.Timeline
	in, err := w.client.ShowIncident(ctx, &pb.ShowIncidentRequest{})
	if err != nil {
		return nil, err
	}
	i := in.GetIncident()
	a.Outcome, a.PlanDigest = i.GetStatus(), i.GetPlanDigest()
	end := i.GetNow().AsTime()
	if i.GetClosedAt() != nil {
		end = i.GetClosedAt().AsTime()
	}
	a.StorySeconds = end.Sub(i.GetDeclaredAt().AsTime()).Seconds()
	if err := a.truth(ctx, w); err != nil {
		return nil, err
	}
	a.WallSeconds, a.MaxRSSBytes = time.Since(began).Seconds(), maxRSS()
	a.judge(i, ended)
	if s.keep != "" {
		md, err := w.client.Report(ctx, &pb.ReportRequest{Format: pb.ReportFormat_REPORT_FORMAT_MARKDOWN})
		if err == nil {
			err = os.WriteFile(filepath.Join(w.dir, "report.md"), md.GetBody(), 0o600)
		}
		return a, errors.Join(err, os.WriteFile(filepath.Join(w.dir, "report.json"), out.GetBody(), 0o600))
	}
	return a, nil
}

// truth compares what the coordinator believes with what the lab knows.
func (a *account) truth(ctx context.Context, w *world) error {
	out, err := w.client.ListHosts(ctx, &pb.ListHostsRequest{})
	if err != nil {
		return err
	}
	phase := map[string]string{}
	for _, h := range out.GetHosts() {
		phase[h.GetName()] = h.GetPhase()
		for _, at := range h.GetAttempts() {
			if at.GetRung() == recovery.RungHands {
				a.HandsDone++
			}
		}
	}
	for _, t := range w.lab.Truth() {
		if t.Hit {
			a.Hit++
		}
		if phase[t.Host] == string(recovery.Recovered) && (!t.Up || t.Bad > 0) {
			a.FalseRecoveries++
		}
	}
	for _, f := range w.lab.Assignments() {
		a.Faults[f.Kind]++
	}
	a.DoubleExecutions, err = w.lab.DoubleExecutions()
	return err
}

func (a *account) judge(in *pb.Incident, ended error) {
	switch {
	case a.DoubleExecutions > 0:
		a.ExitReason, a.failed = fmt.Sprintf("failed: %d scripts ran twice", a.DoubleExecutions), true
	case a.FalseRecoveries > 0:
		a.ExitReason, a.failed = fmt.Sprintf("failed: %d hosts count as recovered and are not", a.FalseRecoveries), true
	case ended != nil:
		a.ExitReason, a.failed = "stopped: "+ended.Error(), true
	default:
		a.ExitReason = a.Outcome
		if reason := in.GetReason(); reason != "" {
			a.ExitReason += ": " + reason
		}
	}
}

// teller says what happens in a drill, for people. With -o json it says nothing before the end.
type teller struct {
	cmd   *cobra.Command
	quiet bool
	world *world

	mu   sync.Mutex
	last time.Time
}

func (t *teller) line(at time.Time, format string, args ...any) {
	if t.quiet {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	say(t.cmd, "%s  "+format, append([]any{at.In(london).Format("15:04:05")}, args...)...)
}

// london is where the story of 2024 plays; without time zone data the offset of that day serves.
var london = func() *time.Location {
	if l, err := time.LoadLocation("Europe/London"); err == nil {
		return l
	}
	return time.FixedZone("BST", 3600)
}()

func (t *teller) note(format string, args ...any) { t.line(t.world.clock.Now(), format, args...) }

func (t *teller) opening(s *story) {
	if t.quiet {
		return
	}
	say(t.cmd, "%s\n", s.scenario.Title)
	say(t.cmd, "%s\n", strings.TrimSpace(s.scenario.Story))
	hit := 0
	for _, m := range t.world.lab.Truth() {
		if m.Hit {
			hit++
		}
	}
	say(t.cmd, "Simulated here: the machines' boots and crashes, the responder, %d people who can walk to servers, and the clock: boots, soaks", s.people)
	say(t.cmd, "and pauses pass %g times as fast (times below are the story's). Real: files, scripts, SSH, gRPC with mutual TLS, the", s.speed)
	say(t.cmd, "coordinator and its journal. Times of day are London's; the report's are UTC. Seed %d.\n", s.seed)
	t.note("%d servers, %d crashed %s ago; the coordinator starts and listens", len(s.fleet.Hosts), hit, lateBy)
}

func (t *teller) declared(in *pb.Incident) {
	sc := in.GetScope()
	t.line(in.GetDeclaredAt().AsTime(), "declared %s: %d never hit, %d healed by themselves, %d looping, %d parked, %d unknown", in.GetId(),
		sc["never-hit"], sc["healed-by-itself"], sc["looping"], sc["parked"], sc["unknown"])
}

// progressGap is how often a drill says where it stands, in real time.
const progressGap = 2 * time.Second

// update tells the events that matter and, now and then, the numbers.
func (t *teller) update(u *pb.WatchResponse) {
	for _, e := range u.GetEntries() {
		switch {
		case e.GetHost() != "", e.GetKind() == "incident-declared", e.GetKind() == "incident-scoped":
		default:
			t.line(e.GetAt().AsTime(), "%s", recovery.Clean(e.GetText(), 240))
		}
	}
	if time.Since(t.last) < progressGap {
		return
	}
	t.last = time.Now()
	in := u.GetIncident()
	var waves []string
	for _, w := range in.GetWaves() {
		waves = append(waves, fmt.Sprintf("%s %d/%d", w.GetTier(), w.GetCounts().GetRecovered(), w.GetSize()))
	}
	n := in.GetCounts()
	t.line(in.GetNow().AsTime(), "    %s; %d in flight, %d need hands", strings.Join(waves, ", "), n.GetAttempting()+n.GetVerifying(), n.GetNeedsHands())
}

func (t *teller) walked(h *pb.Host, spent time.Duration) {
	t.note("somebody was at %s for %s (%s)", h.GetName(), spent, recovery.Clean(h.GetReason(), 110))
}

func (t *teller) debts(cleared map[string]int) {
	var parts []string
	for _, id := range sortedKeys(cleared) {
		parts = append(parts, fmt.Sprintf("%d %s", cleared[id], id))
	}
	if parts != nil {
		t.note("the simulated responder calls the debts settled (in truth nobody did anything): %s", strings.Join(parts, ", "))
	}
}

// reality is design's record of 19 July 2024: when each tier was back.
var reality = []string{"10:30", "14:00", "18:30"}

// closing prints the account.
func (t *teller) closing(s *story, a *account) error {
	if t.quiet {
		if err := printJSON(t.cmd, a); err != nil {
			return err
		}
		return a.exit()
	}
	say(t.cmd, "")
	var rows []table.Row
	for i, w := range a.Waves {
		row := table.Row{w.Wave, w.Name, w.Size, w.Recovered, storyClock(w.OpenedAt), storyClock(w.PassedAt)}
		if s.standard && i < len(reality) {
			row = append(row, reality[i])
		}
		rows = append(rows, row)
	}
	head := table.Row{"WAVE", "NAME", "HOSTS", "RECOVERED", "OPENED", "PASSED"}
	if s.standard {
		head = append(head, "19 JULY 2024")
	}
	printTable(t.cmd, head, rows)
	if s.standard {
		say(t.cmd, "\nThe last column is when that tier was back in reality. The two are no race: simulated machines boot alike, and nobody here had")
		say(t.cmd, "to find out what had happened, wait for a vendor, or look for a key.")
	}
	say(t.cmd, "\n%d hosts, %d hit (%d shown by evidence), %d recovered, %d need hands, %d skipped; %d attempts and %d jobs by hand;", a.Hosts, a.Hit, a.HitByEvidence,
		a.Recovered, a.NeedsHands, a.Skipped, a.Attempts, a.HandsDone)
	say(t.cmd, "%d scripts ran twice, %d hosts were called recovered that are not (checked on the machines themselves).", a.DoubleExecutions, a.FalseRecoveries)
	say(t.cmd, "faults that were played: %s", faults(a.Faults))
	e := a.full.Exceptions
	say(t.cmd, "exceptions: %d skips, %d resumes that accepted failures, %d overrides, %d relapses, %d refused agents", len(e.Skips), len(e.Accepted), len(e.Overrides), len(e.Relapses), len(e.Refused))
	say(t.cmd, "%s of the story in %.1f s, %d MiB of memory at most, seed %d", time.Duration(a.StorySeconds*float64(time.Second)).Round(time.Second), a.WallSeconds, a.MaxRSSBytes>>20, a.Seed)
	if s.keep != "" {
		say(t.cmd, "kept in %s: report.md, report.json, data/journal.db, lab/", s.keep)
	} else {
		say(t.cmd, "keep the report, the journal and the disks with --keep DIR")
	}
	say(t.cmd, "%s", a.ExitReason)
	return a.exit()
}

// exit turns the account into the exit code.
func (a *account) exit() error {
	switch {
	case a.failed:
		return &outcome{exitFailed, a.ExitReason}
	case a.Outcome != recovery.OutcomeClosed:
		return &outcome{exit: exitHeld}
	}
	return nil
}

func storyClock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(london).Format("15:04")
}

func faults(m map[lab.Kind]int) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, fmt.Sprintf("%d %s", m[k], k))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// heap is what the Go runtime holds, for systems that cannot tell a process's peak.
func heap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys) //nolint:gosec // far below the limit
}
