package netboot

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// The bounds of Serve. An image may take as long as a token holds, as long as some of it moves every minute.
const (
	headerTimeout = 10 * time.Second // to read a request's header
	readTimeout   = 30 * time.Second // to read all of it
	writeTimeout  = 30 * time.Second // to answer, images apart
	idleTimeout   = 30 * time.Second // between two requests of a connection
	stallTimeout  = time.Minute      // for a piece of an image
	stopTimeout   = 5 * time.Second  // for answers under way when the service ends
	maxHeader     = 8 << 10          // bytes; net/http allows 4 KiB more
	maxConns      = 512              // at once; more wait to be accepted
)

// Serve answers on the listener until ctx ends, then lets short answers end, cuts the rest off after five seconds and returns nil.
// It closes the listener.
func (s *Service) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:                      s.Handler(),
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(&bounded{Listener: l, slots: make(chan struct{}, maxConns), done: make(chan struct{})})
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		_ = server.Close() // what is still under way is cut off
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bounded is a listener that accepts no more connections than it has slots.
type bounded struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.slots <- struct{}{}:
	case <-b.done:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	return &slotted{Conn: conn, give: func() { <-b.slots }}, nil
}

func (b *bounded) Close() error {
	b.once.Do(func() { close(b.done) })
	return b.Listener.Close()
}

// slotted is a connection that gives its slot back when it is closed.
type slotted struct {
	net.Conn
	once sync.Once
	give func()
}

func (s *slotted) Close() error {
	defer s.once.Do(s.give)
	return s.Conn.Close()
}

// patient is a response that may take long as long as it moves: every piece has a deadline of its own, and all have a last one.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	last    time.Time
}

func newPatient(w http.ResponseWriter, most time.Duration) *patient {
	return &patient{ResponseWriter: w, control: http.NewResponseController(w), last: time.Now().Add(most)}
}

func (p *patient) Write(piece []byte) (int, error) {
	until := time.Now().Add(stallTimeout)
	if until.After(p.last) {
		until = p.last
	}
	if err := p.control.SetWriteDeadline(until); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return p.ResponseWriter.Write(piece)
}
