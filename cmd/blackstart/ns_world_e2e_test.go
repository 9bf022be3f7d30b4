//go:build e2e && linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A world is the test's own machine room: the test runs itself again as process 1 of fresh process, mount, network and
// host-name namespaces. Whatever it makes in there (namespaces, links, mounts, daemons) ends with that process, also when
// the test is killed, and nobody outside can see it. So nothing needs a name of its own, and nothing is ever left behind.

// worldDir is the variable that tells the test it is inside, and where its files are.
const worldDir = "BLACKSTART_TEST_WORLD"

// worldLimit bounds a test of three sites inside.
const worldLimit = 5 * time.Minute

// runInWorld builds the binaries and runs the test once more inside a world of its own, for no longer than the limit.
func runInWorld(t *testing.T, limit time.Duration) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test makes namespaces and mounts: run it as root")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, tool := range []string{"ip", "mount", "umount", "pivot_root", "mkfifo", "bash", "getent", "ssh", "ssh-keygen", "/usr/sbin/sshd", sftpServer} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: run tools/install-test-deps.sh", tool)
		}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "go", "build", "-o", filepath.Join(dir, "blackstart"), ".")
	command(t, "go", "build", "-o", filepath.Join(dir, "tools", "blackstart-agent"), "../blackstart-agent")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+(limit+30*time.Second).String())
	c.Env = append(os.Environ(), worldDir+"="+dir)
	c.SysProcAttr = &unix.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Unshareflags: unix.CLONE_NEWNS,
	}
	var said bytes.Buffer
	c.Stdout = io.Writer(&said)
	if testing.Verbose() {
		c.Stdout = io.MultiWriter(&said, os.Stderr)
	}
	c.Stderr = c.Stdout
	lifeline, err := c.StdinPipe() // when this process dies, the world sees its end
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatalf("no namespaces can be made here: %v", err)
	}
	err = c.Wait()
	_ = lifeline.Close()
	switch {
	case err != nil:
		t.Fatalf("%v\n%s", err, &said)
	case !strings.Contains(said.String(), "--- PASS: "+t.Name()):
		t.Fatalf("the test did not run inside its world:\n%s", &said)
	}
}

// enterWorld makes the place habitable: its own /proc and /run, no DNS, and an end when the process outside has ended.
func enterWorld(t *testing.T) (dir string) {
	t.Helper()
	dir = os.Getenv(worldDir)
	if os.Getpid() != 1 {
		t.Fatal("the world's first process is expected to be this one")
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	mount(t, "proc", "/proc", "proc", 0, "")
	mount(t, "tmpfs", "/run", "tmpfs", 0, "mode=755") // hides the name services of the machine outside, too
	for file, text := range map[string]string{"/etc/resolv.conf": "", "/etc/nsswitch.conf": nsswitch, "/etc/hosts": "127.0.0.1 localhost\n"} {
		own := filepath.Join(dir, filepath.Base(file))
		writeFile(t, own, text, 0o644)
		if at, err := filepath.EvalSymlinks(file); err == nil {
			mount(t, own, at, "", unix.MS_BIND, "")
		}
	}
	return dir
}

const nsswitch = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"

// within runs f on a thread that is in the named network namespace; processes that f starts and sockets that it opens stay there.
func within(ns string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + ns)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("into namespace %s: %w", ns, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("back from namespace %s: %w", ns, back) // the thread stays locked and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// network collects commands of ip(8) and runs them in one go.
type network struct{ strings.Builder }

func (n *network) do(format string, args ...any) { fmt.Fprintf(n, format+"\n", args...) }

// namespace makes one with a loopback.
func (n *network) namespace(name string) {
	n.do("netns add %s", name)
}

// cable joins two namespaces; a bridge may take the second end.
func (n *network) cable(ns, dev, otherNS, otherDev string) {
	n.do("link add %s netns %s type veth peer name %s netns %s", dev, ns, otherDev, otherNS)
}

func (n *network) build(t *testing.T) {
	t.Helper()
	c := exec.Command("ip", "-batch", "-")
	c.Stdin = strings.NewReader(n.String())
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("ip -batch: %v\n%s\n%s", err, out, n)
	}
}

// inNS runs further commands of ip(8) inside one namespace.
func inNS(t *testing.T, ns string, lines ...string) {
	t.Helper()
	c := exec.Command("ip", "-n", ns, "-batch", "-")
	c.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("ip -n %s: %v\n%s\n%s", ns, err, out, strings.Join(lines, "\n"))
	}
}

func forwards(t *testing.T, ns string) {
	t.Helper()
	if err := within(ns, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644) }); err != nil {
		t.Fatal(err)
	}
}

// nameWatch records every packet to port 53 in one namespace, on all its links and on its loopback.
type nameWatch struct {
	ns string
	fd int
}

// watchNames opens a packet socket whose filter lets UDP and TCP to port 53 through, IPv4 and IPv6.
func watchNames(t *testing.T, ns string) *nameWatch {
	t.Helper()
	const (
		ldb, ldbx, ldh, ldhx = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, unix.BPF_LD | unix.BPF_H | unix.BPF_IND
		rsh, jeq, ret        = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{ // offsets count from the IP header, jumps from the next line
		0:  {Code: ldb, K: 0},
		1:  {Code: rsh, K: 4},
		2:  {Code: jeq, K: 4, Jt: 0, Jf: 6},
		3:  {Code: ldb, K: 9},
		4:  {Code: jeq, K: unix.IPPROTO_UDP, Jt: 1, Jf: 0},
		5:  {Code: jeq, K: unix.IPPROTO_TCP, Jt: 0, Jf: 9},
		6:  {Code: ldbx, K: 0},
		7:  {Code: ldhx, K: 2},
		8:  {Code: jeq, K: 53, Jt: 7, Jf: 6},
		9:  {Code: jeq, K: 6, Jt: 0, Jf: 5},
		10: {Code: ldb, K: 6},
		11: {Code: jeq, K: unix.IPPROTO_UDP, Jt: 1, Jf: 0},
		12: {Code: jeq, K: unix.IPPROTO_TCP, Jt: 0, Jf: 2},
		13: {Code: ldh, K: 42},
		14: {Code: jeq, K: 53, Jt: 1, Jf: 0},
		15: {Code: ret, K: 0},
		16: {Code: ret, K: 1 << 16},
	}
	w := &nameWatch{ns: ns}
	err := within(ns, func() (err error) {
		all := int(unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00)
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		// The filter first, the protocol then: so nothing unfiltered is ever queued.
		if err := unix.SetsockoptSockFprog(w.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: uint16(all)})
	})
	if err != nil {
		t.Fatalf("watching port 53 in %s: %v", ns, err)
	}
	t.Cleanup(func() { _ = unix.Close(w.fd) })
	return w
}

// seen takes out what was recorded since the last time.
func (w *nameWatch) seen() (packets [][]byte) {
	for {
		buf := make([]byte, 512)
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err != nil {
			return packets
		}
		packets = append(packets, buf[:n])
	}
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s on %s: %v", source, target, err)
	}
}

func writeFile(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// tail is the end of a file, for the story of a failure.
func tail(file string, lines int) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
