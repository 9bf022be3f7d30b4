package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func newBackups(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "backups", Short: "Look at restore points; verify, audit, quarantine them, and find where damage came in",
		Long: `Backups tells what could be restored, and how far that was verified. A restore point is worth what was checked of it:

  L0  the repository lists it
  L1  the repository's checksums hold
  L2  it restores
  L3  the engine's own check passes on what was restored
  L4  the invariants of the fleet file hold on what was restored
  L5  a person looked

A point that fails a check goes into quarantine, and no restore uses it until a person releases it. All work on backups is done by agents, one job after the other in each repository; it goes on when these commands end.`,
		Example: "  blackstart backups list\n  blackstart backups verify people-db --level L3\n  blackstart backups audit",
	}
	c.AddCommand(newBackupsList(o), newBackupsJobs(o), newBackupsScan(o), newBackupsVerify(o), newBackupsAudit(o), newBackupsBisect(o),
		newQuarantine(o), newRelease(o), newVouch(o))
	return c
}

func newBackupsList(o *options) *cobra.Command {
	var host string
	var all bool
	c := &cobra.Command{
		Use: "list [DATASET]", Short: "List what could be restored, the newest first, and how far it was verified", Args: cobra.MaximumNArgs(1),
		Long: `List shows a line for each data set: how many restore points its repositories list, the newest of them, how far points are asked to be verified, and the last known good: the newest data that is verified so far and not in quarantine. With DATASET or --all it shows every point, with its checks.

Points that a repository no longer has are left out, except with --all. With -o json it prints the points either way; with --all that is what ` + "`blackstart plan --points`" + ` reads.`,
		Example: "  blackstart backups list\n  blackstart backups list people-db\n  blackstart backups list --all -o json > points.json",
		RunE: func(c *cobra.Command, args []string) error {
			return o.ask(c, func(ctx context.Context, client pb.OperatorServiceClient) error {
				out, err := client.ListPoints(ctx, &pb.ListPointsRequest{DataSet: arg(args, 0), Host: host})
				if err != nil {
					return err
				}
				if !all {
					out.Points = slices.DeleteFunc(out.GetPoints(), (*pb.RestorePoint).GetGone)
				}
				switch {
				case o.json():
					return printProto(c, out)
				case len(out.GetDataSets()) == 0:
					say(c, "the fleet file names no data set: docs/fleet-backups.md says how")
				case len(out.GetPoints()) == 0 && (all || len(args) > 0):
					say(c, "no restore point is known: `%s backups scan` has the repositories listed", again(c))
				case all || len(args) > 0:
					printPoints(c, out.GetPoints(), out.GetNow().AsTime())
				default:
					printShelves(c, shelves(out.GetDataSets(), out.GetPoints()), out.GetNow().AsTime())
					if len(out.GetPoints()) == 0 {
						say(c, "\nno restore point is known: `%s backups scan` has the repositories listed", again(c))
					}
				}
				printAlerts(c, out.GetAlerts())
				return nil
			})
		},
	}
	c.Flags().StringVar(&host, "host", "", "only data sets of this host")
	c.Flags().BoolVar(&all, "all", false, "every point, also those that a repository no longer has")
	return c
}

// shelf is what is known of the points of one data set.
type shelf struct {
	dataSet, host       string
	points, quarantined int // that the repositories have
	held                int
	newest              *pb.RestorePoint
	good                *pb.RestorePoint // the last known good; nil: none
	asks, why           string           // how far it must be verified, and why nothing may be restored
}

// shelves sums up the points of data sets, in the order of their names.
func shelves(sets []*pb.DataSetStanding, points []*pb.RestorePoint) []*shelf {
	byName := map[string]*shelf{}
	for _, d := range sets {
		byName[d.GetName()] = &shelf{dataSet: d.GetName(), host: d.GetHost(), good: d.GetGood(), asks: d.GetAsks(), why: d.GetWhy()}
	}
	for _, p := range points {
		if s := byName[p.GetDataSet()]; s != nil {
			s.add(p)
		}
	}
	list := make([]*shelf, 0, len(byName))
	for _, name := range sortedKeys(byName) {
		list = append(list, byName[name])
	}
	return list
}

func (s *shelf) add(p *pb.RestorePoint) {
	if p.GetGone() {
		return
	}
	s.points++
	if len(p.GetHeldBy()) > 0 {
		s.held++
	}
	if s.newest == nil || reaches(p).After(reaches(s.newest)) {
		s.newest = p
	}
	if quarantined(p) {
		s.quarantined++
	}
}

// quarantined reports whether nothing of a point may be restored. Of a database with logs, what is older than the damage may.
func quarantined(p *pb.RestorePoint) bool {
	return p.GetQuarantinedFrom() != nil && !p.GetQuarantinedFrom().AsTime().After(p.GetTakenAt().AsTime())
}

// reaches is the newest moment whose data a point holds.
func reaches(p *pb.RestorePoint) time.Time {
	if until := p.GetUntil(); until != nil && until.AsTime().After(p.GetTakenAt().AsTime()) {
		return until.AsTime()
	}
	return p.GetTakenAt().AsTime()
}

func printShelves(c *cobra.Command, list []*shelf, now time.Time) {
	var rows []table.Row
	var none []string
	for _, s := range list {
		newest, good, level, checked := "-", "none", "-", "-"
		if s.newest != nil {
			newest = ago(reaches(s.newest), now)
		}
		if s.good != nil {
			good, level, checked = ago(reaches(s.good), now), s.good.GetLevel(), ago(checkedAt(s.good), now)
		} else {
			none = append(none, fmt.Sprintf("  %s: %s", s.dataSet, cell(s.why, 300)))
		}
		rows = append(rows, table.Row{cell(s.dataSet, 60), cell(s.host, 60), s.points, newest, s.asks, good, level, checked, s.quarantined, s.held})
	}
	printTable(c, table.Row{"DATA SET", "HOST", "POINTS", "NEWEST", "ASKED", "LAST KNOWN GOOD", "LEVEL", "CHECKED", "QUARANTINED", "HELD"}, rows)
	say(c, "\n%s", plural(len(rows), "data set"))
	if len(none) > 0 {
		say(c, "\n%s with nothing that may be restored:\n%s", plural(len(none), "data set"), strings.Join(none, "\n"))
	}
}

const alertsShown = 20

// printAlerts tells what is wrong with backups now.
func printAlerts(c *cobra.Command, alerts []*pb.BackupAlert) {
	if len(alerts) == 0 {
		return
	}
	say(c, "\n%s:", plural(len(alerts), "alert"))
	for i, a := range alerts {
		if i == alertsShown {
			say(c, "  and %d more (-o json has them all)", len(alerts)-i)
			return
		}
		say(c, "  %s  %s", clock(a.GetAt()), strings.TrimPrefix(a.GetDataSet()+": ", ": ")+a.GetText())
	}
}

// checkedAt is when a point passed the level that it has.
func checkedAt(p *pb.RestorePoint) time.Time {
	var at time.Time
	for _, v := range p.GetChecks() {
		if v.GetOk() && v.GetLevel() == p.GetLevel() {
			at = v.GetAt().AsTime()
		}
	}
	return at
}

func printPoints(c *cobra.Command, points []*pb.RestorePoint, now time.Time) {
	rows := make([]table.Row, 0, len(points))
	for _, p := range points {
		rows = append(rows, table.Row{cell(p.GetDataSet(), 60), cell(p.GetRepository()+"/"+p.GetId(), 60), clock(timestamppb.New(reaches(p))), amountOf(p), p.GetLevel(), standingOf(p, now)})
	}
	printTable(c, table.Row{"DATA SET", "POINT", "DATA OF", "SIZE", "LEVEL", "WHAT IS KNOWN"}, rows)
	say(c, "\n%s", plural(len(rows), "restore point"))
}

func amountOf(p *pb.RestorePoint) string {
	if p.GetSize() <= 0 {
		return "-"
	}
	return amount(p.GetSize())
}

// standingOf tells all that is known of a point: what keeps it from being restored first, then its checks, the highest first.
func standingOf(p *pb.RestorePoint, now time.Time) string {
	var parts []string
	if p.GetGone() {
		parts = append(parts, "GONE: last listed "+ago(p.GetSeenAt().AsTime(), now))
	}
	if from := p.GetQuarantinedFrom(); from != nil {
		word := "QUARANTINED"
		if !quarantined(p) {
			word = "SUSPECT from " + clock(from)
		}
		parts = append(parts, fmt.Sprintf("%s by %s: %s", word, cell(p.GetQuarantinedBy(), 60), cell(p.GetQuarantineReason(), 400)))
	}
	if held := p.GetHeldBy(); len(held) > 0 {
		parts = append(parts, "held by "+cell(strings.Join(held, ", "), 200))
	}
	for _, v := range slices.Backward(p.GetChecks()) {
		parts = append(parts, verdict(v, now))
	}
	if len(p.GetChecks()) == 0 {
		parts = append(parts, "never checked")
	}
	return strings.Join(parts, "; ")
}

// verdict tells one check.
func verdict(v *pb.PointVerdict, now time.Time) string {
	word := "passed"
	if !v.GetOk() {
		word = "FAILED"
	}
	text := fmt.Sprintf("%s %s %s, %s", v.GetLevel(), word, ago(v.GetAt().AsTime(), now), cell(v.GetBy(), 80))
	if v.GetDetail() != "" && !v.GetOk() {
		text += ": " + cell(v.GetDetail(), 400)
	}
	return text
}

// ago tells how long ago something was.
func ago(t, now time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "-"
	}
	if d := now.Sub(t); d < -time.Second {
		return "in " + about(-d)
	}
	return about(now.Sub(t)) + " ago"
}
