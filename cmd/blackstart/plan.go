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
	var fleetFile, playbooks, name string
	c := &cobra.Command{
		Use: "plan --fleet FILE", Short: "Print, offline, what would be done: host, wave, method, reason", Args: cobra.NoArgs,
		Long:    "Plan reads the fleet file and the playbooks and nothing else; it touches no host and needs no coordinator. Without sightings every host that runs the product counts as possibly hit. The plan of a declared incident, which knows what the agents said, is printed by `blackstart incident plan`.",
		Example: "  blackstart plan --fleet fleet.yaml\n  blackstart plan --fleet fleet.yaml --playbook crowdstrike-channel-file-291 -o json",
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
			plan := recovery.NewPlan(f, book, recovery.Scope(f, book, nil, time.Now()))
			if o.json() {
				return printJSON(c, plan)
			}
			printOfflinePlan(c, f, plan, book)
			return nil
		},
	}
	c.Flags().StringVar(&fleetFile, "fleet", "", "the fleet `file`")
	c.Flags().StringVar(&playbooks, "playbooks", "", "a `folder` of playbooks beside the built-in ones")
	c.Flags().StringVar(&name, "playbook", "", "the playbook's `name`; needed only when more than one fits the fleet")
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
var planHead = table.Row{"WAVE", "TIER", "HOST", "SERVICE", "METHOD", "RUNG", "REASON"}

func printOfflinePlan(c *cobra.Command, f recovery.Fleet, p recovery.Plan, book recovery.Playbook) {
	var rows []table.Row
	var waves []waveCount
	for _, w := range p.Waves {
		count := waveCount{n: w.Wave, tier: w.Tier, hosts: len(w.Hosts)}
		for _, h := range w.Hosts {
			rows = append(rows, table.Row{w.Wave, w.Tier, h.Host, h.Service, h.Method, h.RungName, h.Reason})
			if h.Method == recovery.MethodHands {
				count.hands++
			}
		}
		waves = append(waves, count)
	}
	for _, h := range p.Excluded {
		rows = append(rows, table.Row{"-", "-", h.Host, h.Service, "leave alone", "-", cell(h.Reason, longCell)})
	}
	printTable(c, planHead, rows)
	printPlanCounts(c, waves, len(p.Excluded))
	if hosts := wantSafeMode(f, p, book); len(hosts) > 0 {
		say(c, "%s by hand, because this version cannot run scripts in %s: %s", plural(len(hosts), "host"), recovery.EnvWindowsSafeMode, named(hosts))
	}
	say(c, "playbook %s (%s), reboot %s\nplan %s", book.Name, short(book.Digest), book.Reboot, p.Digest)
}

// waveCount is one wave of a plan in numbers.
type waveCount struct {
	n     int
	tier  string
	hosts int
	hands int // of hosts, those that only a person can reach
}

func printPlanCounts(c *cobra.Command, waves []waveCount, excluded int) {
	say(c, "")
	for _, w := range waves {
		line := fmt.Sprintf("wave %d  %-16s %s", w.n, w.tier, plural(w.hosts, "host"))
		if w.hands > 0 {
			line += fmt.Sprintf(", %d of them by hand", w.hands)
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
