//go:build machines && e2e && linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bmcProgram is what a machine's BMC (ipmi_sim) runs for each chassis command: the wires between the BMC and the mainboard. It is
// called as `PROGRAM [ADDR] get|set power|boot …`. The boot target lasts for one power on, as IPMI has it, unless the BMC forgets
// to clear it. It writes down every change; nothing else in the test switches the machine.
const bmcProgram = `#!/bin/sh
cd %[1]q || exit 1
case $1 in 0x*) shift ;; esac
qemu() { # is it there, and no zombie?
	pid=$(cat pid 2>/dev/null) && read -r stat 2>/dev/null <"/proc/$pid/stat" || return 1
	case $stat in "$pid (qemu-system-x86) Z"*) return 1 ;; "$pid (qemu-system-x86) "*) return 0 ;; esac
	return 1
}
case "$1 $2 $3" in
"get power "*) if qemu; then echo power:1; else echo power:0; fi ;;
"get boot "*) echo "boot:$(cat boot)" ;;
"set boot "*)
	echo "$3" >boot
	echo "boot $3" >>log
	;;
"set power 0")
	qemu || exit 0
	echo off >>log
	kill -9 "$pid"
	n=0
	while qemu && [ $n -lt 500 ]; do sleep 0.01; n=$((n + 1)); done
	;;
"set power 1")
	! qemu || exit 0
	read -r target <boot
	order=order=c
	if [ "$target" = pxe ]; then
		order=once=nc,order=c
		if [ -e forgets ]; then order=order=nc; else echo none >boot; fi
	fi
	echo "on $target" >>log
	exec %[2]s -boot "$order" </dev/null >>qemu.log 2>&1
	;;
esac
`

// bmcConfig is the BMC's network side: one IPMI 2.0 address and one user. Privileges and keys are those of the real protocol.
const bmcConfig = `name "%[1]s"
set_working_mc 0x20
  startlan 1
    addr %[2]s 623
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "%[3]s/chassis"
  user 1 false "" "x" user 10 none md2 md5 straight
  user 2 true "admin" "%[4]s" admin 10 none md2 md5 straight
`

const bmcSetup = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
`

const bmcPassword = "cold-laptop"

// startBMC gives the machine a baseboard controller, which stays on until the test ends.
func (m *vm) startBMC(t *testing.T) {
	t.Helper()
	qemu := fmt.Sprintf("qemu-system-x86_64 -accel tcg -name %[1]s -uuid %[2]s -m 384 -display none -nodefaults -daemonize -pidfile pid -chardev file,id=console,path=console,append=on -serial chardev:console"+
		" -drive file=disk,format=raw,if=virtio,cache=unsafe -device virtio-rng-pci -device virtio-net-pci,netdev=net,mac=%[3]s"+
		" -netdev user,id=net,restrict=off,hostfwd=tcp:%[4]s:22-:22,bootfile=http://%[5]s:%[6]d/boot.ipxe", m.name, m.uuid, m.mac, m.addr, gateway, netbootPort)
	writeFile(t, m.path("chassis"), fmt.Sprintf(bmcProgram, m.dir, qemu), 0o755)
	writeFile(t, m.path("bmc.conf"), fmt.Sprintf(bmcConfig, m.name, m.bmc, m.dir, bmcPassword), 0o600)
	writeFile(t, m.path("bmc.setup"), bmcSetup, 0o600)
	writeFile(t, m.path("boot"), "none\n", 0o600)
	if err := os.Mkdir(m.path("bmc"), 0o700); err != nil {
		t.Fatal(err)
	}
	if m.forgets {
		writeFile(t, m.path("forgets"), "", 0o600)
	}
	t.Cleanup(func() { _ = exec.Command(m.path("chassis"), "set", "power", "0").Run() })
	start(t, exec.Command("ipmi_sim", "-n", "-c", m.path("bmc.conf"), "-f", m.path("bmc.setup"), "-s", m.path("bmc")))
	eventually(t, m.name+"'s BMC answers", 10*time.Second, func() bool {
		_, err := m.ask("status")
		return err == nil
	})
}

// fence has the fence agent switch the machine, as a cluster would.
func (m *vm) fence(t *testing.T, action string) {
	t.Helper()
	if said, err := m.ask(action); err != nil {
		t.Fatalf("fence_ipmilan %s %s: %v\n%s", action, m.name, err, said)
	}
}

// ask runs the fence agent on the machine's BMC and returns what it said. Exit 2 is its word for "off".
func (m *vm) ask(action string) (string, error) {
	c := exec.Command("fence_ipmilan")
	c.Stdin = strings.NewReader(strings.Join([]string{"ip=" + m.bmc, "username=admin", "password=" + bmcPassword, "lanplus=1", "cipher=3", "power_wait=0", "action=" + action}, "\n") + "\n")
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	err := c.Run()
	if action == "status" && c.ProcessState != nil && c.ProcessState.ExitCode() == 2 {
		err = nil
	}
	return said.String(), err
}

// powerLog is what the BMC did: "on none", "on pxe", "off", "boot pxe", "boot none" …, oldest first.
func (m *vm) powerLog() []string {
	data, err := os.ReadFile(m.path("log"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// bootTarget is what the BMC would boot from at the next power on.
func (m *vm) bootTarget() string {
	data, _ := os.ReadFile(m.path("boot"))
	return strings.TrimSpace(string(data))
}

func (m *vm) path(name string) string { return filepath.Join(m.dir, name) }
