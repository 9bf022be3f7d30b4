package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSettings(t *testing.T) {
	dir := t.TempDir()
	conf := file(t, filepath.Join(dir, "agent.conf"), "\ufeff# comment\n\ncoordinator = 192.0.2.1:1\r\ncoordinator=192.0.2.2:2\nhost = app1\nroot=/mnt\nunit = a\nunit = b\nprocess = p\nedr-version-file = /v\n")
	s, err := readSettings([]string{"--config", conf}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.coordinators, []string{"192.0.2.1:1", "192.0.2.2:2"}) || s.host != "app1" || s.root != "/mnt" || s.dir != defaultDir() ||
		!slices.Equal(s.units, []string{"a", "b"}) || !slices.Equal(s.processes, []string{"p"}) || s.edrFile != "/v" {
		t.Errorf("%+v", s)
	}
	s, err = readSettings([]string{"--config", conf, "--coordinator", "192.0.2.9:9", "--host", "app2", "--dir", "/d", "--root", "/r"}, &bytes.Buffer{})
	if err != nil || !slices.Equal(s.coordinators, []string{"192.0.2.9:9"}) || s.host != "app2" || s.dir != "/d" || s.root != "/r" {
		t.Errorf("flags replace the file's: %+v, %v", s, err)
	}
}

// Work on backups is off until somebody says yes, and a flag has the last word.
func TestRestoreIsOffUntilAskedFor(t *testing.T) {
	dir := t.TempDir()
	conf := func(line string) string {
		return file(t, filepath.Join(dir, "agent.conf"), "coordinator = 192.0.2.1:1\n"+line+"\n")
	}
	for _, c := range []struct {
		line string
		flag []string
		want bool
	}{
		{"", nil, false},
		{"restore = yes", nil, true},
		{"restore = no", nil, false},
		{"", []string{"--restore"}, true},
		{"restore = no", []string{"--restore"}, true},
		{"restore = yes", []string{"--restore=false"}, false},
	} {
		s, err := readSettings(append([]string{"--config", conf(c.line)}, c.flag...), &bytes.Buffer{})
		if err != nil || s.restore != c.want {
			t.Errorf("%q with %q: %v, %v", c.line, c.flag, s.restore, err)
		}
	}
	for want, line := range map[string]string{`restore is "true"; say yes or no`: "restore = true", "restore is set twice": "restore = no\nrestore = yes"} {
		if _, err := readSettings([]string{"--config", conf(line)}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

// The example beside the program is a valid file as it stands.
func TestExampleFile(t *testing.T) {
	s, err := readSettings([]string{"--config", "agent.conf"}, &bytes.Buffer{})
	if err != nil || len(s.coordinators) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	data, err := os.ReadFile("agent.conf")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		line, off := strings.CutPrefix(strings.TrimSpace(line), "#")
		if key, value, ok := strings.Cut(line, " = "); off && ok && !strings.Contains(key, " ") {
			if err := s.set(key, value, false); err != nil {
				t.Errorf("a line that is switched off: %v", err)
			}
		}
	}
}

func TestWrongSettings(t *testing.T) {
	dir := t.TempDir()
	for want, text := range map[string]string{
		"bad.conf:2: \"host\" is not key = value": "coordinator = 192.0.2.1:1\nhost\n",
		"bad.conf:1: unknown key \"hots\"":        "hots = x\n",
		"bad.conf:3: host is set twice":           "coordinator = 192.0.2.1:1\nhost = a\nhost = b\n",
		"no coordinator":                          "# nothing\n",
		"is not key = value\n":                    "= x\nroot =\n", // both are told
	} {
		_, err := readSettings([]string{"--config", file(t, filepath.Join(dir, "bad.conf"), text)}, &bytes.Buffer{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args []string
		exit int
		out  string
	}{
		{[]string{"version"}, exitDone, "blackstart-agent dev"},
		{[]string{"-h"}, exitDone, "usage:"},
		{[]string{"repair"}, exitUsage, `unknown command "repair"`},
		{[]string{"--nonsense"}, exitUsage, "nonsense"},
		{[]string{"run", "extra"}, exitUsage, `unexpected argument "extra"`},
		{nil, exitUsage, "no coordinator"},
		{[]string{"--config", "/nowhere/agent.conf"}, exitUsage, "/nowhere/agent.conf"},
		{[]string{"--coordinator", "192.0.2.1:1", "--dir", t.TempDir()}, exitFailed, "0 files named HOST-key.pem"},
		{[]string{"--coordinator", "192.0.2.1:1", "--dir", t.TempDir(), "--host", "../x"}, exitFailed, "no plain name"},
	} {
		var out bytes.Buffer
		if exit := start(c.args, &out, &out); exit != c.exit || !strings.Contains(out.String(), c.out) {
			t.Errorf("%q: exit %d, %s", c.args, exit, out.String())
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "agent.log")
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 2 { // the second time it finds a log that is there already
		l, err := openLog(name)
		if err != nil {
			t.Fatal(err)
		}
		for range 1500 {
			if _, err := l.Write(line); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{name, name + ".1"} {
		if info, err := os.Stat(n); err != nil || info.Size() > maxLog || info.Size() == 0 {
			t.Errorf("%s: %v, %v", n, info, err)
		}
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 2 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestFirstLine(t *testing.T) {
	dir := t.TempDir()
	if got := firstLine(file(t, filepath.Join(dir, "v"), " 7.11.18110 \nmore")); got != "7.11.18110" {
		t.Errorf("%q", got)
	}
	if got := firstLine(file(t, filepath.Join(dir, "long"), strings.Repeat("x", 4000))); len(got) != 256 {
		t.Errorf("%d bytes", len(got))
	}
	if got := firstLine(filepath.Join(dir, "none")) + firstLine(dir); got != "" {
		t.Errorf("%q", got)
	}
}
