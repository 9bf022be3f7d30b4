package remedy

import (
	"context"
	_ "embed"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Step is how far a way in leads. Each includes those before it that its kind of rung has.
type Step string

// The steps, in their order.
const (
	StepNone    Step = "none"     // not even to the jump host, or no connection
	StepPower   Step = "power"    // what switches the host on and off lets us in; of rungs that go in from outside
	StepJump    Step = "jump"     // the jump host lets us in
	StepTCP     Step = "tcp"      // the connection is accepted
	StepBanner  Step = "banner"   // an SSH server speaks
	StepHostKey Step = "host-key" // it is the host that is known
	StepLogin   Step = "login"    // it lets us in
	StepShell   Step = "shell"    // a POSIX shell answers
	StepNeeds   Step = "needs"    // it has all that a repair needs
)

var steps = []Step{StepNone, StepPower, StepJump, StepTCP, StepBanner, StepHostKey, StepLogin, StepShell, StepNeeds}

// After reports whether s is further on the way than another step.
func (s Step) After(other Step) bool { return slices.Index(steps, s) > slices.Index(steps, other) }

// Processes of the agent on a host, as seen over SSH.
const (
	AgentRuns    = "running"
	AgentStopped = "not-running"
	AgentUnknown = "unknown" // a rescue system, no rights to look, or no login
)

// Things that a host may lack and be repaired nevertheless.
const (
	LackSetsid = "setsid" // a script may end with the connection
	LackDigest = "sha256" // a script that is too large to travel with the runner cannot be checked
	LackReboot = "reboot" // the command that would restart the host is not there
	LackRoom   = "room"   // less than 10 MiB is free

	LackOwnDisk = "own-disk" // its boot target is the rescue system at this moment
)

const littleRoom = 10 << 10 // in KiB

// Reached is how far one way in led. Class, signature and detail are those that an attempt would have ended with, had it
// got no further; Succeeded means that nothing stands in an attempt's way.
type Reached struct {
	Step      Step           `json:"step,omitempty"`
	Class     recovery.Class `json:"class,omitempty"`
	Signature string         `json:"signature,omitempty"`
	Detail    string         `json:"detail,omitempty"`
	Lacks     []string       `json:"lacks,omitempty"`    // the Lack constants
	FreeKiB   int64          `json:"free_kib,omitempty"` // where a repair's files would lie; 0: none, or not known
	Agent     string         `json:"agent_process,omitempty"`
	Took      time.Duration  `json:"took,omitempty"` // waiting for a turn included
}

// The bounds on ways that are tried at once. One that is silent for a while lets another take its place, and only goes on
// with its own waiting; so silent hosts hold back nobody, and those that answer come at a pace that networks, jump hosts and
// hypervisors bear.
const (
	reachAtOnce   = 32
	dialPatience  = 100 * time.Millisecond
	greetPatience = time.Second
	stale         = 20 * time.Second // sshd gives a login two minutes from its beginning (LoginGraceTime), others less
)

// Reach goes one way into a host as an attempt would, and looks whether it has what an attempt needs. It changes nothing
// there. Its deadlines are those of Config. Any number of ways may be tried at once: those that are silent wait together.
func (r *SSH) Reach(ctx context.Context, host recovery.Host, rung recovery.Rung) Reached {
	began := time.Now()
	p := &place{of: r.reaches}
	defer p.leave()
	reached, e := Reached{Step: StepNone, Agent: AgentUnknown}, (*end)(nil)
	for tries := range 2 {
		if err := p.take(ctx); err != nil {
			e = stopped(err)
			break
		}
		w := &way{r: r, ctx: ctx, place: p, step: StepNone, keeps: tries > 0}
		if reached, e = w.try(host, rung); !w.wasStale(e) {
			break
		}
	}
	reached.Class, reached.Detail = recovery.Succeeded, "Nothing stands in the way of a repair."
	if e != nil {
		reached.Class, reached.Signature, reached.Detail = e.class, e.signature, e.detail
	}
	reached.Took = time.Since(began)
	return reached
}

// way is one try to go one way.
type way struct {
	r      *SSH
	ctx    context.Context
	place  *place
	keeps  bool        // the place, for the host is known to answer
	silent *time.Timer // gives the place away

	mu     sync.Mutex // a step may be told by the connection's goroutine
	step   Step
	waited time.Duration // greeted, and without a place
}

// passed notes a step, and gives away and takes back the place; no deadline runs while it does.
func (w *way) passed(s Step) {
	switch s {
	case StepTCP:
		if w.silent.Stop() {
			w.silent.Reset(greetPatience)
		}
	case StepBanner:
		w.silent.Stop()
		from := time.Now()
		_ = w.place.take(w.ctx) // an end of the context shows at the next step
		w.waited = time.Since(from)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.After(w.step) {
		w.step = s
	}
}

// wasStale reports whether it may have failed because the host ends connections that wait long for their turn, as we had to:
// that says nothing about the host.
func (w *way) wasStale(e *end) bool {
	return e != nil && w.waited > stale && (e.class == recovery.Unreachable || e.class == recovery.AuthRefused) && w.ctx.Err() == nil
}

// place is one of the places for ways that are tried at once; it may be left before the end, and taken again.
type place struct {
	of   turns
	mu   sync.Mutex
	held bool
}

func (p *place) take(ctx context.Context) error {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held {
		return nil
	}
	if err := p.of.take(ctx, nil); err != nil {
		return err
	}
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
	return nil
}

func (p *place) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held {
		p.held = false
		p.of.give()
	}
}

// try goes the way once, as far as it leads.
func (w *way) try(host recovery.Host, rung recovery.Rung) (Reached, *end) {
	w.silent = time.AfterFunc(dialPatience, w.place.leave)
	defer w.silent.Stop()
	if w.keeps {
		w.silent.Stop()
	}
	reached, e := w.climb(host, rung)
	w.mu.Lock()
	defer w.mu.Unlock()
	reached.Step = w.step
	return reached, e
}

func (w *way) climb(host recovery.Host, rung recovery.Rung) (Reached, *end) {
	nothing := Reached{Agent: AgentUnknown}
	environment := rung.Environment
	if rung.Kind == recovery.RungSSH || rung.Kind == recovery.RungRace {
		rung.Environment = recovery.EnvLinux // the way in is tried whatever it leads to
	}
	t, e := w.r.target(recovery.Job{Host: host, Rung: rung})
	if e != nil {
		return nothing, e
	}
	t.passed = w.passed
	l, e := w.r.connect(w.ctx, nil, t)
	if e != nil {
		return nothing, e
	}
	defer l.close()
	rung.Environment = environment
	if _, e := w.r.target(recovery.Job{Host: host, Rung: rung}); e != nil {
		return nothing, e
	}
	text, e := w.r.look(w.ctx, l, rung, w.passed)
	if e != nil {
		return nothing, e
	}
	return readLook(text, w.passed)
}

//go:embed reach.sh
var reachText string

var reachScript = lean(reachText)

// tools are what the runner and a probe call, beside what has alternatives.
const tools = "cat dd env mkdir rm sleep tail"

// maxLook bounds what is kept of what the look says, which is some ten lines.
const maxLook = 8 << 10

// look runs reach.sh and returns what it printed.
func (r *SSH) look(ctx context.Context, l *link, rung recovery.Rung, passed func(Step)) (string, *end) {
	t, err := newTalk(ctx, l, r.cfg.Timeouts.Shell, func(nonce string) string {
		reboot := rung.RebootCmd
		if reboot == "" {
			reboot = "reboot"
		}
		return head("bs_nonce", nonce, "bs_env", rung.Environment, "bs_root", rung.Root, "bs_reboot", reboot, "bs_tools", tools) + reachScript
	})
	if err != nil {
		return "", r.noStart(ctx, l, nil, err)
	}
	defer t.part()
	if _, err := t.hear(ctx, r.cfg.Timeouts.Shell); err != nil {
		return "", r.noStart(ctx, l, t, err)
	}
	passed(StepShell)
	output := newKept(maxLook, 0)
	if _, err := t.hearOutput(ctx, r.cfg.Timeouts.Probe, output); err != nil {
		return "", r.noStart(ctx, l, t, err)
	}
	return string(output.bytes()), nil
}

// noStart is the end of a conversation that broke before anything was started, in the words of an attempt. t is nil if none
// came about.
func (r *SSH) noStart(ctx context.Context, l *link, t *talk, err error) *end {
	var channel *ssh.OpenChannelError
	switch {
	case errors.Is(err, errFlood):
		return &end{recovery.Failed, "output flood", "The host sends more than a runner ever does, so the connection was closed; see what its login shell prints, and whether the machine is the right one."}
	case ctx.Err() != nil:
		return stopped(context.Cause(ctx))
	case errors.Is(err, errSlow):
		return &end{recovery.TimedOut, "shell silent", "The host lets us in but its shell does not answer; nothing was started: look at its load, its disks and its login scripts."}
	case errors.As(err, &channel):
		return &end{recovery.Failed, "no session", "The host lets us in but gives no session; see MaxSessions and the user's rights in its SSH server."}
	case l.alive(ctx, r.cfg.Timeouts.Shell):
		return noShell(t)
	default:
		return unreachable("dropped before the start", "The host dropped the connection before anything was started; it may be going down.")
	}
}

// readLook reads the lines of reach.sh. The first need that is not met is the end.
func readLook(text string, passed func(Step)) (Reached, *end) {
	reached := Reached{Agent: AgentUnknown}
	var missed *end
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "agent":
			reached.Agent = map[string]string{"yes": AgentRuns, "no": AgentStopped}[rest]
		case "free":
			reached.FreeKiB, _ = strconv.ParseInt(rest, 10, 64)
			if reached.FreeKiB < littleRoom {
				reached.lack(LackRoom)
			}
		case "lack":
			reached.lack(rest)
		case "error":
			if missed == nil {
				missed = unmet(rest)
			}
		}
	}
	if reached.Agent == "" {
		reached.Agent = AgentUnknown
	}
	if missed == nil {
		passed(StepNeeds)
	}
	return reached, missed
}

func (r *Reached) lack(what string) {
	if slices.Contains([]string{LackSetsid, LackDigest, LackReboot, LackRoom}, what) && !slices.Contains(r.Lacks, what) {
		r.Lacks = append(r.Lacks, what)
	}
}

// unmet is the end that an attempt would meet: "KIND TEXT" as the runner says it.
func unmet(rest string) *end {
	if missing, ok := strings.CutPrefix(rest, "tools "); ok {
		return &end{recovery.Failed, "tools missing", "The host lacks commands that a repair needs (" + oneLine(missing, 100) + "); install them, or use a rescue system that has them."}
	}
	return refused(rest)
}
