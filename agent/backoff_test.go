package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

func returnWithin(sequence uint64, d time.Duration) *pb.Instruction {
	in := standBy("s", 1, sequence)
	in.GetStandBy().ReturnWithin = durationpb.New(d)
	return in
}

// A fleet that loses its coordinator comes back spread over the time that it was told, and no later, however long that one is away.
func TestAFleetReturnsSpread(t *testing.T) {
	const fleet, within = 60, 50 * time.Second
	for _, away := range []time.Duration{0, 3 * time.Second, time.Hour} {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.coordinator(here)
				for i := range fleet {
					defer start(t, w.config(fmt.Sprint("app", i), here))()
					v := c.next(t)
					v.say(returnWithin(1, within))
					v.answer("s")
				}
				c.stop()
				time.Sleep(away) //nolint:forbidigo // the clock of a synctest bubble
				c = w.coordinator(here)
				defer c.stop()
				up := time.Now()
				var tenths [10]int
				for range fleet {
					c.next(t)
					tenths[min(9, int(10*time.Since(up)/within))]++
				}
				if took := time.Since(up); took > within || took < within/2 {
					t.Errorf("the last came after %v", took)
				}
				for i, n := range tenths {
					if n > fleet/3 { // six are expected
						t.Errorf("%d of %d came in tenth %d of the time: %v", n, fleet, i, tenths)
					}
				}
			})
		})
	}
}

// An agent that is alone with its trouble does not wait for the others.
func TestARefusedAgentReturnsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		defer start(t, w.config("app1", here))()
		var ended time.Time
		for i := range 50 {
			v := c.next(t)
			if took := time.Since(ended); i > 0 && took > time.Second {
				t.Fatalf("it came back after %v", took)
			}
			v.say(returnWithin(1, time.Minute))
			v.answer("s")
			v.end <- status.Error(codes.Aborted, "a newer connection has taken over")
			ended = time.Now()
		}
	})
}

func TestHowLongAnAgentPauses(t *testing.T) {
	for _, c := range []struct {
		asked       *durationpb.Duration
		set         time.Duration // MaxBackoff
		lost, later time.Duration // the longest pauses: after a loss, and after many rounds
	}{
		{nil, 0, time.Second, 30 * time.Second},
		{durationpb.New(0), 0, time.Second, 30 * time.Second},
		{durationpb.New(-time.Hour), 0, time.Second, 30 * time.Second},
		{&durationpb.Duration{Seconds: 1, Nanos: -1}, 0, time.Second, 30 * time.Second},
		{durationpb.New(4 * time.Second), 0, 4 * time.Second, 30 * time.Second},
		{durationpb.New(40 * time.Second), 0, 40 * time.Second, 40 * time.Second},
		{durationpb.New(time.Hour), 0, time.Minute, time.Minute},
		{durationpb.New(40 * time.Second), 2 * time.Second, 2 * time.Second, 2 * time.Second},
	} {
		cfg := newWorld(t).config("app1", here)
		cfg.MaxBackoff = c.set
		a, err := newAgent(cfg)
		if err != nil {
			t.Fatal(err)
		}
		a.within = newReturn(c.asked, a.within, a.longest)
		var lost, later time.Duration
		least, first := time.Hour, time.Hour
		for range 4000 {
			d := a.pause(50, false)
			lost, later, least, first = max(lost, a.pause(0, true)), max(later, d), min(least, d), min(first, a.pause(1, false))
		}
		a.close()
		if lost > c.lost || lost < c.lost*9/10 || later > c.later || later < c.later*9/10 {
			t.Errorf("asked for %v, set to %v: pauses up to %v after a loss and %v later", c.asked, c.set, lost, later)
		}
		if told := a.within > 0; told != (least >= c.later*3/4) || least > c.later*4/5 || told && first < a.within*3/16 {
			t.Errorf("asked for %v: the first pause in vain is at least %v, later ones %v", c.asked, first, least)
		}
	}
}
