//go:build e2e && linux

package journal

import (
	"syscall"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// A file system without room: the write itself fails, where TestFullDisk lets the growing of the file fail. Needs root.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("a small file system for the test: %v (it needs root)", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := dir + "/journal.db"
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for err == nil {
		if err = j.Append("i", n, []recovery.Entry{entry(n + 1)}); err == nil {
			n++
		}
	}
	if err := checkRefusal(j, n, err); err != nil {
		t.Fatal(err)
	}
	j, err = OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	wantEntries(t, j, "i", n)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
