package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newPlan(o *options) *cobra.Command {
	var fleetFile, playbooks, name string
	c := &cobra.Command{
		Use: "plan --fleet FILE", Short: "Print, offline, what would be done: host, wave, method, reason", Args: cobra.NoArgs,
		Long:    "Plan reads the fleet file and the playbooks and nothing else; it touches no host and needs no coordinator. Without sightings every host that runs the product counts as possibly hit.",
		Example: "  blackstart plan --fleet fleet.yaml\n  blackstart plan --fleet fleet.yaml --playbook crowdstrike-channel-file-291 -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := fleet.Load(fleetFile)
			if err != nil {
				return usage("%w", err)
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
			printOfflinePlan(c, plan, book)
			return nil
		},
	}
	c.Flags().StringVar(&fleetFile, "fleet", "", "the fleet file")
	c.Flags().StringVar(&playbooks, "playbooks", "", "a folder of playbooks beside the built-in ones")
	c.Flags().StringVar(&name, "playbook", "", "the playbook; needed only when more than one fits the fleet")
	must(c.MarkFlagRequired("fleet"))
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
	return recovery.Playbook{}, usage("%d playbooks fit fleet %s: name one with --playbook (`blackstart playbook list`)", len(fit), f.Name)
}

func printOfflinePlan(c *cobra.Command, p recovery.Plan, book recovery.Playbook) {
	var rows []table.Row
	for _, w := range p.Waves {
		for _, h := range w.Hosts {
			rows = append(rows, table.Row{w.Wave, w.Tier, h.Host, h.Service, h.Method, h.RungName, h.Reason})
		}
	}
	for _, h := range p.Excluded {
		rows = append(rows, table.Row{"-", "-", h.Host, h.Service, "leave alone", "-", cell(h.Reason, 120)})
	}
	printTable(c, table.Row{"WAVE", "TIER", "HOST", "SERVICE", "METHOD", "RUNG", "REASON"}, rows)
	say(c, "")
	for _, w := range p.Waves {
		say(c, "wave %d  %-16s %d hosts", w.Wave, w.Tier, len(w.Hosts))
	}
	if n := len(p.Excluded); n > 0 {
		say(c, "left alone              %d hosts", n)
	}
	say(c, "playbook %s (%s), reboot %s\nplan %s", book.Name, short(book.Digest), book.Reboot, p.Digest)
}

// short cuts a digest to what a person compares.
func short(digest string) string {
	if len(digest) > 19 {
		return digest[:19] + "…"
	}
	return digest
}

func newPlaybook(o *options) *cobra.Command {
	var dir string
	list := &cobra.Command{
		Use: "list", Short: "List the playbooks with their digests", Args: cobra.NoArgs, Example: "  blackstart playbook list",
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
	}
	c := &cobra.Command{Use: "playbook", Short: "Look at the playbooks"}
	c.PersistentFlags().StringVar(&dir, "playbooks", "", "a folder of playbooks beside the built-in ones")
	c.AddCommand(list)
	return c
}
