package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// door is one address of a machine, with the environments that may answer there.
type door struct {
	machine *machine
	address string // as the fleet knows it
	envs    []string
	socket  net.Listener

	mu    sync.Mutex
	shut  bool
	conns map[net.Conn]struct{}
}

// handshakeLimit is the real time that a visitor has to log in.
const handshakeLimit = 30 * time.Second

// addDoors makes a door for each address of a machine, and its keys.
func (l *Lab) addDoors(m *machine) error {
	for _, r := range m.spec.Rungs {
		if !served(r.Environment) {
			continue
		}
		port := r.Port
		if port == 0 {
			port = 22
		}
		if net.ParseIP(r.Address) == nil || port < 1 || port > 65535 {
			return fmt.Errorf("lab: rung %s of %s: %s port %d is no IP address with a port", r.Name, m.spec.Name, r.Address, port)
		}
		address := net.JoinHostPort(r.Address, strconv.Itoa(port))
		d := l.doors[address]
		if d == nil {
			d = &door{machine: m, address: address, conns: make(map[net.Conn]struct{})}
			l.doors[address] = d
			m.doors = append(m.doors, d)
		}
		if d.machine != m {
			return fmt.Errorf("lab: %s and %s share the address %s; give each its own", d.machine.spec.Name, m.spec.Name, address)
		}
		if contains(d.envs, r.Environment) {
			continue
		}
		d.envs = append(d.envs, r.Environment)
		if err := m.addKeys(r.Environment); err != nil {
			return err
		}
	}
	return nil
}

// addKeys makes an environment's host key, and the wrong one that the machine may have in its place.
func (m *machine) addKeys(env string) error {
	for _, purpose := range []string{env, "wrong " + env} {
		if m.keys[purpose] != nil || purpose != env && m.fault.Kind != WrongHostKey {
			continue
		}
		key, err := ssh.NewSignerFromKey(hostKey(m.lab.seed, m.spec.Name, purpose))
		if err != nil {
			return fmt.Errorf("lab: host key of %s: %w", m.spec.Name, err)
		}
		m.keys[purpose] = key
	}
	return nil
}

// KnownHosts returns a known_hosts file of all machines, by address. It holds the keys that the machines ought to have.
func (l *Lab) KnownHosts() []byte {
	var b bytes.Buffer
	for _, m := range l.machines {
		for _, d := range m.doors {
			for _, env := range d.envs {
				b.WriteString(knownhosts.Line([]string{d.address}, m.keys[env].PublicKey()))
				b.WriteByte('\n')
			}
		}
	}
	return b.Bytes()
}

// openDoors listens at every door.
func (l *Lab) openDoors() error {
	for _, m := range l.machines {
		for _, d := range m.doors {
			where := "127.0.0.1:0"
			if l.asIs {
				where = d.address
			}
			socket, err := net.Listen("tcp", where)
			if err != nil {
				return fmt.Errorf("lab: %s cannot be reached at %s: %w; use loopback addresses, or Lab.Dial", m.spec.Name, where, err)
			}
			d.socket = socket
			l.running.Go(d.accept)
		}
	}
	return nil
}

func (l *Lab) closeDoors() {
	for _, m := range l.machines {
		for _, d := range m.doors {
			d.close()
		}
	}
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.socket != nil {
		_ = d.socket.Close()
	}
	for c := range d.conns {
		_ = c.Close()
	}
}

// Dial connects to the machine that has the address in the fleet, wherever the lab really listens for it. An address that
// no machine has is unroutable; one whose environment is not running refuses, or does not answer.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	fail := func(err error) error {
		return &net.OpError{Op: "dial", Net: network, Addr: textAddr(address), Err: err}
	}
	d := l.doors[address]
	if d == nil || d.socket == nil {
		return nil, fail(syscall.EHOSTUNREACH)
	}
	for {
		_, how, left := d.machine.knock(d)
		switch how {
		case refused:
			return nil, fail(syscall.ECONNREFUSED)
		case open:
			var dialer net.Dialer
			return dialer.DialContext(ctx, "tcp", d.socket.Addr().String())
		case silent: // as packets that vanish: the visitor's patience ends first, or the silence does
			if err := l.wait(ctx, left); err != nil {
				return nil, fail(err)
			}
		}
	}
}

// wait lets real time pass.
func (l *Lab) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-l.ctx.Done():
		return syscall.EHOSTUNREACH
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answer is how a door takes a knock.
type answer int

const (
	refused answer = iota
	open
	silent
)

// knock says which environment answers at a door now. left is how long a silence lasts yet.
func (m *machine) knock(d *door) (env string, how answer, left time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, env := range d.envs {
		if m.offers(env) {
			return env, open, 0
		}
	}
	if left := m.unreached(); left > 0 && m.fault.Silent && m.state != Up {
		return "", silent, left
	}
	return "", refused, 0
}

// mute counts a visitor and reports whether the machine is one that says nothing to him.
func (m *machine) mute() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault.Kind != SilentSSH {
		return false
	}
	m.muted++
	return m.fault.Times == 0 || m.muted <= m.fault.Times
}

func (m *machine) keyFor(env string) ssh.Signer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault.Kind == WrongHostKey && !m.right {
		return m.keys["wrong "+env]
	}
	return m.keys[env]
}

func (d *door) accept() {
	for {
		c, err := d.socket.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				d.machine.log.Error("door is closed for good", "address", d.address, "error", err)
			}
			return
		}
		if !d.keep(c) {
			return
		}
		d.machine.lab.running.Go(func() {
			defer d.drop(c)
			d.serve(c)
		})
	}
}

func (d *door) keep(c net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		_ = c.Close()
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

func (d *door) drop(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = c.Close()
	delete(d.conns, c)
}

// serve is one visitor.
func (d *door) serve(c net.Conn) {
	m := d.machine
	env, how, _ := m.knock(d)
	if how == refused {
		abort(c)
		return
	}
	if how == silent || m.mute() {
		_, _ = io.Copy(io.Discard, c) // until he goes
		return
	}
	conf := &ssh.ServerConfig{ServerVersion: "SSH-2.0-blackstart_lab", PublicKeyCallback: m.lab.admit}
	conf.AddHostKey(m.keyFor(env))
	if err := c.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return
	}
	conn, channels, requests, err := ssh.NewServerConn(c, conf)
	if err != nil {
		m.log.Debug("visitor did not come in", "error", err)
		return
	}
	if err := c.SetDeadline(time.Time{}); err != nil || !m.login(env, c) {
		abort(c)
		return
	}
	defer m.logout(c)
	v := newVisit(m, env, c)
	defer v.end()
	m.lab.running.Go(func() { ssh.DiscardRequests(requests) })
	v.serve(channels)
	_ = conn.Close()
}

func (l *Lab) admit(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	if !bytes.Equal(key.Marshal(), l.key) {
		return nil, errors.New("key is not authorized")
	}
	return nil, nil
}

// abort breaks a connection off without a goodbye.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
