package api

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is bounded
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What one agent may send. A host that has been broken into has a certificate that is believed, so it is bounded too: in bytes,
// because they are kept until they are read, in facts and points, because an empty one takes two bytes on the wire and ninety in
// memory, and in messages, because each takes a turn of the one loop. A result of work that is longer comes in several messages.
const (
	maxAgentMessage = 128 << 10 // bytes; a hello with every fact is a few KiB
	maxSaidFacts    = 1024      // of each kind, in one message
	maxSaidWork     = 4096      // data sets, checks and points together, in one message
	burst           = 64        // messages at once
	pace            = 4         // messages a second from then on; an agent beats once a second at most, and answers
)

// boundedCodec does not unfold what is too large for an agent.
type boundedCodec struct{ encoding.CodecV2 }

func newCodec() boundedCodec { return boundedCodec{encoding.GetCodecV2("proto")} }

func (c boundedCodec) Unmarshal(data mem.BufferSlice, into any) error {
	if _, said := into.(*pb.PhoneHomeRequest); said && data.Len() > maxAgentMessage {
		return fmt.Errorf("a message of %d bytes; at most %d", data.Len(), maxAgentMessage)
	}
	return c.CodecV2.Unmarshal(data, into)
}

// allowance is how many messages an agent may send now.
type allowance struct {
	left float64
	at   time.Time
}

func newAllowance() *allowance { return &allowance{burst, time.Now()} }

// take judges a message; an error says why it is too much.
func (a *allowance) take(m *pb.PhoneHomeRequest) error {
	facts := m.GetHello().GetFacts()
	if b := m.GetHeartbeat(); b != nil {
		facts = b.GetFacts()
	}
	if n := max(len(facts.GetContent()), len(facts.GetHealth())); n > maxSaidFacts {
		return status.Errorf(codes.ResourceExhausted, "%d facts in one message; at most %d", n, maxSaidFacts)
	}
	if n := said(m.GetWorkReport().GetResult()); n > maxSaidWork {
		return status.Errorf(codes.ResourceExhausted, "%d data sets, checks and points in one message; at most %d", n, maxSaidWork)
	}
	now := time.Now()
	a.left, a.at = min(a.left+pace*now.Sub(a.at).Seconds(), burst), now
	if a.left < 1 {
		return status.Errorf(codes.ResourceExhausted, "more messages than %d and then %d a second", burst, pace)
	}
	a.left--
	return nil
}

// said counts what a result tells of.
func said(r *pb.WorkResult) int {
	n := len(r.GetSets()) + len(r.GetPoints())
	for _, s := range r.GetSets() {
		n += len(s.GetChecks())
	}
	return n
}

// ended answers an agent whose stream brings nothing any more, and records that when it is the agent's fault. The stream, and its
// context with it, may be over by then.
func (a *agents) ended(ctx context.Context, host string, err error) error {
	switch s := status.Convert(err); s.Code() {
	case codes.Internal, codes.ResourceExhausted, codes.InvalidArgument:
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalPatience)
		defer cancel()
		return a.refuse(ctx, host, s.Code(), fmt.Sprintf("it sends what no agent sends: %s", recovery.Clean(s.Message(), 200)))
	}
	return err
}
