package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/blackstart-recovery/blackstart/agent/health"
)

// memory is what a reboot must not take away: the highest epoch obeyed, and the probes to run at the next start, so that
// the first hello says already whether the bad content is there.
type memory struct {
	Epoch uint64            `json:"epoch"`
	Sets  []health.ProbeSet `json:"sets,omitempty"`
}

const (
	memoryName = "agent-memory.json"
	maxMemory  = 4 * maxMessage // bytes; what an instruction may hold fits in here
)

// recall reads the memory. Together with an error it returns an empty memory, to start with.
func recall(dir string) (memory, error) {
	var m memory
	if dir == "" {
		return m, nil
	}
	f, err := os.Open(filepath.Join(dir, memoryName))
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("agent memory: %w", err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxMemory+1))
	if err == nil && len(data) > maxMemory {
		err = fmt.Errorf("longer than %d bytes", maxMemory)
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return memory{}, fmt.Errorf("agent memory %s cannot be read and will be replaced: %w", f.Name(), err)
	}
	return m, nil
}

// save replaces the memory's file as a whole: after a crash there is the old one or the new one.
func (m memory) save(dir string) (err error) {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("agent memory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("agent memory: %w", err)
	}
	f, err := os.CreateTemp(dir, memoryName+".*")
	if err != nil {
		return fmt.Errorf("agent memory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("agent memory: %w", err)
		}
	}()
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, memoryName))
}
