package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/journal"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/recovery/audit"
)

func newJournal(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "journal", Short: "Verify, audit, dump or export the journal of incidents",
		Long:    "The journal is the one file that holds every incident. These commands read it; while a coordinator has it open they are refused, and a copy can be read with --journal.",
		Example: "  blackstart journal verify\n  blackstart journal export > journal.jsonl"}
	c.PersistentFlags().StringVar(&file, "journal", "", "the journal `file`; default the one in --dir")
	sub := func(use, short, example string, run func(*cobra.Command, *journal.Journal, string) error) *cobra.Command {
		s := &cobra.Command{
			Use: use, Short: short, Example: example, Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				path := file
				if path == "" {
					path = o.path("data", server.JournalFile)
				}
				defer o.busy(c, "reading "+path)()
				j, err := journal.OpenReadOnly(path)
				if errors.Is(err, fs.ErrNotExist) {
					return usage("there is no journal %s: name the folder that `blackstart serve` uses with --dir, or the file with --journal", path)
				}
				if err != nil {
					return err
				}
				defer j.Close()
				return run(c, j, arg(args, 0))
			},
		}
		if use == "verify" || use == "audit" {
			s.Args = cobra.NoArgs
		}
		return s
	}
	c.AddCommand(
		sub("verify", "Check every entry's hash and number; says where a journal breaks", "  blackstart journal verify\n  blackstart journal verify --journal copy.db -o json",
			func(c *cobra.Command, j *journal.Journal, _ string) error {
				if o.json() {
					return verifyJSON(c, j)
				}
				return j.Verify(c.OutOrStdout())
			}),
		sub("audit", "Hold every incident against each promise of the engine, by rules of their own; says which was broken, and where", "  blackstart journal audit\n  blackstart journal audit --journal copy.db -o json",
			func(c *cobra.Command, j *journal.Journal, _ string) error { return auditJournal(c, o, j) }),
		sub("dump [INCIDENT]", "Print one line an entry; with -o json the same as export", "  blackstart journal dump | less\n  blackstart journal dump 2024-07-19-1",
			func(c *cobra.Command, j *journal.Journal, id string) error {
				if o.json() {
					return j.Export(c.OutOrStdout(), id)
				}
				return j.Dump(c.OutOrStdout(), id)
			}),
		sub("export [INCIDENT]", "Print the entries as JSON lines that anyone can verify without this program", "  blackstart journal export > journal.jsonl",
			func(c *cobra.Command, j *journal.Journal, id string) error { return j.Export(c.OutOrStdout(), id) }),
	)
	return c
}

// verifiedIncident is one line of `journal verify -o json`.
type verifiedIncident struct {
	Incident string `json:"incident"`
	OK       bool   `json:"ok"`
	Entries  int    `json:"entries"` // that were read, in order, before the end or the break
	Hash     string `json:"hash"`    // of the last of them: kept elsewhere, it vouches for all
	Problem  string `json:"problem,omitempty"`
}

// verifyJSON tells what Verify tells, for programs; its error, and so the exit code, is the same.
func verifyJSON(c *cobra.Command, j *journal.Journal) error {
	broken := j.Verify(io.Discard)
	account := struct {
		OK        bool               `json:"ok"`
		Incidents []verifiedIncident `json:"incidents"`
		Problem   string             `json:"problem,omitempty"`
	}{OK: broken == nil, Incidents: []verifiedIncident{}}
	if broken != nil {
		account.Problem = broken.Error()
	}
	ids, _ := j.Incidents() // its error is among Verify's
	for _, id := range ids {
		v := verifiedIncident{Incident: id, OK: true}
		if err := j.Read(id, func(recovery.Entry) error { v.Entries++; return nil }); err != nil {
			v.OK, v.Problem = false, err.Error()
		}
		var last lastLine
		_ = j.Export(&last, id) // ends where Read ended
		var line struct {
			Hash string `json:"hash"`
		}
		if len(last.line) > 0 && json.Unmarshal(last.line, &line) == nil {
			v.Hash = line.Hash
		}
		account.Incidents = append(account.Incidents, v)
	}
	if err := printJSON(c, account); err != nil {
		return err
	}
	return broken
}

// auditedIncident is one line of `journal audit`.
type auditedIncident struct {
	Incident string `json:"incident"`
	Entries  int    `json:"entries"`
	Kept     bool   `json:"kept"`              // every promise, as far as the journal goes
	Promise  string `json:"promise,omitempty"` // the first that was broken
	Entry    uint64 `json:"entry,omitempty"`   // that broke it
	Host     string `json:"host,omitempty"`
	Detail   string `json:"detail,omitempty"`
}

// auditJournal lets the auditor read every incident. What it finds is an error, and so the exit code.
func auditJournal(c *cobra.Command, o *options, j *journal.Journal) error {
	ids, err := j.Incidents()
	if err != nil {
		return err
	}
	list, broken := []auditedIncident{}, 0
	for _, id := range ids {
		a, err := auditIncident(j, id)
		if err != nil {
			return err
		}
		if !a.Kept {
			broken++
		}
		list = append(list, a)
	}
	if o.json() {
		err = printJSON(c, map[string]any{"kept": broken == 0, "promises": len(audit.Invariants()), "incidents": list})
	} else {
		tellAudit(c, list)
	}
	if err == nil && broken > 0 {
		err = fmt.Errorf("a promise was broken in %d of %d incidents: please report it with `blackstart journal export`", broken, len(list))
	}
	return err
}

func auditIncident(j *journal.Journal, id string) (auditedIncident, error) {
	a := auditedIncident{Incident: id}
	var entries []recovery.Entry
	err := j.Read(id, func(e recovery.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return a, err
	}
	a.Entries, a.Kept = len(entries), true
	if b := audit.Check(entries); b != nil {
		a.Kept, a.Promise, a.Entry, a.Host, a.Detail = false, b.Invariant, b.Seq, b.Host, recovery.Clean(b.Detail, 500)
	}
	return a, nil
}

func tellAudit(c *cobra.Command, list []auditedIncident) {
	for _, a := range list {
		if a.Kept {
			say(c, "kept    %s  %d entries", a.Incident, a.Entries)
			continue
		}
		where := ""
		if a.Host != "" {
			where = " on " + a.Host
		}
		say(c, "BROKEN  %s  entry %d of %d%s breaks %s: %s", a.Incident, a.Entry, a.Entries, where, a.Promise, a.Detail)
	}
	say(c, "incidents: %d, each held against %d promises that a journal can show", len(list), len(audit.Invariants()))
}

// lastLine keeps the last line that is written to it.
type lastLine struct{ line, rest []byte }

// Write implements io.Writer.
func (l *lastLine) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	if end := bytes.LastIndexByte(l.rest, '\n'); end >= 0 {
		begin := bytes.LastIndexByte(l.rest[:end], '\n') + 1
		l.line = bytes.Clone(l.rest[begin:end])
		l.rest = bytes.Clone(l.rest[end+1:])
	}
	return len(p), nil
}
