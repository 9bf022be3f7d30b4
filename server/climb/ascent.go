package climb

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// ascent is one attempt on its way up and home.
type ascent struct {
	*Climber
	ctx     context.Context // ends when somebody stops us
	job     recovery.Job
	scripts remedy.Scripts
	told    Teller

	taken  recovery.Step // the last step that was recorded, by us or by whoever began the attempt
	halted bool          // we were stopped: nothing more may be done
	left   bool          // the power control was silent, or refused us, before it had done anything: it is not asked again
	power  Switch        // nil: the host has none, or it cannot be used
}

// step records the next step; one that was recorded before is taken again. It returns nil when the step may be taken.
func (a *ascent) step(step recovery.Step, note string) *recovery.Result {
	if a.taken.Reached(step) {
		return nil
	}
	if a.ctx.Err() != nil {
		return a.halt("")
	}
	if err := a.told(step, note); err != nil {
		return a.halt(" (" + recovery.Clean(err.Error(), 200) + ")")
	}
	a.taken = step
	return nil
}

// halt is the end of an attempt that was stopped: nothing more is done.
func (a *ascent) halt(why string) *recovery.Result {
	a.halted = true
	if a.taken == "" {
		return &recovery.Result{Class: recovery.Cancelled, Signature: "cancelled", Detail: "The attempt was stopped before anything was done to the host" + why + "."}
	}
	return &recovery.Result{Class: recovery.Lost, Signature: "cancelled in mid-run",
		Detail: "The attempt was stopped after its step " + string(a.taken) + why + "; the same id takes it up from there."}
}

// failed is the result for an error of a control. within is the context that the control had.
func (a *ascent) failed(within context.Context, err error) *recovery.Result {
	switch {
	case a.ctx.Err() != nil:
		return a.halt("")
	case within.Err() != nil:
		return outOfTime(a.taken)
	}
	res := fault(err)
	return &res
}

func outOfTime(step recovery.Step) *recovery.Result {
	return &recovery.Result{Class: recovery.TimedOut, Signature: "no end in time", Detail: "The attempt's time was over in its step " + string(step) + "; give the playbook or the rung more time."}
}

// fault is the result for an error of a control, in its own class.
func fault(err error) recovery.Result {
	var e *power.Error
	if !errors.As(err, &e) {
		return failure("control failed", "The host's control cannot be used: "+recovery.Clean(err.Error(), 300)+".")
	}
	return recovery.Result{Class: cmp.Or(e.Class, recovery.Failed), Signature: cmp.Or(e.Signature, "control failed"), Detail: e.Error()}
}

func failure(signature, detail string) recovery.Result {
	return recovery.Result{Class: recovery.Failed, Signature: signature, Detail: detail}
}

// add puts a sentence more into a result.
func add(res *recovery.Result, sentence string) {
	res.Detail = strings.TrimSpace(res.Detail + " " + sentence)
}

// inside is the attempt as a job for SSH, where the host's disk is at root. It never restarts what it runs in.
func (a *ascent) inside(root string, hostKeys []string) recovery.Job {
	job := a.job
	job.Kind, job.Reboot = recovery.JobRepair, false
	job.Rung.Kind, job.Rung.Environment, job.Rung.Root, job.Rung.HostKeys = recovery.RungSSH, recovery.EnvRescueLinux, root, hostKeys
	return job
}

// script runs the playbook's script, or joins it.
func (a *ascent) script(within context.Context, job recovery.Job) recovery.Result {
	deadline, _ := within.Deadline()
	if job.Timeout = time.Until(deadline); job.Timeout <= 0 {
		return *outOfTime(a.taken)
	}
	res := a.cfg.SSH.Run(a.ctx, job, a.scripts)
	if a.ctx.Err() != nil { // whatever it is, the same id learns it again
		return *a.halt("")
	}
	return res
}

// The bounds on a command that is given again because its connection was lost.
const (
	commandTries = 3
	commandPause = time.Minute // for the other side to let us in again
)

// command runs a command that may be given again, as often as its connection is lost in vain.
func (a *ascent) command(within context.Context, job recovery.Job, c remedy.Command) (said remedy.Said, end *recovery.Result) {
	for try := 1; ; try++ {
		said, end = a.cfg.SSH.Exec(within, job, c)
		switch {
		case end == nil:
			return said, nil
		case a.ctx.Err() != nil:
			return said, a.halt("")
		case within.Err() != nil:
			return said, outOfTime(a.taken)
		case end.Class != recovery.Unreachable || try == commandTries:
			return said, end
		}
		again, cancel := context.WithTimeout(within, commandPause)
		back := a.cfg.SSH.Await(again, job, nil)
		cancel()
		if back.Class != recovery.Succeeded && a.ctx.Err() == nil {
			return said, end
		}
	}
}

// waits is how long the rung's own waiting may take.
func waits(r recovery.Rung) time.Duration { return cmp.Or(r.Within, recovery.DefaultWithin) }

// acts is how long one action of a control may take.
func acts(c *recovery.Control) time.Duration {
	if c == nil {
		return 0
	}
	return cmp.Or(c.Timeout, recovery.DefaultControlTimeout) + 5*time.Second
}

// off takes the step of switching the host off. A control that is silent, or refuses us, will not switch it on again either.
func (a *ascent) off(within context.Context) *recovery.Result {
	if res := a.step(recovery.StepPowerOff, "by "+a.job.Host.Power.Name); res != nil {
		return res
	}
	err := a.power.Off(within)
	if err == nil {
		return nil
	}
	res := a.failed(within, err)
	switch {
	case a.halted || a.job.Step.Reached(recovery.StepPowerOn):
	case res.Class == recovery.Unreachable:
		a.left = true
		res.Signature = "power control silent"
	case res.Class == recovery.AuthRefused, neverRan(res.Signature):
		a.left = true
	}
	return res
}

// neverRan reports whether a control has not even been asked: what it needs is not there.
func neverRan(signature string) bool {
	return slices.ContainsFunc([]string{"secret missing", "program missing", "program does not start", "wrong options", "wrong redfish options", "password not readable"},
		func(end string) bool { return strings.HasSuffix(signature, end) })
}

// openPower opens the host's power control.
func (a *ascent) openPower() *recovery.Result {
	power, err := a.cfg.Switch(*a.job.Host.Power)
	if err != nil {
		res := fault(err)
		return &res
	}
	a.power = power
	return nil
}

// unlock reads the secret that opens the host's encrypted volume, if it has one.
func (a *ascent) unlock() (string, *recovery.Result) {
	ref := a.job.Rung.Unlock
	if ref == "" {
		return "", nil
	}
	secret, err := power.ReadSecret(ref)
	if err == nil && strings.ContainsAny(secret, "\r\n\x00") {
		err = errors.New("it has more than one line; put the passphrase or recovery password alone there")
	}
	if err != nil {
		res := failure("unlock secret not readable", "What opens the host's encrypted volume cannot be read: "+recovery.Clean(err.Error(), 300)+".")
		return "", &res
	}
	return secret, nil
}
