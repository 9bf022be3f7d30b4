package api

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// Who sends more than any agent has to is ended, with its reason on record.
func TestWhatAnAgentMaySend(t *testing.T) {
	many := &pb.Facts{Health: make([]*pb.HealthCheck, maxSaidFacts+1)}
	for i := range many.Health {
		many.Health[i] = &pb.HealthCheck{}
	}
	large := &pb.Facts{Health: []*pb.HealthCheck{{Detail: strings.Repeat("x", maxAgentMessage)}}}
	for name, c := range map[string]struct {
		say  func(*agent)
		code codes.Code
		why  string
	}{
		"a flood": {func(a *agent) {
			for range burst + 1 { // the hello counts too
				_ = a.stream.Send(beat(&pb.Heartbeat{})) // why it fails is told by Recv
			}
		}, codes.ResourceExhausted, "more messages than 64 and then 4 a second"},
		"countless facts": {func(a *agent) { a.say(&pb.Heartbeat{Facts: many}) }, codes.ResourceExhausted, "1025 facts in one message"},
		"a large message": {func(a *agent) { a.say(&pb.Heartbeat{Facts: large}) }, codes.Internal, "bytes; at most 131072"},
		"a huge message": {func(a *agent) {
			_ = a.stream.Send(beat(&pb.Heartbeat{Refused: strings.Repeat("x", maxMessage)}))
		}, codes.ResourceExhausted, "larger than max"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, stop := start(t, inMemory)
				defer stop()
				w.declare()
				a := w.phone("ns1", hello("ns1", "one", w.good()))
				defer a.cancel()
				a.next()
				c.say(a)
				if err := a.fails(); status.Code(err) != c.code || !strings.Contains(err.Error(), c.why) {
					t.Errorf("it was ended with %v", err)
				}
				if r := w.refused(); len(r) != 1 || r[0].Host != "ns1" || !strings.Contains(r[0].Why, c.why) {
					t.Errorf("recorded: %+v", r)
				}
			})
		})
	}
}

// A first message that is too much is ended likewise.
func TestAHelloThatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		a := w.phone("ns1", hello("ns1", "one", &pb.Facts{Content: make([]*pb.ContentFact, maxSaidFacts+1)}))
		defer a.cancel()
		if err := a.fails(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("it was ended with %v", err)
		}
		synctest.Wait()
		if r := w.refusals(); len(r) != 1 || r[0].Host != "ns1" {
			t.Errorf("recorded: %+v", r)
		}
	})
}

// The busiest agent there can be stays: it beats every second, answers every question, and catches up after its network was away.
func TestABusyAgentStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		a := w.phone("ns1", hello("ns1", "one", w.good()))
		defer a.cancel()
		ended := a.obey()
		for minute := range 30 {
			for range 2 * 60 {
				select {
				case err := <-ended:
					t.Fatalf("the agent was ended in minute %d: %v", minute, err)
				case <-time.After(500 * time.Millisecond):
				}
				a.say(&pb.Heartbeat{})
			}
			for range 25 {
				a.say(&pb.Heartbeat{})
			}
		}
	})
}
