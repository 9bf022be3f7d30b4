//go:build bench

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// peerClient is a way to run one script on many hosts.
type peerClient struct {
	name    string
	kex     string // of OpenSSH's client: peerDefaultKex or peerCurve; "" where it is Go's
	fanouts bool   // its fan-out is tuned
	persist bool   // whether to share connections (ControlPersist) is tuned too
	like    string // it takes the setting that was found for this one
	command func(e *peerEstate, set peerSetting, kex, dir string) peerCall
	answers func(e *peerEstate, out peerSaid) (map[string]peerAnswer, error)
}

// peerCall is how a client is called.
type peerCall struct {
	part  string // of this test binary; "" is a program of its own
	args  []string
	env   []string // beside the caller's
	stdin bool     // the script is its standard input
}

// peerSetting is what is tuned.
type peerSetting struct {
	Fanout  int  `json:"fanout,omitempty"`
	Persist bool `json:"control_persist,omitempty"`
}

func (s peerSetting) String() string {
	var words []string
	if s.Fanout > 0 {
		words = append(words, strconv.Itoa(s.Fanout))
	}
	if s.Persist {
		words = append(words, "ControlPersist")
	}
	if len(words) == 0 {
		return "defaults"
	}
	return strings.Join(words, " ")
}

// peerSaid is what a client printed.
type peerSaid struct{ stdout, stderr string }

// peerAnswer is what a client says of one host.
type peerAnswer struct {
	reached bool
	exit    int
	output  string
}

// peerClients are all clients, in the order in which they run.
func peerClients() []peerClient {
	clients := []peerClient{
		{name: peerBareName, fanouts: true, command: bareCommand, answers: bareAnswers},
		{name: peerOurName, command: runCommand, answers: runAnswers},
		{name: peerOurName + " --forks", fanouts: true, command: runCommand, answers: runAnswers},
	}
	for _, c := range []peerClient{
		{name: "clush", fanouts: true, command: clushCommand, answers: clushAnswers},
		{name: "pssh", fanouts: true, command: psshCommand, answers: psshAnswers},
		{name: "ansible raw", fanouts: true, persist: true, command: ansibleRaw, answers: ansibleAnswers},
		{name: "ansible script", fanouts: true, persist: true, command: ansibleScript, answers: ansibleAnswers},
	} {
		plain := c
		c.kex = peerCurve
		plain.name, plain.kex, plain.like = c.name+", default kex", peerDefaultKex, c.name
		clients = append(clients, c, plain)
	}
	return clients
}

const (
	peerBareName = "bare loop"
	peerOurName  = "blackstart run"
)

// ---- the bare loop -------------------------------------------------------------------------------------------------------

func bareCommand(e *peerEstate, set peerSetting, _, _ string) peerCall {
	return peerCall{part: "bare", stdin: true, args: []string{"/proc/self/exe", e.file("targets"), e.file("known_hosts"), e.key, strconv.Itoa(set.Fanout)}}
}

func bareAnswers(_ *peerEstate, out peerSaid) (map[string]peerAnswer, error) {
	answers := map[string]peerAnswer{}
	for line := range strings.Lines(out.stdout) {
		var a peerBareAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			return nil, fmt.Errorf("not JSON: %q", line)
		}
		answers[a.Host] = peerAnswer{a.Error == "", a.Exit, a.Output}
	}
	return answers, nil
}

// ---- Blackstart: as it comes, which is what its targets are judged by, and with --forks tuned as the others' fan-out is ----

func runCommand(e *peerEstate, set peerSetting, _, dir string) peerCall {
	call := peerCall{args: []string{e.blackstart, "--dir", filepath.Join(dir, "data"), "run", "--script", e.script, "--hosts", "all",
		"--show-output", "--fleet", e.file("fleet.yaml"), "--ssh-key", e.key, "--ssh-agent", "", "--known-hosts", e.file("known_hosts"), "-o", "json"}}
	if set.Fanout > 0 {
		call.args = append(call.args, "--forks", strconv.Itoa(set.Fanout))
	}
	return call
}

func runAnswers(e *peerEstate, out peerSaid) (map[string]peerAnswer, error) {
	var said struct {
		Hosts []struct {
			Host   string
			Class  string
			Exit   *int
			Output string
		}
	}
	if err := json.Unmarshal([]byte(out.stdout), &said); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	names := map[string]string{}
	for _, h := range e.hosts {
		names[e.name(h)] = h.addr
	}
	answers := map[string]peerAnswer{}
	for _, h := range said.Hosts {
		a := peerAnswer{reached: h.Exit != nil, output: h.Output}
		if a.reached {
			a.exit = *h.Exit
		}
		answers[names[h.Host]] = a
	}
	return answers, nil
}

// ---- OpenSSH's followers -------------------------------------------------------------------------------------------------

// withScript runs a command as its users do for a script of this size: the script on standard input.
func withScript(args ...string) peerCall {
	return peerCall{args: append(args, "sh", "-s"), stdin: true}
}

func clushCommand(e *peerEstate, set peerSetting, kex, _ string) peerCall {
	return withScript("clush", "-f", strconv.Itoa(set.Fanout), "-t", seconds(), "-S", "-o", "-F "+e.file("ssh_config-"+kex), "--hostfile", e.file("hosts"))
}

var clushExit = regexp.MustCompile(`^clush: ([0-9.,]+): exited with exit code ([0-9]+)$`)

// clushAnswers reads "HOST: LINE" and, of hosts that did not end with 0, "clush: HOST: exited with exit code N".
func clushAnswers(e *peerEstate, out peerSaid) (map[string]peerAnswer, error) {
	answers := map[string]peerAnswer{}
	for line := range strings.Lines(out.stdout) {
		host, text, ok := strings.Cut(line, ": ")
		if !ok {
			return nil, fmt.Errorf("unexpected line %q", line)
		}
		a := answers[host]
		a.reached, a.output = true, a.output+text
		answers[host] = a
	}
	for line := range strings.Lines(out.stderr) {
		if m := clushExit.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			for host := range strings.SplitSeq(m[1], ",") {
				a := answers[host]
				a.exit, _ = strconv.Atoi(m[2])
				a.reached = a.exit != 255
				answers[host] = a
			}
		}
	}
	return answers, nil
}

func psshCommand(e *peerEstate, set peerSetting, kex, _ string) peerCall {
	return withScript("parallel-ssh", "-p", strconv.Itoa(set.Fanout), "-I", "-i", "-x", "-F "+e.file("ssh_config-"+kex), "-h", e.file("hosts"))
}

var psshHead = regexp.MustCompile(`^\[[0-9]+\] \S+ \[(SUCCESS|FAILURE)\] (\S+)(?: Exited with error code ([0-9]+))?`)

// psshAnswers reads "[N] TIME [SUCCESS|FAILURE] HOST REASON" and what follows it.
func psshAnswers(_ *peerEstate, out peerSaid) (map[string]peerAnswer, error) {
	answers, host := map[string]peerAnswer{}, ""
	for line := range strings.Lines(out.stdout) {
		if m := psshHead.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			host = m[2]
			a := peerAnswer{reached: m[1] == "SUCCESS"}
			if m[3] != "" {
				a.exit, _ = strconv.Atoi(m[3])
				a.reached = a.exit != 255
			}
			answers[host] = a
			continue
		}
		a := answers[host]
		a.output += line
		answers[host] = a
	}
	return answers, nil
}

// ---- Ansible -------------------------------------------------------------------------------------------------------------

func ansibleRaw(e *peerEstate, set peerSetting, kex, dir string) peerCall {
	return ansible(e, set, kex, dir, "raw", e.read(e.script))
}

func ansibleScript(e *peerEstate, set peerSetting, kex, dir string) peerCall {
	return ansible(e, set, kex, dir, "script", e.script)
}

// ansible runs one module ad hoc: no facts are gathered, pipelining is on. Its callback "oneline" would be easier to read, but
// keeps quiet about the exit and output of a script that failed.
func ansible(e *peerEstate, set peerSetting, kex, dir, module, args string) peerCall {
	options := "-F " + e.file("ssh_config-"+kex)
	if set.Persist {
		options += " -o ControlMaster=auto -o ControlPersist=60s"
	}
	config := filepath.Join(dir, "ansible.cfg")
	e.write(config, fmt.Sprintf(`[defaults]
inventory = %s
host_key_checking = True
gathering = explicit
nocows = True
timeout = %s
local_tmp = %s
remote_tmp = %s
[ssh_connection]
pipelining = True
usetty = False
ssh_args = %s
control_path_dir = %s
`, e.file("hosts"), seconds(), filepath.Join(dir, "local"), filepath.Join(dir, "remote"), options, filepath.Join(dir, "cp")))
	return peerCall{
		args: []string{"ansible", "all", "-f", strconv.Itoa(set.Fanout), "-m", module, "-a", args},
		env:  []string{"ANSIBLE_CONFIG=" + config},
	}
}

var (
	ansibleHead = regexp.MustCompile(`(?m)^([0-9.]+) \| ([A-Z]+)!?(?: \| rc=([0-9-]+) >>\n| => |: )`)
	ansibleNote = regexp.MustCompile(`(?m)^An exception occurred during task execution\..*\n?`)
)

// ansibleAnswers reads what an ad-hoc command prints: "HOST | CHANGED | rc=N >>" with the output in the lines below, or
// "HOST | FAILED! => JSON" on several lines.
func ansibleAnswers(_ *peerEstate, out peerSaid) (map[string]peerAnswer, error) {
	answers := map[string]peerAnswer{}
	heads := ansibleHead.FindAllStringSubmatchIndex(out.stdout, -1)
	for i, at := range heads {
		end := len(out.stdout)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		host, state, text := out.stdout[at[2]:at[3]], out.stdout[at[4]:at[5]], out.stdout[at[1]:end]
		var a peerAnswer
		switch {
		case at[6] >= 0:
			a.exit, _ = strconv.Atoi(out.stdout[at[6]:at[7]])
			a.reached = true
			a.output = strings.TrimSpace(ansibleNote.ReplaceAllString(text, ""))
			if a.exit != 0 {
				a.output = strings.TrimSuffix(a.output, "non-zero return code")
			}
		case state != "UNREACHABLE":
			var said struct {
				RC     *int
				Stdout string
			}
			if err := json.NewDecoder(strings.NewReader(text)).Decode(&said); err != nil {
				return nil, fmt.Errorf("no JSON is said of %s: %.200q", host, text)
			}
			if a.output, a.reached = said.Stdout, said.RC != nil; a.reached {
				a.exit = *said.RC
			}
		}
		answers[host] = a
	}
	return answers, nil
}

// ---- judging -------------------------------------------------------------------------------------------------------------

func seconds() string { return strconv.Itoa(int(peerTimeout.Seconds())) }

// peerJudge says what is wrong with the answers: for every living host exit and whole output must be as the script makes
// them, every dead one must be told as not reached, and nothing else may be there.
func peerJudge(hosts []peerHost, want func(peerHost) string, answers map[string]peerAnswer) []string {
	var wrong []string
	for _, h := range hosts {
		a, ok := answers[h.addr]
		switch {
		case !ok:
			wrong = append(wrong, h.addr+": nothing is said of it")
		case h.kind == "dead" && a.reached:
			wrong = append(wrong, h.addr+": is dead and was reached")
		case h.kind == "dead":
		case !a.reached:
			wrong = append(wrong, h.addr+": was not reached")
		case a.exit != h.exit():
			wrong = append(wrong, fmt.Sprintf("%s: exit %d instead of %d", h.addr, a.exit, h.exit()))
		case strings.TrimSpace(a.output) != want(h):
			wrong = append(wrong, fmt.Sprintf("%s: printed %.200q", h.addr, a.output))
		}
	}
	if extra := len(answers) - len(hosts); extra > 0 {
		wrong = append(wrong, fmt.Sprintf("%d hosts more than were asked for", extra))
	}
	return wrong
}

// lastLines are the end of a text, for a message.
func lastLines(text string, n int) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
