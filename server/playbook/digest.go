package playbook

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of one playbook's folder.
const (
	maxFiles      = 64
	maxFileBytes  = 1 << 20
	maxTotalBytes = 4 << 20
	maxManifest   = 64 << 10
)

// fileName keeps out what an embedded folder would leave out (names that start with . or _) and editors' leftovers, so
// that the same folder has the same digest wherever it is read.
var fileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

var backup = regexp.MustCompile(`(~|\.(swp|bak|orig|rej))$`)

// readFolder reads every file of a playbook, by its path in the folder.
func readFolder(fsys fs.FS, folder, shown string) (map[string][]byte, []error) {
	files := map[string][]byte{}
	var problems []error
	seen, total := 0, 0
	bad := func(name, format string, args ...any) {
		problems = append(problems, &Problem{File: filepath.Join(shown, name), What: fmt.Sprintf(format, args...)})
	}
	err := fs.WalkDir(fsys, folder, func(p string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(p, folder), "/")
		switch {
		case err != nil:
			bad(name, "cannot be read (%v); check its permissions", err)
			return fs.SkipDir
		case name == "":
			return nil
		case !fileName.MatchString(e.Name()) || backup.MatchString(e.Name()):
			bad(name, "does not belong into a playbook, whose digest covers every file; remove it, or rename it with letters, digits, . _ and -")
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case seen == maxFiles:
			bad("", "holds more than %d files and folders; move what is no part of the playbook elsewhere", maxFiles)
			return fs.SkipAll
		}
		seen++
		switch {
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			bad(name, "is not a plain file; put the file itself there, not a link")
			return nil
		}
		most := maxFileBytes
		if name == manifestName {
			most = maxManifest
		}
		data, err := readBounded(fsys, p, most)
		switch {
		case err != nil:
			bad(name, "cannot be read (%v); check its permissions", err)
		case len(data) > most:
			bad(name, "is larger than %d KiB; make it smaller", most>>10)
		}
		if total += len(data); total > maxTotalBytes {
			bad("", "is larger than %d MiB; move what is no part of the playbook elsewhere", maxTotalBytes>>20)
			return fs.SkipAll
		}
		files[name] = data
		return nil
	})
	if err != nil {
		bad("", "cannot be listed (%v); check its permissions", err)
	}
	return files, problems
}

// readBounded reads at most one byte more than most.
func readBounded(fsys fs.FS, name string, most int) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(most)+1))
}

// digest is the content address of a playbook: SHA-256 over every file's path and bytes in the order of the paths, each
// with its length before it. Times, modes and owners do not count; line ends do.
func digest(files map[string][]byte) string {
	h := sha256.New()
	put := func(b []byte) {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(b)))
		h.Write(length[:])
		h.Write(b)
	}
	put([]byte("blackstart playbook 1"))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		put([]byte(name))
		put(files[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// scriptProblem says what would keep a script from running; empty means nothing.
func scriptProblem(name string, body []byte) string {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return "is empty; write it or remove the environment"
	case bytes.IndexByte(body, 0) >= 0:
		return "is not text; name a script"
	case strings.HasSuffix(name, ".sh") && bytes.IndexByte(body, '\r') >= 0:
		return "has Windows line ends, on which a shell stumbles; save it with line feeds only"
	case strings.HasSuffix(name, ".ps1") && bytes.ContainsFunc(body, func(r rune) bool { return r > 0x7e }):
		return "holds characters that PowerShell 5.1 misreads; use plain ASCII"
	case !bytes.Contains(body, []byte("BLACKSTART-RESULT")):
		return "prints no BLACKSTART-RESULT line, without which no repair counts; print it last"
	}
	return ""
}

var deletion = regexp.MustCompile(`(?i)(^|[\s;&|({` + "`" + `])(rm|unlink|shred|remove-item|del|erase)\s|\s-delete\b|file\]::delete|\.delete\(`)

// deletes returns the first line of a script that deletes a file by the look of it, or 0. It is a reminder for authors,
// not a barrier: whoever writes a playbook is trusted, and approved by its digest.
func deletes(body []byte) int {
	line := 0
	for l := range bytes.Lines(body) {
		line++
		if t := bytes.TrimSpace(l); !bytes.HasPrefix(t, []byte("#")) && deletion.Match(l) {
			return line
		}
	}
	return 0
}
