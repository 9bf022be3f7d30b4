//go:build e2e

package power

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Login of every board.
const (
	boardUser     = "admin"
	boardPassword = "s3cret-#9'w" // what a shell would trip over
)

// board is a real IPMI board: openipmi's simulator, with a fake machine behind it.
type board struct {
	t    *testing.T
	dir  string
	port string
}

// fakeMachine is what the board acts on. Its state lies in files: power (0, 1), boot (none, pxe), boots (what it booted from, a line each);
// and its faults: deaf (power is not obeyed), keeps (a start does not use up the override), stuck (the override cannot be changed).
const fakeMachine = `#!/bin/sh
cd %s && verb=$2 && shift 2
if [ $verb = get ]; then
	for what; do echo $what:$(cat $what); done
	exit 0
fi
while [ $# -gt 1 ]; do
	case $1 in
	boot) [ -e stuck ] || echo $2 > boot ;;
	power)
		if [ ! -e deaf ] && [ $2 = 1 ] && [ $(cat power) = 0 ]; then
			cat boot >> boots
			[ -e keeps ] || echo none > boot
		fi
		[ -e deaf ] || echo $2 > power
		;;
	esac
	shift 2
done
`

// newBoard starts a board whose machine is on.
func newBoard(t *testing.T) *board {
	t.Helper()
	b := &board{t: t, dir: t.TempDir(), port: freePort(t)}
	b.set("power", "1")
	b.set("boot", "none")
	writeProgram(t, filepath.Join(b.dir, "machine"), fmt.Sprintf(fakeMachine, b.dir))
	b.set("sim.emu", "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n")
	b.set("lan.conf", `name "board"
set_working_mc 0x20
startlan 1
  addr 127.0.0.1 `+b.port+`
  priv_limit admin
  allowed_auths_callback none md2 md5 straight
  allowed_auths_user none md2 md5 straight
  allowed_auths_operator none md2 md5 straight
  allowed_auths_admin none md2 md5 straight
  guid a123456789abcdefa123456789abcdef
endlan
chassis_control "`+b.dir+`/machine 0x20"
user 1 false "" "none" user 10 none md2 md5 straight
user 2 true "`+boardUser+`" "`+boardPassword+`" admin 10 none md2 md5 straight
user 3 true "operator" "`+boardPassword+`" operator 10 none md2 md5 straight
user 4 true "looker" "`+boardPassword+`" user 10 none md2 md5 straight
`)
	if err := os.Mkdir(filepath.Join(b.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}

	var output bytes.Buffer
	sim := exec.Command("ipmi_sim", "-n", "-c", "lan.conf", "-f", "sim.emu", "-s", "state")
	sim.Dir = b.dir
	sim.Stdout, sim.Stderr = &output, &output
	if err := sim.Start(); err != nil {
		t.Fatal(err, "(make deps installs it)")
	}
	t.Cleanup(func() {
		_ = sim.Process.Kill()
		_ = sim.Wait()
		if t.Failed() {
			t.Logf("ipmi_sim: %s", output.String())
		}
	})
	b.awaitPort()
	return b
}

// awaitPort returns when the board listens.
func (b *board) awaitPort() {
	b.t.Helper()
	port, err := strconv.Atoi(b.port)
	if err != nil {
		b.t.Fatal(err)
	}
	bound := fmt.Sprintf("0100007F:%04X ", port)
	for end := time.After(10 * time.Second); ; {
		table, err := os.ReadFile("/proc/net/udp")
		if err != nil {
			b.t.Fatal(err)
		}
		if strings.Contains(string(table), bound) {
			return
		}
		select {
		case <-end:
			b.t.Fatal("ipmi_sim does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort is a UDP port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
	return port
}

// set writes a file of the board or its machine.
func (b *board) set(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// want checks the words in a file of the machine.
func (b *board) want(name, want string) {
	b.t.Helper()
	content, err := os.ReadFile(filepath.Join(b.dir, name))
	if got := strings.Join(strings.Fields(string(content)), " "); err != nil || got != want {
		b.t.Errorf("the machine's %s: %q (%v), want %q", name, got, err, want)
	}
}

// control is the board's, through the program.
func (b *board) control(program string) recovery.Control {
	b.t.Helper()
	return recovery.Control{
		Name: "board", Kind: recovery.ControlAgent, Program: program, Timeout: 20 * time.Second,
		Options: map[string]string{"ip": "127.0.0.1", "ipport": b.port, "username": boardUser, "lanplus": "1", "cipher": "3"},
		Secrets: map[string]string{"password": secretFile(b.t, boardPassword)},
	}
}

// secretFile returns a reference to a file that holds the secret.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}
