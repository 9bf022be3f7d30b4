//go:build unix

package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

func makeFIFO(name string) error {
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		return fmt.Errorf("make FIFO %s: %w", name, err)
	}
	return nil
}

// ownGroup makes a command the leader of a new process group, so that it can be killed with its children.
func ownGroup(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// killGroup ends a process that was started with ownGroup and not yet waited for, and its group.
func killGroup(p *os.Process) { _ = syscall.Kill(-p.Pid, syscall.SIGKILL) }

// signalGroup passes an SSH signal on.
func signalGroup(p *os.Process, name string) {
	if sig, ok := map[string]syscall.Signal{
		"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "QUIT": syscall.SIGQUIT, "TERM": syscall.SIGTERM,
	}[name]; ok {
		_ = syscall.Kill(-p.Pid, sig)
	}
}

// killMarked ends process pid and its group, if it is still the one that the lab knows: a pid may belong to somebody else by
// now. It is ours when mark stands in its environment. Without /proc nothing is known of it, and it is left alone.
func killMarked(pid int, mark string) {
	if !marked(pid, mark) {
		return
	}
	if group, err := syscall.Getpgid(pid); err == nil && group > 1 && group != syscall.Getpgrp() {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func marked(pid int, mark string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	return err == nil && bytes.Contains(env, []byte(mark))
}

// killAllMarked ends every process on this computer that has mark in its environment.
func killAllMarked(mark string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid > 1 && pid != os.Getpid() {
			killMarked(pid, mark)
		}
	}
}
