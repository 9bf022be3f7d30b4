//go:build unix

package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

func isNotFolder(err error) bool { return errors.Is(err, syscall.ENOTDIR) }

// dressAs gives what lies at path the owner and the rights of what info tells of.
func dressAs(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// syncDir has the disk take in a folder's names.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// roomAt is the file system of a path and how many bytes are free on it for us.
func roomAt(path string) (disk string, free int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", 0, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "", 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		disk = fmt.Sprint(s.Dev)
	}
	return disk, int64(st.Bavail * uint64(st.Bsize)), nil
}

// lock keeps a second process out of the folder of claims for as long as the file is open.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: another agent works in this folder: %w", path, err)
	}
	return f, nil
}
