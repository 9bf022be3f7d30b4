package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	laddersPage = "../../docs/fleet-ladders.md"
	backupsPage = "../../docs/fleet-backups.md"
)

// example returns a page and the fleet file in it.
func example(t testing.TB, file string) (page, yaml string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(data), "```yaml\n")
	yaml, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("the page has no example")
	}
	return string(data), yaml
}

// TestPageExample loads the page's fleet file and holds what the page says of it.
func TestPageExample(t *testing.T) {
	_, yaml := example(t, laddersPage)
	f, err := Parse("/srv/fleet.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]recovery.Host{}
	for _, h := range f.Hosts {
		hosts[h.Name] = h
	}
	kinds := func(h recovery.Host) (list []string) {
		for _, r := range h.Ladder {
			list = append(list, r.Kind)
		}
		return list
	}
	app := hosts["app24"]
	if !slices.Equal(app.MACs, []string{"52:54:00:00:02:17"}) || app.Power.Options["ip"] != "10.90.2.34" || !slices.Equal(kinds(app), []string{"ssh", "race", "rescue", "hands"}) {
		t.Errorf("app24 is %+v with power %+v", app, app.Power)
	}
	if r := app.Ladder[2]; r.Unlock != "file:/srv/keys/app24" || r.Boot.Name != "pxe-once" || r.Boot.Secrets["password"] != "file:/srv/secrets/bmc-a" || !slices.Equal(r.Resources, []string{"power/bmc-a"}) {
		t.Errorf("rescue of app24 is %+v, boot %+v", r, r.Boot)
	}
	for _, name := range []string{"dc1", "dc2"} {
		if slices.ContainsFunc(hosts[name].Ladder, recovery.Rung.Restarts) || hosts[name].Site != "hall-a" {
			t.Errorf("%s is %+v", name, hosts[name])
		}
	}
	want := &recovery.Control{
		Name: "bmc-b", Kind: recovery.ControlRedfish, Options: map[string]string{"url": "https://10.90.3.11", "username": "blackstart", "ca": "/srv/certs/bmc-b.pem"},
		Secrets: map[string]string{"password": "env:BMC_B_PASSWORD"},
	}
	if web := hosts["web1"]; web.OS != "windows-2022" || !reflect.DeepEqual(web.Power, want) || !reflect.DeepEqual(web.Ladder[0].Boot, want) {
		t.Errorf("web1 is %+v with power %+v", web, web.Power)
	}
	if vm := hosts["vm9"]; vm.Power.Options["plug"] != "vm9" || vm.Ladder[1].Attach != "/usr/local/sbin/attach-disk vm9" || vm.Ladder[1].Address != "10.1.1.5" ||
		!slices.Equal(vm.Ladder[1].Resources, []string{"hypervisor-1", "power/hypervisor"}) {
		t.Errorf("vm9 is %+v with power %+v", vm, vm.Power)
	}
	folder := filepath.Dir(laddersPage)
	if _, err := os.Stat(filepath.Join(folder, "examples", "ipmi-boot")); err != nil {
		t.Errorf("the example's boot target is not beside the page: %v", err)
	}
}

// TestPageKeys compares the page's table of keys with those that each kind of rung takes.
func TestPageKeys(t *testing.T) {
	page, _ := example(t, laddersPage)
	_, table, _ := strings.Cut(page, "Keys beside `name`, `kind` and `estimate`:")
	table, _, _ = strings.Cut(table, "\n\nA rescue rung")
	told := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| ([a-z, ]+) \\|").FindAllStringSubmatch(table, -1) {
		told[row[1]] = row[2]
	}
	want := map[string][]string{}
	for _, k := range rungKinds {
		for key := range strings.FieldsSeq(k.keys) {
			want[key] = append(want[key], k.kind)
		}
	}
	for key, kinds := range want {
		if told[key] != strings.Join(kinds, ", ") {
			t.Errorf("the page says of key %s: on %q, want %q", key, told[key], strings.Join(kinds, ", "))
		}
	}
	if len(told) != len(want) {
		t.Errorf("the page has %d keys, want %d", len(told), len(want))
	}
	known := (&reader{}).shape(reflect.TypeFor[rungEntry]())
	for _, key := range known.keys {
		if _, ok := want[key]; !ok && !slices.Contains([]string{"name", "kind", "estimate"}, key) {
			t.Errorf("no kind of rung takes the key %s", key)
		}
	}
	for _, key := range (&reader{}).shape(reflect.TypeFor[controlEntry]()).keys {
		if !strings.Contains(page, "\n| `"+key+"` |") {
			t.Errorf("the page does not explain %s", key)
		}
	}
	for _, key := range (&reader{}).shape(reflect.TypeFor[partEntry]()).keys {
		if !strings.Contains(page[strings.Index(page, "## Defaults of"):], "`"+key+"`") {
			t.Errorf("the page does not say that defaults-for takes %s", key)
		}
	}
}

// TestBackupsPageExample loads the page's fleet file and holds what the page says of it.
func TestBackupsPageExample(t *testing.T) {
	_, yaml := example(t, backupsPage)
	f, err := Parse("/srv/fleet.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	ladders := map[string]string{}
	asks := map[string]recovery.Level{}
	for i, h := range f.Hosts {
		var words []string
		for _, r := range h.Ladder {
			words = append(words, strings.Join(append([]string{r.Name}, r.Sets...), " "))
		}
		ladders[h.Name], asks[h.Name] = strings.Join(words, ", "), f.Asks(&f.Hosts[i])
	}
	for host, want := range map[string]string{
		"ngt-caredb01": "ssh, restore people-db, hands", "ngt-files01": "ssh, restore shares, hands", "ngt-web06": "disk ngt-web06-disk, ssh, hands", "ngt-hv01": "ssh, hands", "ngt-bkp01": "ssh, hands",
	} {
		if ladders[host] != want {
			t.Errorf("the ladder of %s is %s, want %s", host, ladders[host], want)
		}
	}
	if asks["ngt-caredb01"] != recovery.L3 || asks["ngt-web01"] != recovery.L2 {
		t.Errorf("asked are %v", asks)
	}
	db := f.DataSets[slices.IndexFunc(f.DataSets, func(d recovery.DataSet) bool { return d.Name == "people-db" })]
	if db.Source != "ngt-caredb01" || db.Engine != recovery.EnginePostgreSQL || len(db.Invariants) != 2 {
		t.Errorf("people-db is %+v", db)
	}
	if len(f.DataSets) != 9 || len(LevelGaps(f)) > 0 {
		t.Errorf("there are %d data sets, with the gaps %+v", len(f.DataSets), LevelGaps(f))
	}
}

// TestBackupsPageKeys compares the page's tables with the keys of the file, and with the policies that are built in.
func TestBackupsPageKeys(t *testing.T) {
	page, _ := example(t, backupsPage)
	section := func(from, to string) string {
		_, rest, found := strings.Cut(page, from)
		part, _, closed := strings.Cut(rest, to)
		if !found || !closed {
			t.Fatalf("the page has no part from %q to %q", from, to)
		}
		return part
	}
	for _, c := range []struct {
		entry    reflect.Type
		from, to string
	}{
		{reflect.TypeFor[repositoryEntry](), "## Repositories", "## Policies"},
		{reflect.TypeFor[backupPolicyEntry](), "## Policies", "Three are built in"},
		{reflect.TypeFor[backupEntry](), "## Data sets", "An **invariant**"},
		{reflect.TypeFor[invariantEntry](), "An **invariant**", "## The rung"},
	} {
		var told []string
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section(c.from, c.to), -1) {
			told = append(told, row[1])
		}
		if keys := (&reader{}).shape(c.entry).keys; !slices.Equal(told, keys) {
			t.Errorf("the page's table after %q has the keys\n%v, want\n%v", c.from, told, keys)
		}
	}
	yesNo := map[bool]string{true: "yes", false: "no"}
	table := section("Three are built in", "An audit of the first two")
	for _, p := range builtInPolicies() {
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s | %s | %s |\n", p.Name, brief(p.Every), brief(p.Keep), yesNo[p.Logs], p.Level, brief(p.Verify), brief(p.Undetected), yesNo[p.OffSite])
		if !strings.Contains(table, row) {
			t.Errorf("the page lacks the row %s", row)
		}
	}
	for _, bound := range []string{"20,000 data sets", "200 repositories", "200 policies"} {
		if !strings.Contains(page, bound) {
			t.Errorf("the page does not say %q", bound)
		}
	}
	if maxSets != 20_000 || maxStores != 200 || maxPromises != 200 {
		t.Error("the bounds are not those that the page has")
	}
}
