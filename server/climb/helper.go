package climb

import (
	"context"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// helper is an attempt that works on the host's disk from another machine, which may serve many hosts at once.
type helper struct {
	*ascent
	secret string // opens the encrypted volume; empty: none is known
	kept   bool   // the helper has not given the disk back
}

func (c *Climber) helper(ctx context.Context, a *ascent) recovery.Result {
	if a.job.Host.Power != nil {
		if res := a.openPower(); res != nil {
			return *res
		}
	}
	within, cancel := context.WithTimeout(ctx, timeout(a.job))
	defer cancel()
	h := &helper{ascent: a}
	switch res := h.ready(within); {
	case a.job.Step == recovery.StepOwnDisk: // the disk had been given back
		return h.start(recovery.Result{Class: recovery.Lost, Signature: "result not collected",
			Detail: "The disk had been given back to the host before the script's result was on record; proof decides."})
	case res != nil && a.taken.Reached(recovery.StepInside):
		return h.start(h.giveBack(*res))
	case res != nil:
		return h.start(*res)
	}
	return h.start(h.giveBack(h.work(within)))
}

// ready switches the host off, so that the helper alone uses its disk, and enters. The helper is asked first: for nothing no host is
// switched off.
func (h *helper) ready(within context.Context) (res *recovery.Result) {
	if h.job.Step == recovery.StepOwnDisk {
		return nil
	}
	if h.secret, res = h.unlock(); res != nil {
		return res
	}
	if h.taken == "" {
		if _, end := h.cfg.SSH.Exec(within, h.onRung(""), remedy.Command{Line: ":"}); end != nil {
			return end
		}
	}
	if h.power != nil {
		if res := h.off(within); res != nil {
			return res
		}
	}
	return h.step(recovery.StepInside, "its disk is attached to "+h.job.Rung.Address)
}

// onRung is the attempt as a job on the helper.
func (h *helper) onRung(root string) recovery.Job { return h.inside(root, h.job.Rung.HostKeys) }

// about is what the rung's commands are told of the host.
func (h *helper) about() map[string]string {
	return map[string]string{"BLACKSTART_HOST": h.job.Host.Name, "BLACKSTART_ATTEMPT": h.job.ID}
}

// work attaches the disk and runs the script on it.
func (h *helper) work(within context.Context) recovery.Result {
	said, end := h.command(within, h.onRung(""), remedy.Command{Line: h.job.Rung.Attach, Env: h.about(), Input: h.secret, Limit: waits(h.job.Rung)})
	if end != nil {
		return *end
	}
	last, root := recovery.Clean(said.Last, 200), said.Line()
	switch {
	case said.Exit != 0:
		return failure("attach failed: "+remedy.Neutral(h.job, last), "The helper could not attach the host's disk, its last words being “"+last+"”.")
	case !usable(root):
		return failure("attach named no folder", "The last line of the rung's attach command is no folder but “"+recovery.Clean(root, 100)+"”; let it print the folder of the disk's root last.")
	}
	return h.script(within, h.onRung(root))
}

// giveBack lets the helper detach the disk, whatever came of it.
func (h *helper) giveBack(res recovery.Result) recovery.Result {
	if h.halted || h.job.Rung.Detach == "" {
		return res
	}
	ctx, cancel := context.WithTimeout(h.ctx, waits(h.job.Rung))
	defer cancel()
	said, end := h.command(ctx, h.onRung(""), remedy.Command{Line: h.job.Rung.Detach, Env: h.about(), Limit: waits(h.job.Rung)})
	if h.halted {
		return *end
	}
	if end == nil && said.Exit == 0 {
		return res
	}
	h.kept = true
	why := "its last words were “" + recovery.Clean(said.Last, 200) + "”."
	if end != nil {
		why = end.Detail
	}
	lost := failure("disk not given back", "The helper did not detach the host's disk, so the host is left switched off, for two machines that write to one disk destroy it; detach it by hand and start the host: "+why)
	add(&lost, "Before that the script came to "+string(res.Class)+".")
	lost.Exit, lost.Line, lost.Output, lost.Boot = res.Exit, res.Line, res.Output, res.Boot
	return lost
}

// start starts the host from its own disk.
func (h *helper) start(res recovery.Result) recovery.Result {
	if h.halted || h.left || h.kept || h.power == nil || h.taken == "" {
		return res
	}
	ctx, cancel := context.WithTimeout(h.ctx, acts(h.job.Host.Power))
	defer cancel()
	if stopped := h.step(recovery.StepOwnDisk, homeNote(res)); stopped != nil {
		return *stopped
	}
	err := h.power.On(ctx)
	switch {
	case h.ctx.Err() != nil:
		return *h.halt("")
	case err != nil:
		add(&res, "The host could not be started from its own disk: "+fault(err).Detail)
	default:
		res.Rebooted = true
	}
	return res
}
