//go:build e2e && linux

package main

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// faultLine is a bad line to one host: a TCP relay that delays every byte, stalls now and then, and resets connections. It
// stands in for netem, which many kernels lack. What it does to the n-th connection follows from the seed.
type faultLine struct {
	t     *testing.T
	ns    string
	to    string
	delay time.Duration // one way
	seed  uint64
	// cut says after how many bytes from the far side the n-th connection (from 1) is reset; 0: never.
	cut func(n int) int

	mu     sync.Mutex
	count  int
	stalls int
	resets int
	moved  time.Time // when the last byte passed
	deaf   bool      // the next words from the near side are lost, and the connection with them
	open   map[*net.TCPConn]bool
}

// listen takes connections at an address of the line's namespace until the test ends.
func (l *faultLine) listen(addr string) {
	l.t.Helper()
	l.open = map[*net.TCPConn]bool{}
	var listener net.Listener
	if err := within(l.ns, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	}); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			l.count++
			n := l.count
			l.mu.Unlock()
			go l.relay(n, c.(*net.TCPConn))
		}
	}()
}

func (l *faultLine) relay(n int, near *net.TCPConn) {
	var far *net.TCPConn
	if err := within(l.ns, func() error {
		c, err := net.DialTimeout("tcp", l.to, 5*time.Second)
		if err == nil {
			far = c.(*net.TCPConn)
		}
		return err
	}); err != nil {
		reset(near)
		return
	}
	l.mu.Lock()
	l.open[near], l.open[far] = true, true
	l.mu.Unlock()
	random := rand.New(rand.NewPCG(l.seed, uint64(n)))
	stallAt := 500 + random.IntN(6000) // bytes from the far side
	stallFor := time.Duration(1000+random.IntN(1500)) * time.Millisecond
	cutAt := l.cut(n)

	done := make(chan bool, 2)
	go func() {
		l.pump(far, near, func(int) bool { return !l.loses() })
		done <- true
	}()
	go func() {
		passed, stalled := 0, false
		l.pump(near, far, func(size int) bool {
			passed += size
			l.mu.Lock()
			l.moved = time.Now()
			l.mu.Unlock()
			if cutAt > 0 && passed >= cutAt {
				l.mu.Lock()
				l.resets++
				l.mu.Unlock()
				return false
			}
			if passed >= stallAt && !stalled {
				stalled = true
				l.mu.Lock()
				l.stalls++
				l.mu.Unlock()
				time.Sleep(stallFor) //nolint:forbidigo // the fault itself: the line is silent for so long
			}
			return true
		})
		done <- true
	}()
	<-done
	reset(near)
	reset(far)
	<-done
	l.mu.Lock()
	delete(l.open, near)
	delete(l.open, far)
	l.mu.Unlock()
}

// pump copies with the line's delay, as long as allow says so. Bytes keep their distance in time: the delay does not add up.
func (l *faultLine) pump(to, from *net.TCPConn, allow func(size int) bool) {
	type piece struct {
		data []byte
		due  time.Time
	}
	flying := make(chan piece, 256)
	go func() {
		defer close(flying)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				flying <- piece{buf[:n], time.Now().Add(l.delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range flying {
		time.Sleep(time.Until(p.due)) //nolint:forbidigo // the fault itself: a long way
		if !allow(len(p.data)) {
			break
		}
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = from.SetReadDeadline(time.Now())
	for range flying { // the reader may wait for room
		continue
	}
}

// resetAll resets what is open and returns how many connections there had been until then.
func (l *faultLine) resetAll() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		reset(c)
	}
	l.resets++
	return l.count
}

// quietFor is how long nothing has come from the far side.
func (l *faultLine) quietFor() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.moved)
}

// goDeaf lets the far side still be heard, and loses the next words to it.
func (l *faultLine) goDeaf() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = true
}

// loses reports, once, that the line is deaf.
func (l *faultLine) loses() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.deaf
	if was {
		l.deaf = false
		l.resets++
	}
	return was
}

// seen returns how many connections, stalls and resets there were.
func (l *faultLine) seen() (connections, stalls, resets int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.stalls, l.resets
}

// reset ends a connection with RST.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
