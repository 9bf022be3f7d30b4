package lab

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"time"
)

// login lets an authenticated connection into an environment. Coming in through rescue boots the rescue system, which ends
// a loop. It says false when the environment has gone meanwhile.
func (m *machine) login(env string, through net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.offers(env) {
		return false
	}
	if env == EnvRescueLinux && m.state != Rescue {
		m.powerOff(through)
		m.enter(Rescue)
	}
	m.live[through], m.logins[through] = struct{}{}, struct{}{}
	return true
}

// logout forgets a connection that has ended.
func (m *machine) logout(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, c)
	delete(m.logins, c)
}

// offers reports whether an environment can be reached now.
func (m *machine) offers(env string) bool {
	switch {
	case env == EnvLinux:
		return m.network
	case env != EnvRescueLinux || m.fault.Kind == NeedsHands || m.unreached() > 0:
		return false
	case m.state == Rescue || m.state == Parked:
		return true
	default:
		return m.down && (m.state == Booting || m.state == Crashing)
	}
}

// unreached is how long the rescue stays out of reach yet, in real time.
func (m *machine) unreached() time.Duration {
	if m.fault.Kind != Unreachable {
		return 0
	}
	return m.lab.leftSinceStrike(m.fault.Span)
}

// reboot is the reboot command. It leaves rescue, and the machine boots its own disk.
func (m *machine) reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == Off || m.state == Parked {
		return
	}
	ran := m.scripts > 0
	m.powerOff()
	if m.state == Rescue && m.onMirror() && ran {
		m.joinMirror()
	}
	m.down, m.loops = false, 0
	m.powerOn(0)
}

// root is the disk as the rescue environment mounts it.
func (m *machine) root() string {
	if m.state != Rescue || !m.onMirror() {
		return m.disk.root
	}
	half := filepath.Join(m.lab.dir, "mirrors", m.spec.Name)
	if _, err := os.Stat(half); err != nil {
		if err := m.disk.mirror(half); err != nil {
			m.log.Warn("mirror cannot be split", "error", err)
		}
	}
	return half
}

func (m *machine) onMirror() bool { return m.fault.Kind == WrongDisk && !m.right }

func (m *machine) joinMirror() {
	m.right = true
	if err := m.disk.rejoin(filepath.Join(m.lab.dir, "mirrors", m.spec.Name)); err != nil {
		m.log.Warn("mirror cannot be joined again", "error", err)
	}
}

// hands is a person at the machine.
func (m *machine) hands() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state == Off {
		return errors.New("it is off; call Start first")
	}
	names, err := m.disk.scan()
	if err == nil {
		err = m.disk.clean()
	}
	if err != nil {
		return err
	}
	switch {
	case m.onMirror():
		m.joinMirror()
	case m.fault.Kind == WrongHostKey:
		m.right = true
	}
	if m.state == Up && len(names) == 0 {
		return nil // nothing to do here
	}
	m.powerOff()
	m.down, m.loops = false, 0
	m.powerOn(0)
	return nil
}
