//go:build e2e && linux

package server_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "github.com/blackstart-recovery/blackstart/proto/blackstart/v1"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

// One coordinator, the real binary with its journal, and a process with many real agents over mutual TLS, while an incident runs:
//
//	BLACKSTART_LOAD_AGENTS=10000 BLACKSTART_LOAD_BAD=200 go test -tags e2e -count=1 -run '^TestLoad$' -timeout 30m -v ./server
//
// Small, it is a test like every other. Environment:
//
//	BLACKSTART_LOAD_AGENTS=500   how many agents
//	BLACKSTART_LOAD_BAD=30       how many bad ones beside them
//	BLACKSTART_LOAD_WINDOW=5s    for how long each measurement goes on
//	BLACKSTART_LOAD_AWAY=1s      for how long the coordinator is away before the last restart
//	BLACKSTART_LOAD_NAIVE=1      the agents dial again at once, as ours never do: to compare
const (
	backWithin    = 60 * time.Second       // after a restart, for every agent, on a machine that has nothing else to do
	loadLimit     = 10 * time.Minute       // for a process to do what it is asked
	mendAtOnce    = 10                     // hosts
	loadBeat      = 10 * time.Second       // as it is when nobody sets it
	knockers      = 4                      // hosts that phone home anew all the time
	mostSlower    = 3.0                    // times that the bad ones may slow the others' median,
	leastSlow     = 250 * time.Millisecond // beyond which that is felt, and no mere noise of a busy machine
	mostDials     = 3                      // for each agent, until all are back after a restart
	mostBadMemory = 64 << 20               // bytes that the bad ones may cost the coordinator together,
	mostEach      = 1 << 20                // and for each
	mostSaid      = 80                     // lines of the log a minute about them
)

// loadTest is the test's world.
type loadTest struct {
	*site
	window time.Duration
	away   time.Duration
	loose  time.Time // when the bad ones were let loose
	hosts  []string  // with agents
	struck []string  // of them
	bad    []string
	badPID int // of their process; 0: none
	agents *loadChild
	proven *provenHosts
	ask    *grpc.ClientConn
}

func TestLoad(t *testing.T) {
	l := newLoad(t)
	l.serve()
	began, used := time.Now(), l.processors()
	var look loadLook
	l.agents.ask(loadLimit, loadWord{Do: "start"}, &look)
	t.Logf("%d agents connected in %.1f s, %d at once; %s", look.Connected, time.Since(began).Seconds(), loadStarting, l.spent(used))
	l.declare()
	l.watch()

	half := len(l.struck) / 2
	calm := l.measure("alone", l.struck[:half])
	l.allHeard()
	before := l.memory()
	bad := l.misbehave()
	beset := l.measure(fmt.Sprintf("beside %d bad agents", len(l.bad)), l.struck[half:])
	l.allHeard()
	l.check(calm, beset)
	l.checkMemory(before)
	l.checkEnds(bad)
	l.checkLog()
	l.settle()

	l.restart(fmt.Sprintf("beside %d bad agents", len(l.bad)), time.Second)
	bad.end()
	l.badPID = 0
	l.restart("alone", l.away)
	l.close()
	if l.said("panic") > 0 {
		t.Error("the coordinator panicked")
	}
}

func newLoad(t *testing.T) *loadTest {
	t.Helper()
	l := &loadTest{window: loadTime(t, "BLACKSTART_LOAD_WINDOW", 5*time.Second), away: loadTime(t, "BLACKSTART_LOAD_AWAY", time.Second),
		proven: &provenHosts{at: map[string]time.Time{}}}
	n, bad := loadNumber(t, "BLACKSTART_LOAD_AGENTS", 500), loadNumber(t, "BLACKSTART_LOAD_BAD", 30)
	var all []string
	for i := range n + knockers + bad {
		all = append(all, fmt.Sprintf("host%05d", i+1))
	}
	l.hosts, l.bad = all[:n], all[n+knockers:]
	l.struck = l.hosts[:n/10]
	before, within := soak, verifyWithin
	t.Cleanup(func() { soak, verifyWithin = before, within })
	soak, verifyWithin = "1s", "10m"
	dir := t.TempDir()
	quickBooks(t, filepath.Join(dir, "playbooks"), "")
	l.site = newSite(t, loadFleet(all, n), "--playbooks", filepath.Join(dir, "playbooks"), "--ssh-agent", "/nobody", "--log-level", "info")
	l.agents = newLoadChild(t, loadOrder{Role: "agents", Dir: l.site.site(), Work: t.TempDir(), Address: l.address, Hosts: l.hosts, Struck: len(l.struck),
		Naive: os.Getenv("BLACKSTART_LOAD_NAIVE") != ""})
	conf, err := pki.ClientTLS(l.site.site(), "operator")
	if err != nil {
		t.Fatal(err)
	}
	l.ask, err = grpc.NewClient("passthrough:///"+l.address, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.ask.Close() })
	return l
}

func loadNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 20 {
		t.Fatalf("%s: %q is no number of at least 20", name, text)
	}
	return n
}

func loadTime(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("%s: %q is no time", name, text)
	}
	return d
}

// loadFleet is an estate that people mend by hand: what matters here is not how a script gets onto a host. The playbook is meant
// for the first so many hosts.
func loadFleet(hosts []string, meant int) string {
	var b strings.Builder
	b.WriteString(`fleet: crowd
policy: {same-signature: 100000, incident-failures: 100%}
tiers:
  - {name: all, rto: 2h, gate: {success: 1%, soak: 1s, max-failed: 99%, max-unreachable: 99%}}
services:
  - {name: web, tier: all}
defaults: {os: linux, data: none, agent: true, edr: {product: edr-linux}, ladder: [{name: hands, kind: hands}]}
hosts:
`)
	for i, h := range hosts {
		extra := ""
		if i >= meant {
			extra = ", edr: {product: other}"
		}
		fmt.Fprintf(&b, "  - {name: %s, service: web, address: 10.%d.%d.%d%s}\n", h, i>>16, i>>8&255, i&255, extra)
	}
	return b.String()
}

// allTold waits until every agent has told what is on its disk: one that is connected may be looking still, and a host of which
// nothing is known goes into the plan.
func (l *loadTest) allTold() {
	l.Helper()
	for deadline := time.Now().Add(time.Minute); ; pass(l.Context(), 20*time.Millisecond) {
		out, err := l.client.ListAgents(l.Context(), &pb.ListAgentsRequest{})
		if err != nil {
			l.Fatal(err)
		}
		told := 0
		for _, a := range out.GetAgents() {
			if a.GetBad()+a.GetGood() > 0 {
				told++
			}
		}
		if told == len(l.hosts) {
			return
		}
		if time.Now().After(deadline) {
			l.Fatalf("%d of %d agents have told what is on their disks after a minute", told, len(l.hosts))
		}
	}
}

// declare opens the incident, with the struck hosts in its plan and no others.
func (l *loadTest) declare() {
	l.Helper()
	ctx := l.Context()
	l.allTold()
	in, err := l.client.Declare(ctx, &pb.DeclareRequest{Title: "a bad day", Playbook: linuxBook})
	if err == nil {
		_, err = l.client.Approve(ctx, &pb.ApproveRequest{Digest: in.GetIncident().GetPlanDigest()})
	}
	if err != nil {
		l.Fatal(err)
	}
	if waves := in.GetIncident().GetWaves(); len(waves) != 1 || int(waves[0].GetSize()) != len(l.struck) {
		l.Fatalf("%d hosts are struck, and the plan is %v", len(l.struck), waves)
	}
}

// provenHosts are the hosts that the coordinator has seen proof of, by its own clock, as its journal says.
type provenHosts struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (p *provenHosts) hear(entries []*pb.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		if e.GetKind() == "host-proven" {
			p.at[e.GetHost()] = e.GetAt().AsTime()
		}
	}
}

func (p *provenHosts) when(host string) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.at[host]
	return at, ok
}

// watch follows the incident as a person's screen does, until the test ends.
func (l *loadTest) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	l.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		after := uint64(0)
		for ctx.Err() == nil {
			stream, err := pb.NewOperatorServiceClient(l.ask).Watch(ctx, &pb.WatchRequest{AfterSeq: after}, grpc.WaitForReady(true))
			for err == nil {
				var u *pb.WatchResponse
				if u, err = stream.Recv(); err == nil {
					l.proven.hear(u.GetEntries())
					after = u.GetIncident().GetSeq()
				}
			}
			pass(ctx, 100*time.Millisecond)
		}
	}()
}

// figures are what was measured in one window.
type loadFigures struct {
	name  string
	times map[string][]time.Duration
}

const (
	statusCall = "status call"
	hostsCall  = "list of all hosts"
	rollCall   = "roll of all agents"
	cardsCall  = "work cards"
	knock      = "new connection until it is answered"
	mending    = "from a host's first dial to its proof in the journal"
)

// measure lets people and hosts come for a while, and mends hosts meanwhile.
func (l *loadTest) measure(name string, mend []string) loadFigures {
	l.Helper()
	f := loadFigures{name, map[string][]time.Duration{}}
	var mu sync.Mutex
	ctx, cancel := context.WithTimeout(l.Context(), l.window)
	defer cancel()
	client := pb.NewOperatorServiceClient(l.ask)
	var all sync.WaitGroup
	used := l.processors()
	often := func(what string, gap time.Duration, call func(ctx context.Context, i int) error) {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				began := time.Now()
				err := call(l.Context(), i)
				took := time.Since(began)
				if err != nil {
					l.Errorf("%s: %s: %v", name, what, err)
					return
				}
				mu.Lock()
				f.times[what] = append(f.times[what], took)
				mu.Unlock()
				pass(ctx, gap)
			}
		})
	}
	often(statusCall, 20*time.Millisecond, func(ctx context.Context, _ int) error {
		_, err := client.ShowIncident(ctx, &pb.ShowIncidentRequest{})
		return err
	})
	often(hostsCall, time.Second, func(ctx context.Context, _ int) error {
		_, err := client.ListHosts(ctx, &pb.ListHostsRequest{})
		return err
	})
	often(rollCall, time.Second, func(ctx context.Context, _ int) error {
		_, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
		return err
	})
	often(cardsCall, time.Second, func(ctx context.Context, _ int) error {
		_, err := client.WorkCards(ctx, &pb.WorkCardsRequest{})
		return err
	})
	often(knock, 50*time.Millisecond, l.knock)
	for len(mend) > 0 {
		n := min(mendAtOnce, len(mend))
		for host, took := range l.mend(mend[:n]) {
			if took <= 0 {
				l.Errorf("%s was proven %v before it phoned home", host, -took)
			}
			mu.Lock()
			f.times[mending] = append(f.times[mending], took)
			mu.Unlock()
		}
		mend = mend[n:]
	}
	<-ctx.Done()
	all.Wait()
	l.Logf("%s: %s\n%s", name, l.spent(used), f.table())
	return f
}

// mend brings hosts back, as people would, and returns for each how long it took the coordinator to have proof.
func (l *loadTest) mend(hosts []string) map[string]time.Duration {
	l.Helper()
	var look loadLook
	l.agents.ask(loadLimit, loadWord{Do: "mend", Hosts: hosts}, &look)
	for _, host := range hosts {
		_, err := l.client.HandsDone(l.Context(), &pb.HandsDoneRequest{Host: host, Note: "the file is gone"})
		if err != nil && status.Code(err) != codes.FailedPrecondition { // its agent was quicker
			l.Fatal(err)
		}
	}
	took := map[string]time.Duration{}
	for deadline := time.Now().Add(time.Minute); len(took) < len(hosts); pass(l.Context(), 20*time.Millisecond) {
		for _, host := range hosts {
			if at, ok := l.proven.when(host); ok {
				took[host] = at.Sub(look.Began[host])
			}
		}
		if time.Now().After(deadline) {
			l.Fatalf("%d of %d mended hosts are proven after a minute", len(took), len(hosts))
		}
	}
	return took
}

// knock makes a new connection for a host that keeps coming, and waits for the first instruction.
func (l *loadTest) knock(ctx context.Context, i int) error {
	host := fmt.Sprintf("host%05d", len(l.hosts)+1+i%knockers)
	base := filepath.Join(l.site.site(), "agents", host)
	conf, _, err := pki.AgentTLS(filepath.Join(l.site.site(), "ca.pem"), base+".pem", base+"-key.pem")
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+l.address, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithNoProxy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	stream, err := pb.NewAgentServiceClient(conn).PhoneHome(ctx)
	if err != nil {
		return err
	}
	hello := &pb.Hello{Host: host, Instance: "knocker", BootId: "boot", BootMode: pb.BootMode_BOOT_MODE_NORMAL}
	if err := stream.Send(&pb.PhoneHomeRequest{Message: &pb.PhoneHomeRequest_Hello{Hello: hello}}); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

// table shows the median and the worst of a hundred.
func (f loadFigures) table() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(f.times)) {
		fmt.Fprintf(&b, "  %-54s %5d times  p50 %8.1f ms  p99 %8.1f ms\n", what, len(f.times[what]), milli(f.of(what, 50)), milli(f.of(what, 99)))
	}
	return b.String()
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// of is a percentile.
func (f loadFigures) of(what string, percent int) time.Duration {
	all := slices.Sorted(slices.Values(f.times[what]))
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)*percent/100, len(all)-1)]
}

// allHeard fails the test when an agent is not connected, or its last word is older than its beat explains.
func (l *loadTest) allHeard() {
	l.Helper()
	out, err := pb.NewOperatorServiceClient(l.ask).ListAgents(l.Context(), &pb.ListAgentsRequest{})
	if err != nil {
		l.Fatal(err)
	}
	now, missing, oldest := time.Now(), 0, time.Duration(0)
	mine := map[string]bool{}
	for _, h := range l.hosts {
		mine[h] = true
	}
	for _, a := range out.GetAgents() {
		if !mine[a.GetHost()] {
			continue
		}
		if !a.GetConnected() {
			missing++
		}
		oldest = max(oldest, now.Sub(a.GetLastSeen().AsTime()))
	}
	l.Logf("%d of %d agents are not connected; the oldest last word is %.1f s old", missing, len(l.hosts), oldest.Seconds())
	if missing > 0 || oldest > 2*loadBeat {
		l.Errorf("%d agents are missing, and the oldest last word is %v old with a beat of %v", missing, oldest, loadBeat)
	}
	var look loadLook
	l.agents.ask(loadLimit, loadWord{Do: "look"}, &look)
	if len(look.Lost) > 0 {
		l.Errorf("streams broke while the coordinator was there: %v", look.Lost)
	}
}

// misbehave lets the bad ones loose and returns when each has begun.
func (l *loadTest) misbehave() *loadChild {
	l.Helper()
	c := newLoadChild(l.T, loadOrder{Role: "bad", Dir: l.site.site(), Work: l.TempDir(), Address: l.address, Hosts: l.bad})
	var look badLook
	c.ask(loadLimit, loadWord{Do: "start"}, &look)
	l.loose, l.badPID = time.Now(), c.cmd.Process.Pid
	return c
}

// check compares what people and good hosts waited for, without and with bad ones.
func (l *loadTest) check(calm, beset loadFigures) {
	l.Helper()
	for _, what := range []string{statusCall, knock, mending} {
		for _, percent := range []int{50, 99} {
			a, b := calm.of(what, percent), beset.of(what, percent)
			l.Logf("%s, p%d: %.2f × with the bad ones", what, percent, float64(b)/float64(max(a, 1)))
			if percent == 50 && b > leastSlow && float64(b) > mostSlower*float64(a) {
				l.Errorf("%s: the median is %v beside bad agents and %v without", what, b, a)
			}
		}
	}
}

// processors is how long the coordinator and the agents have had a processor.
func (l *loadTest) processors() (used [3]time.Duration) {
	l.Helper()
	for i, pid := range []int{l.pid(), l.agents.cmd.Process.Pid, l.badPID} {
		if pid == 0 {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			l.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		for _, ticks := range strings.Fields(rest)[11:13] { // in user mode and in the kernel's, in hundredths of a second
			n, err := strconv.Atoi(ticks)
			if err != nil {
				l.Fatal(err)
			}
			used[i] += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return used
}

// spent shows what both processes have used since, and for each agent, and how busy the machine is.
func (l *loadTest) spent(since [3]time.Duration) string {
	now := l.processors()
	c, a := now[0]-since[0], now[1]-since[1]
	n := time.Duration(len(l.hosts))
	busy, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("processor seconds: coordinator %.1f (%.1f ms an agent), agents %.1f (%.1f ms each), bad ones %.1f, on %d processors with a load of %s",
		c.Seconds(), milli(c/n), a.Seconds(), milli(a/n), (now[2] - since[2]).Seconds(), runtime.NumCPU(), strings.TrimSpace(string(busy)))
}

// since is what all of the test's processes have used.
func (l *loadTest) since(used [3]time.Duration) (all time.Duration) {
	for i, now := range l.processors() {
		all += now - used[i]
	}
	return all
}

// busy is how long the machine's processors have worked, whoever for.
func (l *loadTest) busy() (all time.Duration) {
	l.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		l.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	for i, ticks := range strings.Fields(first)[1:8] { // user, nice, system, idle, iowait, irq, softirq
		n, err := strconv.Atoi(ticks)
		if err != nil {
			l.Fatal(err)
		}
		if i != 3 && i != 4 {
			all += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return all
}

func (l *loadTest) pid() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.child.Process.Pid
}

// memory is what the coordinator holds.
func (l *loadTest) memory() int64 {
	l.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.pid()))
	if err != nil {
		l.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmHWM:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				l.Fatal(err)
			}
			return kib << 10
		}
	}
	l.Fatal("no VmHWM in /proc/PID/status")
	return 0
}

// checkMemory compares the most that the coordinator ever held before the bad ones came with the most since.
func (l *loadTest) checkMemory(before int64) {
	l.Helper()
	after := l.memory()
	l.Logf("most memory ever resident: %d MiB before the bad agents, %d MiB with them", before>>20, after>>20)
	if most := int64(mostBadMemory + mostEach*len(l.bad)); after-before > most {
		l.Errorf("%d bad agents cost the coordinator %d MiB; they may cost %d", len(l.bad), (after-before)>>20, most>>20)
	}
}

// checkEnds compares how the bad ones were ended with how they must be.
func (l *loadTest) checkEnds(bad *loadChild) {
	l.Helper()
	var look badLook
	bad.ask(loadLimit, loadWord{Do: "look"}, &look)
	for _, k := range badKinds {
		ends := look.Ends[k.name]
		l.Logf("%-40s ended %v, the longest after %.1f s", k.name, ends, look.Longest[k.name].Seconds())
		if look.Acting[k.name] == 0 && len(ends) == 0 {
			continue // there are fewer bad agents than kinds
		}
		if !k.patient && ends[k.ends] == 0 {
			l.Errorf("who %s is never ended as %s, but %v", k.name, k.ends, ends)
		}
		for end := range ends {
			if end != k.ends && end != "Canceled" {
				l.Errorf("who %s is ended as %s; it must be %s", k.name, end, k.ends)
			}
		}
	}
}

// checkLog bounds what the log says of the bad ones.
func (l *loadTest) checkLog() {
	l.Helper()
	minutes := int(time.Since(l.loose)/time.Minute) + 2 // begun ones count
	said := l.said("refused: ") + l.said("a connection came to nothing")
	l.Logf("the log has %d lines about bad agents in %.0f s", said, time.Since(l.loose).Seconds())
	if said == 0 || said > mostSaid*minutes {
		l.Errorf("the log has %d lines about bad agents; it may have 1 to %d", said, mostSaid*minutes)
	}
}

// settle waits until every struck host is recovered.
func (l *loadTest) settle() {
	l.Helper()
	for deadline := time.Now().Add(time.Minute); ; pass(l.Context(), 100*time.Millisecond) {
		out, err := l.client.ShowIncident(l.Context(), &pb.ShowIncidentRequest{})
		if err != nil {
			l.Fatal(err)
		}
		in := out.GetIncident()
		if int(in.GetCounts().GetRecovered()) == len(l.struck) {
			return
		}
		if time.Now().After(deadline) {
			l.Fatalf("the incident does not settle: %v", in)
		}
	}
}

// restart kills the coordinator and starts it again on its journal, and waits until every agent is back.
func (l *loadTest) restart(name string, away time.Duration) {
	l.Helper()
	l.kill()
	pass(l.Context(), away)
	l.serve()
	up, used, busy := time.Now(), l.processors(), l.busy()
	var look loadLook
	l.agents.ask(loadLimit, loadWord{Do: "all", Since: up}, &look)
	took := look.Last.Sub(up)
	l.Logf("restart %s, %v away: all %d agents are back %.1f s after the coordinator; %d dials in all; the most in one second are %d dials and %d connections; %s\n%s",
		name, away, look.Connected, took.Seconds(), sum(look.Dials), slices.Max(look.Dials), slices.Max(look.Came), l.spent(used), histogram(look))
	if look.Connected < len(l.hosts) {
		l.Fatalf("restart %s: %d of %d agents are back after %v; the others: %v", name, look.Connected, len(l.hosts), allLimit, look.Missing)
	}
	if n := sum(look.Dials); n > mostDials*len(l.hosts) {
		l.Errorf("restart %s: %d agents dialled %d times; that is a storm", name, len(l.hosts), n)
	}
	others := float64(l.busy()-busy-l.since(used)) / float64(time.Since(up)) / float64(runtime.NumCPU())
	within := time.Duration(float64(backWithin) / max(1-others, 0.2))
	l.Logf("restart %s: other processes had %.0f %% of the processors meanwhile: %.0f s are allowed", name, 100*others, within.Seconds())
	if took > within {
		l.Errorf("restart %s: the last agent came back after %v; it must within %v", name, took, within)
	}
}

func sum(counts []int) (all int) {
	for _, n := range counts {
		all += n
	}
	return all
}

// histogram shows what came in each second.
func histogram(l loadLook) string {
	var b strings.Builder
	most := max(slices.Max(l.Dials), 1)
	for i, dials := range l.Dials {
		came := 0
		if i < len(l.Came) {
			came = l.Came[i]
		}
		fmt.Fprintf(&b, "  %3d s  %6d dials  %6d connections  %s\n", i, dials, came, strings.Repeat("#", came*60/most))
	}
	return b.String()
}

// close ends the incident.
func (l *loadTest) close() {
	l.Helper()
	ctx := l.Context()
	_, err := l.client.ClearDebt(ctx, &pb.ClearDebtRequest{Debt: "kept-copies"})
	if err != nil && status.Code(err) != codes.NotFound {
		l.Error(err)
	}
	out, err := l.client.Close(ctx, &pb.CloseRequest{})
	if err != nil {
		l.Fatalf("the incident cannot be closed: %v", err)
	}
	if out.GetIncident().GetStatus() != "closed" {
		l.Errorf("the incident ends as %s", out.GetIncident().GetStatus())
	}
	l.kill()
	if out := l.run("journal", "verify"); !strings.HasPrefix(out, "ok") {
		l.Errorf("journal verify says: %s", out)
	}
}
