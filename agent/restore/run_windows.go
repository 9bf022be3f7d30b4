package restore

import (
	"os"
	"os/exec"
)

// own: Windows has no process groups of this kind, and programs run as the agent does.
func own(*exec.Cmd, string) error { return nil }

func sweep(*exec.Cmd) {}

// systemEnv is what programs on Windows do not run without, and where they look for the folder of passing files.
func systemEnv() []string {
	return []string{"SYSTEMROOT=" + os.Getenv("SYSTEMROOT"), "TEMP=" + os.TempDir(), "TMP=" + os.TempDir()}
}

func signalOf(*exec.ExitError) string { return "" }
