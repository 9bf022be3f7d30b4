package remedy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Command is one command for a host beside its attempt's script, such as the one that opens its disk in a rescue system. It ends with
// the connection, or not; so it must be one that may be given again.
type Command struct {
	Line  string            // for a POSIX sh
	Env   map[string]string // names of letters, digits and underscores; added to the login's own
	Input string            // one line for its stdin, which ends after it; it is sent to a shell alone and never shown. Empty: no stdin
	Limit time.Duration     // from the login on; default Config.Timeouts.Probe
}

// Said is what a command came to.
type Said struct {
	Exit   int
	Output []byte // of its stdout, the first and the last 16 KiB
	Last   string // the last line that holds something, of stderr or else of stdout; cleaned
}

// Line is the last line of stdout that holds something, without its line break and as it came.
func (s Said) Line() string {
	lines := strings.Split(strings.TrimRight(string(s.Output), " \t\r\n"), "\n")
	return strings.TrimRight(lines[len(lines)-1], "\r")
}

// execText runs the command; its head gives the values. What it reads comes as a line of our own stdin, so that it is in no process's
// arguments.
const execText = `bs_main() {
  PATH=${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  LC_ALL=C
  export LC_ALL PATH
  printf '\n%s hello\n' "$bs_nonce"
  IFS= read -r bs_input || exit 0
  case $bs_input in
  input) IFS= read -r bs_input || exit 0
    printf '%s\n' "$bs_input" | sh -c "$bs_line" ;;
  *) sh -c "$bs_line" </dev/null ;;
  esac
  printf '\n%s end %s\n' "$bs_nonce" $?
  exit 0
}
bs_main
`

const (
	keepSaid = 16 << 10
	linger   = 2 * time.Second // for what a command still says on stderr
)

// Exec runs a command on the job's rung. failure is nil when it ran to its end, whatever its exit; else it is why it did not, in the
// classes of an attempt, where Unreachable and TimedOut do not mean that it was not run.
func (r *SSH) Exec(ctx context.Context, job recovery.Job, c Command) (said Said, failure *recovery.Result) {
	said, e := r.exec(ctx, job, c)
	if e != nil {
		res := e.result()
		return Said{}, &res
	}
	return said, nil
}

func (r *SSH) exec(ctx context.Context, job recovery.Job, c Command) (Said, *end) {
	t, e := r.target(job)
	if e != nil {
		return Said{}, e
	}
	if strings.ContainsAny(c.Input, "\x00\r\n") || strings.ContainsRune(c.Line, 0) {
		return Said{}, failed("command not usable", "What is to be run on the host, or its input, holds a character that cannot be sent; correct the fleet file or the secret.")
	}
	if err := r.sessions.take(ctx, nil); err != nil {
		return Said{}, stopped(err)
	}
	defer r.sessions.give()
	l, e := r.connect(ctx, nil, t)
	if e != nil {
		return Said{}, e
	}
	defer l.close()
	return r.converseCommand(ctx, l, c)
}

// converseCommand tells a shell the command and hears what it says.
func (r *SSH) converseCommand(ctx context.Context, l *link, c Command) (Said, *end) {
	t, err := newTalk(ctx, l, r.cfg.Timeouts.Shell, func(nonce string) string {
		var env strings.Builder
		for _, name := range slices.Sorted(maps.Keys(c.Env)) {
			env.WriteString("export " + head(name, c.Env[name]))
		}
		return head("bs_nonce", nonce, "bs_line", c.Line) + env.String() + execText
	})
	if err != nil {
		return Said{}, r.noStart(ctx, l, nil, err)
	}
	defer t.part()
	if _, err := t.hear(ctx, r.cfg.Timeouts.Shell); err != nil {
		return Said{}, r.noStart(ctx, l, t, err)
	}
	answer := "none"
	if c.Input != "" {
		answer = "input\n" + c.Input
	}
	if err := t.say(ctx, r.cfg.Timeouts.Shell, answer); err != nil {
		return Said{}, commandEnd(ctx, err)
	}
	output := newKept(keepSaid, keepSaid)
	word, err := t.hearOutput(ctx, cmp.Or(c.Limit, r.cfg.Timeouts.Probe), output)
	if err != nil {
		return Said{}, commandEnd(ctx, err)
	}
	exit, err := strconv.Atoi(strings.TrimPrefix(word, "end "))
	if err != nil {
		return Said{}, noShell(t)
	}
	_, _ = within(ctx, linger, t.part, func() (struct{}, error) { return struct{}{}, t.session.Wait() })
	said := Said{Exit: exit, Output: output.bytes()}
	said.Last = cmp.Or(t.stderr.last(), lastWords(string(said.Output)))
	return said, nil
}

// commandEnd is the end of a command that was given and of which no end was heard.
func commandEnd(ctx context.Context, err error) *end {
	switch {
	case isCancelled(ctx):
		return &end{recovery.Lost, cancelledInMidRun, "We were stopped while a command may be running on the host; it is given again by whoever takes the attempt up."}
	case errors.Is(err, errFlood):
		return failed("output flood", "The command says more than it ever should, so it was stopped; run it by hand to see why.")
	case errors.Is(err, errSlow), ctx.Err() != nil:
		return &end{recovery.TimedOut, "command without an end", "The command did not end in time; look at the host's load and disks."}
	default:
		return unreachable("connection lost", "The connection was lost while a command ran on the host; it is given again.")
	}
}
