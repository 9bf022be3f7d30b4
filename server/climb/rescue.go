package climb

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// rescue is an attempt that boots the host into the rescue system.
type rescue struct {
	*ascent
	boot   BootTarget // nil: the host asks the network at every start
	key    []string   // the rescue system's host key
	secret string     // opens the encrypted volume; empty: none is known
	gone   bool       // the host has left the rescue system by itself
}

func (c *Climber) rescue(ctx context.Context, a *ascent) recovery.Result {
	r := &rescue{ascent: a}
	if res := r.prepare(); res != nil {
		return r.home(*res)
	}
	within, cancel := context.WithTimeout(ctx, timeout(a.job))
	defer cancel()
	if a.job.Step == recovery.StepOwnDisk {
		return r.home(r.collect(within))
	}
	return r.home(r.climb(within))
}

// prepare opens what acts on the host, and looks for everything that can be missing before anything is done.
func (r *rescue) prepare() *recovery.Result {
	rung := r.job.Rung
	missing := func(signature, detail string) *recovery.Result {
		res := failure(signature, detail)
		return &res
	}
	if r.job.Host.Power == nil {
		return missing("no power control", "Nothing switches the host on and off: name its power control in the fleet file.")
	}
	if res := r.openPower(); res != nil {
		return res
	}
	if rung.Boot != nil {
		boot, err := r.cfg.Boot(*rung.Boot)
		if err != nil {
			res := fault(err)
			return &res
		}
		r.boot = boot
	}
	switch {
	case r.cfg.Netboot == nil:
		return missing("no rescue system", "The coordinator serves no rescue system: start it with --boot-listen, --boot-url and --rescue-image.")
	case net.ParseIP(rung.Address) == nil:
		return missing("bad address", fmt.Sprintf("The rung's address %q is no IP address; correct it in the fleet file.", recovery.Clean(rung.Address, 80)))
	}
	r.key = []string{r.cfg.Netboot.HostKey(r.job.Incident, r.job.ID)}
	var res *recovery.Result
	r.secret, res = r.unlock()
	return res
}

// climb boots the host into the rescue system and runs the script there.
func (r *rescue) climb(within context.Context) recovery.Result {
	var res *recovery.Result
	if !r.job.Step.Reached(recovery.StepPowerOn) {
		res = r.intoRescue(within)
	} else if err := r.power.On(within); err != nil { // it was, or was about to be; it is not switched off for this again
		res = r.failed(within, err)
	}
	if res == nil {
		res = r.await(within)
	}
	if res == nil {
		res = r.step(recovery.StepInside, "the rescue system answers with the host key that it was given"+r.volumes())
	}
	if res != nil {
		return *res
	}
	return r.work(within)
}

// intoRescue takes the steps up to the start of the rescue system.
func (r *rescue) intoRescue(within context.Context) *recovery.Result {
	if res := r.off(within); res != nil {
		return res
	}
	if r.boot != nil {
		if res := r.step(recovery.StepBootTarget, "by "+r.job.Rung.Boot.Name+", for one start"); res != nil {
			return res
		}
		if err := r.boot.BootRescue(within, r.cfg.Image(*r.job.Rung.Boot)); err != nil {
			return r.failed(within, err)
		}
	}
	if res := r.step(recovery.StepPowerOn, "by "+r.job.Host.Power.Name); res != nil {
		return res
	}
	if err := r.power.On(within); err != nil {
		return r.failed(within, err)
	}
	return nil
}

// there is the attempt as a job in the rescue system, whose only user is root.
func (r *rescue) there(root string) recovery.Job {
	job := r.inside(root, r.key)
	job.Rung.User = cmp.Or(job.Rung.User, "root")
	return job
}

// await waits until the rescue system lets us in.
func (r *rescue) await(within context.Context) *recovery.Result {
	ctx, cancel := context.WithTimeout(within, waits(r.job.Rung))
	defer cancel()
	awake := r.cfg.Netboot.Awake(r.job.Incident, r.job.ID)
	met := r.cfg.SSH.Await(ctx, r.there(""), awake)
	switch {
	case met.Class == recovery.Succeeded:
		return nil
	case r.ctx.Err() != nil:
		return r.halt("")
	case met.Class == recovery.AuthRefused:
		met.Signature = "rescue system: " + met.Signature
		met.Detail = "The rescue system runs, but does not let us in; build the image anew with the key or CA that the coordinator uses. " + met.Detail
		return &met
	case met.Class == recovery.Failed: // the rung cannot be used
		return &met
	case within.Err() != nil:
		return outOfTime(r.taken)
	}
	span := waits(r.job.Rung).Round(time.Second)
	select {
	case <-awake:
		return &recovery.Result{Class: recovery.Unreachable, Signature: "rescue system without SSH",
			Detail: fmt.Sprintf("The rescue system has phoned home, but %s could not be reached over SSH within %s; check the address that DHCP gives the host, and the firewall between. %s", r.job.Rung.Address, span, met.Detail)}
	default:
	}
	if met.Class == recovery.HostKeyMismatch {
		return &recovery.Result{Class: recovery.Unreachable, Signature: "another system instead of rescue",
			Detail: fmt.Sprintf("The host was started for the rescue system, but within %s only another system answered at its address; check its boot order and its network boot.", span)}
	}
	return &recovery.Result{Class: recovery.Unreachable, Signature: "rescue system does not answer",
		Detail: fmt.Sprintf("The host was started for the rescue system, which did not answer within %s; look at its console, its boot order and its network boot. %s", span, met.Detail)}
}

// volumes says what the rescue system has found on the host's disks, where it has phoned home.
func (r *rescue) volumes() string {
	var found []string
	for line := range strings.Lines(r.cfg.Netboot.Findings(r.job.Incident, r.job.ID)) {
		if what, ok := strings.CutPrefix(recovery.Clean(line, 100), "volume "); ok {
			found = append(found, what)
		}
	}
	if found == nil {
		return ""
	}
	return "; it finds " + strings.Join(found, ", ")
}

// work opens the disk, runs the script and gives the disk back.
func (r *rescue) work(within context.Context) recovery.Result {
	root, res := r.open(within)
	if res != nil {
		return *res
	}
	done := r.script(within, r.there(root))
	if r.halted {
		return done
	}
	if done.Class == recovery.HostKeyMismatch { // in mid-work another system: the host has restarted by itself
		done = recovery.Result{Class: recovery.Lost, Signature: "rescue system gone", Detail: "The host left the rescue system in mid-work and answers with another system; the script may have run, so proof decides."}
		r.gone = true
		return done
	}
	if end := r.close(); end != nil {
		if r.halted {
			return *end
		}
		add(&done, "The disk could not be closed in the rescue system, so its last writes may be lost: "+end.Detail)
	}
	return done
}

// collect is for an attempt that was interrupted on its way home. The rescue system, if it still runs, knows how the script ended.
func (r *rescue) collect(within context.Context) recovery.Result {
	ctx, cancel := context.WithTimeout(within, r.stillThere)
	met := r.cfg.SSH.Await(ctx, r.there(""), nil)
	cancel()
	switch {
	case r.ctx.Err() != nil:
		return *r.halt("")
	case met.Class == recovery.Succeeded:
		return r.work(within)
	}
	r.gone = true
	return recovery.Result{Class: recovery.Lost, Signature: "result not collected",
		Detail: "The host had been started from its own disk before the script's result was on record; proof decides."}
}

// home clears the boot target and starts the host from its own disk, whatever the attempt came to. It has a time of its own.
func (r *rescue) home(res recovery.Result) recovery.Result {
	if r.halted || r.left || r.taken == "" || r.power == nil {
		return res
	}
	ctx, cancel := context.WithTimeout(r.ctx, 2*acts(r.job.Rung.Boot)+2*acts(r.job.Host.Power))
	defer cancel()
	cycle := r.taken.Reached(recovery.StepPowerOn) && !r.gone // it may be in the rescue system
	touched := r.taken.Reached(recovery.StepBootTarget)
	if stopped := r.step(recovery.StepOwnDisk, homeNote(res)); stopped != nil {
		return *stopped
	}
	if touched || r.job.Rung.Boot == nil {
		r.clear(ctx, &res)
	}
	var err error
	if cycle {
		err = r.power.Off(ctx)
	}
	if err == nil {
		err = r.power.On(ctx)
	}
	switch {
	case r.ctx.Err() != nil:
		return *r.halt("")
	case err != nil:
		add(&res, "The host could not be started from its own disk: "+fault(err).Detail)
	default:
		res.Rebooted = true
	}
	return res
}

func homeNote(res recovery.Result) string {
	if res.Signature != "" {
		return "the attempt came to " + string(res.Class) + ": " + res.Signature
	}
	return "the attempt came to " + string(res.Class)
}

// clear makes the host boot from its own disk again. Where it asks the network, it is told so from now on.
func (r *rescue) clear(ctx context.Context, res *recovery.Result) {
	switch {
	case r.job.Rung.Boot == nil:
		res.BootTarget = recovery.BootTargetDisk
		return
	case r.boot == nil:
		return // it cannot be used, which is what the attempt came to
	}
	still, err := clearTarget(ctx, r.boot)
	switch {
	case err != nil:
		add(res, "The boot target could not be cleared: "+fault(err).Detail)
		return
	case still && r.taken.Reached(recovery.StepInside):
		add(res, "The control had not cleared the one-time boot target by itself; it was cleared, and read back.")
	}
	res.BootTarget = recovery.BootTargetDisk
}
