package fleet

import (
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// outside is a small fleet file with everything that acts on hosts from outside; bad inputs replace a part of it.
const outside = `fleet: f
tiers: [{name: t}]
sites: {east: 4, west: }
groups:
  - {name: one, max-at-once: 1, members: a1}
  - {name: two, max-at-once: 1, members: "a[1-2]"}
resources: {hv: 2}
power:
  bmc:
    agent: fence_ipmilan
    options: {ip: "10.9.{3}.{4}", lanplus: 1, plug: none}
    secrets: {password: "file:secrets/{name}"}
    timeout: 90s
  red:
    redfish: https://10.9.{3}.{4}:8443
    options: {username: u, insecure: 1}
    secrets: {password: env:PW}
    at-once: 3
boot:
  pxe:
    agent: /opt/boot
    options: {mac: "{mac}"}
    at-once: 2
ladders:
  all:
    - {name: ssh, environment: linux}
    - {name: race, kind: race, within: 5m}
    - {name: rescue, kind: rescue, boot: pxe, within: 10m, unlock: "file:keys/{uuid}", resources: [hv, ssh]}
    - {name: helper, kind: helper, address: 10.1.1.5, attach: "on {name} {address} {1}-{4} {mac} {uuid}", detach: "off {name}", unlock: env:PIN}
  plain: [{name: ssh, environment: linux}]
defaults: {os: linux, tier: t, ladder: all, power: bmc}
hosts:
  - {name: "a[1-2]", address: 10.0.7.1, mac: 52-54-00-AA-00-0F, uuid: "4C4C4544-0043-3010-8052-b4c04f4d353[1-2]"}
  - {name: b, address: 10.0.8.1, mac: ["52:54:00:aa:01:00", "52:54:00:aa:02:00"], uuid: 4c4c4544-0043-3010-8052-b4c04f4d3500, power: {options: {plug: "{name}", port: 623}}}
`

func TestOutside(t *testing.T) {
	f, err := Parse("/srv/x/f.yaml", []byte(outside))
	if err != nil {
		t.Fatal(err)
	}
	const uuid = "4c4c4544-0043-3010-8052-b4c04f4d3532"
	bmc := &recovery.Control{
		Name: "bmc", Kind: recovery.ControlAgent, Program: "fence_ipmilan", Timeout: 90 * time.Second,
		Options: map[string]string{"ip": "10.9.7.2", "lanplus": "1", "plug": "none"}, Secrets: map[string]string{"password": "file:/srv/x/secrets/a2"},
	}
	login := recovery.Rung{Name: "ssh", Kind: recovery.RungSSH, Environment: recovery.EnvLinux, Address: "10.0.7.2", Port: 22, User: "root"}
	race := login
	race.Name, race.Kind, race.Within = "race", recovery.RungRace, 5*time.Minute
	rescue := login
	rescue.Name, rescue.Kind, rescue.Environment, rescue.Reboots, rescue.Within = "rescue", recovery.RungRescue, recovery.EnvRescueLinux, true, 10*time.Minute
	rescue.Boot = &recovery.Control{Name: "pxe", Kind: recovery.ControlAgent, Program: "/opt/boot", Options: map[string]string{"mac": "52:54:00:aa:00:10"}}
	rescue.Unlock, rescue.Resources = "file:/srv/x/keys/"+uuid, []string{"hv", "power/bmc", "boot/pxe"}
	helper := login
	helper.Name, helper.Kind, helper.Environment, helper.Reboots, helper.Address = "helper", recovery.RungHelper, recovery.EnvRescueLinux, true, "10.1.1.5"
	helper.Attach, helper.Detach = "on a2 10.0.7.2 10-2 52:54:00:aa:00:10 "+uuid, "off a2"
	helper.Unlock, helper.Resources = "env:PIN", []string{"power/bmc"}
	want := recovery.Host{
		Name: "a2", Tier: "t", OS: "linux", Data: recovery.DataPrimary, Agent: true, Groups: []string{"two"}, MACs: []string{"52:54:00:aa:00:10"}, UUID: uuid,
		Power: bmc, Ladder: []recovery.Rung{login, race, rescue, helper, {Name: "hands", Kind: recovery.RungHands}},
	}
	if got := f.Hosts[1]; !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	b := f.Hosts[2]
	if !slices.Equal(b.MACs, []string{"52:54:00:aa:01:00", "52:54:00:aa:02:00"}) || b.Power.Options["plug"] != "b" || b.Power.Options["ip"] != "10.9.8.1" {
		t.Errorf("got %+v with power %+v", b, b.Power)
	}
	slots := map[string]int{}
	for _, r := range f.Resources {
		slots[r.Name] = r.Slots
	}
	if want := map[string]int{"ssh": 128, "east": 4, "hv": 2, "power/bmc": 8, "power/red": 3, "boot/pxe": 2}; !maps.Equal(slots, want) {
		t.Errorf("got the slots %v, want %v", slots, want)
	}
	controls := []ControlCount{
		{Section: "power", Name: "bmc", Through: "fence_ipmilan", Hosts: 3, Restart: 3, AtOnce: 8},
		{Section: "boot", Name: "pxe", Through: "/opt/boot", Hosts: 3, Restart: 3, AtOnce: 2},
	}
	if got := Controls(f); !reflect.DeepEqual(got, controls) {
		t.Errorf("got the controls %+v, want %+v", got, controls)
	}
}

// TestSharedHelper: a helper's address does not run on with the hosts, and may be another host's.
func TestSharedHelper(t *testing.T) {
	text := strings.Replace(outside, "address: 10.1.1.5", "address: 10.0.8.1", 1)
	f, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range f.Hosts {
		if got := h.Ladder[3].Address; got != "10.0.8.1" {
			t.Errorf("the helper of %s is at %s", h.Name, got)
		}
	}
}

// TestSecretPaths: a path without a beginning begins where the fleet file lies, also when that is named from here.
func TestSecretPaths(t *testing.T) {
	for name, want := range map[string]string{"f.yaml": "secrets/a1", "x/y.yaml": "x/secrets/a1", "../f.yaml": "../secrets/a1"} {
		f, err := Parse(name, []byte(outside))
		if err != nil {
			t.Fatal(err)
		}
		whole, err := filepath.Abs(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Hosts[0].Power.Secrets["password"]; got != "file:"+whole {
			t.Errorf("in %s: got %s, want file:%s", name, got, whole)
		}
	}
	f, err := Parse("/srv/f.yaml", []byte(strings.Replace(outside, "secrets/{name}", "/etc/./{address}", 1)))
	if err != nil || f.Hosts[0].Power.Secrets["password"] != "file:/etc/10.0.7.1" {
		t.Errorf("got %v and %v", f.Hosts, err)
	}
}

func TestBadOutside(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"nothing to act through", "    agent: /opt/boot\n", "", `f.yaml:21:5: boot pxe does not say what it acts through; write agent: and a program, or redfish: and an address`},
		{"empty control", "  pxe:\n    agent: /opt/boot\n    options: {mac: \"{mac}\"}\n    at-once: 2\n", "  pxe:\n", `f.yaml:20:3: boot pxe does not say what it acts through; write agent: and a program, or redfish: and an address`},
		{"both", "    agent: /opt/boot\n", "    agent: /opt/boot\n    redfish: https://10.0.0.1\n", `f.yaml:22:14: boot pxe has both agent and redfish; keep one of the two`},
		{"relative program", "/opt/boot", "opt/boot", `f.yaml:21:12: agent "opt/boot" is neither the name of a program nor an absolute path; write a name such as fence_ipmilan, or an absolute path`},
		{"crooked program", "/opt/boot", "/opt/../boot", `f.yaml:21:12: agent "/opt/../boot" is neither the name of a program nor an absolute path; write a name such as fence_ipmilan, or an absolute path`},
		{"program with arguments", "fence_ipmilan", "fence_ipmilan -v", `f.yaml:10:12: agent "fence_ipmilan -v" is neither the name of a program nor an absolute path; write a name such as fence_ipmilan, or an absolute path`},
		{"plain http", "https://10.9", "http://10.9", `f.yaml:15:14: redfish is not reached by https; write one such as https://10.90.1.11, because a password goes over it`},
		{"BMC by name", "https://10.9.{3}.{4}:8443", "https://{name}.bmc", `f.yaml:15:14: redfish "x.bmc" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"user in the address", "https://10.9", "https://root:hunter2@10.9", `f.yaml:15:14: redfish holds a user or password; write them as username in options: and password in secrets:`},
		{"path in the address", "{4}:8443", "{4}/redfish/v1", `f.yaml:15:14: redfish "https://10.9.1.1/redfish/v1" is more than an address; write one such as https://10.90.1.11`},
		{"port of nothing", "{4}:8443", "{4}:84430", `f.yaml:15:14: redfish "https://10.9.1.1:84430" has no usable port; write one such as https://10.90.1.11`},
		{"unknown place in the address", "https://10.9.{3}", "https://10.9.{5}", `f.yaml:15:14: redfish "https://10.9.{5}.{4}:8443" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"Redfish without a user", "username: u, ", "", `f.yaml:15:5: power red has no username; write it in options:`},
		{"Redfish without a password", "    secrets: {password: env:PW}\n", "", `f.yaml:15:5: power red has no password; write where it lies in secrets:`},
		{"Redfish address as an option", "username: u", "username: u, url: x", `f.yaml:16:33: power red has an option url; write it as redfish:`},
		{"image as an option", `options: {mac:`, `options: {image: x, mac:`, `f.yaml:22:22: option image of boot pxe is told anew for each boot; remove it`},
		{"action as an option", "lanplus: 1", "action: reboot", `f.yaml:11:35: option action is told by what is to be done; remove it`},
		{"odd option", "lanplus: 1", "Lan+: 1", `f.yaml:11:35: option is called "Lan+"; use letters, digits, hyphens and underscores only`},
		{"option without a value", "lanplus: 1", "lanplus: ", `f.yaml:11:35: option lanplus has no value; write one, or remove the line`},
		{"option of lines", "lanplus: 1", `lanplus: "1\naction=off"`, `f.yaml:11:44: options lanplus holds a control character; write it on one line in plain characters`},
		{"unknown place in an option", "10.9.{3}.{4}\"", "10.9.{site}.{4}\"", `f.yaml:11:19: option ip: "10.9.{site}.{4}" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"open brace", "10.9.{3}.{4}\"", "10.9.{3\"", `f.yaml:11:19: option ip: "10.9.{3" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"password as an option", "lanplus: 1", "passwd: hunter2", `f.yaml:11:35: option passwd is a secret, which does not belong into this file; move it to secrets: of the control, as file:PATH or env:NAME`},
		{"option and secret", "    secrets: {password: \"file:secrets/{name}\"}", "    secrets: {password: \"file:secrets/{name}\", lanplus: env:L}", `f.yaml:11:44: option lanplus is a secret of power bmc too; keep the one in secrets:`},
		{"secret written out", "env:PW", "hunter2", `f.yaml:17:25: secrets password is not where a secret lies; write file:PATH or env:NAME; the secret itself does not belong into this file`},
		{"secret of no file", "env:PW", `"file: x"`, `f.yaml:17:25: secrets password names no file; write file: and a path, without a space between them`},
		{"secret at home", "env:PW", `"file:~/x"`, `f.yaml:17:25: secrets password begins with ~, which no shell replaces here; write the path out, or one from the fleet file's folder`},
		{"secret of no variable", "env:PW", `"env:{name}"`, `f.yaml:17:25: secrets password names no environment variable; write env: and a name of letters, digits and underscores, without a space`},
		{"secret in an unknown place", "env:PW", `"file:{host}"`, `f.yaml:17:25: secrets password has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these`},
		{"odd secret", "{password: env:PW}", "{pass.word: env:PW, password: env:PW}", `f.yaml:17:15: secret is called "pass.word"; use letters, digits, hyphens and underscores only`},
		{"unlock written out", `"file:keys/{uuid}"`, "123456-654321", `f.yaml:28:68: unlock is not where a secret lies; write file:PATH or env:NAME; the secret itself does not belong into this file`},
		{"no time", "90s", "0s", `f.yaml:13:14: timeout of power bmc is 0s; write a length of time from 1s to 1h`},
		{"no end", "90s", "2h", `f.yaml:13:14: timeout of power bmc is 2h0m0s; write a length of time from 1s to 1h`},
		{"none at once", "at-once: 3", "at-once: 0", `f.yaml:18:14: at-once of power red is 0; write 1 or more`},
		{"control called none", "  red:", "  none:", `f.yaml:14:3: power: none stands for no control at all; rename it`},
		{"control with a slash", "  red:", "  a/b:", `f.yaml:14:3: the name of power a/b is "a/b"; use letters, digits, hyphens, dots and underscores only`},

		{"unknown power", "power: bmc}", "power: bcm}", `f.yaml:31:52: unknown power control "bcm"; declare it in power: (known: bmc, red)`},
		{"unknown boot target", "boot: pxe,", "boot: pex,", `f.yaml:28:42: unknown boot target "pex"; declare it in boot: (known: pxe)`},
		{"rescue without power", ", power: bmc}", "}",
			`f.yaml:33:5: rung rescue restarts host a[1-2], but nothing switches it on and off; give it power:, or another ladder` + "\n" +
				`f.yaml:34:134: power of host b has options, but says not of which control; add use:, or a power: to its site or to defaults`},
		{"rescue with power none", "power: {options: {plug: \"{name}\", port: 623}}", "power: none", `f.yaml:34:5: rung rescue restarts host b, but nothing switches it on and off; give it power:, or another ladder`},
		{"options of none", "power: {options:", "power: {use: none, options:",
			`f.yaml:34:5: rung rescue restarts host b, but nothing switches it on and off; give it power:, or another ladder` + "\n" +
				`f.yaml:34:134: power of host b is none, but has options; remove them`},
		{"rescue without identity", `, mac: 52-54-00-AA-00-0F, uuid: "4C4C4544-0043-3010-8052-b4c04f4d353[1-2]"`, "",
			`f.yaml:22:20: option mac is made of what host a1 does not have: "{mac}"; give the host a mac:, or write the value out` + "\n" +
				`f.yaml:28:68: unlock is made of what host a1 does not have: "keys/{uuid}"; give the host a uuid:, or write the value out` + "\n" +
				`f.yaml:29:63: attach is made of what host a1 does not have: "on {name} {address} {1}-{4} {mac} {uuid}"; give the host a mac:, or write the value out` + "\n" +
				`f.yaml:33:5: rung rescue boots host a[1-2] into the rescue system, which could not tell whose disk it sees; give it mac: or uuid:`},
		{"rescue elsewhere", "kind: rescue,", "kind: rescue, environment: linux,", `f.yaml:28:49: rung rescue of kind rescue leads into rescue-linux, not linux; write rescue-linux, or leave it out`},
		{"helper elsewhere", "kind: helper,", "kind: helper, environment: windows-safe-mode,", `f.yaml:29:49: rung helper of kind helper leads into rescue-linux, not windows-safe-mode; write rescue-linux, or leave it out`},
		{"race elsewhere", "kind: race,", "kind: race, environment: rescue-linux,", `f.yaml:27:45: rung race of kind race leads into linux, not rescue-linux; write linux, or leave it out`},
		{"rescue without restart", "kind: rescue,", "kind: rescue, reboots: false,", `f.yaml:28:45: rung rescue of kind rescue always restarts the host; remove it, or choose another kind`},
		{"race that restarts", "kind: race,", "kind: race, reboots: true,", `f.yaml:27:41: rung race of kind race has reboots; remove it, or write kind: ssh`},
		{"attach of ssh", "{name: ssh, environment: linux}\n    - {name: race", "{name: ssh, environment: linux, attach: x}\n    - {name: race", `f.yaml:26:47: rung ssh of kind ssh has attach; remove it, or write kind: helper`},
		{"unlock of a race", "kind: race,", "kind: race, unlock: env:PIN,", `f.yaml:27:40: rung race of kind race has unlock; remove it, or write kind: rescue`},
		{"boot of a helper", "kind: helper,", "kind: helper, boot: pxe,", `f.yaml:29:42: rung helper of kind helper has boot; remove it, or write kind: rescue`},
		{"host keys of a rescue system", "kind: rescue,", "kind: rescue, host-keys: '" + keyA + "',", `f.yaml:28:47: rung rescue of kind rescue has host-keys; remove it, or write kind: ssh`},
		{"root of a race", "kind: race,", "kind: race, root: /mnt,", `f.yaml:27:38: rung race of kind race has root; remove it, or write kind: ssh`},
		{"waiting of a person", "unlock: env:PIN}", "unlock: env:PIN}\n    - {name: p, kind: hands, within: 5m, resources: hv}",
			`f.yaml:30:38: rung p of kind hands has within; remove it, or write kind: race` + "\n" +
				`f.yaml:30:53: rung p of kind hands has resources; remove it, or write kind: ssh`},
		{"helper without detach", ", detach: \"off {name}\"", "", `f.yaml:29:7: rung helper of kind helper has no detach; add detach: and the command there that does it`},
		{"helper without attach", `attach: "on {name} {address} {1}-{4} {mac} {uuid}", `, "", `f.yaml:29:7: rung helper of kind helper has no attach; add attach: and the command there that does it`},
		{"helper nowhere", "address: 10.1.1.5, ", "",
			`f.yaml:33:5: rung helper of host a[1-2] leads nowhere: the helper has no address; give the rung the helper's address:, or the host one in addresses:` + "\n" +
				`f.yaml:34:5: rung helper of host b leads nowhere: the helper has no address; give the rung the helper's address:, or the host one in addresses:`},
		{"helper by name", "address: 10.1.1.5", "address: hv1", `f.yaml:29:45: address "hv1" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"unknown place in a command", "off {name}", "off {vm}", `f.yaml:29:115: detach "off {vm}" has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}; write one of these, or put the command into a script of its own`},
		{"too short a wait", "within: 5m", "within: 10ms", `f.yaml:27:40: within of rung race is 10ms; write a length of time from 1s to 24h`},
		{"too long a wait", "within: 5m", "within: 2d", `f.yaml:27:40: within of rung race is 48h0m0s; write a length of time from 1s to 24h`},
		{"unknown resource of a rung", "[hv, ssh]", "[hw, ssh]", `f.yaml:28:100: unknown resource "hw"; did you mean hv?`},
		{"race on Windows", "os: linux", "os: windows-2019",
			`f.yaml:33:5: rung ssh leads into linux, but the os of host a[1-2] is windows-2019; choose another ladder, or correct the rung's environment` + "\n" +
				`f.yaml:33:5: rung race leads into linux, but the os of host a[1-2] is windows-2019; choose another ladder, or correct the rung's environment` + "\n" +
				`f.yaml:34:5: rung ssh leads into linux, but the os of host b is windows-2019; choose another ladder, or correct the rung's environment` + "\n" +
				`f.yaml:34:5: rung race leads into linux, but the os of host b is windows-2019; choose another ladder, or correct the rung's environment`},
		{"unknown kind", "kind: race", "kind: rase", `f.yaml:27:26: kind is "rase"; write ssh, race, rescue, helper, restore or hands`},

		{"no MAC", "52-54-00-AA-00-0F", "52-54-00-AA-00", `f.yaml:33:46: mac "52-54-00-AA-00" is not a MAC address; write six pairs of hex digits, as in 52:54:00:12:34:56`},
		{"mixed MAC", "52-54-00-AA-00-0F", "52:54-00-AA-00-0F", `f.yaml:33:46: mac "52:54-00-AA-00-0F" is not a MAC address; write six pairs of hex digits, as in 52:54:00:12:34:56`},
		{"MAC of nobody", "52-54-00-AA-00-0F", "00-00-00-00-00-00", `f.yaml:33:46: mac "00-00-00-00-00-00" is not the address of one network card; write the card's own`},
		{"MAC of many", "52-54-00-AA-00-0F", "01:00:5e:00:00:01", `f.yaml:33:46: mac "01:00:5e:00:00:01" is not the address of one network card; write the card's own`},
		{"end of the maker's addresses", "52-54-00-AA-00-0F", "52:54:00:ff:ff:ff", `f.yaml:33:46: mac "52:54:00:ff:ff:ff" leaves no room for 2 addresses; begin with a lower one`},
		{"MAC range too long", "52-54-00-AA-00-0F", "'52:54:00:aa:00:[01-03]'", `f.yaml:33:46: mac "52:54:00:aa:00:[01-03]" stands for 3, but the name for 2 hosts; make both ranges the same length`},
		{"MAC twice", "52:54:00:aa:01:00", "52:54:00:aa:00:10", `f.yaml:34:40: mac 52:54:00:aa:00:10 is already that of host a2 in line 33; give each host its own`},
		{"MAC twice on one host", "52:54:00:aa:02:00", "52:54:00:AA:01:00", `f.yaml:34:40: mac 52:54:00:aa:01:00 is already that of host b in line 34; give each host its own`},
		{"no UUID", "4c4c4544-0043-3010-8052-b4c04f4d3500", "4c4c4544", `f.yaml:34:89: uuid "4c4c4544" is not a UUID; write one such as 4c4c4544-0043-3010-8052-b4c04f4d3532`},
		{"UUID of every cheap board", "4c4c4544-0043-3010-8052-b4c04f4d3500", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", `f.yaml:34:89: uuid "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF" is what a board without a UUID says; leave uuid: out, and give the host a mac:`},
		{"one UUID for two", "353[1-2]", "3531", `f.yaml:33:71: uuid "4C4C4544-0043-3010-8052-b4c04f4d3531" stands for 1, but the name for 2 hosts; make both ranges the same length`},
		{"UUID twice", "b4c04f4d3500", "b4c04f4d3532", `f.yaml:34:89: uuid 4c4c4544-0043-3010-8052-b4c04f4d3532 is already that of host a2 in line 33; give each host its own`},

		{"no mac for a place", "mac: 52-54-00-AA-00-0F, ", "",
			`f.yaml:22:20: option mac is made of what host a1 does not have: "{mac}"; give the host a mac:, or write the value out` + "\n" +
				`f.yaml:29:63: attach is made of what host a1 does not have: "on {name} {address} {1}-{4} {mac} {uuid}"; give the host a mac:, or write the value out`},
		{"no address for a place", "name: b, address: 10.0.8.1,", "name: b, addresses: {ssh: 10.0.8.1, race: 10.0.8.1, rescue: 10.0.8.1},",
			`f.yaml:11:19: option ip is made of what host b does not have: "10.9.{3}.{4}"; give the host an IPv4 address:, or write the value out` + "\n" +
				`f.yaml:29:63: attach is made of what host b does not have: "on {name} {address} {1}-{4} {mac} {uuid}"; give the host an address:, or write the value out`},
		{"secret among a host's options", `{plug: "{name}", port: 623}`, `{token: hunter2}`, `f.yaml:34:145: option token is a secret, which does not belong into this file; move it to secrets: of the control, as file:PATH or env:NAME`},
		{"a host's option is a secret", `secrets: {password: "file:secrets/{name}"}`, `secrets: {password: "file:secrets/{name}", port: env:X}`, `f.yaml:34:167: option port is a secret of power bmc too; keep the one in secrets:`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(outside, c.old) {
				t.Fatalf("the base has no %q", c.old)
			}
			_, err := Parse("f.yaml", []byte(strings.Replace(outside, c.old, c.new, 1)))
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

// TestRedfishAddress: a host's own address of its BMC is held to the same rules as the control's.
func TestRedfishAddress(t *testing.T) {
	red := strings.Replace(outside, "power: bmc}", "power: red}", 1)
	for _, c := range []struct{ name, old, new, want string }{
		{"of its own", `plug: "{name}", port: 623`, "url: https://10.9.9.9", ""},
		{"of its own by name", `plug: "{name}", port: 623`, "url: https://bmc9", `f.yaml:34:150: redfish of host b "bmc9" is a host name; write its IP address, because DNS may be down during a recovery`},
		{"that is none", "https://10.9.{3}.{4}:8443", "https://10.{3}.{4}{4}{4}.1", `f.yaml:15:14: redfish of host a3 "10.7.333.1" is not an IP address; write one such as 10.20.1.11, without leading zeros`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.Replace(red, c.old, c.new, 1)
			if text == red {
				t.Fatalf("the base has no %q", c.old)
			}
			text = strings.NewReplacer("a[1-2]", "a[1-3]", "353[1-2]", "353[1-3]").Replace(text)
			f, err := Parse("f.yaml", []byte(text))
			if c.want == "" {
				if err != nil || f.Hosts[3].Power.Options["url"] != "https://10.9.9.9" || f.Hosts[0].Power.Options["url"] != "https://10.9.7.1:8443" {
					t.Errorf("got %+v and %v", f.Hosts, err)
				}
				return
			}
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestSecretsAreNeverRepeated: whatever way a secret was put into the file, no message shows it.
func TestSecretsAreNeverRepeated(t *testing.T) {
	for _, c := range [][2]string{
		{"env:PW", "hunter2"},
		{"env:PW", `"hun\ter2 hunter2"`},
		{"env:PW", "[hunter2]"},
		{"env:PW", "{hunter2: hunter2}"},
		{"env:PW", "env:hunter2-hunter2"},
		{"{password: env:PW}", "hunter2"},
		{"{password: env:PW}", "[hunter2]"},
		{"username: u", "password: hunter2, username: u"},
		{"username: u", `passwd: "hunter2\a", username: u`},
		{"username: u", `user-token: "hunter2{", username: u`},
		{"https://10.9", "https://u:hunter2@10.9"},
		{"https://10.9", `"https://u:hunter2@10.9`},
		{`"file:keys/{uuid}"`, "hunter2"},
		{`"file:keys/{uuid}"`, `"file:hunter2\e"`},
	} {
		_, err := Parse("f.yaml", []byte(strings.Replace(outside, c[0], c[1], 1)))
		if err == nil {
			t.Errorf("%s was taken", c[1])
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("with %s: %v", c[1], err)
		}
	}
}

// TestSecretive holds which names of options stand for secrets. The list comes from the options of Debian's fence agents.
func TestSecretive(t *testing.T) {
	for _, key := range []string{"password", "passwd", "snmp_priv_passwd", "snmp-priv-passwd", "secret_key", "secret-key", "token", "api-token", "apikey", "api_key", "key", "access_key", "hexadecimal_kg", "community", "login_passphrase", "clientSecret"} {
		if !secretive(key) {
			t.Errorf("%s is no secret", key)
		}
	}
	for _, key := range []string{"ip", "username", "plug", "password_script", "passwd-script", "identity_file", "key_file", "private_key_path", "insecure", "snmp_sec_level", "key_value", "resourceGroup", "keyboard", "cipher", "_", "-"} {
		if secretive(key) {
			t.Errorf("%s is a secret", key)
		}
	}
}

// TestEachCountsOnce: a resource that the host takes anyway is not taken twice, and two rescue rungs through one boot target are
// one host of it.
func TestEachCountsOnce(t *testing.T) {
	text := strings.NewReplacer(
		"power: bmc}", "power: bmc, resources: [hv, power/bmc]}",
		"    - {name: helper,", "    - {name: again, kind: rescue, boot: pxe, resources: [hv, boot/pxe]}\n    - {name: helper,",
	).Replace(outside)
	f, err := Parse("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	h := f.Hosts[0]
	if !slices.Equal(h.Resources, []string{"hv", "power/bmc"}) || h.Ladder[3].Name != "again" {
		t.Fatalf("got %+v", h)
	}
	for i, want := range [][]string{nil, nil, {"boot/pxe"}, {"boot/pxe"}, nil} {
		if got := h.Ladder[i].Resources; !slices.Equal(got, want) {
			t.Errorf("rung %s takes %v beside the host's, want %v", h.Ladder[i].Name, got, want)
		}
	}
	for _, c := range Controls(f) {
		if c.Hosts != 3 {
			t.Errorf("%s %s is for %d hosts, want 3", c.Section, c.Name, c.Hosts)
		}
	}
}
