package api

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// When thousands of agents lose a coordinator they all come back at once. Each handshake costs a millisecond of a processor, and
// if all were begun together all would end together, after everybody's patience. So a few are under way and the others wait in
// the order in which they came.
const (
	handshakesAtOnce = 64
	handshakeTurn    = 500 * time.Millisecond // a slower handshake goes on, but does not keep its place from others
	gatePatience     = 4 * time.Second        // after which whoever waits is sent away: an agent gives up after ten
)

// Before it comes to that, the agents are asked to spread their return.
const (
	returnsPerSecond = 250 // two processors can greet some more
	leastReturn      = time.Second
	mostReturn       = time.Minute
)

// returnWithin is the time over which the agents of so many hosts come back.
func returnWithin(hosts int) time.Duration {
	return min(max(time.Duration(hosts)*time.Second/returnsPerSecond, leastReturn), mostReturn)
}

var errCrowded = errors.New("too many others come at once")

// gate has a place for each handshake that is under way.
type gate struct{ places chan struct{} }

func newGate(places int) *gate { return &gate{make(chan struct{}, places)} }

// enter waits for a place. The function that it returns gives the place back, which happens by itself when the turn is over.
func (g *gate) enter() (leave func(), err error) {
	patience := time.NewTimer(gatePatience)
	defer patience.Stop()
	select {
	case g.places <- struct{}{}:
	case <-patience.C:
		return nil, errCrowded
	}
	free := sync.OnceFunc(func() { <-g.places })
	turn := time.AfterFunc(handshakeTurn, free)
	return func() { turn.Stop(); free() }, nil
}

// knockedConn is a connection whose first byte has been read: who says nothing takes no place.
type knockedConn struct {
	net.Conn
	first   [1]byte
	pending bool
}

// knocked waits for the first byte, as long as the connection's deadline allows.
func knocked(c net.Conn) (net.Conn, error) {
	k := &knockedConn{Conn: c}
	n, err := c.Read(k.first[:])
	k.pending = n == 1
	if k.pending {
		err = nil
	}
	return k, err
}

func (k *knockedConn) Read(p []byte) (int, error) {
	if !k.pending || len(p) == 0 {
		return k.Conn.Read(p)
	}
	k.pending = false
	p[0] = k.first[0]
	return 1, nil
}

// SyscallConn lets grpc set the socket's options.
func (k *knockedConn) SyscallConn() (syscall.RawConn, error) {
	if c, ok := k.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
