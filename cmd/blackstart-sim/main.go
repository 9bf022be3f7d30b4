// Command blackstart-sim plays simulated incidents against the real engine and says which promise broke, if any did.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/blackstart-recovery/blackstart/server/sim"
)

const usage = `Blackstart-sim plays simulated incidents against the real engine: hosts that crash, loop, lie and relapse, networks that lose and
repeat, people who err, clocks that jump, and a coordinator that is killed between any two steps. After every step it holds what
must always hold. The same seed always plays the same incident.

Usage:
  blackstart-sim [flags]

Examples:
  blackstart-sim --for 3m                  play for three minutes, each seed once
  blackstart-sim --seed 4711 --count 1 -v  play one incident again and tell every entry of its journal
  blackstart-sim --promises                list what is held after every step, and where each promise comes from

Flags:
`

// Exit codes: every promise was kept; one was broken, or nothing was shown; wrong use.
const (
	exitKept   = 0
	exitBroken = 1
	exitUsage  = 2
)

type settings struct {
	seed     uint64
	count    int
	lasting  time.Duration
	hosts    int
	breaches int
	verbose  bool
	promises bool
	output   string
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, out, errs io.Writer) int {
	s, err := parse(args, errs)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitKept
	case err != nil:
		fmt.Fprintf(errs, "blackstart-sim: %v\n", err)
		return exitUsage
	case s.promises:
		listPromises(out)
		return exitKept
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	interrupted := ctx
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	if s.lasting > 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, s.lasting)
		defer cancel()
	}
	o := sim.Options{Hosts: s.hosts}
	if s.verbose {
		o.Trace = func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	}
	began := time.Now()
	sum, found := sim.Run(ctx, s.seed, s.count, s.breaches, o, progress(errs, s, began))
	if s.output == "json" {
		err = asJSON(out, s, sum, found, time.Since(began))
	} else {
		asText(out, s, sum, found, time.Since(began))
	}
	if err != nil {
		fmt.Fprintf(errs, "blackstart-sim: %v\n", err)
		return exitUsage
	}
	switch {
	case len(found) > 0:
		return exitBroken
	case interrupted.Err() != nil:
		fmt.Fprintf(errs, "blackstart-sim: interrupted after %d incidents\n", sum.Incidents)
		return exitBroken
	case sum.Incidents == 0:
		fmt.Fprintln(errs, "blackstart-sim: no incident was played, so nothing was shown: give it more time with --for")
		return exitBroken
	}
	return exitKept
}

func parse(args []string, errs io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("blackstart-sim", flag.ContinueOnError)
	f.SetOutput(errs)
	f.Usage = func() {
		fmt.Fprint(errs, usage)
		f.PrintDefaults()
	}
	f.Uint64Var(&s.seed, "seed", 1, "the first seed; each incident takes the next one")
	f.IntVar(&s.count, "count", 0, "how many incidents to play; 0: until the time is over")
	f.DurationVar(&s.lasting, "for", 0, "how long to play; 0 without a count: one minute")
	f.IntVar(&s.hosts, "hosts", 0, "hosts of every estate; 0: small estates of every shape, with all kinds of rungs")
	f.IntVar(&s.breaches, "breaches", 1, "stop after so many broken promises")
	f.BoolVar(&s.verbose, "v", false, "tell every entry of the journal")
	f.BoolVar(&s.promises, "promises", false, "list what is held, and stop")
	f.StringVar(&s.output, "o", "text", "text or json")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q is no flag: blackstart-sim takes flags only (blackstart-sim --help)", f.Arg(0))
	case s.output != "text" && s.output != "json":
		return s, fmt.Errorf("-o %s: use text or json", s.output)
	case s.output == "json" && (s.verbose || s.promises):
		return s, errors.New("-o json goes with neither -v nor --promises: they tell text")
	case s.hosts < 0 || s.hosts > 0 && s.hosts < 100 || s.hosts > 10_000:
		return s, fmt.Errorf("--hosts %d: use 0 for small estates, or 100 to 10000", s.hosts)
	case s.count < 0 || s.breaches < 1 || s.lasting < 0:
		return s, errors.New("--count and --for must not be negative, and --breaches at least 1")
	}
	if s.lasting == 0 && s.count == 0 {
		s.lasting = time.Minute
	}
	return s, nil
}

// progress tells every few seconds how far it is, to a person who waits.
func progress(errs io.Writer, s settings, began time.Time) func(sim.Tally) {
	const every = 5 * time.Second
	told := began
	return func(t sim.Tally) {
		if s.verbose || s.output == "json" || time.Since(told) < every {
			return
		}
		told = time.Now()
		fmt.Fprintf(errs, "%s: %d incidents, %d crashes of the coordinator, %s of simulated time\n", time.Since(began).Round(time.Second), t.Incidents, t.Kills, days(t.Passed))
	}
}

func listPromises(out io.Writer) {
	for _, p := range sim.Promises() {
		fmt.Fprintf(out, "%-28s %s (%s)\n", p.Name, p.Promise, p.Source)
	}
}

func days(d time.Duration) string { return fmt.Sprintf("%.1f days", d.Hours()/24) }

func asText(out io.Writer, s settings, t sim.Tally, found []*sim.Breach, took time.Duration) {
	if t.Incidents == 0 {
		return
	}
	fmt.Fprintf(out, "seeds %d to %d: %d incidents with %d hosts in %s, %.0f a minute; %s of simulated time\n",
		s.seed, s.seed+uint64(t.Incidents)-1, t.Incidents, t.Hosts, took.Round(time.Second), float64(t.Incidents)/took.Minutes(), days(t.Passed))
	fmt.Fprintf(out, "  coordinator: %d crashes, %d returns to an older journal, %d leaps of the clock, %d entries written and replayed\n", t.Kills, t.Restores, t.Leaps, t.Entries)
	fmt.Fprintf(out, "  hosts:       %d crashes, %d jobs, %d scripts executed, %d late or ghost results\n", t.Crashes, t.Jobs, t.Executions, t.Ghosts)
	fmt.Fprintf(out, "  backups:     %d restores begun by agents, %d swaps\n", t.Restorings, t.Swaps)
	fmt.Fprintf(out, "  networks:    %d partitions\n", t.Partitions)
	fmt.Fprintf(out, "  people:      %d acts, of which %d were refused; %d playbook revisions\n", t.Acts, t.Refusals, t.Revisions)
	fmt.Fprintf(out, "  outcomes:    %s\n", outcomes(t.Outcomes))
	if t.Unplaced > 0 {
		fmt.Fprintf(out, "  known hole:  %d hosts were proven in a boot in which a lost script or restore of ours had changed them, and of which nobody had heard (docs/architecture.md, known limits)\n", t.Unplaced)
	}
	if len(found) == 0 {
		fmt.Fprintf(out, "every one of %d promises was kept at every step\n", len(sim.Promises()))
		return
	}
	for _, b := range found {
		fmt.Fprintf(out, "BROKEN: %v\n  replay: %s\n", b, replay(s, b))
	}
}

func replay(s settings, b *sim.Breach) string {
	cmd := fmt.Sprintf("go run ./cmd/blackstart-sim --seed %d --count 1 -v", b.Seed)
	if s.hosts > 0 {
		cmd += fmt.Sprintf(" --hosts %d", s.hosts)
	}
	return cmd
}

func outcomes(m map[string]int) string {
	var list []string
	for name, n := range m {
		if name == "" {
			name = "nobody was hit"
		}
		list = append(list, fmt.Sprintf("%d %s", n, name))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func asJSON(out io.Writer, s settings, t sim.Tally, found []*sim.Breach, took time.Duration) error {
	type broken struct {
		Seed    uint64 `json:"seed"`
		Promise string `json:"promise"`
		Host    string `json:"host,omitempty"`
		At      string `json:"at"`
		Detail  string `json:"detail"`
		Replay  string `json:"replay"`
	}
	account := struct {
		FirstSeed uint64    `json:"first_seed"`
		Seconds   float64   `json:"seconds"`
		Tally     sim.Tally `json:"tally"`
		Broken    []broken  `json:"broken"`
	}{FirstSeed: s.seed, Seconds: took.Seconds(), Tally: t, Broken: []broken{}}
	for _, b := range found {
		account.Broken = append(account.Broken, broken{b.Seed, b.Invariant, b.Host, b.At.Round(time.Second).String(), b.Detail, replay(s, b)})
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(account)
}
