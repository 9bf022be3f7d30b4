package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// What a hypervisor knows of a machine that it runs: where its disk is, and how to switch it off and on. An agent that restores a
// machine's disk runs the two programs for real; they tell the lab through its FIFO and do not wait for it. A machine that is
// still on when its disk is swapped is off a moment later.

const powerProgram = `#!/bin/sh
echo "$1 $2 $$" 1<>"${0%/*}/notices"
`

func layPower(dir string) error {
	return os.WriteFile(filepath.Join(dir, "power"), []byte(powerProgram), 0o755)
}

// Disk is the folder that stands for a machine's disk: what a restore of its image replaces.
func (l *Lab) Disk(host string) (string, error) {
	m := l.byName[host]
	if m == nil {
		return "", fmt.Errorf("lab: no machine is called %s", host)
	}
	return m.disk.root, nil
}

// Power returns the programs, with their arguments, that switch a machine off and on.
func (l *Lab) Power(host string) (off, on []string) {
	program := filepath.Join(l.dir, "power")
	return []string{program, "off", host}, []string{program, "on", host}
}

// switchOff is the power going.
func (m *machine) switchOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != Off {
		m.powerOff()
		m.enter(Off)
	}
}

// switchOn boots the machine from whatever its disk is now.
func (m *machine) switchOn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == Off && !m.lab.isClosed() {
		m.down, m.loops = false, 0
		m.powerOn(0)
	}
}

func (l *Lab) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}
