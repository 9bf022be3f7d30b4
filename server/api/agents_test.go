package api

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func inMemory(*testing.T) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	l := bufconn.Listen(64 << 10)
	return l, func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }
}

func TestAnAgentIsMet(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	a := w.phone("ns1", hello("ns1", "one", nil))
	defer a.cancel()
	if i := a.next(); i.GetStandBy().GetBeat().AsDuration() != defaultBeat || i.GetEpoch() != epoch || i.GetSequence() != 1 {
		t.Errorf("first it is told %v", i)
	}
	i := a.next()
	sets := i.GetProbe().GetSets()
	if len(sets) != 1 || len(sets[0].GetBad()) != 1 || sets[0].GetGood()[0].GetPath() != "/opt/shield/*.bin" || i.GetSequence() != 2 {
		t.Errorf("then it is told %v", i)
	}
	w.declare()
	i = a.next()
	if i.GetVerify() == nil || i.GetId() != "ns1/0/verify/0" || i.GetEpoch() != epoch || i.GetSequence() != 3 {
		t.Errorf("in an incident it is told %v", i)
	}
	// Heartbeats and the end of the stream are taken in order: last words are not lost.
	for range 2 * inboundQueue {
		a.say(&pb.Heartbeat{})
	}
	last := w.good()
	last.Health[0].Detail = "last words"
	a.say(&pb.Heartbeat{Facts: last, Answers: i.GetId()})
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	w.until("ns1", func(v recovery.Sighting) bool { return !v.Connected })
	w.until("ns1", func(v recovery.Sighting) bool {
		return v.BootID == "boot-one" && v.Answers == i.GetId() && len(v.Health) == 1 && v.Health[0].Detail == "last words"
	})

	// Who knows the probes already is not told again.
	b := w.phone("ns1", hello("ns1", "two", w.good()))
	defer b.cancel()
	b.next()
	if i := b.next(); i.GetVerify() == nil {
		t.Errorf("it is told %v", i)
	}
}

// A host in its safe or rescue system is known as such, also by what its agent says after the hello.
func TestTheBootOfTheHelloGoesWithEveryBeat(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	for said, heard := range map[pb.BootMode]string{
		pb.BootMode_BOOT_MODE_UNSPECIFIED: recovery.BootNormal, pb.BootMode_BOOT_MODE_NORMAL: recovery.BootNormal,
		pb.BootMode_BOOT_MODE_SAFE: recovery.BootSafe, pb.BootMode_BOOT_MODE_RESCUE: recovery.BootRescue,
	} {
		h := hello("ns1", said.String(), nil)
		h.GetHello().BootMode = said
		a := w.phone("ns1", h)
		boot := "boot-" + said.String()
		w.until("ns1", func(v recovery.Sighting) bool { return v.BootID == boot && v.BootMode == heard && len(v.Health) == 0 })
		a.say(&pb.Heartbeat{Facts: &pb.Facts{Health: []*pb.HealthCheck{{Name: said.String(), Ok: true}}}})
		w.until("ns1", func(v recovery.Sighting) bool {
			return v.BootID == boot && v.BootMode == heard && len(v.Health) == 1 && v.Health[0].Name == said.String()
		})
		a.cancel()
		w.until("ns1", func(v recovery.Sighting) bool { return !v.Connected })
	}
}

// What a host says is hostile until it is cleaned and bounded.
func TestFactsAreCleanedAndBounded(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	digest := w.good().GetContent()[0].GetPlaybookDigest()
	facts := &pb.Facts{}
	for i := range 500 {
		facts.Content = append(facts.Content, &pb.ContentFact{PlaybookDigest: fmt.Sprint("sha256:", i), Bad: 1})
		facts.Health = append(facts.Health, &pb.HealthCheck{Name: fmt.Sprint("check", i), Ok: true})
	}
	facts.Content = append(facts.Content, &pb.ContentFact{PlaybookDigest: digest, Bad: -3, Good: -1, Detail: "\x1b]0;x\x07a\u202eb" + strings.Repeat("z", 1000)})
	h := hello("ns1", "one", facts)
	h.GetHello().EdrVersion = "7\x00\n" + strings.Repeat("1", 500)
	a := w.phone("ns1", h)
	defer a.cancel()
	a.next()
	w.until("ns1", func(v recovery.Sighting) bool {
		if !v.Connected {
			return false
		}
		if len(v.Content) != 1 || v.Content[0].Bad != 0 || v.Content[0].Good != 0 || !strings.HasPrefix(v.Content[0].Detail, "abzzz") || len(v.Content[0].Detail) > 210 {
			t.Errorf("content: %+v", v.Content)
		}
		if len(v.Health) != maxFacts+1 || v.Health[maxFacts].OK {
			t.Errorf("%d health checks, the last %+v", len(v.Health), v.Health[len(v.Health)-1])
		}
		if len(v.EDRVersion) > 90 || strings.ContainsAny(v.EDRVersion, "\x00\n") || len(v.WasBad) > 0 {
			t.Errorf("%q %v", v.EDRVersion, v.WasBad)
		}
		return true
	})
}

func TestASecondAgentOfAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		first := w.phone("ns1", hello("ns1", "one", w.good()))
		defer first.cancel()
		ended := first.obey()
		w.until("ns1", func(v recovery.Sighting) bool { return v.BootID == "boot-one" })

		// While the first lives, nobody else comes in.
		if err := w.phone("ns1", hello("ns1", "two", w.good())).fails(); status.Code(err) != codes.AlreadyExists {
			t.Errorf("a second agent: %v", err)
		}
		if r := w.refusals(); len(r) != 1 || r[0].Host != "ns1" || !strings.Contains(r[0].Why, "another agent of this host is connected and alive") {
			t.Errorf("recorded: %+v", r)
		}
		// The same process that dials again takes over at once.
		again := w.phone("ns1", hello("ns1", "one", w.good()))
		defer again.cancel()
		if err := <-ended; status.Code(err) != codes.Aborted {
			t.Errorf("the first stream ended with %v", err)
		}
		again.next() // and is mute from here on: the machine has crashed
		began := time.Now()
		// Many come at once; one of them gets the place, the others learn that it lives.
		const crowd = 8
		results := make(chan error, crowd)
		for i := range crowd {
			b := w.phone("ns1", hello("ns1", fmt.Sprint("crowd", i), w.good()))
			defer b.cancel()
			end := b.obey()
			go func() {
				select {
				case err := <-end:
					results <- err
				case <-time.After(20 * time.Second):
					results <- nil
				}
			}()
		}
		winners := 0
		for range crowd {
			switch err := <-results; {
			case err == nil:
				winners++
			case status.Code(err) != codes.AlreadyExists:
				t.Errorf("one of the crowd: %v", err)
			}
		}
		if winners != 1 {
			t.Errorf("%d agents of one host are connected", winners)
		}
		if err := again.fails(); status.Code(err) != codes.Aborted || time.Since(began) > 30*time.Second {
			t.Errorf("the crashed one ended with %v after %v", err, time.Since(began))
		}
		w.until("ns1", func(v recovery.Sighting) bool { return v.Connected && strings.HasPrefix(v.BootID, "boot-crowd") })
	})
}

// Only an answer to the question counts: what a crashed machine had sent before may still be on its way.
func TestOldWordsAreNoSignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		first := w.phone("ns1", hello("ns1", "one", w.good()))
		defer first.cancel()
		first.next()
		second := w.phone("ns1", hello("ns1", "two", w.good()))
		defer second.cancel()
		synctest.Wait()
		first.say(&pb.Heartbeat{})
		began := time.Now()
		second.next()
		if took := time.Since(began); took != challengeTimeout {
			t.Errorf("the newcomer was let in after %v", took)
		}
	})
}

// A stream that ends while its host is being claimed frees the place.
func TestAClaimOfAHostThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		first := w.phone("ns1", hello("ns1", "one", w.good()))
		first.next()
		second := w.phone("ns1", hello("ns1", "two", w.good()))
		defer second.cancel()
		synctest.Wait()
		began := time.Now()
		first.cancel()
		second.next()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the place was free after %v", took)
		}
		if r := w.refusals(); len(r) > 0 {
			t.Errorf("recorded: %+v", r)
		}
	})
}

func TestAnAgentRefusesAnInstruction(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	w.declare()
	a := w.phone("ns1", hello("ns1", "one", w.good()))
	defer a.cancel()
	a.next()
	a.say(&pb.Heartbeat{Refused: "instruction \"x\" is of epoch 3; epoch 9 was obeyed already:\x1b[31m an older coordinator, or a replay"})
	changed, end := w.coordinator.Watch()
	defer end()
	for len(w.refusals()) == 0 {
		select {
		case <-changed:
		case <-time.After(time.Second): // it may have come before we watched
		}
	}
	r := w.refusals()[0]
	if r.Host != "ns1" || !strings.HasPrefix(r.Why, `the agent refused an instruction: instruction "x" is of epoch 3`) || strings.Contains(r.Why, "\x1b") {
		t.Errorf("recorded: %+v", r)
	}
	out, err := w.operator().ShowHost(w.ctx, &pb.ShowHostRequest{Host: "ns1"})
	if err != nil || len(out.GetStory()) != 1 || out.GetStory()[0].GetKind() != "agent-refused" {
		t.Errorf("the host's story: %v, %v", out.GetStory(), err)
	}
	rep, err := w.operator().Report(w.ctx, &pb.ReportRequest{Format: pb.ReportFormat_REPORT_FORMAT_JSON})
	if err != nil || !strings.Contains(string(rep.GetBody()), "an older coordinator, or a replay") {
		t.Errorf("the report does not tell: %v", err)
	}
}

// Agents that have nothing to say stay connected: pings keep the line open, and nobody is kicked for them.
func TestIdleAgentsStayForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		w.declare()
		a := w.phone("ns1", hello("ns1", "one", w.good()))
		defer a.cancel()
		ended := a.obey()
		idle := w.operator() // a connection without any stream
		list := func() error {
			_, err := idle.ListIncidents(w.ctx, &pb.ListIncidentsRequest{})
			return err
		}
		if err := list(); err != nil {
			t.Fatal(err)
		}
		before := w.dialled.Load()
		for range 3600 / 30 {
			select {
			case err := <-ended:
				t.Fatalf("the agent was cut off: %v", err)
			case <-time.After(30 * time.Second): // three quarters of the patience with a silent agent
			}
			a.say(&pb.Heartbeat{})
		}
		if err := list(); err != nil || w.dialled.Load() != before {
			t.Errorf("after an hour: %v, %d connections were made anew", err, w.dialled.Load()-before)
		}
		// One that says nothing any more is given up.
		began := time.Now()
		if err := <-ended; status.Code(err) != codes.DeadlineExceeded || time.Since(began) != missedBeats*defaultBeat {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		w.until("ns1", func(v recovery.Sighting) bool { return !v.Connected })
	})
}

func TestAStreamWithoutAHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, stop := start(t, inMemory)
		defer stop()
		began := time.Now()
		a := w.phone("ns1", nil)
		defer a.cancel()
		if err := a.fails(); status.Code(err) != codes.DeadlineExceeded || time.Since(began) < helloTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		b := w.phone("ns1", nil)
		defer b.cancel()
		if err := b.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if err := b.fails(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("a stream that ends at once: %v", err)
		}
	})
}

// An agent that takes nothing in does not hold up anybody else, and is given up when its silence is noticed.
func TestADeafAgentHoldsUpNobody(t *testing.T) {
	w, stop := start(t, loopback)
	defer stop()
	deaf := w.phone("ns1", hello("ns1", "one", nil)) // nobody reads
	defer deaf.cancel()
	w.declare()
	for range 50 {
		in := w.operator()
		if _, err := in.Pause(w.ctx, &pb.PauseRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Resume(w.ctx, &pb.ResumeRequest{}); err != nil {
			t.Fatal(err)
		}
	}
}
