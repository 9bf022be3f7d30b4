package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// comparison is what -o json prints of a drill of methods.
type comparison struct {
	Ways           []*wayAccount `json:"ways"`
	Better         way           `json:"better"`          // of the two without a choice, the one that brought the last host back sooner
	Ratio          float64       `json:"ratio"`           // the mix's time to the last host, by that of the better one
	RatioStateless float64       `json:"ratio_stateless"` // the same for the last stateless host, by the shorter of both times
	Sooner         bool          `json:"sooner"`          // the mix was not slower than either
	Seed           uint64        `json:"seed"`
	Speed          float64       `json:"speed"`
	WallSeconds    float64       `json:"wall_seconds"`
	Kept           string        `json:"kept,omitempty"`
	ExitReason     string        `json:"exit_reason"`
}

// wayAccount is one way, as its journal tells it. Times are the story's, from the declaration.
type wayAccount struct {
	Way           way           `json:"way"`
	Hit           int           `json:"hit"`       // in truth, as the lab knows it
	Stateless     int           `json:"stateless"` // of the planned hosts, those that could be restored
	LastStateless time.Duration `json:"last_stateless_ns"`
	Last          time.Duration `json:"last_ns"`
	Repaired      int           `json:"repaired"` // recovered hosts, by what came before their proof
	Restored      int           `json:"restored"`
	ByHand        int           `json:"by_hand"`
	NotBack       int           `json:"not_back"`
	Slots         int           `json:"slots"`      // of the repositories
	SlotsBusy     float64       `json:"slots_busy"` // their share of the time until the last host was back
	PlanDigest    string        `json:"plan_digest"`
	WallSeconds   float64       `json:"wall_seconds"`
}

// measure reads a finished story.
func (a *wayAccount) measure(file string, s *story) error {
	j, err := journal.OpenReadOnly(file)
	if err != nil {
		return err
	}
	defer j.Close()
	ids, err := j.Incidents()
	if err != nil {
		return err
	}
	f := &finish{story: s, by: map[string]recovery.Method{}, back: map[string]time.Time{}, restoring: map[string]time.Time{}, planned: map[string]bool{}}
	for _, id := range ids {
		if err := j.Read(id, func(e recovery.Entry) error { f.take(e); return nil }); err != nil {
			return err
		}
	}
	f.tell(a)
	return nil
}

// finish gathers from entries when each host was back, and by what.
type finish struct {
	*story
	declared  time.Time
	planned   map[string]bool
	by        map[string]recovery.Method // what was last done to a host
	back      map[string]time.Time
	restoring map[string]time.Time // attempts that restore, by id, since when
	busy      time.Duration        // of all slots together
}

func (f *finish) take(entry recovery.Entry) {
	switch e := entry.Event.(type) {
	case *recovery.IncidentDeclared:
		f.declared = entry.At
	case *recovery.PlanProposed:
		for _, w := range e.Plan.Waves {
			for _, h := range w.Hosts {
				f.planned[h.Host] = true
			}
		}
	case *recovery.AttemptStarted:
		f.by[e.Attempt.Host] = cmp.Or(e.Attempt.Method, recovery.MethodRepair)
		if e.Attempt.Method == recovery.MethodRestore {
			f.restoring[e.Attempt.ID] = entry.At
		}
	case *recovery.AttemptEnded:
		if since, ok := f.restoring[e.Attempt]; ok {
			f.busy += entry.At.Sub(since)
			delete(f.restoring, e.Attempt)
		}
	case *recovery.HandsFinished:
		f.by[e.Host] = recovery.MethodHands
	case *recovery.HostRecovered:
		f.back[e.Host] = entry.At
	case *recovery.HostRelapsed:
		delete(f.back, e.Host)
	}
}

func (f *finish) tell(a *wayAccount) {
	for host := range f.planned {
		at, ok := f.back[host]
		stateless := f.restores(host)
		if stateless {
			a.Stateless++
		}
		if !ok {
			a.NotBack++
			continue
		}
		switch f.by[host] {
		case recovery.MethodRepair:
			a.Repaired++
		case recovery.MethodRestore:
			a.Restored++
		case recovery.MethodHands:
			a.ByHand++
		}
		took := at.Sub(f.declared)
		a.Last = max(a.Last, took)
		if stateless {
			a.LastStateless = max(a.LastStateless, took)
		}
	}
	used := f.images().repositories
	for _, r := range f.fleet.Repositories {
		if _, ok := used[r.Name]; ok {
			a.Slots += r.Slots
		}
	}
	if a.Last > 0 && a.Slots > 0 {
		a.SlotsBusy = float64(f.busy) / float64(a.Slots) / float64(a.Last)
	}
}

// judge holds the mix against the two others. Who leaves a host behind was not sooner.
func (c *comparison) judge() {
	mix, others := c.Ways[0], c.Ways[1:]
	better := slices.MinFunc(others, func(a, b *wayAccount) int {
		return cmp.Or(cmp.Compare(a.NotBack, b.NotBack), cmp.Compare(a.Last, b.Last))
	})
	stateless := slices.MinFunc(others, func(a, b *wayAccount) int { return cmp.Compare(a.LastStateless, b.LastStateless) })
	c.Better = better.Way
	c.Ratio = float64(mix.Last) / float64(better.Last)
	c.RatioStateless = float64(mix.LastStateless) / float64(stateless.LastStateless)
	c.Sooner = mix.NotBack <= better.NotBack && mix.Last <= better.Last
	verb := "sooner than"
	if !c.Sooner {
		verb = "not sooner than"
	}
	c.ExitReason = fmt.Sprintf("the mix brought everything back %s either way alone: in %.0f %% of the time of the better one, which is %s", verb, 100*c.Ratio, better.Way.words())
}

func (w way) words() string {
	switch w {
	case wayRepair:
		return "to repair all"
	case wayRestore:
		return "to restore all stateless ones"
	}
	return "the rule's choice"
}

func (t *teller) openingOfThree(s *story) {
	if t.quiet {
		return
	}
	say(t.cmd, "%s\n", s.scenario.Title)
	say(t.cmd, "%s\n", strings.TrimSpace(s.scenario.Story))
	say(t.cmd, "The same story is played three times, from the same seed (%d) and so with the same machines and troubles.", s.seed)
	say(t.cmd, "Simulated here: the machines' boots and crashes, the responder and %d people who can walk to servers, the repository and the line to it,", s.people)
	say(t.cmd, "and the clock, %g times as fast. Real: files, scripts, SSH, gRPC with mutual TLS, the coordinator and its journal, the", s.speed)
	say(t.cmd, "catalog of backups, and the agents that restore disks beside, swap them in and keep the old.\n")
}

func (t *teller) beginning(w way) {
	if !t.quiet {
		say(t.cmd, "playing: %s ...", w.words())
	}
}

func (t *teller) closingOfThree(c *comparison) error {
	if t.quiet {
		if err := printJSON(t.cmd, c); err != nil {
			return err
		}
		return c.exit()
	}
	say(t.cmd, "")
	var rows []table.Row
	for _, a := range c.Ways {
		rows = append(rows, table.Row{a.Way.words(), about(a.LastStateless), about(a.Last), a.Repaired, a.Restored, a.ByHand, a.NotBack, fmt.Sprintf("%.0f %%", 100*a.SlotsBusy)})
	}
	printTable(t.cmd, table.Row{"WAY", "LAST STATELESS", "LAST HOST", "REPAIRED", "RESTORED", "BY HAND", "NOT BACK", "SLOTS BUSY"}, rows)
	mix := c.Ways[0]
	say(t.cmd, "\n%d hosts were hit, %d of them stateless with an image. Times are from the declaration to the recovery of the last one, as the journals tell", mix.Hit, mix.Stateless)
	say(t.cmd, "them; slots busy is the share of the repository's %d slots until then.", mix.Slots)
	say(t.cmd, "Mix against the better of the others: %.0f %% of its time for the last host, %.0f %% for the last stateless one.", 100*c.Ratio, 100*c.RatioStateless)
	say(t.cmd, "three stories in %.1f s, seed %d", c.WallSeconds, c.Seed)
	if c.Kept != "" {
		say(t.cmd, "kept in %s: mix, repair and restore, each with report.md, report.json, data/journal.db, data/backups.db and lab/", c.Kept)
	}
	say(t.cmd, "%s", c.ExitReason)
	return c.exit()
}

func (c *comparison) exit() error {
	if !c.Sooner {
		return &outcome{exit: exitHeld}
	}
	return nil
}
