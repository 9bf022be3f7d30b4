package restore

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A program ends when the agent that started it is killed, which cannot end it itself.
func TestAProgramEndsWithTheAgent(t *testing.T) {
	const asAgent = "BLACKSTART_TEST_AGENT_OF"
	if line := os.Getenv(asAgent); line != "" {
		_, err := command{path: "/bin/sh", args: []string{"-c", `exec sleep 600 >"$0"`, line}}.run(t.Context())
		t.Fatalf("the program has ended by itself: %v", err)
	}
	line := filepath.Join(t.TempDir(), "line") // open for writing as long as the program runs
	if err := syscall.Mkfifo(line, 0o600); err != nil {
		t.Fatal(err)
	}
	agent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	agent.Env = append(os.Environ(), asAgent+"="+line)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	fifo, err := os.OpenFile(line, os.O_RDONLY, 0) // returns when the program runs
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fifo.Close() }()
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := agent.Wait(); err == nil {
		t.Error("the agent has ended well")
	}
	if err := fifo.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fifo.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the program goes on: %v", err)
	}
}
