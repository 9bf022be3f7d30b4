package server

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/journal"
)

// snapshotGap is how much of the journal a snapshot may be behind.
const snapshotGap = time.Minute

// keepSnapshots copies the journal to file again and again until ctx ends, and once more then. A copy that cannot be made is said
// and tried again; the work goes on.
func keepSnapshots(ctx context.Context, j *journal.Journal, file string, log hclog.Logger) {
	tick := time.NewTicker(snapshotGap)
	defer tick.Stop()
	for {
		if err := snapshot(j, file); err != nil {
			log.Error("the journal could not be copied", "to", file, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := snapshot(j, file); err != nil {
				log.Error("the journal could not be copied at the end", "to", file, "error", err)
			}
			return
		}
	}
}

// snapshot replaces file with a copy of the journal, whole or not at all.
func snapshot(j *journal.Journal, file string) error {
	f, err := os.OpenFile(file+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = j.Snapshot(f)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("copy of the journal: %w", err)
	}
	return os.Rename(file+".new", file)
}
