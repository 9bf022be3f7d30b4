//go:build e2e && linux

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestNamespaces is the drill on real parts: 26 hosts of three sites, each in a network namespace of its own with a real sshd,
// the built agent and a disk whose bad file makes it crash and boot again and again; the built coordinator and its responder
// on a laptop that reaches one site through a jump host only; no DNS anywhere. Some hosts are as awkward as those in the
// field, and while scripts run the coordinator is killed. What the report says at the end is held against the disks.
func TestNamespaces(t *testing.T) {
	if os.Getenv(worldDir) == "" {
		runInWorld(t, worldLimit)
		return
	}
	e := newSites(t)
	e.checkNoNames()
	e.run("init", "--ip", laptopIP, "--ip", lineInnerIP)
	e.run("agent", "issue", "--fleet", e.fleet)
	e.giveIdentities()
	e.fillDisk()
	e.serve()
	for _, m := range e.machines {
		m.power(t)
	}
	e.jump.power(t)

	e.until("every agent was heard from two boots at least, with what is on its disk", e.agentsHeard)
	e.checkScenes()
	e.until("the declaration finds what is on the disks", e.declare)
	e.run("incident", "approve", "--plan", e.incident().Digest)
	e.play(e.crashed(), e.onBadLine(), e.cutOff(), e.diskFull(), e.killed(), e.settled())

	e.checkDisks()
	e.checkSpecials()
	e.close()
	e.checkReport()
	e.stop()
	e.serving = false
	if out := e.run("journal", "audit"); !strings.Contains(out, "kept ") {
		t.Errorf("journal audit says %q", out)
	}
	if out := e.run("journal", "verify"); !strings.Contains(out, "entries") {
		t.Errorf("journal verify says %q", out)
	}
	for _, w := range e.watches {
		for _, p := range w.seen() {
			t.Errorf("in namespace %s somebody asked a name server: % x", w.ns, p)
		}
	}
}

const (
	laptopIP    = "10.99.0.2"
	jumpIP      = "10.9.0.2"
	lineIP      = "10.1.0.250" // where the host behind the bad line is reached
	lineInnerIP = "10.1.9.1"   // where that host reaches the coordinator
	worldSeed   = 20260115
)

// The hosts that are there for something. All others are plain.
const (
	certified  = "hall02"  // has a host certificate
	noisy      = "hall03"  // a login banner, a slow shell start-up file, words on stderr
	strictHost = "hall04"  // umask 077 for everything, /tmp noexec
	cutHost    = "hall05"  // loses its link in mid-attempt
	badLine    = "hall06"  // behind 200 ms, stalls and resets
	crashHost  = "hall07"  // crashes in mid-attempt
	noSFTP     = "depot02" // sshd without the subsystem
	fullDisk   = "depot03" // not a byte is free
	rotated    = "depot04" // another host key than the responders know: stays with people
	unhit      = "depot07" // never had the bad file
)

// agentless hosts have no agent: their proof is fetched over SSH.
var agentless = []string{"depot06", "vault12"}

// sites is the estate of the test and its responder.
type sites struct {
	realEstate
	machines []*machine // of the fleet, by name
	jump     *machine
	byName   map[string]*machine
	line     *faultLine
	watches  []*nameWatch
	joinable []*machine // whose scripts ran when the coordinator was killed
	log      string     // what the coordinator says
	serving  bool
	view     map[string]hostView // of the last look; nil while no coordinator answers
	began    time.Time
	report   struct{ json, md string }
}

// hostView is what the test reads of a host in an incident.
type hostView struct {
	Name, Phase, Reason, Scope string
	Connected                  bool
	Attempts                   []struct{ ID, Class, Signature, Detail string }
}

// newSites makes the world: the network, the machines' disks, the fleet file and the responder's keys.
func newSites(t *testing.T) *sites {
	t.Helper()
	dir := enterWorld(t)
	e := &sites{byName: map[string]*machine{}, log: filepath.Join(dir, "serve.log"), began: time.Now()}
	e.realEstate = realEstate{t: t, dir: dir, binary: filepath.Join(dir, "blackstart"), addr: laptopIP + ":7443", key: filepath.Join(dir, "id_ed25519"),
		fleet: filepath.Join(dir, "fleet.yaml"), spawn: func(c *exec.Cmd) error { return within("laptop", c.Start) }}
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", e.key)
	for _, site := range []struct {
		name string
		net  int
		n    int
	}{{"hall", 1, 7}, {"depot", 2, 7}, {"vault", 3, 12}} {
		for i := 1; i <= site.n; i++ {
			name := fmt.Sprintf("%s%02d", site.name, i)
			m := e.machine(name, fmt.Sprintf("10.%d.0.%d", site.net, 10+i))
			m.port = [2]string{"router", "p-" + name}
			if site.name == "vault" {
				m.port[0] = "jump"
			}
			e.machines = append(e.machines, m)
			e.byName[name] = m
		}
	}
	e.jump = e.machine("jump", jumpIP)
	e.jump.port = [2]string{"router", "p-jump"}
	e.network()
	e.disks()
	e.specials()
	e.trust()
	e.fleetFile()
	e.playbook()
	e.countExecutions()
	t.Cleanup(e.dump)
	return e
}

func (e *sites) machine(name, addr string) *machine {
	return &machine{name: name, ns: name, addr: addr, disk: filepath.Join(e.dir, "disks", name), tools: filepath.Join(e.dir, "tools"), umask: "022",
		coordinator: e.addr, up: 12 * time.Second, random: rand.New(rand.NewPCG(worldSeed, uint64(len(e.machines)))), console: filepath.Join(e.dir, name+".console")}
}

// network lays the cables: a switch per site, a router between them and the laptop; the vault hangs on its jump host, which
// lets answers to agents in and nothing else; one host of the hall hangs on a bad line.
func (e *sites) network() {
	var n network
	namespaces := []string{"router", "laptop", "line"}
	for _, m := range append(slices.Clone(e.machines), e.jump) {
		namespaces = append(namespaces, m.ns)
	}
	for _, ns := range namespaces {
		n.namespace(ns)
	}
	n.cable("router", "p-laptop", "laptop", "eth0")
	n.cable("router", "p-line", "line", "eth0")
	for _, m := range append(slices.Clone(e.machines), e.jump) {
		if m.name == badLine {
			m.port = [2]string{"line", "eth1"}
		}
		n.cable(m.port[0], m.port[1], m.ns, "eth0")
	}
	n.build(e.t)
	for _, ns := range namespaces {
		inNS(e.t, ns, "link set lo up")
	}
	router := []string{"link add hall type bridge", "link add depot type bridge", "addr add 10.1.0.1/24 dev hall", "addr add 10.2.0.1/24 dev depot",
		"link set hall up", "link set depot up", "addr add 10.99.0.1/30 dev p-laptop", "link set p-laptop up",
		"addr add 10.9.0.1/30 dev p-jump", "link set p-jump up", "link set p-line master hall", "link set p-line up"}
	jump := []string{"addr add " + jumpIP + "/30 dev eth0", "link set eth0 up", "route add default via 10.9.0.1", "link add vault type bridge", "addr add 10.3.0.1/24 dev vault", "link set vault up",
		"rule add pref 10 iif eth0 to 10.3.0.0/24 ipproto tcp sport 7443 lookup main", "rule add pref 11 iif eth0 to 10.3.0.0/24 prohibit"}
	for _, m := range e.machines {
		site := strings.TrimRight(m.name, "0123456789")
		switch {
		case m.name == badLine:
			inNS(e.t, m.ns, "addr add 10.1.9.2/30 dev eth0", "link set eth0 up", "route add default via "+lineInnerIP)
			continue
		case site == "vault":
			jump = append(jump, "link set "+m.port[1]+" master vault")
		default:
			router = append(router, "link set "+m.port[1]+" master "+site)
		}
		gateway := m.addr[:strings.LastIndex(m.addr, ".")] + ".1"
		inNS(e.t, m.ns, "addr add "+m.addr+"/24 dev eth0", "link set eth0 up", "route add default via "+gateway)
	}
	inNS(e.t, "router", router...)
	inNS(e.t, "router", "route add 10.3.0.0/24 via "+jumpIP)
	inNS(e.t, "jump", jump...)
	inNS(e.t, "laptop", "addr add "+laptopIP+"/30 dev eth0", "link set eth0 up", "route add default via 10.99.0.1")
	inNS(e.t, "line", "addr add "+lineIP+"/24 dev eth0", "link set eth0 up", "route add default via 10.1.0.1", "addr add "+lineInnerIP+"/30 dev eth1", "link set eth1 up")
	forwards(e.t, "router")
	forwards(e.t, "jump")
	for _, ns := range namespaces {
		e.watches = append(e.watches, watchNames(e.t, ns))
	}
}

// disks lays what is on every machine's disk: bad and good content as in the other test, and the right to log in.
func (e *sites) disks() {
	public, err := os.ReadFile(e.key + ".pub")
	if err != nil {
		e.t.Fatal(err)
	}
	e.jump.coordinator = ""
	e.jump.lay(e.t, "", string(public))
	for _, m := range e.machines {
		size := ""
		if m.name == fullDisk {
			size = "2m"
		}
		m.lay(e.t, size, string(public))
		h := realHost{root: m.disk}
		h.lay(e.t)
		m.bad, m.good = h.bad, h.good
		if m.name == unhit {
			if err := os.Remove(m.bad); err != nil {
				e.t.Fatal(err)
			}
			m.bad = ""
		}
		if slices.Contains(agentless, m.name) {
			m.coordinator = ""
		}
		if m.name >= "vault03" || m.name == cutHost || m.name == crashHost || m.name == badLine {
			m.hold(e.t)
		}
	}
}

// specials makes the awkward hosts awkward.
func (e *sites) specials() {
	t := e.t
	ca := filepath.Join(e.dir, "host-ca")
	command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
	m := e.byName[certified]
	command(t, "ssh-keygen", "-q", "-s", ca, "-I", certified, "-h", "-n", certified, "-V", "-1h:+1h", m.path("etc/ssh/ssh_host_ed25519_key.pub"))
	m.sshd(t, "PidFile none\n", "PidFile none\nHostCertificate /etc/ssh/ssh_host_ed25519_key-cert.pub\n")

	m = e.byName[noisy]
	m.sshd(t, "PidFile none\n", "PidFile none\nBanner /etc/issue.net\n")
	writeFile(t, m.path("etc/issue.net"), strings.Repeat("*** This system is for authorised use only. \x1b[31mUnbefugten ist der Zugang verboten.\x1b[0m ***\n", 20), 0o644)
	writeFile(t, m.path("root/.bashrc"), "sleep 2\necho 'backup: last run failed' >&2\n", 0o644)
	m.up = 20 * time.Second

	m = e.byName[strictHost]
	m.umask, m.tmpOptions = "077", "mode=1777,size=1m,noexec"
	writeFile(t, m.path("root/.bashrc"), "umask 077\n", 0o644)

	e.byName[noSFTP].sshd(t, "Subsystem sftp "+sftpServer+"\n", "")

	m = e.byName[badLine]
	m.up, m.coordinator = 40*time.Second, lineInnerIP+":7443"
	e.line = &faultLine{t: t, ns: "line", to: "10.1.9.2:22", delay: 200 * time.Millisecond, seed: worldSeed, cut: func(n int) int {
		if n == 1 {
			return 1500 // in the key exchange
		}
		return 0
	}}
	e.line.listen(lineIP + ":22")
	home := &faultLine{t: t, ns: "line", to: e.addr, delay: 200 * time.Millisecond, seed: worldSeed + 1, cut: func(n int) int {
		if n == 2 {
			return 1500
		}
		return 0
	}}
	home.listen(lineInnerIP + ":7443")
}

// trust writes what the responder knows of host keys. Of one host it knows the key that it had last year.
func (e *sites) trust() {
	var known strings.Builder
	for _, m := range append(slices.Clone(e.machines), e.jump) {
		switch m.name {
		case certified:
			ca, err := os.ReadFile(filepath.Join(e.dir, "host-ca.pub"))
			if err != nil {
				e.t.Fatal(err)
			}
			fmt.Fprintf(&known, "@cert-authority %s,%s %s", m.addr, m.name, ca)
		case rotated:
			m.up = 2 * time.Minute // from its second boot on, so that it is met with its sshd listening, and not in mid-boot
			old := filepath.Join(e.dir, "old-key")
			command(e.t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", old)
			key, err := os.ReadFile(old + ".pub")
			if err != nil {
				e.t.Fatal(err)
			}
			fmt.Fprintf(&known, "%s %s", m.addr, key)
		default:
			fmt.Fprintf(&known, "%s %s\n", e.reachedAt(m), m.hostKey(e.t))
		}
	}
	e.write(e.knownHosts(), known.String())
	e.write(filepath.Join(e.dir, "ssh_config"), fmt.Sprintf(`Host hall02
  HostName %s
  HostKeyAlias hall02
Host 10.3.0.*
  ProxyJump root@%s
Host *
  User root
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
  ConnectTimeout 5
`, e.byName[certified].addr, jumpIP, e.key, e.knownHosts()))
}

func (e *sites) knownHosts() string { return filepath.Join(e.dir, "known_hosts") }

// reachedAt is the address at which the laptop reaches a machine.
func (e *sites) reachedAt(m *machine) string {
	if m.name == badLine {
		return lineIP
	}
	return m.addr
}

func (e *sites) fleetFile() {
	var hosts strings.Builder
	for _, m := range e.machines {
		site := strings.TrimRight(m.name, "0123456789")
		ladder := "direct"
		if site == "vault" {
			ladder = "jumped"
		}
		fmt.Fprintf(&hosts, "  - {name: %s, service: %s-apps, site: %s, address: %s, agent: %t, ladder: %s}\n",
			m.name, site, site, e.reachedAt(m), !slices.Contains(agentless, m.name), ladder)
	}
	e.write(e.fleet, fmt.Sprintf(`fleet: three-sites
# Hosts that crash while they are worked on fail and are silent for a while: that is no reason to stop soon.
policy: {max-attempts: 12, tries-per-rung: 4, backoff: 1s, backoff-max: 4s, same-signature: 50, incident-failures: 100%%}
tiers:
  - {name: first, rto: 1h, gate: {success: 50%%, soak: 1s, max-failed: 50%%, max-unreachable: 50%%}}
  - {name: second, rto: 2h, gate: {success: 50%%, soak: 1s, max-failed: 50%%, max-unreachable: 50%%}}
sites: {hall: 16, depot: 16, vault: 16}
services:
  - {name: hall-apps, title: What all else needs, tier: first}
  - {name: depot-apps, title: The depot, tier: second, needs: [hall-apps]}
  - {name: vault-apps, title: The vault, tier: second, needs: [hall-apps]}
ladders:
  direct:
    - {name: ssh, kind: ssh, environment: linux, reboot-command: %[1]q}
  jumped:
    - {name: ssh, kind: ssh, environment: linux, jump: ["root@%[2]s:22"], reboot-command: %[1]q}
defaults: {os: linux, data: none, edr: {product: edr-linux}}
hosts:
%[3]s`, rebootCommand, jumpIP, &hosts))
}

// countExecutions changes the playbook's copy: it wants a reboot, waits for proof no longer than the test likes, and its
// script notes on the disk when it begins and how it ends, and waits while the test holds it.
func (e *sites) countExecutions() {
	book := filepath.Join(e.dir, "playbooks", "edr-content-linux")
	for file, changes := range map[string][]string{
		"manifest.yaml": {"reboot: helps", "reboot: required", "verify-within: 1m", "verify-within: 30s"},
		"repair.sh": {"bad=0 good=0 other=0 removed=0 kept=0\n", `bad=0 good=0 other=0 removed=0 kept=0
read -r boot </proc/sys/kernel/random/boot_id
printf 'begin %s %s\n' "$BLACKSTART_ATTEMPT" "$boot" >>/var/lab/runs
while [ -e /var/lab/hold ]; do sleep 0.1; done
`, "finish() {\n", `finish() {
	printf '%s %s %s\n' "$2" "$BLACKSTART_ATTEMPT" "$boot" >>/var/lab/runs
`},
	} {
		data, err := os.ReadFile(filepath.Join(book, file))
		if err != nil {
			e.t.Fatal(err)
		}
		text := string(data)
		for i := 0; i < len(changes); i += 2 {
			if strings.Count(text, changes[i]) != 1 {
				e.t.Fatalf("the example's %s has changed: %q is not there once", file, changes[i])
			}
			text = strings.Replace(text, changes[i], changes[i+1], 1)
		}
		e.write(filepath.Join(book, file), text)
	}
}

// giveIdentities puts each agent's certificate on its machine's disk.
func (e *sites) giveIdentities() {
	for _, m := range e.machines {
		if m.coordinator == "" {
			continue
		}
		for from, to := range map[string]string{"ca.pem": "ca.pem", "agents/" + m.name + ".pem": m.name + ".pem", "agents/" + m.name + "-key.pem": m.name + "-key.pem"} {
			data, err := os.ReadFile(filepath.Join(e.dir, "bs", from))
			if err != nil {
				e.t.Fatal(err)
			}
			writeFile(e.t, m.path("var/lib/blackstart-agent/"+to), string(data), 0o600)
		}
	}
}

// fillDisk leaves not a byte free on one machine's disk.
func (e *sites) fillDisk() {
	f, err := os.Create(e.byName[fullDisk].path("var/log/old.log"))
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
}

// serve starts the coordinator on the laptop.
func (e *sites) serve() {
	e.t.Helper()
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer log.Close()
	e.server = exec.Command(e.binary, "--dir", filepath.Join(e.dir, "bs"), "serve", "--fleet", e.fleet, "--listen", e.addr,
		"--playbooks", filepath.Join(e.dir, "playbooks"), "--ssh-key", e.key, "--ssh-agent", "", "--known-hosts", e.knownHosts())
	e.server.Stdout, e.server.Stderr = log, log
	if err := e.spawn(e.server); err != nil {
		e.t.Fatal(err)
	}
	e.serving = true
	e.until("the coordinator listens", func() bool {
		return within("laptop", func() error {
			c, err := net.DialTimeout("tcp", e.addr, time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err
		}) == nil
	})
}

// until asks until what is wanted holds.
func (e *sites) until(what string, ok func() bool) {
	e.t.Helper()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Since(e.began) > worldLimit {
			e.t.Fatalf("waited in vain for: %s", what)
		}
		<-tick.C
	}
	e.t.Logf("%5.1f s: %s", time.Since(e.began).Seconds(), what)
}

// look asks the coordinator how all hosts stand.
func (e *sites) look() {
	e.t.Helper()
	e.view = nil
	if !e.serving {
		return
	}
	var list struct{ Hosts []hostView }
	e.decode(e.run("host", "list", "-o", "json"), &list)
	e.view = map[string]hostView{}
	for _, h := range list.Hosts {
		e.view[h.Name] = h
	}
}

func (e *sites) dump() {
	if !e.t.Failed() {
		return
	}
	if e.serving {
		for _, args := range [][]string{{"incident", "show"}, {"host", "list"}, {"agent", "list"}} {
			out, _ := e.try(args...)
			e.t.Logf("blackstart %s:\n%s", strings.Join(args, " "), out)
		}
	}
	if e.report.md == "" && e.serving {
		e.report.md, _ = e.try("report", "-o", "md")
	}
	e.t.Logf("the report:\n%s", e.report.md)
	e.t.Logf("the coordinator's log:\n%s", tail(e.log, 100))
	for _, m := range append(slices.Clone(e.machines), e.jump) {
		runs := tail(m.path("var/lab/runs"), 20)
		if h, ok := e.view[m.name]; ok && h.Phase == string(recovery.Recovered) {
			continue
		}
		e.t.Logf("%s: boots %v, runs:\n%s\nconsole:\n%s", m.name, m.history(), runs, tail(m.console, 25))
	}
}
