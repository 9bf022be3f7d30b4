package playbook

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Probe matches regular files on a host. All conditions that are set must hold: a name alone never decides, so at least
// one of Header, the two times and SHA256 is set.
//
// Whoever evaluates a playbook's probes counts a file once: as bad if any bad-content probe matches it, else as good if
// any good-content probe does. Symbolic links are not files, and a folder that is reached through a link counts only
// when it lies below the root. When no probe's folder exists, the place is missing, which says nothing about bad or good.
type Probe struct {
	Name         string    // for people
	Path         string    // absolute slash-separated path below the root; any element may hold * and ? (one byte)
	IgnoreCase   bool      // match path elements without regard to case (Windows volumes)
	Header       []byte    // the file's first bytes
	ModifiedFrom time.Time // zero means no lower end; inclusive, whole seconds
	ModifiedTo   time.Time // zero means no upper end; exclusive, whole seconds
	SHA256       string    // of the whole file, lower-case hex
	MinSize      int64
}

// Bounds of a probe: far more than any real one needs.
const (
	maxPath         = 1024
	maxPathElements = 32
	maxHeader       = 64
)

var (
	safePath = regexp.MustCompile(`^[A-Za-z0-9._ ()+,=@{}~*?/-]+$`)
	digestRE = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// pathProblem says what is wrong with a probe's path; empty means nothing. The alphabet is small so that a path means the
// same to a shell, to Go and to a person.
func pathProblem(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "a probe's path starts with / and lies below the host's root"
	case len(p) > maxPath:
		return fmt.Sprintf("the path has %d characters; use at most %d", len(p), maxPath)
	case !safePath.MatchString(p):
		return "a path holds letters, digits, spaces, the wildcards * and ? and . _ - ( ) + , = @ { } ~ only; put ? for any other character"
	}
	elements := strings.Split(p[1:], "/")
	if len(elements) > maxPathElements {
		return fmt.Sprintf("the path has %d elements; use at most %d", len(elements), maxPathElements)
	}
	for _, e := range elements {
		switch e {
		case "":
			return "the path has an empty element; write single slashes and no slash at the end"
		case ".", "..":
			return "the path has the element " + e + "; write it out from the root"
		}
	}
	if strings.Trim(elements[len(elements)-1], "*?") == "" {
		return "the last element is all wildcards and would match any file; name the files more closely"
	}
	return ""
}
