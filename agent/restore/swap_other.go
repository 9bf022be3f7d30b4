//go:build !linux

package restore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// canExchange: two names cannot be exchanged here, so a swap goes in two steps. The programs that use the data are stopped then.
const canExchange = false

func exchange(string, string) error { return errors.ErrUnsupported }

func renameToNothing(from, to string) error { return renameUnlessThere(from, to) }

// mountIn: what is mounted where is not known here. A target that is a mount point cannot be renamed, and the swap fails by that.
func mountIn(string) (string, error) { return "", nil }

// flush has the disk take in what lies at path, file by file.
func flush(path string) error {
	return filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
