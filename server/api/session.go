package api

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/restore"
)

// session is one connected agent. There are thousands: it holds no more than it needs.
type session struct {
	host     string
	instance string // of the agent's process
	bootID   string
	bootMode string
	stream   grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	in       *inbound
	epoch    uint64
	sequence uint64   // of the last instruction; only the stream's own goroutine sends
	probes   []string // digests of the playbooks that the agent probes for
	works    bool     // it does work on backups
	work     *restore.Link
	partOf   string         // the job whose result has begun to come
	parts    *pb.WorkResult // what has come of it

	challenges chan struct{} // somebody else claims this host: prove that you live
	evicted    chan struct{} // closed by whoever takes the host over, under the lock of agents

	mu    sync.Mutex
	alive chan struct{} // closed and renewed with each answered challenge
}

func (a *agents) session(hello *pb.Hello, stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse], in *inbound) *session {
	id, mode := boot(hello)
	return &session{host: hello.GetHost(), instance: hello.GetInstance(), bootID: id, bootMode: mode, stream: stream, in: in, epoch: a.cfg.Epoch, works: hello.GetWorks(),
		challenges: make(chan struct{}, 1), evicted: make(chan struct{}), alive: make(chan struct{})}
}

// inbound is what a stream brings, in order and in a bounded queue, which is closed after the last message.
type inbound struct {
	queue chan *pb.PhoneHomeRequest
	err   error // why it ended; to be read once queue is closed
}

// receive reads the stream until it ends or ctx does.
func receive(ctx context.Context, stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) *inbound {
	in := &inbound{queue: make(chan *pb.PhoneHomeRequest, inboundQueue)}
	go func() {
		defer close(in.queue)
		allowed := newAllowance()
		for {
			m, err := stream.Recv()
			if err == nil {
				err = allowed.take(m)
			}
			if err != nil {
				in.err = err
				return
			}
			select {
			case in.queue <- m:
			case <-ctx.Done():
				in.err = ctx.Err()
				return
			}
		}
	}()
	return in
}

// claim makes the session its host's only one. A connected agent of another process is asked whether it lives: when it does, the
// newcomer is refused; when it does not, it was the same host before a crash and gives way.
func (a *agents) claim(ctx context.Context, s *session) error {
	for {
		old := a.take(s, nil)
		if old == nil {
			return nil
		}
		alive, err := old.challenge(ctx)
		if err != nil {
			return err
		}
		if alive {
			return a.refuse(ctx, s.host, codes.AlreadyExists, "another agent of this host is connected and alive")
		}
		if a.take(s, old) == nil {
			return nil
		}
	}
}

// take puts s in its host's place when that is free, held by the same process, or held by dead. Otherwise it returns the holder.
func (a *agents) take(s, dead *session) (holder *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.sessions[s.host]
	if old != nil && old != dead && old.instance != s.instance {
		return old
	}
	if old != nil {
		close(old.evicted) // once: it leaves the map with it
	}
	a.sessions[s.host] = s
	return nil
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
	case <-s.stream.Context().Done():
	case <-timeout.C:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

func (s *session) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.alive)
	s.alive = make(chan struct{})
}

// send sends an instruction. It waits when the agent takes nothing in, until keepalive finds out.
func (s *session) send(id string, in *pb.Instruction) error {
	s.sequence++
	in.Id, in.Epoch, in.Sequence = id, s.epoch, s.sequence
	return s.stream.Send(&pb.PhoneHomeResponse{Instruction: in})
}

func (a *agents) standBy(s *session, id string) error {
	word := &pb.StandBy{Beat: durationpb.New(a.cfg.Beat), ReturnWithin: durationpb.New(a.within)}
	return s.send(id, &pb.Instruction{What: &pb.Instruction_StandBy{StandBy: word}})
}

// serve passes instructions out and facts in until the agent goes, falls silent or is replaced.
func (a *agents) serve(ctx context.Context, s *session, link link) error {
	silent := time.NewTimer(missedBeats * a.cfg.Beat)
	defer silent.Stop()
	s.work = a.cfg.Work.Attach(s.host, s.works)
	defer s.work.Detach()
	for {
		var err error
		select {
		case m, ok := <-s.in.queue:
			if !ok {
				if errors.Is(s.in.err, io.EOF) {
					return nil // it has said its last words
				}
				return a.ended(ctx, s.host, s.in.err)
			}
			silent.Reset(missedBeats * a.cfg.Beat)
			err = a.heard(ctx, s, link, m)
		case i := <-link.Instructions():
			err = a.cut(ctx, s, a.instruct(ctx, s, i))
		case <-s.work.Due():
			err = a.cut(ctx, s, s.work.Deliver(s.order))
		case <-s.challenges:
			err = a.cut(ctx, s, a.standBy(s, idAlive))
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

// cut is why a session cannot go on: when its stream is over, it is whatever ended that, and perhaps the agent's fault.
func (a *agents) cut(ctx context.Context, s *session, err error) error {
	if err == nil || s.stream.Context().Err() == nil {
		return err
	}
	for range s.in.queue { // it is closed soon, and then says why
	}
	if errors.Is(s.in.err, io.EOF) {
		return err
	}
	return a.ended(ctx, s.host, s.in.err)
}

// heard takes a heartbeat or a report of work.
func (a *agents) heard(ctx context.Context, s *session, link link, m *pb.PhoneHomeRequest) error {
	if w := m.GetWorkReport(); w != nil {
		return a.reported(ctx, s, w)
	}
	beat := m.GetHeartbeat()
	if beat == nil {
		return a.refuse(ctx, s.host, codes.InvalidArgument, "a message after the hello that is no heartbeat")
	}
	if why := beat.GetRefused(); why != "" {
		refused := recovery.Refused{Host: s.host, Peer: who(ctx).peer, Why: "the agent refused an instruction: " + recovery.Clean(why, 200)}
		if err := a.cfg.Coordinator.Refuse(ctx, refused); err != nil {
			return err
		}
	}
	if beat.GetAnswers() == idAlive {
		s.live()
	}
	v := a.sighting(s.host, beat.GetFacts())
	v.BootID, v.BootMode = s.bootID, s.bootMode
	v.Answers = answer(beat.GetAnswers())
	return link.Sighted(context.WithoutCancel(ctx), v) // what has come in counts, also when the stream is over by now
}
