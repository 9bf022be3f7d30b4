package fleet

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
)

type importFunc func(name string, data []byte, o ImportOptions) (Imported, error)

// fuzzImport wants, of any input, soon and without a panic: either problems with places in that input, or a fleet file that is
// sound but for what is still to be filled in, holds as many hosts as were counted, and comes out the same again.
func fuzzImport(t *testing.T, read importFunc, name string, data []byte) {
	o := ImportOptions{Defaults: []string{"service=s", "tier=t", "os=linux", "data=none", "edr=e", "user=u"}}
	began := time.Now()
	made, err := read(name, data, o)
	if took := time.Since(began); took > 5*time.Second+time.Duration(made.Hosts)*time.Millisecond && len(data) < 1<<16 { // ten bytes can name 100,000 hosts
		t.Fatalf("%d bytes of %d hosts took %s", len(data), made.Hosts, took)
	}
	if err != nil {
		if strings.Contains(err.Error(), "would not be sound") {
			t.Fatalf("a poor refusal: %v", err)
		}
		placed(t, err, data)
		return
	}
	if made.Hosts == 0 || len(made.File) == 0 {
		t.Fatalf("an empty import: %+v", made)
	}
	for _, b := range made.Blanks {
		windows := strings.HasPrefix(b.Message, "environment of rung ") && name == "l.csv"
		if !windows && !bytes.Contains(data, []byte(fillIn)) && !strings.HasPrefix(b.Message, "address of host ") && !strings.HasPrefix(b.Message, "jump of rung ") && b.Message != "fleet is still to be filled in" {
			t.Fatalf("an unexpected blank: %v", b)
		}
	}
	for _, text := range append(made.Notes, string(bytes.ReplaceAll(made.File, []byte("\n"), nil))) {
		if i := strings.IndexFunc(text, unicode.IsControl); i >= 0 {
			t.Fatalf("a control character was written: %q", text[i:])
		}
	}
	again, err := read(name, data, o)
	if err != nil || !bytes.Equal(again.File, made.File) {
		t.Fatalf("imported again, it is another: %v", err)
	}
	f, err := Parse("f.yaml", made.File)
	if (err == nil) != (len(made.Blanks) == 0) {
		t.Fatalf("%d blanks, and the file that was made gives %v:\n%s", len(made.Blanks), err, made.File)
	}
	if err != nil {
		placed(t, err, made.File)
		return
	}
	if len(f.Hosts) != made.Hosts || len(f.Services) != made.Services || len(f.Tiers) != made.Tiers {
		t.Fatalf("%d hosts, %d services and %d tiers were made of %+v", len(f.Hosts), len(f.Services), len(f.Tiers), made)
	}
	promises(t, f)
}

// placed wants a list of problems, each in one line, with a place that is in the file and with what to do.
func placed(t *testing.T, err error, data []byte) {
	t.Helper()
	var list Errors
	if !errors.As(err, &list) || len(list) == 0 {
		t.Fatalf("%v is not a list of problems", err)
	}
	lines := strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n").Replace(string(data)), "\n") + 1
	for _, e := range list {
		if e.Message == "" || e.Do == "" || strings.ContainsFunc(e.Error(), unicode.IsControl) || len(e.Error()) > 4096 {
			t.Fatalf("a poor problem: %+v", e)
		}
		if e.Line < 1 || e.Line > lines+1 || e.Column < 1 || e.Column > len(data)+1 {
			t.Fatalf("a place outside of %d lines: %+v", lines, e)
		}
	}
}

// seedImports adds the files of the corpus that end so.
func seedImports(f *testing.F, end string) {
	f.Helper()
	files, err := filepath.Glob("testdata/import/corpus/*" + end)
	if err != nil || len(files) == 0 {
		f.Fatalf("no %s in the corpus, %v", end, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzImportINI(f *testing.F) {
	seedImports(f, ".ini")
	for _, text := range []string{
		smallINI, "[a:children]\nb\n[b]\nh[1:3]:22 x='a b'\n[b:vars]\nansible_user=\"'x'\"\n", "[[1:2]x ansible_ssh_args='-J a@b,c -o ProxyJump=d'",
		"\ufeff[a]\r\nh1 ansible_host=10.0.0.1\r\n", "h[1:99999999999999999999]", "h[z:a:0]:0", "[a:vars]\nx=\\\n[a]", "h1 ansible_host=\x1b[31m", "h\x00\n", "[all:children]\nall\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzImport(t, ImportAnsible, "i.ini", data) })
}

func FuzzImportYAML(f *testing.F) {
	seedImports(f, ".yml")
	for _, text := range []string{
		"all:\n  hosts:\n    h1: {ansible_host: 10.0.0.1}\n  children:\n    web: {hosts: 'w[1:3]', vars: {ansible_port: 22}}\n", "a: &a {children: {b: *a}}\n", "a: {b: {c: {<<: [*x]}}}",
		"? {a: b}\n: c\n", "all: {hosts: {h1: {ansible_user: !!binary aGk=}}}\n", "all: {hosts: {h1: {ansible_host: \"\\x1b[31m\"}}}", "%YAML 1.1\n---\nall:\n...\n---\nb:", "all: |\n \t\n", strings.Repeat("a: {", 500),
	} {
		f.Add([]byte(text))
	}
	f.Add(largeYAML(100))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzImport(t, ImportAnsible, "i.yml", data) })
}

func FuzzImportJSON(f *testing.F) {
	for _, text := range []string{
		`{"_meta": {"hostvars": {"h1": {"ansible_host": "10.0.0.1", "ansible_port": 22}}}, "all": {"children": ["web"]}, "web": {"hosts": ["h1"]}}`,
		`{"_meta": {"hostvars": {"h1": {"ansible_port": 1e3, "ansible_host": "\u001b[31m"}}}, "a": {"children": ["b"]}, "b": {"children": ["a"], "hosts": ["h1"]}}`,
		`{"_meta": {}, "_meta": {}, "web": {"hosts": ["h1", "h1", "\ud800"]}}`, strings.Repeat(`{"a":`, 2000), "\ufeff{}", `{"_meta": {}} x`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzImport(t, ImportAnsibleList, "l.json", data) })
}

func FuzzImportCSV(f *testing.F) {
	for _, text := range []string{
		smallCSV, "name,jump\nh1,\"ops@10.0.0.1,x@y\"\n", "name,address,port,service,tier,site,os,data,critical,agent,edr\nh1,10.0.0.1,22,web,one,a,windows-2019,replica,yes,no,falcon\n", "sep=\t\nname\tos\nh1\tlinux\n",
		"name,service\nh1,\"a\nb\"\n", "name,os\nh\"1,linux\n\"h3,linux\n", "\xff\xfen\x00", "name,name\nh,h\n", "name;site\r\rh;\x1b[31m", "name,rack\nh1,=cmd|' /C calc'!A0\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzImport(t, ImportCSV, "l.csv", data) })
}
