package fleet

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// stored is a small fleet file with every kind of repository and data set; bad inputs replace a part of it.
const stored = `fleet: f
tiers: [{name: t, asks: L2}, {name: u}]
services: [{name: s, tier: t, rpo: 1h30m}]
sites: {east: 4, west: }
resources: {hv: 2}
repositories:
  hall: {restic: /mnt/r, password: file:/etc/pw, program: /opt/restic, slots: 3, bandwidth: 1.5GB/s, quiet: "22:00-05:00", check-rate: 50MiB/s, options: {sftp.args: -4}}
  away: {restic: "sftp:bkp@10.9.1.5:/srv", password: env:PW, off-site: true}
  pg: {postgresql: /mnt/pg}
  pg2: {postgresql: /mnt/pg2}
  veeam: {exec: /opt/bridge, location: "https://10.9.1.9:9419", password: file:/etc/v, options: {job: nightly}}
backup-policies:
  - {name: gold, title: Gold, every: 1h, keep: 35d, logs: true, level: L4, verify: 7d, undetected: 28d, off-site: true}
  - {name: plain, every: 1d, keep: 30d}
backups:
  - name: "{name}-db"
    host: "db[1-2]"
    kind: database
    repository: pg
    copies: [pg2]
    policy: gold
    source: "{name}"
    target: /var/lib/pg/main
    options: {database: "p{4}"}
    size: 40GB
    stop: [systemctl, stop, "pg@{name}"]
    start: [systemctl, start, "pg@{name}"]
    invariants:
      - {name: unique, sql: "select '{a}'", expect: equal}
      - {name: old, command: [/opt/age, "{address}"], expect: within 2d}
  - {name: "vm[7-8]-image", host: "web[1-2]", kind: image, repository: hall, copies: away, policy: daily-14d, runner: hv1, target: "/img/{name}", part: "/img/{name}"}
  - {name: docs, host: db1, kind: files, repository: veeam, policy: files-1y, runner: "db[1]", target: /srv/docs, check: [/opt/look]}
  - {name: winfiles, host: win1, kind: files, repository: hall, policy: plain, source: "host=win1,tag=x,path=D:\\data", target: "D:\\data", options: {scratch: "D:\\scratch"}}
ladders:
  data:
    - {name: ssh, environment: linux}
    - {name: restore, kind: restore, estimate: 20m, reboots: true, resources: [hv, ssh], sets: ["{name}-db"]}
  web:
    - {name: restore, kind: restore}
    - {name: ssh, environment: linux}
defaults: {os: linux, service: s, data: none}
hosts:
  - {name: "db[1-2]", address: 10.0.0.1, data: primary, ladder: data}
  - {name: "web[1-3]", address: 10.0.1.1, ladder: web}
  - {name: hv1}
  - {name: win1, os: windows-2022, tier: u, ladder: [{name: back, kind: restore}]}
  - {name: mute, agent: false}
`

func TestBackups(t *testing.T) {
	f, err := Parse("/srv/x/f.yaml", []byte(stored))
	if err != nil {
		t.Fatal(err)
	}
	const hour, day = time.Hour, 24 * time.Hour
	repositories := []recovery.Repository{
		{
			Name: "hall", Kind: recovery.RepositoryRestic, Location: "/mnt/r", Password: "file:/etc/pw", Program: "/opt/restic", Slots: 3, Bandwidth: 1_500_000_000,
			Quiet: "22:00-05:00", CheckRate: 50 << 20, Options: map[string]string{"sftp.args": "-4"},
		},
		{Name: "away", Kind: recovery.RepositoryRestic, Location: "sftp:bkp@10.9.1.5:/srv", Password: "env:PW", Slots: 4, OffSite: true},
		{Name: "pg", Kind: recovery.RepositoryPostgreSQL, Location: "/mnt/pg", Slots: 4},
		{Name: "pg2", Kind: recovery.RepositoryPostgreSQL, Location: "/mnt/pg2", Slots: 4},
		{Name: "veeam", Kind: recovery.RepositoryExec, Location: "https://10.9.1.9:9419", Password: "file:/etc/v", Program: "/opt/bridge", Slots: 4, Options: map[string]string{"job": "nightly"}},
	}
	if !reflect.DeepEqual(f.Repositories, repositories) {
		t.Errorf("got the repositories\n%+v\nwant\n%+v", f.Repositories, repositories)
	}
	for _, want := range []recovery.Resource{{Name: "hall", Slots: 3}, {Name: "veeam", Slots: 4}} {
		if !slices.Contains(f.Resources, want) {
			t.Errorf("the resources %v lack %v", f.Resources, want)
		}
	}
	policies := []recovery.BackupPolicy{
		{Name: "gold", Title: "Gold", Every: hour, Keep: 35 * day, Logs: true, Level: recovery.L4, Verify: 7 * day, Undetected: 28 * day, OffSite: true},
		{Name: "plain", Every: day, Keep: 30 * day},
		{Name: "daily-14d", Title: "daily, kept 14 days", Every: day, Keep: 14 * day, Level: recovery.L2, Verify: 7 * day, Undetected: 90 * day, OffSite: true},
		{Name: "files-1y", Title: "files, daily, kept a year", Every: day, Keep: 365 * day, Level: recovery.L2, Verify: 30 * day, Undetected: 90 * day, OffSite: true},
	}
	if !reflect.DeepEqual(f.BackupPolicies, policies) {
		t.Errorf("got the policies\n%+v\nwant\n%+v", f.BackupPolicies, policies)
	}
	db := func(name, octet string) recovery.DataSet {
		return recovery.DataSet{
			Name: name + "-db", Host: name, Kind: recovery.PointDatabase, Repository: "pg", Copies: []string{"pg2"}, Policy: "gold", Source: name, Target: "/var/lib/pg/main",
			Size: 40_000_000_000, Engine: recovery.EnginePostgreSQL, Options: map[string]string{"database": "p" + octet},
			Stop: []string{"systemctl", "stop", "pg@" + name}, Start: []string{"systemctl", "start", "pg@" + name},
			Invariants: []recovery.Invariant{
				{Name: "unique", SQL: "select '{a}'", Expect: "equal"},
				{Name: "old", Command: []string{"/opt/age", "10.0.0." + octet}, Expect: "within 2d"},
			},
		}
	}
	image := func(name, host string) recovery.DataSet {
		return recovery.DataSet{
			Name: name, Host: host, Kind: recovery.PointImage, Repository: "hall", Copies: []string{"away"}, Policy: "daily-14d", Runner: "hv1", Target: "/img/" + host, Part: "img/" + host,
		}
	}
	sets := []recovery.DataSet{
		db("db1", "1"), db("db2", "2"),
		{Name: "docs", Host: "db1", Kind: recovery.PointFiles, Repository: "veeam", Policy: "files-1y", Target: "/srv/docs", Engine: recovery.EngineExec, Check: []string{"/opt/look"}},
		image("vm7-image", "web1"), image("vm8-image", "web2"),
		{
			Name: "winfiles", Host: "win1", Kind: recovery.PointFiles, Repository: "hall", Policy: "plain", Source: `host=win1,tag=x,path=D:\data`, Target: `D:\data`,
			Options: map[string]string{"scratch": `D:\scratch`},
		},
	}
	if !reflect.DeepEqual(f.DataSets, sets) {
		t.Errorf("got the data sets\n%+v\nwant\n%+v", f.DataSets, sets)
	}
	if asks := f.Tiers[0].Asks; asks == nil || *asks != recovery.L2 || f.Tiers[1].Asks != nil || f.Services[0].RPO != 90*time.Minute {
		t.Errorf("got the tiers %+v and services %+v", f.Tiers, f.Services)
	}
	restored := map[string]string{}
	for _, h := range f.Hosts {
		for i, r := range h.Ladder {
			if r.Kind == recovery.RungRestore {
				restored[h.Name] = fmt.Sprint(i, " ", r.Sets)
			}
		}
	}
	if want := map[string]string{"db1": "1 [db1-db]", "db2": "1 [db2-db]", "web1": "0 [vm7-image]", "web2": "0 [vm8-image]", "win1": "0 [winfiles]"}; !reflect.DeepEqual(restored, want) {
		t.Errorf("restored are %v, want %v", restored, want)
	}
	rung := recovery.Rung{Name: "restore", Kind: recovery.RungRestore, Estimate: 20 * time.Minute, Reboots: true, Resources: []string{"hv"}, Sets: []string{"db1-db"}}
	if !reflect.DeepEqual(f.Hosts[0].Ladder[1], rung) || len(f.Hosts[0].Ladder) != 3 {
		t.Errorf("got the ladder %+v, want %+v in its middle", f.Hosts[0].Ladder, rung)
	}
}

// TestBackupCounts holds what fleet check tells of data sets.
func TestBackupCounts(t *testing.T) {
	f, err := Parse("f.yaml", []byte(strings.NewReplacer("asks: L2", "asks: L3").Replace(stored)))
	if err != nil {
		t.Fatal(err)
	}
	want := []RepositoryCount{
		{Name: "hall", Kind: "restic", DataSets: 3, Slots: 3}, {Name: "away", Kind: "restic", Copies: 2, Slots: 4, OffSite: true}, {Name: "pg", Kind: "postgresql", DataSets: 2, Slots: 4},
		{Name: "pg2", Kind: "postgresql", Copies: 2, Slots: 4}, {Name: "veeam", Kind: "exec", DataSets: 1, Slots: 4},
	}
	if got := Repositories(f); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if w := Counts(f); w[0].DataSets != 5 || w[0].Restorable != 4 || w[1].DataSets != 1 || w[1].Restorable != 1 {
		t.Errorf("got the waves %+v", w)
	}
	gaps := []LevelGap{{Asked: recovery.L3, Reach: recovery.L2, DataSets: []string{"vm7-image", "vm8-image"}}}
	if got := LevelGaps(f); !reflect.DeepEqual(got, gaps) {
		t.Errorf("got the gaps %+v, want %+v", got, gaps)
	}
}

func TestBadBackups(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"repository of nothing", `pg: {postgresql: /mnt/pg}`, `pg:`, `f.yaml:9:3: repository pg does not say what it is; write restic: and where it is, postgresql: and a folder, or exec: and a program`},
		{"repository of two kinds", `pg2: {postgresql: /mnt/pg2}`, `pg2: {postgresql: /mnt/pg2, exec: /opt/x}`, `f.yaml:10:37: repository pg2 is of two kinds; keep one of the two, and make two repositories where there are two`},
		{"relative restic", `restic: /mnt/r,`, `restic: mnt/r,`, `f.yaml:7:18: restic of repository hall is "mnt/r", which restic would look for in the folder that it is started in; write an absolute path, or one such as sftp:bkp@10.9.1.5:/srv`},
		{"crooked restic", `restic: /mnt/r,`, `restic: /mnt/../r,`, `f.yaml:7:18: restic of repository hall is "/mnt/../r", which restic would look for in the folder that it is started in; write an absolute path, or one such as sftp:bkp@10.9.1.5:/srv`},
		{"restic that is an option", `"sftp:bkp@10.9.1.5:/srv"`, `'sftp:-oProxyCommand=x:/srv'`, `f.yaml:8:18: restic of repository away is "sftp:-oProxyCommand=x:/srv", which restic would look for in the folder that it is started in; write an absolute path, or one such as sftp:bkp@10.9.1.5:/srv`},
		{"password in a location", `"sftp:bkp@10.9.1.5:/srv"`, `'rest:https://u:hunter2@10.9.1.5/'`, `f.yaml:8:18: where repository away lies holds a password; write it where the agent of the machine that runs the job has it, as password: file:PATH or env:NAME says`},
		{"password in an exec location", `https://10.9.1.9:9419`, `https://u:hunter2@10.9.1.9`, `f.yaml:11:40: where repository veeam lies holds a password; write it where the agent of the machine that runs the job has it, as password: file:PATH or env:NAME says`},
		{"relative postgresql", `pg: {postgresql: /mnt/pg}`, `pg: {postgresql: pg/}`, `f.yaml:9:20: postgresql of repository pg is "pg/", not the absolute path of a folder; write one such as /mnt/pgbackup, as it is on the machine that runs the job`},
		{"root as postgresql", `pg: {postgresql: /mnt/pg}`, `pg: {postgresql: /}`, `f.yaml:9:20: postgresql of repository pg is "/", not the absolute path of a folder; write one such as /mnt/pgbackup, as it is on the machine that runs the job`},
		{"exec by name", `exec: /opt/bridge`, `exec: bridge`, `f.yaml:11:17: exec of repository veeam is "bridge", not the absolute path of a program; write one such as /opt/backup/bridge, as it is on the machine that runs the job`},
		{"program of exec", `exec: /opt/bridge`, `exec: /opt/bridge, program: /x`, `f.yaml:11:39: repository veeam has program; write the program after exec:`},
		{"location of restic", `restic: /mnt/r,`, `restic: /mnt/r, location: /x,`, `f.yaml:7:36: repository hall has location; write where it is after restic:`},
		{"relative program", `/opt/restic`, `restic0.16`, `f.yaml:7:59: program of repository hall is "restic0.16"; write the path in full, as it is on the machine that runs the job`},
		{"program of postgresql", `pg: {postgresql: /mnt/pg}`, `pg: {postgresql: /mnt/pg, program: /x}`, `f.yaml:9:38: repository pg has program; write the folder of PostgreSQL's programs as option bin`},
		{"restic without a password", `password: file:/etc/pw, `, ``, `f.yaml:7:9: repository hall has no password, which restic wants; add password: and where it lies on the machine that runs the job, as file:PATH or env:NAME`},
		{"password of a folder", `pg: {postgresql: /mnt/pg}`, `pg: {postgresql: /mnt/pg, password: env:X}`, `f.yaml:9:39: repository pg has password; remove it: nothing is asked for one in a folder`},
		{"password written out", `password: env:PW`, `password: hunter2`, `f.yaml:8:54: password is not where a secret lies; write file:PATH or env:NAME; the secret itself does not belong into this file`},
		{"password beside the file", `file:/etc/pw`, `file:pw`, `f.yaml:7:36: password of repository hall lies at a path that does not begin with /; write the path in full: it is on the machine that runs the job, not beside this file`},
		{"password of each host", `file:/etc/pw`, `'file:/etc/{name}'`, `f.yaml:7:36: password of repository hall has a {, but a repository is not one host's; write the path out`},
		{"no slots", `slots: 3`, `slots: 0`, `f.yaml:7:79: repository hall has 0 slots; write 1 or more`},
		{"bits", `1.5GB/s`, `12Gbit/s`, `f.yaml:7:93: bandwidth is "12Gbit/s", not bytes per second; write a number such as 200MB/s; 1Gbit/s is 125MB/s`},
		{"no rate", `1.5GB/s`, `1.5GB`, `f.yaml:7:93: bandwidth is "1.5GB", not bytes per second; write a number such as 200MB/s; 1Gbit/s is 125MB/s`},
		{"too little", `1.5GB/s`, `999B/s`, `f.yaml:7:93: bandwidth is "999B/s"; write a rate from 1kB/s to 1000PB/s`},
		{"checks before restores", `check-rate: 50MiB/s`, `check-rate: 2GB/s`, `f.yaml:7:136: check-rate of repository hall is more than its bandwidth; lower it, so that checks leave room for restores`},
		{"quiet in words", `"22:00-05:00"`, `nights`, `f.yaml:7:109: quiet is "nights", not a time of day; write it in UTC, as in "22:00-05:00"`},
		{"quiet of no length", `"22:00-05:00"`, `"05:00-05:00"`, `f.yaml:7:109: quiet is "05:00-05:00", which has no length; write it in UTC, as in "22:00-05:00", or leave the key out for all day`},
		{"quiet at 24", `"22:00-05:00"`, `"22:00-24:00"`, `f.yaml:7:109: quiet is "22:00-24:00", not a time of day; write it in UTC, as in "22:00-05:00"`},
		{"secret option", `sftp.args: -4`, `token: hunter2`, `f.yaml:7:155: option token is a secret, which does not belong into this file; write it as password: of the repository, as file:PATH or env:NAME`},
		{"odd option", `sftp.args: -4`, `-o: x`, `f.yaml:7:155: option is called "-o"; use at most 64 letters, digits, hyphens, dots and underscores, and begin with a letter or a digit`},
		{"option of each host", `sftp.args: -4`, `sftp.args: '{name}'`, `f.yaml:7:166: option sftp.args of repository hall has a {, but a repository is not one host's; write it as an option of the data sets`},
		{"repository called like a resource", `resources: {hv: 2}`, `resources: {hv: 2, pg: 3}`, `f.yaml:9:3: repository pg has the name of a resource; rename one of them: a repository is a resource of its name`},
		{"repository called ssh", `pg2: {p`, `ssh: {p`, `f.yaml:10:3: repository ssh has the name of a resource; rename one of them: a repository is a resource of its name` + "\n" +
			`f.yaml:20:14: unknown repository "pg2"; did you mean pg?` + "\n" +
			`f.yaml:37:84: repository ssh is named as a resource, but a restore takes its slot by itself; remove it`},
		{"repository called like a site", `west: }`, `away: }`, `f.yaml:8:3: repository away has the name of a site; rename one of them`},
		{"odd name", `  pg2: {p`, `  pg/2: {p`, `f.yaml:10:3: repository is "pg/2"; use letters, digits, hyphens, dots and underscores only` + "\n" +
			`f.yaml:20:14: unknown repository "pg2"; did you mean pg?`},
		{"unknown key of a repository", `slots: 3`, `slot: 3`, `f.yaml:7:72: unknown key "slot" in repository; did you mean slots?`},
		{"policy without every", `every: 1d, `, ``, `f.yaml:14:5: backup policy plain has no every; add every:`},
		{"policy kept too short", `keep: 30d`, `keep: 12h`, `f.yaml:14:36: backup policy plain keeps points for 12h but takes one every 1d, so that at times there would be none; raise keep or lower every`},
		{"policy of seconds", `every: 1d`, `every: 5s`, `f.yaml:14:26: every of backup policy plain is 5s; write 1m or more`},
		{"machine's L5", `level: L4`, `level: L5`, `f.yaml:13:72: backup policy gold wants L5, for which a person must look, but it is kept by machines; write L4 at most`},
		{"level of no name", `level: L4`, `level: high`, `f.yaml:13:72: level is "high", not a level; write L1 (its repository's checksums hold), L2 (it restores), L3 (its engine's check passes), L4 (its invariants hold) or L5 (a person looked)`},
		{"level, but not how often", `verify: 7d, `, ``, `f.yaml:13:72: backup policy gold wants points to be verified to L4, but does not say how often; add verify: and how often, as in 7d`},
		{"verified, but not how far", `level: L4, `, ``, `f.yaml:13:73: backup policy gold wants points to be verified, but does not say how far; add level: and how far, as in L3`},
		{"built-in policy", `name: plain`, `name: daily-14d`, `f.yaml:14:12: the backup policy daily-14d is built in; give yours another name` + "\n" +
			`f.yaml:33:73: unknown backup policy "plain"; declare it in backup-policies: (known: daily-14d, files-1y, gold, hourly-14d)`},
		{"policy twice", `name: plain`, `name: gold`, `f.yaml:14:12: there are two backup policies named gold; rename one of them` + "\n" +
			`f.yaml:33:73: unknown backup policy "plain"; declare it in backup-policies: (known: daily-14d, files-1y, gold, hourly-14d)`},
		{"tier that asks for nothing", `asks: L2`, `asks: L0`, `f.yaml:2:25: asks is L0, which a restore point meets that nobody has verified; write L1 or higher, or leave the key out`},
		{"rpo of no length", `rpo: 1h30m`, `rpo: soon`, `f.yaml:3:36: rpo is "soon", not a length of time; write one such as 90s, 10m, 8h30m or 2d`},
		{"data set without a target", "    target: /var/lib/pg/main\n", ``, `f.yaml:16:5: data set {name}-db has no target; add target:`},
		{"unknown repository", "repository: pg\n", "repository: gp\n", `f.yaml:19:17: unknown repository "gp"; declare it in repositories: (known: away, hall, pg, pg2, veeam)`},
		{"unknown policy", `policy: gold`, `policy: gild`, `f.yaml:21:13: unknown backup policy "gild"; did you mean gold?`},
		{"unknown host", `host: "db[1-2]"`, `host: "db[1-3]"`, `f.yaml:17:11: data set {name}-db is of an unknown host "db3"; declare it in hosts: or correct the name`},
		{"open host", `host: "db[1-2]"`, `host: "db[1-2"`, `f.yaml:17:11: host "db[1-2" has a [ without a ]; write ranges as [01-24] or [1,3,5]`},
		{"unknown runner", `runner: hv1`, `runner: hv9`, `f.yaml:31:119: runner of data set vm[7-8]-image is an unknown host "hv9"; declare it in hosts: or correct the name`},
		{"runner without an agent", `runner: hv1`, `runner: mute`, `f.yaml:31:119: runner mute of data set vm[7-8]-image has no agent, which would do the work; name a host with an agent`},
		{"host without an agent", `docs, host: db1, kind: files, repository: veeam, policy: files-1y, runner: "db[1]"`, `docs, host: mute, kind: files, repository: veeam, policy: files-1y`, `f.yaml:32:24: host mute of data set docs has no agent, which would do the work; add runner: and the name of a host with an agent`},
		{"runners of another length", `runner: hv1`, `runner: "db[1-3]"`, `f.yaml:31:119: runner "db[1-3]" stands for 3, but the name for 2 hosts; make both ranges the same length`},
		{"one name for two", `name: "{name}-db"`, `name: people`, `f.yaml:16:11: data set people is of 2 hosts, but data sets have names of their own; put {name} into it, or a range of the same length`},
		{"names of another length", `vm[7-8]-image`, `vm[7-9]-image`, `f.yaml:31:12: data set "vm[7-9]-image" stands for 3, but the name for 2 hosts; make both ranges the same length`},
		{"name twice", `name: docs`, `name: DB1-db`, `f.yaml:32:12: data set DB1-db is already in line 16; rename one of them, or put {name} into it`},
		{"odd name of a data set", `name: docs`, `name: do/cs`, `f.yaml:32:12: a data set's name is "do/cs"; use letters, digits, hyphens, dots and underscores only`},
		{"name with an unknown place", `{name}-db"`, `{host}-db"`, `f.yaml:16:11: the data set's name "{host}-db" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"kind of nothing", `kind: image`, `kind: picture`, `f.yaml:31:53: kind is "picture"; write files, image or database`},
		{"files in a PostgreSQL repository", `kind: database`, `kind: files`, `f.yaml:18:11: data set {name}-db is of kind files, but repository pg holds databases; write database, or name another repository` + "\n" +
			`f.yaml:21:13: policy gold keeps logs, but data set {name}-db is of kind files; name a policy without logs`},
		{"other engine in a PostgreSQL repository", "    policy: gold\n", "    policy: gold\n    engine: sqlite\n", `f.yaml:22:13: engine of data set {name}-db is sqlite, but repository pg holds PostgreSQL databases; write postgresql, or leave the key out`},
		{"unknown engine", "    policy: gold\n", "    policy: gold\n    engine: mysql\n", `f.yaml:22:13: engine is "mysql"; write postgresql, sqlite or exec`},
		{"exec without a check", `check: [/opt/look]`, `engine: exec`, `f.yaml:32:123: engine of data set docs is exec, but nothing says what checks it; add check: and the program whose exit 0 is L3`},
		{"check of another engine", `check: [/opt/look]`, `engine: sqlite, check: [/opt/look]`, `f.yaml:32:139: data set docs has a check, which engine sqlite does not run: it has its own; write engine: exec, or remove it`},
		{"copies of another kind", `copies: [pg2]`, `copies: [hall]`, `f.yaml:20:14: copies of data set {name}-db are in hall, a repository of kind restic, where its source means nothing: its own is of kind postgresql; name one of the same kind, or make a data set of its own for it`},
		{"copies in itself", `copies: [pg2]`, `copies: [pg]`, `f.yaml:20:14: a copy of data set {name}-db lies in the repository itself; name another one, or remove it`},
		{"unknown copy", `copies: [pg2]`, `copies: [tape]`, `f.yaml:20:14: unknown repository "tape"; declare it in repositories: (known: away, hall, pg, pg2, veeam)`},
		{"logs of files", `policy: files-1y`, `policy: hourly-14d`, `f.yaml:32:69: policy hourly-14d keeps logs, but data set docs is of kind files; name a policy without logs`},
		{"logs in restic", `kind: files, repository: hall, policy: plain`, `kind: database, engine: sqlite, repository: hall, policy: hourly-14d`, `f.yaml:33:92: policy hourly-14d keeps logs, which nothing would make use of when data set winfiles is restored by restic; name a policy without logs, or write engine: postgresql`},
		{"level without an engine", `keep: 30d}`, `keep: 30d, level: L3, verify: 7d}`, `f.yaml:33:73: policy plain wants points to be verified to L3, but data set winfiles has neither an engine nor a check; give it engine: or check:, or name a policy with level: L2`},
		{"level without invariants", `keep: 30d}`, `keep: 30d, level: L4, verify: 7d}`, `f.yaml:33:73: policy plain wants points to be verified to L4, but data set winfiles has no invariants; give it invariants:, or name a policy with a lower level`},
		{"odd source of restic", `tag=x`, `user=x`, `f.yaml:33:88: source of data set winfiles has "user=x", which chooses nothing; write how restic knows its snapshots, as in host=db1,tag=pg,path=/srv`},
		{"source of restic without a value", `tag=x`, `tag=`, `f.yaml:33:88: source of data set winfiles has "tag=", which chooses nothing; write how restic knows its snapshots, as in host=db1,tag=pg,path=/srv`},
		{"relative path in a source", `path=D:\\data"`, `path=data"`, `f.yaml:33:88: source of data set winfiles has "path=data", which chooses nothing; write how restic knows its snapshots, as in host=db1,tag=pg,path=/srv`},
		{"source of many hosts", `target: "/img/{name}", part`, `source: tag=web, target: "/img/{name}", part`, `f.yaml:31:132: data set vm8-image has the source of data set vm7-image, but they are of two hosts; put {name} into source:, so that each host gets its own data back`},
		{"source of many databases", "    source: \"{name}\"\n", ``, `f.yaml:16:11: data set db2-db has the source of data set db1-db, but they are of two hosts; put {name} into source:, so that each host gets its own data back`},
		{"source outside of the repository", "    source: \"{name}\"\n", "    source: \"../{name}\"\n", `f.yaml:22:13: source of data set {name}-db is "../{name}", not a folder in its repository; write a folder below the repository's, or leave the key out`},
		{"target of many hosts", `target: "/img/{name}"`, `target: /img/web`, `f.yaml:31:132: data set vm8-image has the target of data set vm7-image in line 31, on the same runner; put {name} into it, so that one host's data never replaces another's`},
		{"relative target", `target: /srv/docs`, `target: docs`, `f.yaml:32:104: target of data set docs is "docs", not an absolute path on its runner, which runs Linux; write one such as /srv/data, without detours and without a slash at the end`},
		{"target with a slash", `target: /srv/docs`, `target: /srv/docs/`, `f.yaml:32:104: target of data set docs is "/srv/docs/", not an absolute path on its runner, which runs Linux; write one such as /srv/data, without detours and without a slash at the end`},
		{"target of everything", `target: /srv/docs`, `target: /`, `f.yaml:32:104: target of data set docs is "/", not an absolute path on its runner, which runs Linux; write one such as /srv/data, without detours and without a slash at the end`},
		{"target of the system", `target: /srv/docs`, `target: /etc`, `f.yaml:32:104: target of data set docs is "/etc", which the system on its runner lives in; write the folder below it that holds the data`},
		{"Linux target on Windows", `target: "D:\\data"`, `target: /srv/data`, `f.yaml:33:129: target of data set winfiles is "/srv/data", not an absolute path on its runner, which runs Windows; write one such as D:\data, without detours and without a slash at the end`},
		{"Windows target of the system", `target: "D:\\data"`, `target: "C:\\Windows"`, `f.yaml:33:129: target of data set winfiles is "C:\\Windows", which the system on its runner lives in; write the folder below it that holds the data`},
		{"Windows target on Linux", `target: /srv/docs`, `target: "D:\\data"`, `f.yaml:32:104: target of data set docs is "D:\\data", not an absolute path on its runner, which runs Linux; write one such as /srv/data, without detours and without a slash at the end`},
		{"relative scratch", `scratch: "D:\\scratch"`, `scratch: x`, `f.yaml:33:160: option scratch of data set winfiles is "x"; write the absolute path of a folder on its runner`},
		{"part outside", `part: "/img/{name}"`, `part: "../{name}"`, `f.yaml:31:153: part of data set vm[7-8]-image is "../{name}"; write a path such as srv/shares, or leave the key out for all of it`},
		{"unknown place in a target", `target: "/img/{name}"`, `target: "/img/{vm}"`, `f.yaml:31:132: target "/img/{vm}" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"no mac for a source", "    source: \"{name}\"\n", "    source: \"{mac}\"\n", `f.yaml:22:13: source is made of what host db1 does not have: "{mac}"; give the host a mac:, or write the value out`},
		{"secret of a data set", `{database: "p{4}"}`, `{password: hunter2}`, `f.yaml:24:15: option password is a secret, which does not belong into this file; write it as password: of the repository, as file:PATH or env:NAME`},
		{"size in words", `size: 40GB`, `size: 40 GB`, `f.yaml:25:11: size is "40 GB", not a size; write one such as 500MB, 40GB or 1.5TiB`},
		{"size of nothing", `size: 40GB`, `size: 0GB`, `f.yaml:25:11: size is "0GB"; write a size from 1B to 1000PB`},
		{"stopped for good", "    start: [systemctl, start, \"pg@{name}\"]\n", ``, `f.yaml:26:12: data set {name}-db is stopped for a restore, but nothing starts it again; add start:`},
		{"started while it runs", "    stop: [systemctl, stop, \"pg@{name}\"]\n", ``, `f.yaml:26:13: data set {name}-db is started after a restore, but nothing stops it before; add stop:`},
		{"command for a shell", `[systemctl, stop, "pg@{name}"]`, `systemctl stop pg`, `f.yaml:26:11: stop of data set {name}-db begins with "systemctl stop pg", which is no program; write a list, each word an item of its own, as in [systemctl, stop, postgresql]`},
		{"relative command", `[/opt/look]`, `[./look]`, `f.yaml:32:123: check of data set docs begins with "./look", which is no program; write a name such as systemctl, or an absolute path`},
		{"empty command", `[/opt/look]`, `[]`, `f.yaml:32:5: check of data set docs is empty; write the program and its arguments, or leave the key out`},
		{"unknown place in a command", `[/opt/look]`, `[/opt/look, '{}']`, `f.yaml:32:134: check of data set docs: "{}" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"long command", `[/opt/look]`, `[/opt/look, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, b]`, `f.yaml:32:323: check of data set docs has more than 64 words; put it into a script of its own`},
		{"invariant of nothing", `sql: "select '{a}'", `, ``, `f.yaml:29:9: invariant unique asks nothing; add sql: and a query, or command: and a program`},
		{"invariant of both", `sql: "select '{a}'"`, `sql: select, command: x`, `f.yaml:29:29: invariant unique has both sql and command; keep one of the two`},
		{"invariant twice", `name: old`, `name: unique`, `f.yaml:30:16: data set {name}-db has two invariants named unique; rename one of them`},
		{"invariant without an engine", `check: [/opt/look]}`, `invariants: [{name: i, command: /opt/i, expect: equal}]}`, `f.yaml:32:128: data set docs has invariants, but neither an engine nor a check to go before them; add engine: postgresql or sqlite, or a check:`},
		{"SQL of exec", `check: [/opt/look]}`, `check: [/opt/look], invariants: [{name: i, sql: select, expect: equal}]}`, `f.yaml:32:163: invariant i has sql, which engine exec does not speak; write command: and a program`},
		{"invariant without an expectation", `, expect: equal`, ``, `f.yaml:29:9: invariant unique has no expect; add expect:`},
		{"unknown expectation", `expect: equal`, `expect: same`, `f.yaml:29:53: expect of invariant unique is "same"; write equal, "= X", "!= X", "< N", "<= N", "> N", ">= N" or "within 26h"`},
		{"expectation of no number", `expect: equal`, `expect: '>= many'`, `f.yaml:29:53: expect of invariant unique is ">= many", which compares with no number; write one such as ">= 1000"`},
		{"expectation of nothing", `expect: equal`, `expect: '!= '`, `f.yaml:29:53: expect of invariant unique is "!=", which compares with nothing; write a value after !=`},
		{"expectation of no time", `within 2d`, `within two days`, `f.yaml:30:63: expect of invariant old is "within two days", which is no length of time; write one such as within 26h or within 2d`},
		{"data before repair", "    - {name: ssh, environment: linux}\n    - {name: restore, kind: restore, estimate: 20m, reboots: true, resources: [hv, ssh], sets: [\"{name}-db\"]}\n", "    - {name: restore, kind: restore}\n    - {name: ssh, environment: linux}\n", `f.yaml:36:7: rung restore replaces what host db1 holds (data: primary) before rung ssh has tried to repair it; repair in place first: move it behind that one, or give hosts with data: none a ladder of their own`},
		{"own ladder without data sets", "ladder: [{name: back, kind: restore}]}\n", "}\n  - {name: own, ladder: [{name: back, kind: restore}]}\n", `f.yaml:47:26: rung back restores data sets of host own, which has none; add them to backups:, or remove the rung`},
		{"two runners on one rung", "runner: \"db[1]\", target: /srv/docs, check: [/opt/look]}\n", "target: /srv/docs, check: [/opt/look]}\n  - {name: more, host: web1, kind: files, repository: veeam, target: /srv/more}\n", `f.yaml:40:7: rung restore restores data sets vm7-image and more of host web1 together, but one runs on hv1 and the other on web1; name those of one runner in sets:`},
		{"targets in each other", "runner: \"db[1]\", target: /srv/docs, check: [/opt/look]}\n", "target: /srv/docs, check: [/opt/look]}\n  - {name: more, host: web1, kind: files, repository: veeam, runner: hv1, target: /img}\n", `f.yaml:40:7: rung restore restores data sets vm7-image and more of host web1 together, but one would replace the other: their targets are /img/web1 and /img; name only one of them in sets:`},
		{"two rungs that restore", "    - {name: restore, kind: restore}\n", "    - {name: restore, kind: restore}\n    - {name: again, kind: restore}\n", `f.yaml:40:7: host web1 has two rungs that restore, restore and again, and only one is taken; name all data sets that are to be restored in the sets: of one rung, or put hosts of different kinds on ladders of their own`},
		{"unknown data set on a rung", `sets: ["{name}-db"]`, `sets: ["{name}-db", dosc]`, `f.yaml:37:110: unknown data set "dosc"; did you mean docs?`},
		{"data set of nobody", `sets: ["{name}-db"]`, `sets: ["{name}-db", winfiles, "{name}-bd"]`, `f.yaml:37:110: data set "winfiles" is of no host with this ladder; correct the name, or remove it` + "\n" +
			`f.yaml:37:120: data set "{name}-bd" is of no host with this ladder; correct the name, or remove it`},
		{"no data sets on a rung", `sets: ["{name}-db"]`, `sets: []`, `f.yaml:37:7: rung restore restores an empty list of data sets; name data sets, or leave the key out for all of the host's`},
		{"unknown place on a rung", `sets: ["{name}-db"]`, `sets: ["{host}-db"]`, `f.yaml:37:97: a name in sets "{host}-db" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"sets of another rung", `{name: ssh, environment: linux}`, `{name: ssh, environment: linux, sets: docs}`, `f.yaml:36:45: rung ssh of kind ssh has sets; remove it, or write kind: restore`},
		{"user of a restore", `reboots: true`, `user: bob`, `f.yaml:37:59: rung restore of kind restore has user; remove it, or write kind: ssh`},
		{"unknown data sets of an unused ladder", `defaults: {os`, "  none: [{name: r, kind: restore, sets: x9}]\ndefaults: {os", `f.yaml:41:41: unknown data set "x9"; declare it in backups: (known: db1-db, db2-db, docs, vm7-image, vm8-image, winfiles)`},
		{"address of a restore", `{name: "web[1-3]", address`, `{name: "web[1-3]", addresses: {restore: 10.0.9.1}, address`, `f.yaml:44:36: host web[1-3] has no SSH rung named "restore"; name a rung of its ladder, or remove it`},
		{"repository as a resource of a rung", `resources: [hv, ssh]`, `resources: [hv, veeam]`, `f.yaml:37:84: repository veeam is named as a resource, but a restore takes its slot by itself; remove it`},
		{"repository as a resource of a host", `{name: hv1}`, `{name: hv1, resources: hall}`, `f.yaml:45:28: repository hall is named as a resource, but a restore takes its slot by itself; remove it`},
	} {
		t.Run(c.name, func(t *testing.T) { wantProblems(t, stored, c.old, c.new, c.want) })
	}
}

// wantProblems wants exactly the problems that a base has once a part of it was replaced.
func wantProblems(t *testing.T, base, old, other, want string) {
	t.Helper()
	if !strings.Contains(base, old) {
		t.Fatalf("the base has no %q", old)
	}
	_, err := Parse("f.yaml", []byte(strings.Replace(base, old, other, 1)))
	var list Errors
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want Errors", err)
	}
	if got := list.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBackupBounds: a file that asks for too much is refused before it costs much.
func TestBackupBounds(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const head = "fleet: f\ntiers: [{name: t}]\ndefaults: {os: linux, tier: t, data: none}\nhosts: [{name: 'h[1-15000]'}]\n"
	for _, c := range []struct{ name, text, want string }{
		{
			"hosts of an entry", head + "repositories: {pg: {postgresql: /p}}\nbackups:\n  - {name: '{name}', host: 'h[1-30000]', kind: database, repository: pg, target: /d}\n",
			`f.yaml:7:28: host "h[1-30000]" stands for more than 20000 names; write a smaller range`,
		},
		{
			"data sets", head + "repositories: {e: {exec: /p}}\nbackups:\n" +
				"  - {name: 'a-{name}', host: 'h[1-15000]', kind: files, repository: e, target: /d}\n  - {name: 'b-{name}', host: 'h[1-15000]', kind: files, repository: e, target: /e}\n",
			`f.yaml:8:30: backups makes more than 20000 data sets in all; leave out what need not be restored by itself, or split the estate`,
		},
		{"repositories", head + "repositories:\n" + many(201, "  r%d: {exec: /p}\n"), `f.yaml:206:3: there are more than 200 repositories; merge some`},
		{"policies", head + "backup-policies:\n" + many(201, "  - {name: p%d, every: 1h, keep: 1d}\n"), `f.yaml:206:5: there are more than 200 backup policies; merge some`},
		{
			"invariants", head + "repositories: {e: {exec: /p}}\nbackups:\n  - name: a\n    host: h1\n    kind: files\n    repository: e\n    target: /d\n    check: x\n    invariants:\n" +
				many(51, "      - {name: i%d, command: x, expect: equal}\n"),
			`f.yaml:64:9: data set a has more than 50 invariants; merge some`,
		},
		{
			"data sets of a rung", strings.Replace(head, "'h[1-15000]'", "h1, ladder: [{name: back, kind: restore}]", 1) + "repositories: {e: {exec: /p}}\nbackups:\n" +
				many(201, "  - {name: s%d, host: h1, kind: files, repository: e, target: '/d/%[1]d'}\n"),
			`f.yaml:4:29: rung back restores more than 200 data sets of host h1; name those to restore in sets:`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

// TestRestoreRungs: what a ladder of many hosts restores on each of them.
func TestRestoreRungs(t *testing.T) {
	const head = "fleet: f\ntiers: [{name: t}]\nrepositories: {e: {exec: /p}}\ndefaults: {os: linux, tier: t}\n"
	set := func(name, host, rest string) string {
		return fmt.Sprintf("  - {name: %s, host: %s, kind: files, repository: e, target: '/%s'%s}\n", name, host, name, rest)
	}
	for _, c := range []struct{ name, ladder, sets, data, want string }{
		{"all of the host's", "{name: r, kind: restore}", set("b", "h1", "") + set("a", "h1", "") + set("c", "h2", ""), "none", "h1: r [a b], hands; h2: r [c], hands; h3: hands"},
		{"some of them", "{name: r, kind: restore, sets: [a, c, c]}", set("b", "h1", "") + set("a", "h1", "") + set("c", "h2", ""), "none", "h1: r [a], hands; h2: r [c], hands; h3: hands"},
		{"by name", "{name: r, kind: restore, sets: 'x-{name}'}", set("x-h1", "h1", "") + set("a", "h1", "") + set("x-h2", "h3", ""), "none", "h1: r [x-h1], hands; h2: hands; h3: hands"},
		{"one for each kind of host", "{name: r, kind: restore, sets: a}, {name: q, kind: restore, sets: b}", set("a", "h1", "") + set("b", "h2", ""), "none", "h1: r [a], hands; h2: q [b], hands; h3: hands"},
		{"before others, without data", "{name: r, kind: restore}, {name: s, environment: linux}", set("a", "h1", ""), "none", "h1: r [a], s, hands; h2: s, hands; h3: s, hands"},
		{"after others, with data", "{name: s, environment: linux}, {name: r, kind: restore}", set("a", "h1", ""), "replica", "h1: s, r [a], hands; h2: s, hands; h3: s, hands"},
		{"dropped before others, with data", "{name: r, kind: restore, sets: [a]}, {name: s, environment: linux}", set("a", "h4", ""), "primary", "h1: s, hands; h2: s, hands; h3: s, hands"},
		{"by another host", "{name: r, kind: restore}", set("a", "h1", ", runner: h2") + set("b", "h1", ", runner: h2"), "none", "h1: r [a b], hands; h2: hands; h3: hands"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := head + "ladders: {l: [" + c.ladder + "]}\nbackups:\n" + c.sets +
				"hosts:\n  - {name: 'h[1-3]', address: 10.0.0.1, ladder: l, data: " + c.data + "}\n  - {name: h4, address: 10.0.0.9, data: none, ladder: l}\n"
			f, err := Parse("f.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			var hosts []string
			for _, h := range f.Hosts[:3] {
				var rungs []string
				for _, r := range h.Ladder {
					word := r.Name
					if len(r.Sets) > 0 {
						word += fmt.Sprint(" ", r.Sets)
					}
					rungs = append(rungs, word)
				}
				hosts = append(hosts, h.Name+": "+strings.Join(rungs, ", "))
			}
			if got := strings.Join(hosts, "; "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
