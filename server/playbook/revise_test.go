package playbook

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// onDisk writes the demo playbook below a folder.
func onDisk(t *testing.T, dir string, files fstest.MapFS) {
	t.Helper()
	for name, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefreshKeepsEarlierVersions(t *testing.T) {
	dir := t.TempDir()
	embedded := demo(strings.Replace(demoManifest, "A demonstration", "Built in", 1))
	onDisk(t, dir, demo(demoManifest))
	lib, err := LoadWithOverrides(embedded, dir)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := lib.ByName("demo")
	if first.Facts.Title != "A demonstration" {
		t.Fatal(first.Facts.Title)
	}
	onDisk(t, dir, demo(strings.Replace(demoManifest, "A demonstration", "Better", 1)))
	if p, _ := lib.ByName("demo"); p != first {
		t.Error("it reads by itself")
	}
	if err := lib.Refresh(); err != nil {
		t.Fatal(err)
	}
	second, _ := lib.ByName("demo")
	if second.Facts.Title != "Better" || len(lib.All()) != 1 {
		t.Errorf("%s of %d", second.Facts.Title, len(lib.All()))
	}
	if p, ok := lib.ByDigest(first.Facts.Digest); !ok || p != first {
		t.Error("the first version is gone")
	}
	onDisk(t, dir, demo(strings.Replace(demoManifest, "helps", "perhaps", 1)))
	if err := lib.Refresh(); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("a broken manifest: %v", err)
	}
	if p, _ := lib.ByName("demo"); p != second {
		t.Error("a broken manifest changed the library")
	}

	for name, want := range map[string]*Playbook{
		"demo": second, first.Facts.Digest: first, first.Facts.Digest[:leastDigest]: first, second.Facts.Digest[:20]: second,
		"sha256:": nil, "other": nil, "": nil, first.Facts.Digest[:leastDigest-1]: nil, "sha256:zzzzzz": nil,
	} {
		if p, ok := lib.Find(name); p != want || ok != (want != nil) {
			t.Errorf("%q finds %v, %v", name, p, ok)
		}
	}
	if err := mustLoad(t, demo(demoManifest)).Refresh(); err != nil {
		t.Errorf("without a folder: %v", err)
	}
}

func TestChanges(t *testing.T) {
	load := func(change ...string) *Playbook {
		t.Helper()
		p, ok := mustLoad(t, demo(strings.NewReplacer(change...).Replace(demoManifest))).ByName("demo")
		if !ok {
			t.Fatal("no demo")
		}
		return p
	}
	from := load()
	for _, c := range []struct {
		change []string
		want   []string
	}{
		{nil, nil},
		{[]string{"A demonstration", "Another title"}, nil},
		{[]string{"header: AA 01", "header: AA 02"}, []string{"other probes for bad content"}},
		{[]string{"T05:27:00Z", "T05:28:00Z"}, []string{"other probes for good content"}},
		{[]string{"reboot: helps", "reboot: required", "soak: 0s", "soak: 1h"}, []string{"reboot required, before helps", "soak 1h0m0s, before 0s"}},
		{[]string{"timeout: 5m", "timeout: 6m", "verify-within: 20m", "verify-within: 30m"}, []string{"timeout 6m0s, before 5m0s", "verify-within 30m0s, before 20m0s"}},
		{[]string{"[windows, linux]", "[linux]"}, []string{"meant for other hosts: demo-edr on linux, before demo-edr on windows, linux"}},
		{[]string{"  linux: repair.sh", "  linux: repair.sh\n  rescue-linux: repair.sh"}, []string{"a script for rescue-linux"}},
		{[]string{"  linux: repair.sh", "  rescue-linux: repair.sh"}, []string{"no script for linux any more", "a script for rescue-linux"}},
		{[]string{"sources:", "debts:\n  - {id: kept, what: Kept.}\nsources:"}, []string{"other debts"}},
	} {
		if got := Changes(from, load(c.change...)); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.change, got, c.want)
		}
	}
	other := demo(demoManifest)
	other["demo/repair.sh"] = &fstest.MapFile{Data: []byte(demoScript + "# more\n")}
	other["demo/hands.md"] = &fstest.MapFile{Data: []byte("Go there.\n")}
	to, _ := mustLoad(t, other).ByName("demo")
	if got := Changes(from, to); !slices.Equal(got, []string{"another script for linux", "other words for people"}) {
		t.Errorf("%q", got)
	}
}

// A version that a revision replaces outlives the coordinator, unless its copy is damaged.
func TestVersionsAreKept(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "versions")
	onDisk(t, dir, demo(demoManifest))
	onDisk(t, dir, fstest.MapFS{"demo/more/notes.md": {Data: []byte("below\n")}})
	open := func() (*Library, error) {
		t.Helper()
		lib, err := LoadWithOverrides(fstest.MapFS{}, dir)
		if err != nil {
			t.Fatal(err)
		}
		return lib, lib.Keep(kept)
	}
	lib, err := open()
	if err != nil {
		t.Fatal(err)
	}
	first, _ := lib.ByName("demo")
	for range 2 {
		if err := lib.Save(first.Facts.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if err := lib.Save("sha256:unknown"); err != nil {
		t.Error(err)
	}
	onDisk(t, dir, demo(strings.Replace(demoManifest, "A demonstration", "Better", 1)))
	if lib, err = open(); err != nil {
		t.Fatal(err)
	}
	p, ok := lib.ByDigest(first.Facts.Digest)
	if !ok || !reflect.DeepEqual(p.Facts, first.Facts) || len(Changes(first, p)) != 0 {
		t.Errorf("%+v", p)
	}
	if now, _ := lib.ByName("demo"); now.Facts.Title != "Better" {
		t.Errorf("a kept version is in use: %+v", now.Facts)
	}

	place := filepath.Join(kept, strings.TrimPrefix(first.Facts.Digest, "sha256:"))
	if names, err := os.ReadDir(kept); err != nil || len(names) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	onDisk(t, place, fstest.MapFS{"demo/repair.sh": {Data: []byte(demoScript + "# touched\n")}})
	if lib, err = open(); err == nil || !strings.Contains(err.Error(), "is not what its name says") {
		t.Errorf("a damaged copy: %v", err)
	}
	if _, ok := lib.ByDigest(first.Facts.Digest); ok {
		t.Error("a damaged copy is believed")
	}
}
