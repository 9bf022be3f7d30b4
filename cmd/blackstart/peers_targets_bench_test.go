//go:build bench

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a run against the targets means. peerTimeout is every client's time to connect; a slow host says nothing for peerDelayOf
// after each connection is accepted.
const (
	peerTimeout = 10 * time.Second
	peerDelayOf = 3 * time.Second
	peerPort    = 2200
	peerSlow    = 2201
)

// peerHost is one target. A live and a slow one are the same machine behind another address; nobody answers for a dead one.
type peerHost struct {
	addr, kind string // live, slow, dead
}

func (h peerHost) port() int {
	if h.kind == "slow" {
		return peerSlow
	}
	return peerPort
}

func (h peerHost) at() string { return net.JoinHostPort(h.addr, strconv.Itoa(h.port())) }

// exit is how the script ends there: not with 0 everywhere.
func (h peerHost) exit() int {
	if n, _ := strconv.Atoi(h.addr[strings.LastIndexByte(h.addr, '.')+1:]); n%25 == 0 {
		return 7
	}
	return 0
}

// peerHosts are n hosts; with bad ones, every twentieth is dead and another twentieth slow.
func peerHosts(n int, bad bool) []peerHost {
	hosts := make([]peerHost, 0, n)
	for i := range n {
		h := peerHost{fmt.Sprintf("127.88.%d.%d", i/254, i%254+1), "live"}
		switch {
		case bad && i%20 == 7:
			h = peerHost{fmt.Sprintf("198.18.%d.%d", i/254, i%254+1), "dead"}
		case bad && i%20 == 17:
			h = peerHost{fmt.Sprintf("127.89.%d.%d", i/254, i%254+1), "slow"}
		}
		hosts = append(hosts, h)
	}
	return hosts
}

// peerScript is 1,024 bytes of POSIX sh. It says at which address it was reached and whether it arrived whole, with one
// process of its own, and exits 7 on every twenty-fifth address. A runner that gives it a clean environment still has the address.
func peerScript(t *testing.T) (text, payload string) {
	t.Helper()
	const form = `#!/bin/sh
# Says where it runs and whether it arrived whole.
c=${SSH_CONNECTION:-}
[ -n "$c" ] || { IFS= read -r c </proc/$PPID/environ; c=${c##*SSH_CONNECTION=}; }
set -- $c
p='%s'
s=$(printf '%%s' "$p" | cksum)
echo "blackstart-bench $3 $s"
[ $((${3##*.} %% 25)) -ne 0 ] || exit 7
exit 0
`
	var words strings.Builder
	for n := 0; words.Len() < 1024; n++ {
		fmt.Fprintf(&words, "word-%d ", n*n*7919)
	}
	payload = words.String()[:1024-len(fmt.Sprintf(form, ""))]
	text = fmt.Sprintf(form, payload)
	if len(text) != 1024 {
		t.Fatalf("the script has %d bytes", len(text))
	}
	return text, payload
}

// peerWorld is what lasts for the whole benchmark: a namespace, keys, the script, the programs.
type peerWorld struct {
	t                *testing.T
	dir              string
	key, hostKey     string
	hostKeyLine      string
	script           string // file
	sum              string // what cksum says of the script's payload
	blackstart, sshd string
}

func newPeerWorld(t *testing.T, dir string) *peerWorld {
	t.Helper()
	w := &peerWorld{t: t, dir: dir}
	w.key, w.hostKey, w.script = w.path("id_ed25519"), w.path("hostkey"), w.path("script.sh")
	w.exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", w.key)
	w.exec("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "host", "-f", w.hostKey)
	w.hostKeyLine = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(w.read(w.hostKey+".pub")), "host"))
	text, payload := peerScript(t)
	w.write(w.script, text)
	sum := exec.Command("cksum")
	sum.Stdin = strings.NewReader(payload)
	out, err := sum.Output()
	if err != nil {
		t.Fatal(err)
	}
	w.sum = strings.TrimSpace(string(out))
	if w.sshd, err = exec.LookPath("sshd"); err != nil {
		w.sshd = "/usr/sbin/sshd"
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	w.blackstart = w.path("blackstart")
	w.exec("go", "build", "-trimpath", "-ldflags=-s -w", "-o", w.blackstart, ".")
	w.network()
	w.home()
	return w
}

// home gives root an empty shell start-up file in this process's own view of the disk: bash reads it for every command over
// SSH, and what a developer has in it is no part of the comparison.
func (w *peerWorld) home() {
	w.t.Helper()
	root, err := user.LookupId("0")
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(root.HomeDir, ".bashrc")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return
	}
	w.write(w.path("bashrc"), "")
	if err := syscall.Mount(w.path("bashrc"), file, "", syscall.MS_BIND, ""); err != nil {
		w.t.Fatalf("mount over %s: %v", file, err)
	}
}

// network makes the loopback device and the black hole of this process's own network namespace: a pair of devices without
// address resolution, whose far end has no address. What goes there is swallowed, as by a host that is off.
func (w *peerWorld) network() {
	w.t.Helper()
	for _, args := range []string{
		"link set lo up",
		"link add hole0 type veth peer name hole1",
		"address add 198.19.255.254/32 dev hole0",
		"link set hole0 arp off up",
		"link set hole1 up",
		"route add 198.18.0.0/16 dev hole0",
	} {
		w.exec("ip", strings.Fields(args)...)
	}
}

// want is what the script must have printed on a host.
func (w *peerWorld) want(h peerHost) string { return "blackstart-bench " + h.addr + " " + w.sum }

func (w *peerWorld) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *peerWorld) read(file string) string {
	w.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *peerWorld) write(file, text string) {
	w.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *peerWorld) exec(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// peerEstate is a set of targets and what each client reads about it: the same users, keys, ports and strict host keys.
type peerEstate struct {
	*peerWorld
	hosts []peerHost
	dir   string
}

func (w *peerWorld) estate(name string, hosts []peerHost) *peerEstate {
	w.t.Helper()
	e := &peerEstate{peerWorld: w, hosts: hosts, dir: w.path(name)}
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	var list, targets, known, ladders, fleet strings.Builder
	for i, h := range hosts {
		fmt.Fprintln(&list, h.addr)
		fmt.Fprintln(&targets, h.at())
		fmt.Fprintf(&known, "[%s]:%d %s\n", h.addr, h.port(), w.hostKeyLine)
		fmt.Fprintf(&ladders, "  l%d: [{name: ssh, kind: ssh, environment: linux, port: %d, root: %q}]\n", i, h.port(), e.root(h))
		fmt.Fprintf(&fleet, "  - {name: %s, service: app, address: %s, agent: false, ladder: l%d}\n", e.name(h), h.addr, i)
	}
	w.write(e.file("hosts"), list.String())
	w.write(e.file("targets"), targets.String())
	w.write(e.file("known_hosts"), known.String())
	w.write(e.file("fleet.yaml"), fmt.Sprintf(`fleet: bench
tiers:
  - {name: only, gate: {success: 100%%, soak: 1s, max-failed: 0, max-unreachable: 0}}
services:
  - {name: app, tier: only}
ladders:
%sdefaults: {os: linux, data: none, edr: {product: edr-linux}}
hosts:
%s`, &ladders, &fleet))
	for _, kex := range []string{peerDefaultKex, peerCurve} {
		e.sshConfig(kex)
	}
	return e
}

func (e *peerEstate) file(name string) string { return filepath.Join(e.dir, name) }

// name is a host's in the fleet file.
func (e *peerEstate) name(h peerHost) string { return "h-" + strings.ReplaceAll(h.addr, ".", "-") }

// root is a host's own disk, for what Blackstart keeps there: all targets are one machine.
func (e *peerEstate) root(h peerHost) string { return filepath.Join(e.dir, "disks", h.addr) }

// The two key exchanges of OpenSSH's clients: what they choose by themselves, and the one that costs least.
const (
	peerDefaultKex = "default"
	peerCurve      = "curve25519"
)

func (e *peerEstate) sshConfig(kex string) {
	e.t.Helper()
	text := fmt.Sprintf(`Host 127.89.*
  Port %d
Host *
  Port %d
  User root
  IdentityFile %s
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  CheckHostIP no
  UpdateHostKeys no
  ConnectTimeout %d
`, peerSlow, peerPort, e.key, e.file("known_hosts"), int(peerTimeout.Seconds()))
	if kex == peerCurve {
		text += "  KexAlgorithms curve25519-sha256\n"
	}
	e.write(e.file("ssh_config-"+kex), text)
}

// clean gives every host an empty disk, before the clock runs.
func (e *peerEstate) clean() {
	e.t.Helper()
	if err := os.RemoveAll(e.file("disks")); err != nil {
		e.t.Fatal(err)
	}
	for _, h := range e.hosts {
		if err := os.MkdirAll(e.root(h), 0o755); err != nil {
			e.t.Fatal(err)
		}
	}
	syscall.Sync() // what was removed and made is written now, and not in somebody's time
}

// peerServers are the processes on the hosts' side.
type peerServers struct {
	w    *peerWorld
	side *exec.Cmd
	log  bytes.Buffer
}

// serve starts the servers of a kind (sshd or go), and the slow hosts in front of them, until the test ends or stop is called.
func (w *peerWorld) serve(kind string) *peerServers {
	w.t.Helper()
	command := []string{"/proc/self/exe", strconv.Itoa(peerPort), w.hostKey, w.key + ".pub"}
	if kind == "sshd" {
		config := w.path("sshd_config")
		w.write(config, fmt.Sprintf(`Port %d
ListenAddress 0.0.0.0
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PrintMotd no
PrintLastLog no
UseDNS no
LogLevel ERROR
MaxStartups 4096
Subsystem sftp /usr/lib/openssh/sftp-server
`, peerPort, w.hostKey, w.key+".pub"))
		command = []string{w.sshd, "-D", "-e", "-f", config}
	}
	s := &peerServers{w: w}
	s.side = peerPart(w.t.Context(), "side", append([]string{strconv.Itoa(peerSlow), strconv.Itoa(peerPort), peerDelayOf.String()}, command...)...)
	s.side.Stdout, s.side.Stderr = &s.log, &s.log
	s.side.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.side.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.stop)
	deadline := time.Now().Add(30 * time.Second)
	for _, port := range []int{peerPort, peerSlow} {
		for {
			conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err == nil {
				_ = conn.Close()
				break
			}
			if time.Now().After(deadline) {
				w.t.Fatalf("the servers do not listen: %v\n%s", err, &s.log)
			}
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // another process's state cannot be waited for otherwise
		}
	}
	return s
}

// stop ends the servers and waits until they are gone.
func (s *peerServers) stop() {
	if s.side.ProcessState != nil {
		return
	}
	_ = syscall.Kill(-s.side.Process.Pid, syscall.SIGKILL)
	_ = s.side.Wait()
}

// idle waits until the hosts have nothing left to do, so that no run pays for the one before, and returns the CPU time that
// their side has used so far.
func (s *peerServers) idle() time.Duration {
	s.w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // another process's state cannot be waited for otherwise
		all, err := peerProcesses()
		if err != nil {
			s.w.t.Fatal(err)
		}
		tree, used := map[int]bool{s.side.Process.Pid: true}, time.Duration(0)
		for grown := true; grown; {
			grown = false
			for _, p := range all {
				if tree[p.parent] && !tree[p.pid] {
					tree[p.pid], grown = true, true
				}
			}
		}
		for _, p := range all {
			if tree[p.pid] {
				used += p.cpu
			}
		}
		if len(tree) == 2 { // the side and its server
			return used
		}
		if time.Now().After(deadline) {
			s.w.t.Fatalf("%d processes on the hosts' side never end\n%s", len(tree)-2, &s.log)
		}
	}
}
