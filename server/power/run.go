package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	grace = time.Second // from the polite signal to the other one, and for what a program's children still write
	keep  = 64 << 10    // bytes kept of each output: the last ones
)

// searchPath is where programs are looked for, and their PATH. Fence agents live in /usr/sbin, which a user's own path may lack.
var searchPath = []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"}

// ended is how a run of the program ended.
type ended struct {
	exit int    // -1: a signal ended it
	out  string // the last of its standard output
	errs string // the last of its standard error
	veil veil   // what must not be shown of them
}

// run runs the program for one action. An error means that it was not started or did not end by itself.
func (a *Agent) run(ctx context.Context, action string, more map[string]string) (ended, error) {
	path, err := a.find()
	if err != nil {
		return ended{}, err
	}
	input, hidden, err := a.input(action, more)
	if err != nil {
		return ended{}, err
	}
	if ctx.Err() != nil {
		return ended{}, a.stopped(ctx, action)
	}

	var out, errs tail
	cmd := exec.CommandContext(ctx, path)
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stdin = strings.NewReader(input)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = grace // then it is killed, and what its children hold open is closed
	inOwnGroup(cmd)
	if err := cmd.Start(); err != nil {
		return ended{}, a.problem(recovery.Failed, "program does not start",
			fmt.Sprintf("cannot be started: %s; see that %s may be run", reason(err), recovery.Clean(path, 200)))
	}
	_ = cmd.Wait() // how it ended is read from its state
	killGroup(cmd) // whatever it left behind
	if ctx.Err() != nil {
		return ended{}, a.stopped(ctx, action)
	}
	return ended{exit: cmd.ProcessState.ExitCode(), out: out.text(), errs: errs.text(), veil: hidden}, nil
}

// find returns the program's absolute path.
func (a *Agent) find() (string, error) {
	program := a.control.Program
	switch {
	case filepath.IsAbs(program):
		if runnable(program) {
			return program, nil
		}
	case program != "" && filepath.Base(program) == program:
		for _, folder := range searchPath {
			if path := filepath.Join(folder, program); runnable(path) {
				return path, nil
			}
		}
	default:
		return "", a.problem(recovery.Failed, "program missing", "has no program; give its name or its absolute path")
	}
	return "", a.problem(recovery.Failed, "program missing", "is not there or may not be run on the coordinator; install it there")
}

// runnable reports whether the path is a file that somebody may execute.
func runnable(path string) bool {
	about, err := os.Stat(path)
	return err == nil && about.Mode().IsRegular() && about.Mode().Perm()&0o111 != 0
}

// environment is all that a program inherits: no secret of the coordinator's, and no proxy.
func environment() []string {
	env := []string{"PATH=" + strings.Join(searchPath, ":"), "LC_ALL=C.UTF-8", "PYTHONWARNINGS=ignore"}
	if home, ok := os.LookupEnv("HOME"); ok { // where cloud tools keep their profiles
		env = append(env, "HOME="+home)
	}
	return env
}

// stopped is the error of a run that the context ended.
func (a *Agent) stopped(ctx context.Context, action string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return a.problem(recovery.Lost, "stopped", fmt.Sprintf("was stopped while it did %q, because its caller gave up", action))
	}
	return a.problem(recovery.TimedOut, "no end", fmt.Sprintf("did not end %q in time and was stopped; try it by hand, or raise the control's timeout of %s", action, a.timeout))
}

// problem makes an Error about the control; the sentence goes on after the program's name.
func (a *Agent) problem(class recovery.Class, signature, sentence string) *Error {
	program := recovery.Clean(filepath.Base(a.control.Program), 40)
	where := program
	if a.control.Name != "" {
		where += " (" + recovery.Clean(a.control.Name, 60) + ")"
	}
	return &Error{Class: class, Signature: program + ": " + signature, Detail: recovery.Clean(where+" "+sentence, maxDetail)}
}

// reason is an error of the operating system without what we know already.
func reason(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return recovery.Clean(err.Error(), 100)
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	kept []byte
	cut  bool
}

// Write never fails and never grows beyond twice what is kept.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > keep {
		p, t.cut = p[len(p)-keep:], true
	}
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*keep {
		t.kept, t.cut = append(t.kept[:0], t.kept[len(t.kept)-keep:]...), true
	}
	return n, nil
}

// text returns whole lines only: the half line at a cut could hold half a secret.
func (t *tail) text() string {
	kept := t.kept
	if t.cut {
		_, kept, _ = bytes.Cut(kept, []byte("\n"))
	}
	return string(kept)
}
