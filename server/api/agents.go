package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	helloTimeout     = 15 * time.Second // for the first message of a stream
	challengeTimeout = 5 * time.Second  // for a connected agent to prove that it is alive when another claims its host
	missedBeats      = 4                // beats missed before a stream is given up
	inboundQueue     = 8                // messages of one agent not yet taken
)

// agents is AgentService.
type agents struct {
	pb.UnimplementedAgentServiceServer
	cfg   Config
	hosts map[string]*recovery.Host // of the fleet

	mu       sync.Mutex
	sessions map[string]*session // by host
}

func newAgents(cfg Config) *agents {
	a := &agents{cfg: cfg, hosts: make(map[string]*recovery.Host, len(cfg.Fleet.Hosts)), sessions: map[string]*session{}}
	for i := range cfg.Fleet.Hosts {
		a.hosts[cfg.Fleet.Hosts[i].Name] = &cfg.Fleet.Hosts[i]
	}
	return a
}

// session is one connected agent.
type session struct {
	host, instance string
	stream         grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	challenges     chan struct{} // somebody else claims this host: prove that you live
	alive          chan struct{} // closed and renewed with each sign of life
	mu             sync.Mutex
	evicted        chan struct{}
	sequence       uint64
}

// PhoneHome serves one agent for as long as it stays.
func (a *agents) PhoneHome(stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	in, fail := receive(ctx, stream)
	hello, err := a.hello(ctx, in, fail)
	if err != nil {
		return err
	}
	s := &session{host: hello.GetHost(), instance: hello.GetInstance(), stream: stream,
		challenges: make(chan struct{}, 1), alive: make(chan struct{}), evicted: make(chan struct{})}
	if err := a.claim(ctx, s); err != nil {
		return err
	}
	defer a.release(s)
	instructions, err := a.cfg.Coordinator.Attach(ctx, a.greeting(hello))
	if err != nil {
		return err
	}
	defer a.cfg.Coordinator.Detach(s.host, instructions)
	if err := a.introduce(s, hello); err != nil {
		return err
	}
	return a.serve(ctx, s, in, fail, instructions)
}

// receive reads the stream into a bounded queue.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) (<-chan *pb.PhoneHomeRequest, <-chan error) {
	in, fail := make(chan *pb.PhoneHomeRequest, inboundQueue), make(chan error, 1)
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				fail <- err
				return
			}
			select {
			case in <- m:
			case <-ctx.Done():
				fail <- ctx.Err()
				return
			}
		}
	}()
	return in, fail
}

// hello takes the first message and believes it only when its host is the certificate's and in the fleet.
func (a *agents) hello(ctx context.Context, in <-chan *pb.PhoneHomeRequest, fail <-chan error) (*pb.Hello, error) {
	id := who(ctx)
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	select {
	case m := <-in:
		hello := m.GetHello()
		switch {
		case hello == nil:
			return nil, a.refuse(ctx, codes.InvalidArgument, "the first message is no hello")
		case hello.GetHost() != id.name:
			return nil, a.refuse(ctx, codes.PermissionDenied, fmt.Sprintf("it says it is %q, but its certificate is for %q", recovery.Clean(hello.GetHost(), 80), id.name))
		case a.hosts[id.name] == nil:
			return nil, a.refuse(ctx, codes.NotFound, "this host is not in the fleet file")
		}
		return hello, nil
	case err := <-fail:
		return nil, err
	case <-timeout.C:
		return nil, status.Error(codes.DeadlineExceeded, "no hello came")
	}
}

// refuse records a connection that is not believed and answers it.
func (a *agents) refuse(ctx context.Context, c codes.Code, reason string) error {
	id := who(ctx)
	if err := a.cfg.Coordinator.Refuse(ctx, recovery.Refused{Host: id.name, Peer: id.peer, Why: reason}); err != nil {
		return err
	}
	return status.Error(c, reason)
}

// claim makes the session its host's only one. A connected agent of another process is asked whether it lives: when it does, the
// newcomer is refused; when it does not, it was the same host before a crash and gives way.
func (a *agents) claim(ctx context.Context, s *session) error {
	for {
		a.mu.Lock()
		old := a.sessions[s.host]
		if old == nil || old.instance == s.instance {
			a.sessions[s.host] = s
			a.mu.Unlock()
			if old != nil {
				close(old.evicted)
			}
			return nil
		}
		a.mu.Unlock()
		if alive, err := old.challenge(ctx); err != nil {
			return err
		} else if alive {
			return a.refuse(ctx, codes.AlreadyExists, "another agent of this host is connected and alive")
		}
		a.mu.Lock()
		if a.sessions[s.host] == old {
			delete(a.sessions, s.host)
			close(old.evicted)
		}
		a.mu.Unlock()
	}
}

func (a *agents) release(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sessions[s.host] == s {
		delete(a.sessions, s.host)
	}
}

// challenge asks a connected agent for a sign of life.
func (s *session) challenge(ctx context.Context) (bool, error) {
	s.mu.Lock()
	alive := s.alive
	s.mu.Unlock()
	select {
	case s.challenges <- struct{}{}:
	default:
	}
	timeout := time.NewTimer(challengeTimeout)
	defer timeout.Stop()
	select {
	case <-alive:
		return true, nil
	case <-s.evicted:
		return false, nil
	case <-s.stream.Context().Done():
		return false, nil
	case <-timeout.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (s *session) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.alive)
	s.alive = make(chan struct{})
}

// introduce tells a new agent how often to report and which probes to run, unless its facts show that it knows them.
func (a *agents) introduce(s *session, hello *pb.Hello) error {
	if err := s.send(a.cfg.Epoch, "", &pb.Instruction{What: &pb.Instruction_StandBy{StandBy: &pb.StandBy{Beat: durationpb.New(a.cfg.Beat)}}}); err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range hello.GetFacts().GetContent() {
		known[c.GetPlaybookDigest()] = true
	}
	sets, news := a.probes(s.host), false
	for _, set := range sets {
		news = news || !known[set.GetPlaybookDigest()]
	}
	if !news && len(known) == len(sets) {
		return nil
	}
	return s.send(a.cfg.Epoch, "probe", &pb.Instruction{What: &pb.Instruction_Probe{Probe: &pb.Probe{Sets: sets}}})
}

func (s *session) send(epoch uint64, id string, in *pb.Instruction) error {
	s.sequence++
	in.Id, in.Epoch, in.Sequence = id, epoch, s.sequence
	return s.stream.Send(&pb.PhoneHomeResponse{Instruction: in})
}

// probes are the probe sets of every playbook that is meant for the host.
func (a *agents) probes(host string) []*pb.ProbeSet {
	h := a.hosts[host]
	var sets []*pb.ProbeSet
	for _, b := range a.cfg.Playbooks.All() {
		if b.Facts.Fits(*h) {
			sets = append(sets, &pb.ProbeSet{PlaybookDigest: b.Facts.Digest, Bad: probes(b.Bad), Good: probes(b.Good)})
		}
	}
	return sets
}

func probes(list []playbook.Probe) []*pb.ContentProbe {
	out := make([]*pb.ContentProbe, 0, len(list))
	for _, p := range list {
		q := &pb.ContentProbe{Name: p.Name, Path: p.Path, IgnoreCase: p.IgnoreCase, Header: p.Header, Sha256: p.SHA256, MinSize: p.MinSize}
		if !p.ModifiedFrom.IsZero() {
			q.ModifiedFrom = timestamppb.New(p.ModifiedFrom)
		}
		if !p.ModifiedTo.IsZero() {
			q.ModifiedTo = timestamppb.New(p.ModifiedTo)
		}
		out = append(out, q)
	}
	return out
}

// serve passes instructions out and facts in until the agent goes, falls silent or is replaced.
func (a *agents) serve(ctx context.Context, s *session, in <-chan *pb.PhoneHomeRequest, fail <-chan error, instructions <-chan recovery.Instruction) error {
	silent := time.NewTimer(missedBeats * a.cfg.Beat)
	defer silent.Stop()
	for {
		var err error
		select {
		case m := <-in:
			silent.Reset(missedBeats * a.cfg.Beat)
			s.live()
			err = a.heard(ctx, s, m.GetHeartbeat())
		case i := <-instructions:
			err = s.send(a.cfg.Epoch, i.ID, &pb.Instruction{What: &pb.Instruction_Verify{Verify: &pb.Verify{}}})
		case <-s.challenges:
			err = s.send(a.cfg.Epoch, "alive?", &pb.Instruction{What: &pb.Instruction_StandBy{StandBy: &pb.StandBy{Beat: durationpb.New(a.cfg.Beat)}}})
		case err = <-fail:
			if errors.Is(err, io.EOF) {
				return nil
			}
		case <-s.evicted:
			err = status.Error(codes.Aborted, "a newer connection of this host has taken over")
		case <-silent.C:
			err = status.Error(codes.DeadlineExceeded, "no heartbeat came")
		case <-a.cfg.Coordinator.Done():
			err = status.Error(codes.Unavailable, "the coordinator stops")
		}
		if err != nil {
			return err
		}
	}
}

// heard takes a heartbeat.
func (a *agents) heard(ctx context.Context, s *session, beat *pb.Heartbeat) error {
	if beat == nil {
		return a.refuse(ctx, codes.InvalidArgument, "a second hello on one stream")
	}
	if why := beat.GetRefused(); why != "" {
		refused := recovery.Refused{Host: s.host, Peer: who(ctx).peer, Why: "the agent refused an instruction: " + recovery.Clean(why, 200)}
		if err := a.cfg.Coordinator.Refuse(ctx, refused); err != nil {
			return err
		}
	}
	v := sighting(s.host, beat.GetFacts())
	v.Answers = answer(beat.GetAnswers())
	return a.cfg.Coordinator.Sighted(ctx, v)
}

// answer drops the ids that are this package's own.
func answer(id string) string {
	if id == "probe" || id == "alive?" {
		return ""
	}
	return recovery.Clean(id, 200)
}

// greeting turns a hello into a sighting.
func (a *agents) greeting(h *pb.Hello) recovery.Sighting {
	v := sighting(h.GetHost(), h.GetFacts())
	v.BootID = recovery.Clean(h.GetBootId(), 80)
	v.AgentVersion, v.EDRVersion = recovery.Clean(h.GetAgentVersion(), 80), recovery.Clean(h.GetEdrVersion(), 80)
	switch h.GetBootMode() {
	case pb.BootMode_BOOT_MODE_SAFE:
		v.BootMode = recovery.BootSafe
	case pb.BootMode_BOOT_MODE_RESCUE:
		v.BootMode = recovery.BootRescue
	default:
		v.BootMode = recovery.BootNormal
	}
	return v
}

const maxFacts = 64

// sighting turns facts, which come from a host and are not trusted, into a sighting: bounded and clean.
func sighting(host string, f *pb.Facts) recovery.Sighting {
	v := recovery.Sighting{Host: host, Connected: true, Source: "agent"}
	for i, c := range f.GetContent() {
		if i == maxFacts {
			break
		}
		v.Content = append(v.Content, recovery.Content{Playbook: c.GetPlaybookDigest(), Bad: max(int(c.GetBad()), 0), Good: max(int(c.GetGood()), 0),
			Missing: c.GetMissing(), Error: recovery.Clean(c.GetError(), 200), Detail: recovery.Clean(c.GetDetail(), 200)})
	}
	for i, c := range f.GetHealth() {
		if i == maxFacts {
			break
		}
		v.Health = append(v.Health, recovery.Check{Name: recovery.Clean(c.GetName(), 80), OK: c.GetOk(), Detail: recovery.Clean(c.GetDetail(), 200)})
	}
	return v
}
