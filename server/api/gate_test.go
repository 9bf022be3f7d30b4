package api

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// A place that is not given back is free again when its turn is over, and who has waited too long is sent away.
func TestTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const crowd = 20
		began := time.Now()
		g := newGate(1)
		in, out := make(chan time.Duration, crowd), make(chan time.Duration, crowd)
		for range crowd {
			go func() {
				if _, err := g.enter(); err != nil {
					out <- time.Since(began)
					return
				}
				in <- time.Since(began)
			}()
		}
		for i := range int(gatePatience/handshakeTurn) - 1 {
			if at := <-in; at != time.Duration(i)*handshakeTurn {
				t.Errorf("number %d came in after %v", i, at)
			}
		}
		if at := <-out; at != gatePatience {
			t.Errorf("the first was sent away after %v", at)
		}
		time.Sleep(gatePatience) //nolint:forbidigo // in a bubble it takes no time
		if len(in)+len(out) != crowd-int(gatePatience/handshakeTurn) {
			t.Errorf("%d more came in and %d more were sent away", len(in), len(out))
		}
		leave, err := g.enter()
		if err != nil || time.Since(began) != 2*gatePatience {
			t.Fatalf("an empty gate: %v after %v", err, time.Since(began))
		}
		leave()
		if _, err := g.enter(); err != nil || time.Since(began) != 2*gatePatience {
			t.Errorf("a place that was given back: %v after %v", err, time.Since(began))
		}
	})
}

// Callers that say nothing, or stop in the middle of their handshake, do not keep others out.
func TestCallersThatStall(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		most time.Duration // until somebody else is let in
	}{
		"silent":           {"", 0},
		"after a byte":     {"\x16", handshakeTurn},
		"no TLS, and then": {"GET / HTTP/1.1\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, stop := start(t, inMemory)
				defer stop()
				var callers []net.Conn
				for range handshakesAtOnce {
					conn, err := w.dial(t.Context(), "")
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = conn.Close() }()
					callers = append(callers, conn)
					if _, err := conn.Write([]byte(c.says)); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				began := time.Now()
				if _, err := w.operator().ListIncidents(w.ctx, &pb.ListIncidentsRequest{}); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); took > c.most {
					t.Errorf("an operator was answered after %v", took)
				}
				// They are given up, all together, when the time for a connection's beginning is over.
				for _, conn := range callers {
					if _, err := conn.Read(make([]byte, 1)); c.says == "" && err == nil {
						t.Error("a silent caller was answered")
					}
				}
				if took := time.Since(began); took > connectionTimeout {
					t.Errorf("they were given up after %v", took)
				}
			})
		})
	}
}

// A flood of connections that come to nothing does not fill the log.
func TestNotesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &door{log: hclog.New(&hclog.LoggerOptions{Output: &out})}
		for range 100 {
			d.noted("10.0.0.1:1", "it speaks no TLS")
		}
		if n := strings.Count(out.String(), "it speaks no TLS"); n != notesAMinute {
			t.Errorf("%d lines in a minute", n)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // in a bubble it takes no time
		out.Reset()
		d.noted("10.0.0.1:1", "it speaks no TLS")
		if !strings.Contains(out.String(), "untold=80") {
			t.Errorf("a minute later: %s", out.String())
		}
	})
}
