//go:build bench

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peerTable is one scenario's figures.
type peerTable struct {
	Scenario string     `json:"scenario"`
	Title    string     `json:"title"`
	Hosts    int        `json:"hosts"`
	Rows     []*peerRow `json:"clients"`
}

// peerRow is one client in a scenario.
type peerRow struct {
	Client  string      `json:"client"`
	Setting peerSetting `json:"setting"`
	Runs    []peerCost  `json:"runs"`            // the right ones
	Wrong   []string    `json:"wrong,omitempty"` // what was wrong in the others

	client peerClient
}

func (r *peerRow) wall() time.Duration {
	return peerMedian(r.Runs, func(c peerCost) time.Duration { return c.Wall })
}
func (r *peerRow) cpu() time.Duration {
	return peerMedian(r.Runs, func(c peerCost) time.Duration { return c.CPU })
}
func (r *peerRow) hostsCPU() time.Duration {
	return peerMedian(r.Runs, func(c peerCost) time.Duration { return c.HostsCPU })
}

// peerMedian is the middle of the runs' figures, or the mean of the two in the middle.
func peerMedian(runs []peerCost, of func(peerCost) time.Duration) time.Duration {
	if len(runs) == 0 {
		return 0
	}
	all := make([]time.Duration, 0, len(runs))
	for _, r := range runs {
		all = append(all, of(r))
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}

// row is a client's, when it was right at least once.
func (t *peerTable) row(client string) *peerRow {
	for _, r := range t.Rows {
		if r.Client == client && len(r.Runs) > 0 {
			return r
		}
	}
	return nil
}

// markdown is the table as docs/benchmarks.md holds it.
func (t *peerTable) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "\n### %d targets: %s\n\n", t.Hosts, t.Title)
	rows := [][]string{
		{"client", "fan-out", "right", "wall, s", "spread", "× bare", "× Blackstart", "client CPU, s", "× bare", "hosts' CPU, s"},
		{"---", "---", "---", "--:", "--:", "--:", "--:", "--:", "--:", "--:"},
	}
	bare, ours := t.row(peerBareName), t.row(peerOurName)
	for _, r := range t.Rows {
		right := fmt.Sprintf("%d/%d", len(r.Runs), len(r.Runs)+len(r.Wrong))
		if len(r.Runs) == 0 {
			rows = append(rows, []string{r.Client, r.Setting.String(), right, "WRONG", "", "", "", "", "", ""})
			continue
		}
		rows = append(rows, []string{
			r.Client, r.Setting.String(), right, peerSeconds(r.wall()), r.spread(),
			peerRatio(r.wall(), bare, (*peerRow).wall), peerRatio(r.wall(), ours, (*peerRow).wall),
			peerSeconds(r.cpu()), peerRatio(r.cpu(), bare, (*peerRow).cpu), peerSeconds(r.hostsCPU()),
		})
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			fmt.Fprint(&out, "| ", cell, strings.Repeat(" ", width[i]-len([]rune(cell))), " ")
		}
		out.WriteString("|\n")
	}
	for _, r := range t.Rows {
		for _, wrong := range r.Wrong {
			fmt.Fprintf(&out, "\n%s was wrong once, which has no time: %s\n", r.Client, wrong)
		}
	}
	if peerKinds[t.Scenario].server == "go" {
		out.WriteString("\nThis server has no sntrup761: OpenSSH's clients agree on curve25519 with it by default too.\n")
	}
	return out.String()
}

func (r *peerRow) spread() string {
	walls := make([]time.Duration, 0, len(r.Runs))
	for _, c := range r.Runs {
		walls = append(walls, c.Wall)
	}
	return peerSeconds(slices.Min(walls)) + "–" + peerSeconds(slices.Max(walls))
}

func peerSeconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) }

func peerRatio(d time.Duration, to *peerRow, of func(*peerRow) time.Duration) string {
	if to == nil || of(to) == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds()/of(to).Seconds(), 'f', 2, 64)
}

// peerTarget is something that Blackstart promises, and whether this run kept it.
type peerTarget struct {
	Promise string `json:"promise"`
	Figure  string `json:"figure"`
	Met     bool   `json:"met"`
}

// peerTargets judges the promises that the tables allow to judge.
func peerTargets(tables []*peerTable) []peerTarget {
	var targets []peerTarget
	var calm *peerRow
	for _, t := range tables {
		ours, bare := t.row(peerOurName), t.row(peerBareName)
		if ours == nil {
			continue
		}
		if t.Scenario == "sshd" {
			calm = ours
		}
		for _, peer := range t.Rows {
			if peer = t.row(peer.Client); peer == nil || peer == bare || strings.HasPrefix(peer.Client, peerOurName) {
				continue
			}
			targets = append(targets, peerTarget{
				fmt.Sprintf("%s: wall ahead of %s", t.Scenario, peer.Client),
				peerSeconds(ours.wall()) + " s against " + peerSeconds(peer.wall()) + " s", ours.wall() < peer.wall(),
			})
		}
		limit := map[string]float64{"sshd": 1.25, "go": 2}[t.Scenario]
		if bare != nil && limit > 0 {
			targets = append(targets, peerAtMost(t.Scenario+": wall", ours.wall(), bare.wall(), limit))
		}
		if bare != nil {
			targets = append(targets, peerAtMost(t.Scenario+": client CPU", ours.cpu(), bare.cpu(), 2))
		}
		if t.Scenario == "bad" && calm != nil {
			more := ours.wall() - calm.wall()
			targets = append(targets, peerTarget{
				fmt.Sprintf("bad: wall at most one timeout (%s s) above the run without dead hosts", seconds()),
				peerSeconds(more) + " s above", more <= peerTimeout,
			})
		}
	}
	return targets
}

func peerAtMost(what string, ours, bare time.Duration, limit float64) peerTarget {
	ratio := ours.Seconds() / bare.Seconds()
	return peerTarget{fmt.Sprintf("%s at most %g × the bare loop", what, limit), strconv.FormatFloat(ratio, 'f', 2, 64) + " ×", ratio <= limit}
}

// report prints what the targets were and whether they were met. It fails when a result of ours was wrong, and when a peer was
// never right, which may be our mistake in calling it.
func (b *peerBench) report() {
	b.Helper()
	targets := peerTargets(b.tables)
	fmt.Print("\n| target | figure | |\n| --- | --: | --- |\n")
	for _, t := range targets {
		fmt.Printf("| %s | %s | %s |\n", t.Promise, t.Figure, map[bool]string{true: "met", false: "**not met**"}[t.Met])
	}
	fmt.Println("\nMeasured on:", peerMachine())
	for _, t := range b.tables {
		for _, r := range t.Rows {
			if len(r.Runs) == 0 || r.Client == peerBareName || strings.HasPrefix(r.Client, peerOurName) {
				for _, wrong := range r.Wrong {
					b.Errorf("%s, %s: %s", t.Scenario, r.Client, wrong)
				}
			}
		}
	}
}

// save writes every run so far to a file when that is asked for.
func (b *peerBench) save() {
	b.Helper()
	file := os.Getenv("BLACKSTART_BENCH_JSON")
	if file == "" {
		return
	}
	text, err := json.MarshalIndent(map[string]any{"machine": peerMachine(), "runs": b.runs, "tables": b.tables, "targets": peerTargets(b.tables)}, "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		b.Fatal(err)
	}
}

// peerMachine says what the figures belong to.
func peerMachine() string {
	words := []string{strconv.Itoa(runtime.NumCPU()) + " cores", runtime.Version()}
	for _, ask := range [][]string{{"uname", "-r"}, {"ssh", "-V"}, {"clush", "--version"}, {"parallel-ssh", "--version"}, {"ansible", "--version"}} {
		out, err := exec.Command(ask[0], ask[1:]...).CombinedOutput()
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if ask[0] == "parallel-ssh" {
			line = "pssh " + line
		}
		words = append(words, line)
	}
	return strings.Join(words, ", ")
}
