package restore

import (
	"flag"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain gives all tests one folder for temporary ones, so that what they leave there is theirs, and has more of them run at a time
// than there are processors: they wait for other programs most of the time.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bs")
	if err != nil {
		panic(err)
	}
	flag.Parse()
	for _, err := range []error{os.Chmod(dir, 0o755), os.Setenv("TMPDIR", dir), flag.Set("test.parallel", "8")} { //nolint:gosec // PostgreSQL runs as another user
		if err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
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
