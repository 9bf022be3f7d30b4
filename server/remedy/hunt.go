package remedy

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// hunt is how a connection is made to a host that is not up yet, or not for long. One dial would not do: while it waits for a
// host that is down it asks again after 1, 3 and 7 seconds only, and what forwards ports accepts it at once and then says nothing. So
// fresh ones follow each other, whatever became of those before, until the host has said who it is.
type hunt struct {
	pace     time.Duration   // between two dials, give or take a quarter
	patience time.Duration   // for one dial
	until    time.Time       // zero: as long as the context
	wake     <-chan struct{} // the host has been heard of: dial at once; may be nil, and may be closed
	met      *end            // what became of the last dial
}

const (
	mostDials    = 4               // of one hunt wait for an answer at once
	huntGreeting = 3 * time.Second // for a host that has accepted to say who it is
)

// through is the hunt for a host behind a jump host: each dial that goes unanswered is a burden there for minutes.
func (h hunt) through(jumps int) hunt {
	if jumps > 0 {
		h.pace, h.patience = max(h.pace, 2*time.Second), max(h.patience, 2*time.Second)
	}
	return h
}

// answer is what became of one dial.
type answer struct {
	greeting *greeting
	there    []turns
	end      *end
}

// hunted comes to the first identification of the host. When the time is over its end is that of the last dial.
func (r *SSH) hunted(ctx context.Context, t target) (*greeting, []turns, *end) {
	h := t.hunt.through(len(t.via))
	if t.hunt.met == nil {
		t.hunt.met = unreachable("no answer", "The host does not answer on its SSH port; check its power, its console and the firewall between.")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var over <-chan time.Time
	if !h.until.IsZero() {
		timer := time.NewTimer(time.Until(h.until))
		defer timer.Stop()
		over = timer.C
	}
	answers, waiting := make(chan answer), 0
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case a := <-answers:
			waiting--
			if a.end == nil {
				return a.greeting, a.there, nil
			}
			if t.hunt.met = a.end; final(a.end) { // of a jump host
				return nil, nil, a.end
			}
		case <-next.C:
			if waiting < mostDials {
				waiting++
				go r.dialOnce(ctx, h.patience, t, answers)
			}
			next.Reset(jittered(h.pace))
		case _, more := <-h.wake:
			if !more {
				h.wake = nil
			}
			next.Reset(0)
		case <-over:
			return nil, nil, t.hunt.met
		case <-ctx.Done():
			return nil, nil, stopped(context.Cause(ctx))
		}
	}
}

// dialOnce brings one dial's answer, unless nobody waits for it any more.
func (r *SSH) dialOnce(ctx context.Context, patience time.Duration, t target, answers chan<- answer) {
	a := r.try(ctx, patience, t)
	select {
	case answers <- a:
	case <-ctx.Done():
		if a.greeting != nil {
			_ = a.greeting.Close()
		}
	}
}

func (r *SSH) try(ctx context.Context, patience time.Duration, t target) answer {
	dialing, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	conn, there, e := r.reach(dialing, nil, t)
	if e != nil {
		return answer{end: e}
	}
	lively(conn)
	g := newGreeting(conn)
	if e := r.identify(ctx, g, min(huntGreeting, r.cfg.Timeouts.Handshake)); e != nil {
		_ = g.Close()
		return answer{end: e}
	}
	return answer{greeting: g, there: there}
}

// jittered spreads what many hunts do at the same pace.
func jittered(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1) //nolint:gosec // no secret
}

// lively lets the kernel find out within seconds that a host has died, also when its SSH server owes us an answer.
func lively(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 4})
	}
}

// final reports whether waiting cannot help: the machine is another one, or does not want us.
func final(e *end) bool {
	return e.class == recovery.HostKeyMismatch || e.class == recovery.AuthRefused && e.signature != accountRefused
}

// The pace of Await, which waits for one start of a machine and not for a window in which it is up.
const (
	awaitPace     = time.Second
	awaitPatience = 2 * time.Second
	awaitAgain    = 2 * time.Second // after an answer that was not the one that is awaited
)

// Await waits until the job's rung lets us in, and is Succeeded then. awake, when it gives a word or is closed, says that it is
// worth asking at once; it may be nil. A refused login ends it. Another host key does not: the machine may still be running, or be
// starting, another system. When ctx ends, the result is what stood in the way last.
func (r *SSH) Await(ctx context.Context, job recovery.Job, awake <-chan struct{}) recovery.Result {
	t, e := r.target(job)
	if e != nil {
		return e.result()
	}
	t.hunt = &hunt{pace: awaitPace, patience: awaitPatience, wake: awake}
	var met *end // further in than the connection
	for {
		l, e := r.connect(ctx, nil, t)
		switch {
		case e == nil:
			l.close()
			return recovery.Result{Class: recovery.Succeeded, Detail: "The host lets us in."}
		case ctx.Err() != nil && met != nil:
			return met.result()
		case ctx.Err() != nil:
			return t.hunt.met.result()
		case e.class == recovery.AuthRefused && e.signature != accountRefused:
			return e.result()
		}
		met = e
		pause := time.NewTimer(awaitAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}
