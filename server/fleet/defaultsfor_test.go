package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// layers is a file in which every host can get its settings from four places; PARTS and HOSTS are put in.
const layers = `fleet: f
tiers: [{name: t}]
sites: {east: , west: }
resources: {hv: 2, san: 2}
groups:
  - {name: one, max-at-once: 9, members: "a[1-2]"}
  - {name: two, max-at-once: 9, members: "a[2-3]"}
  - {name: own, max-at-once: 9}
power:
  p0: {agent: x, options: {k: p0, l: p0}}
  p1: {agent: x, options: {k: p1}}
ladders:
  l0: [{name: zero, environment: linux}]
  l1: [{name: one, environment: linux}]
  l2: [{name: two, environment: linux}]
defaults: {os: linux, tier: t, site: east, ladder: l0, power: p0, groups: own}
defaults-for:
PARTS
hosts:
HOSTS
`

func layered(parts, hosts string) (recovery.Fleet, error) {
	return Parse("f.yaml", []byte(strings.NewReplacer("PARTS", parts, "HOSTS", hosts).Replace(layers)))
}

// TestPrecedence: a host's own words come first, then its groups', its site's, and defaults.
func TestPrecedence(t *testing.T) {
	const every = `  - {name: "a[1-4]", address: 10.0.0.1}`
	power := func(h recovery.Host) string {
		if h.Power == nil {
			return "none"
		}
		return fmt.Sprint(h.Power.Name, h.Power.Options)
	}
	ladder := func(h recovery.Host) string { return h.Ladder[0].Name }
	for _, c := range []struct {
		name, parts, hosts string
		what               func(recovery.Host) string
		want               string
	}{
		{"nothing but defaults", "", every, ladder, "zero zero zero zero"},
		{"site", "  - {site: east, ladder: l1}", every, ladder, "one one one one"},
		{"another site", "  - {site: west, ladder: l1}", every, ladder, "zero zero zero zero"},
		{"list of sites", "  - {site: [west, east], ladder: l1}", every, ladder, "one one one one"},
		{"group by its members", "  - {group: two, ladder: l1}", every, ladder, "zero one one zero"},
		{"group of the host's own", "  - {group: own, ladder: l1}", `  - {name: "a[1-3]", address: 10.0.0.1, groups: []}` + "\n" + `  - {name: a4, address: 10.0.0.4}`, ladder, "zero zero zero one"},
		{"group of defaults", "  - {group: own, ladder: l1}", every, ladder, "one one one one"},
		{"group before site", "  - {site: east, ladder: l1}\n  - {group: one, ladder: l2}", every, ladder, "two two one one"},
		{"host before group", "  - {group: one, ladder: l2}", `  - {name: "a[1-4]", address: 10.0.0.1, ladder: l1}`, ladder, "one one one one"},
		{"groups that agree", "  - {group: one, ladder: l1}\n  - {group: two, ladder: l1}", every, ladder, "one one one zero"},
		{"groups that say different things", "  - {group: one, ladder: l1}\n  - {group: two, power: p1}", every, power, "p0map[k:p0 l:p0] p1map[k:p1] p1map[k:p1] p0map[k:p0 l:p0]"},
		{"groups that differ where the host says it", "  - {group: one, ladder: l1}\n  - {group: two, ladder: l2}", `  - {name: "a[1-4]", address: 10.0.0.1, ladder: l0}`, ladder, "zero zero zero zero"},
		{"ladder written out", "  - {group: two, ladder: [{name: out, environment: linux}]}", every, ladder, "zero out out zero"},
		{"nobody's power", "  - {group: one, power: none}", every, power, "none none p0map[k:p0 l:p0] p0map[k:p0 l:p0]"},
		{"options on top", "", `  - {name: "a[1-4]", address: 10.0.0.1, power: {options: {l: "{name}", m: 1}}}`, power, "p0map[k:p0 l:a1 m:1] p0map[k:p0 l:a2 m:1] p0map[k:p0 l:a3 m:1] p0map[k:p0 l:a4 m:1]"},
		{
			"options of host, group and site", "  - {group: one, power: {options: {k: g, m: g}}}\n  - {site: east, power: {use: p1, options: {m: s, n: s}}}",
			`  - {name: "a[1-4]", address: 10.0.0.1, power: {options: {k: h}}}`, power,
			"p1map[k:h m:g n:s] p1map[k:h m:g n:s] p1map[k:h m:s n:s] p1map[k:h m:s n:s]",
		},
		{"use of its own", "  - {site: east, power: {use: p0, options: {m: s}}}", `  - {name: "a[1-4]", address: 10.0.0.1, power: p1}`, power, "p1map[k:p1] p1map[k:p1] p1map[k:p1] p1map[k:p1]"},
		{
			"all the rest", "  - {group: one, data: none, critical: true, agent: false, resources: [hv, san], edr: {product: e, version: 1.10}, os: linux-6}", every,
			func(h recovery.Host) string {
				return fmt.Sprintf("%s/%t/%t/%s/%s/%s", h.Data, h.Critical, h.Agent, h.Resources, h.EDR, h.OS)
			},
			"none/true/false/[hv san]/{e 1.10}/linux-6 none/true/false/[hv san]/{e 1.10}/linux-6 primary/false/true/[]/{ }/linux primary/false/true/[]/{ }/linux",
		},
		{"no resources after all", "  - {site: east, resources: [hv]}\n  - {group: one, resources: []}", every, func(h recovery.Host) string { return fmt.Sprint(h.Resources) }, "[] [] [hv] [hv]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := layered(c.parts, c.hosts)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, h := range f.Hosts {
				got = append(got, c.what(h))
				for _, r := range h.Ladder[:len(h.Ladder)-1] {
					if want := fmt.Sprintf("10.0.0.%d", i+1); r.Address != want {
						t.Errorf("rung %s of %s leads to %s, want %s", r.Name, h.Name, r.Address, want)
					}
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %s, want %s", strings.Join(got, " "), c.want)
			}
		})
	}
}

func TestBadParts(t *testing.T) {
	const every = `  - {name: "a[1-4]", address: 10.0.0.1}`
	for _, c := range []struct{ name, parts, hosts, want string }{
		{
			"two groups that differ", "  - {group: one, ladder: l1}\n  - {group: two, ladder: l2}", every,
			`f.yaml:19:26: host a2 gets ladder l2 here, but l1 in line 18, and neither goes before the other; write ladder: on the host, or in one of these lines only`,
		},
		{
			"one site twice", "  - {site: east, power: p0}\n  - {site: east, power: {use: p0, options: {m: 1}}}", every,
			`f.yaml:19:25: host a[1-4] gets power p0 m=1 here, but p0 in line 18, and neither goes before the other; write power: on the host, or in one of these lines only`,
		},
		{
			"lists that differ", "  - {group: one, resources: [hv]}\n  - {group: two, resources: []}", every,
			`f.yaml:19:5: host a2 gets resources [] here, but [hv] in line 18, and neither goes before the other; write resources: on the host, or in one of these lines only`,
		},
		{"neither site nor group", "  - {ladder: l1}", every, `f.yaml:18:5: an entry of defaults-for is for one or more sites, or for one or more groups; write one of site: and group:`},
		{"site and group", "  - {site: east, group: one, ladder: l1}", every, `f.yaml:18:5: an entry of defaults-for is for one or more sites, or for one or more groups; write one of site: and group:`},
		{"nothing to give", "  - {site: east}", every, `f.yaml:18:5: an entry of defaults-for gives nothing; write what its hosts get, or remove it`},
		{"unknown site", "  - {site: esat, ladder: l1}", every, `f.yaml:18:12: unknown site "esat"; did you mean east?`},
		{"unknown group", "  - {group: three, ladder: l1}", every, `f.yaml:18:13: unknown group "three"; declare it in groups: (known: one, own, two)`},
		{"unknown ladder that nobody uses", "  - {site: west, ladder: other}", every, `f.yaml:18:26: unknown ladder "other"; declare it in ladders: (known: l0, l1, l2)`},
		{"unknown power that nobody uses", "  - {site: west, power: other}", every, `f.yaml:18:25: unknown power control "other"; declare it in power: (known: p0, p1)`},
		{"what only a host has", "  - {site: west, service: x, ladder: l1}", every, `f.yaml:18:18: unknown key "service" in an entry of defaults-for; remove it (known: site, group, os, data, critical, resources, ladder, power, agent, edr)`},
		{"ladder that does not fit", "  - {group: two, os: windows}", `  - {name: "a[1-4]", address: 10.0.0.1, ladder: l0}`, "f.yaml:20:5: rung zero leads into linux, but the os of host a2 is windows; choose another ladder, or correct the rung's environment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := layered(c.parts, c.hosts)
			var list Errors
			if !errors.As(err, &list) {
				t.Fatalf("got %v, want Errors", err)
			}
			if got := list.Error(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}
