package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/adhoc"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// RunConfig is what a run without an incident needs.
type RunConfig struct {
	Dir      string                // the run's own: its journal and the kept output of its attempts
	Run      *recovery.RunDeclared // a new run; nil: take up the one that Dir holds
	SSH      remedy.Config         // its OutputDir, Sessions and Log are set here
	Actor    string                // who runs it: "operator:NAME"
	Log      hclog.Logger
	Declared func(*recovery.AdHoc)    // told once the run is on disk and nothing is sent yet; may be nil
	Progress func(recovery.RunCounts) // told after each write; it must be quick, and may be nil
}

// ErrNoRun says that a folder holds no run.
var ErrNoRun = errors.New("there is no run")

// ErrRunStopped says that a run was stopped with hosts left that have no result; RunPlaybook takes it up again.
var ErrRunStopped = adhoc.ErrStopped

// RunPlaybook runs one playbook on some hosts until each has its result, and returns how the run stands. When ctx ends it starts
// nothing more, waits for what is under way and returns ErrRunStopped with the state. What it was doing when it was killed
// it joins when it is called again for the same folder; a script never runs twice.
func RunPlaybook(ctx context.Context, cfg RunConfig) (*recovery.AdHoc, error) {
	log, r, err := openRun(cfg)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	d := cfg.Run
	if d == nil {
		d = &r.State().Declared
		if !r.State().Ended.IsZero() {
			return r.State(), nil
		}
	}
	made, err := newAttempts(cfg, d)
	if err != nil {
		return nil, err
	}
	defer made.ssh.Close()
	if cfg.Run != nil {
		if err := r.Declare(d); err != nil {
			return nil, err
		}
	}
	if cfg.Declared != nil {
		cfg.Declared(r.State())
	}
	err = r.Go(ctx, made)
	return r.State(), err
}

// openRun opens the journal of a run: a new one, or one that holds a run.
func openRun(cfg RunConfig) (*journal.Journal, *adhoc.Run, error) {
	file := filepath.Join(cfg.Dir, JournalFile)
	if cfg.Run != nil {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, nil, fmt.Errorf("the run's folder: %w", err)
		}
	} else if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w in %s: name the folder that the run said", ErrNoRun, cfg.Dir)
	}
	log, err := journal.Open(file)
	if err != nil {
		return nil, nil, err
	}
	r, err := adhoc.New(adhoc.Config{Journal: log, Actor: cfg.Actor, Log: cfg.Log.Named("run"), Progress: cfg.Progress})
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", file, err)
	case cfg.Run == nil && r.State().ID == "":
		err = fmt.Errorf("%w in %s: it ended before it had begun, so begin it anew", ErrNoRun, cfg.Dir)
	}
	if err != nil {
		_ = log.Close()
		return nil, nil, err
	}
	return log, r, nil
}

// attempts gives the SSH remedy the scripts that the run's journal holds.
type attempts struct {
	ssh     *remedy.SSH
	scripts map[string]remedy.Scripts // by environment
}

func newAttempts(cfg RunConfig, d *recovery.RunDeclared) (*attempts, error) {
	cfg.SSH.Log, cfg.SSH.OutputDir = cfg.Log.Named("ssh"), filepath.Join(cfg.Dir, "output")
	for _, r := range d.Fleet.Resources {
		if r.Name == recovery.ResourceSSH {
			cfg.SSH.Sessions = r.Slots
		}
	}
	a := &attempts{scripts: map[string]remedy.Scripts{}}
	for _, s := range d.Scripts {
		a.scripts[s.Environment] = remedy.Scripts{Repair: []byte(s.Text), Limit: d.Playbook.Timeout}
	}
	var err error
	a.ssh, err = remedy.New(cfg.SSH)
	return a, err
}

// Run implements adhoc.Remedy.
func (a *attempts) Run(ctx context.Context, job recovery.Job) recovery.Result {
	return a.ssh.Run(ctx, job, a.scripts[job.Rung.Environment])
}
