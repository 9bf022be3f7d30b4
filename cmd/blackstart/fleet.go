package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func newFleet(o *options) *cobra.Command {
	c := &cobra.Command{Use: "fleet", Short: "Check the fleet file, or make one from an inventory", Example: "  blackstart fleet import ansible inventory.ini --out fleet.yaml\n  blackstart fleet check fleet.yaml"}
	c.AddCommand(newFleetCheck(o), newFleetImport(o), newFleetSchema())
	return c
}

// fleetAccount is what `fleet check -o json` prints.
type fleetAccount struct {
	Fleet    string               `json:"fleet"`
	Hosts    int                  `json:"hosts"`
	Services int                  `json:"services"`
	Waves    []fleet.WaveCount    `json:"waves"`
	Controls []fleet.ControlCount `json:"controls"`
	fleetGaps
}

// fleetGaps are the hosts of a sound fleet file that need people anyway.
type fleetGaps struct {
	NoAgent []string `json:"no_agent"` // nothing phones home from there

	Levels     []fleet.LevelGap `json:"levels,omitempty"` // data sets that machines cannot verify as far as a restore asks
	NeedsHands []handGap        `json:"needs_hands"`      // no rung that a playbook can use leads to them
	NoPlaybook []handGap        `json:"no_playbook"`      // they run a product that no playbook is for
	Unprovable []string         `json:"unprovable"`       // neither an agent nor a rung into the running system
	Strict     []string         `json:"strict"`           // waves so small that a limit in percent allows no failure
}

// handGap is hosts with one reason why.
type handGap struct {
	Reason string   `json:"reason"`
	Hosts  []string `json:"hosts"`
}

func newFleetCheck(o *options) *cobra.Command {
	var playbooks string
	check := &cobra.Command{
		Use: "check FILE", Short: "Check a fleet file, count its waves, name the hosts that will need people", Args: cobra.ExactArgs(1),
		Long:    "Check reads a fleet file, tells everything that is wrong with it at once, and counts its waves. A sound file is also held against the playbooks: hosts that none of them can reach will need hands, and it is better to know that before the night.",
		Example: "  blackstart fleet check fleet.yaml\n  blackstart fleet check fleet.yaml -o json",
		RunE: func(c *cobra.Command, args []string) error {
			f, err := o.loadFleet(c, args[0])
			if err != nil {
				return err
			}
			lib, err := loadPlaybooks(playbooks)
			if err != nil {
				return err
			}
			acc := fleetAccount{f.Name, len(f.Hosts), len(f.Services), fleet.Counts(f), fleet.Controls(f), findGaps(f, lib)}
			if o.json() {
				return printJSON(c, acc)
			}
			var rows []table.Row
			for _, w := range acc.Waves {
				rows = append(rows, table.Row{w.Wave, w.Tier, w.Hosts, w.Services, w.Critical, w.NoAgent, rto(w.RTO), tally(w.Data), tally(w.OS), tally(w.Ladders)})
			}
			printTable(c, table.Row{"WAVE", "TIER", "HOSTS", "SERVICES", "CRITICAL", "NO AGENT", "RTO", "DATA", "OS", "LADDERS"}, rows)
			acc.printControls(c)
			say(c, "\n%s: %s, %s, %s; the file is sound", f.Name, plural(len(f.Hosts), "host"), plural(len(f.Services), "service"), plural(len(f.Groups), "group"))
			acc.warn(c)
			acc.warnOfStorms(c)
			return nil
		},
	}
	check.Flags().StringVar(&playbooks, "playbooks", "", "a `folder` of playbooks beside the built-in ones")
	return check
}

// printControls shows what acts on hosts from outside, where something does.
func (a fleetAccount) printControls(c *cobra.Command) {
	if len(a.Controls) == 0 {
		return
	}
	var rows []table.Row
	for _, k := range a.Controls {
		atOnce := "-"
		if k.AtOnce > 0 {
			atOnce = fmt.Sprint(k.AtOnce)
		}
		rows = append(rows, table.Row{k.Section, k.Name, k.Through, k.Hosts, k.Restart, atOnce})
	}
	say(c, "")
	printTable(c, table.Row{"SECTION", "NAME", "THROUGH", "HOSTS", "RESTARTED", "AT ONCE"}, rows)
}

// warnOfStorms names power controls that may start so many hosts at once that their network or power feed may fail.
func (a fleetAccount) warnOfStorms(c *cobra.Command) {
	const many = 32
	for _, k := range a.Controls {
		if k.Section == "power" && k.AtOnce > many && k.Restart > many {
			say(c, "warning: power %s may restart %d hosts at once, and a boot storm is a second outage: lower its at-once, or give each power feed a control of its own", k.Name, min(k.AtOnce, k.Restart))
		}
	}
}

func newFleetSchema() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of the fleet file, for editors", Args: cobra.NoArgs, Example: "  blackstart fleet schema > fleet.schema.json",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), strings.TrimSpace(string(fleet.Schema)))
			return err
		},
	}
}

// findGaps plans the fleet with every playbook. A host is well served when one of them can repair it.
func findGaps(f recovery.Fleet, lib *playbook.Library) fleetGaps {
	gaps := fleetGaps{NoAgent: []string{}, Unprovable: []string{}, Strict: strictWaves(f), Levels: fleet.LevelGaps(f)}
	served, hands := map[string]bool{}, map[string]string{}
	for _, b := range lib.Matching(f.Hosts) {
		for _, w := range recovery.NewPlan(f, b.Facts, recovery.Scope(f, b.Facts, nil, time.Time{}), recovery.Stock{}).Waves {
			for _, h := range w.Hosts {
				if h.Method == recovery.MethodHands {
					hands[h.Host] = h.Reason
				} else {
					served[h.Host] = true
				}
			}
		}
	}
	needs, none := map[string][]string{}, map[string][]string{}
	for _, h := range f.Hosts {
		if !h.Agent {
			gaps.NoAgent = append(gaps.NoAgent, h.Name)
			if !slices.ContainsFunc(h.Ladder, func(r recovery.Rung) bool { return r.Kind == recovery.RungSSH && r.Environment == recovery.EnvLinux }) {
				gaps.Unprovable = append(gaps.Unprovable, h.Name)
			}
		}
		reason, planned := hands[h.Name]
		switch {
		case served[h.Name]:
		case planned:
			needs[reason] = append(needs[reason], h.Name)
		case h.EDR.Product != "":
			reason = h.EDR.Product + " on " + h.OS
			none[reason] = append(none[reason], h.Name)
		}
	}
	gaps.NeedsHands, gaps.NoPlaybook = grouped(needs), grouped(none)
	return gaps
}

// strictWaves names the limits in percent that come to no host at all.
func strictWaves(f recovery.Fleet) []string {
	size := map[string]int{}
	for _, h := range f.Hosts {
		size[h.Tier]++
	}
	list := []string{}
	for _, t := range f.Tiers {
		for _, l := range []struct {
			name  string
			limit recovery.Limit
		}{{"max-failed", t.Gate.MaxFailed}, {"max-unreachable", t.Gate.MaxUnreachable}} {
			if n := size[t.Name]; n > 0 && l.limit.Percent && l.limit.Count > 0 && n*l.limit.Count < 100 {
				list = append(list, fmt.Sprintf("%s %d%% of %s (%s)", l.name, l.limit.Count, t.Name, plural(n, "host")))
			}
		}
	}
	return list
}

func grouped(hosts map[string][]string) []handGap {
	list := []handGap{}
	for _, reason := range sortedKeys(hosts) {
		list = append(list, handGap{reason, hosts[reason]})
	}
	return list
}

func (g fleetGaps) warn(c *cobra.Command) {
	for _, h := range g.NeedsHands {
		say(c, "warning: %s will need hands (%s): %s", plural(len(h.Hosts), "host"), strings.TrimPrefix(h.Reason, "a person with a work card: "), named(h.Hosts))
	}
	for _, h := range g.NoPlaybook {
		say(c, "warning: no playbook is for %s, which %s: %s", h.Reason, runs(len(h.Hosts)), named(h.Hosts))
	}
	if len(g.Strict) > 0 {
		say(c, "warning: these limits are less than one host, so the first such failure holds the wave; give a count if that is too strict: %s", strings.Join(g.Strict, ", "))
	}
	if n := len(g.Unprovable); n > 0 {
		say(c, "warning: nothing can prove %s, with neither an agent nor a rung into its own running system: %s", plural(n, "host"), named(g.Unprovable))
	}
	for _, l := range g.Levels {
		say(c, "warning: %s can be verified to %s by machines, and a restore asks for %s, so it would wait until a person has looked at a point (backups vouch); give it an engine, a check or invariants: %s", plural(len(l.DataSets), "data set"), l.Reach, l.Asked, named(l.DataSets))
	}
	if n := len(g.NoAgent); n > 0 {
		say(c, "warning: %s without an agent, so nothing is heard from there and proof is fetched over SSH: %s", plural(n, "host"), named(g.NoAgent))
	}
}

func runs(n int) string {
	if n == 1 {
		return "1 host runs"
	}
	return fmt.Sprintf("%d hosts run", n)
}

// loadFleet reads a fleet file; whatever is wrong with it is the caller's to mend.
func (o *options) loadFleet(c *cobra.Command, file string) (recovery.Fleet, error) {
	defer o.busy(c, "reading "+file)()
	f, err := fleet.Load(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, usage("there is no fleet file %s: check the path; `blackstart fleet schema` says what one holds", file)
	case err != nil:
		return f, usage("%w", err)
	}
	return f, nil
}

func rto(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return span(d)
}

// tally shows counts by name, largest first.
func tally[K ~string, N int | int32](m map[K]N) string {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int {
		if m[a] != m[b] {
			return int(m[b] - m[a])
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = fmt.Sprintf("%d %s", m[k], k)
	}
	return strings.Join(parts, "; ")
}
