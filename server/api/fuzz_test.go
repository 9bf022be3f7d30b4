package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// call is a stream that says what it was given, message by message, and then ends.
type call struct {
	grpc.ServerStream
	ctx  context.Context
	said io.Reader
	sent []*pb.PhoneHomeResponse
}

func (c *call) Context() context.Context { return c.ctx }

// Recv reads as grpc does: what is no message ends the stream with an error.
func (c *call) Recv() (*pb.PhoneHomeRequest, error) {
	m := &pb.PhoneHomeRequest{}
	err := protodelim.UnmarshalOptions{MaxSize: maxMessage}.UnmarshalFrom(c.said.(protodelim.Reader), m)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	default:
		return nil, status.Error(codes.Internal, "the message cannot be read")
	}
}

func (c *call) Send(m *pb.PhoneHomeResponse) error {
	c.sent = append(c.sent, m)
	return nil
}

// FuzzPhoneHome lets an agent with a good certificate say anything: a hello or none, then whatever. The session ends with a clean
// status, and all that the coordinator keeps of the host afterwards is bounded, without control characters, and about that host
// and our own playbooks only. The input is the messages as they are on the wire, each behind its length.
func FuzzPhoneHome(f *testing.F) {
	books, err := playbook.Load(fstest.MapFS{
		"mend/manifest.yaml": {Data: []byte(testManifest)},
		"mend/repair.sh":     {Data: []byte("#!/bin/sh\necho BLACKSTART-RESULT outcome=repaired\n")},
		"mend/README.md":     {Data: []byte("read me\n")},
		"mend/hands.md":      {Data: []byte(" 1. Look at the disk.\n")},
	})
	if err != nil {
		f.Fatal(err)
	}
	estate, err := fleet.Parse("fleet.yaml", []byte(testFleet))
	if err != nil {
		f.Fatal(err)
	}
	book, _ := books.ByName("mend")
	seedCalls(f, book.Facts.Digest)
	c := quiet(f, books, estate)
	a := &agents{cfg: Config{Coordinator: c, Playbooks: books, Epoch: epoch, Beat: time.Minute, Log: hclog.NewNullLogger()}, sessions: map[string]*session{}}
	ctx := context.WithValue(f.Context(), identityKey{}, identity{pki.RoleAgent, "ns1", "192.0.2.1:9"})
	f.Fuzz(func(t *testing.T, said []byte) {
		stream := &call{ctx: ctx, said: bytes.NewReader(said)}
		err := a.PhoneHome(stream)
		if s, ok := status.FromError(err); !ok || recovery.Clean(s.Message(), 300) != s.Message() || s.Code() == codes.Unknown {
			t.Fatalf("it ends with %#v", err)
		}
		if len(a.sessions) != 0 {
			t.Fatal("the session stays behind")
		}
		for i, m := range stream.sent {
			if in := m.GetInstruction(); in.GetEpoch() != epoch || in.GetSequence() != uint64(i)+1 {
				t.Fatalf("instruction %d is %v", i, in)
			}
		}
		roll, err := c.Roll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range roll {
			if v.Host != "ns1" && !v.At.IsZero() {
				t.Fatalf("%s was heard of, and ns1 spoke", v.Host)
			}
			fit(t, v, book.Facts.Digest)
			rollCall(v)
		}
		first := &pb.PhoneHomeRequest{}
		if protodelim.UnmarshalFrom(bytes.NewReader(said), first) == nil && first.GetHello() != nil {
			fit(t, a.greeting(first.GetHello()), book.Facts.Digest) // also of a hello that is turned away
		}
	})
}

// fit checks that what is kept of an agent's words may be stored and shown.
func fit(t *testing.T, v recovery.Sighting, digest string) {
	t.Helper()
	text := func(what, s string, most int) {
		t.Helper()
		if !utf8.ValidString(s) || recovery.Clean(s, most+2) != s || utf8.RuneCountInString(s) > most+2 { // a space and an ellipsis may be on top
			t.Fatalf("%s is not fit to be kept: %q", what, s)
		}
	}
	text("the boot id", v.BootID, maxID)
	text("the agent's version", v.AgentVersion, 80)
	text("the product's version", v.EDRVersion, 80)
	text("the answer", v.Answers, 2*maxID)
	if len(v.Content) > maxFacts || len(v.Health) > maxFacts+1 || len(v.WasBad) > 1 {
		t.Fatalf("%d contents, %d checks and %d playbooks are too many", len(v.Content), len(v.Health), len(v.WasBad))
	}
	for _, c := range v.Content {
		text("a probe's error", c.Error, 200)
		text("a probe's detail", c.Detail, 200)
		if c.Playbook != digest || c.Bad < 0 || c.Good < 0 {
			t.Fatalf("facts about nothing of ours: %+v", c)
		}
	}
	for _, h := range v.Health {
		text("a check's name", h.Name, 80)
		text("a check's detail", h.Detail, 200)
	}
}

// quiet is a coordinator without an incident, which ends with the test.
func quiet(f *testing.F, books *playbook.Library, estate recovery.Fleet) *coordinator.Coordinator {
	f.Helper()
	j, err := journal.Open(filepath.Join(f.TempDir(), "journal.db"))
	if err != nil {
		f.Fatal(err)
	}
	c, err := coordinator.New(coordinator.Config{Journal: j, Remedy: idle{}, Playbooks: books, Fleet: estate, Log: hclog.NewNullLogger()})
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	f.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, j.Close()); err != nil {
			f.Error(err)
		}
	})
	return c
}

// seedCalls adds what a good agent says, and what bad ones might.
func seedCalls(f *testing.F, digest string) {
	f.Helper()
	add := func(messages ...*pb.PhoneHomeRequest) {
		var wire bytes.Buffer
		for _, m := range messages {
			if _, err := protodelim.MarshalTo(&wire, m); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(wire.Bytes())
		f.Add(wire.Bytes()[:wire.Len()*2/3])
	}
	facts := &pb.Facts{Content: []*pb.ContentFact{{PlaybookDigest: digest, Good: 1}}, Health: []*pb.HealthCheck{{Name: "disk", Ok: true}}}
	nasty := "\x1b[2J\u202e" + strings.Repeat("n\n", 300) + "\x00\u009b31m"
	hostile := &pb.Facts{Content: []*pb.ContentFact{{PlaybookDigest: digest, Bad: -1, Good: 1<<31 - 1, Missing: true, Error: nasty, Detail: nasty}, {PlaybookDigest: "sha256:other", Bad: 1}},
		Health: []*pb.HealthCheck{{Name: nasty, Detail: nasty}, {}}}
	crowd := &pb.Facts{}
	for range maxFacts + 6 {
		crowd.Content = append(crowd.Content, &pb.ContentFact{PlaybookDigest: digest})
		crowd.Health = append(crowd.Health, &pb.HealthCheck{Ok: true})
	}
	loud := &pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: &pb.Hello{Host: "ns1", Instance: "i\n", BootId: "b\x1b[31m", BootMode: 99, AgentVersion: nasty, EdrVersion: nasty, Facts: hostile}}}
	add()
	add(hello("ns1", "a", facts), beat(&pb.Heartbeat{Facts: facts}), beat(&pb.Heartbeat{Answers: idProbe, Facts: facts}), beat(&pb.Heartbeat{Answers: "ns1/1/verify/0"}))
	add(hello("ns1", "a", nil), hello("ns1", "a", nil))
	add(hello("ns2", "a", facts))
	add(hello("", "", nil))
	add(hello("ns1"+nasty, "a", nil))
	add(hello("ns1", strings.Repeat("x", maxID+1), nil))
	add(beat(&pb.Heartbeat{}))
	add(&pb.PhoneHomeRequest{})
	add(loud, beat(&pb.Heartbeat{Refused: nasty, Answers: nasty, Facts: hostile}), beat(&pb.Heartbeat{Answers: idAlive, Facts: crowd}))
	add(hello("ns1", "a", crowd), &pb.PhoneHomeRequest{})
	unknown := proto.Clone(hello("ns1", "a", facts)).(*pb.PhoneHomeRequest)
	unknown.ProtoReflect().SetUnknown([]byte{0xa2, 0x06, 0x03, 'n', 'e', 'w'})
	add(unknown)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{3, 0x0a, 0x01, 0xff})
}
