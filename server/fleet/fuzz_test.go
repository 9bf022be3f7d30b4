package fleet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// FuzzParse wants, of any input, no panic, and either problems with places in it or a fleet that keeps its promises.
func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(good))
	f.Add([]byte(outside))
	f.Add([]byte(strings.NewReplacer("PARTS", "  - {group: [one, two], power: {options: {m: '{4}'}}}\n  - {site: east, resources: []}", "HOSTS", "  - {name: 'a[1-4]', address: 10.0.0.1, power: {options: {l: 1}}}").Replace(layers)))
	f.Add([]byte(stored))
	for _, file := range []string{laddersPage, backupsPage} {
		_, page := example(f, file)
		f.Add([]byte(page))
	}
	f.Add([]byte("a: &a [*a, *a]\nb: *a"))
	f.Add([]byte("fleet: f\ntiers: [{name: t}]\nhosts: [{name: 'a[0-999999999]', tier: t, os: linux}]"))
	if estate, err := os.ReadFile("../../cmd/blackstart/estate-2024/fleet.yaml"); err == nil {
		f.Add(estate)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fleet, err := Parse("f.yaml", data)
		if err != nil {
			placed(t, err, data)
			return
		}
		promises(t, fleet)
	})
}

// secretPlace checks that a secret is only named.
func secretPlace(t *testing.T, ref string) {
	path, isFile := strings.CutPrefix(ref, "file:")
	if isFile && !filepath.IsAbs(path) || !isFile && ref != "" && !strings.HasPrefix(ref, "env:") {
		t.Fatalf("a secret is said to lie at %q", ref)
	}
}

// promises checks what the core relies on.
func promises(t *testing.T, f recovery.Fleet) {
	tiers, services, groups, resources := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, x := range f.Tiers {
		tiers[x.Name] = true
	}
	for _, x := range f.Services {
		services[x.Name] = true
	}
	for _, x := range f.Groups {
		groups[x.Name] = true
		if x.MaxAtOnce < 1 {
			t.Fatalf("group %+v", x)
		}
	}
	for _, x := range f.Resources {
		resources[x.Name] = true
		if x.Slots < 1 {
			t.Fatalf("resource %+v", x)
		}
	}
	if f.Name == "" || len(f.Hosts) == 0 || !resources[recovery.ResourceSSH] {
		t.Fatalf("fleet %q with %d hosts and resources %v", f.Name, len(f.Hosts), resources)
	}
	word := func(h recovery.Host, words ...string) {
		for _, w := range words {
			if w != "" && !oneWord.MatchString(w) {
				t.Fatalf("host %s has %q, which a shell does not take as one word", h.Name, w)
			}
		}
	}
	control := func(h recovery.Host, c *recovery.Control) {
		if c == nil {
			return
		}
		redfish := c.Kind == recovery.ControlRedfish
		if c.Name == "" || !redfish && c.Kind != recovery.ControlAgent || redfish != (c.Program == "") || redfish && !strings.HasPrefix(c.Options["url"], "https://") {
			t.Fatalf("host %s has the control %+v", h.Name, c)
		}
		for key, value := range c.Options {
			if secretive(key) || value == "" || strings.Contains(value, "{") || strings.ContainsFunc(key+value, unicode.IsControl) {
				t.Fatalf("host %s has the option %q=%q", h.Name, key, value)
			}
		}
		for _, ref := range c.Secrets {
			secretPlace(t, ref)
		}
	}
	before := ""
	ids := map[string]bool{}
	for _, h := range f.Hosts {
		if h.Name <= before || !tiers[h.Tier] || h.Service != "" && !services[h.Service] || h.Data == "" || h.OS == "" {
			t.Fatalf("host %+v after %s", h, before)
		}
		before = h.Name
		for _, g := range h.Groups {
			if !groups[g] {
				t.Fatalf("host %+v has an unknown group", h)
			}
		}
		for _, r := range h.Resources {
			if !resources[r] {
				t.Fatalf("host %+v has an unknown resource", h)
			}
		}
		word(h, append(h.MACs, h.Name, h.UUID)...)
		for _, id := range append(slices.Clip(h.MACs), h.UUID) {
			if id != "" && ids[id] {
				t.Fatalf("two hosts are %s", id)
			}
			ids[id] = true
		}
		control(h, h.Power)
		for i, r := range h.Ladder {
			word(h, r.Address)
			control(h, r.Boot)
			secretPlace(t, r.Unlock)
			for _, name := range r.Resources {
				if !resources[name] || slices.Contains(h.Resources, name) {
					t.Fatalf("host %+v has the rung %+v", h, r)
				}
			}
			if strings.Contains(r.Attach+r.Detach, "{") || (r.Kind == recovery.RungHelper) != (r.Attach != "" && r.Detach != "") || r.Boot != nil && r.Kind != recovery.RungRescue {
				t.Fatalf("host %s has the rung %+v", h.Name, r)
			}
			if r.Kind == recovery.RungRescue && (h.Power == nil || len(h.MACs) == 0 && h.UUID == "") || r.Restarts() && !r.Reboots {
				t.Fatalf("host %+v has the rung %+v", h, r)
			}
			last := i == len(h.Ladder)-1
			if restores := r.Kind == recovery.RungRestore; restores != (len(r.Sets) > 0) || restores && r.Address+r.Environment != "" {
				t.Fatalf("host %s has the rung %+v", h.Name, r)
			}
			if (r.Kind == recovery.RungHands) != last || byLogin(r.Kind) && (r.Address == "" || r.User == "" || r.Port < 1 || r.Port > 65535 || r.Environment == "") {
				t.Fatalf("host %s has the rung %+v", h.Name, r)
			}
		}
	}
	backupPromises(t, f)
}

// backupPromises checks what the core and the agents rely on: a restore never replaces another host's data, nor data that could still
// be repaired in place.
func backupPromises(t *testing.T, f recovery.Fleet) {
	hosts, kinds, policies, sets := map[string]recovery.Host{}, map[string]string{}, map[string]recovery.BackupPolicy{}, map[string]recovery.DataSet{}
	for _, h := range f.Hosts {
		hosts[h.Name] = h
	}
	for _, r := range f.Repositories {
		kinds[r.Name] = r.Kind
		if r.Kind == "" || r.Slots < 1 || r.Location == "" && r.Kind != recovery.RepositoryExec || r.Kind == recovery.RepositoryExec && r.Program == "" {
			t.Fatalf("repository %+v", r)
		}
		if !slices.Contains(f.Resources, recovery.Resource{Name: r.Name, Slots: r.Slots}) {
			t.Fatalf("repository %+v is no resource among %+v", r, f.Resources)
		}
		secretPlace(t, r.Password)
	}
	for _, p := range f.BackupPolicies {
		policies[p.Name] = p
		if p.Every <= 0 || p.Keep < p.Every || p.Level > recovery.L4 || (p.Level > recovery.L0) != (p.Verify > 0) {
			t.Fatalf("policy %+v", p)
		}
	}
	before, targets := "", map[string]string{}
	for _, d := range f.DataSets {
		p, promised := policies[d.Policy]
		runner, found := hosts[d.RunsOn()]
		if _, of := hosts[d.Host]; d.Name <= before || !of || !found || !runner.Agent || kinds[d.Repository] == "" || promised != (d.Policy != "") {
			t.Fatalf("data set %+v after %s", d, before)
		}
		before = d.Name
		for _, c := range d.Copies {
			if c == d.Repository || kinds[c] != kinds[d.Repository] {
				t.Fatalf("data set %+v has copies in %s", d, c)
			}
		}
		if p.Logs && d.Kind != recovery.PointDatabase || p.Level == recovery.L3 && d.Engine == "" || p.Level == recovery.L4 && len(d.Invariants) == 0 || len(d.Invariants) > 0 && d.Engine == "" {
			t.Fatalf("data set %+v cannot keep policy %+v", d, p)
		}
		if (d.Engine == recovery.EngineExec) != (len(d.Check) > 0) || (len(d.Stop) > 0) != (len(d.Start) > 0) || strings.HasPrefix(d.Part, "/") || slices.Contains(strings.Split(d.Part, "/"), "..") {
			t.Fatalf("data set %+v", d)
		}
		if windows := strings.HasPrefix(runner.OS, "windows"); !absoluteOn(d.Target, windows) {
			t.Fatalf("the target of %+v is no absolute path on %s", d, runner.OS)
		}
		for _, i := range d.Invariants {
			if (i.SQL == "") == (len(i.Command) == 0) || i.Expect == "" {
				t.Fatalf("data set %s has the invariant %+v", d.Name, i)
			}
		}
		place := d.RunsOn() + " " + d.Target
		if first, ok := targets[place]; ok && first != d.Host {
			t.Fatalf("hosts %s and %s are restored to %s", first, d.Host, place)
		}
		targets[place] = d.Host
		sets[d.Name] = d
	}
	for _, h := range f.Hosts {
		restores := 0
		for i, r := range h.Ladder {
			for _, name := range r.Sets {
				if d, ok := sets[name]; !ok || d.Host != h.Name || d.RunsOn() != firstRunner(sets, r.Sets) {
					t.Fatalf("host %s has the rung %+v", h.Name, r)
				}
			}
			if r.Kind != recovery.RungRestore {
				continue
			}
			restores++
			if h.Data != recovery.DataNone && slices.ContainsFunc(h.Ladder[i:], func(r recovery.Rung) bool { return byLogin(r.Kind) }) || restores > 1 {
				t.Fatalf("host %+v is restored before it is repaired, or twice", h)
			}
		}
	}
}

func firstRunner(sets map[string]recovery.DataSet, names []string) string {
	d := sets[names[0]]
	return d.RunsOn()
}
