// Package climb takes the rungs of a ladder that are more than a login: it makes a host ready from outside, lets server/remedy run the
// script, and leaves the host started from its own disk. It decides nothing; every end is a recovery.Result.
//
//	race    the script is delivered in the seconds in which a looping host is up; remedy knows how
//	rescue  power-off, boot-target, power-on, (the rescue system is awaited), inside, own-disk
//	helper  power-off, inside (the disk is attached to another machine), own-disk
//
// A step is recorded before it is taken; when it cannot be, nothing more is done. Whatever fails after the first step, the host is
// brought home: its boot target is cleared and read back, and it is started from its own disk. There are three ends without that: the
// coordinator stops (the same attempt is taken up later), the power control cannot be used at all, or a helper does not give the disk
// back, since two machines that write to one disk destroy it.
//
// An attempt that is taken up again goes on where its last recorded step may have led to: a host that may have been started into the
// rescue system is not switched off for it a second time, and the script is joined by its id.
package climb

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// Switch is a host's power. Both return when the state was read back, and do nothing to a host that has it already. Off is hard. Their
// errors are *power.Error.
type Switch interface {
	On(ctx context.Context) error
	Off(ctx context.Context) error
}

// BootTarget is what a host boots from next: targetRescue or targetDisk. The setters return when it was read back. Errors are *power.Error.
type BootTarget interface {
	BootTarget(ctx context.Context) (string, error)
	BootRescue(ctx context.Context, imageURL string) error // once
	BootDisk(ctx context.Context) error
}

const (
	targetRescue = "rescue"
	targetDisk   = "disk"
)

// Netboot gives hosts their rescue system.
type Netboot interface {
	HostKey(incident, attempt string) string        // of the rescue system's SSH server, as an authorized_keys line
	Awake(incident, attempt string) <-chan struct{} // closed when it has phoned home
	Findings(incident, attempt string) string       // what it said then, a line each; may be empty
}

// Config is what a Climber needs. All but Netboot, Image and Log are required.
type Config struct {
	SSH     *remedy.SSH
	Switch  func(recovery.Control) (Switch, error)
	Boot    func(recovery.Control) (BootTarget, error)
	Netboot Netboot                       // nil: there is no rescue system, and rescue rungs fail
	Image   func(recovery.Control) string // what BootRescue is told to boot; nil: nothing
	Log     hclog.Logger
}

// Climber is safe for concurrent use.
type Climber struct {
	cfg        Config
	stillThere time.Duration // how long a rescue system that runs may take to let us in
}

// New makes a Climber.
func New(cfg Config) *Climber {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Image == nil {
		cfg.Image = func(recovery.Control) string { return "" }
	}
	return &Climber{cfg, 15 * time.Second}
}

// Teller records a step; it returns when that is on disk. An error means that nothing more may be done.
type Teller func(step recovery.Step, note string) error

// Run does a repair on a rung, or a JobUnboot, and returns how it ended. job.Step is the last step that an earlier call for the same id
// had told; with one, the attempt is taken up. If ctx ends, Run returns soon and leaves everything as it is, to be taken up later. It
// takes job.Timeout, and as long as the controls take to bring the host home after that.
func (c *Climber) Run(ctx context.Context, job recovery.Job, scripts remedy.Scripts, told Teller) recovery.Result {
	began := time.Now()
	res := c.run(ctx, &ascent{Climber: c, ctx: ctx, job: job, scripts: scripts, told: told, taken: job.Step})
	res.Took = time.Since(began)
	res.Joined = res.Joined || job.Step != ""
	c.cfg.Log.Debug("climbed", "job", job.ID, "rung", job.Rung.Kind, "class", res.Class, "signature", res.Signature, "took", res.Took)
	return res
}

func (c *Climber) run(ctx context.Context, a *ascent) recovery.Result {
	if a.job.Kind == recovery.JobUnboot {
		return c.unboot(ctx, a.job)
	}
	switch a.job.Rung.Kind {
	case recovery.RungRescue:
		return c.rescue(ctx, a)
	case recovery.RungHelper:
		return c.helper(ctx, a)
	default:
		return c.cfg.SSH.Run(ctx, a.job, a.scripts)
	}
}

// unboot sees to it that a host boots from its own disk.
func (c *Climber) unboot(ctx context.Context, job recovery.Job) recovery.Result {
	control := job.Rung.Boot
	if control == nil {
		return recovery.Result{Class: recovery.Succeeded, BootTarget: recovery.BootTargetDisk, Detail: "The host asks the network at every start, and is told to boot from its own disk."}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout(job))
	defer cancel()
	boot, err := c.cfg.Boot(*control)
	if err == nil {
		var cleared bool
		if cleared, err = clearTarget(ctx, boot); err == nil {
			res := recovery.Result{Class: recovery.Succeeded, BootTarget: recovery.BootTargetDisk, Detail: "It was read back that the host boots from its own disk."}
			if cleared {
				res.Detail = "The host would have booted the rescue system again; this was cleared, and read back."
			}
			return res
		}
	}
	return fault(err)
}

// clearTarget makes a host boot from its own disk. cleared says that it would not have.
func clearTarget(ctx context.Context, boot BootTarget) (cleared bool, err error) {
	target, err := boot.BootTarget(ctx)
	if err == nil && target == targetDisk {
		return false, nil
	}
	unknown := err != nil // what cannot be read can perhaps be set
	if err := boot.BootDisk(ctx); err != nil {
		return false, err
	}
	return !unknown, nil
}

// timeout is how long a job may take.
func timeout(job recovery.Job) time.Duration {
	if job.Timeout > 0 {
		return job.Timeout
	}
	return defaultTimeout
}

// defaultTimeout is that of a job that names none.
const defaultTimeout = time.Hour
