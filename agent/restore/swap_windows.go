package restore

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

func inode(fs.FileInfo) uint64 { return 0 }

func isNotFolder(error) bool { return false }

// dressAs does nothing: what is made beside a folder inherits the rights that the folder inherits.
func dressAs(string, fs.FileInfo) error { return nil }

// syncDir does nothing: NTFS keeps names in its own journal, and a folder cannot be flushed.
func syncDir(string) error { return nil }

// roomAt is the volume of a path and how many bytes are free on it for us.
func roomAt(path string) (disk string, free int64, err error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return "", 0, err
	}
	var bytes uint64
	err = windows.GetDiskFreeSpaceEx(name, &bytes, nil, nil)
	return strings.ToLower(filepath.VolumeName(path)), int64(bytes), err
}

// lock keeps a second process out of the folder of claims for as long as the file is open.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: another agent works in this folder: %w", path, err)
	}
	return f, nil
}
