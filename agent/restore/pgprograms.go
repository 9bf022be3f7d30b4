package restore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// pgPrograms are PostgreSQL's programs of the major version that wrote a data directory: no other can read it.
type pgPrograms struct {
	dir   string
	major int
}

func (p pgPrograms) path(name string) string { return filepath.Join(p.dir, name) }

var pgVersionText = regexp.MustCompile(`^(\d{2,3})\n?$`)

// pgProgramsFor finds the programs for a data directory: in bin where that is given, else where Debian and Red Hat put those of its
// version, else in the PATH.
func pgProgramsFor(ctx context.Context, bin, data string) (pgPrograms, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return pgPrograms{}, &Fault{Failed, "no database there", sentence(fmt.Sprintf("There is no PostgreSQL data directory in %s: %v", data, err))}
	}
	m := pgVersionText.FindStringSubmatch(string(text))
	if m == nil {
		return pgPrograms{}, &Fault{Failed, "database version not known", sentence(fmt.Sprintf("The file PG_VERSION in %s says %.20q, which is no version from 10 on", data, text))}
	}
	major, _ := strconv.Atoi(m[1]) // three digits at most
	dirs := []string{bin}
	if bin == "" {
		dirs = []string{"/usr/lib/postgresql/" + m[1] + "/bin", "/usr/pgsql-" + m[1] + "/bin"}
		if path, err := exec.LookPath("postgres"); err == nil && pgMajor(ctx, path) == m[1] {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, dir := range dirs {
		if _, err := exec.LookPath(filepath.Join(dir, "postgres")); err == nil {
			return pgPrograms{dir, major}, nil
		}
	}
	return pgPrograms{}, &Fault{Failed, "database programs missing", sentence(fmt.Sprintf(
		"PostgreSQL %d is not installed on this machine, looked for in %s; install that version, or name its folder of programs as option \"bin\"", major, strings.Join(dirs, ", ")))}
}

// pgMajor asks a program which major version it is of.
func pgMajor(ctx context.Context, path string) string {
	var said string
	if _, err := (command{path: path, args: []string{"--version"}, line: func(line string) { said = line }}).run(ctx); err != nil {
		return ""
	}
	version := said[strings.LastIndex(said, ") ")+1:]
	major, _, _ := strings.Cut(strings.TrimSpace(version), ".")
	return major
}

// control is what pg_controldata tells of a data directory.
func (p pgPrograms) control(ctx context.Context, data string) (map[string]string, error) {
	all := make(map[string]string)
	e, err := command{path: p.path("pg_controldata"), args: []string{"-D", data}, line: func(line string) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			all[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}}.run(ctx)
	if err != nil {
		return nil, err
	}
	if e.exit != 0 || e.signal != "" || all["Database cluster state"] == "" {
		return nil, &Fault{Failed, SignatureDamagedPoint, sentence("The database's control file cannot be read: " + e.said)}
	}
	return all, nil
}
