package server

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// The copy opens as a journal by itself and holds what was there; a copy that fails leaves the last one whole.
func TestSnapshot(t *testing.T) {
	dir := t.TempDir()
	j, err := journal.Open(filepath.Join(dir, JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	seen := func(file string) int {
		t.Helper()
		c, err := journal.OpenReadOnly(file)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		s, err := c.Sightings()
		if err != nil {
			t.Fatal(err)
		}
		return len(s)
	}
	file := filepath.Join(dir, "copy.db")
	if err := snapshot(j, file); err != nil {
		t.Fatal(err)
	}
	if n := seen(file); n != 0 {
		t.Errorf("%d sightings, want none", n)
	}
	if err := j.SaveSightings([]recovery.Sighting{{Host: "a"}}); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	keepSnapshots(ended, j, file, hclog.NewNullLogger()) // makes the last copy even so
	if n := seen(file); n != 1 {
		t.Errorf("%d sightings, want 1", n)
	}
	if err := os.Mkdir(file+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := snapshot(j, file); err == nil {
		t.Error("a copy that cannot be written is no error")
	}
	if n := seen(file); n != 1 {
		t.Errorf("%d sightings after a failed copy, want 1", n)
	}
}
