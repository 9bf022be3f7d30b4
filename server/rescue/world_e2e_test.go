//go:build e2e

package rescue

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	cloudKernel = "linux-image-cloud-amd64"
	patience    = 150 * time.Second // for anything that a machine does
)

// signer is a new key.
func signer(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s, private
}

// coordinator is what a rescue system calls: it takes the phone-home, and gives the seed when it has one.
type coordinator struct {
	*httptest.Server
	mu    sync.Mutex
	seed  []byte // answer to /seed; none while nil
	asked []string
	hello chan string
}

func startCoordinator(t *testing.T) *coordinator {
	t.Helper()
	c := &coordinator{hello: make(chan string, 16)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /rescue/TOKEN/hello", func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		c.hello <- string(body)
	})
	mux.HandleFunc("GET /seed", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked = append(c.asked, r.URL.RawQuery)
		if c.seed == nil || len(c.asked) < 2 { // the first time nobody has it
			http.Error(w, "no attempt wants this host in rescue", http.StatusNotFound)
			return
		}
		_, _ = w.Write(c.seed)
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// url is how a machine under qemu reaches the coordinator.
func (c *coordinator) url() string {
	_, port, _ := net.SplitHostPort(c.Listener.Addr().String())
	return "http://10.0.2.2:" + port
}

// seedArchive is what the coordinator makes for one boot.
func seedArchive(t *testing.T, url string, key ed25519.PrivateKey) []byte {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	a := archive{}
	a.file("blackstart/seed/ssh_host_ed25519_key", 0o600, pem.EncodeToMemory(block))
	a.file("blackstart/seed/ssh_host_ed25519_key.pub", 0o644, ssh.MarshalAuthorizedKey(public))
	a.file("blackstart/seed/env", 0o644, fmt.Appendf(nil, "BLACKSTART_URL='%s'\nBLACKSTART_TOKEN='TOKEN'\nBLACKSTART_ATTEMPT='web-1/2'\nBLACKSTART_HOST='web-1'\n", url))
	var b bytes.Buffer
	if err := a.writeTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// vm is a machine under qemu.
type vm struct {
	console string // file
	ssh     string // address of its port 22 here
	ended   chan struct{}
}

// boot starts a machine; args say from what. It is ended with the test, and its console shown when that failed.
func boot(t *testing.T, args ...string) *vm {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &vm{console: filepath.Join(t.TempDir(), "console"), ssh: l.Addr().String(), ended: make(chan struct{})}
	l.Close()
	args = append([]string{
		"-accel", "tcg", "-m", "640", "-display", "none", "-no-reboot", "-monitor", "none", "-serial", "file:" + m.console,
		"-netdev", "user,id=n0,hostfwd=tcp:" + m.ssh + "-:22", "-device", "virtio-net-pci,netdev=n0,romfile=",
	}, args...)
	cmd := exec.Command("qemu-system-x86_64", args...)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in words
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-m.ended
		if t.Failed() {
			out, _ := os.ReadFile(m.console)
			t.Logf("qemu: %s\nthe console ends with\n%s", words.String(), out[max(0, len(out)-6000):])
		}
	})
	return m
}

// wait asks again until it is so, or patience ends.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(200*time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after %s still not: %s", patience, what)
		}
	}
}

func (m *vm) said(text string) bool {
	out, _ := os.ReadFile(m.console)
	return strings.Contains(string(out), text)
}

// login opens a connection that is verified by the seed's host key.
func (m *vm) login(t *testing.T, host ssh.PublicKey, who ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", m.ssh, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	c, chans, reqs, err := ssh.NewClientConn(conn, m.ssh, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(who)}, HostKeyCallback: ssh.FixedHostKey(host), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, chans, reqs), nil
}

// on runs commands in the rescue system.
type on struct {
	t *testing.T
	*ssh.Client
	buses map[string]string // where each disk is attached, by serial
}

// attached notes where each disk is attached.
func (o *on) attached() {
	o.buses = map[string]string{}
	for line := range strings.Lines(o.run("", "for b in /sys/block/vd*; do d=$(readlink $b/device); echo $(cat $b/serial) ${d##*/}; done")) {
		serial, bus, _ := strings.Cut(strings.TrimSpace(line), " ")
		o.buses[serial] = bus
	}
}

// try runs a command with input; both outputs come back as one.
func (o on) try(input, command string) (string, int) {
	o.t.Helper()
	s, err := o.NewSession()
	if err != nil {
		o.t.Fatal(err)
	}
	defer s.Close()
	s.Stdin = strings.NewReader(input)
	stop := time.AfterFunc(patience, func() { s.Close() })
	defer stop.Stop()
	out, err := s.CombinedOutput(command)
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &exit):
		return string(out), exit.ExitStatus()
	case err != nil:
		o.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out), 0
}

func (o on) run(input, command string) string {
	o.t.Helper()
	out, exit := o.try(input, command)
	if exit != 0 {
		o.t.Fatalf("%s: exit %d\n%s", command, exit, out)
	}
	return out
}

// lastLine of an output.
func lastLine(out string) string {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	return lines[len(lines)-1]
}

// only leaves the machine with one of its disks, which is vda from then on.
func (o on) only(serial string) {
	o.t.Helper()
	o.run("", `set -e
		blackstart-disk close
		cd /sys/bus/virtio/drivers/virtio_blk
		for v in virtio*; do echo $v >unbind; done
		echo `+o.buses[serial]+` >bind
		[ "$(cat /sys/block/vda/serial)" = `+serial+` ]
		blackstart-disk freeze`)
}

func tool(t *testing.T, input, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// drive attaches a disk to a machine.
func drive(path, serial string) []string {
	return []string{
		"-drive", "if=none,format=raw,cache=writethrough,id=" + serial + ",file=" + path,
		"-device", "virtio-blk-pci,drive=" + serial + ",serial=" + serial,
	}
}

func megabytes(n int) string { return strconv.Itoa(n << 20) }
