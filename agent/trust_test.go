package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

// Only a coordinator's certificate from the estate's own CA, for the address dialled, gets to hear a word.
func TestOnlyACoordinatorIsBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		uri, ip string
		foreign bool
		heard   bool
	}{
		"a coordinator":          {uri: "blackstart://coordinator/main", ip: "192.0.2.10", heard: true},
		"another host":           {uri: "blackstart://agent/coordinator", ip: "192.0.2.10"},
		"a coordinator, no name": {uri: "blackstart://coordinator/", ip: "192.0.2.10"},
		"a path in the name":     {uri: "blackstart://coordinator/main/host/x", ip: "192.0.2.10"},
		"another scheme":         {uri: "https://coordinator/main", ip: "192.0.2.10"},
		"another address":        {uri: "blackstart://coordinator/main", ip: "192.0.2.99"},
		"another estate's CA":    {uri: "blackstart://coordinator/main", ip: "192.0.2.10", foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cfg := w.config("app1", here)
				issuer := w.ca
				if c.foreign {
					issuer = newAuthority(t)
				}
				tlsCfg := issuer.server(t, c.uri, c.ip)
				tlsCfg.ClientCAs.AddCert(w.ca.cert)
				srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsCfg)))
				heard := &coordinator{visits: make(chan *visit, 8)}
				pb.RegisterAgentServiceServer(srv, heard)
				l := w.listen(here)
				done := make(chan struct{})
				go func() { defer close(done); _ = srv.Serve(l) }()
				defer func() { srv.Stop(); <-done }()
				stop := start(t, cfg)
				time.Sleep(2 * time.Minute) //nolint:forbidigo // the clock of a synctest bubble
				stop()
				if got := len(heard.visits) > 0; got != c.heard {
					t.Errorf("spoke: %v", got)
				}
			})
		})
	}
}

func TestClientTLSRefusesBrokenFiles(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.leaf(t, "blackstart://agent/app1")
	_, otherKey := ca.leaf(t, "blackstart://agent/app2")
	for name, pem := range map[string][3][]byte{
		"no CA":         {[]byte("x"), cert, key},
		"no cert":       {ca.pem, nil, key},
		"the wrong key": {ca.pem, cert, otherKey},
	} {
		if _, err := ClientTLS(pem[0], pem[1], pem[2]); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name       string
		epoch, seq uint64
		last       order
		obeyed     uint64
		want       string
	}{
		{"the first", 1, 1, order{}, 0, ""},
		{"the next", 1, 2, order{1, 1}, 1, ""},
		{"a gap", 1, 9, order{1, 1}, 1, ""},
		{"a newer coordinator", 2, 1, order{1, 9}, 1, ""},
		{"a new stream of the same one", 2, 1, order{}, 2, ""},
		{"no epoch", 0, 1, order{}, 0, "no epoch"},
		{"no sequence", 1, 0, order{}, 0, "replay"},
		{"again", 1, 2, order{1, 2}, 1, "replay"},
		{"an older one", 1, 1, order{1, 2}, 1, "replay"},
		{"an older coordinator", 1, 7, order{}, 2, "epoch 2 was obeyed"},
	} {
		got := judge(&pb.Instruction{Id: "i", Epoch: c.epoch, Sequence: c.seq}, c.last, c.obeyed)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q", c.name, got)
		}
	}
	if judge(nil, order{}, 0) == "" || judge(&pb.Instruction{Id: strings.Repeat("x", 4096), Epoch: 1, Sequence: 1}, order{}, 0) == "" {
		t.Error("an empty or oversized instruction is obeyed")
	}
}

func TestReplayIsRefusedAndReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		defer start(t, cfg)()
		v := c.next(t)
		v.say(probe("p1", 5, 1, badFile()))
		v.answer("p1")
		v.say(probe("p2", 5, 1))
		if b := v.heartbeat(); !strings.Contains(b.GetRefused(), `"p2"`) || b.GetAnswers() != "" || len(b.GetFacts().GetContent()) != 1 {
			t.Errorf("%v", b)
		}
		v.say(probe("p3", 4, 2))
		if b := v.heartbeat(); !strings.Contains(b.GetRefused(), "epoch 5 was obeyed") || len(b.GetFacts().GetContent()) != 1 {
			t.Errorf("%v", b)
		}
		v.say(&pb.Instruction{Id: "x", Epoch: 5, Sequence: 2})
		if b := v.heartbeat(); !strings.Contains(b.GetRefused(), "does not know") {
			t.Errorf("an instruction of a later kind: %v", b)
		}
		v.say(&pb.Instruction{Id: "big", Epoch: 5, Sequence: 3, What: &pb.Instruction_Probe{Probe: &pb.Probe{Sets: make([]*pb.ProbeSet, maxSets+1)}}})
		if b := v.heartbeat(); !strings.Contains(b.GetRefused(), "at most 64") {
			t.Errorf("too many probes: %v", b)
		}
		v.say(verify("v1", 5, 4))
		if b := v.answer("v1"); len(b.GetFacts().GetContent()) != 1 {
			t.Errorf("the refused probes were taken over: %v", b)
		}
	})
}

// A coordinator that was replaced is refused by an agent that restarted in between.
func TestEpochOutlivesTheAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		stop := start(t, cfg)
		v := c.next(t)
		v.say(standBy("s1", 7, 1))
		v.answer("s1")
		v.heartbeat()
		stop()

		stop = start(t, cfg)
		v = c.next(t)
		if v.hello.GetEpoch() != 7 {
			t.Errorf("epoch %d", v.hello.GetEpoch())
		}
		v.say(standBy("old", 6, 1))
		if b := v.heartbeat(); b.GetRefused() == "" || b.GetAnswers() != "" {
			t.Errorf("%v", b)
		}
		v.say(standBy("s2", 7, 1))
		v.answer("s2")
		stop()

		// Without its memory the agent starts, and says so where somebody looks.
		if err := os.WriteFile(filepath.Join(cfg.StateDir, memoryName), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer start(t, cfg)()
		if v = c.next(t); v.hello.GetEpoch() != 0 {
			t.Errorf("epoch %d", v.hello.GetEpoch())
		}
	})
}

func TestMemoryThatCannotBeKeptIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.coordinator(here)
		defer c.stop()
		cfg := w.config("app1", here)
		cfg.StateDir = filepath.Join(cfg.Root, "file", "state")
		write(t, cfg.Root, "file", "in the way")
		defer start(t, cfg)()
		v := c.next(t)
		v.say(probe("p1", 1, 1, badFile()))
		if f := v.answer("p1").GetFacts().GetHealth(); f[0].GetName() != "agent-memory" || f[0].GetOk() {
			t.Errorf("%v", f)
		}
		if err := os.Remove(filepath.Join(cfg.Root, "file")); err != nil {
			t.Fatal(err)
		}
		if f := v.heartbeat().GetFacts().GetHealth(); len(f) != 1 || !f[0].GetOk() {
			t.Errorf("%v", f)
		}
		if m, err := recall(cfg.StateDir); err != nil || m.Epoch != 1 {
			t.Errorf("it is not tried again: %+v, %v", m, err)
		}
	})
}

func TestMemoryIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	for epoch := range uint64(3) {
		if err := (memory{Epoch: epoch}).save(dir); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if m, err := recall(dir); err != nil || m.Epoch != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	if m, err := recall(filepath.Join(dir, "none")); err != nil || m.Epoch != 0 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestProbeSetsAreBounded(t *testing.T) {
	for name, sets := range map[string][]*pb.ProbeSet{
		"probes": {{Bad: make([]*pb.ContentProbe, maxProbes+1)}},
		"path":   {{Good: []*pb.ContentProbe{{Path: strings.Repeat("/a", maxPath)}}}},
		"header": {{Good: []*pb.ContentProbe{{Header: make([]byte, maxHeader+1)}}}},
		"digest": {{PlaybookDigest: strings.Repeat("x", maxID+1)}},
		"time":   {{Bad: []*pb.ContentProbe{{ModifiedTo: &timestamppb.Timestamp{Nanos: -1}}}}},
	} {
		if _, err := probeSets(sets); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if sets, err := probeSets([]*pb.ProbeSet{nil, {Bad: []*pb.ContentProbe{nil}}}); err != nil || len(sets) != 2 {
		t.Errorf("empty ones: %v, %v", sets, err)
	}
}

func TestBackoff(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "least"))
		most := least + time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "most"))
		rounds := rapid.IntRange(0, 1<<30).Draw(t, "rounds")
		limit := most
		if rounds < 30 {
			limit = min(most, least<<rounds)
		}
		if least == 0 {
			limit = 0
		}
		if d := backoff(rounds, least, most); d < 0 || d > limit {
			t.Fatalf("waits %v, at most %v", d, limit)
		}
	})
	// Full jitter: after an outage of any length a thousand agents spread evenly over the whole of the cap.
	var quarters [4]int
	for range 4000 {
		quarters[min(3, backoff(50, time.Second, 30*time.Second)*4/(30*time.Second))]++
	}
	for i, n := range quarters {
		if n < 850 || n > 1150 {
			t.Errorf("quarter %d of the range was drawn %d times of 4000: %v", i, n, quarters)
		}
	}
}
