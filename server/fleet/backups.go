package fleet

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// scratchOption is the folder in which restore points are restored to be checked; else it is that of the target.
const scratchOption = "scratch"

// dataSets makes the data sets. It needs the hosts.
func (b *builder) dataSets(entries []backupEntry) {
	hosts := make(map[string]int, len(b.facts))
	if len(entries) > 0 {
		for i, h := range b.out.Hosts {
			hosts[h.Name] = i
		}
	}
	book, room := &backupBook{map[string]owner{}, map[string]dataOwner{}}, maxSets
	for _, e := range entries {
		x := &backupSets{backupEntry: e, store: b.storeOf(e.Repository)}
		x.like = b.dataSet(e, x.store)
		b.setHosts(x, hosts)
		if room -= len(x.hosts); room < 0 {
			b.add(e.Host.at, "leave out what need not be restored by itself, or split the estate", "backups makes more than %d data sets in all", maxSets)
			return
		}
		b.setNames(x, book)
		for n, name := range x.names {
			if name != "" {
				d := b.setOf(x, n)
				book.keep(x, &d)
				b.out.DataSets = append(b.out.DataSets, d)
			}
		}
		b.mixed(x)
	}
	b.usedPolicies()
}

// backupSets is one entry while its data sets are made.
type backupSets struct {
	backupEntry
	store   string           // kind of the repository; "" when it was refused
	like    recovery.DataSet // what they have in common
	hosts   []int            // in the fleet, each with its data set; none when they were refused
	runners []string         // by host; nil for the hosts themselves
	windows []bool           // by host: what the runner runs
	names   []string         // by host; nil when they were refused, "" where one was

	sources         map[string]owner // by what their repository knows them by
	mingled, buried repeated         // sources and targets that two hosts have in common
}

// label is how messages call the data sets of an entry.
func (e *backupEntry) label() string { return "data set " + e.Name.or("without a name") }

// dataSet checks what all data sets of an entry have in common.
func (b *builder) dataSet(e backupEntry, store string) recovery.DataSet {
	d := recovery.DataSet{Kind: recovery.PointKind(e.Kind.s), Repository: e.Repository.s, Policy: e.Policy.s, Size: e.Size.n, Engine: e.Engine.s}
	known(b, b.stores, e.Repository, "repository", "repositories:")
	known(b, b.promises, e.Policy, "backup policy", "backup-policies:")
	d.Copies = b.copies(e, store)
	b.setSource(e, store)
	engineClear := b.setEngine(e, store, &d)
	b.setPolicy(e, store, &d, engineClear)
	b.setCommands(e)
	d.Part = b.setPart(e)
	d.Invariants = b.invariants(e, d.Engine, engineClear)
	b.options(e.Options, e.label(), backupOptions)
	for _, t := range []struct {
		key string
		text
	}{{"source", e.Source}, {"target", e.Target}, {"part", e.Part}} {
		if problem, do := checkPlaces(t.s); problem != "" {
			b.add(t.at, do, "%s %s", t.key, problem)
		}
	}
	return d
}

// storeOf is the kind of a repository; "" when it is not known.
func (b *builder) storeOf(name text) string {
	if i, ok := b.stores[name.s]; ok {
		return b.out.Repositories[i].Kind
	}
	return ""
}

// copies are the further repositories. A copy is found by the same source, so it lies in a repository of the same kind.
func (b *builder) copies(e backupEntry, store string) []string {
	out := b.uses(b.stores, e.Copies, "repository", "repositories:")
	for _, t := range e.Copies {
		switch other := b.storeOf(t); {
		case !t.given():
		case t.s == e.Repository.s:
			b.add(t.at, "name another one, or remove it", "a copy of %s lies in the repository itself", e.label())
		case store != "" && other != "" && other != store:
			b.add(t.at, "name one of the same kind, or make a data set of its own for it", "copies of %s are in %s, a repository of kind %s, where its source means nothing: its own is of kind %s",
				e.label(), t.s, other, store)
		}
	}
	return out
}

// setSource checks that the repository can tell the data set from others.
func (b *builder) setSource(e backupEntry, store string) {
	const likeRestic = "write how restic knows its snapshots, as in host=db1,tag=pg,path=/srv"
	switch store {
	case recovery.RepositoryRestic:
		if !e.Source.given() { // then restic looks for the host's name
			return
		}
		for item := range strings.SplitSeq(e.Source.s, ",") {
			key, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			if !slices.Contains([]string{"host", "tag", "path"}, key) || value == "" || value != strings.TrimSpace(value) || key == "path" && !absoluteSomewhere(value) {
				b.add(e.Source.at, likeRestic, "source of %s has %s, which chooses nothing", e.label(), quote(item))
			}
		}
	case recovery.RepositoryPostgreSQL:
		if e.Source.given() && !within(e.Source.s) {
			b.add(e.Source.at, "write a folder below the repository's, or leave the key out", "source of %s is %s, not a folder in its repository", e.label(), quote(e.Source.s))
		}
	}
}

// within reports whether s is a path below a folder, written without detours.
func within(s string) bool {
	return s != "." && s != ".." && !strings.HasPrefix(s, "../") && !strings.HasPrefix(s, "/") && path.Clean(s) == s && s == strings.TrimSpace(s)
}

// setPart is the path of the part that becomes the target, below what is restored. Written as it was backed up, it begins with /.
func (b *builder) setPart(e backupEntry) string {
	part := strings.TrimPrefix(e.Part.s, "/")
	if e.Part.given() && !within(part) {
		b.add(e.Part.at, "write a path such as srv/shares, or leave the key out for all of it", "part of %s is %s", e.label(), quote(e.Part.s))
	}
	return part
}

// setEngine checks what verifies the data sets at L3. It reports whether that is clear: it is not where it or the repository was refused.
func (b *builder) setEngine(e backupEntry, store string, d *recovery.DataSet) bool {
	refused := e.Engine.at.given() && !e.Engine.given() || e.Kind.at.given() && !e.Kind.given()
	if store == recovery.RepositoryPostgreSQL && !refused {
		if e.Kind.given() && d.Kind != recovery.PointDatabase {
			b.add(e.Kind.at, "write database, or name another repository", "%s is of kind %s, but repository %s holds databases", e.label(), d.Kind, d.Repository)
		}
		if e.Engine.given() && d.Engine != recovery.EnginePostgreSQL {
			b.add(e.Engine.at, "write postgresql, or leave the key out", "engine of %s is %s, but repository %s holds PostgreSQL databases", e.label(), d.Engine, d.Repository)
			return false
		}
		d.Engine = recovery.EnginePostgreSQL
	}
	switch check := e.Check != nil; {
	case refused:
	case d.Engine == recovery.EngineExec && !check:
		b.add(e.Engine.at, "add check: and the program whose exit 0 is L3", "engine of %s is exec, but nothing says what checks it", e.label())
	case d.Engine == "" && check:
		d.Engine = recovery.EngineExec
	case d.Engine != recovery.EngineExec && check:
		b.add(placeOf(e.Check, e.at), "write engine: exec, or remove it", "%s has a check, which engine %s does not run: it has its own", e.label(), d.Engine)
	}
	return !refused && (store != "" || d.Engine != "")
}

// setPolicy refuses promises that the data sets cannot keep.
func (b *builder) setPolicy(e backupEntry, store string, d *recovery.DataSet, engineClear bool) {
	p, ok := b.promises[d.Policy]
	if !ok {
		return
	}
	where := e.Policy.at
	switch {
	case p.Logs && d.Kind != "" && d.Kind != recovery.PointDatabase:
		b.add(where, "name a policy without logs", "policy %s keeps logs, but %s is of kind %s", p.Name, e.label(), d.Kind)
	case p.Logs && store == recovery.RepositoryRestic && d.Engine != recovery.EnginePostgreSQL:
		b.add(where, "name a policy without logs, or write engine: postgresql", "policy %s keeps logs, which nothing would make use of when %s is restored by restic", p.Name, e.label())
	}
	switch {
	case !engineClear:
	case p.Level == recovery.L3 && d.Engine == "":
		b.add(where, "give it engine: or check:, or name a policy with level: L2", "policy %s wants points to be verified to L3, but %s has neither an engine nor a check", p.Name, e.label())
	case p.Level == recovery.L4 && len(e.Invariants) == 0:
		b.add(where, "give it invariants:, or name a policy with a lower level", "policy %s wants points to be verified to L4, but %s has no invariants", p.Name, e.label())
	}
}

// setCommands checks what is run round a restore.
func (b *builder) setCommands(e backupEntry) {
	for _, c := range []struct {
		key   string
		words names
	}{{"stop", e.Stop}, {"start", e.Start}, {"check", e.Check}} {
		b.command(c.words, c.key+" of "+e.label(), e.at)
	}
	switch {
	case e.Stop != nil && e.Start == nil:
		b.add(placeOf(e.Stop, e.at), "add start:", "%s is stopped for a restore, but nothing starts it again", e.label())
	case e.Start != nil && e.Stop == nil:
		b.add(placeOf(e.Start, e.at), "add stop:", "%s is started after a restore, but nothing stops it before", e.label())
	}
}

// command checks a program and its arguments; what is how messages call them.
func (b *builder) command(words names, what string, otherwise at) {
	if words == nil {
		return
	}
	if len(words) == 0 {
		b.add(otherwise, "write the program and its arguments, or leave the key out", "%s is empty", what)
		return
	}
	if len(words) > maxWords {
		b.add(words[maxWords].at, "put it into a script of its own", "%s has more than %d words", what, maxWords)
		return
	}
	if program := words[0].s; !programName.MatchString(program) && !absoluteSomewhere(program) {
		do := "write a name such as systemctl, or an absolute path"
		if strings.Contains(program, " ") {
			do = "write a list, each word an item of its own, as in [systemctl, stop, postgresql]"
		}
		b.add(words[0].at, do, "%s begins with %s, which is no program", what, quote(program))
	}
	for _, word := range words {
		if problem, do := checkPlaces(word.s); problem != "" {
			b.add(word.at, do, "%s: %s", what, problem)
		}
	}
}

// placeOf is where a list stands, as far as it is known.
func placeOf(l names, otherwise at) at { return placeOr(l.first(), otherwise) }

// setOf makes data set n of an entry.
func (b *builder) setOf(x *backupSets, n int) recovery.DataSet {
	d := x.like
	d.Name, d.Host = x.names[n], b.out.Hosts[x.hosts[n]].Name
	f := b.facts[d.Host]
	if len(x.runners) > 0 && x.runners[n] != d.Host {
		d.Runner = x.runners[n]
	}
	d.Source = b.fill(x.Source.at, x.Source.s, "source", &f)
	d.Target = b.fill(x.Target.at, x.Target.s, "target", &f)
	d.Part = b.fill(x.Part.at, d.Part, "part", &f)
	d.Stop, d.Start, d.Check = b.words(x.Stop, "stop", &f), b.words(x.Start, "start", &f), b.words(x.Check, "check", &f)
	if len(x.Options) > 0 {
		d.Options = make(map[string]string, len(x.Options))
		for _, row := range x.Options {
			d.Options[row.Key.s] = b.fill(row.Value.at, row.Value.s, "option "+row.Key.s, &f)
		}
	}
	d.Invariants = slices.Clone(d.Invariants)
	for i := range d.Invariants {
		d.Invariants[i].Command = b.words(x.Invariants[i].Command, "command", &f)
	}
	_, strange := checkPlaces(x.Target.s)
	if problem, do := checkTarget(d.Target, x.windows[n]); problem != "" && x.Target.given() && strange == "" {
		b.once(x.Target.at, do, "target of data set %s %s", d.Name, problem)
	}
	if scratch := d.Options[scratchOption]; scratch != "" && !absoluteOn(scratch, x.windows[n]) {
		o, _ := x.Options.get(scratchOption)
		b.once(o.at, "write the absolute path of a folder on its runner", "option %s of data set %s is %s", scratchOption, d.Name, quote(scratch))
	}
	return d
}

// placeOr is a place, or another where the file does not have it.
func placeOr(where, otherwise at) at {
	if where.given() {
		return where
	}
	return otherwise
}

// words fills in a command for a host.
func (b *builder) words(list names, what string, f *facts) []string {
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = b.fill(t.at, t.s, what, f)
	}
	return out
}

// checkTarget takes the absolute path of a folder or file that can be swapped as a whole.
func checkTarget(s string, windows bool) (problem, do string) {
	system := []string{"bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "var"}
	like, os := "/srv/data", "Linux"
	if windows {
		like, os = `D:\data`, "Windows"
		system = []string{`windows`, `users`, `program files`, `program files (x86)`, `programdata`}
	}
	if !absoluteOn(s, windows) {
		return fmt.Sprintf("is %s, not an absolute path on its runner, which runs %s", quote(s), os), "write one such as " + like + ", without detours and without a slash at the end"
	}
	below := strings.TrimPrefix(s, "/")
	if windows {
		below = strings.ToLower(s[len(`C:\`):])
	}
	if slices.Contains(system, below) {
		return fmt.Sprintf("is %s, which the system on its runner lives in", quote(s)), "write the folder below it that holds the data"
	}
	return "", ""
}

// usedPolicies puts the built-in policies that are used behind those of the file.
func (b *builder) usedPolicies() {
	used := map[string]bool{}
	for _, d := range b.out.DataSets {
		used[d.Policy] = true
	}
	for _, p := range builtInPolicies() {
		if used[p.Name] {
			b.out.BackupPolicies = append(b.out.BackupPolicies, p)
		}
	}
}
