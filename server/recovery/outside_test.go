package recovery

import (
	"slices"
	"time"
)

// outsider is a host as those who work on it from outside find it.
type outsider struct {
	off     bool
	rescue  bool // its boot target, truly
	inside  bool // it has booted the rescue system
	forgets bool // its BMC keeps an override that was meant for one boot
	deaf    bool // its BMC takes no new boot target
	never   bool // it never boots the rescue system
	cycles  map[string]int
	served  map[string]int
	ran     map[string]Result // what the runner on its disk knows
}

// ways is a ladder of every kind.
func ways() []Rung {
	bmc := &Control{Name: "bmc", Kind: ControlAgent, Program: "boot"}
	return []Rung{
		{Name: "own", Kind: RungSSH, Environment: EnvLinux, Address: "192.0.2.1"},
		{Name: "race", Kind: RungRace, Environment: EnvLinux, Address: "192.0.2.1", Within: 5 * time.Minute},
		{Name: "rescue", Kind: RungRescue, Environment: EnvRescueLinux, Address: "192.0.2.2", Boot: bmc, Resources: []string{"power"}},
		{Name: "helper", Kind: RungHelper, Environment: EnvRescueLinux, Address: "192.0.2.3", Resources: []string{"power"}},
		{Name: "hands", Kind: RungHands},
	}
}

// outward gives hosts the ladder of every kind and a power control with some slots.
func outward(f Fleet, slots int) Fleet {
	for i := range f.Hosts {
		f.Hosts[i].Ladder = ways()
		f.Hosts[i].Power = &Control{Name: "bmc", Kind: ControlAgent, Program: "fence"}
		f.Hosts[i].MACs = []string{"52:54:00:00:00:01"}
	}
	f.Resources = append(f.Resources, Resource{Name: "power", Slots: slots})
	return f
}

// fromOutside plays a remedy that works with power and boot target, step by step, each recorded before it is taken. It dies with
// the coordinator that runs it; the next one takes it up at the step that is on record.
func (x *sim) fromOutside(m *machine, j Job) {
	o, life := x.outside[m.host.Name], x.run1
	alive := func() bool {
		_, running := x.jobs[j.ID]
		return running && x.run1 == life
	}
	if j.Kind == JobUnboot {
		x.after(10*time.Second, func() {
			switch {
			case !alive():
			case o.deaf:
				x.finish(j, Result{Class: Failed, Signature: "boot target did not change"})
			default:
				o.rescue = false
				x.finish(j, Result{Class: Succeeded, BootTarget: BootTargetDisk})
			}
		})
		return
	}
	steps := []Step{StepPowerOff, StepBootTarget, StepPowerOn, StepInside, StepOwnDisk}
	if j.Rung.Kind == RungHelper {
		steps = []Step{StepPowerOff, StepInside, StepOwnDisk}
	}
	next := slices.Index(steps, j.Step) // a step on record is taken again, for it may not have been done
	if next < 0 {
		next = 0
	}
	var take func(n int)
	take = func(n int) {
		if !alive() {
			return
		}
		again := steps[n] == j.Step
		if _, err := x.do(Progressed{Job: j.ID, Host: m.host.Name, Step: steps[n]}); err != nil {
			return
		}
		if r, ended := x.act(m, o, j, steps[n], again); ended {
			x.finish(j, r)
			return
		}
		x.after(20*time.Second, func() { take(n + 1) })
	}
	x.after(10*time.Second, func() { take(next) })
}

func (x *sim) act(m *machine, o *outsider, j Job, step Step, again bool) (r Result, ended bool) {
	switch step {
	case StepPowerOff:
		x.down(m)
		o.off, o.inside = true, false
	case StepBootTarget:
		if o.deaf {
			x.powerOn(m, o)
			return Result{Class: Failed, Signature: "boot target did not change"}, true
		}
		o.rescue = true
	case StepPowerOn:
		if again && !o.off {
			return r, false // it was switched on before, and must not be once more
		}
		o.cycles[j.ID]++
		x.powerOn(m, o)
	case StepInside:
		if j.Rung.Kind == RungRescue && !o.inside {
			r = Result{Class: TimedOut, Signature: "no rescue system"}
			if !o.deaf {
				o.rescue, r.BootTarget = false, BootTargetDisk
			}
			return r, true
		}
		if _, before := o.ran[j.ID]; !before {
			x.starts[j.ID]++
			o.ran[j.ID] = x.script(m, j)
		}
	case StepOwnDisk:
		r, before := o.ran[j.ID]
		if !before {
			r = Result{Class: Lost, Signature: "what came of it is not known"}
		}
		if r.Class == Succeeded {
			m.bad, m.changed = min(m.bad, r.Exit), -1
			r.Exit, r.Rebooted = 0, true
		}
		if !o.deaf {
			o.rescue, r.BootTarget = false, BootTargetDisk
		}
		x.down(m)
		o.off = true
		x.powerOn(m, o)
		return r, true
	}
	return r, false
}

// powerOn starts the host from what its boot target says, as long as the coordinator agrees.
func (x *sim) powerOn(m *machine, o *outsider) {
	o.off, o.inside = false, false
	if o.rescue {
		if !o.forgets {
			o.rescue = false // once
		}
		if events, err := x.do(BootAsked{Host: m.host.Name, Peer: "192.0.2.9"}); err == nil && len(events) == 1 && !o.never {
			o.inside = true
			return
		}
	}
	x.boots(m)
}

// mayStep holds a step against the rules: of an attempt that is under way, and only forward.
func (x *sim) mayStep(h *HostState, v *AttemptProgressed) {
	x.tb.Helper()
	order := []Step{"", StepPowerOff, StepBootTarget, StepPowerOn, StepInside, StepOwnDisk}
	a := h.Attempts[len(h.Attempts)-1]
	if v.Step == StepCancel {
		if h.Phase != Attempting || a.ID != v.Attempt || a.Method != MethodRestore || a.Cancel == "" || a.Step != "" {
			x.tb.Fatalf("%s is let go of at step %q, wish %q", v.Attempt, a.Step, a.Cancel)
		}
		return
	}
	if h.Phase != Attempting || a.ID != v.Attempt || slices.Index(order, v.Step) <= slices.Index(order, a.Step) {
		x.tb.Fatalf("%s steps from %q to %q while %s", v.Attempt, a.Step, v.Step, h.Phase)
	}
	if (v.Step == StepBootTarget) != (len(v.Debts) == 1) && !h.hasDebt(DebtBootTarget) {
		x.tb.Fatalf("%s at %s with debts %v", v.Attempt, v.Step, v.Debts)
	}
}

// mayServe: once per attempt, and only while that waits for the rescue system.
func (x *sim) mayServe(h *HostState, v *RescueServed) {
	x.tb.Helper()
	a := h.Attempts[len(h.Attempts)-1]
	served := x.outside[v.Host].served
	served[v.Attempt]++
	if h.Phase != Attempting || a.ID != v.Attempt || a.Step != StepPowerOn || served[v.Attempt] > 1 {
		x.tb.Fatalf("%s is served the rescue system for the time %d at step %q while %s", v.Attempt, served[v.Attempt], a.Step, h.Phase)
	}
}

// checkOutside holds after every step.
func (x *sim) checkOutside() {
	x.tb.Helper()
	for name, o := range x.outside {
		h := x.s.hosts[name]
		for id, n := range o.cycles {
			if n > 1 {
				x.tb.Fatalf("%s was switched on for the rescue system %d times", id, n)
			}
		}
		if h != nil && o.rescue && !h.hasDebt(DebtBootTarget) {
			x.tb.Fatalf("%s would start into the rescue system, and it is nobody's debt", name)
		}
	}
}
