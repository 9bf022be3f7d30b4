package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	gbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
)

const (
	connectLimit = 10 * time.Second // TCP, TLS and the stream's opening
	sendLimit    = 10 * time.Second // a coordinator that takes nothing in for so long is gone
	closeLimit   = 2 * time.Second  // for the last words to get through
	maxPending   = 16               // instructions that wait for facts
	maxMessage   = 4 << 20          // bytes
)

// session is one stream: a hello, then heartbeats, while instructions may come at any time.
type session struct {
	*agent
	stream grpc.BidiStreamingClient[pb.PhoneHomeRequest, pb.PhoneHomeResponse]
	cancel context.CancelFunc
	in     chan *pb.Instruction
	ended  chan error

	last      order             // of the newest instruction seen
	pending   []*pb.Instruction // obeyed, to be answered with facts that are not being gathered yet
	answering []string          // ids that the running gathering answers
	beaten    time.Time         // when the last heartbeat went out
	due       bool              // a heartbeat goes out as soon as the running gathering ends
	parts     []*pb.WorkReport  // of a report of work that is being sent
	pause     <-chan time.Time  // until the next one may be; nil: now
}

// session holds one stream to the coordinator until it breaks or ctx ends. heard tells whether the coordinator answered.
func (a *agent) session(ctx context.Context, addr string) (heard bool, err error) {
	a.refresh(ctx)
	conn, err := grpc.NewClient("passthrough:///"+addr, a.dialOptions()...)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()

	// The stream outlives ctx by the last words; until it is open, ctx and a deadline guard it.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	deadline := time.AfterFunc(connectLimit, cancel)
	disarm := context.AfterFunc(ctx, cancel)
	stream, err := pb.NewAgentServiceClient(conn).PhoneHome(life)
	inTime, wanted := deadline.Stop(), disarm()
	switch {
	case !inTime:
		return false, fmt.Errorf("no stream within %v: %w", connectLimit, errors.Join(err, context.DeadlineExceeded))
	case !wanted:
		return false, ctx.Err()
	case err != nil:
		return false, err
	}
	s := &session{agent: a, stream: stream, cancel: cancel, in: make(chan *pb.Instruction), ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.receive(life)
	}()
	defer func() { cancel(); <-done }()
	return s.run(ctx, addr)
}

func (a *agent) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(a.cfg.TLS)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return a.cfg.Dial(ctx, addr) }),
		grpc.WithNoProxy(),
		grpc.WithUserAgent("blackstart-agent/" + a.cfg.Version),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: gbackoff.DefaultConfig, MinConnectTimeout: connectLimit}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		// Small: thousands of agents lie on the coordinator's memory, and a simulated estate runs in one process.
		grpc.WithReadBufferSize(0), // TLS has its own
		grpc.WithWriteBufferSize(4 << 10),
		grpc.WithStaticStreamWindowSize(64 << 10),
		grpc.WithStaticConnWindowSize(64 << 10),
		grpc.WithMaxHeaderListSize(16 << 10),
	}
}

// receive hands the instructions over one by one; what the agent does not take waits in the stream's own window.
func (s *session) receive(life context.Context) {
	for {
		m, err := s.stream.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the coordinator ended the stream")
			}
			s.ended <- err
			return
		}
		select {
		case s.in <- m.GetInstruction():
		case <-life.Done():
			s.ended <- life.Err()
			return
		}
	}
}

func (s *session) run(ctx context.Context, addr string) (heard bool, err error) {
	hello := proto.CloneOf(s.hello)
	hello.Facts, hello.Epoch, hello.EdrVersion = s.facts, s.memory.Epoch, s.cfg.EDRVersion()
	if err := s.send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: hello}}); err != nil {
		return false, err
	}
	s.beaten = time.Now()
	tick := time.NewTicker(s.look())
	defer tick.Stop()
	for err == nil {
		select {
		case <-ctx.Done():
			return heard, s.lastWords()
		case err = <-s.ended:
			return heard, err
		case in := <-s.in:
			if !heard {
				heard, s.lastWarn = true, ""
				s.cfg.Log.Info("connected", "coordinator", addr)
			}
			before := s.look()
			err = s.obey(in)
			if s.look() != before {
				tick.Reset(s.look())
			}
		case g := <-s.running:
			err = s.report(g)
		case <-tick.C:
			err = s.tick()
		case <-s.mayTell():
			err = s.tellWork()
		case <-s.pause:
			s.pause = nil
		}
	}
	return heard, err
}

// look is the time between two looks at the machine: every heartbeat, and more often where heartbeats are rare.
func (s *session) look() time.Duration { return min(s.beat, maxLook) }

// tick begins a look; when that is over, report decides what is sent. While one is under way still, the coordinator hears
// the old facts: the time at which they were gathered says how old they are.
func (s *session) tick() error {
	due := time.Since(s.beaten) >= s.beat-s.look()/2
	if s.running == nil {
		s.start(false)
		s.due = due
		return nil
	}
	if news := s.giveUp(); news || due {
		return s.heartbeat(&pb.Heartbeat{})
	}
	return nil
}

// start begins a gathering that answers every instruction that waits.
func (s *session) start(fresh bool) {
	for _, in := range s.pending {
		s.answering = append(s.answering, in.GetId())
		fresh = fresh || in.GetVerify() != nil
	}
	s.pending = nil
	s.gather(fresh)
}

// report sends what a gathering found: as the answer to whoever asked, as news, or as the heartbeat that is due.
func (s *session) report(g gathered) error {
	news := s.take(g)
	ids := s.answering
	s.answering = nil
	if len(s.pending) > 0 {
		s.start(false)
	}
	for _, id := range ids {
		if err := s.heartbeat(&pb.Heartbeat{Answers: id}); err != nil {
			return err
		}
	}
	if len(ids) == 0 && (news || s.due) {
		return s.heartbeat(&pb.Heartbeat{})
	}
	return nil
}

// obey does what the instruction says, if it is one that the agent may obey.
func (s *session) obey(in *pb.Instruction) error {
	if why := judge(in, s.last, s.memory.Epoch); why != "" {
		return s.refuse(why)
	}
	s.last = order{in.GetEpoch(), in.GetSequence()}
	if in.GetEpoch() > s.memory.Epoch {
		s.memory.Epoch, s.unsaved = in.GetEpoch(), true
	}
	switch what := in.GetWhat().(type) {
	case *pb.Instruction_StandBy:
		s.beat = newBeat(what.StandBy.GetBeat(), s.beat)
		s.within = newReturn(what.StandBy.GetReturnWithin(), s.within, s.longest)
		if s.unsaved && s.running == nil {
			s.start(false) // keeps the epoch, off the stream's path
		}
		if in.GetId() == "" {
			return nil
		}
		return s.heartbeat(&pb.Heartbeat{Answers: in.GetId()})
	case *pb.Instruction_Probe:
		sets, err := probeSets(what.Probe.GetSets())
		if err != nil {
			return s.refuse(fmt.Sprintf("instruction %q: %v", in.GetId(), err))
		}
		s.memory.Sets, s.unsaved = sets, true
	case *pb.Instruction_Verify:
	case *pb.Instruction_Work:
		return s.work(in.GetId(), what.Work)
	case *pb.Instruction_StopWork:
		return s.stopWork(in.GetId(), what.StopWork)
	default:
		return s.refuse(fmt.Sprintf("instruction %q asks for something that this agent (version %s) does not know", in.GetId(), s.cfg.Version))
	}
	if len(s.pending) == maxPending {
		return s.refuse(fmt.Sprintf("instruction %q: %d others wait for an answer already", in.GetId(), maxPending))
	}
	s.pending = append(s.pending, in)
	if s.running == nil {
		s.start(false)
	}
	return nil
}

func (s *session) refuse(why string) error {
	s.cfg.Log.Warn("refused", "reason", why)
	return s.heartbeat(&pb.Heartbeat{Refused: why})
}

// heartbeat sends the newest facts.
func (s *session) heartbeat(h *pb.Heartbeat) error {
	h.Facts = s.facts
	s.beaten, s.due = time.Now(), false
	return s.send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Heartbeat{Heartbeat: h}})
}

func (s *session) send(m *pb.PhoneHomeRequest) error {
	watch := time.AfterFunc(sendLimit, s.cancel)
	defer watch.Stop()
	err := s.stream.Send(m)
	if !errors.Is(err, io.EOF) {
		return err
	}
	return s.end() // the stream is over, and its end says why
}

// end waits for the end of a stream that is ending; what still comes in is dropped.
func (s *session) end() error {
	for {
		select {
		case <-s.in:
		case err := <-s.ended:
			return err
		}
	}
}

// lastWords tells the coordinator the newest facts before the machine goes down, and waits until it has taken them in:
// then it ends the stream from its side.
func (s *session) lastWords() error {
	watch := time.AfterFunc(closeLimit, s.cancel)
	defer watch.Stop()
	select {
	case g := <-s.running:
		s.take(g)
	default:
	}
	if err := s.heartbeat(&pb.Heartbeat{}); err != nil {
		return err
	}
	if err := s.stream.CloseSend(); err != nil {
		return err
	}
	return s.end()
}
