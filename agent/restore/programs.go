package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const programTime = 10 * time.Minute // for all that stop, and for all that start

// commands are what the sets name, each once, in order.
func commands(sets []SetWork, of func(Set) []string) (all [][]string) {
	for _, s := range sets {
		argv := of(s.Set)
		if len(argv) > 0 && !slices.ContainsFunc(all, func(o []string) bool { return slices.Equal(o, argv) }) {
			all = append(all, argv)
		}
	}
	return all
}

// startPrograms starts what uses the targets, in the order of the sets; it was stopped in the other. All are tried.
func (t *task) startPrograms() error {
	t.at(t.job, "starting programs")
	ctx, cancel := context.WithTimeout(context.Background(), programTime)
	defer cancel()
	var errs []error
	for i, argv := range commands(t.claim.work.Sets, func(s Set) []string { return s.Start }) {
		if err := t.run(ctx, argv, filepath.Join(t.claim.dir, fmt.Sprintf("start-%d.log", i+1))); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(argv, " "), err))
		}
		t.step("program started")
	}
	return errors.Join(errs...)
}

// runProgram runs one of the fleet file's programs, without a shell. With a file said it is one that starts something: its messages go
// there, because a pipe would break once we are gone, and what it leaves running stays.
func runProgram(ctx context.Context, argv []string, said string) error {
	if said == "" {
		e, err := command{path: argv[0], args: argv[1:]}.run(ctx)
		return wentWell(e.exit, e.signal, e.said, err)
	}
	f, err := os.OpenFile(said, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = cleanEnv()
	cmd.Stderr = f
	cmd.WaitDelay = letGo
	if err := own(cmd, ""); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		sweep(cmd)
		return fmt.Errorf("did not end in time: %w", ctx.Err())
	}
	text := make([]byte, maxSaid)
	n := 0
	if info, err := f.Stat(); err == nil {
		n, _ = f.ReadAt(text, max(0, info.Size()-maxSaid))
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return wentWell(exit.ExitCode(), signalOf(exit), clean(string(text[:n]), maxSaid), nil)
	}
	return err
}

// wentWell makes an error of everything but exit 0.
func wentWell(exit int, signal, said string, err error) error {
	switch {
	case err != nil:
		return err
	case signal != "":
		return fmt.Errorf("was ended by signal %s: %s", signal, said)
	case exit != 0:
		return fmt.Errorf("ended with exit %d: %s", exit, said)
	}
	return nil
}
