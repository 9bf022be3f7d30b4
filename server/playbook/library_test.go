package playbook

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// demo is a playbook folder with nothing wrong in it; tests break one thing at a time.
const demoManifest = `name: demo
title: A demonstration
match:
  edr: demo-edr
  os: [windows, linux]
reboot: helps
bad-content:
  - name: bad
    path: /opt/demo/*.bin
    header: AA 01
good-content:
  - name: good
    path: /opt/demo/*.bin
    modified-from: 2024-07-19T05:27:00Z
scripts:
  linux: repair.sh
timeout: 5m
verify-within: 20m
soak: 0s
sources:
  - title: the vendor
    url: https://vendor.example/advice
    retrieved: 2024-07-20
`

const demoScript = "#!/bin/sh\necho BLACKSTART-RESULT outcome=repaired\n"

func demo(manifest string) fstest.MapFS {
	return fstest.MapFS{
		"demo/manifest.yaml": {Data: []byte(manifest)},
		"demo/repair.sh":     {Data: []byte(demoScript)},
		"demo/README.md":     {Data: []byte("read me\n")},
	}
}

func mustLoad(t *testing.T, fsys fstest.MapFS) *Library {
	t.Helper()
	lib, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return lib
}

func TestLoadDemo(t *testing.T) {
	fsys := demo(demoManifest)
	fsys["notes.txt"] = &fstest.MapFile{Data: []byte("no playbook")}
	fsys["pictures/a.png"] = &fstest.MapFile{Data: []byte("no manifest, so no playbook")}
	lib := mustLoad(t, fsys)
	if len(lib.All()) != 1 {
		t.Fatalf("%d playbooks, want 1", len(lib.All()))
	}
	p, ok := lib.ByName("demo")
	if !ok {
		t.Fatal("demo not found by name")
	}
	want := recovery.Playbook{
		Name: "demo", Title: "A demonstration", Digest: p.Facts.Digest,
		Match: recovery.Match{EDR: "demo-edr", OS: []string{"windows", "linux"}}, Reboot: recovery.RebootHelps,
		Environments: []string{recovery.EnvLinux}, Timeout: 5 * time.Minute, VerifyWithin: 20 * time.Minute,
	}
	if !reflect.DeepEqual(p.Facts, want) {
		t.Errorf("facts\n got %+v\nwant %+v", p.Facts, want)
	}
	if d, ok := lib.ByDigest(p.Facts.Digest); !ok || d != p {
		t.Error("not found by its digest")
	}
	s, ok := p.Script(recovery.EnvLinux)
	if !ok || string(s) != demoScript {
		t.Errorf("script %q, %v", s, ok)
	}
	s[0] = 'X'
	if s, _ := p.Script(recovery.EnvLinux); s[0] == 'X' {
		t.Error("a caller can change the script")
	}
	if _, ok := p.Script(recovery.EnvRescueLinux); ok {
		t.Error("a script for an environment that has none")
	}
}

func TestEmbedded(t *testing.T) {
	lib, err := Load(recoveryplaybooks.FS)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := lib.ByName("crowdstrike-channel-file-291")
	if !ok {
		t.Fatal("crowdstrike-channel-file-291 is missing")
	}
	from, to := time.Date(2024, 7, 19, 4, 9, 0, 0, time.UTC), time.Date(2024, 7, 19, 5, 27, 0, 0, time.UTC)
	header := []byte{0xaa, 0xaa, 0xaa, 0xaa, 1, 0, 0x23, 1}
	if b := p.Bad[0]; !b.ModifiedFrom.Equal(from) || !b.ModifiedTo.Equal(to) || !reflect.DeepEqual(b.Header, header) || !b.IgnoreCase {
		t.Errorf("bad probe %+v", b)
	}
	if g := p.Good[0]; !g.ModifiedFrom.Equal(to) || !g.ModifiedTo.IsZero() || !reflect.DeepEqual(g.Header, header) || !g.IgnoreCase {
		t.Errorf("good probe %+v", g)
	}
	if p.Facts.Reboot != recovery.RebootRequired || !p.Preserve {
		t.Errorf("reboot %s, preserve %v", p.Facts.Reboot, p.Preserve)
	}
	if p.Facts.Timeout != 5*time.Minute || p.Facts.VerifyWithin != 20*time.Minute || p.Facts.Soak != 10*time.Minute {
		t.Errorf("times %v %v %v", p.Facts.Timeout, p.Facts.VerifyWithin, p.Facts.Soak)
	}
	envs := map[string][]string{}
	for _, d := range p.Facts.Debts {
		envs[d.ID] = d.Environments
	}
	wantDebts := map[string][]string{
		"kept-copies":    nil,
		"safe-boot-flag": {recovery.EnvWindowsSafeMode},
		"bitlocker-key":  {recovery.EnvRescueLinux, recovery.EnvWindowsSafeMode},
	}
	if !reflect.DeepEqual(envs, wantDebts) {
		t.Errorf("debts %v, want %v", envs, wantDebts)
	}
	for _, e := range []string{recovery.EnvRescueLinux, recovery.EnvWindowsSafeMode} {
		if _, ok := p.Script(e); !ok || !p.Facts.HasEnvironment(e) {
			t.Errorf("no script for %s", e)
		}
	}
	windows := recovery.Host{OS: "windows-2019", EDR: recovery.EDR{Product: "crowdstrike-falcon"}}
	linux := recovery.Host{OS: "linux-debian-12", EDR: recovery.EDR{Product: "edr-linux"}}
	mac := recovery.Host{OS: "macos", EDR: recovery.EDR{Product: "crowdstrike-falcon"}}
	for _, test := range []struct {
		hosts []recovery.Host
		want  string
	}{
		{nil, ""},
		{[]recovery.Host{mac}, ""},
		{[]recovery.Host{mac, windows}, "crowdstrike-channel-file-291"},
		{[]recovery.Host{linux}, "edr-content-linux"},
		{[]recovery.Host{linux, windows}, "crowdstrike-channel-file-291 edr-content-linux"},
	} {
		var names []string
		for _, p := range lib.Matching(test.hosts) {
			names = append(names, p.Facts.Name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("matching %v: %q, want %q", test.hosts, got, test.want)
		}
	}
}

// TestDigest pins the content address: whoever changes how it is made breaks every journal that names one.
func TestDigest(t *testing.T) {
	p, _ := mustLoad(t, demo(demoManifest)).ByName("demo")
	const want = "sha256:e7652f31105833cdd62b9ad6d24480649f9416592f4b0758c55c5a82e203dbe1"
	if p.Facts.Digest != want {
		t.Errorf("digest %s, want %s", p.Facts.Digest, want)
	}
	same := demo(demoManifest)
	for _, f := range same {
		f.Mode, f.ModTime = 0o755, time.Unix(1, 0)
	}
	if q, _ := mustLoad(t, same).ByName("demo"); q.Facts.Digest != want {
		t.Error("times and modes change the digest")
	}
	for name, change := range map[string]func(fstest.MapFS){
		"a byte":        func(m fstest.MapFS) { m["demo/README.md"].Data = []byte("read mE\n") },
		"a line end":    func(m fstest.MapFS) { m["demo/README.md"].Data = []byte("read me\r\n") },
		"a name":        func(m fstest.MapFS) { m["demo/README2.md"] = m["demo/README.md"]; delete(m, "demo/README.md") },
		"a file more":   func(m fstest.MapFS) { m["demo/x"] = &fstest.MapFile{} },
		"a file less":   func(m fstest.MapFS) { delete(m, "demo/README.md") },
		"a deeper file": func(m fstest.MapFS) { m["demo/docs/README.md"] = m["demo/README.md"]; delete(m, "demo/README.md") },
		"a moved boundary": func(m fstest.MapFS) {
			m["demo/README.mdr"] = &fstest.MapFile{Data: []byte("ead me\n")}
			delete(m, "demo/README.md")
		},
		"a script's byte": func(m fstest.MapFS) { m["demo/repair.sh"].Data = []byte(demoScript + "\n") },
	} {
		m := demo(demoManifest)
		change(m)
		if q, _ := mustLoad(t, m).ByName("demo"); q.Facts.Digest == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestOverrides(t *testing.T) {
	embedded := demo(demoManifest)
	embedded["other/manifest.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(demoManifest, "name: demo\n", "name: other\n", 1))}
	embedded["other/repair.sh"] = &fstest.MapFile{Data: []byte(demoScript)}
	old, _ := mustLoad(t, embedded).ByName("demo")

	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := LoadWithOverrides(embedded, dir); err == nil || !strings.Contains(err.Error(), "holds no playbook; put one folder") {
		t.Errorf("an empty folder: %v", err)
	}
	write("demo/manifest.yaml", strings.Replace(demoManifest, "soak: 0s", "soak: 1m", 1))
	write("demo/repair.sh", demoScript)
	lib, err := LoadWithOverrides(embedded, dir)
	if err != nil {
		t.Fatal(err)
	}
	now, _ := lib.ByName("demo")
	if now.Facts.Soak != time.Minute || now.Facts.Digest == old.Facts.Digest {
		t.Errorf("the override is not in use: %+v", now.Facts)
	}
	for _, p := range []*Playbook{old, now} {
		if q, ok := lib.ByDigest(p.Facts.Digest); !ok || q.Facts.Soak != p.Facts.Soak {
			t.Errorf("digest %s is not known", p.Facts.Digest)
		}
	}
	if all := lib.All(); len(all) != 2 || all[0] != now || all[1].Facts.Name != "other" {
		t.Errorf("all: %v", all)
	}

	write("demo/manifest.yaml", "name: demo\n")
	if _, err := LoadWithOverrides(embedded, dir); err == nil || !strings.HasPrefix(err.Error(), filepath.Join(dir, "demo", "manifest.yaml")+":1:1: ") {
		t.Errorf("a bad override: %v", err)
	}
	if _, err := LoadWithOverrides(embedded, filepath.Join(dir, "nowhere")); err == nil || !strings.Contains(err.Error(), "name an existing folder") {
		t.Errorf("a missing folder: %v", err)
	}
	if lib, err := LoadWithOverrides(embedded, ""); err != nil || len(lib.All()) != 2 {
		t.Errorf("no folder: %v", err)
	}
	if err := os.Symlink(filepath.Join(dir, "demo"), filepath.Join(dir, "linked")); err == nil {
		if _, err := LoadWithOverrides(embedded, dir); err == nil || !strings.Contains(err.Error(), "linked: is a link") {
			t.Errorf("a linked folder: %v", err)
		}
		os.Remove(filepath.Join(dir, "linked"))
	}
	write("demo/manifest.yaml", demoManifest)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "demo", "passwd")); err == nil {
		if _, err := LoadWithOverrides(embedded, dir); err == nil || !strings.Contains(err.Error(), "passwd: is not a plain file") {
			t.Errorf("a linked file: %v", err)
		}
	}
}
