package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// Truth is how a machine really is.
type Truth struct {
	Host   string `json:"host"`
	State  State  `json:"state"`
	Up     bool   `json:"up"`
	Bad    int    `json:"bad"`   // bad files on the disk that it boots from
	Boots  int    `json:"boots"` // of its own disk
	BootID string `json:"boot_id"`
	Hit    bool   `json:"hit"` // takes the bad update
	Fault  Kind   `json:"fault,omitempty"`
}

// Truth looks at every machine and its disk. The list is sorted by host.
func (l *Lab) Truth() []Truth {
	all := make([]Truth, len(l.machines))
	for i, m := range l.machines {
		all[i] = m.truth()
	}
	return all
}

func (m *machine) truth() Truth {
	m.mu.Lock()
	defer m.mu.Unlock()
	names, err := m.disk.scan()
	if err != nil {
		m.log.Warn("disk cannot be read", "error", err)
	}
	return Truth{
		Host: m.spec.Name, State: m.state, Up: m.state == Up, Bad: len(names), Boots: m.boots, BootID: m.boot,
		Hit: m.hit, Fault: m.fault.Kind,
	}
}

// Assignments lists what is wrong with whom, sorted by host; machines that do not take the update are among them.
func (l *Lab) Assignments() []Fault {
	var all []Fault
	for _, m := range l.machines {
		if m.fault.Kind != "" {
			all = append(all, m.fault)
		}
	}
	return all
}

// Seed returns the seed in use.
func (l *Lab) Seed() uint64 { return l.seed }

// Strike lets the bad update land: each machine that takes it has the bad file on its disk and crashes. A second strike
// does nothing.
func (l *Lab) Strike() error {
	l.mu.Lock()
	if l.ctx == nil || l.closed {
		l.mu.Unlock()
		return errors.New("lab: the machines are off; call Start before Strike")
	}
	if !l.strikeAt.IsZero() {
		l.mu.Unlock()
		return nil
	}
	l.strikeAt = time.Now()
	l.mu.Unlock()
	for _, m := range l.machines {
		m.struck()
	}
	return nil
}

// Hands sends a person to a machine: the bad files are removed, a split mirror is joined, a host key is set right, and the
// machine is started from its own disk. A machine that is up and good is left alone.
func (l *Lab) Hands(host string) error {
	m := l.byName[host]
	if m == nil {
		return fmt.Errorf("lab: no machine is called %s", host)
	}
	if err := m.hands(); err != nil {
		return fmt.Errorf("lab: hands on %s: %w", host, err)
	}
	return nil
}

// Now returns the scenario's time: it stands at the scenario's clock until the strike and runs Speed times as fast then.
func (l *Lab) Now() time.Time { return l.story.Clock.Add(l.sinceStrike()) }

// sinceStrike is in the scenario's time.
func (l *Lab) sinceStrike() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.strikeAt.IsZero() {
		return 0
	}
	return time.Duration(float64(time.Since(l.strikeAt)) * l.speed)
}

// leftSinceStrike is the real time until d of the scenario's time have passed since the strike.
func (l *Lab) leftSinceStrike(d time.Duration) time.Duration {
	left := float64(d-l.sinceStrike()) / l.speed
	return max(time.Duration(left), 0)
}

func (l *Lab) struck() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.strikeAt.IsZero()
}

// Changed returns a channel that is closed at the next change of any machine's state. Take it, look, then wait.
func (l *Lab) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moved
}

func (l *Lab) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.moved)
	l.moved = make(chan struct{})
}

// Await returns when what holds of a machine, looking again at every change of state, or with ctx's error.
func (l *Lab) Await(ctx context.Context, host string, what func(Truth) bool) error {
	m := l.byName[host]
	if m == nil {
		return fmt.Errorf("lab: no machine is called %s", host)
	}
	for {
		moved := l.Changed()
		now := m.truth()
		if what(now) {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("lab: %s is %s with %d bad files after %d boots: %w", host, now.State, now.Bad, now.Boots, ctx.Err())
		}
	}
}

// tlsFor asks for a machine's certificate once.
func (l *Lab) tlsFor(host string) (*tls.Config, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.tls[host]; c != nil || l.agentTLS == nil {
		return c, nil
	}
	c, err := l.agentTLS(host)
	if err == nil {
		l.tls[host] = c
	}
	return c, err
}
