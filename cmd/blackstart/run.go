package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// runOptions are the flags of a run.
type runOptions struct {
	*options
	fleetFile, hosts, rung   string
	playbook, library        string // name or folder; folder of playbooks
	script                   string
	reboot, dryRun, showText bool
	forks                    int
	timeout                  time.Duration
	resume                   string
	ssh                      remedy.Config
}

func newRun(o *options) *cobra.Command {
	r := &runOptions{options: o}
	c := &cobra.Command{
		Use: "run --hosts PATTERN --playbook NAME|FOLDER|--script FILE --fleet FILE", Short: "Run one playbook or script on some hosts, without an incident", Args: cobra.NoArgs,
		Long: `Run logs in to the chosen hosts, over the first usable rung of each one's ladder, and runs a playbook's script there, or with --script a shell script of your own: each host once, within the fleet file's limits (slots of ssh, sites and other resources, groups), detached on the host, its output and exit kept.

--hosts chooses by name, with * and ? and [01-24], or by tier=, service=, site=, council=, group= or os=; items stand with commas between, and an item that begins with ! takes hosts out. All hosts are meant only by the word all.

Exit 0 of a script is a claim, and a run proves nothing: no proof is awaited, no order kept, no second try made. What proves hosts, in waves, is an incident; a run knows nothing of one that is open, so leave out the hosts that it is working on. Nothing is restarted without --reboot, even where the playbook wants it.

Ctrl-C starts nothing more and waits for what is under way; a second one leaves at once. Scripts on hosts go on either way, and --resume takes the run up: it joins them and runs none twice. Each run has a folder of its own below --dir, with its journal and the output of each host, which --resume and blackstart journal --journal read.

Exit codes: 0 every chosen host succeeded; 1 some did not, or the run was stopped; 2 usage; 4 some could not take part, the others succeeded.`,
		Example: `  blackstart run --hosts 'web*,!web07' --script uptime.sh --fleet fleet.yaml --ssh-key ~/.ssh/id_ed25519 --show-output
  blackstart run --hosts tier=infrastructure --playbook edr-content-linux --fleet fleet.yaml --dry-run
  blackstart run --hosts all --playbook ./our-fix --fleet fleet.yaml --ssh-key id --forks 64 -o json > run.json
  blackstart run --resume blackstart-data/runs/RUN-20260115T113500Z-k3v9qa --ssh-key id`,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.resume != "" {
				return r.takeUp(c)
			}
			d, err := r.declare(c)
			if err != nil {
				return err
			}
			if r.dryRun {
				return r.foretell(c, d)
			}
			return r.begin(c, d)
		},
	}
	f := c.Flags()
	f.StringVar(&r.hosts, "hosts", "", "the hosts: a `pattern`, or all")
	f.StringVar(&r.playbook, "playbook", "", "the playbook's `name`, or its folder")
	f.StringVar(&r.library, "playbooks", "", "a `folder` of playbooks beside the built-in ones")
	f.StringVar(&r.script, "script", "", "a shell script `file` to run in place of a playbook; its exit 0 is its success")
	f.StringVar(&r.fleetFile, "fleet", "", "the fleet `file`")
	f.StringVar(&r.rung, "rung", "", "the `name` of the rung to use on every host; default each one's first usable")
	f.BoolVar(&r.reboot, "reboot", false, "restart each host after its script has succeeded")
	f.IntVar(&r.forks, "forks", 0, "hosts at once; default the slots of ssh in the fleet file")
	f.DurationVar(&r.timeout, "timeout", 0, "how long the script may run on a host; default the playbook's, 5m for a script")
	f.BoolVar(&r.dryRun, "dry-run", false, "say which hosts would take part on which rung, and why others not; touch nothing")
	f.BoolVar(&r.showText, "show-output", false, "show what the hosts printed, the same output once")
	f.StringVar(&r.resume, "resume", "", "take up the run in this `folder`")
	sshFlags(c, &r.ssh)
	return c
}

// The bounds of a script of one's own.
const (
	mostScript    = 1 << 20
	scriptTimeout = 5 * time.Minute
	mostForks     = 4096
)

// declare reads everything that the run needs and chooses rungs; nothing is written.
func (r *runOptions) declare(c *cobra.Command) (*recovery.RunDeclared, error) {
	switch {
	case (r.playbook == "") == (r.script == ""):
		return nil, usage("run needs one of --playbook NAME|FOLDER and --script FILE: see `%s --help`", c.CommandPath())
	case r.forks < 0 || r.forks > mostForks:
		return nil, usage("--forks %d: use 1 to %d", r.forks, mostForks)
	case r.timeout < 0 || r.timeout > 0 && r.timeout < time.Second:
		return nil, usage("--timeout %s: use a second or more", r.timeout)
	}
	if err := needed(c, r.hosts, "hosts", "PATTERN (or all)"); err != nil {
		return nil, err
	}
	if err := needed(c, r.fleetFile, "fleet", "FILE"); err != nil {
		return nil, err
	}
	q := recovery.RunRequest{Run: runName(time.Now()), Reboot: r.reboot, Rung: r.rung, AtOnce: r.forks}
	if err := r.what(&q); err != nil {
		return nil, err
	}
	if r.timeout > 0 {
		q.Playbook.Timeout = r.timeout
	}
	f, err := r.loadFleet(c, r.fleetFile)
	if err != nil {
		return nil, err
	}
	if f.Hosts, err = chosen(f, r.hosts); err != nil {
		return nil, usage("--hosts: %w", err)
	}
	q.Fleet = f
	return recovery.NewRun(q)
}

// chosen are the hosts that a pattern means. All of them are meant only by the word.
func chosen(f recovery.Fleet, pattern string) ([]recovery.Host, error) {
	for item := range strings.SplitSeq(pattern, ",") {
		if item = strings.TrimSpace(item); item != "" && item[0] != '!' {
			return fleet.Select(f, pattern)
		}
	}
	return nil, fmt.Errorf("%q names no host to begin with: write 'all,%s' if that is meant", pattern, pattern)
}

// what fills in the playbook, or makes one of a script.
func (r *runOptions) what(q *recovery.RunRequest) error {
	if r.script != "" {
		return r.ownScript(q)
	}
	book, err := r.findPlaybook()
	if err != nil {
		return err
	}
	q.Playbook = book.Facts
	for _, env := range book.Facts.Environments {
		text, _ := book.Script(env)
		q.Scripts = append(q.Scripts, recovery.RunScript{Environment: env, Text: string(text)})
	}
	return nil
}

func (r *runOptions) findPlaybook() (*playbook.Playbook, error) {
	if strings.ContainsRune(r.playbook, filepath.Separator) || r.playbook == "." || r.playbook == ".." {
		book, err := playbook.LoadOne(r.playbook)
		if err != nil {
			return nil, usage("%w", err)
		}
		return book, nil
	}
	lib, err := loadPlaybooks(r.library)
	if err != nil {
		return nil, err
	}
	book, ok := lib.ByName(r.playbook)
	if !ok {
		return nil, usage("there is no playbook %q: see `blackstart playbook list`, or give its folder, as in ./%s", r.playbook, r.playbook)
	}
	return book, nil
}

// ownScript makes a playbook of a script. It runs in the host's own system, and in a rescue system only on a rung that is named.
func (r *runOptions) ownScript(q *recovery.RunRequest) error {
	file, err := os.Open(r.script)
	if err != nil {
		return usage("--script: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, mostScript+1))
	switch {
	case err != nil:
		return usage("--script: %w", err)
	case len(text) > mostScript:
		return usage("--script %s: it is larger than %d KiB; put what is large elsewhere and let the script fetch it", r.script, mostScript>>10)
	case len(bytes.TrimSpace(text)) == 0:
		return usage("--script %s: it is empty", r.script)
	case bytes.IndexByte(text, 0) >= 0:
		return usage("--script %s: it is not text; name a script for sh", r.script)
	case bytes.Contains(text, []byte("\r\n")):
		return usage("--script %s: it has Windows line ends, on which a shell stumbles; save it with line feeds only", r.script)
	}
	if by, other := otherInterpreter(text); other {
		return usage("--script %s: its first line asks for %s, and a run gives every script to sh; wrap it in a script for sh", r.script, by)
	}
	sum := sha256.Sum256(text)
	q.Plain = true
	q.Playbook = recovery.Playbook{Name: recovery.Clean(filepath.Base(r.script), 100), Digest: "sha256:" + hex.EncodeToString(sum[:]),
		Reboot: recovery.RebootHelps, Timeout: scriptTimeout, Environments: []string{recovery.EnvLinux}}
	if r.rung != "" {
		q.Playbook.Environments = append(q.Playbook.Environments, recovery.EnvRescueLinux)
	}
	for _, env := range q.Playbook.Environments {
		q.Scripts = append(q.Scripts, recovery.RunScript{Environment: env, Text: string(text)})
	}
	return nil
}

// otherInterpreter reads a script's first line: it is told when that names something that is no shell.
func otherInterpreter(text []byte) (name string, other bool) {
	line, found := bytes.CutPrefix(text, []byte("#!"))
	if !found {
		return "", false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	words := strings.Fields(string(line))
	for len(words) > 1 && (filepath.Base(words[0]) == "env" || strings.HasPrefix(words[0], "-")) {
		words = words[1:]
	}
	if len(words) == 0 {
		return "", false
	}
	name = recovery.Clean(filepath.Base(words[0]), 40)
	return name, !strings.HasSuffix(name, "sh") && name != "busybox"
}

// runName names a run so that no other has its name: attempts on hosts are told apart by it.
func runName(now time.Time) string {
	return "RUN-" + now.UTC().Format("20060102T150405Z") + "-" + strings.ToLower(rand.Text()[:6])
}

// begin makes the run's folder and runs.
func (r *runOptions) begin(c *cobra.Command, d *recovery.RunDeclared) error {
	if len(d.Fleet.Hosts) == 0 {
		return noneCan(d)
	}
	if err := completeSSH(c, &r.ssh); err != nil {
		return err
	}
	dir := r.path("runs", d.Run)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	declared := false
	err := r.follow(c, server.RunConfig{Dir: dir, Run: d, Declared: func(*recovery.AdHoc) { declared = true }})
	if !declared {
		_ = os.RemoveAll(dir) // nothing is in it
	}
	return err
}

// noneCan is the end of a run that no host can take part in.
func noneCan(d *recovery.RunDeclared) error {
	why := map[string][]string{}
	for _, h := range d.Hosts {
		why[h.Refused] = append(why[h.Refused], h.Host)
	}
	first := d.Hosts[0].Refused
	text := fmt.Sprintf("none of %s can take part, and nothing was sent: %s: %s", plural(len(d.Hosts), "chosen host"), few(why[first]), first)
	if len(why) > 1 {
		text += "; `--dry-run` says why for each"
	}
	return &outcome{exitRefused, text}
}

// takeUp goes on with a run.
func (r *runOptions) takeUp(c *cobra.Command) error {
	var other []string
	own := map[string]bool{"resume": true, "show-output": true}
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && !own[f.Name] && !isSSHFlag(f.Name) {
			other = append(other, "--"+f.Name)
		}
	})
	if len(other) > 0 {
		return usage("--resume takes up a run as it was begun: leave out %s", strings.Join(other, ", "))
	}
	if err := completeSSH(c, &r.ssh); err != nil {
		return err
	}
	return r.follow(c, server.RunConfig{Dir: filepath.Clean(r.resume)})
}

func isSSHFlag(name string) bool { return name == "known-hosts" || strings.HasPrefix(name, "ssh-") }

// follow runs, tells how it goes, and gives the account.
func (r *runOptions) follow(c *cobra.Command, cfg server.RunConfig) error {
	t := &runTeller{c: c, quiet: r.json(), resume: r.resumeLine(c, cfg.Dir)}
	cfg.SSH, cfg.Actor, cfg.Log, cfg.Progress = r.ssh, "operator:"+r.operator, r.logger(), t.progress
	told := cfg.Declared
	cfg.Declared = func(s *recovery.AdHoc) {
		if told != nil {
			told(s)
		}
		raiseFileLimit(cfg.Log, min(len(s.Hosts), slotsOf(s, recovery.ResourceSSH)))
		t.begin(s)
	}
	defer context.AfterFunc(c.Context(), t.stopping)()
	state, err := server.RunPlaybook(c.Context(), cfg)
	t.end()
	switch {
	case errors.Is(err, server.ErrNoRun):
		return usage("%w", err)
	case err != nil && !errors.Is(err, server.ErrRunStopped):
		if state != nil {
			err = fmt.Errorf("%w; take it up with: %s", err, t.resume)
		}
		return err
	}
	a := accountOf(state, cfg.Dir)
	if r.showText {
		a.readOutputs()
	}
	if r.json() {
		if err := printJSON(c, a); err != nil {
			return err
		}
	} else {
		a.print(c)
	}
	return a.verdict(t.resume)
}

func slotsOf(s *recovery.AdHoc, resource string) int {
	for _, res := range s.Declared.Fleet.Resources {
		if res.Name == resource {
			return res.Slots
		}
	}
	return 0
}

// resumeLine is how the caller takes the run up.
func (r *runOptions) resumeLine(c *cobra.Command, dir string) string {
	line := again(c) + " run --resume " + quoted(dir)
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed || !isSSHFlag(f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			line += " --" + f.Name + " " + quoted(v)
		}
	})
	return line
}

// foretold is what a dry run says of a host.
type foretold struct {
	Host        string `json:"host"`
	Rung        string `json:"rung,omitempty"`
	Environment string `json:"environment,omitempty"`
	Address     string `json:"address,omitempty"`
	Refused     string `json:"refused,omitempty"`
}

// foretell says who would take part, and touches nothing.
func (r *runOptions) foretell(c *cobra.Command, d *recovery.RunDeclared) error {
	ladders := make(map[string][]recovery.Rung, len(d.Fleet.Hosts))
	for _, h := range d.Fleet.Hosts {
		ladders[h.Name] = h.Ladder
	}
	list := make([]foretold, 0, len(d.Hosts))
	var rows, refused []table.Row
	for _, h := range d.Hosts {
		f := foretold{Host: h.Host, Rung: h.RungName, Refused: h.Refused}
		if h.Refused != "" {
			refused = append(refused, table.Row{h.Host, "-", "-", "-", "no: " + h.Refused})
		} else {
			rung := ladders[h.Host][h.Rung]
			f.Environment, f.Address = rung.Environment, rung.Address
			rows = append(rows, table.Row{h.Host, h.RungName, rung.Environment, rung.Address, "would run"})
		}
		list = append(list, f)
	}
	if r.json() {
		err := printJSON(c, map[string]any{"playbook": d.Playbook.Name, "digest": d.Playbook.Digest, "reboot": d.Reboot, "hosts": list,
			"totals": map[string]int{"chosen": len(list), "would_run": len(rows), "refused": len(refused)}})
		if err != nil {
			return err
		}
	} else {
		printTable(c, table.Row{"HOST", "RUNG", "ENVIRONMENT", "ADDRESS", "WOULD IT RUN"}, append(rows, refused...))
		say(c, "\n%d of %s would run %s (%s); nothing was touched", len(rows), plural(len(list), "chosen host"), d.Playbook.Name, short(d.Playbook.Digest))
		say(c, "%s", restartNote(d))
	}
	if len(refused) > 0 {
		return &outcome{exitRefused, fmt.Sprintf("%d of %s cannot take part", len(refused), plural(len(list), "chosen host"))}
	}
	return nil
}

// restartNote says what becomes of restarts.
func restartNote(d *recovery.RunDeclared) string {
	switch {
	case d.Reboot:
		return "each host is restarted after its script has succeeded"
	case d.Playbook.Reboot == recovery.RebootRequired:
		return "playbook " + d.Playbook.Name + " requires a restart, and nothing is restarted without --reboot"
	}
	return "nothing is restarted"
}
