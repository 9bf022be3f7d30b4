//go:build unix

package journal

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
)

// limitFileSize makes the disk full for this process.
func limitFileSize(n uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n})
}

// The child checks what a caller sees; here it is checked what the file holds afterwards.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	cmd, told, stderr := startChild(t, "full-disk", path)
	acknowledged := uint64(0)
	for told.Scan() {
		_, _ = fmt.Sscan(told.Text(), &acknowledged)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if acknowledged == 0 {
		t.Fatal("the disk was full before the first append")
	}
	j := reopen(t, path) // with room again
	wantEntries(t, j, "i", acknowledged)
	mustAppend(t, j, "i", entry(acknowledged+1))
}
