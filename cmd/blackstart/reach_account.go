package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// reachAccount is what a reach found. Its JSON is a contract for programs: fields are added, none changes.
type reachAccount struct {
	Fleet  string        `json:"fleet"`
	Counts reachCounts   `json:"counts"`
	Agents agentSource   `json:"agents"`
	Took   time.Duration `json:"took"`
	Hosts  []reachedHost `json:"hosts"`

	tiers []string // in recovery order
}

type reachCounts struct {
	Hosts      int `json:"hosts"`
	Repairable int `json:"repairable"` // at least one rung works
	Hands      int `json:"hands"`      // none does
}

// agentSource says who told about the agents.
type agentSource struct {
	Source string `json:"source"`        // "coordinator" or "ssh"
	Why    string `json:"why,omitempty"` // not the coordinator
}

type reachedHost struct {
	server.HostReach
	Agent agentReach `json:"agent"`
}

// agentReach is a host's agent as it was found.
type agentReach struct {
	State     string    `json:"state"`               // one of the agent states
	Source    string    `json:"source"`              // "coordinator", "ssh" or "fleet"
	LastHeard time.Time `json:"last_heard,omitzero"` // by the coordinator
}

// Agent states, in the order in which they are told. The first three are a coordinator's word; those of remedy are seen over SSH.
const (
	agentConnected = "connected"
	agentSilent    = "silent"
	agentNever     = "never-heard"
	agentNone      = "none" // by the fleet file
)

var agentStates = []string{agentConnected, agentSilent, agentNever, remedy.AgentRuns, remedy.AgentStopped, remedy.AgentUnknown, agentNone}

func accountOfReach(f recovery.Fleet, hosts []recovery.Host, found []server.HostReach, told roll) *reachAccount {
	a := &reachAccount{Fleet: f.Name, Agents: agentSource{Source: "coordinator"}}
	if told.agents == nil {
		a.Agents = agentSource{Source: "ssh", Why: recovery.Clean(told.why, 300)}
	}
	for _, t := range f.Tiers {
		a.tiers = append(a.tiers, t.Name)
	}
	for i, h := range found {
		a.Hosts = append(a.Hosts, reachedHost{h, agentOf(hosts[i], h, told)})
		a.Counts.Hosts++
		if h.Verdict == server.Repairable {
			a.Counts.Repairable++
		} else {
			a.Counts.Hands++
		}
	}
	return a
}

// agentOf believes the coordinator before what was seen over SSH.
func agentOf(host recovery.Host, h server.HostReach, told roll) agentReach {
	if !host.Agent {
		return agentReach{State: agentNone, Source: "fleet"}
	}
	if a, ok := told.agents[host.Name]; ok {
		switch {
		case a.GetConnected():
			return agentReach{State: agentConnected, Source: "coordinator", LastHeard: a.GetLastSeen().AsTime()}
		case a.GetLastSeen() != nil:
			return agentReach{State: agentSilent, Source: "coordinator", LastHeard: a.GetLastSeen().AsTime()}
		}
		return agentReach{State: agentNever, Source: "coordinator"}
	}
	state := remedy.AgentUnknown
	for _, r := range h.Rungs {
		if r.Agent == remedy.AgentRuns || r.Agent == remedy.AgentStopped && state == remedy.AgentUnknown {
			state = r.Agent
		}
	}
	return agentReach{State: state, Source: "ssh"}
}

// lackWords are what the things mean that a host may lack.
var lackWords = map[string]string{
	remedy.LackSetsid: "without setsid, so a script may end with the connection",
	remedy.LackDigest: "without sha256sum, shasum or openssl, so scripts over 64 KiB cannot be checked there",
	remedy.LackReboot: "without the command that is to restart them",
	remedy.LackRoom:   "with less than 10 MiB free",

	remedy.LackOwnDisk: "set to boot the rescue system at their next start",
}

func (a *reachAccount) print(c *cobra.Command, all bool) {
	if all {
		a.printEach(c)
	} else {
		a.printFolded(c)
	}
	a.printObstacles(c)
	a.printBeware(c)
	a.printAgents(c)
	a.printVerdicts(c)
}

// fold is rungs that ended alike.
type fold struct {
	tier, rung string
	step       remedy.Step
	class      recovery.Class
	signature  string
}

func (a *reachAccount) printFolded(c *cobra.Command) {
	folds, place := map[fold][]string{}, map[string]int{} // of a rung in its ladder
	var order []fold
	for _, h := range a.Hosts {
		for n, r := range h.Rungs {
			if r.NotTested != "" {
				continue
			}
			place[r.Rung] = max(place[r.Rung], n)
			f := fold{h.Tier, r.Rung, r.Step, r.Class, r.Signature}
			if folds[f] == nil {
				order = append(order, f)
			}
			folds[f] = append(folds[f], h.Host)
		}
	}
	slices.SortStableFunc(order, func(x, y fold) int { // works first, then the most hosts
		return cmp.Or(cmp.Compare(slices.Index(a.tiers, x.tier), slices.Index(a.tiers, y.tier)),
			cmp.Compare(place[x.rung], place[y.rung]), cmp.Compare(x.rung, y.rung),
			cmp.Compare(works(y.class), works(x.class)), cmp.Compare(len(folds[y]), len(folds[x])), cmp.Compare(x.signature, y.signature))
	})
	var rows []table.Row
	for _, f := range order {
		rows = append(rows, table.Row{f.tier, f.rung, len(folds[f]), f.step, resultOf(f.class, f.signature), few(folds[f])})
	}
	if len(rows) > 0 {
		printTable(c, table.Row{"TIER", "RUNG", "HOSTS", "REACHED", "RESULT", "NAMES"}, rows)
	}
}

func works(class recovery.Class) int {
	if class == recovery.Succeeded {
		return 1
	}
	return 0
}

func resultOf(class recovery.Class, signature string) string {
	if class == recovery.Succeeded {
		return "ready"
	}
	return string(class) + ": " + cell(signature, 60)
}

func (a *reachAccount) printEach(c *cobra.Command) {
	var rows []table.Row
	for _, h := range a.Hosts {
		verdict := "by hand"
		if h.Verdict == server.Repairable {
			verdict = "by " + h.Rung
		}
		for _, r := range h.Rungs {
			step, result := string(r.Step), resultOf(r.Class, r.Signature)
			if r.NotTested != "" {
				step, result = "-", "not tested by reach: "+r.NotTested
			}
			rows = append(rows, table.Row{h.Host, h.Tier, verdict, h.Agent.State, r.Rung, step, result})
		}
	}
	printTable(c, table.Row{"HOST", "TIER", "REPAIR", "AGENT", "RUNG", "REACHED", "RESULT"}, rows)
}

// printObstacles says once what to do about each kind of failure.
func (a *reachAccount) printObstacles(c *cobra.Command) {
	type kind struct {
		class     recovery.Class
		signature string
	}
	count, example, differ := map[kind]int{}, map[kind]string{}, map[kind]bool{}
	var order []kind
	untested := map[string]int{}
	for _, h := range a.Hosts {
		for _, r := range h.Rungs {
			k := kind{r.Class, r.Signature}
			switch {
			case r.NotTested != "":
				untested[r.Rung+": "+r.NotTested]++
				continue
			case r.Class == recovery.Succeeded:
				continue
			case count[k] == 0:
				order = append(order, k)
				example[k] = r.Detail
			case example[k] != r.Detail:
				differ[k] = true
			}
			count[k]++
		}
	}
	slices.SortStableFunc(order, func(x, y kind) int { return cmp.Compare(count[y], count[x]) })
	if len(order) > 0 {
		say(c, "\nwhat stands in the way:")
	}
	for _, k := range order {
		eg := ""
		if differ[k] {
			eg = "for one of them: "
		}
		say(c, "  %s (%s): %s%s", resultOf(k.class, k.signature), plural(count[k], "rung"), eg, cell(example[k], longCell))
	}
	if len(untested) > 0 {
		say(c, "\nnot tested by reach:")
	}
	for _, what := range sortedKeys(untested) {
		say(c, "  rung %s (%s)", what, plural(untested[what], "host"))
	}
}

// printBeware names hosts that can be repaired and lack something nevertheless.
func (a *reachAccount) printBeware(c *cobra.Command) {
	lacking := map[string][]string{}
	for _, h := range a.Hosts {
		for _, r := range h.Rungs {
			if r.Class != recovery.Succeeded {
				continue
			}
			for _, what := range r.Lacks {
				if names := lacking[what]; len(names) == 0 || names[len(names)-1] != h.Host {
					lacking[what] = append(names, h.Host)
				}
			}
		}
	}
	if len(lacking) > 0 {
		say(c, "\nto be aware of:")
	}
	for _, what := range sortedKeys(lacking) {
		say(c, "  %s %s: %s", plural(len(lacking[what]), "host"), lackWords[what], few(lacking[what]))
	}
}

func (a *reachAccount) printAgents(c *cobra.Command) {
	count := map[string]int{}
	for _, h := range a.Hosts {
		count[h.Agent.State]++
	}
	var parts []string
	for _, state := range agentStates {
		if count[state] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[state], state))
		}
	}
	from := "by the coordinator"
	if a.Agents.Source != "coordinator" {
		from = "by their processes, seen over SSH; " + a.Agents.Why
	}
	say(c, "\nagents: %s (%s)", strings.Join(parts, ", "), from)
}

func (a *reachAccount) printVerdicts(c *cobra.Command) {
	by := map[string]int{}
	var order, hands []string
	for _, h := range a.Hosts {
		if h.Verdict != server.Repairable {
			hands = append(hands, h.Host)
			continue
		}
		if by[h.Rung] == 0 {
			order = append(order, h.Rung)
		}
		by[h.Rung]++
	}
	if len(hands) > 0 {
		say(c, "only by hand: %s", named(hands))
	}
	var parts []string
	for _, rung := range order {
		parts = append(parts, fmt.Sprintf("%d by rung %s", by[rung], rung))
	}
	line := fmt.Sprintf("%s: %d can be repaired", plural(a.Counts.Hosts, "host"), a.Counts.Repairable)
	if len(parts) > 0 {
		line += " (" + strings.Join(parts, ", ") + ")"
	}
	say(c, "%s, %d only by hand; tried in %s, nothing was changed on any", line, a.Counts.Hands, a.Took.Round(time.Millisecond))
}
