//go:build !linux

package restore

import (
	"io/fs"
	"path/filepath"
	"time"
)

// written adds up what lies below into. It takes a twentieth of the time at most, as a walk over a million files is not for nothing.
func written(_ int, into string) func() int64 {
	var sum int64
	var next time.Time
	return func() int64 {
		began := time.Now()
		if began.Before(next) {
			return sum
		}
		sum = 0
		_ = filepath.WalkDir(into, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // what cannot be seen is not counted
			}
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
			return nil
		})
		next = time.Now().Add(20 * time.Since(began))
		return sum
	}
}

// read: nothing tells.
func read(int) func() int64 { return func() int64 { return 0 } }

// stirred: nothing tells.
func stirred(int) int64 { return 0 }
