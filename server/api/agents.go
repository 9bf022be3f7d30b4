package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	helloTimeout     = 15 * time.Second // for the first message of a stream
	challengeTimeout = 5 * time.Second  // for a connected agent to prove that it is alive when another claims its host
	missedBeats      = 4                // beats missed before a stream is given up
	inboundQueue     = 8                // messages of one agent not yet taken
	maxFacts         = 64               // of each kind
	maxID            = 128              // bytes of an id that an agent chooses
)

// Ids of the edge's own instructions; the coordinator's hold a slash.
const (
	idProbe = "probe"
	idAlive = "alive?"
)

type link = *coordinator.Link

// agents is AgentService.
type agents struct {
	pb.UnimplementedAgentServiceServer
	cfg    Config
	within time.Duration // agents spread their return over it

	mu       sync.Mutex
	sessions map[string]*session // by host
}

// PhoneHome serves one agent for as long as it stays. Its frame stays with the stream, and streams are many: what is large and
// needed only at the beginning is in the frames of others.
func (a *agents) PhoneHome(stream grpc.BidiStreamingServer[pb.PhoneHomeRequest, pb.PhoneHomeResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	in := receive(ctx, stream)
	hello, host, err := a.hello(ctx, in)
	if err != nil {
		return err
	}
	s := a.session(hello, stream, in)
	if err := a.claim(ctx, s); err != nil {
		return err
	}
	defer a.release(s)
	link, err := a.attach(ctx, hello)
	if err != nil {
		return a.cut(ctx, s, err)
	}
	defer link.Detach()
	if err := a.introduce(ctx, s, host, hello); err != nil {
		return a.cut(ctx, s, err)
	}
	return a.serve(ctx, s, link)
}

// attach makes the agent known as connected, with what its hello said.
func (a *agents) attach(ctx context.Context, hello *pb.Hello) (link, error) {
	return a.cfg.Coordinator.Attach(ctx, a.greeting(hello))
}

// hello takes the first message and believes it only when its host is the certificate's and one of ours.
func (a *agents) hello(ctx context.Context, in *inbound) (*pb.Hello, *recovery.Host, error) {
	name := who(ctx).name
	timeout := time.NewTimer(helloTimeout)
	defer timeout.Stop()
	var m *pb.PhoneHomeRequest
	select {
	case got, ok := <-in.queue:
		switch {
		case ok:
			m = got
		case errors.Is(in.err, io.EOF):
			return nil, nil, status.Error(codes.InvalidArgument, "the stream ended before its hello")
		default:
			return nil, nil, a.ended(ctx, name, in.err)
		}
	case <-timeout.C:
		return nil, nil, a.refuse(ctx, name, codes.DeadlineExceeded, "no hello came")
	}
	no := func(c codes.Code, reason string) (*pb.Hello, *recovery.Host, error) {
		return nil, nil, a.refuse(ctx, name, c, reason)
	}
	hello := m.GetHello()
	switch {
	case hello == nil:
		return no(codes.InvalidArgument, "the first message is no hello")
	case hello.GetHost() != name:
		return no(codes.PermissionDenied, fmt.Sprintf("it says it is %q, but its certificate is for %q", recovery.Clean(hello.GetHost(), 80), name))
	case hello.GetInstance() == "" || len(hello.GetInstance()) > maxID:
		return no(codes.InvalidArgument, fmt.Sprintf("its hello needs an instance of 1 to %d bytes", maxID))
	case hello.GetBootId() == "" || len(hello.GetBootId()) > maxID:
		return no(codes.InvalidArgument, fmt.Sprintf("its hello needs a boot id of 1 to %d bytes", maxID))
	}
	host, ok, err := a.cfg.Coordinator.Member(ctx, name)
	switch {
	case err != nil:
		return nil, nil, err
	case !ok:
		return no(codes.NotFound, "this host is not in the fleet file")
	}
	return hello, &host, nil
}

// refuse records a connection that is not believed and answers it.
func (a *agents) refuse(ctx context.Context, host string, c codes.Code, reason string) error {
	if err := a.cfg.Coordinator.Refuse(ctx, recovery.Refused{Host: host, Peer: who(ctx).peer, Why: reason}); err != nil {
		return err
	}
	return status.Error(c, reason)
}

// introduce tells a new agent how often to report and which probes to run, unless its facts show that it knows them.
func (a *agents) introduce(ctx context.Context, s *session, host *recovery.Host, hello *pb.Hello) error {
	if err := a.standBy(s, ""); err != nil {
		return err
	}
	inUse, err := a.cfg.Coordinator.InUse(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, c := range hello.GetFacts().GetContent() {
		known[c.GetPlaybookDigest()] = true
	}
	books, news := a.books(host, inUse), false
	for _, b := range books {
		news = news || !known[b.Facts.Digest]
	}
	if !news && len(known) == len(books) {
		s.probes = digests(books)
		return nil
	}
	return s.teach(books)
}

// instruct passes on what the coordinator asks of the agent, after the probes that it needs for the answer.
func (a *agents) instruct(ctx context.Context, s *session, i recovery.Instruction) error {
	if i.Playbook != "" && !slices.Contains(s.probes, i.Playbook) {
		host, _, err := a.cfg.Coordinator.Member(ctx, s.host)
		if err != nil {
			return err
		}
		if err := s.teach(a.books(&host, i.Playbook)); err != nil {
			return err
		}
		s.probes = append(s.probes, i.Playbook) // also when it is not meant for this host: once
	}
	return s.send(i.ID, &pb.Instruction{What: &pb.Instruction_Verify{Verify: &pb.Verify{}}})
}

// teach tells the agent which probes to run from here on.
func (s *session) teach(books []*playbook.Playbook) error {
	sets := make([]*pb.ProbeSet, 0, len(books))
	for _, b := range books {
		sets = append(sets, &pb.ProbeSet{PlaybookDigest: b.Facts.Digest, Bad: probes(b.Bad), Good: probes(b.Good)})
	}
	s.probes = digests(books)
	return s.send(idProbe, &pb.Instruction{What: &pb.Instruction_Probe{Probe: &pb.Probe{Sets: sets}}})
}

// books are the playbooks that are meant for the host. Of the one that the open incident runs it is that version, whatever the
// folder holds by now.
func (a *agents) books(h *recovery.Host, inUse string) []*playbook.Playbook {
	own, open := a.cfg.Playbooks.ByDigest(inUse)
	var list []*playbook.Playbook
	for _, b := range a.cfg.Playbooks.All() {
		if open && b.Facts.Name == own.Facts.Name {
			b = own
		}
		if b.Facts.Fits(*h) {
			list = append(list, b)
		}
	}
	return list
}

func digests(books []*playbook.Playbook) []string {
	list := make([]string, 0, len(books)+1)
	for _, b := range books {
		list = append(list, b.Facts.Digest)
	}
	return list
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

// answer is the coordinator's request that a heartbeat answers; the edge's own do not concern it.
func answer(id string) string {
	if id == idProbe || id == idAlive || id == idWork {
		return ""
	}
	return recovery.Clean(id, 2*maxID)
}

// greeting turns a hello into a sighting.
func (a *agents) greeting(h *pb.Hello) recovery.Sighting {
	v := a.sighting(h.GetHost(), h.GetFacts())
	v.BootID, v.BootMode = boot(h)
	v.AgentVersion, v.EDRVersion = recovery.Clean(h.GetAgentVersion(), 80), recovery.Clean(h.GetEdrVersion(), 80)
	return v
}

// boot is what a hello says of the boot that its agent runs in.
func boot(h *pb.Hello) (id, mode string) {
	id, mode = recovery.Clean(h.GetBootId(), maxID), recovery.BootNormal
	switch h.GetBootMode() {
	case pb.BootMode_BOOT_MODE_SAFE:
		mode = recovery.BootSafe
	case pb.BootMode_BOOT_MODE_RESCUE:
		mode = recovery.BootRescue
	}
	return id, mode
}

// sighting turns facts, which come from a host and are not trusted, into a sighting: bounded and clean. Facts about playbooks that
// we do not have say nothing to us.
func (a *agents) sighting(host string, f *pb.Facts) recovery.Sighting {
	v := recovery.Sighting{Host: host, Connected: true, Source: "agent"}
	for _, c := range f.GetContent() {
		if _, ours := a.cfg.Playbooks.ByDigest(c.GetPlaybookDigest()); !ours || len(v.Content) == maxFacts {
			continue
		}
		v.Content = append(v.Content, recovery.Content{Playbook: c.GetPlaybookDigest(), Bad: max(int(c.GetBad()), 0), Good: max(int(c.GetGood()), 0),
			Missing: c.GetMissing(), Error: recovery.Clean(c.GetError(), 200), Detail: recovery.Clean(c.GetDetail(), 200)})
	}
	for i, c := range f.GetHealth() {
		if i == maxFacts {
			// What is cut off is not taken on trust.
			v.Health = append(v.Health, recovery.Check{Name: "health checks", Detail: fmt.Sprintf("more than %d were reported", maxFacts)})
			break
		}
		v.Health = append(v.Health, recovery.Check{Name: recovery.Clean(c.GetName(), 80), OK: c.GetOk(), Detail: recovery.Clean(c.GetDetail(), 200)})
	}
	return v
}
