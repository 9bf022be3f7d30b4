package rescue

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestCPIOIsReadByCPIO(t *testing.T) {
	a := archive{}
	a.file("b/file", 0o640, []byte("hello"))
	a.file("a", 0o755, nil)
	a.link("b/link", "../a")
	a.dir("tmp", 0o1777)
	a.device("dev/console", 0o600, 5, 1)
	var b, again bytes.Buffer
	if err := errors.Join(a.writeTo(&b), a.writeTo(&again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("the same files gave other bytes")
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes: what follows would not be aligned", b.Len())
	}
	if _, err := exec.LookPath("cpio"); err != nil {
		leaveOut(t, "cpio is not here")
	}
	cmd := exec.Command("cpio", "-itvn", "--quiet")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.Stdin = &b
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for line := range strings.Lines(string(out)) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"-rwxr-xr-x 1 0 0 0 Jan 1 1970 a",
		"drwxr-xr-x 2 0 0 0 Jan 1 1970 b",
		"-rw-r----- 1 0 0 5 Jan 1 1970 b/file",
		"lrwxrwxrwx 1 0 0 4 Jan 1 1970 b/link -> ../a",
		"drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
		"crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
		"drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp",
	}
	if !slices.Equal(got, want) {
		t.Errorf("cpio lists\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCPIORefusesBadNames(t *testing.T) {
	for _, name := range []string{"", "/etc/passwd", "a\x00b"} {
		if err := (archive{name: {mode: modeRegular}}).writeTo(&bytes.Buffer{}); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Out: "x", URL: "http://10.0.0.5:7480", Keys: []ssh.PublicKey{nil}, Cache: "/c"}
	if err := good.check(); err != nil || good.Kernel != DefaultKernel {
		t.Fatalf("a good one: %v, kernel %q", err, good.Kernel)
	}
	v6 := good
	v6.URL = "http://[fd00::5]:7480"
	if err := v6.check(); err != nil {
		t.Errorf("IPv6: %v", err)
	}
	for what, change := range map[string]func(*Config){
		"no folder":       func(c *Config) { c.Out = "" },
		"no key":          func(c *Config) { c.Keys = nil },
		"a name":          func(c *Config) { c.URL = "http://coordinator:7480" },
		"https":           func(c *Config) { c.URL = "https://10.0.0.5:7480" },
		"no port":         func(c *Config) { c.URL = "http://10.0.0.5" },
		"a path":          func(c *Config) { c.URL = "http://10.0.0.5:7480/" },
		"a user":          func(c *Config) { c.URL = "http://ada@10.0.0.5:7480" },
		"another package": func(c *Config) { c.Kernel = "emacs" },
		"an option":       func(c *Config) { c.Kernel = "linux-image-$(x)" },
	} {
		c := good
		change(&c)
		if err := c.check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReadKeys(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm0ivyjhhBRFk9bVmHpqhjaBQCpqnFQTkc6W3EWJKQ0"
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	keys, err := ReadKeys(file("# people\n" + key + " ada@example\n\n" + key + "\n"))
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if got := string(lines(keys)); got != key+"\n" {
		t.Errorf("in the image it is %q: want it once, without the comment", got)
	}
	private := "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW\n-----END OPENSSH PRIVATE KEY-----\n"
	for text, want := range map[string]string{
		"":                           "holds no SSH public key",
		"hello\n":                    "holds no SSH public key",
		`command="ls" ` + key + "\n": "has options before a key",
		private:                      "",
	} {
		if _, err := ReadKeys(file(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if _, err := ReadKeys(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestParseURIs(t *testing.T) {
	out := "'http://deb.debian.org/x/zlib1g_1.2_amd64.deb' zlib1g_1%3a1.2.13-1_amd64.deb 86684 SHA256:ABCDEF\n" +
		"\n'http://deb.debian.org/x/libc6.deb' libc6_2.36-9+deb12u14_amd64.deb 2759320 SHA256:12\n"
	got, err := parseURIs([]byte(out))
	want := []deb{
		{"libc6_2.36-9+deb12u14_amd64.deb", "libc6", "2.36-9+deb12u14", "amd64", "12"},
		{"zlib1g_1%3a1.2.13-1_amd64.deb", "zlib1g", "1:1.2.13-1", "amd64", "abcdef"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "'u' ../../x_1_amd64.deb 1 SHA256:00", "'u' x_1_amd64.deb 1 MD5Sum:00", "'u' x.deb 1 SHA256:00"} {
		if got, err := parseURIs([]byte(bad)); err == nil {
			t.Errorf("%q was taken as %+v", bad, got)
		}
	}
}

func TestComplaint(t *testing.T) {
	if got := complaint("W: slow\nE: Unable to locate package x\nE: more\n"); got != "Unable to locate package x" {
		t.Errorf("%q", got)
	}
	if got := complaint("one\ntwo\n"); got != "two" {
		t.Errorf("%q", got)
	}
}

// TestTreeIsMerged: paths of /bin, /sbin and /lib are those of /usr, links lead where they would on a real system, and a name that
// climbs stays inside.
func TestTreeIsMerged(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, text string) {
		h.Size, h.Mode = int64(len(text)), 0o4755
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	add(tar.Header{Name: "./bin/real", Typeflag: tar.TypeReg}, "program")
	add(tar.Header{Name: "./sbin/alias", Typeflag: tar.TypeSymlink, Linkname: "/bin/real"}, "")
	add(tar.Header{Name: "./usr/lib/alias", Typeflag: tar.TypeSymlink, Linkname: "../sbin/alias"}, "")
	add(tar.Header{Name: "./usr/bin/twin", Typeflag: tar.TypeLink, Linkname: "./bin/real"}, "")
	add(tar.Header{Name: "./usr/bin/round", Typeflag: tar.TypeSymlink, Linkname: "round"}, "")
	add(tar.Header{Name: "./usr/share/doc/x", Typeflag: tar.TypeReg}, "left out")
	add(tar.Header{Name: "./../../usr/bin/climber", Typeflag: tar.TypeReg}, "x")
	add(tar.Header{Name: "./usr/bin/device", Typeflag: tar.TypeChar}, "")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tr := &tree{dir, map[string]file{}}
	if err := tr.read(root, tar.NewReader(&b), nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr/bin/real", "usr/sbin/alias", "usr/lib/alias", "usr/bin/twin"} {
		if got, ok := tr.resolve(name); !ok || got != "usr/bin/real" {
			t.Errorf("%s leads to %q", name, got)
		}
	}
	for _, name := range []string{"usr/bin/round", "usr/share/doc/x", "usr/bin/device", "nothing"} {
		if got, ok := tr.resolve(name); ok {
			t.Errorf("%s leads to %q", name, got)
		}
	}
	if tr.files["usr/bin/real"].mode != 0o755 {
		t.Errorf("the mode is %o: set-user-id has no place in a rescue system", tr.files["usr/bin/real"].mode)
	}
	if data, err := os.ReadFile(tr.path("usr/bin/climber")); err != nil || string(data) != "x" {
		t.Errorf("the climber: %q, %v", data, err)
	}
}

// TestClosure takes the libraries of a program of this machine from a tree that holds copies.
func TestClosure(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		leaveOut(t, "no /bin/sh here")
	}
	f, err := elf.Open(sh)
	if err != nil {
		leaveOut(t, "/bin/sh is no ELF file")
	}
	libraries, err := f.ImportedLibraries()
	f.Close()
	if err != nil || len(libraries) == 0 {
		leaveOut(t, "/bin/sh needs no library here")
	}
	tr := &tree{t.TempDir(), map[string]file{}}
	put := func(name string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(tr.path(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(tr.path(name), data, 0o755); err != nil {
			t.Fatal(err)
		}
		tr.files[name] = file{mode: 0o755}
	}
	data, err := os.ReadFile(sh)
	if err != nil {
		t.Fatal(err)
	}
	put("usr/bin/sh", data)
	needs, err := needed(tr.path("usr/bin/sh"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"usr/bin/sh"}
	for _, n := range needs {
		if strings.Contains(n, "/") {
			put(n, []byte("the interpreter"))
			want = append(want, n)
			continue
		}
		put("usr/lib/real-"+n, []byte("no ELF file: it needs nothing"))
		tr.files["usr/lib/"+n] = file{link: "real-" + n}
		want = append(want, "usr/lib/"+n, "usr/lib/real-"+n)
	}
	slices.Sort(want)
	got, err := tr.closure([]string{"usr/bin/sh"})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	delete(tr.files, "usr/lib/"+libraries[0])
	if _, err := tr.closure([]string{"usr/bin/sh"}); err == nil || !strings.Contains(err.Error(), libraries[0]) {
		t.Errorf("without %s: %v", libraries[0], err)
	}
}

func TestModulesAreLoadedInOrder(t *testing.T) {
	all := map[string]module{
		"ext4":     {path: "kernel/fs/ext4/ext4.ko", needs: []string{"jbd2", "mbcache"}, before: []string{"crc32c"}, aliases: []string{"fs-ext4"}},
		"jbd2":     {path: "kernel/fs/jbd2/jbd2.ko", needs: []string{"crc"}},
		"mbcache":  {path: "kernel/fs/mbcache.ko"},
		"crc":      {path: "kernel/lib/crc.ko"},
		"crc32c":   {path: "kernel/crypto/crc32c.ko", needs: []string{"crc"}},
		"unwanted": {path: "kernel/x.ko"},
	}
	m := modules{"6.1", map[string]module{}}
	m.take(all, "ext4")
	m.take(all, "built_in")
	if got := m.names(); !slices.Equal(got, []string{"crc", "crc32c", "ext4", "jbd2", "mbcache"}) {
		t.Fatalf("chosen: %v", got)
	}
	var order []string
	m.order("ext4", map[string]bool{}, &order)
	if !slices.Equal(order, []string{"crc", "crc32c", "jbd2", "mbcache", "ext4"}) {
		t.Errorf("order: %v", order)
	}
	if !strings.Contains(string(m.dep()), "kernel/fs/ext4/ext4.ko: kernel/fs/mbcache.ko kernel/fs/jbd2/jbd2.ko kernel/crypto/crc32c.ko kernel/lib/crc.ko\n") {
		t.Errorf("modules.dep:\n%s", m.dep())
	}
	if got := string(m.alias()); got != "alias fs-ext4 ext4\n" {
		t.Errorf("modules.alias: %q", got)
	}
}

// TestImageFolder: what is embedded lands where it belongs, and only scripts can be run.
func TestImageFolder(t *testing.T) {
	a := archive{}
	if err := addScripts(a); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]uint32{
		"init": 0o100755, "usr/sbin/blackstart-disk": 0o100755, "usr/share/blackstart/dhcp": 0o100755, "etc/ssh/sshd_config": 0o100644, "etc/passwd": 0o100644,
	} {
		if a[name].mode != mode {
			t.Errorf("%s has mode %o, want %o", name, a[name].mode, mode)
		}
	}
	if bytes.Contains(a["etc/ssh/sshd_config"].data, []byte("\nHostKey")) {
		t.Error("the image names a host key of its own")
	}
}

func TestManifestHasNoDate(t *testing.T) {
	for i := range reflect.TypeFor[Manifest]().NumField() {
		if f := reflect.TypeFor[Manifest]().Field(i); strings.Contains(f.Type.String(), "time.") {
			t.Errorf("%s would change from build to build", f.Name)
		}
	}
}

// leaveOut ends a test that this machine lacks something for; where all must be there it fails.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}
