package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newPlan(o *options) *cobra.Command {
	var fleetFile, playbooks, name, points, data string
	var why bool
	c := &cobra.Command{
		Use: "plan --fleet FILE", Short: "Print, offline, what would be done: host, wave, method, how long it takes, what data is lost, reason", Args: cobra.NoArgs,
		Long: `Plan reads the fleet file and the playbooks; it touches no host and needs no coordinator. Without sightings every host that runs the product counts as possibly hit. The plan of a declared incident, which knows what the agents said, is printed by ` + "`blackstart incident plan`" + `.

Which hosts would be restored from backup depends on the restore points that are known: give them with --points, or with --data where no coordinator runs. Without either none is known, and the plan shows repairs. Data loss is counted as if the outage began now.`,
		Example: `  blackstart plan --fleet fleet.yaml
  blackstart plan --fleet fleet.yaml --playbook crowdstrike-channel-file-291 -o json
  blackstart plan --fleet fleet.yaml --points points.json --why`,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := needed(c, fleetFile, "fleet", "FILE"); err != nil {
				return err
			}
			f, err := o.loadFleet(c, fleetFile)
			if err != nil {
				return err
			}
			lib, err := loadPlaybooks(playbooks)
			if err != nil {
				return err
			}
			book, err := pickPlaybook(lib, f, name)
			if err != nil {
				return err
			}
			now := time.Now()
			stock, err := stockFrom(f, points, data, now)
			if err != nil {
				return err
			}
			plan := recovery.NewPlan(f, book, recovery.Scope(f, book, nil, now), stock)
			if o.json() {
				return printJSON(c, plan)
			}
			printOfflinePlan(c, f, plan, book, why)
			return nil
		},
	}
	c.Flags().StringVar(&fleetFile, "fleet", "", "the fleet `file`")
	c.Flags().StringVar(&playbooks, "playbooks", "", "a `folder` of playbooks beside the built-in ones")
	c.Flags().StringVar(&name, "playbook", "", "the playbook's `name`; needed only when more than one fits the fleet")
	c.Flags().StringVar(&points, "points", "", "a `file` of restore points, as backups list --all -o json prints them")
	c.Flags().StringVar(&data, "data", "", "a coordinator's data `folder`: its catalog of backups tells the restore points")
	whyFlag(c, &why)
	return c
}

func pickPlaybook(lib *playbook.Library, f recovery.Fleet, name string) (recovery.Playbook, error) {
	if name != "" {
		if b, ok := lib.ByName(name); ok {
			return b.Facts, nil
		}
		return recovery.Playbook{}, usage("there is no playbook %q: see `blackstart playbook list`", name)
	}
	fit := lib.Matching(f.Hosts)
	switch len(fit) {
	case 1:
		return fit[0].Facts, nil
	case 0:
		return recovery.Playbook{}, usage("no playbook fits a host of fleet %s: look at edr.product in the fleet file and at `blackstart playbook list`", f.Name)
	}
	var names []string
	for _, b := range fit {
		names = append(names, b.Facts.Name)
	}
	return recovery.Playbook{}, usage("%d playbooks fit fleet %s (%s): name one with --playbook", len(fit), f.Name, named(names))
}

// planHead is the head of a plan's table, offline and declared.
var planHead = table.Row{"WAVE", "TIER", "HOST", "SERVICE", "METHOD", "RUNG", "TAKES", "QUEUE", "DATA LOSS", "REASON"}

// plannedLine is a host of a plan, offline or declared, as a table tells it.
type plannedLine struct {
	host, service, method, rung, reason string
	estimate, queue, loss               time.Duration
	points                              []string
	approval                            bool
	otherwise                           string
}

// plannedTable is a plan, offline or declared, for people.
type plannedTable struct {
	rows    []table.Row
	waves   []waveCount
	lines   []plannedLine // in the order of the rows
	waiting []string      // hosts whose restore a person must approve
}

func (t *plannedTable) wave(n int, tier string, hosts []plannedLine) {
	count := waveCount{n: n, tier: tier, hosts: len(hosts)}
	for _, h := range hosts {
		t.rows = append(t.rows, table.Row{n, tier, h.host, h.service, h.method, h.rung, takes(h.estimate), takes(h.queue), minutes(h.loss), cell(h.reason, longCell)})
		t.lines = append(t.lines, h)
		switch recovery.Method(h.method) {
		case recovery.MethodHands:
			count.hands++
		case recovery.MethodRestore:
			count.restores++
		}
		if h.approval {
			t.waiting = append(t.waiting, h.host)
		}
	}
	t.waves = append(t.waves, count)
}

func (t *plannedTable) leaveAlone(h plannedLine) {
	t.rows = append(t.rows, table.Row{"-", "-", h.host, h.service, "leave alone", "-", "-", "-", "-", cell(h.reason, longCell)})
}

// print prints the plan; with why also what would change each choice.
func (t *plannedTable) print(c *cobra.Command, excluded int, why bool) {
	printTable(c, planHead, t.rows)
	printPlanCounts(c, t.waves, excluded)
	if len(t.waiting) > 0 {
		say(c, "restored only when a person approves it (host restore HOST): %s", named(t.waiting))
	}
	if !why {
		return
	}
	say(c, "")
	for _, h := range t.lines {
		say(c, "%s: %s", h.host, cell(h.reason, longCell))
		for _, p := range h.points {
			say(c, "    from %s", cell(p, 200))
		}
		if h.otherwise != "" {
			say(c, "    otherwise: %s", cell(h.otherwise, longCell))
		}
	}
}

// takes shows an estimate; none is a dash.
func takes(d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return about(d)
}

func printOfflinePlan(c *cobra.Command, f recovery.Fleet, p recovery.Plan, book recovery.Playbook, why bool) {
	var t plannedTable
	line := func(h recovery.PlannedHost) plannedLine {
		l := plannedLine{host: h.Host, service: h.Service, method: string(h.Method), rung: h.RungName, reason: h.Reason,
			estimate: h.Estimate, queue: h.Queue, loss: h.Loss, approval: h.Approval, otherwise: h.Otherwise}
		for _, ref := range h.Points {
			l.points = append(l.points, ref.String())
		}
		return l
	}
	for _, w := range p.Waves {
		hosts := make([]plannedLine, 0, len(w.Hosts))
		for _, h := range w.Hosts {
			hosts = append(hosts, line(h))
		}
		t.wave(w.Wave, w.Tier, hosts)
	}
	for _, h := range p.Excluded {
		t.leaveAlone(line(h))
	}
	t.print(c, len(p.Excluded), why)
	if hosts := wantSafeMode(f, p, book); len(hosts) > 0 {
		say(c, "%s by hand, because this version cannot run scripts in %s: %s", plural(len(hosts), "host"), recovery.EnvWindowsSafeMode, named(hosts))
	}
	say(c, "playbook %s (%s), reboot %s\nplan %s", book.Name, short(book.Digest), book.Reboot, p.Digest)
}

// waveCount is one wave of a plan in numbers.
type waveCount struct {
	n        int
	tier     string
	hosts    int
	hands    int // of hosts, those that only a person can reach
	restores int // of hosts, those that are restored from backup
}

func printPlanCounts(c *cobra.Command, waves []waveCount, excluded int) {
	say(c, "")
	for _, w := range waves {
		line := fmt.Sprintf("wave %d  %-16s %s", w.n, w.tier, plural(w.hosts, "host"))
		if w.hands > 0 {
			line += fmt.Sprintf(", %d of them by hand", w.hands)
		}
		if w.restores > 0 {
			line += fmt.Sprintf(", %d of them from backup", w.restores)
		}
		say(c, "%s", line)
	}
	if len(waves) == 0 {
		say(c, "no host is to be recovered")
	}
	if excluded > 0 {
		say(c, "left alone              %s", plural(excluded, "host"))
	}
}

// wantSafeMode are the hosts that go to people only because their rung leads into Windows safe mode.
func wantSafeMode(f recovery.Fleet, p recovery.Plan, book recovery.Playbook) []string {
	if !book.HasEnvironment(recovery.EnvWindowsSafeMode) {
		return nil
	}
	hands := map[string]bool{}
	for _, w := range p.Waves {
		for _, h := range w.Hosts {
			hands[h.Host] = h.Method == recovery.MethodHands
		}
	}
	var names []string
	for _, h := range f.Hosts {
		if hands[h.Name] && slices.ContainsFunc(h.Ladder, func(r recovery.Rung) bool { return r.Environment == recovery.EnvWindowsSafeMode }) {
			names = append(names, h.Name)
		}
	}
	return names
}

// short cuts a digest to what a person compares.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19] + "…"
	}
	return digest
}

func newPlaybook(o *options) *cobra.Command {
	c := &cobra.Command{Use: "playbook", Short: "Look at the playbooks", Example: "  blackstart playbook list"}
	var dir string
	c.PersistentFlags().StringVar(&dir, "playbooks", "", "a `folder` of playbooks beside the built-in ones")
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the playbooks with their digests", Args: cobra.NoArgs, Example: "  blackstart playbook list\n  blackstart playbook list --playbooks ./our-playbooks -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			lib, err := loadPlaybooks(dir)
			if err != nil {
				return err
			}
			var facts []recovery.Playbook
			var rows []table.Row
			for _, b := range lib.All() {
				facts = append(facts, b.Facts)
				rows = append(rows, table.Row{b.Facts.Name, b.Facts.Match.EDR, b.Facts.Reboot, fmt.Sprint(b.Facts.Environments), short(b.Facts.Digest), b.Facts.Title})
			}
			if o.json() {
				return printJSON(c, facts)
			}
			printTable(c, table.Row{"PLAYBOOK", "EDR", "REBOOT", "ENVIRONMENTS", "DIGEST", "TITLE"}, rows)
			return nil
		},
	})
	return c
}
