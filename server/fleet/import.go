package fleet

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ImportOptions say what the source of an import cannot.
type ImportOptions struct {
	Name      string   // the fleet's name; empty takes it from the source's
	File      string   // what the fleet file will be called, for the places in it
	Map       []string // "GROUP=kind:NAME" for an inventory, "COLUMN=field" for a CSV file
	Defaults  []string // "field=VALUE" for hosts of which nothing else says it
	Tiers     []string // tiers in the order of recovery; those that stand elsewhere only come after them
	Skip      []string // groups and hosts of an inventory that are left out
	Delimiter rune     // between the cells of a CSV file; 0 finds it
}

// Imported is a fleet file made of something else, and an account of it.
type Imported struct {
	File     []byte
	Fleet    string // empty where it is still to be filled in
	Hosts    int
	Skipped  int // hosts left out because the options say so
	Services int
	Tiers    int
	Ladders  int
	Aside    []Aside  // what the source holds and a fleet file has no use for, by name
	Blanks   Errors   // what is still to be filled in, with its place in the fleet file
	Notes    []string // what a person should know beside that, each a sentence
}

// Aside is a variable, column or setting that was read and has no place in a fleet file.
type Aside struct {
	Name  string
	Count int // how often the source sets it
}

// The kinds of things that a source, a map or a default may say of a host.
const (
	termService = "service"
	termTier    = "tier"
	termSite    = "site"
	termCouncil = "council"
	termOS      = "os"
	termData    = "data"
	termEDR     = "edr"
	termVersion = "edr-version"
	termCrit    = "critical"
	termAgent   = "agent"
	termUser    = "user"
	termEnv     = "environment"
)

var (
	groupTerms   = []string{termService, termTier, termSite, termCouncil, termOS, termData, termEDR, termVersion}
	defaultTerms = append(slices.Clone(groupTerms), termUser, termEnv)
)

// importer gathers hosts from a source, and writes the fleet file.
type importer struct {
	problems
	options  ImportOptions
	defaults map[string]string
	tiers    []string          // in the order of recovery
	titles   map[string]string // what a made name was made of, by kind/name
	hosts    []*importHost
	aside    map[string]int
	notes    []string
	skipped  int
}

// importHost is one host as its source describes it.
type importHost struct {
	at
	name    string
	address string // IP address, or empty
	hint    string // what is known instead of one
	port    int    // 0 means 22
	user    string
	jump    []string
	hints   []string // what is known of jump hosts
	groups  []string // for the person who sorts hosts into services
	terms   map[string]string
}

func newImporter(file string, o ImportOptions) (*importer, error) {
	im := &importer{problems: problems{file: file}, options: o, defaults: map[string]string{}, titles: map[string]string{}, aside: map[string]int{}}
	for _, d := range o.Defaults {
		kind, value, _ := strings.Cut(d, "=")
		if !slices.Contains(defaultTerms, kind) {
			return nil, fmt.Errorf("--default %s: write it as FIELD=VALUE, where FIELD is %s", quote(d), either(defaultTerms))
		}
		if _, ok := im.defaults[kind]; ok {
			return nil, fmt.Errorf("--default names %s twice: keep one", kind)
		}
		value, err := im.optionTerm("--default "+quote(d), kind, value)
		if err != nil {
			return nil, err
		}
		im.defaults[kind] = value
	}
	for _, t := range o.Tiers {
		name, err := im.optionTerm("--tiers", termTier, strings.TrimSpace(t))
		if err != nil {
			return nil, err
		}
		im.tier(name)
	}
	if o.Name != "" {
		if problem, do := checkName(o.Name); problem != "" {
			return nil, fmt.Errorf("--name %s: %s", problem, do)
		}
	}
	return im, nil
}

// optionTerm checks what an option says.
func (im *importer) optionTerm(option, kind, value string) (string, error) {
	value, problem, do := im.term(kind, value)
	if problem != "" {
		return "", fmt.Errorf("%s: %s %s: %s", option, kind, problem, do)
	}
	return value, nil
}

// tier notes a tier; the first mention gives its place in the order.
func (im *importer) tier(name string) {
	if !slices.Contains(im.tiers, name) {
		im.tiers = append(im.tiers, name)
	}
}

// term checks a value and returns it as a fleet file has it.
func (im *importer) term(kind, value string) (out, problem, do string) {
	const like = "write a word"
	switch kind {
	case termService, termTier, termSite:
		return im.named(kind, value)
	case termOS:
		value = strings.ToLower(value)
		if family, _, _ := strings.Cut(value, "-"); family != "windows" && family != "linux" {
			return "", "is " + quote(value), "write windows or linux, with an optional version after a hyphen"
		}
	case termData:
		value = strings.ToLower(value)
		if classes := []string{string(recovery.DataNone), string(recovery.DataReplica), string(recovery.DataPrimary)}; !slices.Contains(classes, value) {
			return "", "is " + quote(value), "write " + either(classes)
		}
	case termEnv:
		if all := []string{recovery.EnvLinux, recovery.EnvRescueLinux, recovery.EnvWindowsSafeMode}; !slices.Contains(all, value) {
			return "", "is " + quote(value), "write " + either(all)
		}
	case termUser:
		if problem := checkUser(value); problem != "" {
			return "", problem + ": " + quote(value), "write one such as root"
		}
	case termCrit, termAgent:
		switch strings.ToLower(value) {
		case "true", "yes", "y", "1":
			return "true", "", ""
		case "false", "no", "n", "0":
			return "false", "", ""
		}
		return "", "is " + quote(value) + ", neither yes nor no", "write yes or no"
	}
	var t text
	if problem, _ := t.parse(value); problem != "" {
		return "", problem, like
	}
	return value, "", ""
}

// named makes a name that others can refer to: what cannot be in one becomes a hyphen, and the original its title.
func (im *importer) named(kind, value string) (name, problem, do string) {
	if problem, do := new(text).parse(value); problem != "" { // it becomes a title
		return "", problem, do
	}
	if problem, _ := checkName(value); problem == "" {
		name = value
	} else {
		name = slug(value)
	}
	if name == "" {
		return "", "is " + quote(value) + ", of which no name can be made", "use letters, digits, hyphens, dots and underscores"
	}
	if other, ok := im.titles[kind+"/"+name]; ok && other != value {
		return "", fmt.Sprintf("is %s, which would have the same name as %s: %s", quote(value), quote(other), name), "write one of them in another way"
	}
	im.titles[kind+"/"+name] = value
	return name, "", ""
}

// slug makes a name of any words.
func slug(s string) string {
	const longest = 100
	parts := strings.FieldsFunc(strings.ToLower(s), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_'
	})
	out := strings.TrimLeft(strings.Join(parts, "-"), "-._")
	return strings.TrimRight(out[:min(len(out), longest)], "-")
}

// source names a fleet after the file that it comes from.
func (im *importer) fleetName() string {
	if im.options.Name != "" {
		return im.options.Name
	}
	base := filepath.Base(im.file)
	return cmp.Or(slug(strings.TrimSuffix(base, filepath.Ext(base))), fillIn)
}

// finish fills in the defaults, refuses what no fleet can hold, and writes the file.
func (im *importer) finish() (Imported, error) {
	if len(im.hosts) == 0 && im.skipped == 0 && len(im.list) == 0 {
		im.add(top, "give a file that lists hosts", "there are no hosts")
	}
	im.collisions()
	if err := im.err(); err != nil {
		return Imported{}, err
	}
	if len(im.hosts) == 0 {
		return Imported{}, fmt.Errorf("%s leaves no host: skip fewer", im.file)
	}
	for kind, value := range im.defaults {
		if kind == termTier {
			im.tier(value)
		}
		for _, h := range im.hosts {
			if kind == termUser {
				h.user = cmp.Or(h.user, value)
			} else if h.terms[kind] == "" {
				h.terms[kind] = value
			}
		}
	}
	slices.SortFunc(im.hosts, func(a, b *importHost) int { return strings.Compare(a.name, b.name) })
	w := newFleetWriter(im)
	if w.councils(); len(im.list) > 0 {
		return Imported{}, im.err()
	}
	if len(im.tiers) > 1 && len(im.options.Tiers) == 0 {
		im.notes = append(im.notes, "the tiers stand in the order in which they were first named: put them into the order of recovery, or import again with --tiers")
	}
	out := Imported{File: w.write(), Fleet: strings.TrimPrefix(im.fleetName(), fillIn), Hosts: len(im.hosts), Skipped: im.skipped, Services: len(w.services), Tiers: len(im.tiers), Ladders: len(w.ladders), Notes: im.notes}
	for _, name := range slices.Sorted(maps.Keys(im.aside)) {
		out.Aside = append(out.Aside, Aside{name, im.aside[name]})
	}
	return out, out.check(cmp.Or(im.options.File, "fleet.yaml"))
}

// check reads the file that was made: nothing may be wrong with it but what is still to be filled in.
func (out *Imported) check(name string) error {
	_, err := Parse(name, out.File)
	var list, wrong Errors
	errors.As(err, &list)
	for _, e := range list {
		if e.Blank {
			out.Blanks = append(out.Blanks, e)
		} else {
			wrong = append(wrong, e)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the fleet file made of it would not be sound, so none was written: %w", wrong)
	}
	return nil
}

// collisions refuses two hosts of one name or at one address. What one line has in common with earlier ones is told once.
func (im *importer) collisions() {
	names := make(map[string]*importHost, len(im.hosts))
	ends := make(map[endpoint]*importHost, len(im.hosts))
	taken := map[at]*repeated{}
	for _, h := range im.hosts {
		lower := strings.ToLower(h.name)
		if first, ok := names[lower]; ok {
			if first.name == h.name {
				im.add(h.at, "rename or remove one of them", "host %s is already in line %d", h.name, first.line)
			} else {
				im.add(h.at, "rename one of them", "host %s and %s in line %d differ only in capital letters", h.name, first.name, first.line)
			}
			continue
		}
		names[lower] = h
		if h.address == "" {
			continue
		}
		to := endpoint{strings.Join(h.jump, " "), netip.AddrPortFrom(netip.MustParseAddr(h.address), uint16(cmp.Or(h.port, 22)))} //nolint:gosec // a checked port
		if first, ok := ends[to]; ok {
			if taken[h.at] == nil {
				taken[h.at] = &repeated{}
			}
			taken[h.at].note(fmt.Sprintf("address %s of host %s", to.to, h.name), owner{first.name, first.line})
			continue
		}
		ends[to] = h
	}
	for where, r := range taken { // sorted with all others
		im.add(where, "keep one of them, because a fleet has each server once", "%s is already that of host %s in line %d%s", r.what, r.first.name, r.first.line, r.more())
	}
}
