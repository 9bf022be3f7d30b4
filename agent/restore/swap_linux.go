package restore

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// canExchange says that two names can be exchanged in one step. A file system may still be unable to.
const canExchange = true

// exchange gives each of two names what the other had, in one step. errors.ErrUnsupported: it cannot be done here.
func exchange(a, b string) error { return renameat2("exchange", a, b, unix.RENAME_EXCHANGE) }

// renameToNothing renames, and fails when there is something at to.
func renameToNothing(from, to string) error {
	err := renameat2("rename", from, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return renameUnlessThere(from, to)
}

func renameat2(what, a, b string, flags uint) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, flags)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%s: %w", what, errors.ErrUnsupported)
	}
	if err != nil {
		return &os.LinkError{Op: what, Old: a, New: b, Err: err}
	}
	return nil
}

// flush has the disk take in everything that was written to the file system of path.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// mountIn is a mount point at path or below it; empty: there is none.
func mountIn(path string) (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, maxLine)
	for scan.Scan() {
		if fields := strings.Fields(scan.Text()); len(fields) > 4 {
			if at := unescape(fields[4]); at == path || strings.HasPrefix(at, withSlash(path)) {
				return at, nil
			}
		}
	}
	return "", scan.Err()
}

// unescape reads a path as the kernel writes it: "\040" for a space.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
