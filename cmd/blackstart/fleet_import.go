package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/blackstart-recovery/blackstart/server/fleet"
)

func newFleetImport(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "import", Short: "Make a fleet file of an Ansible inventory or a CSV list",
		Long: "Import makes a fleet file of what there is already. What an inventory cannot know (tiers, data classes, the endpoint-security product …) is said with flags, or stands in the new file as FILL-IN until a person writes it; `blackstart fleet check` lists those places. What is not understood is refused with its line, never left out.",
		Example: `  blackstart fleet import ansible inventory.ini --map web=service:website --map web=tier:critical --out fleet.yaml
  blackstart fleet import csv servers.csv --out fleet.yaml`,
	}
	c.AddCommand(newImportAnsible(o), newImportCSV(o))
	return c
}

// importFlags are what both importers share.
type importFlags struct {
	fleet.ImportOptions
	out   string
	force bool
}

func (f *importFlags) add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringArrayVar(&f.Defaults, "default", nil, "`FIELD=VALUE` for hosts of which nothing else says it: service, tier, site, council, os, data, edr, edr-version, user or environment")
	flags.StringSliceVar(&f.Tiers, "tiers", nil, "the `tiers` in the order of recovery, with commas between")
	flags.StringVar(&f.Name, "name", "", "the fleet's `name` (the file's name unless said otherwise)")
	flags.StringVar(&f.out, "out", "", "the fleet `file` to write (printed unless said otherwise)")
	flags.BoolVar(&f.force, "force", false, "overwrite that file")
	for _, name := range []string{"map", "default", "tiers", "name", "skip", "delimiter"} {
		if flags.Lookup(name) != nil {
			must(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
		}
	}
}

func newImportAnsible(o *options) *cobra.Command {
	var f importFlags
	var list bool
	c := &cobra.Command{
		Use: "ansible FILE", Short: "Make a fleet file of an Ansible inventory", Args: cobra.ExactArgs(1),
		Long: `Ansible makes a fleet file of an inventory in the INI or YAML form, or with --json of what ` + "`ansible-inventory --list`" + ` prints. It takes over hosts, addresses, ports, users and jump hosts; --map says what the groups mean. Of groups in groups the inner one counts. FILE may be - for standard input.

A host without an IP address is marked for a person to fill in, because DNS may be down when the fleet file is needed.`,
		Example: `  blackstart fleet import ansible inventory.ini --out fleet.yaml
  blackstart fleet import ansible hosts.yml --map all=tier:standard --map db=tier:infrastructure --tiers infrastructure,standard --default os=linux
  ansible-inventory -i inventory --list | blackstart fleet import ansible --json - --skip staging --out fleet.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			read := fleet.ImportAnsible
			if list {
				read = fleet.ImportAnsibleList
			} else if err := noVarsFolders(args[0]); err != nil {
				return err
			}
			return o.runImport(c, args[0], &f, read)
		},
	}
	c.Flags().BoolVar(&list, "json", false, "FILE is what ansible-inventory --list printed")
	c.Flags().StringArrayVar(&f.Map, "map", nil, "`GROUP=KIND:NAME`: what a group's hosts are; KIND is service, tier, site, council, os, data, edr or edr-version; repeatable")
	c.Flags().StringArrayVar(&f.Skip, "skip", nil, "a `group` or host to leave out; repeatable")
	f.add(c)
	return c
}

func newImportCSV(o *options) *cobra.Command {
	var f importFlags
	var delimiter string
	c := &cobra.Command{
		Use: "csv FILE", Short: "Make a fleet file of a CSV list of servers", Args: cobra.ExactArgs(1),
		Long:    "Csv makes a fleet file of a list with a row of headings and a row for each host. Columns are found by their headings (name, address, port, user, jump, service, tier, site, council, os, data, critical, agent, edr, edr-version) or by --map; others stand aside. FILE may be - for standard input.",
		Example: "  blackstart fleet import csv servers.csv --out fleet.yaml\n  blackstart fleet import csv cmdb.csv --map 'Server name=name' --map 'Application=service' --tiers infrastructure,critical,standard",
		RunE: func(c *cobra.Command, args []string) error {
			if delimiter != "" {
				r, size := utf8.DecodeRuneInString(strings.ReplaceAll(delimiter, `\t`, "\t"))
				if size != len(strings.ReplaceAll(delimiter, `\t`, "\t")) || strings.ContainsRune("\"\r\n\ufffd", r) {
					return usage("--delimiter %s: give one character, such as ; or \\t", delimiter)
				}
				f.Delimiter = r
			}
			return o.runImport(c, args[0], &f, fleet.ImportCSV)
		},
	}
	c.Flags().StringVar(&delimiter, "delimiter", "", "the `character` between cells: , ; or \\t (found by itself unless said otherwise)")
	c.Flags().StringArrayVar(&f.Map, "map", nil, "`COLUMN=FIELD`: what a column is; repeatable")
	f.add(c)
	return c
}

// noVarsFolders refuses an inventory beside which Ansible would find more variables.
func noVarsFolders(file string) error {
	if file == "-" {
		return nil
	}
	for _, name := range []string{"group_vars", "host_vars"} {
		folder := filepath.Join(filepath.Dir(file), name)
		if exists(os.Lstat, folder) {
			return usage("%s holds variables that this import would not see: run `ansible-inventory -i %s --list > inventory.json`, and import that with --json", folder, quoted(file))
		}
	}
	return nil
}

// importAccount is what an import prints with -o json.
type importAccount struct {
	File     string        `json:"file"`
	Fleet    string        `json:"fleet"` // empty where it is still to be filled in
	Hosts    int           `json:"hosts"`
	Skipped  int           `json:"skipped"`
	Services int           `json:"services"`
	Tiers    int           `json:"tiers"`
	Ladders  int           `json:"ladders"`
	Aside    []importAside `json:"aside"`
	FillIn   []importBlank `json:"fill_in"`
	Notes    []string      `json:"notes"`
}

type importAside struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

type importBlank struct {
	Line   int    `json:"line"`
	Column int    `json:"column"`
	What   string `json:"what"`
}

// runImport reads a file, writes the fleet file made of it, and tells what a person must know of it.
func (o *options) runImport(c *cobra.Command, file string, f *importFlags, read func(string, []byte, fleet.ImportOptions) (fleet.Imported, error)) error {
	if o.json() && f.out == "" {
		return usage("-o json needs --out FILE, because without it the fleet file itself is printed")
	}
	if f.out != "" && !f.force && exists(os.Lstat, f.out) {
		return usage("%s is there already: choose another --out, or add --force to overwrite it", f.out)
	}
	defer o.busy(c, "reading "+file)()
	data, err := readImport(c, file)
	if err != nil {
		return err
	}
	f.File = cmp.Or(f.out, "fleet.yaml")
	made, err := read(file, data, f.ImportOptions)
	if err != nil {
		return usage("%w", err)
	}
	if f.out == "" {
		_, err = c.OutOrStdout().Write(made.File)
	} else {
		err = writeNew(f.out, made.File, f.force)
	}
	if err != nil {
		return err
	}
	acc := importAccount{f.out, made.Fleet, made.Hosts, made.Skipped, made.Services, made.Tiers, made.Ladders, []importAside{}, []importBlank{}, append([]string{}, made.Notes...)}
	for _, a := range made.Aside {
		acc.Aside = append(acc.Aside, importAside{a.Name, a.Count})
	}
	for _, b := range made.Blanks {
		acc.FillIn = append(acc.FillIn, importBlank{b.Line, b.Column, b.Message})
	}
	if o.json() {
		return printJSON(c, acc)
	}
	acc.tell(c, f.File)
	return nil
}

// tell sums an import up on standard error, apart from the fleet file.
func (a importAccount) tell(c *cobra.Command, file string) {
	say := func(format string, args ...any) { fmt.Fprintf(c.ErrOrStderr(), format+"\n", args...) }
	say("%s, %s, %s, %s", plural(a.Hosts, "host"), plural(a.Services, "service"), plural(a.Tiers, "tier"), plural(a.Ladders, "ladder"))
	if a.Skipped > 0 {
		say("left out by --skip: %s", plural(a.Skipped, "host"))
	}
	if len(a.Aside) > 0 {
		slices.SortStableFunc(a.Aside, func(x, y importAside) int { return cmp.Compare(y.Count, x.Count) })
		names := make([]string, len(a.Aside))
		for i, one := range a.Aside {
			names[i] = fmt.Sprintf("%s (%d)", cell(one.Name, 60), one.Count)
		}
		say("without use in a fleet file: %s", named(names))
	}
	for _, n := range a.Notes {
		say("note: %s", n)
	}
	for i, b := range a.FillIn {
		if i == mostNamed {
			say("and %d more; `blackstart fleet check %s` lists them", len(a.FillIn)-i, quoted(file))
			break
		}
		say("%s:%d:%d: %s", file, b.Line, b.Column, b.What)
	}
	if len(a.FillIn) == 0 {
		say("nothing is left to fill in: look at it with `blackstart fleet check %s`", quoted(file))
	} else {
		say("%s to fill in: write each in place of FILL-IN, then run `blackstart fleet check %s`", plural(len(a.FillIn), "value"), quoted(file))
	}
}

// mostImported bounds what is read at all; the fleet package has its own, lower bound, and a sentence for it.
const mostImported = 64 << 20

func readImport(c *cobra.Command, file string) ([]byte, error) {
	in := c.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usage("there is no file %s: check the path", file)
		}
		if err != nil {
			return nil, usage("%s cannot be opened: %w; check its permissions", file, err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, mostImported))
	if err != nil {
		return nil, usage("%s cannot be read: %w; check that it is a file", file, err)
	}
	return data, nil
}

// writeNew writes a file that is not there yet, or with force one that takes another's place in one step.
func writeNew(path string, data []byte, force bool) error {
	const mode = 0o644
	var f *os.File
	var err error
	if force {
		if f, err = os.CreateTemp(filepath.Dir(path), ".fleet-*"); err == nil {
			err = f.Chmod(mode)
		}
	} else {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	}
	if err != nil {
		return usage("%s cannot be written: %w; choose another --out", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil && force {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // half a file is worse than none
		return fmt.Errorf("%s was not written: %w", path, err)
	}
	return nil
}
