package fleet

import (
	"errors"
	"strings"
	"testing"
)

// base is a small fleet without fault; bad inputs are made by replacing a part of it.
const base = `fleet: three-rivers
tiers:
  - name: first
    gate: {success: 90%}
  - name: second
services:
  - name: dns
    tier: first
  - name: housing
    tier: second
    needs: [dns]
sites: {hall: 4}
groups:
  - name: pair
    max-at-once: 1
    members: "ns[1-2]"
ladders:
  rescue:
    - name: rescue
      environment: rescue-linux
defaults:
  os: windows-2019
  ladder: rescue
hosts:
  - name: ns[1-2]
    service: dns
    address: 10.0.0.1
  - name: app[01-20]
    service: housing
    address: 10.0.1.[1-20]
    site: hall
`

const keyA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK0wmN/Cr3JXqmLW7u+g9pTh+wyqDHpSQEIQczXkVx9q"

func TestBadInputs(t *testing.T) {
	if _, err := Parse("f.yaml", []byte(base)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"empty", base, "", `f.yaml:1:1: the file is empty; write fleet:, tiers: and hosts:`},
		{"only a comment", base, "# nothing\n", `f.yaml:1:1: the file is empty; write fleet:, tiers: and hosts:`},
		{"no mapping", base, "hello", `f.yaml:1:1: the fleet file is the single value "hello"; write it as "key: value" lines`},
		{"not YAML", "  - name: ns", "   - name: ns", `f.yaml:26:5: this is not YAML: did not find expected '-' indicator (while parsing a block collection); check indentation, colons and quotes there`},
		{"unquoted range in braces", "    gate: {success: 90%}", "    gate: {success: 90[1]%}", `f.yaml:4:23: this is not YAML: did not find expected ',' or '}' (while parsing a flow mapping); quote values that hold brackets, as in {name: "app[01-24]"}`},
		{"not UTF-8", "three-rivers", "three-\xffrivers", `f.yaml:1:14: the byte 0xff is not UTF-8; save the file as UTF-8`},
		{"not UTF-8 further down", "tier: second", "tier: sec\xe9nd", `f.yaml:10:14: the byte 0xe9 is not UTF-8; save the file as UTF-8`},
		{"UTF-16", "fleet", "f\x00l\x00", `f.yaml:1:2: the byte 0x00 is a control character; remove it`},
		{"escape sequence", "three-rivers", `"three\e[31m"`, `f.yaml:1:8: fleet holds a control character: "three\x1b[31m"; write it on one line in plain characters`},
		{"second document", "sites:", "---\nsites:", `f.yaml:12:1: a second document begins here; remove the line --- and what follows`},
		{"too deep", "sites: {hall: 4}", "sites: " + strings.Repeat("[", 40), `f.yaml:12:38: this is not YAML: exceeded max depth of 30 (while increasing flow level); check indentation, colons and quotes there`},
		{"unknown key", "success", "succcess", `f.yaml:4:12: unknown key "succcess" in gate; did you mean success?`},
		{"unknown key, nothing like it", "success: 90%", "colour: red", `f.yaml:4:12: unknown key "colour" in gate; remove it (known: success, soak, approval, max-failed, max-unreachable, max-in-flight)`},
		{"key twice", "sites:", "fleet: again\nsites:", `f.yaml:12:1: "fleet" stands twice in the fleet file (first in line 1); keep one of the two`},
		{"host key twice", "    site: hall", "    site: hall\n    service: dns", `f.yaml:32:5: "service" stands twice in host (first in line 29); keep one of the two`},
		{"anchor and alias", "sites: {hall: 4}", "sites: &s {hall: 4}\nresources: *s", "f.yaml:12:8: an anchor (&s) is not allowed here; remove it; defaults and ladders say things once\nf.yaml:13:12: an alias (*s) is not allowed here; write the value out, or use defaults and ladders\nf.yaml:32:11: unknown site \"hall\"; declare it in sites:"},
		{"merge key", "    site: hall", "    <<: {site: hall}", `f.yaml:31:5: merging with << is not allowed; use defaults or a named ladder`},
		{"tag", "three-rivers", "!!binary aGk=", `f.yaml:1:8: a tag ("!!binary") is not allowed here; remove the tag`},
		{"value missing", "    site: hall", "    site:", `f.yaml:31:10: site has no value; write one or remove the key`},
		{"list for a word", "    site: hall", "    site: [hall]", `f.yaml:31:11: site is a list; write a single value`},
		{"empty item", "    - name: rescue\n", "    -\n    - name: rescue\n", `f.yaml:19:6: an item of ladders rescue is empty; write it, or remove its place in the list`},
		{"word for a host", "hosts:\n", "hosts:\n  - ns3\n", `f.yaml:25:5: host is the single value "ns3"; write it as "key: value" lines`},
		{"no list of hosts", base[strings.Index(base, "hosts:"):], "hosts:\n  ns:\n", `f.yaml:25:3: hosts is a block of "key: value", not a list; write each item on a line of its own after "- "`},
		{"bad duration", "    gate: {success: 90%}", "    rto: 5 hours", `f.yaml:4:10: rto is "5 hours", not a length of time; write one such as 90s, 10m, 8h30m or 2d`},
		{"negative duration", "    gate: {success: 90%}", "    rto: -5h", `f.yaml:4:10: rto is "-5h"; write a length of time between 0 and 3650d`},
		{"endless duration", "    gate: {success: 90%}", "    rto: 3650d1s", `f.yaml:4:10: rto is "3650d1s"; write a length of time between 0 and 3650d`},
		{"overflowing duration", "    gate: {success: 90%}", "    rto: 99999999999999999999d", `f.yaml:4:10: rto is "99999999999999999999d", not a length of time; write one such as 90s, 10m, 8h30m or 2d`},
		{"duration without unit", "success: 90%", "soak: 10", `f.yaml:4:18: soak is "10", not a length of time; write one such as 90s, 10m, 8h30m or 2d`},
		{"bad percentage", "90%", "90", `f.yaml:4:21: success is "90", not a percentage; write a whole one such as 90%`},
		{"success over 100", "90%", "101%", `f.yaml:4:21: success is "101%"; write a percentage from 1% to 100%`},
		{"success of 0", "90%", "0%", `f.yaml:4:21: success is "0%"; write a percentage from 1% to 100%`},
		{"bad limit", "90%", "90%, max-failed: some", `f.yaml:4:38: max-failed is "some", neither a count nor a percentage; write one such as 3 or 5%`},
		{"negative limit", "90%", "90%, max-failed: -3", `f.yaml:4:38: max-failed is "-3", neither a count nor a percentage; write one such as 3 or 5%`},
		{"impossible percentage", "90%", "90%, max-failed: 11%", `f.yaml:4:38: max-failed 11% is more than the 10% of tier first that success 90% leaves over; lower it to 10%, or lower success`},
		{"impossible count", "90%", "50%, max-unreachable: 2", `f.yaml:4:43: max-unreachable 2 is more than the 1 of 2 hosts of tier first that success 50% leaves over; lower it to 1, or lower success`},
		{"bad flag", "90%", "90%, approval: maybe", `f.yaml:4:36: approval is "maybe", neither true nor false; write true or false`},
		{"bad number", "hall: 4", "hall: many", `f.yaml:12:15: sites hall is "many", not a whole number; write one such as 3`},
		{"no slots", "hall: 4", "hall: 0", `f.yaml:12:15: site hall has 0 slots; write 1 or more`},
		{"site named like a resource", "hall: 4}", "hall: 4}\nresources: {hall: 2}", `f.yaml:12:9: site hall has the name of a resource; rename one of them`},
		{"no tiers", "  - name: first\n    gate: {success: 90%}\n  - name: second\n", "", "f.yaml:5:11: unknown tier \"first\"; declare it in tiers:\nf.yaml:7:11: unknown tier \"second\"; declare it in tiers:"},
		{"unknown tier", "tier: second", "tier: secnd", `f.yaml:10:11: unknown tier "secnd"; did you mean second?`},
		{"unknown service", "service: housing", "service: housng", `f.yaml:29:14: unknown service "housng"; did you mean housing?`},
		{"unknown need", "needs: [dns]", "needs: [dhcp]", `f.yaml:11:13: unknown service "dhcp"; declare it in services: (known: dns, housing)`},
		{"unknown site", "site: hall", "site: attic", `f.yaml:31:11: unknown site "attic"; declare it in sites: (known: hall)`},
		{"unknown group", "site: hall", "groups: trio", `f.yaml:31:13: unknown group "trio"; declare it in groups: (known: pair)`},
		{"unknown resource", "site: hall", "resources: [ssh, tape-robot]", `f.yaml:31:22: unknown resource "tape-robot"; declare it in resources: (known: hall, ssh)`},
		{"unknown ladder", "  ladder: rescue", "  ladder: fire-escape", `f.yaml:23:11: unknown ladder "fire-escape"; declare it in ladders: (known: rescue)`},
		{"unknown member", "ns[1-2]\"", "ns[1-3]\"", `f.yaml:16:14: group pair has an unknown member "ns3"; declare it in hosts: or correct the name`},
		{"unknown data class", "    site: hall", "    data: precious", `f.yaml:31:11: data is "precious"; write none, replica or primary`},
		{"unknown os", "windows-2019", "beos", `f.yaml:22:7: os is "beos"; write windows or linux, with an optional version after a hyphen`},
		{"no tier", "    service: housing\n", "", `f.yaml:28:5: host app[01-20] has no tier; give it a service:, or a tier: of its own`},
		{"needs itself", "needs: [dns]", "needs: [housing]", `f.yaml:11:13: services need each other: housing -> housing; remove one of these needs`},
		{"cycle", "    tier: first\n", "    tier: second\n    needs: [housing]\n", `f.yaml:12:13: services need each other: dns -> housing -> dns; remove one of these needs`},
		{"needs a later tier", "    tier: first\n  - name: housing\n    tier: second\n", "    tier: second\n  - name: housing\n    tier: first\n", `f.yaml:11:13: service housing (tier first) needs dns (tier second), which comes back only in a later wave; move dns to an earlier tier or housing to a later one, or remove the need`},
		{"host of a later tier", "    service: dns\n", "    service: dns\n    tier: second\n  - name: early\n    service: housing\n    tier: first\n", "f.yaml:11:13: service housing has hosts in tier first and needs dns, which is up only with tier second; check the tiers of their hosts\nf.yaml:25:5: rung rescue leads nowhere: host ns[1-2] has no address; give the host an address:, or one for this rung in addresses:"},
		{"critical host of a later tier", "    address: 10.0.0.1\n", "    address: 10.0.0.1\n    tier: second\n    critical: true\n  - {name: 'ns[3-9]', service: dns, ladder: []}\n  - {name: early, service: housing, tier: first, ladder: []}\n",
			`f.yaml:11:13: service housing has hosts in tier first and needs dns, which is up only with tier second; check the tiers of their hosts`},
		{"mtd below rto", "    tier: first\n", "    tier: first\n    rto: 4h\n    mtd: 2h\n", `f.yaml:10:10: service dns tolerates 2h0m0s of downtime (mtd), less than its RTO of 4h0m0s; raise mtd or lower the RTO`},
		{"host twice", "app[01-20]", "ns[2-21]", `f.yaml:28:11: host ns2 is already in line 25; rename or remove one of them`},
		{"host twice but for case", "app[01-20]", "NS[1-20]", `f.yaml:28:11: host NS1 is already in line 25 (and 1 more like it); rename or remove one of them`},
		{"address twice", "10.0.1.[1-20]", "10.0.0.[2-21]", `f.yaml:30:14: address 10.0.0.2:22 is already that of host ns2 in line 25; give each host its own`},
		{"length mismatch", "10.0.1.[1-20]", "10.0.1.[1-19]", `f.yaml:30:14: address "10.0.1.[1-19]" stands for 19, but the name for 20 hosts; make both ranges the same length, or write the first address only`},
		{"bad IP", "10.0.1.[1-20]", "10.0.256.[1-20]", `f.yaml:30:14: address "10.0.256.1" is not an IP address; write one such as 10.20.1.11, without leading zeros`},
		{"host name for an address", "10.0.1.[1-20]", "app.example.org", `f.yaml:30:14: address "app.example.org" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"port in an address", "10.0.0.1", "10.0.0.1:2222", `f.yaml:27:14: address "10.0.0.1:2222" holds a port; write the port as the rung's port:`},
		{"end of the address space", "10.0.0.1", "255.255.255.254", `f.yaml:27:14: address "255.255.255.254" leaves no room for 2 addresses; begin with a lower one`},
		{"no address", "    address: 10.0.0.1\n", "", `f.yaml:25:5: rung rescue leads nowhere: host ns[1-2] has no address; give the host an address:, or one for this rung in addresses:`},
		{"address without a ladder", "  ladder: rescue\n", "", "f.yaml:26:14: host ns[1-2] has an address but no ladder that would use it; give the host a ladder:, or remove the address\nf.yaml:29:14: host app[01-20] has an address but no ladder that would use it; give the host a ladder:, or remove the address"},
		{"range bomb", "app[01-20]", "app[0-999999999]", `f.yaml:28:11: host "app[0-999999999]" stands for more than 100000 names; write a smaller range`},
		{"range bomb by product", "app[01-20]", "a[0-999]b[0-999]c[0-999]d[0-999]e[0-999]f[0-999]g[0-999]", `f.yaml:28:11: host "a[0-999]b[0-999]c[0-999]d[0-999]e[0-999]f[0-999]g[0-999]" stands for more than 100000 names; write a smaller range`},
		{"too many hosts together", "app[01-20]", "app[00001-99999]", `f.yaml:28:11: host "app[00001-99999]" makes more than 100000 hosts in all; split the estate`},
		{"member bomb", "members: \"ns[1-2]\"", "members: \"ns[0-999999]\"", `f.yaml:16:14: member "ns[0-999999]" stands for more than 100000 names; write a smaller range`},
		{"backward range", "app[01-20]", "app[20-01]", `f.yaml:28:11: host "app[20-01]" has a range [20-01] that runs backwards; write the smaller number first`},
		{"uneven padding", "app[01-20]", "app[01-100]", `f.yaml:28:11: host "app[01-100]" has a range [01-100] whose ends have different numbers of digits; write both with the same leading zeros, as in [01-24]`},
		{"letters in a range", "app[01-20]", "app[a-t]", `f.yaml:28:11: host "app[a-t]" has a range [a-t] that is not made of numbers; write ranges as [01-24] or [1,3,5]`},
		{"open bracket", "name: app[01-20]", "name: app[01-20", `f.yaml:28:11: host "app[01-20" has a [ without a ]; write ranges as [01-24] or [1,3,5]`},
		{"closing bracket", "app[01-20]", "app01-20]", `f.yaml:28:11: host "app01-20]" has a ] without a [; write ranges as [01-24] or [1,3,5]`},
		{"slash in a name", "app[01-20]", "app/[01-20]", `f.yaml:28:11: a host's name is "app/01"; use letters, digits, hyphens, dots and underscores only`},
		{"group of nobody at once", "max-at-once: 1", "max-at-once: 0", `f.yaml:15:18: max-at-once of group pair is 0; write 1 or more, or nobody could ever work on its members`},
		{"group without a limit", "    max-at-once: 1\n", "", `f.yaml:14:5: group pair has no max-at-once; add max-at-once:`},
		{"empty group", "    members: \"ns[1-2]\"\n", "", `f.yaml:14:5: group pair has no members; write its members:, or remove it`},
		{"no environment", "      environment: rescue-linux\n", "", `f.yaml:19:7: rung rescue does not say which environment it leads into; write environment: linux, rescue-linux or windows-safe-mode`},
		{"unknown environment", "rescue-linux", "dos", `f.yaml:20:20: environment is "dos"; write linux, rescue-linux or windows-safe-mode`},
		{"wrong environment", "rescue-linux", "linux", "f.yaml:25:5: rung rescue leads into linux, but the os of host ns[1-2] is windows-2019; choose another ladder, or correct the rung's environment\nf.yaml:28:5: rung rescue leads into linux, but the os of host app[01-20] is windows-2019; choose another ladder, or correct the rung's environment"},
		{"something after a person", "    - name: rescue\n", "    - {name: oncall, kind: hands}\n    - name: rescue\n", `f.yaml:19:7: rung oncall of kind hands is not the last: nothing comes after a person; move it to the end`},
		{"address of a person", "defaults:", "    - {name: oncall, kind: hands, user: bob}\ndefaults:", `f.yaml:21:41: rung oncall of kind hands has user; remove it, or write kind: ssh`},
		{"rung twice", "defaults:", "    - {name: rescue, kind: hands}\ndefaults:", `f.yaml:21:14: there are two rungs named rescue in one ladder; rename one of them`},
		{"bad port", "rescue-linux\n", "rescue-linux\n      port: 70000\n", `f.yaml:21:13: port is 70000; write a port from 1 to 65535`},
		{"bad root", "rescue-linux\n", "rescue-linux\n      root: mnt\n", `f.yaml:21:13: root is "mnt"; write a path that begins with /`},
		{"bad octet", "rescue-linux\n", "rescue-linux\n      address: 10.9.{5}.{4}\n", `f.yaml:21:16: address "10.9.{5}.{4}" has a { that is not {1}, {2}, {3} or {4}; write it as in 10.90.{3}.{4}`},
		{"octets of no address", "10.0.0.1", "'10.{2}.0.1'", `f.yaml:27:14: address "10.{2}.0.1" is made of the host's own, which it does not have; give the host an address:, or write this one out`},
		{"octets of a bad address", "    address: 10.0.0.1\n", "    address: nowhere\n    addresses: {rescue: '10.{2}.0.1'}\n", `f.yaml:27:14: address "nowhere" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"bad jump host", "rescue-linux\n", "rescue-linux\n      jump: me@gateway:22\n", `f.yaml:21:13: jump host "gateway" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"bad host key", "rescue-linux\n", "rescue-linux\n      host-keys: [ssh-ed25519 AAAA]\n", `f.yaml:21:19: the host key is not a public key; write a public key as ssh-keyscan shows it: ssh-ed25519 AAAA…, with cert-authority in front for a host CA`},
		{"host key with options", "rescue-linux\n", "rescue-linux\n      host-keys: 'no-pty " + keyA + "'\n", `f.yaml:21:18: the host key has the option "no-pty"; write cert-authority or no option`},
		{"known_hosts line", "rescue-linux\n", "rescue-linux\n      host-keys: '@cert-authority * " + keyA + "'\n", `f.yaml:21:18: the host key is a line of known_hosts; write a public key as ssh-keyscan shows it: ssh-ed25519 AAAA…, with cert-authority in front for a host CA`},
		{"private key", "rescue-linux\n", "rescue-linux\n      host-keys: '-----BEGIN OPENSSH PRIVATE KEY----- b3Bl'\n", `f.yaml:21:18: the host key is a private key; remove it from this file, treat it as exposed, and write the public key`},
		{"unknown rung in addresses", "    site: hall", "    addresses: {bmc: 10.9.0.1}", `f.yaml:31:17: host app[01-20] has no SSH rung named "bmc"; name a rung of its ladder, or remove it`},
		{"policy of nothing", "sites:", "policy: {max-attempts: 0}\nsites:", `f.yaml:12:24: max-attempts is 0; write 1 or more, or leave the key out`},
		{"backoff upside down", "sites:", "policy: {backoff: 1h}\nsites:", `f.yaml:12:19: backoff 1h0m0s is longer than backoff-max 15m0s; raise backoff-max or lower backoff`},
		{"tier twice", "name: second", "name: first", "f.yaml:5:11: there are two tiers named first; rename one of them\nf.yaml:10:11: unknown tier \"second\"; declare it in tiers: (known: first)"},
		{"no hosts", base[strings.Index(base, "hosts:"):], "hosts: []\n", "f.yaml:1:1: the fleet has no hosts; write hosts: with at least one entry"},
		{"several at once", "fleet: three-rivers\n", "flete: three-rivers\n", "f.yaml:1:1: unknown key \"flete\" in the fleet file; did you mean fleet?\nf.yaml:1:1: the fleet file has no fleet; add fleet:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(base, c.old) {
				t.Fatalf("the base has no %q", c.old)
			}
			_, err := Parse("f.yaml", []byte(strings.Replace(base, c.old, c.new, 1)))
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
