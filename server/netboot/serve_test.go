package netboot

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeListener hands out connections in memory, so that the deadlines run on the clock of synctest.
type fakeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFakeListener() *fakeListener {
	return &fakeListener{conns: make(chan net.Conn, 2*maxConns), done: make(chan struct{})}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (l *fakeListener) dial() net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours
}

// served runs the story against a Service that serves, and sees that it ends.
func served(t *testing.T, dir string, story func(w *world, l *fakeListener, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.ImageDir = dir })
		l := newFakeListener()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Serve(ctx, l) }()
		story(w, l, stop)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// cutAfter reads until the other side closes and returns how long that took.
func cutAfter(c net.Conn) time.Duration {
	begin := time.Now()
	_, _ = io.Copy(io.Discard, c)
	return time.Since(begin)
}

func TestSlowRequestsAreCutOff(t *testing.T) {
	dir := imageDir(t)
	for name, c := range map[string]struct {
		sent string
		most time.Duration
	}{
		"nothing":     {"", headerTimeout},
		"half header": {"GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n", headerTimeout},
		"half body":   {"POST /rescue/TOKEN/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf", readTimeout},
		"kept alive":  {"GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n\r\n", idleTimeout},
	} {
		served(t, dir, func(w *world, l *fakeListener, _ func()) {
			conn := l.dial()
			sent := strings.Replace(c.sent, "/rescue/TOKEN", w.booted("web-1/1"), 1)
			go func() { _, _ = io.WriteString(conn, sent) }()
			if took := cutAfter(conn); took < time.Second || took > c.most+time.Second {
				t.Errorf("%s: cut off after %s", name, took)
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	served(t, imageDir(t), func(_ *world, l *fakeListener, _ func()) {
		conn := l.dial()
		go func() {
			_, _ = io.WriteString(conn, "GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n")
			for range 1000 {
				_, _ = io.WriteString(conn, "X: "+strings.Repeat("x", 100)+"\r\n")
			}
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%v %v", res, err)
		}
		conn.Close()
	})
}

// A slow network gets a large image all the same, and one that stands still is cut off.
func TestALargeImageMayTakeItsTimeButNotStandStill(t *testing.T) {
	dir := imageDir(t)
	image := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	if err := os.WriteFile(filepath.Join(dir, initrdFile), image, 0o644); err != nil {
		t.Fatal(err)
	}
	served(t, dir, func(w *world, l *fakeListener, _ func()) {
		path := w.booted("web-1/1")
		get := func() (net.Conn, *http.Response) {
			conn := l.dial()
			go func() { _, _ = fmt.Fprintf(conn, "GET %s/initrd HTTP/1.1\r\nHost: x\r\n\r\n", path) }()
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			return conn, res
		}

		// slowly reads a piece at a time until the end or the cut.
		slowly := func(body io.Reader, pause time.Duration) (read int, took time.Duration) {
			begin := time.Now()
			for buf := make([]byte, 32<<10); ; {
				n, err := io.ReadFull(body, buf)
				read += n
				if err != nil {
					return read, time.Since(begin)
				}
				time.Sleep(pause) //nolint:forbidigo // synctest's clock
			}
		}

		conn, res := get()
		if read, took := slowly(res.Body, 10*time.Second); read != len(image) || took < 20*time.Minute {
			t.Errorf("%d of %d bytes in %s", read, len(image), took)
		}
		conn.Close()

		conn, res = get()
		time.Sleep(stallTimeout + time.Second) //nolint:forbidigo // synctest's clock
		n, err := io.Copy(io.Discard, res.Body)
		if err == nil || n == int64(len(image)) {
			t.Errorf("a download that stood still went on: %d bytes, %v", n, err)
		}
		conn.Close()

		conn, res = get()
		if read, took := slowly(res.Body, 40*time.Second); read == len(image) || took < DefaultExpires-stallTimeout || took > DefaultExpires+stallTimeout {
			t.Errorf("%d of %d bytes in %s: a download may take as long as its token holds", read, len(image), took)
		}
		conn.Close()
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	served(t, imageDir(t), func(_ *world, l *fakeListener, _ func()) {
		var idle []net.Conn
		for range maxConns {
			idle = append(idle, l.dial())
		}
		synctest.Wait()
		late := l.dial()
		go func() { _, _ = io.WriteString(late, "GET /boot.ipxe HTTP/1.0\r\n\r\n") }()
		synctest.Wait()
		if n := len(l.conns); n != 1 {
			t.Fatalf("%d connections wait, want 1", n)
		}
		idle[0].Close()
		res, err := http.ReadResponse(bufio.NewReader(late), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%v %v", res, err)
		}
		for _, c := range append(idle, late) {
			c.Close()
		}
	})
}

func TestServeEndsGracefully(t *testing.T) {
	dir := imageDir(t)
	served(t, dir, func(w *world, l *fakeListener, stop func()) { // an answer under way is given
		conn := l.dial()
		w.cfg.Ask = func(context.Context, string, string) (string, string, error) {
			stop()
			time.Sleep(time.Second) //nolint:forbidigo // synctest's clock
			return "I1", "web-1/1", nil
		}
		go func() {
			_, _ = io.WriteString(conn, "GET /host.ipxe?mac=525400000001 HTTP/1.1\r\nHost: x\r\n\r\n")
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, script := read(t, res); !strings.Contains(script, "/rescue/") {
			t.Errorf("%s", script)
		}
		conn.Close()
	})
	served(t, dir, func(_ *world, l *fakeListener, stop func()) { // one that does not end is cut off
		conn := l.dial()
		go func() { _, _ = io.WriteString(conn, "GET /boot.ipxe HTTP/1.1\r\nHost: x\r\n") }()
		synctest.Wait()
		stop()
		if took := cutAfter(conn); took > stopTimeout+time.Second {
			t.Errorf("cut off after %s", took)
		}
	})
}

func TestServeTellsOfABrokenListener(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := w.Serve(t.Context(), l); err == nil {
		t.Error("no error")
	}
}

// The core may take long to answer, but not for ever.
func TestACoreThatDoesNotAnswerMeansTheLocalDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) {
			c.Ask = func(ctx context.Context, _, _ string) (string, string, error) {
				<-ctx.Done()
				return "", "", ctx.Err()
			}
		})
		begin := time.Now()
		if _, script := w.get("/host.ipxe?mac=525400000001"); !isLocal(script) || time.Since(begin) != askTimeout {
			t.Errorf("after %s: %s", time.Since(begin), script)
		}
	})
}
