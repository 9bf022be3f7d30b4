package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newBackupsJobs(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "jobs", Short: "List the work on backups that is under way, or waits, and why", Args: cobra.NoArgs,
		Example: "  blackstart backups jobs\n  blackstart backups jobs -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListPoints(ctx, &pb.ListPointsRequest{})
				if err != nil {
					return err
				}
				if o.json() {
					out.Points = nil // `backups list` tells them
					return printProto(c, out)
				}
				if len(out.GetWork()) == 0 {
					say(c, "no work on backups is under way; `%s host list` shows the restores of an incident", again(c))
					return nil
				}
				printWork(c, out.GetWork(), out)
				return nil
			})
		},
	}
}

func printWork(c *cobra.Command, work []*pb.BackupWork, out *pb.ListPointsResponse) {
	var rows []table.Row
	for _, w := range work {
		standing := "waits: " + cell(w.GetWaits(), longCell)
		if w.GetWaits() == "" {
			standing = "runs"
			if w.GetStartedAt() != nil && out.GetNow() != nil {
				standing += ", begun " + ago(w.GetStartedAt().AsTime(), out.GetNow().AsTime())
			}
			if far := howFar(w.GetProgress()); far != "" {
				standing += "; " + far
			}
		}
		point := "-"
		if w.GetPoint() != "" {
			point = w.GetRepository() + "/" + w.GetPoint()
		}
		rows = append(rows, table.Row{w.GetKind(), cell(w.GetDataSet(), 60), cell(point, 60), cell(w.GetLevel(), 10), cell(w.GetRunner(), 60), standing})
	}
	printTable(c, table.Row{"JOB", "DATA SET", "POINT", "LEVEL", "AGENT OF", "STANDING"}, rows)
}

func newBackupsScan(o *options) *cobra.Command {
	var noWait bool
	c := &cobra.Command{
		Use: "scan [DATASET...]", Short: "Have the repositories listed now", Args: cobra.ArbitraryArgs,
		Long: `Scan has the repositories of the data sets named, or of all, listed by their agents, waits for it, and shows what is there. Repositories are listed from time to time anyhow.

Exit codes: 0 all were listed; 1 some could not be; 2 usage or invalid input.`,
		Example: "  blackstart backups scan\n  blackstart backups scan people-db --no-wait",
		RunE: func(c *cobra.Command, args []string) error {
			client, hangUp, err := o.dial()
			if err != nil {
				return err
			}
			defer hangUp()
			return o.settled(c, o.scan(c, client, args, noWait))
		},
	}
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait for it")
	return c
}

// settled turns the end of a command that waits for agents into what is told.
func (o *options) settled(c *cobra.Command, err error) error {
	if c.Context().Err() != nil && err != nil {
		return &outcome{exitFailed, fmt.Sprintf("interrupted; what was ordered goes on: see `%s backups jobs`", again(c))}
	}
	return o.reached(err)
}

func (o *options) scan(c *cobra.Command, client pb.OperatorServiceClient, sets []string, noWait bool) error {
	f := o.newFollower(c, client)
	ctx, cancel := context.WithTimeout(c.Context(), callTimeout)
	defer cancel()
	ordered, err := client.ScanBackups(ctx, &pb.ScanBackupsRequest{DataSets: sets})
	if err != nil {
		return err
	}
	if noWait {
		if o.json() {
			return printProto(c, ordered)
		}
		say(c, "%s will be listed: %s", plural(len(ordered.GetDataSets()), "data set"), cell(named(ordered.GetDataSets()), 1000))
		return nil
	}
	var left []*pb.BackupWork
	out, err := f.look(c.Context(), one(sets))
	if err != nil {
		return err
	}
	for _, w := range out.GetWork() {
		if w.GetKind() == string(recovery.JobList) && slices.Contains(ordered.GetDataSets(), w.GetDataSet()) {
			left = append(left, w)
		}
	}
	var unlisted []string
	f.ended = func(_ context.Context, w *pb.BackupWork, failed string) error {
		if failed != "" {
			unlisted = append(unlisted, cell(w.GetDataSet()+" in "+w.GetRepository()+": "+failed, 400))
		}
		return nil
	}
	if err := f.follow(c.Context(), left); err != nil {
		return err
	}
	out, err = f.look(c.Context(), one(sets))
	if err != nil {
		return err
	}
	out.Points = slices.DeleteFunc(out.GetPoints(), func(p *pb.RestorePoint) bool {
		return p.GetGone() || !slices.Contains(ordered.GetDataSets(), p.GetDataSet())
	})
	out.DataSets = slices.DeleteFunc(out.GetDataSets(), func(d *pb.DataSetStanding) bool { return !slices.Contains(ordered.GetDataSets(), d.GetName()) })
	switch {
	case o.json():
		err = printProto(c, out)
	case len(out.GetPoints()) == 0:
		say(c, "no restore point was found")
	default:
		printShelves(c, shelves(out.GetDataSets(), out.GetPoints()), out.GetNow().AsTime())
	}
	if err == nil && len(unlisted) > 0 {
		err = fmt.Errorf("%d of the listings could not be made: %s", len(unlisted), strings.Join(unlisted, "; "))
	}
	return err
}

// one is the only name of a list, or empty: what a coordinator is asked for when it can tell of one or of all.
func one(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return ""
}

func newBackupsVerify(o *options) *cobra.Command {
	v := &verification{options: o}
	c := &cobra.Command{
		Use: "verify [DATASET...]", Short: "Check restore points now, and tell what came of it", Args: cobra.ArbitraryArgs,
		Long: `Verify has restore points checked by agents: of each data set named, or of all, the newest that may be restored; with --all every point that is kept; with --point one. Without --level it checks as far as the backup policy, or else the tier, asks. A check reads through its repository, one after the other there, no faster than the fleet file allows.

A point that fails goes into quarantine. A check that cannot be made just now, because its repository or agent is away, is not waited for; it is tried again by itself. Ctrl-C ends the waiting; the checks go on.

Exit codes: 0 every check passed; 3 a check failed; 1 some point could not be checked; 2 usage or invalid input.`,
		Example: `  blackstart backups verify
  blackstart backups verify people-db --level L4
  blackstart backups verify people-db --point 3f2a91c0 --level L3
  blackstart backups verify people-db --all --no-wait`,
		RunE: func(c *cobra.Command, args []string) error {
			if err := v.check(args); err != nil {
				return err
			}
			client, hangUp, err := o.dial()
			if err != nil {
				return err
			}
			defer hangUp()
			return o.settled(c, v.run(c, client, args))
		},
	}
	c.Flags().StringVar(&v.level, "level", "", "how far: L1 to L4")
	pointFlag(c, &v.point)
	c.Flags().BoolVar(&v.all, "all", false, "every point that is kept, not only the newest")
	c.Flags().BoolVar(&v.noWait, "no-wait", false, "do not wait for it")
	return c
}

// verification is one `backups verify`.
type verification struct {
	*options
	level, point string
	all, noWait  bool

	before   map[string]*pb.PointVerdict // what was known of each level of each point
	verified []verified
}

// verified is what came of one point: the contract of `backups verify -o json`.
type verified struct {
	DataSet    string   `json:"data_set"`
	Repository string   `json:"repository"`
	Point      string   `json:"point"`
	Asked      string   `json:"asked"`  // level
	Result     string   `json:"result"` // "passed", "failed", "not-checked"
	Level      string   `json:"level"`  // that it has by now
	Checks     []string `json:"checks"` // that were made, one phrase each
	Quarantine string   `json:"quarantine,omitempty"`
	Why        string   `json:"why,omitempty"` // it was not checked
}

// The results of a verification.
const (
	resultPassed     = "passed"
	resultFailed     = "failed"
	resultNotChecked = "not-checked"
)

// levels that an agent can check.
var checkLevels = []string{"L1", "L2", "L3", "L4"}

func (v *verification) check(sets []string) error {
	switch {
	case v.level != "" && !slices.Contains(checkLevels, v.level):
		return usage("--level %s: use one of %s; a person's look (L5) is `blackstart backups vouch`", v.level, strings.Join(checkLevels, ", "))
	case v.point != "" && len(sets) != 1:
		return usage("--point names a point of one data set: name that data set alone")
	case v.point != "" && v.all:
		return usage("--point is one point, --all is all of them: give one of them")
	}
	return nil
}

func (v *verification) run(c *cobra.Command, client pb.OperatorServiceClient, sets []string) error {
	f := v.newFollower(c, client)
	f.ended = func(ctx context.Context, w *pb.BackupWork, failed string) error { return v.tell(ctx, c, f, w, failed) }
	known, err := f.look(c.Context(), one(sets))
	if err != nil {
		return err
	}
	v.remember(known.GetPoints())
	ctx, cancel := context.WithTimeout(c.Context(), callTimeout)
	defer cancel()
	ordered, err := client.VerifyBackups(ctx, &pb.VerifyBackupsRequest{DataSets: sets, Level: v.level, Point: v.point, All: v.all})
	if err != nil {
		return err
	}
	if v.noWait {
		if v.json() {
			return printProto(c, ordered)
		}
		printWork(c, ordered.GetWork(), known)
		return nil
	}
	if err := f.follow(c.Context(), ordered.GetWork()); err != nil {
		return err
	}
	return v.account(c)
}

func (v *verification) remember(points []*pb.RestorePoint) {
	v.before = map[string]*pb.PointVerdict{}
	for _, p := range points {
		for _, check := range p.GetChecks() {
			v.before[verdictKey(p, check)] = check
		}
	}
}

func verdictKey(p *pb.RestorePoint, v *pb.PointVerdict) string {
	return p.GetDataSet() + "\x00" + p.GetRepository() + "\x00" + p.GetId() + "\x00" + v.GetLevel()
}

// news are the checks of a point that were not known before. Clocks do not matter: another time is another check.
func (v *verification) news(p *pb.RestorePoint) []*pb.PointVerdict {
	var list []*pb.PointVerdict
	for _, check := range p.GetChecks() {
		if old := v.before[verdictKey(p, check)]; old == nil || !old.GetAt().AsTime().Equal(check.GetAt().AsTime()) {
			list = append(list, check)
		}
	}
	return list
}

// tell notes what came of a piece of the work, and tells it.
func (v *verification) tell(ctx context.Context, c *cobra.Command, f *follower, w *pb.BackupWork, failed string) error {
	out, err := f.look(ctx, w.GetDataSet())
	if err != nil {
		return err
	}
	r := verified{DataSet: w.GetDataSet(), Repository: w.GetRepository(), Point: w.GetPoint(), Asked: w.GetLevel(), Result: resultNotChecked, Why: cell(failed, 400), Checks: []string{}}
	for _, p := range out.GetPoints() {
		if p.GetDataSet() != w.GetDataSet() || p.GetRepository() != w.GetRepository() || p.GetId() != w.GetPoint() {
			continue
		}
		r.Level = p.GetLevel()
		for _, check := range v.news(p) {
			r.Checks = append(r.Checks, verdict(check, out.GetNow().AsTime()))
			switch {
			case !check.GetOk():
				r.Result, r.Quarantine = resultFailed, cell(p.GetQuarantineReason(), 400)
			case r.Result == resultNotChecked:
				r.Result = resultPassed
			}
		}
	}
	switch {
	case r.Result != resultNotChecked:
		r.Why = ""
	case failed == "":
		r.Why = "the coordinator's log says why"
	}
	v.verified = append(v.verified, r)
	if !v.json() {
		say(c, "%s", r.sentence())
	}
	return nil
}

func (r verified) sentence() string {
	point := cell(r.DataSet+" "+r.Repository+"/"+r.Point, 120)
	switch r.Result {
	case resultPassed:
		return fmt.Sprintf("ok      %s: %s", point, strings.Join(r.Checks, "; "))
	case resultFailed:
		return fmt.Sprintf("FAILED  %s: %s; it is in quarantine", point, strings.Join(r.Checks, "; "))
	}
	return fmt.Sprintf("?       %s: it was not checked to %s: %s", point, r.Asked, r.Why)
}

// account sums up, and says by its error what the exit code is.
func (v *verification) account(c *cobra.Command) error {
	failed, open := 0, 0
	var bad []string
	for _, r := range v.verified {
		switch r.Result {
		case resultFailed:
			failed++
			bad = append(bad, cell(r.DataSet+" "+r.Repository+"/"+r.Point, 120))
		case resultNotChecked:
			open++
		}
	}
	if v.json() {
		list := v.verified
		if list == nil {
			list = []verified{}
		}
		if err := printJSON(c, map[string]any{"points": list}); err != nil {
			return err
		}
	}
	switch {
	case failed > 0:
		return &outcome{exitHeld, fmt.Sprintf("%s failed and went into quarantine: %s", plural(failed, "restore point"), named(bad))}
	case open > 0:
		return fmt.Errorf("%s could not be checked: see `%s backups jobs` and the coordinator's log", plural(open, "restore point"), again(c))
	case len(v.verified) == 0:
		return errors.New("there is no restore point to check: `blackstart backups scan` has the repositories listed")
	}
	if !v.json() {
		say(c, "\nall of %s passed", plural(len(v.verified), "restore point"))
	}
	return nil
}
