package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
	"github.com/blackstart-recovery/blackstart/server/rescue"
)

// OutsideReach is what acts on a host from outside, as it was found. Nothing of it was changed.
type OutsideReach struct {
	Power      string   `json:"power,omitempty"`       // "on" or "off", as the control reads it
	BootTarget string   `json:"boot_target,omitempty"` // "disk" or "rescue", as the control reads it
	Missing    []string `json:"missing,omitempty"`     // everything that stands in the way, a sentence each
}

// controlsAtOnce bounds the controls that are asked at once: each may be a program, and many BMCs share one network.
const controlsAtOnce = 16

// outside looks at rungs that go in from outside.
type outside struct {
	cfg      ReachConfig
	ssh      *remedy.SSH
	controls chan struct{}
	image    error // what is wrong with the rescue image

	mu      sync.Mutex
	helpers map[string]*helperReach
}

// helperReach is a helper that several hosts share; it is logged in to once.
type helperReach struct {
	once    sync.Once
	reached remedy.Reached
}

func newOutside(cfg ReachConfig, ssh *remedy.SSH) *outside {
	o := &outside{cfg: cfg, ssh: ssh, controls: make(chan struct{}, controlsAtOnce), helpers: map[string]*helperReach{}}
	if cfg.RescueImage != "" {
		o.image = rescueImage(cfg.RescueImage, cfg.BootURL, ssh)
	}
	return o
}

// CheckRescueImage says what is wrong with a rescue image. url, when given, is how hosts are to reach the coordinator.
func CheckRescueImage(dir, url string) error {
	_, err := rescue.Check(dir, url)
	return err
}

// rescueImage is the same, and says too when the image does not let us in.
func rescueImage(dir, url string, ssh *remedy.SSH) error {
	m, err := rescue.Check(dir, url)
	if err != nil {
		return err
	}
	if keys, all := ssh.Fingerprints(); all && !m.LetsIn(keys) {
		return fmt.Errorf("the rescue image in %s lets in none of the keys that were given: build it anew with --ssh-key or --ssh-ca", dir)
	}
	return nil
}

// finding collects what stands in the way of one rung; the first thing gives the class.
type finding struct {
	remedy.Reached
	OutsideReach
	signatures []string
}

func (f *finding) miss(class recovery.Class, signature, sentence string) {
	if f.Class == "" {
		f.Class = class
	}
	f.signatures = append(f.signatures, signature)
	if !strings.HasSuffix(sentence, ".") {
		sentence += "."
	}
	f.Missing = append(f.Missing, sentence)
}

// refused notes a control's error.
func (f *finding) refused(err error) {
	var e *power.Error
	if !errors.As(err, &e) {
		e = &power.Error{Class: recovery.Failed, Signature: "control failed", Detail: recovery.Clean(err.Error(), 300)}
	}
	f.miss(e.Class, e.Signature, e.Error())
}

// ended is the account of it.
func (f *finding) ended(began time.Time) (remedy.Reached, *OutsideReach) {
	if f.Class == "" {
		f.Class, f.Step, f.Detail = recovery.Succeeded, remedy.StepNeeds, "Nothing stands in the way of a repair."
	} else {
		f.Signature, f.Detail = strings.Join(f.signatures, ", "), strings.Join(f.Missing, " ")
	}
	f.Took = time.Since(began)
	return f.Reached, &f.OutsideReach
}

// rescue looks whether a host can be booted into the rescue system.
func (o *outside) rescue(ctx context.Context, h recovery.Host, rung recovery.Rung) (remedy.Reached, *OutsideReach) {
	began := time.Now()
	f := &finding{Reached: remedy.Reached{Step: remedy.StepNone, Agent: remedy.AgentUnknown}}
	if h.Power == nil {
		f.miss(recovery.Failed, "no power control", "Nothing switches the host on and off; name its power control in the fleet file.")
	} else {
		o.power(ctx, *h.Power, f)
	}
	if boot := rung.Boot; boot != nil && (h.Power == nil || f.Power != "" || boot.Name != h.Power.Name) { // what was silent is not asked again
		o.bootTarget(ctx, *boot, f)
	}
	if len(h.MACs) == 0 && h.UUID == "" {
		f.miss(recovery.Failed, "no MAC address or UUID", "The host cannot be told from others when it boots from the network; name its mac or its uuid in the fleet file.")
	}
	if net.ParseIP(rung.Address) == nil {
		f.miss(recovery.Failed, "bad address", fmt.Sprintf("The rung's address %q is no IP address; correct it in the fleet file.", recovery.Clean(rung.Address, 80)))
	}
	switch {
	case o.cfg.RescueImage == "":
		f.miss(recovery.Failed, "no rescue image", "No rescue image was named; build it with `blackstart rescue build`, and name it with --rescue-image here and to serve.")
	case o.image != nil:
		f.miss(recovery.Failed, "no rescue image", sentence(o.image))
	}
	if o.cfg.BootURL == "" {
		f.miss(recovery.Failed, "no boot URL", "It was not said how hosts reach the coordinator's boot service; name it with --boot-url here and to serve.")
	}
	o.unlock(rung, f)
	return f.ended(began)
}

// helper looks whether a host's disk can be worked on from its helper.
func (o *outside) helper(ctx context.Context, h recovery.Host, rung recovery.Rung) (remedy.Reached, *OutsideReach) {
	began := time.Now()
	reached := o.helperOf(ctx, rung)
	reached.Agent = remedy.AgentUnknown // the helper's says nothing of the host's
	f := &finding{Reached: reached}
	if f.Class = ""; reached.Class != recovery.Succeeded {
		f.miss(reached.Class, reached.Signature, "At the helper: "+reached.Detail)
	}
	if h.Power != nil {
		o.power(ctx, *h.Power, f)
	}
	if rung.Attach == "" {
		f.miss(recovery.Failed, "no attach command", "The rung has no command that attaches the host's disk to the helper; name it in the fleet file.")
	}
	o.unlock(rung, f)
	return f.ended(began)
}

// helperOf goes to a helper as an attempt does before it attaches anything, once for all hosts.
func (o *outside) helperOf(ctx context.Context, rung recovery.Rung) remedy.Reached {
	rung.Kind, rung.Environment, rung.Root, rung.RebootCmd = recovery.RungSSH, recovery.EnvLinux, "", ":"
	key := fmt.Sprintf("%s %d %s %q %q", rung.Address, rung.Port, rung.User, rung.Jump, rung.HostKeys)
	o.mu.Lock()
	shared := o.helpers[key]
	if shared == nil {
		shared = &helperReach{}
		o.helpers[key] = shared
	}
	o.mu.Unlock()
	shared.once.Do(func() { shared.reached = o.ssh.Reach(ctx, recovery.Host{}, rung) })
	return shared.reached
}

// power looks at what switches a host on and off.
func (o *outside) power(ctx context.Context, control recovery.Control, f *finding) {
	c, err := o.open(ctx, control)
	if err == nil {
		defer o.close()
		var state power.State
		if err = c.Monitor(ctx); err == nil {
			state, err = c.State(ctx)
		}
		f.Power = string(state)
	}
	switch {
	case err != nil:
		f.refused(err)
	case f.Step == remedy.StepNone:
		f.Step = remedy.StepPower
	}
}

// bootTarget looks at what sets a host's boot target.
func (o *outside) bootTarget(ctx context.Context, control recovery.Control, f *finding) {
	c, err := o.open(ctx, control)
	if err == nil {
		defer o.close()
		f.BootTarget, err = c.BootTarget(ctx)
	}
	if err != nil {
		f.refused(err)
	} else if f.BootTarget != recovery.BootTargetDisk {
		f.Lacks = append(f.Lacks, remedy.LackOwnDisk)
	}
}

// open opens a control and takes its turn.
func (o *outside) open(ctx context.Context, c recovery.Control) (control, error) {
	opened, err := openControl(c)
	if err != nil {
		return nil, err
	}
	select {
	case o.controls <- struct{}{}:
		return opened, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (o *outside) close() { <-o.controls }

// unlock looks whether what opens the host's encrypted volume can be read.
func (o *outside) unlock(rung recovery.Rung, f *finding) {
	if rung.Unlock == "" {
		return
	}
	if _, err := power.ReadSecret(rung.Unlock); err != nil {
		f.miss(recovery.Failed, "unlock secret not readable", "What opens the host's encrypted volume cannot be read: "+recovery.Clean(err.Error(), 300)+".")
	}
}

// sentence makes an error's text one.
func sentence(err error) string {
	text := recovery.Clean(err.Error(), 300)
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
