package fleet

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// repositorySlots is how many restores from one repository run at once where the file does not say.
const repositorySlots = 4

// backupOptions are those of repositories and data sets. restic's own have dots in their names.
var backupOptions = optionRules{checkBackupOption, "write it as password: of the repository, as file:PATH or env:NAME"}

func checkBackupOption(key string) (problem, do string) {
	const longest = 64
	if odd, _ := checkName(key); odd != "" || len(key) > longest {
		return "is called " + quote(key), "use at most 64 letters, digits, hyphens, dots and underscores, and begin with a letter or a digit"
	}
	return "", ""
}

// repositoryTable checks the repositories, and makes a resource of each.
func (b *builder) repositoryTable(t table[repositoryEntry]) {
	b.stores = make(map[string]int, len(t))
	if len(t) > maxStores {
		b.add(t[maxStores].Key.at, "merge some", "there are more than %d repositories", maxStores)
		t = t[:maxStores]
	}
	for _, row := range t {
		b.name(row.Key, "repository")
		e, name := row.Value, row.Key.s
		if !e.at.given() {
			e.at = row.Key.at
		}
		if _, taken := b.resources[name]; taken {
			b.add(row.Key.at, "rename one of them: a repository is a resource of its name", "repository %s has the name of a resource", name)
		} else if _, taken := b.sites[name]; taken {
			b.add(row.Key.at, "rename one of them", "repository %s has the name of a site", name)
		}
		r := b.repository(e, name)
		b.stores[name] = len(b.out.Repositories)
		b.out.Repositories = append(b.out.Repositories, r)
		b.resources[name] = len(b.out.Resources)
		b.out.Resources = append(b.out.Resources, recovery.Resource{Name: name, Slots: r.Slots})
	}
}

// repository checks what a repository says of itself.
func (b *builder) repository(e repositoryEntry, name string) recovery.Repository {
	r := recovery.Repository{
		Name: name, Slots: repositorySlots, Bandwidth: e.Bandwidth.n, OffSite: e.OffSite.on, Quiet: e.Quiet.s, CheckRate: e.CheckRate.n,
		Program: e.Program.s, Password: e.Password.s,
	}
	b.storeKind(e, &r)
	b.storePassword(e, &r)
	r.Options = b.storeOptions(e, name)
	if e.Slots.given() {
		if r.Slots = e.Slots.n; r.Slots < 1 {
			b.add(e.Slots.at, "write 1 or more", "repository %s has 0 slots", name)
		}
	}
	if e.Bandwidth.given() && e.CheckRate.n > e.Bandwidth.n {
		b.add(e.CheckRate.at, "lower it, so that checks leave room for restores", "check-rate of repository %s is more than its bandwidth", name)
	}
	return r
}

// storeKind finds the kind of a repository, and where it lies.
func (b *builder) storeKind(e repositoryEntry, r *recovery.Repository) {
	var said []text
	for _, k := range []struct {
		kind string
		said text
	}{{recovery.RepositoryRestic, e.Restic}, {recovery.RepositoryPostgreSQL, e.PostgreSQL}, {recovery.RepositoryExec, e.Exec}} {
		if k.said.at.given() {
			r.Kind, r.Location = k.kind, k.said.s
			said = append(said, k.said)
		}
	}
	switch len(said) {
	case 0:
		b.add(e.at, "write restic: and where it is, postgresql: and a folder, or exec: and a program", "repository %s does not say what it is", r.Name)
		return
	case 1:
	default:
		r.Kind = ""
		b.add(said[1].at, "keep one of the two, and make two repositories where there are two", "repository %s is of two kinds", r.Name)
		return
	}
	if r.Kind == recovery.RepositoryExec {
		r.Location, r.Program = e.Location.s, e.Exec.s
		b.strayOf(e.Program.at, "program", r.Name, "write the program after exec:")
		if e.Exec.given() && !absoluteSomewhere(e.Exec.s) {
			b.add(e.Exec.at, "write one such as /opt/backup/bridge, as it is on the machine that runs the job", "exec of repository %s is %s, not the absolute path of a program", r.Name, quote(e.Exec.s))
		}
		b.noPassword(e.Location, r.Name)
		return
	}
	b.strayOf(e.Location.at, "location", r.Name, "write where it is after "+r.Kind+":")
	if r.Kind == recovery.RepositoryPostgreSQL {
		b.strayOf(e.Program.at, "program", r.Name, "write the folder of PostgreSQL's programs as option bin")
	} else if e.Program.given() && !absoluteSomewhere(e.Program.s) {
		b.add(e.Program.at, "write the path in full, as it is on the machine that runs the job", "program of repository %s is %s", r.Name, quote(e.Program.s))
	}
	if !said[0].given() || b.noPassword(said[0], r.Name) {
		return
	}
	switch {
	case absoluteSomewhere(r.Location):
	case r.Kind == recovery.RepositoryPostgreSQL:
		b.add(said[0].at, "write one such as /mnt/pgbackup, as it is on the machine that runs the job", "postgresql of repository %s is %s, not the absolute path of a folder", r.Name, quote(r.Location))
	case !resticPlace.MatchString(r.Location):
		b.add(said[0].at, "write an absolute path, or one such as sftp:bkp@10.9.1.5:/srv", "restic of repository %s is %s, which restic would look for in the folder that it is started in", r.Name, quote(r.Location))
	}
}

// strayOf refuses a key that this kind of repository would not heed.
func (b *builder) strayOf(where at, key, name, do string) {
	if where.given() {
		b.add(where, do, "repository %s has %s", name, key)
	}
}

var (
	resticPlace = regexp.MustCompile(`^(sftp|rest|s3|swift|b2|azure|gs|rclone):[^\s-]\S*$`)
	withSecret  = regexp.MustCompile(`://[^/@]*:[^/@]*@`)
)

// noPassword refuses a location with a password in it, and reports whether it did.
func (b *builder) noPassword(t text, name string) bool {
	if !withSecret.MatchString(t.s) {
		return false
	}
	b.add(t.at, "write it where the agent of the machine that runs the job has it, as password: file:PATH or env:NAME says", "where repository %s lies holds a password", name)
	return true
}

// storePassword checks where the password of a repository lies: on another machine than the fleet file, for all hosts alike.
func (b *builder) storePassword(e repositoryEntry, r *recovery.Repository) {
	file, isFile := strings.CutPrefix(e.Password.s, secretFile)
	switch {
	case r.Kind == recovery.RepositoryRestic && !e.Password.at.given():
		b.add(e.at, "add password: and where it lies on the machine that runs the job, as file:PATH or env:NAME", "repository %s has no password, which restic wants", r.Name)
	case r.Kind == recovery.RepositoryPostgreSQL:
		b.strayOf(e.Password.at, "password", r.Name, "remove it: nothing is asked for one in a folder")
	case isFile && strings.Contains(file, "{"):
		b.add(e.Password.at, "write the path out", "password of repository %s has a {, but a repository is not one host's", r.Name)
	case isFile && !absoluteSomewhere(file):
		b.add(e.Password.at, "write the path in full: it is on the machine that runs the job, not beside this file", "password of repository %s lies at a path that does not begin with /", r.Name)
	}
}

// storeOptions checks the options of a repository. They are the same for all hosts.
func (b *builder) storeOptions(e repositoryEntry, name string) map[string]string {
	b.options(e.Options, "repository "+name, backupOptions)
	if len(e.Options) == 0 {
		return nil
	}
	out := make(map[string]string, len(e.Options))
	for _, row := range e.Options {
		if _, do := checkPlaces(row.Value.s); do == "" && strings.Contains(row.Value.s, "{") {
			b.add(row.Value.at, "write it as an option of the data sets", "option %s of repository %s has a {, but a repository is not one host's", row.Key.s, name)
		}
		out[row.Key.s] = row.Value.s
	}
	return out
}

// builtInPolicies are those that a file may name without writing them. The first three are what the municipality had whose
// damaged database was copied into every backup for longer than it kept them.
func builtInPolicies() []recovery.BackupPolicy {
	const (
		hour   = time.Hour
		day    = 24 * hour
		unseen = 90 * day // from the power cut to the day when the database stopped
	)
	return []recovery.BackupPolicy{
		{Name: "hourly-14d", Title: "hourly with logs, kept 14 days", Every: hour, Keep: 14 * day, Logs: true, Level: recovery.L3, Verify: 7 * day, Undetected: unseen, OffSite: true},
		{Name: "daily-14d", Title: "daily, kept 14 days", Every: day, Keep: 14 * day, Level: recovery.L2, Verify: 7 * day, Undetected: unseen, OffSite: true},
		{Name: "files-1y", Title: "files, daily, kept a year", Every: day, Keep: 365 * day, Level: recovery.L2, Verify: 30 * day, Undetected: unseen, OffSite: true},
	}
}

// backupPolicies checks the policies of the file.
func (b *builder) backupPolicies(entries []backupPolicyEntry) {
	b.promises = map[string]recovery.BackupPolicy{}
	builtIn := map[string]bool{}
	for _, p := range builtInPolicies() {
		b.promises[p.Name], builtIn[p.Name] = p, true
	}
	if len(entries) > maxPromises {
		b.add(entries[maxPromises].at, "merge some", "there are more than %d backup policies", maxPromises)
		entries = entries[:maxPromises]
	}
	for _, e := range entries {
		p := b.backupPolicy(e)
		switch _, twice := b.promises[p.Name]; {
		case p.Name == "":
			continue
		case builtIn[p.Name]:
			b.add(e.Name.at, "give yours another name", "the backup policy %s is built in", p.Name)
			continue
		case twice:
			b.add(e.Name.at, "rename one of them", "there are two backup policies named %s", p.Name)
			continue
		}
		b.promises[p.Name] = p
		b.out.BackupPolicies = append(b.out.BackupPolicies, p)
	}
}

// backupPolicy checks one policy: what it promises must be possible.
func (b *builder) backupPolicy(e backupPolicyEntry) recovery.BackupPolicy {
	p := recovery.BackupPolicy{
		Name: b.name(e.Name, "backup policy"), Title: e.Title.s, Every: e.Every.d, Keep: e.Keep.d, Logs: e.Logs.on,
		Level: e.Level.l, Verify: e.Verify.d, Undetected: e.Undetected.d, OffSite: e.OffSite.on,
	}
	for _, s := range []struct {
		span
		key   string
		least time.Duration
	}{{e.Every, "every", time.Minute}, {e.Keep, "keep", time.Hour}, {e.Verify, "verify", time.Hour}, {e.Undetected, "undetected", time.Hour}} {
		if s.given() && s.d < s.least {
			b.add(s.at, "write "+brief(s.least)+" or more", "%s of backup policy %s is %s", s.key, p.Name, brief(s.d))
		}
	}
	if e.Every.given() && e.Keep.given() && p.Keep < p.Every {
		b.add(e.Keep.at, "raise keep or lower every", "backup policy %s keeps points for %s but takes one every %s, so that at times there would be none", p.Name, brief(p.Keep), brief(p.Every))
	}
	switch verified := p.Level > recovery.L0; {
	case e.Level.at.given() && !e.Level.given(): // refused, and said so
	case p.Level == recovery.L5:
		b.add(e.Level.at, "write L4 at most", "backup policy %s wants L5, for which a person must look, but it is kept by machines", p.Name)
	case verified && !e.Verify.at.given():
		b.add(e.Level.at, "add verify: and how often, as in 7d", "backup policy %s wants points to be verified to %s, but does not say how often", p.Name, p.Level)
	case !verified && e.Verify.given():
		b.add(e.Verify.at, "add level: and how far, as in L3", "backup policy %s wants points to be verified, but does not say how far", p.Name)
	}
	return p
}

// brief writes a length of time as the file has it: 14d, 36h, 90s.
func brief(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// absoluteSomewhere reports whether s is the absolute path of something below a root, on Unix or on Windows, written without detours.
func absoluteSomewhere(s string) bool { return absoluteOn(s, false) || absoluteOn(s, true) }

var windowsPath = regexp.MustCompile(`^[A-Za-z]:(\\[^\\/:*?"<>|]+)+$`)

func absoluteOn(s string, windows bool) bool {
	if s != strings.TrimSpace(s) {
		return false
	}
	if !windows {
		return s != "/" && strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && path.Clean(s) == s
	}
	if !windowsPath.MatchString(s) {
		return false
	}
	for element := range strings.SplitSeq(s[3:], `\`) {
		if strings.HasSuffix(element, ".") || strings.HasSuffix(element, " ") {
			return false // "." and ".." too
		}
	}
	return true
}
