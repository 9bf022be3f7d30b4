package api

import (
	"context"
	"maps"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// An agent that is refused again and again waits ever longer until it is heard, so that what is wrong with it costs little. Others
// do not feel it, not even another machine with the same certificate.
const (
	freeRefusals = 3 // before the first wait
	firstWait    = time.Second
	longestWait  = 20 * time.Second
	forgiven     = 2 * time.Minute // after the last refusal
	mostInStocks = 100_000         // hosts times addresses
)

// stocks hold who was refused. The zero value is empty.
type stocks struct {
	mu  sync.Mutex
	who map[string]*offender // by culprit
}

type offender struct {
	refusals int
	last     time.Time
	free     time.Time // it is not heard before
	waits    bool      // a stream of it does already
}

// culprit is a certificate's name at an address.
func culprit(id identity) string {
	ip, _, err := net.SplitHostPort(id.peer)
	if err != nil {
		ip = id.peer
	}
	return id.name + "@" + ip
}

// blames reports whether a stream ended through what its agent is or says.
func blames(err error) bool {
	switch status.Code(err) {
	case codes.Internal, codes.ResourceExhausted, codes.InvalidArgument, codes.PermissionDenied, codes.NotFound, codes.AlreadyExists:
		return true
	default:
		return false
	}
}

// put notes a refusal.
func (s *stocks) put(culprit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	o := s.who[culprit]
	if o == nil || now.Sub(o.last) > forgiven {
		s.makeRoom(now)
		o = &offender{}
		s.who[culprit] = o
	}
	o.refusals++
	o.last = now
	if over := o.refusals - freeRefusals; over >= 0 {
		o.free = now.Add(min(firstWait<<min(over, 10), longestWait))
	}
}

// makeRoom forgets whoever is not refused any more, and if that is not enough, everybody.
func (s *stocks) makeRoom(now time.Time) {
	if len(s.who) >= mostInStocks {
		maps.DeleteFunc(s.who, func(_ string, o *offender) bool { return now.Sub(o.last) > forgiven })
	}
	if len(s.who) >= mostInStocks || s.who == nil {
		s.who = map[string]*offender{}
	}
}

// wait returns when the culprit may be heard. One stream of it may wait; others are sent away.
func (s *stocks) wait(ctx context.Context, culprit string) error {
	s.mu.Lock()
	o := s.who[culprit]
	if o == nil || time.Until(o.free) <= 0 {
		s.mu.Unlock()
		return nil
	}
	left, second := time.Until(o.free), o.waits
	o.waits = true
	s.mu.Unlock()
	if second {
		return status.Error(codes.ResourceExhausted, "refused too often; another stream of this host waits already")
	}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.waits = false
	}()
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
