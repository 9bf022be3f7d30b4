//go:build unix

package power

import (
	"os/exec"
	"syscall"
)

// inOwnGroup puts the program into a process group of its own, which is asked to end when the context does.
func inOwnGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// killGroup ends what is left of the group. As long as one member lives, the group's number is given to nobody else.
func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it fails when nobody is left
}
