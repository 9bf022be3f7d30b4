//go:build unix

package recoveryplaybooks_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The scripts are run for real, by every shell at hand, on disks written by hand; what must be there afterwards is written
// by hand too.

// shell is a way to run a script: the interpreter, and the folder that is its whole PATH (empty: this process's).
type shell struct {
	name string
	argv []string
	path string
}

var applets = []string{"od", "stat", "sha256sum", "cp", "touch", "mkdir", "rm", "sync"}

// shells returns dash and busybox, the latter with its own tools only. CI has both; elsewhere sh must do.
func shells(t *testing.T) []shell {
	t.Helper()
	var out []shell
	if dash, err := exec.LookPath("dash"); err == nil {
		out = append(out, shell{name: "dash", argv: []string{dash}})
	}
	if busybox, err := exec.LookPath("busybox"); err == nil {
		bin := t.TempDir()
		for _, a := range applets {
			if err := os.Symlink(busybox, filepath.Join(bin, a)); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, shell{name: "busybox", argv: []string{busybox, "sh"}, path: bin})
	}
	if len(out) < 2 && os.Getenv("CI") == "true" {
		t.Fatal("dash and busybox must be installed in CI")
	}
	if len(out) == 0 {
		out = append(out, shell{name: "sh", argv: []string{"sh"}})
	}
	return out
}

// file is a file on a disk: what it holds, when it changed. A link has only its target.
type file struct {
	data    string
	changed string // RFC 3339; empty: now
	link    string
	dir     bool
}

// disk is a set of files by path below the root.
type disk map[string]file

func (d disk) write(t *testing.T, root string) {
	t.Helper()
	for name, f := range d {
		p := filepath.Join(root, name)
		must(t, os.MkdirAll(filepath.Dir(p), 0o755))
		switch {
		case f.link != "":
			must(t, os.Symlink(strings.ReplaceAll(f.link, "$ROOT", root), p))
			continue
		case f.dir:
			must(t, os.MkdirAll(p, 0o755))
			continue
		}
		must(t, os.WriteFile(p, []byte(f.data), 0o644))
		if f.changed != "" {
			at, err := time.Parse(time.RFC3339Nano, f.changed)
			must(t, err)
			must(t, os.Chtimes(p, at, at))
		}
	}
}

// writeProgram writes an executable file while no other test forks: a child that inherits it open for writing makes it busy.
func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	must(t, os.WriteFile(path, []byte(text), 0o755))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listing returns the paths of everything below root but folders, sorted.
func listing(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	must(t, err)
	sort.Strings(out)
	return out
}

// outcome is what a run must lead to.
type outcome struct {
	exit int
	line string   // after "BLACKSTART-RESULT "
	gone []string // paths that were on the disk and are no more
	kept []string // names in the keep folder besides SHA256SUMS
	say  string   // a part of stderr
}

type repairTest struct {
	name   string
	disk   disk
	env    map[string]string // replaces; the value "-" leaves one out
	broken map[string]string // tools to replace: name -> a shell script
	limit  string            // a ulimit command

	want outcome
}

func run(t *testing.T, sh shell, script string, test repairTest) {
	t.Helper()
	base := t.TempDir()
	root, keep, bin := filepath.Join(base, "the volume"), filepath.Join(base, "kept", "host_1"), filepath.Join(base, "bin")
	must(t, os.MkdirAll(root, 0o755))
	must(t, os.MkdirAll(bin, 0o755))
	test.disk.write(t, root)
	before := listing(t, root)
	path := sh.path
	if path == "" {
		path = os.Getenv("PATH")
	}
	for name, text := range test.broken {
		text = strings.ReplaceAll(text, "$PATH_BELOW", path)
		writeProgram(t, filepath.Join(bin, name), "#!/bin/sh\n"+text)
	}
	env := map[string]string{
		"PATH": bin + ":" + path, "LC_ALL": "C", "TZ": "Asia/Tokyo",
		"BLACKSTART_ROOT": root, "BLACKSTART_KEEP": keep, "BLACKSTART_ATTEMPT": "host/1",
	}
	for k, v := range test.env {
		env[k] = strings.ReplaceAll(v, "$ROOT", root)
	}
	abs, err := filepath.Abs(script)
	must(t, err)
	argv := append(slices.Clone(sh.argv), abs)
	if test.limit != "" {
		argv = append(slices.Clone(sh.argv), "-c", test.limit+`; exec "$@"`, "-")
		argv = append(append(argv, sh.argv...), abs)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = base
	for k, v := range env {
		if v != "-" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok { //nolint:errorlint // Run returns it bare
		t.Fatal(err)
	}
	report := func(format string, args ...any) {
		t.Helper()
		t.Errorf(format+"\nstdout:\n%s\nstderr:\n%s", append(args, stdout.String(), stderr.String())...)
	}
	if got := cmd.ProcessState.ExitCode(); got != test.want.exit {
		report("exit %d, want %d", got, test.want.exit)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if got := lines[len(lines)-1]; got != "BLACKSTART-RESULT "+test.want.line {
		report("last line %q, want %q", got, test.want.line)
	}
	if !strings.Contains(stderr.String(), test.want.say) {
		report("it does not say %q", test.want.say)
	}
	var wantLeft []string
	for _, name := range before {
		if !slices.Contains(test.want.gone, name) {
			wantLeft = append(wantLeft, name)
		}
	}
	if got := listing(t, root); !slices.Equal(got, wantLeft) {
		report("on the disk %q, want %q", got, wantLeft)
	}
	for name, f := range test.disk {
		if f.link != "" || f.dir || slices.Contains(test.want.gone, name) {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(data) != f.data {
			report("%s was changed (%v)", name, err)
		}
	}
	checkKept(t, keep, test, report)
}

// checkKept compares the keep folder with what was removed, byte by byte.
func checkKept(t *testing.T, keep string, test repairTest, report func(string, ...any)) {
	t.Helper()
	var kept []string
	if _, err := os.Stat(keep); err == nil {
		kept = listing(t, keep)
	}
	sums := ""
	if i := slices.Index(kept, "SHA256SUMS"); i >= 0 {
		data, err := os.ReadFile(filepath.Join(keep, "SHA256SUMS"))
		must(t, err)
		sums = string(data)
		kept = slices.Delete(kept, i, i+1)
	}
	if !slices.Equal(kept, test.want.kept) {
		report("kept %q, want %q", kept, test.want.kept)
		return
	}
	var wantSums string
	for _, name := range kept {
		data, err := os.ReadFile(filepath.Join(keep, name))
		must(t, err)
		_, original, _ := strings.Cut(name, "-")
		found := false
		for p, f := range test.disk {
			found = found || filepath.Base(p) == original && f.data == string(data)
		}
		if !found {
			report("the copy %s is no file of the disk", name)
		}
		if info, err := os.Stat(filepath.Join(keep, name)); err != nil || time.Since(info.ModTime()) < time.Hour && !strings.HasSuffix(original, "c.bin") {
			report("the copy %s does not have the file's time of change (%v)", name, err)
		}
		sum := sha256.Sum256(data)
		wantSums += hex.EncodeToString(sum[:]) + "  " + name + "\n"
	}
	if sums != wantSums {
		report("SHA256SUMS %q, want %q", sums, wantSums)
	}
}

const (
	cs     = "Windows/System32/drivers/CrowdStrike/"
	head   = "\xaa\xaa\xaa\xaa\x01\x00\x23\x01"
	first  = "2024-07-19T04:09:00Z"
	within = "2024-07-19T04:45:10.5Z"
	last   = "2024-07-19T05:26:59.999Z"
	fixed  = "2024-07-19T05:27:00Z"
	early  = "2024-07-19T04:08:59.999Z"
)

func TestRepair291(t *testing.T) {
	bad, good := file{data: head + "bad", changed: within}, file{data: head + "good", changed: fixed}
	zeros := strings.Repeat("\x00", 4096)
	failing := func(text string) string { return "echo refused >&2\n" + text }
	tests := []repairTest{
		{name: "bad only", disk: disk{cs + "C-00000291-00000000-00000029.sys": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=0 other=0 removed=1 kept=1",
				[]string{cs + "C-00000291-00000000-00000029.sys"}, []string{"1-C-00000291-00000000-00000029.sys"}, "bad: C-00000291-"}},
		{name: "bad and good side by side", disk: disk{cs + "C-00000291-1.sys": bad, cs + "C-00000291-2.sys": good, cs + "C-00000292-1.sys": bad, cs + "notes.txt": bad},
			want: outcome{0, "outcome=repaired bad=1 good=1 zeroed=0 other=0 removed=1 kept=1", []string{cs + "C-00000291-1.sys"}, []string{"1-C-00000291-1.sys"}, "good: C-00000291-2.sys"}},
		{name: "good only", disk: disk{cs + "C-00000291-2.sys": good},
			want: outcome{10, "outcome=nothing-found bad=0 good=1 zeroed=0 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "empty folder", disk: disk{cs + "C-1.sys": bad},
			want: outcome{10, "outcome=nothing-found bad=0 good=0 zeroed=0 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "edges of the window", disk: disk{
			cs + "C-00000291-a.sys": {data: head, changed: early}, cs + "C-00000291-b.sys": {data: head, changed: first},
			cs + "C-00000291-c.sys": {data: head + "c", changed: last}, cs + "C-00000291-d.sys": {data: head, changed: fixed}},
			want: outcome{0, "outcome=repaired bad=2 good=1 zeroed=0 other=1 removed=2 kept=2",
				[]string{cs + "C-00000291-b.sys", cs + "C-00000291-c.sys"}, []string{"1-C-00000291-b.sys", "2-C-00000291-c.sys"}, ""}},
		{name: "place missing", disk: disk{"Windows/System32/drivers/x.sys": bad},
			want: outcome{11, "outcome=place-missing bad=0 good=0 zeroed=0 other=0 removed=0 kept=0", nil, nil, "is the right volume mounted"}},
		{name: "empty volume", want: outcome{11, "outcome=place-missing bad=0 good=0 zeroed=0 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "no volume", env: map[string]string{"BLACKSTART_ROOT": "/nowhere/at/all"},
			want: outcome{11, "outcome=place-missing bad=0 good=0 zeroed=0 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "the place is a file", disk: disk{"Windows/System32/drivers/CrowdStrike": bad},
			want: outcome{11, "outcome=place-missing bad=0 good=0 zeroed=0 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "case of letters", disk: disk{"WINDOWS/system32/Drivers/CROWDSTRIKE/c-00000291-X.SYS": bad, "windows/SYSTEM32/drivers/crowdstrike/C-00000291.Sys": bad},
			want: outcome{0, "outcome=repaired bad=2 good=0 zeroed=0 other=0 removed=2 kept=2",
				[]string{"WINDOWS/system32/Drivers/CROWDSTRIKE/c-00000291-X.SYS", "windows/SYSTEM32/drivers/crowdstrike/C-00000291.Sys"},
				[]string{"1-c-00000291-X.SYS", "2-C-00000291.Sys"}, ""}},
		{name: "same name in two folders", disk: disk{"WINDOWS/System32/drivers/CrowdStrike/C-00000291-1.sys": bad, cs + "C-00000291-1.sys": {data: head + "two", changed: first}},
			want: outcome{0, "outcome=repaired bad=2 good=0 zeroed=0 other=0 removed=2 kept=2",
				[]string{"WINDOWS/System32/drivers/CrowdStrike/C-00000291-1.sys", cs + "C-00000291-1.sys"},
				[]string{"1-C-00000291-1.sys", "2-C-00000291-1.sys"}, ""}},
		{name: "root with slashes at its end", disk: disk{cs + "C-00000291-1.sys": bad}, env: map[string]string{"BLACKSTART_ROOT": "$ROOT//"},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=0 other=0 removed=1 kept=1", []string{cs + "C-00000291-1.sys"}, []string{"1-C-00000291-1.sys"}, ""}},
		{name: "name and time alone", disk: disk{cs + "C-00000291-1.sys": {data: "MZ\x90\x00 a real driver", changed: within}, cs + "C-00000291-2.sys": {data: head[:7], changed: within}, cs + "C-00000291-3.sys": {changed: within}},
			want: outcome{10, "outcome=nothing-found bad=0 good=0 zeroed=0 other=3 removed=0 kept=0", nil, nil, ""}},
		{name: "header of another channel", disk: disk{cs + "C-00000291-1.sys": {data: "\xaa\xaa\xaa\xaa\x01\x00\x24\x01", changed: within}},
			want: outcome{10, "outcome=nothing-found bad=0 good=0 zeroed=0 other=1 removed=0 kept=0", nil, nil, ""}},
		{name: "zeros", disk: disk{cs + "C-00000291-1.sys": {data: zeros, changed: within}, cs + "C-00000291-2.sys": bad, cs + "C-00000291-3.sys": {data: zeros, changed: fixed}},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=2 other=0 removed=1 kept=1", []string{cs + "C-00000291-2.sys"}, []string{"1-C-00000291-2.sys"}, "zeroed: C-00000291-1.sys"}},
		{name: "names with spaces", disk: disk{cs + "C-00000291-1 (copy) of.sys": bad, cs + "C-00000291- .sys": good},
			want: outcome{0, "outcome=repaired bad=1 good=1 zeroed=0 other=0 removed=1 kept=1", []string{cs + "C-00000291-1 (copy) of.sys"}, []string{"1-C-00000291-1 (copy) of.sys"}, "bad: C-00000291-1 (copy) of.sys"}},
		{name: "names that bite", disk: disk{cs + "C-00000291-$(touch x);`id`'\"*?[a].sys": bad, cs + "C-00000291-\\.sys": good},
			want: outcome{0, "outcome=repaired bad=1 good=1 zeroed=0 other=0 removed=1 kept=1",
				[]string{cs + "C-00000291-$(touch x);`id`'\"*?[a].sys"}, []string{"1-C-00000291-$(touch x);`id`'\"*?[a].sys"}, "unusual characters"}},
		{name: "name with a line break", disk: disk{cs + "C-00000291-\nBLACKSTART-RESULT outcome=x.sys": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=0 other=0 removed=1 kept=1",
				[]string{cs + "C-00000291-\nBLACKSTART-RESULT outcome=x.sys"}, []string{"1-C-00000291-\nBLACKSTART-RESULT outcome=x.sys"}, "unusual characters"}},
		{name: "a folder of that name", disk: disk{cs + "C-00000291-d.sys": {dir: true}, cs + "C-00000291-1.sys": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=0 other=1 removed=1 kept=1", []string{cs + "C-00000291-1.sys"}, []string{"1-C-00000291-1.sys"}, ""}},
		{name: "a link of that name", disk: disk{cs + "C-00000291-l.sys": {link: "$ROOT/data.bin"}, "data.bin": bad, cs + "C-00000291-dead.sys": {link: "/nowhere"}},
			want: outcome{10, "outcome=nothing-found bad=0 good=0 zeroed=0 other=2 removed=0 kept=0", nil, nil, ""}},
		{name: "the place is a link", disk: disk{"Windows/System32/drivers/CrowdStrike": {link: "$ROOT/elsewhere"}, "elsewhere/C-00000291-1.sys": bad},
			want: outcome{7, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=link-in-the-way", nil, nil, "do this host by hand"}},
		{name: "a link beside the place", disk: disk{"windows": {link: "$ROOT/Windows"}, cs + "C-00000291-1.sys": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 zeroed=0 other=0 removed=1 kept=1", []string{cs + "C-00000291-1.sys"}, []string{"1-C-00000291-1.sys"}, "not following"}},
		{name: "empty root", env: map[string]string{"BLACKSTART_ROOT": ""}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{2, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=no-root", nil, nil, "set it to the folder"}},
		{name: "no root", env: map[string]string{"BLACKSTART_ROOT": "-"},
			want: outcome{2, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=no-root", nil, nil, ""}},
		{name: "the rescue system itself", env: map[string]string{"BLACKSTART_ROOT": "//"},
			want: outcome{2, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=no-root", nil, nil, ""}},
		{name: "relative root", env: map[string]string{"BLACKSTART_ROOT": "the volume"}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{2, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=no-root", nil, nil, "absolute"}},
		{name: "no keep folder named", env: map[string]string{"BLACKSTART_KEEP": "-"}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{2, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=no-keep", nil, nil, ""}},
		{name: "keep folder cannot be made", env: map[string]string{"BLACKSTART_KEEP": "$ROOT/file/kept"}, disk: disk{cs + "C-00000291-1.sys": bad, "file": good},
			want: outcome{3, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=0 reason=copy-failed", nil, nil, "cannot be made"}},
		{name: "disk full", limit: "ulimit -f 8", disk: disk{cs + "C-00000291-1.sys": {data: head + strings.Repeat("x", 1<<16), changed: within}},
			want: outcome{3, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=0 reason=copy-failed", nil, nil, "make room"}},
		{name: "disk full at the second", limit: "ulimit -f 8", disk: disk{cs + "C-00000291-1.sys": bad, cs + "C-00000291-2.sys": {data: head + strings.Repeat("x", 1<<16), changed: within}},
			want: outcome{3, "outcome=failed bad=2 good=0 zeroed=0 other=0 removed=0 kept=1 reason=copy-failed", nil, []string{"1-C-00000291-1.sys"}, "nothing was removed"}},
		{name: "a copy that lies", broken: map[string]string{"cp": "echo wrong >\"$2\"\n"}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{3, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=0 reason=copy-failed", nil, nil, ""}},
		{name: "flush fails", broken: map[string]string{"sync": failing("exit 1\n")}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{3, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=1 reason=copy-failed", nil, []string{"1-C-00000291-1.sys"}, "could not be written"}},
		{name: "read-only volume", broken: map[string]string{"rm": failing("exit 1\n")}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{4, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=1 reason=cannot-remove", nil, []string{"1-C-00000291-1.sys"}, "mounted for writing"}},
		{name: "a removal that lies", broken: map[string]string{"rm": "exit 0\n"}, disk: disk{cs + "C-00000291-1.sys": bad, cs + "C-00000291-2.sys": good},
			want: outcome{5, "outcome=failed bad=1 good=1 zeroed=0 other=0 removed=0 kept=1 reason=still-bad", nil, []string{"1-C-00000291-1.sys"}, "still there"}},
		{name: "a file that cannot be read", broken: map[string]string{"od": failing("exit 1\n")}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{6, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=cannot-read", nil, nil, "chkdsk"}},
		{name: "no stat", broken: map[string]string{"stat": failing("exit 127\n")}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{6, "outcome=failed bad=0 good=0 zeroed=0 other=0 removed=0 kept=0 reason=cannot-read", nil, nil, ""}},
		{name: "no digest", broken: map[string]string{"sha256sum": failing("exit 127\n")}, disk: disk{cs + "C-00000291-1.sys": bad},
			want: outcome{6, "outcome=failed bad=1 good=0 zeroed=0 other=0 removed=0 kept=0 reason=cannot-read", nil, nil, ""}},
	}
	for _, sh := range shells(t) {
		for _, test := range tests {
			t.Run(sh.name+"/"+test.name, func(t *testing.T) { t.Parallel(); run(t, sh, "crowdstrike-channel-file-291/repair.sh", test) })
		}
	}
}

func TestRepairLinux(t *testing.T) {
	const (
		dir    = "opt/edr/content/"
		head   = "EDRC\x01\x00"
		within = "2026-01-15T10:30:00Z"
		fixed  = "2026-01-15T11:30:00Z"
	)
	bad, good := file{data: head + "bad", changed: within}, file{data: head + "good", changed: fixed}
	known := file{data: "blackstart example: known bad content\n"} // whose digest is in the script
	tests := []repairTest{
		{name: "all kinds", disk: disk{
			dir + "a.bin": bad, dir + "b.bin": good, dir + "c.bin": known, dir + ".d.bin": {data: head, changed: "2026-01-15T10:00:00Z"},
			dir + "e.bin": {data: head, changed: "2026-01-15T09:59:59.9Z"}, dir + "f.bin": {data: "other", changed: within},
			dir + "g.txt": bad, dir + "h.bin": {link: "$ROOT/data/i.bin"}, "data/i.bin": bad},
			want: outcome{0, "outcome=repaired bad=3 good=1 other=3 removed=3 kept=3", []string{dir + ".d.bin", dir + "a.bin", dir + "c.bin"},
				[]string{"1-a.bin", "2-c.bin", "3-.d.bin"}, ""}},
		{name: "good only", disk: disk{dir + "b.bin": good}, want: outcome{10, "outcome=nothing-found bad=0 good=1 other=0 removed=0 kept=0", nil, nil, ""}},
		{name: "place missing", disk: disk{"opt/edr/x": bad}, want: outcome{11, "outcome=place-missing bad=0 good=0 other=0 removed=0 kept=0", nil, nil, "no folder"}},
		{name: "link on the volume", disk: disk{"opt/edr": {link: "../srv/edr"}, "srv/edr/content/a.bin": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 other=0 removed=1 kept=1", []string{"srv/edr/content/a.bin"}, []string{"1-a.bin"}, ""}},
		{name: "link off the volume", disk: disk{"opt/edr/content": {link: "/"}},
			want: outcome{7, "outcome=failed bad=0 good=0 other=0 removed=0 kept=0 reason=link-in-the-way", nil, nil, "leads off"}},
		{name: "relative root", env: map[string]string{"BLACKSTART_ROOT": "x"},
			want: outcome{2, "outcome=failed bad=0 good=0 other=0 removed=0 kept=0 reason=no-root", nil, nil, ""}},
		{name: "no keep folder named", env: map[string]string{"BLACKSTART_KEEP": ""}, disk: disk{dir + "a.bin": bad},
			want: outcome{2, "outcome=failed bad=0 good=0 other=0 removed=0 kept=0 reason=no-keep", nil, nil, ""}},
		{name: "disk full", limit: "ulimit -f 8", disk: disk{dir + "a.bin": {data: head + strings.Repeat("x", 1<<16), changed: within}},
			want: outcome{3, "outcome=failed bad=1 good=0 other=0 removed=0 kept=0 reason=copy-failed", nil, nil, "make room"}},
		{name: "a copy that lies", broken: map[string]string{"cp": "echo wrong >\"$2\"\n"}, disk: disk{dir + "a.bin": bad},
			want: outcome{3, "outcome=failed bad=1 good=0 other=0 removed=0 kept=0 reason=copy-failed", nil, nil, ""}},
		{name: "flush fails", broken: map[string]string{"sync": "exit 1\n"}, disk: disk{dir + "a.bin": bad},
			want: outcome{3, "outcome=failed bad=1 good=0 other=0 removed=0 kept=1 reason=copy-failed", nil, []string{"1-a.bin"}, "could not be written"}},
		{name: "read-only disk", broken: map[string]string{"rm": "exit 1\n"}, disk: disk{dir + "a.bin": bad},
			want: outcome{4, "outcome=failed bad=1 good=0 other=0 removed=0 kept=1 reason=cannot-remove", nil, []string{"1-a.bin"}, "writable"}},
		{name: "a removal that lies", broken: map[string]string{"rm": "exit 0\n"}, disk: disk{dir + "a.bin": bad},
			want: outcome{5, "outcome=failed bad=1 good=0 other=0 removed=0 kept=1 reason=still-bad", nil, []string{"1-a.bin"}, ""}},
		{name: "a file that cannot be read", broken: map[string]string{"sha256sum": "exit 1\n"}, disk: disk{dir + "b.bin": good},
			want: outcome{6, "outcome=failed bad=0 good=0 other=0 removed=0 kept=0 reason=cannot-read", nil, nil, ""}},
		{name: "names that bite", disk: disk{dir + "$(touch x) '\"*\n.bin": bad},
			want: outcome{0, "outcome=repaired bad=1 good=0 other=0 removed=1 kept=1", []string{dir + "$(touch x) '\"*\n.bin"}, []string{"1-$(touch x) '\"*\n.bin"}, "unusual characters"}},
	}
	for _, sh := range shells(t) {
		for _, test := range tests {
			t.Run(sh.name+"/"+test.name, func(t *testing.T) { t.Parallel(); run(t, sh, "edr-content-linux/repair.sh", test) })
		}
	}
}

// TestRepairTwice: a second attempt with its own keep folder finds nothing more and harms nothing.
func TestRepairTwice(t *testing.T) {
	for _, sh := range shells(t) {
		root := t.TempDir()
		disk{cs + "C-00000291-1.sys": {data: head + "bad", changed: within}, cs + "C-00000291-2.sys": {data: head, changed: fixed}}.write(t, root)
		for i, want := range []string{"0 BLACKSTART-RESULT outcome=repaired bad=1 good=1 zeroed=0 other=0 removed=1 kept=1\n",
			"10 BLACKSTART-RESULT outcome=nothing-found bad=0 good=1 zeroed=0 other=0 removed=0 kept=0\n"} {
			cmd := exec.Command(sh.argv[0], append(slices.Clone(sh.argv[1:]), "crowdstrike-channel-file-291/repair.sh")...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BLACKSTART_ROOT=" + root, fmt.Sprintf("BLACKSTART_KEEP=%s/.blackstart/kept/host_%d", root, i)}
			out, _ := cmd.Output()
			if got := fmt.Sprintf("%d %s", cmd.ProcessState.ExitCode(), out); got != want {
				t.Errorf("%s, run %d: %q, want %q", sh.name, i+1, got, want)
			}
		}
		if got := listing(t, root); len(got) != 3 || got[0] != ".blackstart/kept/host_0/1-C-00000291-1.sys" {
			t.Errorf("%s: on the disk %q", sh.name, got)
		}
	}
}

// TestRepairKeepsOldCopies: a copy that is there already is never written over, and nothing is removed.
func TestRepairKeepsOldCopies(t *testing.T) {
	for _, script := range []string{"crowdstrike-channel-file-291/repair.sh", "edr-content-linux/repair.sh"} {
		root := t.TempDir()
		disk{
			cs + "C-00000291-1.sys": {data: head + "bad", changed: within}, "kept/1-C-00000291-1.sys": {data: "old"},
			"opt/edr/content/a.bin": {data: "EDRC\x01\x00", changed: "2026-01-15T10:30:00Z"}, "kept/1-a.bin": {link: "nowhere"},
		}.write(t, root)
		before := listing(t, root)
		cmd := exec.Command("sh", script)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BLACKSTART_ROOT=" + root, "BLACKSTART_KEEP=" + filepath.Join(root, "kept")}
		out, _ := cmd.Output()
		if cmd.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "reason=copy-exists") {
			t.Errorf("%s: exit %d, %s", script, cmd.ProcessState.ExitCode(), out)
		}
		if data, err := os.ReadFile(filepath.Join(root, "kept/1-C-00000291-1.sys")); err != nil || string(data) != "old" {
			t.Errorf("%s: the old copy is %q (%v)", script, data, err)
		}
		if got := listing(t, root); !slices.Equal(got, before) {
			t.Errorf("%s: on the disk %q", script, got)
		}
	}
}

// TestRepairUnlistable: a folder that cannot be listed is never taken for an empty one.
func TestRepairUnlistable(t *testing.T) {
	for script, folder := range map[string]string{
		"crowdstrike-channel-file-291/repair.sh": "Windows/System32", "edr-content-linux/repair.sh": "opt/edr/content",
	} {
		base := t.TempDir()
		must(t, os.Chmod(base, 0o755))
		must(t, os.Chmod(filepath.Dir(base), 0o755))
		text, err := os.ReadFile(script)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(base, "script.sh"), text, 0o644))
		disk{cs + "C-00000291-1.sys": {data: head, changed: within}, "opt/edr/content/a.bin": {data: "EDRC\x01\x00", changed: "2026-01-15T10:30:00Z"}}.write(t, base)
		locked := filepath.Join(base, folder)
		must(t, os.Chmod(locked, 0o111))
		defer os.Chmod(locked, 0o755) //nolint:errcheck // so that the test's folder can be removed
		cmd := exec.Command("/bin/sh", filepath.Join(base, "script.sh"))
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		cmd.Dir = "/"
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BLACKSTART_ROOT=" + base, "BLACKSTART_KEEP=/nowhere"}
		out, _ := cmd.Output()
		if cmd.ProcessState.ExitCode() != 6 || !strings.Contains(string(out), "reason=cannot-read") {
			t.Errorf("%s: exit %d, %s", script, cmd.ProcessState.ExitCode(), out)
		}
	}
}

// TestRepairForks: the ordinary case, one bad and one good file, starts few processes; a drill runs it for 932 machines.
func TestRepairForks(t *testing.T) {
	for script, d := range map[string]disk{
		"crowdstrike-channel-file-291/repair.sh": {cs + "C-00000291-1.sys": {data: head + "bad", changed: within}, cs + "C-00000291-2.sys": {data: head, changed: fixed}},
		"edr-content-linux/repair.sh":            {"opt/edr/content/a.bin": {data: "EDRC\x01\x00", changed: "2026-01-15T10:30:00Z"}, "opt/edr/content/b.bin": {data: "EDRC\x01\x00", changed: "2026-01-15T11:30:00Z"}},
	} {
		root, bin := t.TempDir(), t.TempDir()
		d.write(t, root)
		count := filepath.Join(bin, "count")
		for _, a := range applets {
			tool, err := exec.LookPath(a)
			must(t, err)
			writeProgram(t, filepath.Join(bin, a), fmt.Sprintf("#!/bin/sh\necho %s >>'%s'\nexec '%s' \"$@\"\n", a, count, tool))
		}
		cmd := exec.Command("sh", script)
		cmd.Env = []string{"PATH=" + bin, "BLACKSTART_ROOT=" + root, "BLACKSTART_KEEP=" + filepath.Join(root, "kept")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(count)
		must(t, err)
		if n := strings.Count(string(data), "\n"); n > 20 {
			t.Errorf("%s starts %d processes: %s", script, n, strings.ReplaceAll(string(data), "\n", " "))
		} else {
			t.Logf("%s starts %d processes: %s", script, n, strings.ReplaceAll(string(data), "\n", " "))
		}
	}
}
