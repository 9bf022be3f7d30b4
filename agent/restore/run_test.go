package restore

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestCommand(t *testing.T) {
	var lines []string
	e, err := command{path: "/bin/sh", args: []string{"-c", `printf 'a\nb'; printf '\033[31mred\033[0m\nmore' >&2; exit 3`}, line: func(l string) { lines = append(lines, l) }}.run(t.Context())
	if err != nil || e.exit != 3 || e.signal != "" {
		t.Errorf("ended %+v, %v", e, err)
	}
	if strings.Join(lines, "|") != "a|b" {
		t.Errorf("lines %q", lines)
	}
	if e.said != "[31mred[0m; more" {
		t.Errorf("said %q", e.said)
	}
	told, said := 0, ""
	if _, err := (command{path: "/bin/sh", args: []string{"-c", "echo $$"}, line: func(l string) { said = l }, started: func(pid int) { told = pid }}).run(t.Context()); err != nil || strconv.Itoa(told) != said {
		t.Errorf("process %s was told as %d: %v", said, told, err)
	}
	if e, err := (command{path: "/bin/sh", args: []string{"-c", "kill -9 $$"}}).run(t.Context()); err != nil || e.signal != "killed" || e.exit != -1 {
		t.Errorf("killed: %+v, %v", e, err)
	}
	var fault *Fault
	if _, err := (command{path: "/nonexistent/program"}).run(t.Context()); !errors.As(err, &fault) || fault.Signature != "program cannot be started" {
		t.Errorf("a program that is not there: %v", err)
	}
}

// A program that is let go of takes its children with it, and a child that outlives it does not hold us up.
func TestCommandIsLetGoOf(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	began := time.Now()
	_, err := command{path: "/bin/sh", args: []string{"-c", "sleep 600 & echo started; wait"}, line: func(string) { close(started); cancel() }}.run(ctx)
	<-started
	if !errors.Is(err, context.Canceled) || time.Since(began) > letGo+drainTime+5*time.Second {
		t.Errorf("let go: %v after %v", err, time.Since(began))
	}
	if e, err := (command{path: "/bin/sh", args: []string{"-c", "sleep 600 & exit 0"}, line: func(string) {}}).run(t.Context()); err != nil || e.exit != 0 {
		t.Errorf("a child that stays: %+v, %v", e, err)
	}
}
