package health

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	header  = []byte{0xAA, 0xAA, 0xAA, 0xAA, 1, 0, 0x23, 1}
	release = time.Date(2024, 7, 19, 4, 9, 0, 0, time.UTC)
	revert  = time.Date(2024, 7, 19, 5, 27, 0, 0, time.UTC)
)

// crowd is the probe set of the 2024 content update.
func crowd() ProbeSet {
	const place = "/Windows/System32/drivers/CrowdStrike/C-00000291*.sys"
	return ProbeSet{
		Playbook: "sha256:291",
		Bad:      []Probe{{Name: "released 04:09", Path: place, IgnoreCase: true, Header: header, ModifiedFrom: release, ModifiedTo: revert}},
		Good:     []Probe{{Name: "reverted 05:27", Path: place, IgnoreCase: true, Header: header, ModifiedFrom: revert}},
	}
}

func put(t testing.TB, root, name string, data []byte, modified time.Time) string {
	t.Helper()
	file := filepath.Join(root, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644), os.Chtimes(file, modified, modified)); err != nil {
		t.Fatal(err)
	}
	return file
}

func sumOf(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func TestContent(t *testing.T) {
	const place = "Windows/System32/drivers/CrowdStrike/"
	data := append(slices.Clone(header), "content"...)
	one := func(p Probe) ProbeSet { return ProbeSet{Bad: []Probe{p}} }
	for _, c := range []struct {
		name  string
		files func(t *testing.T, root string)
		set   ProbeSet
		want  Fact // Error and Detail: a part of it
	}{
		{name: "good and bad side by side", set: crowd(), want: Fact{Bad: 1, Good: 1, Detail: "00000031.sys"},
			files: func(t *testing.T, root string) {
				put(t, root, place+"C-00000291-00000000-00000031.sys", data, release.Add(time.Minute))
				put(t, root, place+"C-00000291-00000000-00000033.sys", data, revert)
				put(t, root, place+"C-00000290-00000000-00000001.sys", data, release.Add(time.Minute))
			}},
		{name: "the ends of the time window", set: crowd(), want: Fact{Bad: 2, Good: 1},
			files: func(t *testing.T, root string) {
				put(t, root, place+"C-00000291-a.sys", data, release)
				put(t, root, place+"C-00000291-b.sys", data, revert.Add(-time.Second))
				put(t, root, place+"C-00000291-c.sys", data, revert)
				put(t, root, place+"C-00000291-d.sys", data, release.Add(-time.Second))
			}},
		{name: "odd case, two folders of one name", set: crowd(), want: Fact{Bad: 2},
			files: func(t *testing.T, root string) {
				put(t, root, "WINDOWS/system32/Drivers/CROWDSTRIKE/c-00000291-1.SYS", data, release)
				put(t, root, "windows/System32/drivers/crowdstrike/C-00000291-2.sys", data, release)
			}},
		{name: "another header", set: crowd(), want: Fact{},
			files: func(t *testing.T, root string) {
				put(t, root, place+"C-00000291-1.sys", []byte("0123456789"), release)
				put(t, root, place+"C-00000291-2.sys", header[:4], release)
			}},
		{name: "no place", set: crowd(), want: Fact{Missing: true, Detail: "/Windows/System32/drivers/CrowdStrike"},
			files: func(t *testing.T, root string) { put(t, root, "Windows/System32/drivers/etc/hosts", nil, release) }},
		{name: "a file in the folder's place", set: crowd(), want: Fact{Missing: true},
			files: func(t *testing.T, root string) { put(t, root, "Windows/System32/drivers/CrowdStrike", data, release) }},
		{name: "an empty place is there", set: crowd(), want: Fact{},
			files: func(t *testing.T, root string) {
				if err := os.MkdirAll(filepath.Join(root, place), 0o755); err != nil {
					t.Fatal(err)
				}
			}},
		{name: "case counts", set: one(Probe{Path: "/a/B.bin", MinSize: 1}), want: Fact{Bad: 1},
			files: func(t *testing.T, root string) {
				put(t, root, "a/B.bin", data, release)
				put(t, root, "a/b.bin", data, release)
				put(t, root, "A/B.bin", data, release)
			}},
		{name: "digest", set: one(Probe{Path: "/opt/*/x?.bin", SHA256: strings.ToUpper(sumOf(data))}), want: Fact{Bad: 2},
			files: func(t *testing.T, root string) {
				put(t, root, "opt/one/x1.bin", data, release)
				put(t, root, "opt/two/x2.bin", data, release)
				put(t, root, "opt/two/x3.bin", append(slices.Clone(data), 0), release)
				put(t, root, "opt/x4.bin", data, release)
			}},
		{name: "least size", set: one(Probe{Path: "/f*", MinSize: 3}), want: Fact{Bad: 1},
			files: func(t *testing.T, root string) {
				put(t, root, "f2", []byte("12"), release)
				put(t, root, "f3", []byte("123"), release)
			}},
		{name: "bad before good", set: ProbeSet{Bad: []Probe{{Path: "/f*", Header: []byte("1")}}, Good: []Probe{{Path: "/f*", MinSize: 1}}}, want: Fact{Bad: 1, Good: 1},
			files: func(t *testing.T, root string) {
				put(t, root, "f1", []byte("1"), release)
				put(t, root, "f2", []byte("2"), release)
			}},
		{name: "dot files are files", set: one(Probe{Path: "/*/*", MinSize: 1}), want: Fact{Bad: 1},
			files: func(t *testing.T, root string) { put(t, root, ".hidden/.f", data, release) }},
		{name: "relative", set: one(Probe{Path: "a/b", MinSize: 1}), want: Fact{Error: "must begin with /"}, files: func(*testing.T, string) {}},
		{name: "upwards", set: one(Probe{Path: "/a/../../etc/passwd", MinSize: 1}), want: Fact{Error: "no plain name"}, files: func(*testing.T, string) {}},
		{name: "backslash", set: one(Probe{Path: `/a\b`, MinSize: 1}), want: Fact{Error: "no plain name"}, files: func(*testing.T, string) {}},
		{name: "nothing", set: one(Probe{Path: "//"}), want: Fact{Error: "names no file"}, files: func(*testing.T, string) {}},
		{name: "digest cut short", set: one(Probe{Path: "/a", SHA256: "abcd"}), want: Fact{Error: "64 hex digits"}, files: func(*testing.T, string) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			c.files(t, root)
			got := Content(t.Context(), root, []ProbeSet{c.set})[0]
			sameFact(t, got, c.want)
			if got.Playbook != c.set.Playbook {
				t.Errorf("playbook %q", got.Playbook)
			}
		})
	}
}

func sameFact(t *testing.T, got, want Fact) {
	t.Helper()
	if got.Bad != want.Bad || got.Good != want.Good || got.Missing != want.Missing ||
		!strings.Contains(got.Error, want.Error) || (got.Error == "") != (want.Error == "") || !strings.Contains(got.Detail, want.Detail) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLinks(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	put(t, outside, "in/f", []byte("x"), release)
	put(t, root, "real/in/f", []byte("x"), release)
	for _, l := range [][2]string{
		{outside, "out"}, // leads out: as if the root were "/", that place does not exist
		{"../../../../../../../../../../" + outside, "up"}, // the same, in steps
		{"/real", "absolute"},                              // leads to the root's own folder
		{"real", "relative"},
		{"absolute/../relative/in", "crooked"},
		{"circle", "circle"},
		{"nowhere", "dangling"},
		{"real/in/f", "file"},
	} {
		if err := os.Symlink(l[0], filepath.Join(root, l[1])); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]Fact{
		"/out/in/f":      {Missing: true},
		"/up/in/f":       {Missing: true},
		"/absolute/in/f": {Bad: 1},
		"/relative/in/f": {Bad: 1},
		"/crooked/f":     {Bad: 1},
		"/circle/in/f":   {Missing: true},
		"/dangling/in/f": {Missing: true},
		"/file":          {}, // a link is no file
		"/*/in/f":        {Bad: 1},
	} {
		sameFact(t, Content(t.Context(), root, []ProbeSet{{Bad: []Probe{{Path: path, MinSize: 1}}}})[0], want)
		if t.Failed() {
			t.Fatalf("path %s", path)
		}
	}
}

func TestBounds(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		put(t, root, "d/"+name, []byte("0123456789"), release)
	}
	sets := []ProbeSet{{Bad: []Probe{{Path: "/d/*", SHA256: sumOf(nil)}}}}
	for want, limit := range map[string]limits{
		"more than 2 folder entries": {entries: 2, files: 9, bytes: 99},
		"more than 2 files":          {entries: 9, files: 2, bytes: 99},
		"more than 0 MiB":            {entries: 9, files: 9, bytes: 25},
	} {
		s := NewScanner(root)
		s.limit = limit
		if got := s.Content(t.Context(), sets, true)[0]; !strings.Contains(got.Error, want) {
			t.Errorf("limits %+v: %+v, want %q", limit, got, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Content(ended, root, sets)[0]; !strings.Contains(got.Error, "context canceled") || got.Missing {
		t.Errorf("after the deadline: %+v", got)
	}
	if got := Content(t.Context(), filepath.Join(root, "none"), sets)[0]; !strings.Contains(got.Error, "root folder") || got.Missing {
		t.Errorf("no root: %+v", got)
	}
}

// A file is read once; after that only when its size or a time changed, or when everything is to be fresh.
func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	root := t.TempDir()
	good, bad := []byte("good"), []byte("evil")
	file := put(t, root, "d/f", good, release)
	sets := []ProbeSet{{Bad: []Probe{{Path: "/d/f", SHA256: sumOf(bad), Header: bad[:2]}}, Good: []Probe{{Path: "/d/f", SHA256: sumOf(good)}}}}
	s := NewScanner(root)
	s.Content(t.Context(), sets, false)
	remembered, ok := s.known["d/f"]
	if !ok {
		t.Fatal("nothing is remembered")
	}
	remembered.sum = make([]byte, sha256.Size) // whoever believes this has not read the file
	s.known["d/f"] = remembered
	sameFact(t, s.Content(t.Context(), sets, false)[0], Fact{})
	sameFact(t, s.Content(t.Context(), sets, true)[0], Fact{Good: 1})

	put(t, root, "d/f", bad, release.Add(time.Second))
	sameFact(t, s.Content(t.Context(), sets, false)[0], Fact{Bad: 1})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	sameFact(t, s.Content(t.Context(), sets, false)[0], Fact{})
	if len(s.known) != 0 {
		t.Errorf("a file that is gone is still remembered: %v", s.known)
	}
	// Written just now: the next write may leave the very same time behind.
	put(t, root, "d/f", good, time.Now())
	s.Content(t.Context(), sets, false)
	if len(s.known) != 0 {
		t.Error("a file that changed just now is remembered")
	}
}

// oracle evaluates probes in the most simple-minded way: every file below the root against a regular expression.
func oracle(root string, set ProbeSet) Fact {
	var f Fact
	place, counted := false, map[string]bool{}
	for i, probes := range [][]Probe{set.Bad, set.Good} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, path)
			var got []string // none for the root itself
			if rel != "." {
				got = strings.Split(filepath.ToSlash(rel), "/")
			}
			for _, p := range probes {
				want := strings.Split(p.Path[1:], "/")
				fits := func(want []string) bool {
					return slices.EqualFunc(want, got, func(w, g string) bool { return expression(w, p.IgnoreCase).MatchString(g) })
				}
				if d.IsDir() && fits(want[:len(want)-1]) {
					place = true
				}
				if d.IsDir() || counted[rel] || !fits(want) {
					continue
				}
				data, _ := os.ReadFile(path)
				info, _ := d.Info()
				if int64(len(data)) >= p.MinSize && bytes.HasPrefix(data, p.Header) && (p.SHA256 == "" || p.SHA256 == sumOf(data)) &&
					(p.ModifiedFrom.IsZero() || !info.ModTime().Before(p.ModifiedFrom)) && (p.ModifiedTo.IsZero() || info.ModTime().Before(p.ModifiedTo)) {
					counted[rel] = true
					if i == 0 {
						f.Bad++
					} else {
						f.Good++
					}
				}
			}
			return nil
		})
	}
	f.Missing = !place
	return f
}

func TestContentAgreesWithTheOracle(t *testing.T) {
	contents := [][]byte{nil, []byte("a"), []byte("ab"), []byte("abc")}
	times := []time.Time{release.Add(-time.Second), release, revert.Add(-time.Second), revert}
	elem := rapid.SampledFrom([]string{"a", "A", "ab", "b", "Ab"})
	probe := rapid.Custom(func(t *rapid.T) Probe {
		wild := rapid.SampledFrom([]string{"a", "A", "ab", "*", "?", "a*", "?b", "*b", "??"})
		p := Probe{
			Path:       "/" + strings.Join(rapid.SliceOfN(wild, 1, 3).Draw(t, "path"), "/"),
			IgnoreCase: rapid.Bool().Draw(t, "ignore case"),
			Header:     rapid.SampledFrom([][]byte{nil, nil, []byte("a"), []byte("ab"), []byte("b")}).Draw(t, "header"),
			MinSize:    rapid.Int64Range(0, 3).Draw(t, "size"),
		}
		if rapid.Bool().Draw(t, "from") {
			p.ModifiedFrom = release
		}
		if rapid.Bool().Draw(t, "to") {
			p.ModifiedTo = revert
		}
		if rapid.IntRange(0, 3).Draw(t, "digest") == 0 {
			p.SHA256 = sumOf(rapid.SampledFrom(contents).Draw(t, "content"))
		}
		return p
	})
	base := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		root := filepath.Join(base, hex.EncodeToString([]byte{byte(n >> 16), byte(n >> 8), byte(n)}))
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		s := NewScanner(root)
		for range rapid.IntRange(1, 3).Draw(t, "rounds") { // later rounds use what is remembered
			for range rapid.IntRange(0, 6).Draw(t, "files") {
				file := filepath.Join(append([]string{root}, rapid.SliceOfN(elem, 1, 3).Draw(t, "file")...)...)
				data, at := rapid.SampledFrom(contents).Draw(t, "data"), rapid.SampledFrom(times).Draw(t, "time")
				// A file where a folder is, or the other way round, cannot be made: that is no matter here.
				if os.MkdirAll(filepath.Dir(file), 0o755) == nil && os.WriteFile(file, data, 0o644) == nil {
					_ = os.Chtimes(file, at, at)
				}
			}
			set := ProbeSet{Bad: rapid.SliceOfN(probe, 0, 2).Draw(t, "bad"), Good: rapid.SliceOfN(probe, 1, 2).Draw(t, "good")}
			got, want := s.Content(context.Background(), []ProbeSet{set}, false)[0], oracle(root, set)
			got.Detail = ""
			if got != want {
				t.Fatalf("got %+v, the oracle says %+v", got, want)
			}
		}
	})
}

// FuzzContent holds that no path, however odd, panics or finds anything outside the root.
func FuzzContent(f *testing.F) {
	outside := f.TempDir()
	put(f, outside, "secret", []byte("secret"), release)
	root := filepath.Join(outside, "root")
	put(f, root, "a/b", []byte("b"), release)
	if err := errors.Join(os.Symlink("..", filepath.Join(root, "up")), os.Symlink(outside, filepath.Join(root, "out"))); err != nil {
		f.Fatal(err)
	}
	for _, path := range []string{"/a/b", "/*/*", "/up/secret", "/up/up/*", "/out/secret", "/../secret", "/a/../../secret", "/a//b", "\x00", "/a\\..\\b"} {
		f.Add(path, true)
		f.Add(path, false)
	}
	f.Fuzz(func(t *testing.T, path string, fold bool) {
		set := ProbeSet{Bad: []Probe{{Path: path, IgnoreCase: fold, Header: []byte("secret")}}, Good: []Probe{{Path: path, IgnoreCase: fold, MinSize: 1}}}
		if got := Content(context.Background(), root, []ProbeSet{set})[0]; got.Bad > 0 {
			t.Fatalf("%q left the root: %+v", path, got)
		}
	})
}
