package main

import (
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/journal"
)

func newJournal(o *options) *cobra.Command {
	var file string
	c := &cobra.Command{Use: "journal", Short: "Verify, print or export the journal of incidents"}
	c.PersistentFlags().StringVar(&file, "journal", "", "the journal file; default the one in --dir")
	sub := func(use, short, example string, run func(*journal.Journal, io.Writer, string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " [INCIDENT]", Short: short, Example: example, Args: cobra.MaximumNArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				path := file
				if path == "" {
					path = filepath.Join(o.dir, "data", server.JournalFile)
				}
				j, err := journal.OpenReadOnly(path)
				if errors.Is(err, journal.ErrLocked) {
					return &outcome{exitRefused, err.Error() + ": stop the coordinator first, or look at a copy with --journal"}
				}
				if err != nil {
					return err
				}
				defer j.Close()
				return run(j, c.OutOrStdout(), arg(args, 0))
			},
		}
	}
	c.AddCommand(
		sub("verify", "Check every entry's hash and number; says where a journal breaks", "  blackstart journal verify", func(j *journal.Journal, w io.Writer, _ string) error { return j.Verify(w) }),
		sub("dump", "Print one line an entry", "  blackstart journal dump | less", func(j *journal.Journal, w io.Writer, id string) error { return j.Dump(w, id) }),
		sub("export", "Print the entries as JSON lines that anyone can verify without this program", "  blackstart journal export > journal.jsonl", func(j *journal.Journal, w io.Writer, id string) error { return j.Export(w, id) }),
	)
	return c
}
