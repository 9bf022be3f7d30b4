// Package power acts on a host from outside by programs that keep the contract of the ClusterLabs fence agents: options as key=value
// lines on standard input, an action among them, and an exit status. The same contract, with three actions more, sets what a host boots
// from. Nothing is believed because a program says so: every change is read back.
//
// The files, in reading order: power.go (what can be asked), settle.go (change and read back), options.go and secret.go (what the program
// is told), run.go (how it is run), outcome.go (what its end means).
package power

import (
	"context"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// State is a host's power as its control tells it.
type State string

// The states.
const (
	Unknown State = ""
	On      State = "on"
	Off     State = "off"
)

// Actions of the contract. The fence agents know those of power; the boot target's are ours.
const (
	actionOn         = "on"
	actionOff        = "off"
	actionStatus     = "status"
	actionMonitor    = "monitor"
	actionBootRescue = "boot-rescue"
	actionBootDisk   = "boot-disk"
	actionBootStatus = "boot-status"
)

// Boot targets as boot-status prints them.
const (
	bootRescue = "rescue"
	bootDisk   = "disk"
)

// Agent controls one host by a program. Every error of its methods is a *Error. One call takes no longer than the control's timeout and
// two seconds, in which the program is stopped. It keeps no state and may be used by several goroutines.
type Agent struct {
	control recovery.Control
	timeout time.Duration
}

// Open returns the agent of a control. Nothing is read or started yet: what is wrong with the control is told by the first call.
func Open(control recovery.Control) *Agent {
	timeout := control.Timeout
	if timeout <= 0 {
		timeout = recovery.DefaultControlTimeout
	}
	return &Agent{control: control, timeout: timeout}
}

// Monitor reports whether the control can be reached and accepts us. It changes nothing.
func (a *Agent) Monitor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.act(ctx, actionMonitor, nil)
}

// State reads the host's power. It is On or Off when the error is nil, and else Unknown.
func (a *Agent) State(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	is, err := a.readPower(ctx)
	return State(is), err
}

// On switches the host on and returns when that was read back. It does nothing to a host that is on.
func (a *Agent) On(ctx context.Context) error {
	return a.settle(ctx, change{action: actionOn, want: string(On), read: a.readPower})
}

// Off switches the host off, hard, and returns when that was read back. It does nothing to a host that is off.
func (a *Agent) Off(ctx context.Context) error {
	return a.settle(ctx, change{action: actionOff, want: string(Off), read: a.readPower})
}

// BootTarget reads what the host boots from next: "rescue" or "disk".
func (a *Agent) BootTarget(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return a.readBoot(ctx)
}

// BootRescue makes the rescue system the target of the host's next boot, once, and returns when that was read back. The program is told
// imageURL, where it is not empty, as the option "image". It is told again even if the target is the rescue system: the image may be another.
func (a *Agent) BootRescue(ctx context.Context, imageURL string) error {
	more := map[string]string{}
	if imageURL != "" {
		more["image"] = imageURL
	}
	return a.settle(ctx, change{action: actionBootRescue, want: bootRescue, read: a.readBoot, more: more, always: true})
}

// BootDisk makes the host's own disk the target of its next boots and returns when that was read back.
func (a *Agent) BootDisk(ctx context.Context) error {
	return a.settle(ctx, change{action: actionBootDisk, want: bootDisk, read: a.readBoot})
}
