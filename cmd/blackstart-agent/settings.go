package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// settings are what the configuration file and the flags say; a flag replaces what the file says.
type settings struct {
	coordinators []string
	host         string
	dir          string
	root         string
	units        []string
	processes    []string
	edrFile      string
	restore      bool // does work on backups
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func readSettings(args []string, stderr io.Writer) (settings, error) {
	var file string
	var coordinators list
	var over settings
	flags := flag.NewFlagSet("blackstart-agent", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&file, "config", "", "configuration `file` of key = value lines; see agent.conf")
	flags.Var(&coordinators, "coordinator", "a coordinator's `IP:port`; repeat it for each, in the order in which to try them")
	flags.StringVar(&over.host, "host", "", "this host's `name` in the fleet file; the one in the certificate by default")
	flags.StringVar(&over.dir, "dir", "", "`folder` with ca.pem, HOST.pem and HOST-key.pem, and for what must survive a reboot; "+defaultDir()+" by default")
	flags.BoolVar(&over.restore, "restore", false, "do work on backups for the coordinator, which lets it run programs and replace data on this host; see agent.conf")
	flags.StringVar(&over.root, "root", "", "`folder` where the disk to be probed is mounted; the running system's by default")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if flags.NArg() > 0 {
		return settings{}, fmt.Errorf("unexpected argument %q; see blackstart-agent -h", flags.Arg(0))
	}
	s := settings{dir: defaultDir()}
	if file != "" {
		if err := s.readFile(file); err != nil {
			return settings{}, err
		}
	}
	if len(coordinators) > 0 {
		s.coordinators = coordinators
	}
	for to, from := range map[*string]string{&s.host: over.host, &s.dir: over.dir, &s.root: over.root} {
		if from != "" {
			*to = from
		}
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "restore" {
			s.restore = over.restore
		}
	})
	if len(s.coordinators) == 0 {
		return settings{}, errors.New("no coordinator; give --coordinator IP:port, or a line `coordinator = IP:port` in the file of --config")
	}
	return s, nil
}

// readFile reads key = value lines. Empty lines and lines that begin with # say nothing. Every wrong line is reported.
func (s *settings) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var errs []error
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok || key == "" || value == "":
			err = fmt.Errorf("%s:%d: %q is not key = value", name, n, line)
		default:
			err = s.set(key, value, seen[key])
			seen[key] = true
			if err != nil {
				err = fmt.Errorf("%s:%d: %w", name, n, err)
			}
		}
		errs = append(errs, err)
	}
	if err := lines.Err(); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", name, err))
	}
	return errors.Join(errs...)
}

func (s *settings) set(key, value string, again bool) error {
	lists := map[string]*[]string{"coordinator": &s.coordinators, "unit": &s.units, "process": &s.processes}
	single := map[string]*string{"host": &s.host, "dir": &s.dir, "root": &s.root, "edr-version-file": &s.edrFile}
	if to, ok := lists[key]; ok {
		*to = append(*to, value)
		return nil
	}
	to, ok := single[key]
	switch {
	case !ok && key != "restore":
		return fmt.Errorf("unknown key %q; the keys are coordinator, host, dir, root, unit, process, edr-version-file and restore", key)
	case again:
		return fmt.Errorf("%s is set twice; leave one", key)
	case key == "restore" && value != "yes" && value != "no":
		return fmt.Errorf("restore is %q; say yes or no", value)
	case key == "restore":
		s.restore = value == "yes"
		return nil
	}
	*to = value
	return nil
}

func defaultDir() string {
	if runtime.GOOS == "windows" {
		if data := os.Getenv("ProgramData"); data != "" {
			return filepath.Join(data, "Blackstart")
		}
		return `C:\ProgramData\Blackstart`
	}
	return "/var/lib/blackstart-agent"
}

// firstLine reads the first line of a small file; whatever goes wrong means that the version is not known.
func firstLine(name string) string {
	f, err := os.OpenFile(name, os.O_RDONLY|noWait, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.Mode()&fs.ModeType != 0 {
		return ""
	}
	data, _ := io.ReadAll(io.LimitReader(f, 256))
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.ToValidUTF8(strings.TrimSpace(line), "")
}
