package power

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestMain lets many tests wait at once: they wait for programs and deadlines, not for a processor.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil { // the command line's wins
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// program writes a shell script that finds its action in $action, all lines that it was told in $told and its own folder in $home.
func program(t *testing.T, body string) recovery.Control {
	t.Helper()
	home := t.TempDir()
	path := filepath.Join(home, "fence_fake")
	text := "#!/bin/sh\nhome=" + home + "\ntold=$(cat)\naction=$(echo \"$told\" | sed -n 's/^action=//p')\necho $action >> $home/actions\n" + body + "\n"
	writeProgram(t, path, text)
	return recovery.Control{Name: "bmc", Kind: recovery.ControlAgent, Program: path, Timeout: 20 * time.Second}
}

// writeProgram writes an executable file while no other test forks: a child that inherits it open for writing makes it busy.
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// actions are those that the program was started for.
func actions(t *testing.T, control recovery.Control) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(filepath.Dir(control.Program), "actions"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(content)), " ")
}

// wantError checks an error's class and signature, and that its detail is one clean sentence.
func wantError(t *testing.T, err error, class recovery.Class, signature string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v, want %s, %q", err, class, signature)
	}
	_, short, _ := strings.Cut(e.Signature, ": ")
	if e.Class != class || short != signature {
		t.Errorf("got %s, %q (%s), want %s, %q", e.Class, short, e.Detail, class, signature)
	}
	if e.Detail == "" || e.Detail != recovery.Clean(e.Detail, maxDetail+1) {
		t.Errorf("detail is not one clean sentence: %q", e.Detail)
	}
}
