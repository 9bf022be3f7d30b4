package server_test

import (
	"context"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/fleet"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// What the tests' estate is made of: Windows and Linux servers with an EDR each, hit by the same bad day.
const (
	windowsBook = "crowdstrike-channel-file-291"
	linuxBook   = "edr-content-linux"

	story = `name: bad-day
clock: 2026-01-15T11:35:00Z
update:
  windows:
    folder: Windows/System32/drivers/CrowdStrike
    header: AA AA AA AA 01 00 23 01
    bad-from: 2024-07-19T04:09:00Z
    bad-to: 2024-07-19T05:27:00Z
    before: {name: C-00000291-00000000-00000028.sys, modified: 2024-07-18T16:02:11Z, size: 40960}
    bad: {name: C-00000291-00000000-00000032.sys, modified: 2024-07-19T04:09:12Z, size: 41004}
    good: {name: C-00000291-00000000-00000033.sys, modified: 2024-07-19T05:27:08Z, size: 41004}
  linux:
    folder: opt/edr/content
    header: 45 44 52 43 01 00
    bad-from: 2026-01-15T10:00:00Z
    bad-to: 2026-01-15T11:30:00Z
    bad: {name: rules-2.bin, modified: 2026-01-15T10:00:12Z, size: 4100}
    good: {name: rules-3.bin, modified: 2026-01-15T11:30:08Z, size: 4100}
boot: 2m..5m
loop: {up: 10s..40s, network: 35%, park-after: 3..8}
`

	estateHead = `fleet: mixed
policy: {backoff: 20s, backoff-max: 1m, max-attempts: 12, incident-failures: 60%, same-signature: 50}
tiers:
  - {name: infrastructure, rto: 2h, gate: {success: 80%, soak: 1s, max-failed: 20%, max-unreachable: 20%}}
  - {name: applications, rto: 4h, gate: {success: 80%, soak: 1s, max-failed: 20%, max-unreachable: 20%}}
services:
  - {name: directory, tier: infrastructure, up: 60%}
  - {name: web, tier: applications, needs: [directory]}
resources: {ssh: 12}
`
)

// estate writes the fleet file of n hosts of each of four kinds. address gives the rescue address of the i-th host of all.
func estate(n, port int, address func(i int) string) string {
	var b strings.Builder
	b.WriteString(estateHead)
	fmt.Fprintf(&b, "ladders:\n  rescue:\n    - {name: rescue, environment: rescue-linux, reboots: true, port: %d}\n    - {name: hands, kind: hands}\n", port)
	b.WriteString("defaults: {os: windows-2019, data: none, agent: true, ladder: rescue, edr: {product: crowdstrike-falcon}}\nhosts:\n")
	i := 0
	for _, k := range []struct{ name, service, extra string }{
		{"dc", "directory", ""}, {"app", "web", ""},
		{"db", "directory", ", os: linux, edr: {product: edr-linux}"}, {"web", "web", ", os: linux, edr: {product: edr-linux}"},
	} {
		for j := range n {
			fmt.Fprintf(&b, "  - {name: %s%02d, service: %s, address: %s%s}\n", k.name, j+1, k.service, address(i), k.extra)
			i++
		}
	}
	return b.String()
}

// quickBooks is a copy of the playbooks whose waits suit a test. The scripts are the real ones, with extra put before their
// first command.
func quickBooks(t *testing.T, dir, extra string) {
	t.Helper()
	for _, name := range []string{windowsBook, linuxBook} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := fs.ReadDir(recoveryplaybooks.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := fs.ReadFile(recoveryplaybooks.FS, name+"/"+f.Name())
			if err != nil {
				t.Fatal(err)
			}
			text := string(data)
			switch f.Name() {
			case "manifest.yaml":
				text = quicken(t, text)
			case "repair.sh":
				text = strings.Replace(text, "\nset -u\n", "\nset -u\n"+extra+"\n", 1)
			}
			if err := os.WriteFile(filepath.Join(dir, name, f.Name()), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func quicken(t *testing.T, manifest string) string {
	t.Helper()
	lines := strings.Split(manifest, "\n")
	for i, l := range lines {
		switch key, _, _ := strings.Cut(l, ":"); key {
		case "soak":
			lines[i] = "soak: " + soak
		case "verify-within":
			lines[i] = "verify-within: " + verifyWithin
		}
	}
	return strings.Join(lines, "\n")
}

// soak and verifyWithin are in the story's time in process, and in real time where the coordinator is one of its own.
var soak, verifyWithin = "1m", "30m"

// hostSpecs are the lab's machines of a fleet.
func hostSpecs(f recovery.Fleet) []lab.HostSpec {
	var out []lab.HostSpec
	for _, h := range f.Hosts {
		s := lab.HostSpec{Name: h.Name, OS: h.OS, Agent: h.Agent, EDRProduct: h.EDR.Product}
		for _, r := range h.Ladder {
			if r.Kind == recovery.RungSSH {
				s.Rungs = append(s.Rungs, lab.Rung{Name: r.Name, Environment: r.Environment, Address: r.Address, Port: r.Port})
			}
		}
		out = append(out, s)
	}
	return out
}

func parse(t *testing.T, text string) recovery.Fleet {
	t.Helper()
	f, err := fleet.Parse("fleet.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func scenario(t *testing.T, text string) *lab.Scenario {
	t.Helper()
	s, err := lab.ReadScenario("scenario.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sshKey makes the key with which hosts are entered.
func sshKey(t *testing.T, dir string) (file string, key ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "id_ed25519")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if key, err = ssh.NewPublicKey(public); err != nil {
		t.Fatal(err)
	}
	return file, key
}

// machines makes the lab.
func machines(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	c.StartStruck = true
	l, err := lab.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// seed is printed, and taken from the environment to play a failure again.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64N(1 << 32) //nolint:gosec // a test's dice
	if s := os.Getenv("BLACKSTART_TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &n); err != nil {
			t.Fatalf("BLACKSTART_TEST_SEED=%s is no number", s)
		}
	}
	t.Logf("BLACKSTART_TEST_SEED=%d", n)
	return n
}

// responder is the person who steers. A coordinator that is away is asked again until it is back.
type responder struct {
	*testing.T
	client pb.OperatorServiceClient
	lab    *lab.Lab
}

// away reports whether an answer means that the coordinator is not there.
func away(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
}

// patient asks until the coordinator answers. What it refuses may have been done before it died.
func (r *responder) patient(ctx context.Context, call func() error) error {
	for {
		err := call()
		switch {
		case err == nil, status.Code(err) == codes.FailedPrecondition:
			return nil
		case !away(err):
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// recover plays one incident from its declaration to its close.
func (r *responder) recover(ctx context.Context, book string) error {
	err := r.patient(ctx, func() error {
		_, err := r.client.Declare(ctx, &pb.DeclareRequest{Title: "bad day of " + book, Playbook: book})
		return err
	})
	if err != nil {
		return fmt.Errorf("declare: %w", err)
	}
	err = r.patient(ctx, func() error {
		in, err := r.client.ShowIncident(ctx, &pb.ShowIncidentRequest{})
		if err == nil {
			_, err = r.client.Approve(ctx, &pb.ApproveRequest{Digest: in.GetIncident().GetPlanDigest()})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("approve: %w", err)
	}
	return r.patient(ctx, func() error { return r.follow(ctx) })
}

// follow steers until the incident is closed or the coordinator is gone.
func (r *responder) follow(ctx context.Context) error {
	stream, err := r.client.Watch(ctx, &pb.WatchRequest{})
	if err != nil {
		return err
	}
	for {
		u, err := stream.Recv()
		if err != nil {
			return err
		}
		if u.GetIncident().GetClosedAt() != nil {
			return nil
		}
		if err := r.act(ctx, u.GetIncident()); err != nil && status.Code(err) != codes.FailedPrecondition {
			return err
		}
	}
}

func (r *responder) act(ctx context.Context, in *pb.Incident) error {
	held := in.GetStatus() == "paused"
	for _, w := range in.GetWaves() {
		held = held || w.GetStatus() == "held"
	}
	if held {
		// Refused when only hand work can open a wave that is held below its share: that work comes next.
		_, err := r.client.Resume(ctx, &pb.ResumeRequest{Reason: "the failures are accepted"})
		if err != nil && status.Code(err) != codes.FailedPrecondition {
			return err
		}
	}
	if in.GetCounts().GetNeedsHands() > 0 {
		return r.hands(ctx)
	}
	if in.GetStatus() != "settled" {
		return nil
	}
	for _, debt := range []string{"kept-copies", "bitlocker-key", "safe-boot-flag"} {
		if _, err := r.client.ClearDebt(ctx, &pb.ClearDebtRequest{Debt: debt}); err != nil && status.Code(err) != codes.NotFound {
			return err
		}
	}
	_, err := r.client.Close(ctx, &pb.CloseRequest{})
	return err
}

// hands does the work of every host on the hands board.
func (r *responder) hands(ctx context.Context) error {
	out, err := r.client.ListHosts(ctx, &pb.ListHostsRequest{Phase: "needs-hands"})
	if err != nil {
		return err
	}
	for _, h := range out.GetHosts() {
		if err := r.lab.Hands(h.GetName()); err != nil {
			return err
		}
		_, err := r.client.HandsDone(ctx, &pb.HandsDoneRequest{Host: h.GetName(), Spent: durationpb.New(10 * time.Minute)})
		if err != nil && status.Code(err) != codes.FailedPrecondition {
			return err
		}
	}
	return nil
}

// checkTruth compares what was achieved with how the machines really are.
func checkTruth(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, m := range l.Truth() {
		if !m.Up || m.Bad > 0 {
			t.Errorf("%s is %s with %d bad files (fault: %s)", m.Host, m.State, m.Bad, m.Fault)
		}
	}
	if n, err := l.DoubleExecutions(); n != 0 || err != nil {
		all, _ := l.Executions()
		t.Errorf("%d scripts ran twice, %v: %v", n, err, all)
	}
}

// checkOrder fails the test when a wave was skipped, a host was touched before its wave opened, or an attempt had two intents.
func checkOrder(t *testing.T, f recovery.Fleet, entries []recovery.Entry) {
	t.Helper()
	wave := map[string]int{}
	for _, h := range f.Hosts {
		for i, tier := range f.Tiers {
			if tier.Name == h.Tier {
				wave[h.Name] = i + 1
			}
		}
	}
	opened, passed, ids := 0, 0, map[string]bool{}
	for _, e := range entries {
		switch v := e.Event.(type) {
		case *recovery.WaveOpened:
			if v.Wave != opened+1 || passed != opened {
				t.Errorf("wave %d opened after %d were opened and %d passed", v.Wave, opened, passed)
			}
			opened = v.Wave
		case *recovery.WavePassed:
			passed = v.Wave
		case *recovery.AttemptStarted:
			if wave[v.Attempt.Host] > opened {
				t.Errorf("%s was touched while %d waves were open", v.Attempt.Host, opened)
			}
			if ids[v.Attempt.ID] {
				t.Errorf("attempt %s was intended twice", v.Attempt.ID)
			}
			ids[v.Attempt.ID] = true
		}
	}
}
