package fleet

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const smallINI = `# the estate
[web]
web[01:02] ansible_port=2222
on ansible_host=10.0.1.3 http_port=80
[db]
db1 ansible_host=10.0.2.1 ansible_user=dba
"1.10" ansible_host=fd00::10
[site:children]
web
db
[site:vars]
ansible_user=root
ansible_ssh_common_args='-o StrictHostKeyChecking=no -J ops@10.0.0.5'
[desktops]
pc1 ansible_host=pc1.example.org
`

func TestImportAnsible(t *testing.T) {
	made, err := ImportAnsible("small estate.ini", []byte(smallINI), ImportOptions{
		File: "f.yaml", Tiers: []string{"Tier 0"}, Defaults: []string{"user=admin", "edr=crowdstrike-falcon", "edr-version=7.11"},
		Map: []string{"site=service:web shop", "site=tier:later", "db=service:databases", "db=tier:Tier 0", "web=site:hall-a", "all=os:linux", "desktops=os:windows-11", "site=council:North & South"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Made by ` + "`blackstart fleet import`" + ` from small estate.ini.
# Whatever says FILL-IN only a person can know: ` + "`blackstart fleet check`" + ` lists each such place.

fleet: small-estate

# The order of recovery: the hosts of the first tier are wave 1, and so on.
tiers:
  - name: tier-0
    title: "Tier 0"
  - name: later

services:
  - {name: databases, tier: tier-0, council: "North & South"}
  - {name: unsorted, tier: FILL-IN}  # 1 host of which nothing says what they are for
  - {name: web-shop, title: "web shop", tier: later, council: "North & South"}

# A number behind a site limits how many of its hosts may be worked on at once.
sites:
  hall-a:

# Ways into hosts. Their keys come from ` + "`serve --known-hosts`" + `, or stand here as host-keys:.
ladders:
  ssh-root-jump:
    - {name: ssh, environment: linux, user: root, jump: ["ops@10.0.0.5:22"]}
  ssh-root-2222-jump:
    - {name: ssh, environment: linux, user: root, port: 2222, jump: ["ops@10.0.0.5:22"]}
  ssh-dba-jump:
    - {name: ssh, environment: linux, user: dba, jump: ["ops@10.0.0.5:22"]}
  ssh-admin:
    - {name: ssh, environment: FILL-IN, user: admin}  # rescue-linux or windows-safe-mode, and reboots: true if getting there restarts the host

# What a host has that says nothing else.
defaults:
  os: linux
  data: FILL-IN  # none (stateless), replica (can be rebuilt from a peer) or primary (the only good copy)
  ladder: ssh-root-jump
  edr: {product: crowdstrike-falcon, version: "7.11"}

hosts:
  - {name: "1.10", address: "fd00::10", service: databases}
  - {name: db1, address: 10.0.2.1, service: databases, ladder: ssh-dba-jump}
  - {name: "on", address: 10.0.1.3, service: web-shop, site: hall-a}
  - {name: pc1, address: FILL-IN, service: unsorted, os: windows-11, ladder: ssh-admin}  # pc1.example.org; in desktops
  - {name: web01, address: FILL-IN, service: web-shop, site: hall-a, ladder: ssh-root-2222-jump}
  - {name: web02, address: FILL-IN, service: web-shop, site: hall-a, ladder: ssh-root-2222-jump}
`
	if got := string(made.File); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const blanks = `f.yaml:14:28: tier of service unsorted is still to be filled in; write it in place of FILL-IN
f.yaml:30:32: environment of rung ssh is still to be filled in; write it in place of FILL-IN
f.yaml:35:9: the default data is still to be filled in; write it in place of FILL-IN
f.yaml:43:26: address of host pc1 is still to be filled in; write it in place of FILL-IN
f.yaml:44:28: address of host web01 is still to be filled in; write it in place of FILL-IN
f.yaml:45:28: address of host web02 is still to be filled in; write it in place of FILL-IN`
	if got := made.Blanks.Error(); got != blanks {
		t.Errorf("got\n%s\nwant\n%s", got, blanks)
	}
	if made.Hosts != 6 || made.Services != 3 || made.Tiers != 2 || made.Ladders != 4 || made.Fleet != "small-estate" || made.Skipped != 0 {
		t.Errorf("the account is %+v", made)
	}
	if want := []Aside{{"http_port", 1}, {"ssh -o StrictHostKeyChecking", 1}}; !slices.Equal(made.Aside, want) {
		t.Errorf("aside are %v, want %v", made.Aside, want)
	}
	text := strings.ReplaceAll(strings.ReplaceAll(string(made.File), "tier: FILL-IN", "tier: later"), "data: FILL-IN", "data: none")
	text = strings.ReplaceAll(text, "environment: FILL-IN", "environment: windows-safe-mode")
	for i := range 3 {
		text = strings.Replace(text, "FILL-IN  #", "FILL-IN #", 1)
		text = strings.Replace(text, "address: FILL-IN", fmt.Sprintf("address: 10.9.9.%d", i+1), 1)
	}
	f, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	promises(t, f)
	if h := f.Hosts[0]; h.Name != "1.10" || h.Tier != "tier-0" || h.Council != "North & South" || h.Ladder[0].Address != "fd00::10" || h.EDR.Version != "7.11" {
		t.Errorf("the first host is %+v", h)
	}
}

// TestImportMarksFewPlaces: what one line can say for all is to be written once, whatever the number of hosts.
func TestImportMarksFewPlaces(t *testing.T) {
	made, err := ImportAnsible("large.ini", largeINI(5000), ImportOptions{File: "f.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range made.Blanks {
		got = append(got, b.Message)
	}
	want := []string{
		"name of tier is still to be filled in", "tier of service unsorted is still to be filled in", "the default os is still to be filled in",
		"the default data is still to be filled in", "product of edr is still to be filled in",
	}
	if !slices.Equal(got, want) || made.Hosts != 5000 {
		t.Errorf("%d hosts, blanks %q, want %q", made.Hosts, got, want)
	}
	csv := "name,tier,os,user\n" + strings.Repeat("x", 3)
	for i := range 5000 {
		csv += fmt.Sprintf("%d,%s,%s,%s\n", i, []string{"a", ""}[i%2], []string{"linux", "windows", ""}[i%3], []string{"root", ""}[i%2])
	}
	if made, err = ImportCSV("l.csv", []byte(csv), ImportOptions{Defaults: []string{"service=one", "environment=rescue-linux"}}); err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, b := range made.Blanks {
		if !strings.HasPrefix(b.Message, "address of host") {
			got = append(got, b.Message)
		}
	}
	if len(got) != 5 || len(made.Blanks) != 5005 { // tier of the service, user of a ladder, os, data, edr
		t.Errorf("%d blanks, beside addresses %q", len(made.Blanks), got)
	}
}

const smallCSV = "\ufeffsep=;\r\nHostname;IP address;Port;Application;Tier;Site;OS;Data;Critical;Agent;EDR;EDR version;user;jump;Rack\r\n" +
	"dc1;10.0.0.1;;Directory;Zero;Hall A;windows-2019;replica;yes;;falcon;7.10;admin;;R1\r\n" +
	";;;;;;;;;;;;;;\r\n" +
	"\"web1\";fd00::1;2222;Web \"\"Shop\"\";One;Hall A;linux;none;no;no;falcon;7.11;root;ops@10.0.0.5, ops@10.0.0.6:2022;R2\r\n" +
	"web2;10.0.0.3;22;Web \"\"Shop\"\";Two;;linux;none;;yes;other;;root;;\r\n"

func TestImportCSV(t *testing.T) {
	text := strings.ReplaceAll(smallCSV, `Web ""Shop""`, `"Web ""Shop"""`)
	made, err := ImportCSV("servers.csv", []byte(text), ImportOptions{Defaults: []string{"environment=rescue-linux", "council=North"}, Tiers: []string{"Zero", "One", "Two"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Blanks) > 0 {
		t.Fatalf("to fill in: %v in\n%s", made.Blanks, made.File)
	}
	f, err := Parse("f.yaml", made.File)
	if err != nil {
		t.Fatal(err)
	}
	promises(t, f)
	hands := recovery.Rung{Name: "hands", Kind: recovery.RungHands}
	rung := func(address string, port int, user string, jump ...string) []recovery.Rung {
		return []recovery.Rung{{Name: "ssh", Kind: recovery.RungSSH, Environment: recovery.EnvRescueLinux, Address: address, Port: port, User: user, Jump: jump}, hands}
	}
	want := []recovery.Host{
		{Name: "dc1", Service: "Directory", Tier: "Zero", Council: "North", Site: "hall-a", OS: "windows-2019", Data: recovery.DataReplica, Critical: true, Agent: true, EDR: recovery.EDR{Product: "falcon", Version: "7.10"}, Ladder: rung("10.0.0.1", 22, "admin")},
		{Name: "web1", Service: "web-shop", Tier: "One", Council: "North", Site: "hall-a", OS: "linux", Data: recovery.DataNone, EDR: recovery.EDR{Product: "falcon", Version: "7.11"}, Ladder: rung("fd00::1", 2222, "root", "ops@10.0.0.5:22", "ops@10.0.0.6:2022")},
		{Name: "web2", Service: "web-shop", Tier: "Two", Council: "North", OS: "linux", Data: recovery.DataNone, Agent: true, EDR: recovery.EDR{Product: "other"}, Ladder: rung("10.0.0.3", 22, "root")},
	}
	for i, h := range f.Hosts {
		if got, want := fmt.Sprintf("%+v", h), fmt.Sprintf("%+v", want[i]); got != want {
			t.Errorf("got\n%s\nwant\n%s\nof\n%s", got, want, made.File)
		}
	}
	if len(f.Hosts) != 3 || f.Services[1].Title != `Web "Shop"` || f.Tiers[0].Name != "Zero" || f.Tiers[2].Name != "Two" {
		t.Errorf("fleet %+v", f)
	}
	if want := []Aside{{"Rack", 2}}; !slices.Equal(made.Aside, want) {
		t.Errorf("aside are %v, want %v", made.Aside, want)
	}
}

// TestImportMaps: what --map, --skip and --default say, and what they may not.
func TestImportMaps(t *testing.T) {
	const inventory = "[a]\nh1\nboth\n[b]\nh2\nboth\n[ab:children]\na\nb\n[away]\nx1 ansible_connection=docker\n[in:children]\na\n[loose]\nlo ansible_connection=local\n"
	tiers := func(o ImportOptions) string {
		made, err := ImportAnsible("i.ini", []byte(inventory), o)
		if err != nil {
			return err.Error()
		}
		var b strings.Builder
		_, hosts, _ := strings.Cut(string(made.File), "\nhosts:\n")
		for line := range strings.Lines(hosts) {
			name, rest, _ := strings.Cut(strings.TrimPrefix(line, "  - {name: "), ",")
			_, site, _ := strings.Cut(rest, "site: ")
			site, _, _ = strings.Cut(site, "}")
			b.WriteString(name + "=" + site + " ")
		}
		return fmt.Sprintf("%d %s", made.Skipped, b.String())
	}
	skip := []string{"away", "lo"}
	for _, c := range []struct {
		name string
		o    ImportOptions
		want string
	}{
		{"nothing", ImportOptions{Skip: skip}, "2 both= h1= h2= "},
		{"outer and inner", ImportOptions{Skip: skip, Map: []string{"all=site:x", "ab=site:w", "a=site:z"}}, "2 both=z h1=z h2=w "},
		{"order of flags does not matter", ImportOptions{Skip: skip, Map: []string{"a=site:z", "ab=site:w", "all=site:x"}}, "2 both=z h1=z h2=w "},
		{"default", ImportOptions{Skip: skip, Map: []string{"b=site:x"}, Defaults: []string{"site=w"}}, "2 both=x h1=w h2=x "},
		{"agreeing", ImportOptions{Skip: skip, Map: []string{"a=site:x", "b=site:x"}}, "2 both=x h1=x h2=x "},
		{"beside each other", ImportOptions{Skip: skip, Map: []string{"a=site:x", "b=site:w"}}, "i.ini:3:1: host both is in groups a and b, of which --map makes the sites x and w; map one of the two, or a group that is in both"},
		{"deeper is not inside", ImportOptions{Skip: skip, Map: []string{"in=site:x", "b=site:w"}}, "i.ini:3:1: host both is in groups in and b, of which --map makes the sites x and w; map one of the two, or a group that is in both"},
		{"not skipped", ImportOptions{Skip: []string{"away"}}, `i.ini:15:4: ansible_connection is "local", but Blackstart reaches hosts by ssh; leave these hosts out with --skip, or correct it`},
		{"all skipped", ImportOptions{Skip: []string{"all"}}, "i.ini leaves no host: skip fewer"},
		{"unknown group", ImportOptions{Map: []string{"aba=site:x"}}, `--map "aba=site:x": there is no group "aba" in i.ini: did you mean ab?`},
		{"unknown to skip", ImportOptions{Skip: []string{"nobody"}}, `--skip "nobody": there is no group or host "nobody" in i.ini: look it up there (known: a, ab, all, away, b, in, loose, ungrouped)`},
		{"no kind", ImportOptions{Map: []string{"a=x"}}, `--map "a=x": write it as GROUP=KIND:NAME, where KIND is service, tier, site, council, os, data, edr or edr-version`},
		{"unknown kind", ImportOptions{Map: []string{"a=wave:x"}}, `--map "a=wave:x": write it as GROUP=KIND:NAME, where KIND is service, tier, site, council, os, data, edr or edr-version`},
		{"twice", ImportOptions{Map: []string{"a=tier:x", "a=tier:y"}}, "--map gives group a the tiers x and y: keep one"},
		{"bad value", ImportOptions{Map: []string{"a=data:some"}}, `--map "a=data:some": data is "some": write none, replica or primary`},
		{"bad default", ImportOptions{Defaults: []string{"os=beos"}}, `--default "os=beos": os is "beos": write windows or linux, with an optional version after a hyphen`},
		{"unknown default", ImportOptions{Defaults: []string{"colour=red"}}, `--default "colour=red": write it as FIELD=VALUE, where FIELD is service, tier, site, council, os, data, edr, edr-version, user or environment`},
		{"default twice", ImportOptions{Defaults: []string{"os=linux", "os=windows"}}, "--default names os twice: keep one"},
		{"bad tier", ImportOptions{Tiers: []string{"!"}}, `--tiers: tier is "!", of which no name can be made: use letters, digits, hyphens, dots and underscores`},
		{"bad name", ImportOptions{Name: "a b"}, `--name is "a b": use letters, digits, hyphens, dots and underscores only`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := tiers(c.o); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	for _, c := range []struct {
		maps []string
		want string
	}{
		{[]string{"Box"}, `--map "Box": write it as COLUMN=FIELD, where FIELD is name, address, port, user, jump, critical, agent, service, tier, site, council, os, data, edr or edr-version`},
		{[]string{"Boks=name"}, `--map "Boks=name": there is no column "Boks" in l.csv: did you mean Box?`},
		{[]string{"Box=name", "name=name"}, `--map "name=name": the column or the field is mapped already: keep one`},
		{[]string{"Box=name"}, ""},
	} {
		if _, err := ImportCSV("l.csv", []byte("Box,name\nh1,other one\n"), ImportOptions{Map: c.maps}); fmt.Sprint(err) != cmp.Or(c.want, "<nil>") {
			t.Errorf("%v: got %v, want %s", c.maps, err, c.want)
		}
	}
}

// TestImportNotes: what a person must know is said.
func TestImportNotes(t *testing.T) {
	made, err := ImportAnsible("i.ini", []byte("h1 ansible_become=true ansible_password=hunter2\n"), ImportOptions{})
	if err != nil || len(made.Notes) != 1 || !strings.Contains(made.Notes[0], "without sudo") {
		t.Errorf("%v, notes %q", err, made.Notes)
	}
	if bytes.Contains(made.File, []byte("hunter2")) {
		t.Error("a password was written")
	}
	made, err = ImportCSV("l.csv", []byte("name,tier\nh1,b\nh2,a\n"), ImportOptions{})
	if err != nil || len(made.Notes) != 1 || !strings.Contains(made.Notes[0], "--tiers") {
		t.Errorf("%v, notes %q", err, made.Notes)
	}
}

// TestJumpHosts: a jump host without a user or an address is marked, and the way to write it kept.
func TestJumpHosts(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-J ops@10.0.0.5", `"ops@10.0.0.5:22"`},
		{"-Jops@10.0.0.5:2222,root@10.0.0.6", `"ops@10.0.0.5:2222", "root@10.0.0.6:22"`},
		{"-o ProxyJump=ops@[fd00::5]:2222 -C -q", `"ops@[fd00::5]:2222"`},
		{"-oProxyJump=ssh://ops@10.0.0.5:22/", `"ops@10.0.0.5:22"`},
		{`-o \"proxyjump ops@fd00::5\" -i ~/.ssh/key`, `"ops@[fd00::5]:22"`},
		{"-J 10.0.0.5", `"FILL-IN@10.0.0.5:22"`},
		{"-J ops@bastion.lan:2222", `"ops@FILL-IN:2222"`},
		{"-J none", ""},
	} {
		made, err := ImportAnsible("i.ini", []byte("h1 ansible_ssh_common_args=\"'"+c.args+"'\"\n"), ImportOptions{})
		if c.want == "" && (err != nil || bytes.Contains(made.File, []byte("jump:"))) || !bytes.Contains(made.File, []byte(c.want)) {
			t.Errorf("%s: %v\n%s", c.args, err, made.File)
		}
		blank := slices.ContainsFunc(made.Blanks, func(e Error) bool { return e.Message == "jump of rung ssh is still to be filled in" })
		if blank != strings.Contains(c.want, fillIn) {
			t.Errorf("%s: blanks %v", c.args, made.Blanks)
		}
	}
}

// TestHostileWords: whatever a name looks like, it is read back as the same text.
func TestHostileWords(t *testing.T) {
	for _, s := range hostileWords {
		r := &reader{problems: problems{file: "f"}}
		root := r.document([]byte("{a: "+yamlWord(s)+", b: ["+yamlWord(s)+"]}"), "")
		if root == nil || root.Content[1].Value != s || root.Content[1].Tag != "!!str" || root.Content[3].Content[0].Value != s {
			t.Errorf("%q became %s: %v", s, yamlWord(s), r.list)
		}
	}
}

var hostileWords = []string{
	"1.10", "on", "ON", "y", "n", "No", "null", "~", "0x1f", "007", "1e5", "1_000", "1:30", "2024-07-19", "=", "<<", "-", "- a", "?", ": ", "a: b", "a #b", "#", "&a", "*a",
	"!tag", "%x", "@x", "`x`", "{a}", "[a]", "a, b", "'", `"`, `\`, `a\nb`, "a\tb", " a ", "", "Ünïcode", "東京", "☀️", "\u00a0", "\ufeff", "\u0085", "\u2028", "e\u0301", "10.0.0.1", "::1", "true", ".inf", "FILL-IN?",
}

// TestImportScale imports ten times the hosts in not much more than ten times the time.
func TestImportScale(t *testing.T) {
	took := func(hosts int) time.Duration {
		data := largeINI(hosts)
		best := time.Hour
		for range 3 {
			start := time.Now()
			if made, err := ImportAnsible("large.ini", data, ImportOptions{}); err != nil || made.Hosts != hosts {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	small, large := took(500), took(5000)
	t.Logf("500 hosts in %s, 5,000 in %s", small, large)
	if large > 40*max(small, 5*time.Millisecond) {
		t.Errorf("ten times the hosts took %s instead of %s", large, small)
	}
}

func BenchmarkImport(b *testing.B) {
	for _, n := range []int{500, 5000} {
		ini, yml := largeINI(n), largeYAML(n)
		run := func(name, file string, data []byte, read func(string, []byte, ImportOptions) (Imported, error)) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if _, err := read(file, data, ImportOptions{}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/host")
			})
		}
		var list strings.Builder
		list.WriteString("name,address,service\n")
		for i := range n {
			fmt.Fprintf(&list, "h%d,10.%d.%d.%d,s%d\n", i, i>>16, i>>8&255, i&255, i%50)
		}
		run("ini", "i.ini", ini, ImportAnsible)
		run("yaml", "i.yml", yml, ImportAnsible)
		run("csv", "l.csv", []byte(list.String()), ImportCSV)
	}
}
