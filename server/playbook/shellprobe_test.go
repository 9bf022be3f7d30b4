//go:build unix

package playbook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// shell is a way to run a script; a path that is not empty is its whole PATH.
type shell struct {
	name string
	argv []string
	path string
}

func shells(t *testing.T) []shell {
	t.Helper()
	var out []shell
	if dash, err := exec.LookPath("dash"); err == nil {
		out = append(out, shell{"dash", []string{dash}, os.Getenv("PATH")})
	}
	if busybox, err := exec.LookPath("busybox"); err == nil {
		bin := t.TempDir()
		for _, a := range []string{"od", "stat", "sha256sum"} {
			if err := os.Symlink(busybox, filepath.Join(bin, a)); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, shell{"busybox", []string{busybox, "sh"}, bin})
	}
	if len(out) < 2 && os.Getenv("CI") == "true" {
		t.Fatal("dash and busybox must be installed in CI")
	}
	return append(out, shell{"sh", []string{"sh"}, os.Getenv("PATH")})
}

// probe runs the script as the remedy does, from standard input, and parses its answer.
func (sh shell) probe(t *testing.T, root, script string) ([]recovery.Content, string, error) {
	t.Helper()
	cmd := exec.Command(sh.argv[0], append(slices.Clone(sh.argv[1:]), "-s")...)
	cmd.Stdin = strings.NewReader(script)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=" + sh.path, "TZ=America/St_Johns", "BLACKSTART_ROOT=" + root}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, "", fmt.Errorf("%w\n%s%s", err, stdout.String(), stderr.String())
	}
	c, boot, err := ParseProbeOutput(stdout.Bytes())
	if err != nil {
		err = fmt.Errorf("%w\n%s%s", err, stdout.String(), stderr.String())
	}
	return c, boot, err
}

// expect evaluates probes in Go by the rules of Probe, with nothing in common with the shell script: it looks at every
// file below the root and asks which probes match it.
func expect(t *testing.T, root string, p *Playbook) recovery.Content {
	t.Helper()
	out := recovery.Content{Playbook: p.Facts.Digest, Missing: true}
	matches := func(pr Probe, rel string) bool {
		pattern := strings.TrimPrefix(pr.Path, "/")
		if pr.IgnoreCase {
			pattern, rel = strings.ToLower(pattern), strings.ToLower(rel)
		}
		ok, err := path.Match(bytewise(pattern), bytewise(rel))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	all := append(slices.Clone(p.Bad), p.Good...)
	named := 0
	err := filepath.WalkDir(root, func(full string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, full)
		if e.IsDir() {
			for _, pr := range all {
				pr.Path = path.Dir(pr.Path)
				out.Missing = out.Missing && !(pr.Path == "/" && rel == "." || rel != "." && matches(pr, rel))
			}
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(full)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		hit := func(pr Probe) bool {
			return matches(pr, rel) && bytes.HasPrefix(data, pr.Header) && int64(len(data)) >= pr.MinSize &&
				(pr.SHA256 == "" || pr.SHA256 == hex.EncodeToString(sum[:])) &&
				!info.ModTime().Before(pr.ModifiedFrom) && (pr.ModifiedTo.IsZero() || info.ModTime().Before(pr.ModifiedTo))
		}
		if slices.ContainsFunc(all, func(pr Probe) bool { return matches(pr, rel) }) {
			named++
		}
		switch {
		case slices.ContainsFunc(p.Bad, hit):
			out.Bad++
		case slices.ContainsFunc(p.Good, hit):
			out.Good++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if named != out.Bad+out.Good {
		out.Detail = fmt.Sprintf("%d files of the right name, of which %d are neither bad nor good", named, named-out.Bad-out.Good)
	}
	return out
}

// bytewise makes a rune of every byte: that is what ? matches.
func bytewise(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

func put(t *testing.T, root, name, data, changed string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, changed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(p, at, at); err != nil {
		t.Fatal(err)
	}
}

const (
	head291 = "\xaa\xaa\xaa\xaa\x01\x00\x23\x01"
	bootID  = "6c1f0d2a-9d9c-4d5e-8a35-0f2b7d9b1c11"
)

// TestShellProbeEmbedded: the shipped playbooks, on disks whose answer is written by hand.
func TestShellProbeEmbedded(t *testing.T) {
	lib, err := Load(recoveryplaybooks.FS)
	if err != nil {
		t.Fatal(err)
	}
	cs, _ := lib.ByName("crowdstrike-channel-file-291")
	linux, _ := lib.ByName("edr-content-linux")
	tests := []struct {
		name  string
		files [][3]string
		cs    recovery.Content // without its digest
		linux recovery.Content
	}{
		{"empty disk", nil, recovery.Content{Missing: true}, recovery.Content{Missing: true}},
		{"good and bad side by side, wrong case, spaces", [][3]string{
			{"WINDOWS/system32/Drivers/CROWDSTRIKE/c-00000291-1 (copy).SYS", head291 + "x", "2024-07-19T04:09:00Z"},
			{"WINDOWS/system32/Drivers/CROWDSTRIKE/C-00000291-2.sys", head291 + "y", "2024-07-19T05:27:00Z"},
			{"Windows/System32/drivers/CrowdStrike/C-00000291-3.sys", head291 + "z", "2024-07-19T05:26:59.9Z"},
			{"Windows/System32/drivers/CrowdStrike/C-00000292-3.sys", head291 + "z", "2024-07-19T05:26:59Z"},
			{"Windows/System32/drivers/CrowdStrike/C-00000291-4.sys", strings.Repeat("\x00", 99), "2024-07-19T05:26:59Z"},
			{"opt/edr/content/.a b.bin", "EDRC\x01\x00", "2026-01-15T10:00:00Z"},
			{"opt/edr/content/known.bin", "blackstart example: known bad content\n", "2020-01-15T10:00:00Z"},
			{"opt/edr/content/Good.bin", "EDRC\x01\x00", "2027-01-15T10:00:00Z"},
			{"opt/edr/content/Good.BIN", "EDRC\x01\x00", "2027-01-15T10:00:00Z"},
		}, recovery.Content{Bad: 2, Good: 1, Detail: "4 files of the right name, of which 1 are neither bad nor good"}, recovery.Content{Bad: 2, Good: 1}},
		{"places without files", [][3]string{
			{"Windows/System32/drivers/CrowdStrike/x", "", "2024-07-19T05:26:59Z"}, {"opt/edr/content/x", "", "2024-07-19T05:26:59Z"},
		}, recovery.Content{}, recovery.Content{}},
	}
	for _, sh := range shells(t) {
		for _, test := range tests {
			t.Run(sh.name+"/"+test.name, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "a root")
				put(t, root, "proc/sys/kernel/random/boot_id", bootID+"\n", "2024-07-19T05:26:59Z")
				for _, f := range test.files {
					put(t, root, f[0], f[1], f[2])
				}
				want := []recovery.Content{test.cs, test.linux}
				want[0].Playbook, want[1].Playbook = cs.Facts.Digest, linux.Facts.Digest
				got, boot, err := sh.probe(t, root+"/", ShellProbe(cs, linux))
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("\n got %+v\nwant %+v", got, want)
				}
				if boot != bootID {
					t.Errorf("boot id %q", boot)
				}
				for i, p := range []*Playbook{cs, linux} {
					if e := expect(t, root, p); !reflect.DeepEqual(e, want[i]) {
						t.Errorf("the expectation in Go is %+v, by hand %+v", e, want[i])
					}
				}
			})
		}
	}
}

// TestShellProbeRandom compares the script with the expectation in Go on random disks and random probes.
func TestShellProbeRandom(t *testing.T) {
	const rounds = 40
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	times := []string{"2024-07-19T04:08:59.999Z", "2024-07-19T04:09:00Z", "2024-07-19T05:26:59.5Z", "2024-07-19T05:27:00Z", "2024-07-20T00:00:00Z"}
	datas := []string{"", "A", "\x00\x01", "\x00\x01\x02rest", head291, head291 + "more", strings.Repeat("long ", 40)}
	element := func() string {
		return pick("a", "A", "b c", "b C", "(x)", ".a", ".A", "-n", "a.bin", "A.BIN", "x~{1}@=+,", "$(id)", "'q\"", "new\nline", "[a]", "back\\slash", "é")
	}
	pattern := func() string {
		return pick("a", "A", "b c", "(x)", "*", "a*", "?", "*a", "?a", "*.bin", ".*", "-n", "x~{1}@=+,", "b?c", "*n*", "??")
	}
	all := shells(t)
	for round := range rounds {
		root := filepath.Join(t.TempDir(), "r")
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		for range 25 {
			name := element()
			for range rng.IntN(3) {
				name += "/" + element()
			}
			if info, err := os.Lstat(filepath.Join(root, name)); err == nil && info.IsDir() || blocked(root, name) {
				continue
			}
			put(t, root, name, datas[rng.IntN(len(datas))], times[rng.IntN(len(times))])
		}
		probe := func() Probe {
			p := Probe{Path: "/" + pattern(), IgnoreCase: rng.IntN(2) == 0}
			for range rng.IntN(3) {
				p.Path += "/" + pattern()
			}
			if rng.IntN(2) == 0 {
				p.Header = []byte(datas[rng.IntN(len(datas))])
				p.Header = p.Header[:min(len(p.Header), 1+rng.IntN(64))]
			}
			at := func(i int) time.Time { x, _ := time.Parse(time.RFC3339, times[i]); return x }
			if rng.IntN(2) == 0 {
				p.ModifiedFrom = at(1)
			}
			if rng.IntN(2) == 0 {
				p.ModifiedTo = at(3)
			}
			if rng.IntN(4) == 0 {
				sum := sha256.Sum256([]byte(datas[rng.IntN(len(datas))]))
				p.SHA256 = hex.EncodeToString(sum[:])
			}
			if rng.IntN(4) == 0 {
				p.MinSize = int64(max(1, len(datas[rng.IntN(len(datas))])))
			}
			return p
		}
		var playbooks []*Playbook
		var want []recovery.Content
		for i := range 3 {
			p := &Playbook{Bad: []Probe{probe(), probe()}, Good: []Probe{probe()}}
			p.Facts.Digest = fmt.Sprintf("sha256:%064x", i)
			playbooks = append(playbooks, p)
			want = append(want, expect(t, root, p))
		}
		sh := all[round%len(all)]
		got, _, err := sh.probe(t, root, ShellProbe(playbooks...))
		if err != nil {
			t.Fatalf("seed %d, round %d, %s: %v", seed, round, sh.name, err)
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("seed %d, round %d, %s\nbad %+v\ngood %+v\n got %+v\nwant %+v", seed, round, sh.name, playbooks[i].Bad, playbooks[i].Good, got[i], want[i])
			}
		}
	}
}

// blocked reports whether a file stands where name needs a folder.
func blocked(root, name string) bool {
	for d := path.Dir(name); d != "."; d = path.Dir(d) {
		if info, err := os.Lstat(filepath.Join(root, d)); err == nil && !info.IsDir() {
			return true
		}
	}
	return false
}

// TestShellProbeLinks: files behind links that stay below the root count, others do not, and linked files never do.
func TestShellProbeLinks(t *testing.T) {
	p := &Playbook{
		Bad:  []Probe{{Path: "/opt/*/f.bin", Header: []byte("B")}},
		Good: []Probe{{Path: "/opt/*/g.bin", Header: []byte("G")}},
	}
	p.Facts.Digest = "sha256:" + strings.Repeat("0", 64)
	base := t.TempDir()
	root, outside := filepath.Join(base, "root"), filepath.Join(base, "root-outside")
	const at = "2024-07-19T05:26:59Z"
	put(t, outside, "f.bin", "B", at)
	put(t, root, "srv/in/f.bin", "B", at)
	put(t, root, "opt/real/g.bin", "G", at)
	for link, target := range map[string]string{
		"opt/in": "../srv/in", "opt/again": "in", "opt/abs": filepath.Join(root, "srv/in"), "opt/out": outside, "opt/up": "../../root-outside", "opt/dead": "nowhere", "opt/loop": "loop", "opt/real/f.bin": "../../srv/in/f.bin",
	} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(root, filepath.Join(base, "linked root")); err != nil {
		t.Fatal(err)
	}
	for _, sh := range shells(t) {
		for _, r := range []string{root, filepath.Join(base, "linked root")} {
			got, _, err := sh.probe(t, r, ShellProbe(p))
			if err != nil {
				t.Fatal(err)
			}
			if want := (recovery.Content{Playbook: p.Facts.Digest, Bad: 1, Good: 1}); !reflect.DeepEqual(got[0], want) {
				t.Errorf("%s below %s: %+v, want %+v", sh.name, r, got[0], want)
			}
		}
	}
}

// TestShellProbeErrors: a probe that could not run to its end says so.
func TestShellProbeErrors(t *testing.T) {
	p := &Playbook{
		Bad:  []Probe{{Path: "/opt/f*.bin", Header: []byte("B"), ModifiedFrom: time.Unix(1, 0)}},
		Good: []Probe{{Path: "/opt/g.bin", SHA256: strings.Repeat("0", 64)}},
	}
	p.Facts.Digest = "sha256:" + strings.Repeat("0", 64)
	root, many := t.TempDir(), t.TempDir()
	put(t, root, "opt/f.bin", "B", "2024-07-19T05:26:59Z")
	put(t, root, "opt/g.bin", "B", "2024-07-19T05:26:59Z")
	for i := range maxProbeFiles + 1 {
		put(t, many, fmt.Sprintf("opt/f%d.bin", i), "", "2024-07-19T05:26:59Z")
	}
	without := func(tool string) string {
		bin := t.TempDir()
		for _, a := range []string{"od", "stat", "sha256sum"} {
			if found, err := exec.LookPath(a); err != nil {
				t.Fatal(err)
			} else if a != tool {
				if err := os.Symlink(found, filepath.Join(bin, a)); err != nil {
					t.Fatal(err)
				}
			}
		}
		return bin
	}
	for _, test := range []struct {
		name, path, root, want string
	}{
		{"nothing wrong", without("nothing"), root, ""},
		{"no od", without("od"), root, probeErrors["cannot-read"]},
		{"no stat", without("stat"), root, probeErrors["cannot-read"]},
		{"no sha256sum", without("sha256sum"), root, probeErrors["cannot-read"]},
		{"too many files", without("nothing"), many, probeErrors["too-many-files"]},
	} {
		sh := shell{"sh", []string{"sh"}, test.path}
		if dash, err := exec.LookPath("dash"); err == nil {
			sh.argv = []string{dash} // busybox and some other shells have these tools inside
		} else if found, err := exec.LookPath("sh"); err == nil {
			sh.argv = []string{found}
		}
		got, _, err := sh.probe(t, test.root, ShellProbe(p))
		if err != nil || got[0].Error != test.want {
			t.Errorf("%s: %+v, %v, want the error %q", test.name, got, err, test.want)
		}
	}
	if _, _, err := shells(t)[0].probe(t, "relative", ShellProbe(p)); err == nil {
		t.Error("a relative root is accepted")
	}
}

// TestShellProbeUnlistable: a folder that may not be listed is an error, and one that only needs to be gone through is none.
func TestShellProbeUnlistable(t *testing.T) {
	d := "sha256:" + strings.Repeat("0", 64)
	exact := &Playbook{Facts: recovery.Playbook{Digest: d}, Bad: []Probe{{Path: "/opt/f.bin", Header: []byte("B")}}}
	listed := &Playbook{Facts: recovery.Playbook{Digest: d}, Bad: []Probe{{Path: "/opt/f*.bin", Header: []byte("B")}}}
	base := t.TempDir()
	put(t, base, "opt/f.bin", "B", "2024-07-19T05:26:59Z")
	for dir, mode := range map[string]os.FileMode{filepath.Dir(base): 0o755, base: 0o755, filepath.Join(base, "opt"): 0o111} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	defer os.Chmod(filepath.Join(base, "opt"), 0o755) //nolint:errcheck // so that the test's folder can be removed
	for p, want := range map[*Playbook]recovery.Content{
		exact:  {Playbook: d, Bad: 1},
		listed: {Playbook: d, Missing: true, Error: probeErrors["cannot-list"]},
	} {
		cmd := exec.Command("/bin/sh", "-s")
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		cmd.Stdin, cmd.Dir = strings.NewReader(ShellProbe(p)), "/"
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BLACKSTART_ROOT=" + base}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := ParseProbeOutput(out)
		if err != nil || !reflect.DeepEqual(got, []recovery.Content{want}) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
}

// TestShellProbeInjection: whatever stands in a playbook's fields, the script runs nothing of it.
func TestShellProbeInjection(t *testing.T) {
	const evil = "'; echo BLACKSTART-EVIL; touch evil; '\"$(touch evil)`touch evil`\n\\x *"
	for _, p := range []*Playbook{
		{Facts: recovery.Playbook{Name: "a\ntouch evil\n#", Digest: "sha256:" + strings.Repeat("0", 64)}, Bad: []Probe{{Path: "/" + evil + "/a*" + evil, IgnoreCase: true, Header: []byte("x")}}},
		{Facts: recovery.Playbook{Digest: "sha256:" + strings.Repeat("0", 64)}, Good: []Probe{{Path: "/*/" + evil, SHA256: evil}}},
	} {
		for _, sh := range shells(t) {
			root := t.TempDir()
			put(t, root, "d/"+strings.ReplaceAll(evil, "/", ""), "x", "2024-07-19T05:26:59Z")
			cmd := exec.Command(sh.argv[0], append(slices.Clone(sh.argv[1:]), "-s")...)
			cmd.Stdin, cmd.Dir = strings.NewReader(ShellProbe(p)), root
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BLACKSTART_ROOT=" + root}
			out, err := cmd.CombinedOutput()
			if _, _, perr := ParseProbeOutput(out); err != nil || perr != nil {
				t.Errorf("%s: %v, %v\n%s", sh.name, err, perr, out)
			}
			if _, err := os.Stat(filepath.Join(root, "evil")); err == nil || bytes.Contains(out, []byte("EVIL")) {
				t.Errorf("%s ran what stands in a playbook:\n%s", sh.name, out)
			}
		}
	}
}

// TestShellProbeHere: without a root the running system is asked, which has a boot id on Linux.
func TestShellProbeHere(t *testing.T) {
	want, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		want = nil
	}
	got, boot, err := shells(t)[0].probe(t, "", ShellProbe())
	if err != nil || len(got) != 0 || boot != strings.TrimSpace(string(want)) {
		t.Errorf("%v, boot id %q, %v, want %q", got, boot, err, want)
	}
}
