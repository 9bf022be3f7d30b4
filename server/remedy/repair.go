package remedy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const cancelledInMidRun = "cancelled in mid-run"

// mostInline is the largest script that travels within the runner's text; a larger one is pushed by SFTP. Either way it costs
// one connection, but SFTP costs the host another process and us several round trips.
const mostInline = 64 << 10

// askAgain is how often a restart is asked for anew when the connection went before the answer came.
const askAgain = 3

// errDropped says that the connection or the runner's front was lost and the work may be joined by another connection.
var errDropped = errors.New("the connection was lost")

// errAnew says that nothing is lost and the rest needs a fresh connection.
var errAnew = errors.New("a fresh connection is needed")

// attempt is a repair job under way.
type attempt struct {
	r       *SSH
	job     recovery.Job
	target  target
	scripts Scripts
	clock   *clock
	race    *race // nil: the host is up, or the attempt waits for nothing

	embed   bool // bring the script along with the runner, for it is small or SFTP does not work
	sent    bool // go was said: from here on the script may run
	claimed bool // the host said that the attempt is claimed there
	joined  bool
	boot    string // in which the script was started, as the host told before; "" when it cannot know
	asked   bool   // for the restart
	again   int    // how often it was asked for anew
	result  *recovery.Result
	lastEnd *end // why the last try to join failed
}

// run works until the attempt has an end. Before go it tries once; after it, it joins again as long as there is time.
func (a *attempt) run(ctx context.Context) recovery.Result {
	if e := a.usable(); e != nil {
		return e.result()
	}
	a.embed = len(a.scripts.Repair) <= mostInline
	if a.job.Rung.Kind == recovery.RungRace {
		a.race = a.r.enter(a.job)
		defer a.race.leave()
	}
	for pause := a.r.cfg.Timeouts.Retry; ; pause = min(2*pause, 16*a.r.cfg.Timeouts.Retry) {
		err := a.once(ctx)
		var e *end
		switch {
		case err == nil:
			return *a.result
		case errors.As(err, &e) && a.race != nil && !a.sent:
			if e = a.race.verdict(ctx, e); e != nil {
				return a.ended(e)
			}
		case errors.As(err, &e):
			return a.ended(e)
		case errors.Is(err, errAnew):
			continue
		case a.asked && a.again == askAgain:
			a.result.Rebooted = true
			return *a.result
		case a.asked: // the answer is lost: the host goes down, or it never heard the question, which does nothing twice
			a.again++
		}
		if a.race != nil {
			pause = a.race.pause()
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if !a.sent { // only a race waits before its start
				return a.ended(a.race.verdict(ctx, stopped(context.Cause(ctx))))
			}
			return a.ended(a.leftBehind(ctx))
		}
	}
}

func (a *attempt) usable() *end {
	switch script := a.scripts.Repair; {
	case len(script) == 0:
		return &end{recovery.Failed, "environment not supported", "The playbook has no script for the environment " + strconv.Quote(a.job.Rung.Environment) + "; choose another rung or add the script."}
	case bytes.IndexByte(script, 0) >= 0:
		return &end{recovery.Failed, "script not usable", "The playbook's script holds a NUL byte and is no shell text; correct the playbook."}
	}
	return nil
}

// ended is the result for an end; a result that was collected already stands, only its restart is missing.
func (a *attempt) ended(e *end) recovery.Result {
	if a.asked {
		a.result.Rebooted = true
		return *a.result
	}
	if a.result != nil {
		a.result.Detail += " The restart could not be sent: " + e.detail
		return *a.result
	}
	res := e.result()
	res.Joined = a.joined
	if a.sent {
		res.Boot = a.boot
	}
	return res
}

// leftBehind is the end of an attempt whose time or context is over after go.
func (a *attempt) leftBehind(ctx context.Context) *end {
	switch {
	case isCancelled(ctx):
		return &end{recovery.Lost, cancelledInMidRun, "We were stopped while the script may be running on the host; the same id joins it and learns how it ended."}
	case a.lastEnd != nil:
		return &end{recovery.Lost, "connection lost", "The connection was lost after the start and the host could not be had again in time (" + a.lastEnd.signature + "); the script may have run on: look at the host before another attempt."}
	default:
		return &end{recovery.TimedOut, "no end in time", "The job's time was over while the script was running on the host; the same id joins it and learns how it ended."}
	}
}

// once makes one connection and talks to its end. errDropped and errAnew ask for another one.
func (a *attempt) once(ctx context.Context) error {
	t := a.target
	t.begins, t.hunt = !a.sent, a.race.hunt(a.sent)
	l, e := a.r.connect(ctx, a.clock, t)
	if e != nil {
		return a.noConnection(ctx, e)
	}
	defer l.close()
	a.lastEnd = nil
	return a.converse(ctx, l)
}

func (a *attempt) noConnection(ctx context.Context, e *end) error {
	switch {
	case !a.sent:
		return e
	case ctx.Err() != nil:
		return a.leftBehind(ctx)
	case e.class == recovery.Unreachable, e.class == recovery.Failed, // a half-booted host may answer with anything
		a.race != nil && e.signature == accountRefused:
		a.lastEnd = e
		return errDropped
	default: // a person must look; the script may be running there
		return &end{e.class, e.signature, e.detail + " The script had been started and may be running."}
	}
}

// converse runs the conversation with runner.sh; its order is that of bs_main there.
func (a *attempt) converse(ctx context.Context, l *link) error {
	t, err := newTalk(ctx, l, a.r.cfg.Timeouts.Shell, func(nonce string) string { return a.text(nonce) })
	if err != nil {
		return a.broken(ctx, l, nil, err)
	}
	defer t.part()
	word, rest, err := a.hear(ctx, t, a.r.cfg.Timeouts.Shell)
	switch {
	case err != nil:
		return a.broken(ctx, l, t, err)
	case word == "error":
		return refused(rest)
	case word != "hello":
		return noShell(t)
	}
	answer := "go"
	state, rest, _ := strings.Cut(rest, " ")
	boot, path, _ := strings.Cut(rest, " ")
	fresh := state == "fresh"
	if boot != "-" && !(fresh && a.sent) {
		a.boot = oneLine(boot, 64)
	}
	if fresh && a.claimed {
		return &end{recovery.Lost, "claim gone", "The host has forgotten that the script was started there, so its disk was lost, reset or not written before a crash; look at it before another attempt."}
	}
	if fresh && !a.embed {
		if err := a.push(ctx, l, path); err != nil {
			if ctx.Err() != nil {
				return a.broken(ctx, l, t, err)
			}
			a.r.cfg.Log.Debug("no push by SFTP, the script goes along with the runner", "job", a.job.ID, "reason", err)
			a.embed = true
			var channel *ssh.OpenChannelError
			if errors.As(err, &channel) { // the host allows one session on a connection, and frees it when it likes
				return errAnew
			}
			t.part()
			return a.converse(ctx, l)
		}
		answer = "go sftp"
	}
	before := a.sent
	a.sent = true
	if err := t.say(ctx, a.r.cfg.Timeouts.Shell, answer); err != nil {
		return a.broken(ctx, l, t, err)
	}
	word, rest, err = a.hear(ctx, t, a.r.cfg.Timeouts.Push)
	switch {
	case err != nil:
		return a.broken(ctx, l, t, err)
	case word == "error":
		a.sent = before // nothing was claimed
		if strings.HasPrefix(rest, "push") && !a.embed {
			a.embed = true
			return a.converse(ctx, l)
		}
		return refused(rest)
	case word == "joined":
		a.joined = true
	}
	a.claimed = true
	l.settle()
	return a.await(ctx, l, t)
}

// await waits for the script's end, collects it, and restarts the host if the job wants that.
func (a *attempt) await(ctx context.Context, l *link, t *talk) error {
	stop := t.sayLater(a.r.cfg.Timeouts.Watch, "watch") // a quick script needs no watchdog
	word, rest, err := a.hear(ctx, t, a.clock.remaining()+time.Second)
	stop()
	switch {
	case err != nil:
		return a.broken(ctx, l, t, err)
	case word == "lost":
		return &end{recovery.Lost, "stopped in mid-run", "The script was started and neither runs nor left an exit: the host stopped in mid-run; look at it before another attempt."}
	case word != "exit":
		return a.broken(ctx, l, t, errEnd)
	}
	output := newKept(keepHead, keepTail)
	for next := ""; next != "end"; {
		if next, err = t.hearOutput(ctx, a.r.cfg.Timeouts.Collect, output); err != nil {
			return a.broken(ctx, l, t, err)
		}
	}
	a.collected(rest, output.bytes())
	if a.result.Class != recovery.Succeeded || !a.job.Reboot {
		_ = t.say(ctx, a.r.cfg.Timeouts.Shell, "bye")
		return nil
	}
	return a.restart(ctx, l, t)
}

// collected turns what the runner told into the result.
func (a *attempt) collected(exit string, output []byte) {
	words := append(strings.Fields(exit), "", "", "")
	code, how, boot := words[0], words[1], words[2]
	number, err := strconv.Atoi(code)
	var res recovery.Result
	switch {
	case how == "timed-out":
		res = recovery.Result{
			Class: recovery.TimedOut, Exit: number, Signature: "script over its limit",
			Detail: "The script ran over its limit and was ended on the host; read its output to see where it stood.",
		}
	case err != nil:
		res = recovery.Result{
			Class: recovery.Failed, Signature: "exit not noted",
			Detail: "The script's end was not noted on the host: what noted it was killed (by the script, or for want of memory), or the disk is full or fails; look at the host.",
		}
	default:
		res = judge(a.job, number, string(output))
	}
	res.Joined = a.joined
	if boot != "-" {
		res.Boot = oneLine(boot, 64)
	}
	if dir := a.r.cfg.OutputDir; dir != "" {
		if res.Output, err = keepOutput(dir, folderName(a.job), output); err != nil {
			a.r.cfg.Log.Warn("the output of an attempt is not kept", "job", a.job.ID, "error", err)
		}
	}
	a.result = &res
}

func (a *attempt) restart(ctx context.Context, l *link, t *talk) error {
	if err := t.say(ctx, a.r.cfg.Timeouts.Shell, "reboot"); err != nil {
		return a.broken(ctx, l, t, err)
	}
	a.asked = true
	word, _, err := a.hear(ctx, t, a.r.cfg.Timeouts.Shell)
	switch {
	case err != nil:
		return a.broken(ctx, l, t, err)
	case word == "rebooting", word == "rebooted-before":
		a.result.Rebooted = true
	default:
		a.result.Detail += " The restart could not be noted on the host and was not sent; restart it by hand."
	}
	return nil
}

func (a *attempt) hear(ctx context.Context, t *talk, deadline time.Duration) (word, rest string, err error) {
	said, err := t.hear(ctx, deadline)
	word, rest, _ = strings.Cut(said, " ")
	return word, rest, err
}

// broken finds out what the break of a conversation means. t is nil if none came about.
func (a *attempt) broken(ctx context.Context, l *link, t *talk, err error) error {
	var channel *ssh.OpenChannelError
	switch {
	case errors.Is(err, errFlood):
		l.close()
		return &end{recovery.Failed, "output flood", "The host sends more than a runner ever does, so the connection was closed; see what its login shell prints, and whether the machine is the right one."}
	case ctx.Err() != nil && a.sent:
		return a.leftBehind(ctx)
	case ctx.Err() != nil:
		return stopped(context.Cause(ctx))
	case a.sent:
		return errDropped
	case errors.Is(err, errSlow):
		return &end{recovery.TimedOut, "shell silent", "The host lets us in but its shell does not answer" + heardInstead(t) + "; nothing was started: look at its load, its disks, its login scripts and any forced command."}
	case errors.As(err, &channel):
		return &end{recovery.Failed, "no session", "The host lets us in but gives no session; see MaxSessions and the user's rights in its SSH server."}
	case l.alive(ctx, a.r.cfg.Timeouts.Shell):
		return noShell(t)
	default:
		return unreachable("dropped before the start", "The host dropped the connection before anything was started; it may be going down.")
	}
}

// noShell is the end of a conversation that never began although the connection lives. t may be nil.
func noShell(t *talk) *end {
	if t != nil {
		t.hearOut()
	}
	return &end{recovery.Failed, "no shell", "The host runs no shell for us" + heardInstead(t) + "; the user needs a POSIX shell and no forced command."}
}

// heardInstead quotes what the far side said instead of the runner's words. t may be nil.
func heardInstead(t *talk) string {
	if t == nil {
		return ""
	}
	words := lastWords(string(t.chatter.bytes()) + "\n" + string(t.stderr.bytes()))
	if words == "" {
		return ""
	}
	return ", it says " + quoted(words)
}

// refused is the end that the runner gave before it claimed anything: "KIND TEXT".
func refused(rest string) *end {
	kind, text, _ := strings.Cut(rest, " ")
	failed := func(signature, detail string) *end { return &end{recovery.Failed, signature, detail} }
	switch cause := knownCause(text); {
	case kind == "no-root":
		return failed("no root volume", "The rung leads into a rescue system, but neither the rung's root nor BLACKSTART_ROOT there names the host's volume; mount it and name it.")
	case kind == "root-missing":
		return failed("expected place missing", "The folder that the rung names as root does not exist on the host; mount and unlock the volume first.")
	case kind == "no-home":
		return failed("HOME missing", "The user has no HOME on the host, so there is no place for the attempt; log in as root or give the user a home folder.")
	case kind == "tool":
		return failed("no sha256 tool", "The host has none of sha256sum, shasum and openssl, so the script cannot be checked; use a rescue system that has one.")
	case kind == "push":
		return failed("script damaged on the way", "The script did not arrive as it was sent, so it was not run; try again.")
	case cause != "":
		return failed(cause, "The attempt's folder cannot be written on the host ("+quoted(text)+"); nothing was started: make it writable first.")
	default:
		return failed("no place for the attempt", "The attempt's folder cannot be made on the host ("+quoted(text)+"); nothing was started.")
	}
}

// text is what sh reads on the far side.
func (a *attempt) text(nonce string) string {
	script := ""
	if a.embed {
		script = string(a.scripts.Repair)
	}
	sum := sha256.Sum256(a.scripts.Repair) // of what is pushed; what travels here is guarded by SSH and its length
	reboot := a.job.Rung.RebootCmd
	if reboot == "" {
		reboot = "reboot"
	}
	return head(
		"bs_nonce", nonce, "bs_id", a.job.ID, "bs_folder", folderName(a.job), "bs_env", a.job.Rung.Environment,
		"bs_root", a.job.Rung.Root, "bs_limit", a.limit(), "bs_sum", hex.EncodeToString(sum[:]),
		"bs_text", script, "bs_size", strconv.Itoa(len(script)), "bs_reboot", reboot,
	) + runner
}

// limit is how long the script may run on the host, in seconds for sleep: so much less than the job that its end can still
// be collected.
func (a *attempt) limit() string {
	left := a.clock.remaining()
	left -= min(10*time.Second, left/5)
	if set := a.scripts.Limit; set > 0 {
		left = min(left, set)
	}
	if left >= time.Second {
		return strconv.Itoa(int(left / time.Second))
	}
	return strconv.FormatFloat(max(left, 10*time.Millisecond).Seconds(), 'f', 2, 64)
}
