package restore

import (
	"os/exec"
	"runtime"
	"syscall"
)

// tie has the program killed when we are, however that happens: nobody else would end a restic that goes on reading and keeps its lock. The
// kernel goes by the thread that starts it, which has to stay until the program has ended and the answer is called.
func tie(cmd *exec.Cmd) (untie func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return runtime.UnlockOSThread
}
