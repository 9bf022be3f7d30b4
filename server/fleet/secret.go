package fleet

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// secretRef says where a secret lies: file:PATH or env:NAME. Its messages never repeat what was written: it may be the secret.
type secretRef struct {
	at
	s string
}

const (
	secretFile = "file:"
	secretEnv  = "env:"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (r *secretRef) parse(s string) (problem, do string) {
	const like = "write file:PATH or env:NAME; the secret itself does not belong into this file"
	path, isFile := strings.CutPrefix(s, secretFile)
	name, isEnv := strings.CutPrefix(s, secretEnv)
	switch {
	case len(s) > longestText || strings.ContainsFunc(s, unicode.IsControl):
		return "is too long or holds a control character", like
	case isEnv && !envName.MatchString(name):
		return "names no environment variable", "write env: and a name of letters, digits and underscores, without a space"
	case isFile && (path == "" || path != strings.TrimSpace(path) || strings.HasSuffix(path, "/")):
		return "names no file", "write file: and a path, without a space between them"
	case isFile && path[0] == '~':
		return "begins with ~, which no shell replaces here", "write the path out, or one from the fleet file's folder"
	case isFile:
		if _, do := checkPlaces(path); do != "" {
			return "has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}", "write one of these"
		}
	case !isEnv:
		return "is not where a secret lies", like
	}
	r.s = s
	return "", ""
}

// secret makes a host's reference of a secretRef: a path in the fleet file's folder becomes absolute. The file is not looked at.
func (b *builder) secret(r secretRef, what string, f *facts) string {
	path, isFile := strings.CutPrefix(r.s, secretFile)
	if !isFile {
		return r.s
	}
	return secretFile + b.absolute(r.at, b.fill(r.at, path, what, f))
}

// absolute makes a path that begins in the fleet file's folder absolute.
func (b *builder) absolute(where at, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	if b.dir == "" {
		dir, err := filepath.Abs(filepath.Dir(b.file))
		if err != nil {
			b.add(where, "write the path in full, beginning with /", "the fleet file's folder cannot be told: %v", err)
			dir = "."
		}
		b.dir = dir
	}
	return filepath.Join(b.dir, path)
}

// secretive reports whether an option of this name holds a secret: its words say so, and its last does not say that it is only
// where the secret lies.
func secretive(option string) bool {
	option = strings.ToLower(option)
	last := option[strings.LastIndexAny(option, "-_")+1:]
	switch last {
	case "file", "path", "script":
		return false
	case "key", "kg", "community": // also of IPMI and SNMP
		return true
	}
	return slices.ContainsFunc([]string{"password", "passwd", "passphrase", "secret", "token", "apikey", "credential"}, func(word string) bool {
		return strings.Contains(option, word)
	})
}
