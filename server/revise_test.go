package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/blackstart-recovery/blackstart/agent/lab"
	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/coordinator"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

const revisedFleet = `fleet: six
policy: {backoff: 20s, backoff-max: 1m}
tiers:
  - {name: databases, rto: 2h, gate: {success: 80%, soak: 1s, max-failed: 20%, max-unreachable: 20%}}
services:
  - {name: data, tier: databases}
resources: {ssh: 12}
ladders:
  rescue:
    - {name: rescue, environment: rescue-linux, reboots: true}
    - {name: hands, kind: hands}
defaults: {os: linux, data: none, agent: true, ladder: rescue, edr: {product: edr-linux}}
hosts:
`

// The whole server in one process with six machines; in the middle of the incident the playbook folder gets a new version. The hosts
// that the first one has repaired are to be revisited, the scripts under way end as they began, also when the coordinator starts again meanwhile, and the other hosts run the new one.
func TestAnIncidentIsRevisedInItsMiddle(t *testing.T) {
	const speed = 300
	n := seed(t)
	dir := t.TempDir()
	text := revisedFleet
	for i := range 6 {
		text += fmt.Sprintf("  - {name: db%02d, service: data, address: 10.0.0.%d}\n", i+1, i+1)
	}
	f := parse(t, text)
	folder, hold := filepath.Join(dir, "playbooks"), filepath.Join(dir, "hold")
	// Every script tells its version; those of the first one wait for us, save the very first.
	tell := "printf '%s %s\\n' %s \"$BLACKSTART_ATTEMPT\" >>" + filepath.Join(dir, "ran")
	first := strings.Replace(tell, "%s %s\\n' %s", "%s %s\\n' v1", 1) + "\nmkdir " + filepath.Join(dir, "first") + " 2>/dev/null || while [ -e " + hold + " ]; do sleep 0.05; done"
	second := strings.Replace(tell, "%s %s\\n' %s", "%s %s\\n' v2", 1)
	patient(t, folder, first)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(hold, nil, 0o600))
	keyFile, key := sshKey(t, dir)
	ca, err := pki.NewAuthority()
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	estate := machines(t, lab.Config{Hosts: hostSpecs(f), Scenario: scenario(t, story), Seed: n, Speed: speed, Dir: filepath.Join(dir, "lab"),
		AuthorizedKey: key, Coordinators: []string{l.Addr().String()}, Window: 150 * time.Millisecond,
		AgentTLS: func(host string) (*tls.Config, error) {
			cert, err := ca.Issue(pki.RoleAgent, host, nil)
			return pki.ClientConfig(ca.Pool(), cert), err
		}})
	known := filepath.Join(dir, "known_hosts")
	must(os.WriteFile(known, estate.KnownHosts(), 0o600))
	own, err := ca.Issue(pki.RoleCoordinator, "test", nil)
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	clock := coordinator.NewClock(time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC), speed)
	clock.Begin()
	serve := func(l net.Listener) (halt func()) {
		books, err := playbook.LoadWithOverrides(recoveryplaybooks.FS, folder)
		must(err)
		serving, stop := context.WithCancel(context.Background())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- server.Run(serving, server.Config{Dir: filepath.Join(dir, "data"), Listeners: []net.Listener{l}, TLS: pki.ServerConfig(ca.Pool(), own), Fleet: f, Playbooks: books,
				SSH: remedy.Config{Keys: []string{keyFile}, KnownHosts: []string{known}, User: "root", Dial: estate.Dial,
					Timeouts: remedy.Timeouts{Dial: time.Second, Handshake: 2 * time.Second, Retry: 100 * time.Millisecond}},
				Clock: clock, Beat: time.Second, Log: hclog.NewNullLogger(), Ready: func() { close(ready) }})
		}()
		select {
		case <-ready:
		case err := <-ended:
			t.Fatalf("the server did not start: %v", err)
		}
		return func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	halt := serve(l)
	must(estate.Start(ctx))
	person, err := ca.Issue(pki.RoleOperator, "ada", nil)
	must(err)
	conn, err := grpc.NewClient("passthrough:///"+l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(pki.ClientConfig(ca.Pool(), person))), grpc.WithNoProxy())
	must(err)
	client := pb.NewOperatorServiceClient(conn)
	r := &revision{T: t, ctx: ctx, client: client, ran: filepath.Join(dir, "ran")}
	declared, err := client.Declare(ctx, &pb.DeclareRequest{Title: "a bad day with second thoughts", Playbook: linuxBook})
	must(err)
	_, err = client.Approve(ctx, &pb.ApproveRequest{Digest: declared.GetIncident().GetPlanDigest()})
	must(err)

	// The canary is recovered, two others are in the middle of the first version's script.
	r.until("two held scripts", func(in *pb.Incident) bool { return in.GetCounts().GetRecovered() == 1 && len(r.scripts("v1")) == 3 })
	if _, err := client.ReviseIncident(ctx, &pb.ReviseIncidentRequest{Reason: "nothing new"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("the same version again: %v", err)
	}
	patient(t, folder, second)
	out, err := client.ReviseIncident(ctx, &pb.ReviseIncidentRequest{Reason: "the vendor thought again"})
	must(err)
	old := r.scripts("v1")
	canary := old[:1]
	if !slices.Equal(out.GetRevisit(), canary) || !slices.Equal(sorted(out.GetEnding()), sorted(old[1:])) {
		t.Errorf("to revisit %v, ending %v; the first version ran on %v", out.GetRevisit(), out.GetEnding(), old)
	}
	if got := strings.Join(out.GetChanges(), "; "); got != "another script for linux; another script for rescue-linux" {
		t.Errorf("changes: %s", got)
	}
	versions := out.GetIncident().GetPlaybookVersions()
	if len(versions) != 2 || versions[0].GetDigest() == versions[1].GetDigest() || versions[1].GetBy() != "operator:ada" || versions[1].GetReason() != "the vendor thought again" {
		t.Fatalf("versions %v", versions)
	}

	// The coordinator starts again while the scripts of the first version run, which the playbook folder does not hold any more.
	halt()
	l, err = net.Listen("tcp", l.Addr().String())
	must(err)
	halt = serve(l)
	must(os.Remove(hold))
	r.until("all back", func(in *pb.Incident) bool { return in.GetStatus() == "settled" && in.GetCounts().GetRecovered() == 6 })

	if again := r.scripts("v1"); !slices.Equal(again, old) || len(r.scripts("v2")) != 3 {
		t.Errorf("v1 ran on %v, at the revision on %v; v2 on %v", again, old, r.scripts("v2"))
	}
	for _, h := range f.Hosts {
		one, err := client.ShowHost(ctx, &pb.ShowHostRequest{Host: h.Name})
		must(err)
		version, visits := 1, 0
		if slices.Contains(old, h.Name) {
			version = 0
		}
		for _, a := range one.GetHost().GetAttempts() {
			if a.GetPlaybookDigest() != versions[version].GetDigest() || a.GetClass() == "lost" {
				t.Errorf("%s ran version %s and is %s", a.GetId(), a.GetPlaybookDigest(), a.GetClass())
			}
		}
		for _, d := range one.GetHost().GetDebts() {
			if d.GetId() == "revisit" {
				visits++
			}
		}
		if visits != 1-version {
			t.Errorf("%s owes %d visits: %v", h.Name, visits, one.GetHost().GetDebts())
		}
	}
	_, err = client.ClearDebt(ctx, &pb.ClearDebtRequest{Debt: "kept-copies"})
	must(err)
	if _, err = client.Close(ctx, &pb.CloseRequest{}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "3 debts open") {
		t.Errorf("closed over visits: %v", err)
	}
	_, err = client.ClearDebt(ctx, &pb.ClearDebtRequest{Debt: "revisit", Note: "looked at the three"})
	must(err)
	r.until("the gate", func(in *pb.Incident) bool { return in.GetWaves()[0].GetStatus() == "passed" })
	_, err = client.Close(ctx, &pb.CloseRequest{})
	must(err)
	r.report(versions)
	_ = conn.Close()
	halt()
	checkTruth(t, estate)
	must(estate.Close())
}

// patient writes the quick playbooks with time enough for a script that waits.
func patient(t *testing.T, folder, extra string) {
	t.Helper()
	quickBooks(t, folder, extra)
	file := filepath.Join(folder, linuxBook, "manifest.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(data), "\ntimeout: 5m\n", "\ntimeout: 2h\n", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// revision is who follows the incident.
type revision struct {
	*testing.T
	ctx    context.Context
	client pb.OperatorServiceClient
	ran    string
}

// until follows the incident until the condition holds, which is looked at with every change of the incident.
func (r *revision) until(what string, holds func(in *pb.Incident) bool) {
	r.Helper()
	for {
		out, err := r.client.ShowIncident(r.ctx, &pb.ShowIncidentRequest{}, grpc.WaitForReady(true))
		if err != nil && !away(err) {
			r.Fatalf("never: %s: %v", what, err)
		}
		if err == nil && holds(out.GetIncident()) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.ctx.Done():
			hosts, _ := r.client.ListHosts(context.Background(), &pb.ListHostsRequest{})
			r.Fatalf("never: %s: %v\n%v", what, out.GetIncident(), hosts)
		}
	}
}

// scripts lists the hosts on which a version's script was started, in this order.
func (r *revision) scripts(version string) []string {
	r.Helper()
	data, err := os.ReadFile(r.ran)
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
	var hosts []string
	for line := range strings.Lines(string(data)) {
		if attempt, ok := strings.CutPrefix(strings.TrimSpace(line), version+" "); ok {
			host, _, _ := strings.Cut(attempt, "/")
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// report checks that the report tells the versions.
func (r *revision) report(versions []*pb.PlaybookVersion) {
	r.Helper()
	out, err := r.client.Report(r.ctx, &pb.ReportRequest{Format: pb.ReportFormat_REPORT_FORMAT_JSON})
	if err != nil {
		r.Fatal(err)
	}
	var rep struct {
		Outcome  string
		Versions []struct{ Digest, By, Reason string }
		Timeline []struct{ Text string }
	}
	if err := json.Unmarshal(out.GetBody(), &rep); err != nil {
		r.Fatal(err)
	}
	if len(rep.Versions) != 2 || rep.Versions[1].Digest != versions[1].GetDigest() || rep.Versions[1].By != "ada" || rep.Versions[0].By != "" {
		r.Errorf("the report's versions: %+v", rep.Versions)
	}
	if !slices.ContainsFunc(rep.Timeline, func(m struct{ Text string }) bool { return strings.Contains(m.Text, "revised playbook "+linuxBook) }) {
		r.Errorf("the report's timeline: %+v", rep.Timeline)
	}
	if rep.Outcome != "closed" {
		r.Errorf("outcome %s", rep.Outcome)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
