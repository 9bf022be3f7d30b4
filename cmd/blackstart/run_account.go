package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Classes that no attempt has: what became of a host that was never tried.
const (
	classRefused    = "refused"     // it cannot take part
	classNotStarted = "not-started" // the run was stopped before its turn
	classUnderWay   = "under-way"   // the run was left in the middle of it
)

// runAccount is a run told to its end; with -o json it is printed as it stands and is a contract.
type runAccount struct {
	Run      string        `json:"run"`
	Dir      string        `json:"dir"`     // the run's folder
	Journal  string        `json:"journal"` // for blackstart journal --journal
	Playbook string        `json:"playbook"`
	Digest   string        `json:"digest"`
	Script   bool          `json:"script"` // a script of one's own: exit 0 is its success
	Reboot   bool          `json:"reboot"`
	Began    time.Time     `json:"began"`
	Took     float64       `json:"took_seconds"`
	Complete bool          `json:"complete"` // every host has its result; otherwise --resume takes the run up
	Totals   runTotals     `json:"totals"`
	Hosts    []hostAccount `json:"hosts"`
	Note     string        `json:"note"`

	restarts string
}

type runTotals struct {
	Chosen    int            `json:"chosen"`
	Succeeded int            `json:"succeeded"`
	Classes   map[string]int `json:"classes"` // every class that there is, with its hosts
}

// hostAccount is one host's end. Exit is there when the script came to its end.
type hostAccount struct {
	Host      string  `json:"host"`
	Rung      string  `json:"rung,omitempty"`
	Class     string  `json:"class"`
	Signature string  `json:"signature,omitempty"`
	Exit      *int    `json:"exit,omitempty"`
	Line      string  `json:"line,omitempty"`        // the script's result line
	Detail    string  `json:"detail,omitempty"`      // one sentence
	File      string  `json:"output_file,omitempty"` // what it printed, whole
	Output    *string `json:"output,omitempty"`      // with --show-output: the beginning of that
	Took      float64 `json:"took_seconds,omitempty"`
	Joined    bool    `json:"joined,omitempty"`
	Rebooted  bool    `json:"rebooted,omitempty"`
}

const claimNote = "exit 0 is a claim: this run has proven nothing. What proves hosts is an incident (`blackstart incident declare`)"

func accountOf(s *recovery.AdHoc, dir string) *runAccount {
	d := s.Declared
	a := &runAccount{Run: s.ID, Dir: dir, Journal: filepath.Join(dir, server.JournalFile), Playbook: d.Playbook.Name, Digest: d.Playbook.Digest,
		Script: d.Plain, Reboot: d.Reboot, Began: s.Began, Complete: !s.Ended.IsZero(), Note: claimNote, restarts: restartNote(&d),
		Totals: runTotals{Chosen: len(d.Hosts), Classes: map[string]int{}}, Hosts: make([]hostAccount, 0, len(d.Hosts))}
	byName := make(map[string]*recovery.AdHocHost, len(s.Hosts))
	last := s.Began
	for _, h := range s.Hosts {
		byName[h.Host.Name] = h
		if h.Attempt.Ended.After(last) {
			last = h.Attempt.Ended
		}
	}
	a.Took = last.Sub(s.Began).Round(time.Millisecond).Seconds()
	for _, c := range d.Hosts {
		h := hostAccount{Host: c.Host, Rung: c.RungName}
		switch at := byName[c.Host]; {
		case c.Refused != "" || at == nil:
			h.Class, h.Detail = classRefused, c.Refused
		case at.Over():
			h.result(at.Attempt.Result, dir)
			h.Detail = strings.Replace(h.Detail, "proof is to come", "this run proves nothing", 1)
		case at.UnderWay():
			h.Class, h.Detail = classUnderWay, "The script may be running there; --resume joins it."
		default:
			h.Class, h.Detail = classNotStarted, "The run was stopped before its turn; nothing was sent to it."
		}
		a.Totals.Classes[h.Class]++
		a.Hosts = append(a.Hosts, h)
	}
	a.Totals.Succeeded = a.Totals.Classes[string(recovery.Succeeded)]
	return a
}

func (h *hostAccount) result(r recovery.Result, dir string) {
	h.Class, h.Signature, h.Line, h.Detail = string(r.Class), r.Signature, r.Line, r.Detail
	h.Joined, h.Rebooted, h.Took = r.Joined, r.Rebooted, r.Took.Round(time.Millisecond).Seconds()
	if r.Output != "" {
		h.File = filepath.Join(dir, filepath.FromSlash(r.Output))
	}
	if r.Output != "" || r.Class == recovery.Succeeded || r.Class == recovery.NothingFound {
		h.Exit = &r.Exit
	}
}

// mostShown bounds what is shown of one host's output; its file has the rest.
const mostShown = 64 << 10

// readOutputs fetches what the hosts printed.
func (a *runAccount) readOutputs() {
	for i := range a.Hosts {
		h := &a.Hosts[i]
		if h.File == "" {
			continue
		}
		text := readStart(h.File)
		h.Output = &text
	}
}

func readStart(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return "[it cannot be read: " + err.Error() + "]"
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostShown+1))
	if err != nil {
		return "[it cannot be read: " + err.Error() + "]"
	}
	cut := ""
	if len(data) > mostShown {
		data, cut = data[:mostShown], "\n[the rest is in "+file+"]\n"
	}
	return strings.ToValidUTF8(string(bytes.ReplaceAll(data, []byte{'\r', '\n'}, []byte{'\n'})), "\uFFFD") + cut
}

// verdict is the command's end.
func (a *runAccount) verdict(resume string) error {
	refused := a.Totals.Classes[classRefused]
	bad := a.Totals.Chosen - a.Totals.Succeeded - refused
	switch {
	case !a.Complete:
		return &outcome{exitFailed, fmt.Sprintf("stopped with %s left; take it up with: %s", plural(a.Totals.Classes[classNotStarted]+a.Totals.Classes[classUnderWay], "host"), resume)}
	case bad > 0:
		return &outcome{exitFailed, fmt.Sprintf("%d of %s did not succeed", bad, plural(a.Totals.Chosen-refused, "host"))}
	case refused > 0:
		return &outcome{exitRefused, fmt.Sprintf("%d of %s could not take part; the others succeeded", refused, plural(a.Totals.Chosen, "chosen host"))}
	}
	return nil
}

// classOrder is how classes are told: what went well first, so that what did not stands next to the prompt.
var classOrder = []string{string(recovery.Succeeded), string(recovery.NothingFound), string(recovery.Failed), string(recovery.TimedOut),
	string(recovery.Unreachable), string(recovery.AuthRefused), string(recovery.HostKeyMismatch), string(recovery.Lost), string(recovery.Cancelled),
	classUnderWay, classNotStarted, classRefused}

// alike are hosts that ended alike.
type alike struct {
	class, signature, detail string
	hosts                    []string
}

// folded groups the hosts by class and signature; refused ones by their reason.
func (a *runAccount) folded() []*alike {
	byKey := map[string]*alike{}
	var list []*alike
	for _, h := range a.Hosts {
		sign := h.Signature
		if h.Class == classRefused {
			sign = h.Detail
		}
		key := h.Class + "\x00" + sign
		g := byKey[key]
		if g == nil {
			g = &alike{class: h.Class, signature: h.Signature, detail: h.Detail}
			byKey[key] = g
			list = append(list, g)
		}
		g.hosts = append(g.hosts, h.Host)
	}
	slices.SortStableFunc(list, func(x, y *alike) int {
		return cmp.Or(cmp.Compare(slices.Index(classOrder, x.class), slices.Index(classOrder, y.class)), cmp.Compare(len(y.hosts), len(x.hosts)))
	})
	return list
}

// fewNamed is how many hosts a line of the account names.
const fewNamed = 4

// few names the first hosts and counts the rest.
func few(names []string) string {
	if len(names) > fewNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:fewNamed], ", "), len(names)-fewNamed)
	}
	return strings.Join(names, ", ")
}

func (a *runAccount) print(c *cobra.Command) {
	if a.Hosts != nil && slices.ContainsFunc(a.Hosts, func(h hostAccount) bool { return h.Output != nil }) {
		a.printOutputs(c)
	}
	var rows []table.Row
	for _, g := range a.folded() {
		what := g.detail
		if g.signature != "" {
			what = g.signature + ": " + what
		}
		rows = append(rows, table.Row{g.class, len(g.hosts), few(g.hosts), cell(what, longCell)})
	}
	printTable(c, table.Row{"CLASS", "HOSTS", "WHICH", "WHAT"}, rows)
	say(c, "\n%d of %s succeeded in %s with %s (%s); %s", a.Totals.Succeeded, plural(a.Totals.Chosen, "host"), tookText(a.Took), a.Playbook, short(a.Digest), a.restarts)
	say(c, "%s", claimNote)
	say(c, "record: %s (journal.db, output/)", a.Dir)
}

func tookText(seconds float64) string {
	if seconds < 60 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return span(time.Duration(seconds * float64(time.Second)))
}

// printOutputs shows what the hosts printed; the same output is shown once.
func (a *runAccount) printOutputs(c *cobra.Command) {
	byText := map[string][]string{}
	var order []string
	for _, h := range a.Hosts {
		if h.Output == nil {
			continue
		}
		key := h.Class + "\x00" + *h.Output
		if byText[key] == nil {
			order = append(order, key)
		}
		byText[key] = append(byText[key], h.Host)
	}
	for _, key := range order {
		class, text, _ := strings.Cut(key, "\x00")
		hosts := byText[key]
		head := few(hosts)
		if len(hosts) > 1 {
			head += fmt.Sprintf(" (%d hosts)", len(hosts))
		}
		say(c, "---- %s: %s", head, class)
		for line := range strings.Lines(text) {
			say(c, "%s", cleanLine(strings.TrimSuffix(line, "\n")))
		}
		say(c, "")
	}
}

// cleanLine makes a line of a host's output safe to show. Columns stay where they are in lines that are plain text.
func cleanLine(line string) string {
	const most = 1000
	line = strings.ReplaceAll(line, "\t", "        ")
	if len(line) <= most && utf8.ValidString(line) && strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) < 0 {
		return line
	}
	return recovery.Clean(line, most)
}
