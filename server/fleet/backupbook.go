package fleet

import "github.com/blackstart-recovery/blackstart/server/recovery"

// backupBook is what must be there once over all entries.
type backupBook struct {
	names   map[string]owner     // by name in lower case
	targets map[string]dataOwner // by runner and path
}

// dataOwner is a data set, and whose data it is.
type dataOwner struct {
	owner
	host string
}

// keep notes where a data set comes from and goes to, and what of that is another host's.
func (book *backupBook) keep(x *backupSets, d *recovery.DataSet) {
	who := owner{d.Name, x.Name.line}
	if source, shared := x.sourceOf(d); shared {
		if x.sources == nil {
			x.sources = map[string]owner{}
		}
		if first, ok := x.sources[source]; ok {
			x.mingled.note(d.Name, first)
		} else {
			x.sources[source] = who
		}
	}
	place := d.RunsOn() + " " + d.Target
	if first, ok := book.targets[place]; !ok {
		book.targets[place] = dataOwner{who, d.Host}
	} else if first.host != d.Host {
		x.buried.note(d.Name, first.owner)
	}
}

// sourceOf is what the data set's repository knows it by, if that is all that tells it from other hosts'.
func (x *backupSets) sourceOf(d *recovery.DataSet) (source string, alone bool) {
	if x.store == recovery.RepositoryRestic && d.Source == "" {
		return "host=" + d.Host, true
	}
	return d.Source, x.store == recovery.RepositoryRestic || x.store == recovery.RepositoryPostgreSQL
}

// mixed tells which data sets would be restored from or onto another host's data. It speaks only of a file that is right so far.
func (b *builder) mixed(x *backupSets) {
	if len(b.list) > 0 {
		return
	}
	if r := x.mingled; r.count > 0 {
		b.add(placeOr(x.Source.at, x.Name.at), "put {name} into source:, so that each host gets its own data back", "data set %s has the source of data set %s%s, but they are of two hosts", r.what, r.first.name, r.more())
	}
	if r := x.buried; r.count > 0 {
		b.add(x.Target.at, "put {name} into it, so that one host's data never replaces another's", "data set %s has the target of data set %s in line %d%s, on the same runner",
			r.what, r.first.name, r.first.line, r.more())
	}
}
