package api

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Who is refused again and again is heard ever more seldom; nobody else is, and a good agent is heard at once.
func TestTheStocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		var took []int
		for range 10 {
			began := time.Now()
			if err := w.phone("ns1", hello("ns2", "liar", nil)).fails(); status.Code(err) != codes.PermissionDenied {
				t.Fatalf("a liar was ended with %v", err)
			}
			took = append(took, int(time.Since(began).Round(time.Second)/time.Second))
			began = time.Now()
			good := w.phone("ns3", hello("ns3", "one", w.good()))
			good.next()
			if took := time.Since(began); took > 0 {
				t.Errorf("a good agent was heard after %v", took)
			}
			good.cancel()
			w.until("ns3", func(v recovery.Sighting) bool { return !v.Connected })
		}
		want := []int{0, 0, 0, 1, 2, 4, 8, 16, 20, 20}
		for i := range want {
			if took[i] != want[i] {
				t.Fatalf("it was heard after %v, seconds %v are wanted", took, want)
			}
		}
		time.Sleep(forgiven + time.Second) //nolint:forbidigo // in a bubble it takes no time
		began := time.Now()
		for range freeRefusals {
			if err := w.phone("ns1", hello("ns2", "liar", nil)).fails(); status.Code(err) != codes.PermissionDenied || time.Since(began) > 0 {
				t.Errorf("when all is forgiven: %v after %v", err, time.Since(began))
			}
		}
	})
}

// What grpc itself ends a stream for counts too.
func TestTheStocksForNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		for i := range freeRefusals + 1 {
			began := time.Now()
			a := w.phone("ns1", hello("ns1", fmt.Sprint(i), w.good()))
			_ = a.stream.SendMsg(hello(string(make([]byte, maxMessage)), "", nil))
			if err := a.fails(); status.Code(err) != codes.ResourceExhausted {
				t.Fatalf("it was ended with %v", err)
			}
			if took := time.Since(began); (took > 0) != (i == freeRefusals) {
				t.Errorf("number %d was heard after %v", i+1, took)
			}
			synctest.Wait()
		}
	})
}

func TestOneWaitsInTheStocks(t *testing.T) {
	if got := culprit(identity{"agent", "ns1", "10.0.0.1:4711"}); got != "ns1@10.0.0.1" {
		t.Errorf("the culprit is %s", got)
	}
	synctest.Test(t, func(t *testing.T) {
		var s stocks
		for range freeRefusals {
			s.put("ns1@10.0.0.1")
		}
		first := make(chan error, 1)
		go func() { first <- s.wait(t.Context(), "ns1@10.0.0.1") }()
		synctest.Wait()
		if err := s.wait(t.Context(), "ns1@10.0.0.1"); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("a second stream: %v", err)
		}
		if err := s.wait(t.Context(), "ns1@10.0.0.2"); err != nil {
			t.Errorf("the same name at another address: %v", err)
		}
		began := time.Now()
		if err := <-first; err != nil || time.Since(began) != firstWait {
			t.Errorf("the first is heard after %v: %v", time.Since(began), err)
		}
		s.put("ns1@10.0.0.1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if err := s.wait(ctx, "ns1@10.0.0.1"); err == nil {
			t.Error("who has gone away is heard")
		}
		began = time.Now()
		if err := s.wait(t.Context(), "ns1@10.0.0.1"); err != nil || time.Since(began) == 0 {
			t.Errorf("after somebody went away: %v after %v", err, time.Since(began))
		}
	})
}

// The stocks have room for so many, and no more.
func TestTheStocksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s stocks
		for i := range mostInStocks + 10 {
			s.put(fmt.Sprint(i))
		}
		if n := len(s.who); n > mostInStocks {
			t.Errorf("%d are in the stocks", n)
		}
		for i := range mostInStocks / 2 {
			s.put(fmt.Sprint("b", i))
		}
		time.Sleep(forgiven + 1) //nolint:forbidigo // in a bubble it takes no time
		for i := range mostInStocks {
			s.put(fmt.Sprint("c", i))
		}
		if n := len(s.who); n > mostInStocks || n < mostInStocks/2 {
			t.Errorf("%d are in the stocks", n)
		}
	})
}

func TestHowLongTheReturnTakes(t *testing.T) {
	for hosts, want := range map[int]time.Duration{0: time.Second, 100: time.Second, 500: 2 * time.Second, 10_000: 40 * time.Second, 100_000: time.Minute} {
		if got := returnWithin(hosts); got != want {
			t.Errorf("%d hosts come back within %v, not %v", hosts, got, want)
		}
	}
	w, stop := start(t, loopback)
	defer stop()
	a := w.phone("ns1", hello("ns1", "one", nil))
	defer a.cancel()
	if got := a.next().GetStandBy().GetReturnWithin().AsDuration(); got != leastReturn {
		t.Errorf("an agent is told to come back within %v", got)
	}
}
