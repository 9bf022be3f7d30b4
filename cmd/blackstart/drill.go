package main

import (
	"context"
	"embed"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

//go:embed estate-2024/fleet.yaml estate-2024/scenario.yaml estate-methods/fleet.yaml estate-methods/scenario.yaml
var estate embed.FS

// drillOptions are the drill's flags.
type drillOptions struct {
	fleetFile, scenarioFile, playbooks, playbook string
	keep                                         string
	seed                                         uint64
	speed                                        float64
	people                                       int
	print                                        bool // the story instead of playing it
	methods                                      bool // the estate of methods, three times
}

func newDrill(o *options) *cobra.Command {
	d := &drillOptions{}
	c := &cobra.Command{
		Use: "drill", Short: "Crash a simulated estate and bring it back, on this machine alone", Args: cobra.NoArgs,
		Long: `Drill plays 19 July 2024: 934 servers of three councils, 932 of them crashed, brought back in waves.

The servers are simulated machines in this process, each with a disk folder, a boot loop that the bad file on that disk really causes, a real SSH server and the real agent. Everything else is what "serve" runs: the coordinator, its journal on disk, SSH, gRPC with mutual TLS. The responder and the people who walk to servers are simulated; what they do is said. Boot times, soaks and pauses pass faster by --speed; connections and scripts take the time that they take.

With --methods it plays another estate three times, with the same seed and so with the same machines: 160 servers, 30 % of them stateless, their images in a narrow repository. Once the rule chooses for each stateless server between repair and restore, once all are repaired, and once all stateless ones are restored. It tells which brought the last server back first, and ends with exit code 3 when the mix was slower than either way alone. The repository and its line are simulated; what comes out of it is really written to a machine's disk folder, by the real agent of another machine, which really swaps it in.

With --fleet and --scenario it plays your own estate and your own story. The scripts of playbooks really run, on this computer, with BLACKSTART_ROOT set to a machine's disk folder: give --playbooks only scripts that keep to it.`,
		Example: "  blackstart drill\n  blackstart drill -o json\n  blackstart drill --methods\n  blackstart drill --fleet fleet.yaml --seed 7 --keep drill-7",
		RunE: func(c *cobra.Command, _ []string) error {
			if d.print {
				data, err := estate.ReadFile("estate-2024/scenario.yaml")
				if err == nil {
					_, err = c.OutOrStdout().Write(data)
				}
				return err
			}
			if d.methods && !c.Flags().Changed("speed") {
				d.speed = methodsSpeed
			}
			story, err := d.read()
			if err != nil {
				return err
			}
			if d.methods {
				return story.compare(c, o)
			}
			return story.play(c, o)
		},
	}
	f := c.Flags()
	f.StringVar(&d.fleetFile, "fleet", "", "your fleet file; default the estate of 2024")
	f.StringVar(&d.scenarioFile, "scenario", "", "your scenario file; default the story of 2024, scaled to the fleet")
	f.BoolVar(&d.print, "print-scenario", false, "print the story of 2024, to edit it into one of your own")
	f.BoolVar(&d.methods, "methods", false, "repair, restore and the mix of both, one after the other, on an estate for that")
	f.StringVar(&d.playbooks, "playbooks", "", "a folder of playbooks beside the built-in ones")
	f.StringVar(&d.playbook, "playbook", "", "the playbook; needed only when more than one fits the fleet")
	f.StringVar(&d.keep, "keep", "", "keep disks, journal and report in this new folder")
	f.Uint64Var(&d.seed, "seed", 0, "seed of everything that is left to chance; default the scenario's")
	f.Float64Var(&d.speed, "speed", defaultSpeed, "how much faster boots, soaks and pauses pass")
	f.IntVar(&d.people, "people", 12, "simulated people who can walk to a server")
	return c
}

// defaultSpeed makes the story of 2024 last less than a minute on two cores, which keep up with it.
const defaultSpeed = 600

// story is a drill that can be played.
type story struct {
	*drillOptions
	fleet    recovery.Fleet
	scenario *lab.Scenario
	standard bool // the estate and the story of 2024
	way      way  // of the comparison that this is a part of; empty: none
}

// read loads the fleet and the scenario.
func (d *drillOptions) read() (*story, error) {
	if d.speed < 1 || d.speed > 10_000 {
		return nil, usage("--speed %g: use 1 to 10000", d.speed)
	}
	if d.people < 1 {
		return nil, usage("--people %d: at least one person must be there", d.people)
	}
	s := &story{drillOptions: d, standard: d.fleetFile == "" && d.scenarioFile == "" && !d.methods}
	builtIn := "estate-2024"
	if d.methods {
		builtIn = "estate-methods"
	}
	name, data, err := readOr(d.fleetFile, builtIn+"/fleet.yaml")
	if err != nil {
		return nil, err
	}
	if s.fleet, err = fleet.Parse(name, data); err != nil {
		return nil, usage("%w", err)
	}
	name, data, err = readOr(d.scenarioFile, builtIn+"/scenario.yaml")
	if err != nil {
		return nil, err
	}
	if s.scenario, err = lab.ReadScenario(name, data); err != nil {
		return nil, usage("%w", err)
	}
	if d.scenarioFile == "" && d.fleetFile != "" {
		if err := s.fit(); err != nil {
			return nil, err
		}
	}
	if d.seed == 0 {
		d.seed = s.scenario.Seed
	}
	return s, nil
}

// fit scales the story of 2024 to another fleet: as large a share of its hosts has each trouble.
func (s *story) fit() error {
	hit := 0
	for _, h := range s.fleet.Hosts {
		if h.EDR.Product == s.scenario.Update.EDR {
			hit++
		}
	}
	if hit == 0 {
		return usage("no host of fleet %s runs %s, which the story of 2024 is about: give a story of your own with --scenario (`blackstart drill --print-scenario` prints one to edit)", s.fleet.Name, s.scenario.Update.EDR)
	}
	const servers = 934
	s.scenario.NeverHit.Count = s.scenario.NeverHit.Count * hit / servers
	kept := s.scenario.Faults[:0]
	for _, f := range s.scenario.Faults {
		if f.Count = f.Count * hit / servers; f.Count > 0 {
			kept = append(kept, f)
		}
	}
	s.scenario.Faults = kept
	return nil
}

func readOr(file, embedded string) (string, []byte, error) {
	if file == "" {
		data, err := estate.ReadFile(embedded)
		return filepath.Base(embedded), data, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", nil, usage("%w", err)
	}
	return file, data, nil
}

// play runs the drill from the strike to the account.
func (s *story) play(c *cobra.Command, o *options) error {
	began := time.Now()
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	w, err := s.build(o)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.start(ctx, s); err != nil {
		return err
	}
	t := &teller{cmd: c, quiet: o.json(), world: w}
	t.opening(s)
	crew := &responder{story: s, world: w, teller: t}
	ended := crew.recover(ctx)
	acc, err := w.account(ctx, s, began, ended)
	if err != nil {
		return err
	}
	return t.closing(s, acc)
}
