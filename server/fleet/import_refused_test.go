package fleet

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

const withJSON = "; write it out, or import the output of `ansible-inventory --list` with --json"

// TestRefusedInventories: what is not understood is refused with its place, all of it at once, and never left out.
func TestRefusedInventories(t *testing.T) {
	for _, c := range []struct{ name, file, data, want string }{
		// INI
		{"section of unknown kind", "i.ini", "[web]\nw1\n[web:hostvars]\nx=1\n", `i.ini:3:1: the section "[web:hostvars]" is of an unknown kind; write [group], [group:children] or [group:vars]`},
		{"blanks in a section", "i.ini", "[web servers]\nw1\n", `i.ini:1:1: "[web servers]" is not a section; write it as [group], [group:children] or [group:vars], without blanks`},
		{"hidden blank in a section", "i.ini", "[web\u00a0servers]\n", `i.ini:1:1: "[web\u00a0servers]" is not a section; write it as [group], [group:children] or [group:vars], without blanks`},
		{"undeclared child", "i.ini", "h1\n[site:children]\n  web\n", "i.ini:3:3: group web is used but never declared; declare it, or remove it"},
		{"variables of an undeclared group", "i.ini", "h1\n[web:vars]\na=1\n", "i.ini:2:1: group web is used but never declared; declare it, or remove it"},
		{"circle", "i.ini", "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n", "i.ini:6:1: group a in group c closes a circle; remove it"},
		{"itself", "i.ini", "[a:children]\na\n", "i.ini:2:1: group a in group a closes a circle; remove it"},
		{"all below", "i.ini", "[a:children]\nall\n", "i.ini:2:1: group all cannot be in group a; remove it"},
		{"ungrouped above", "i.ini", "[ungrouped:children]\na\n[a]\nh1\n", "i.ini:2:1: ungrouped cannot hold groups; put it into another group"},
		{"a child is no host", "i.ini", "[a]\n[b:children]\na x=1\n", `i.ini:3:1: "a x=1" is not a group's name; write one group's name on the line`},
		{"variable without value", "i.ini", "[a]\nh1\n[a:vars]\nfoo\n", `i.ini:4:1: "foo" sets no variable; write it as name=value`},
		{"blanks round =", "i.ini", "h1 ansible_host = 10.0.0.1\n", "i.ini:1:4: \"ansible_host\" sets no variable; write it as name=value, without blanks round the =\ni.ini:1:17: \"=\" sets no variable; write it as name=value, without blanks round the =\ni.ini:1:19: \"10.0.0.1\" sets no variable; write it as name=value, without blanks round the ="},
		{"several hosts in a line", "i.ini", "h1 h2\n", `i.ini:1:4: "h2" sets no variable; write it as name=value, without blanks round the =`},
		{"no variable's name", "i.ini", "h1 \"an sible_host=10.0.0.1\"\n", `i.ini:1:4: "an sible_host" is not a variable's name; correct it, or remove it`},
		{"hidden blank before a name", "i.ini", "h1 \u00a0ansible_host=10.0.0.1\n", `i.ini:1:4: "\u00a0ansible_host" is not a variable's name; correct it, or remove it`},
		{"open quotation mark", "i.ini", "[a]\n  h1 note=\"it\n", `i.ini:2:6: the line has a quotation mark (") that is never closed; close it, or write it in front of a quotation mark as \`},
		{"backslash at the end", "i.ini", "h1 note=x\\\n", `i.ini:1:10: the line ends with a backslash; close it, or write it in front of a quotation mark as \`},
		{"template", "i.ini", "[a]\nh1\n[a:vars]\nansible_host={{ inventory_hostname }}.lan\n", `i.ini:4:1: ansible_host holds a template, "{{ inventory_hostname }}.lan"` + withJSON},
		{"template behind a host", "i.ini", "h1 ansible_user=\"{{ who }}\"\n", `i.ini:1:4: ansible_user holds a template, "{{ who }}"` + withJSON},
		{"number for Python", "i.ini", "h1 ansible_user=0x1f\n", `i.ini:1:4: ansible_user is "0x1f", which Ansible may read as something else than this text; put it into two pairs of quotes, as in "'value'"`},
		{"constant for Python", "i.ini", "h1 ansible_user=True\n", `i.ini:1:4: ansible_user is "True", which Ansible may read as something else than this text; put it into two pairs of quotes, as in "'value'"`},
		{"comment behind a variable", "i.ini", "[a]\nh1\n[a:vars]\nansible_user=root # the admin\n", `i.ini:4:1: ansible_user is "root # the admin", which Ansible may read as something else than this text; put it into two pairs of quotes, as in "'value'"`},
		{"comment behind a quoted one", "i.ini", "[a]\nh1\n[a:vars]\nansible_user='root' # the admin\n", `i.ini:4:1: ansible_user is "'root' # the admin", a quoted text with something beside or in it; write a plain word, and comments on a line of their own`},
		{"winrm", "i.ini", "[win]\nw[1:500]\n[win:vars]\nansible_connection=winrm\n", `i.ini:4:1: ansible_connection is "winrm", but Blackstart reaches hosts by ssh; leave these hosts out with --skip, or correct it`},
		{"local", "i.ini", "localhost ansible_connection=local\n", `i.ini:1:11: ansible_connection is "local", but Blackstart reaches hosts by ssh; leave these hosts out with --skip, or correct it`},
		{"port", "i.ini", "h1 ansible_port=70000\nh2 ansible_port=ssh\nh3:0\n", "i.ini:1:4: ansible_port is \"70000\", not a number from 1 to 65535; write a port from 1 to 65535\ni.ini:2:4: ansible_port is \"ssh\", not a number from 1 to 65535; write a port from 1 to 65535\ni.ini:3:1: ansible_port is \"0\", not a number from 1 to 65535; write a port from 1 to 65535"},
		{"user", "i.ini", "h1 ansible_user='two words'\n", `i.ini:1:4: ansible_user has no usable user name: "two words"; write one such as root`},
		{"address", "i.ini", "h1 ansible_host=10.0.0.256\nh2 ansible_host=0.0.0.0\nh3 ansible_host=fe80::1%eth0\nh4 ansible_host=\"'10.0.0.1 '\"\n", "i.ini:1:4: ansible_host is \"10.0.0.256\", which Ansible may read as something else than this text; put it into two pairs of quotes, as in \"'value'\"\ni.ini:2:4: the address \"0.0.0.0\" is not the address of one host; write the host's own address\ni.ini:3:4: the address \"fe80::1%eth0\" has a zone, which differs from machine to machine; write an address without %\ni.ini:4:4: the address \"10.0.0.1 \" is not an IP address; write one such as 10.20.1.11, without leading zeros"},
		{"one address twice", "i.ini", "[a]\nh1 ansible_host=10.0.0.1\nh[2:5] ansible_host=10.0.0.1\nh6 ansible_host=10.0.0.1 ansible_port=23\n", "i.ini:3:1: address 10.0.0.1:22 of host h2 is already that of host h1 in line 2 (and 3 more like it); keep one of them, because a fleet has each server once"},
		{"two values", "i.ini", "[a]\nh1 ansible_host=10.0.0.1\n[b]\nh1 ansible_host=10.0.0.2\n", "i.ini:4:4: ansible_host of host h1 was set to something else in line 2; keep one of the two"},
		{"two values of a group", "i.ini", "[a]\nh1\n[a:vars]\nansible_user=x\n[a:vars]\nansible_user=y\n", "i.ini:6:1: ansible_user of group a was set to something else in line 4; keep one of the two"},
		{"a port that Ansible does not see", "i.ini", "[a]\nh1\n[b]\nh1:2222\n", "i.ini:4:1: host h1 has a port here, which Ansible heeds only at its first mention, in line 2; write the port there, or as ansible_port"},
		{"old and new name", "i.ini", "h1 ansible_host=10.0.0.1 ansible_ssh_host=10.0.0.2\n", "i.ini:1:26: ansible_ssh_host differs from ansible_host in line 1; keep one of the two"},
		{"capital letters", "i.ini", "Web1\nweb1\n", "i.ini:2:1: host web1 and Web1 in line 1 differ only in capital letters; rename one of them"},
		{"host and group", "i.ini", "[web]\nh1\n[db]\nweb\n", "i.ini:4:1: web is a host and a group, which Ansible mixes up; rename one of them"},
		{"IPv6 for a name", "i.ini", "fd00::1\n[fd00::2]:22\n", "i.ini:1:1: a host's name is \"fd00::1\"; give the host a name, and the address as ansible_host\ni.ini:2:1: a host's name is \"fd00::2\"; give the host a name, and the address as ansible_host"},
		{"umlaut in a host", "i.ini", "grün\n", `i.ini:1:1: a host's name is "grün"; use letters, digits, hyphens, dots and underscores only`},
		{"name before a port", "i.ini", "web-:22\n", `i.ini:1:1: "web-:22" is a name before a port in which a part begins or ends with - or _; rename it, or write the port as ansible_port`},
		{"range without end", "i.ini", "w[1:]\nw[:5]\nw[1]\nw[1:2:0]\nw[a:5]\nw[a:F]\nw[5:1]\nw[01:100]\nw[1:2\nw1]\n",
			"i.ini:1:1: \"w[1:]\" has a range [1:] that is made neither of numbers nor of two letters of one case; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:2:1: \"w[:5]\" has a range [:5] that is made neither of numbers nor of two letters of one case; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:3:1: \"w[1]\" has a range [1] that is not from:to or from:to:step; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:4:1: \"w[1:2:0]\" has a range [1:2:0] with an unusable step; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:5:1: \"w[a:5]\" has a range [a:5] that is made neither of numbers nor of two letters of one case; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:6:1: \"w[a:F]\" has a range [a:F] that is made neither of numbers nor of two letters of one case; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:7:1: \"w[5:1]\" has a range [5:1] that runs backwards; write the smaller number first\n" +
				"i.ini:8:1: \"w[01:100]\" has a range [01:100] whose ends have different numbers of digits; write both with the same leading zeros, as in [01:24]\n" +
				"i.ini:9:1: \"w[1:2\" has a [ without a ]; write ranges as [01:50], [a:f] or [0:20:5]\n" +
				"i.ini:10:1: \"w1]\" has a ] without a [; write ranges as [01:50], [a:f] or [0:20:5]"},
		{"too many hosts", "i.ini", "w[1:99999]\nx[1:2]\n", "i.ini:2:1: there are more than 100000 hosts; split the inventory"},
		{"too many in one", "i.ini", "w[1:999]-[1:999]\n", `i.ini:1:1: "w[1:999]-[1:999]" brings the hosts to more than 100000; split the estate`},
		{"priority", "i.ini", "[a]\nh1\n[a:vars]\nansible_group_priority=high\n", `i.ini:4:1: ansible_group_priority of group a is "high", not a whole number; write a whole number`},
		{"YAML in an INI file", "i.ini", "h1\nall:\n", `i.ini:2:1: "all:" is not a host's name; write one host's name; if this is YAML, give the file a name that ends in .yml`},
		{"no hosts", "i.ini", "[a]\n# nothing\n", "i.ini:1:1: there are no hosts; give a file that lists hosts"},
		{"hidden line break", "i.ini", "h1\u2028h2\n", "i.ini:1:3: a line holds a hidden line break; remove it"},
		{"not UTF-8", "i.ini", "h1\n# gr\xfcn\n", "i.ini:2:5: the byte 0xfc is not UTF-8; save the file as UTF-8"},
		// ways to a host
		{"ProxyCommand", "i.ini", "[a]\nh1\n[a:vars]\nansible_ssh_common_args='-o ProxyCommand=\"ssh -W %h:%p gw\"'\n", `i.ini:4:1: ansible_ssh_common_args has the ssh option "ProxyCommand", which may change how the host is reached; write it as -J user@10.20.0.5, or import with --json after changing it`},
		{"other arguments", "i.ini", "h1 ansible_ssh_extra_args='-F /etc/x'\nh2 ansible_ssh_args='-p 2222'\nh3 ansible_ssh_args='-o Foo'\n", "i.ini:1:4: ansible_ssh_extra_args has the ssh argument \"-F\", which may change how the host is reached; write it as -J user@10.20.0.5, or import with --json after changing it\ni.ini:2:4: ansible_ssh_args has the ssh argument \"-p\", which may change how the host is reached; write it as -J user@10.20.0.5, or import with --json after changing it\ni.ini:3:4: ansible_ssh_args has the ssh option \"Foo\" without a value; write it as -o Name=value"},
		{"two jump hosts", "i.ini", "h1 ansible_ssh_args='-J a@10.0.0.1' ansible_ssh_extra_args='-J a@10.0.0.2'\n", "i.ini:1:37: ansible_ssh_extra_args names another jump host than another variable does; keep one of the two"},
		{"jump host's address", "i.ini", "h1 ansible_ssh_args='-J a@10.0.0.999'\nh2 ansible_ssh_args='-J a@10.0.0.1:99999'\n", "i.ini:1:4: ansible_ssh_args: the jump host \"10.0.0.999\" is not an IP address; write one such as 10.20.1.11, without leading zeros\ni.ini:2:4: ansible_ssh_args: the jump host \"a@10.0.0.1:99999\" has a port that is \"99999\", not a number from 1 to 65535; write it as -J user@10.20.0.5, or import with --json after changing it"},
		// forms
		{"vault", "i.ini", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", "i.ini:1:1: the file is locked in a vault; decrypt a copy with `ansible-vault decrypt`, or import the output of `ansible-inventory --list` with --json"},
		{"program", "inventory", "#!/usr/bin/env python3\n", "inventory:1:1: the file is a program that makes an inventory; import the output of `ansible-inventory --list` with --json"},
		{"TOML", "i.toml", "[web]\n", "i.toml:1:1: the file is an inventory in TOML; import the output of `ansible-inventory --list` with --json"},
		{"JSON", "i.json", "{}", "i.json:1:1: the file is JSON; add --json if it is the output of `ansible-inventory --list`"},
		// YAML
		{"plugin", "aws.yml", "# from the cloud\nplugin: amazon.aws.aws_ec2\nregions: [eu-west-2]\n", `aws.yml:2:1: this file sets up an inventory plugin ("amazon.aws.aws_ec2"), which only Ansible can ask for its hosts` + withJSON},
		{"list of hosts", "i.yml", "all:\n  hosts:\n    - h1\n", "i.yml:3:5: hosts of group all is a list; write each name on a line of its own, with a colon behind it"},
		{"unknown key", "i.yml", "web:\n  host:\n    h1:\n", `i.yml:2:3: group web has "host", which Ansible leaves out; write hosts, vars or children, or remove it`},
		{"group of words", "i.yml", "web: h1\n", `i.yml:1:6: group web is the single value "h1"; write hosts:, vars: or children: below it`},
		{"number for a name", "i.yml", "all:\n  hosts:\n    10:\n    1.5:\n    on:\n    0x1f:\n", "i.yml:3:5: Ansible does not read \"10\" in hosts of group all as a text; put it into quotes\ni.yml:4:5: Ansible does not read \"1.5\" in hosts of group all as a text; put it into quotes\ni.yml:5:5: Ansible does not read \"on\" in hosts of group all as a text; put it into quotes\ni.yml:6:5: Ansible does not read \"0x1f\" in hosts of group all as a text; put it into quotes"},
		{"octal port", "i.yml", "all: {hosts: {h1: {ansible_port: 026}}}\n", `i.yml:1:34: ansible_port is "026", which Ansible does not read as a text; put it into quotes`},
		{"truth for a user", "i.yml", "all: {hosts: {h1: {ansible_user: yes}}}\n", `i.yml:1:34: ansible_user is "yes", which Ansible does not read as a text; put it into quotes`},
		{"nothing for an address", "i.yml", "all:\n  hosts:\n    h1:\n      ansible_host:\n", "i.yml:4:20: ansible_host has no value; write one, or remove it"},
		{"list for an address", "i.yml", "all: {hosts: {h1: {ansible_host: [10.0.0.1]}}}\n", "i.yml:1:34: ansible_host is a list; write a single value"},
		{"vault tag", "i.yml", "all:\n  hosts:\n    h1:\n      ansible_user: !vault |\n        $ANSIBLE_VAULT;1.1;AES256\n        6162\n", "i.yml:4:21: ansible_user is locked in a vault; write it in the open; it is no secret"},
		{"other tag", "i.yml", "all: {hosts: {h1: {ansible_user: !unsafe root}}}\n", `i.yml:1:34: ansible_user has the tag "!unsafe"; remove the tag`},
		{"alias", "i.yml", "all:\n  hosts:\n    h1: &h {ansible_user: root}\n    h2: *h\n", "i.yml:3:9: an anchor (&h) is not allowed here; remove it; defaults and ladders say things once\ni.yml:4:9: an alias (*h) is not allowed here; write the value out, or use defaults and ladders"},
		{"alias for a value", "i.yml", "x:\n  vars: {a: &u root}\n  hosts: {h1: {ansible_user: *u}}\n", "i.yml:3:30: ansible_user is an alias or has an anchor" + withJSON},
		{"merge key", "i.yml", "all:\n  hosts:\n    h1:\n      <<: {ansible_user: root}\n", "i.yml:4:7: merging with << is not allowed" + withJSON},
		{"key twice", "i.yml", "all:\n  hosts: {h1: }\n  hosts: {h2: }\n", `i.yml:3:3: "hosts" stands twice in group all (first in line 2); keep one of the two`},
		{"not YAML", "i.yml", "all:\n  hosts:\n   h1:\n  - h2\n", `i.yml:4:3: this is not YAML: did not find expected key (while parsing a block mapping); check indentation, colons and quotes there`},
		{"empty", "i.yml", "# nothing\n", "i.yml:1:1: the file is empty; write all: with hosts: below it"},
		{"all at once", "i.yml", "all:\n  hosts:\n    h1: {ansible_port: x}\n    h2: {ansible_connection: docker}\n    h 3:\n  kids:\n", "i.yml:3:24: ansible_port is \"x\", not a number from 1 to 65535; write a port from 1 to 65535\ni.yml:4:30: ansible_connection is \"docker\", but Blackstart reaches hosts by ssh; leave these hosts out with --skip, or correct it\ni.yml:5:5: a host's name is \"h 3\"; use letters, digits, hyphens, dots and underscores only\ni.yml:6:3: group all has \"kids\", which Ansible leaves out; write hosts, vars or children, or remove it"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.want, ImportAnsible, c.file, c.data) })
	}
	for _, c := range []struct{ name, data, want string }{
		{"not JSON", "{\"all\": {\n  \"hosts\": [}}", "l.json:2:13: this is not JSON: invalid character '}' looking for beginning of value; give the output of `ansible-inventory --list`"},
		{"cut off", "{\"_meta\": {", "l.json:1:12: this is not JSON: it ends too early; give the output of `ansible-inventory --list`"},
		{"two documents", "{\"_meta\": {}} {}", "l.json:1:15: something follows after the end of the list; give one list"},
		{"no list", "[]", "l.json:1:1: the file is a list; give the output of `ansible-inventory --list`"},
		{"no _meta", `{"all": {"hosts": ["h1"]}}`, "l.json:1:1: the file has no _meta; give the output of `ansible-inventory --list`"},
		{"number for a host", `{"_meta": {}, "web": {"hosts": ["h1", 2]}}`, "l.json:1:39: an item of hosts of group web is the single value \"2\"; write a text"},
		{"no host", `{"_meta": {}, "web": {"hosts": ["w[1:2]", "w1:22"]}}`, "l.json:1:33: a host's name is \"w[1:2]\"; give the host a name, and the address as ansible_host\nl.json:1:43: a host's name is \"w1:22\"; give the host a name, and the address as ansible_host"},
		{"host in no group", `{"_meta": {"hostvars": {"h1": {}}}, "web": {"hosts": ["h2"]}}`, "l.json:1:25: host h1 is in no group; put it into one, or remove it"},
		{"template", "{\"_meta\": {\"hostvars\":\n {\"hü\": {}, \"h1\": {\"ansible_host\": \"{{ x }}\"}}}, \"web\": {\"hosts\": [\"h1\"]}}", "l.json:2:36: ansible_host holds a template, \"{{ x }}\"" + withJSON},
		{"vault", `{"_meta": {"hostvars": {"h1": {"ansible_user": {"__ansible_vault": "x"}}}}, "web": {"hosts": ["h1"]}}`, "l.json:1:48: ansible_user is locked in a vault; write it in the open; it is no secret"},
		{"unknown key", `{"_meta": {}, "web": {"host": ["h1"]}}`, "l.json:1:23: unknown key \"host\" in group web; remove it"},
		{"too deep", `{"_meta": ` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, "l.json:1:41: this is not JSON: it is nested more than 30 deep; give the output of `ansible-inventory --list`"},
	} {
		t.Run("list: "+c.name, func(t *testing.T) { refused(t, c.want, ImportAnsibleList, "l.json", c.data) })
	}
}

func refused(t *testing.T, want string, read func(string, []byte, ImportOptions) (Imported, error), file, data string) {
	t.Helper()
	_, err := read(file, []byte(data), ImportOptions{})
	var list Errors
	if !errors.As(err, &list) {
		t.Fatalf("got %v, want Errors", err)
	}
	if got := list.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestRefusedLists(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"all at once", "name,address,port,tier\nh1,10.0.0.1,22,first\nh2,10.0.0.1/24,99999,first\nh 3,web.example.org,,first\n,10.0.0.4,,\nh1,10.0.0.5,,\nh6,10.0.0.1,22,\n",
			"l.csv:3:4: address \"10.0.0.1/24\" is not an IP address; write one such as 10.20.1.11, without leading zeros\nl.csv:3:16: port is \"99999\", not a number from 1 to 65535; write a port from 1 to 65535\nl.csv:4:1: name is \"h 3\"; use letters, digits, hyphens, dots and underscores only\nl.csv:5:1: this host has no name; write it, or remove the row\nl.csv:6:1: host h1 is already in line 2; rename or remove one of them\nl.csv:7:1: address 10.0.0.1:22 of host h6 is already that of host h1 in line 2; keep one of them, because a fleet has each server once"},
		{"port in the address", "name;address\nh1;10.0.0.1:22\n", "l.csv:2:4: address \"10.0.0.1:22\" holds a port; write the port apart from the address"},
		{"capital letters", "name\nWeb1\nweb1\n", "l.csv:3:1: host web1 and Web1 in line 2 differ only in capital letters; rename one of them"},
		{"terms", "name,os,data,critical,user\nh1,beos,some,maybe,a b\n", "l.csv:2:4: os is \"beos\"; write windows or linux, with an optional version after a hyphen\nl.csv:2:9: data is \"some\"; write none, replica or primary\nl.csv:2:14: critical is \"maybe\", neither yes nor no; write yes or no\nl.csv:2:20: user has no usable user name: \"a b\"; write one such as root"},
		{"jump", "name,jump\nh1,ops@10.0.0.999\n", "l.csv:2:4: jump \"10.0.0.999\" is not an IP address; write one such as 10.20.1.11, without leading zeros"},
		{"too few cells", "name,address\nh1\nh2,10.0.0.2,x\n", "l.csv:2:1: this row has 1 cell, but the headings are 2; check its delimiters and quotation marks\nl.csv:3:1: this row has 3 cells, but the headings are 2; check its delimiters and quotation marks"},
		{"quotation marks", "name,os\nh\"1,linux\n\"h2\"x,linux\n\"h3,linux\n", "l.csv:2:2: this row cannot be read: bare \" in non-quoted-field; put a cell that holds a quotation mark into quotation marks, and write the mark twice\nl.csv:3:4: this row cannot be read: extraneous or missing \" in quoted-field; put a cell that holds a quotation mark into quotation marks, and write the mark twice\nl.csv:4:11: this row cannot be read: extraneous or missing \" in quoted-field; put a cell that holds a quotation mark into quotation marks, and write the mark twice"},
		{"no names", "address,os\n10.0.0.1,linux\n", "l.csv:1:1: no column is the hosts' names; say with --map COLUMN=name which one it is"},
		{"two names", "name,os,Hostname\nh1,linux,h2\n", "l.csv:1:9: columns \"name\" and \"Hostname\" are both the name; say with --map which one is meant"},
		{"delimiter", "name;os,data\nh1,linux,none\n", "l.csv:1:1: it is not clear which character stands between the cells; say it with --delimiter"},
		{"empty", "\n\n", "l.csv:1:1: there are no hosts; give a file that lists hosts"},
		{"headings only", "name,address\n", "l.csv:1:1: there are no hosts; give a file that lists hosts"},
		{"UTF-16", "\xff\xfen\x00a\x00", "l.csv:1:1: the byte 0xff is not UTF-8; save the file as UTF-8"},
		{"two words, one name", "name,service\nh1,Social Care\nh2,social care\n", "l.csv:3:4: service is \"social care\", which would have the same name as \"Social Care\": social-care; write one of them in another way"},
		{"councils", "name,service,council\nh1,web,north\nh2,web,south\n", "l.csv:3:1: host h2 of service web is of council south, but h1 in line 2 is of north; give each council a service of its own"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, c.want, ImportCSV, "l.csv", c.data) })
	}
}

func TestImportsAreBounded(t *testing.T) {
	big := []byte(strings.Repeat("#\n", maxBytes/2+1))
	for name, read := range map[string]func(string, []byte, ImportOptions) (Imported, error){"i.ini": ImportAnsible, "i.yml": ImportAnsible, "l.json": ImportAnsibleList, "l.csv": ImportCSV} {
		if _, err := read(name, big, ImportOptions{}); err == nil || !strings.Contains(err.Error(), ":1:1: the file is larger than 32 MiB; split") {
			t.Errorf("%s: got %.200v", name, err)
		}
	}
	var groups strings.Builder
	for i := range maxInvGroups {
		groups.WriteString("[g" + strings.Repeat("x", i%3) + string(rune('a'+i%26)) + "_" + strconv.Itoa(i) + "]\n")
	}
	refused(t, "i.ini:9999:1: there are more than 10000 groups; split the inventory\n", func(n string, d []byte, o ImportOptions) (Imported, error) {
		_, err := ImportAnsible(n, d, o)
		var list Errors
		if errors.As(err, &list) {
			list[0].Do += "\n"
			return Imported{}, list[:1]
		}
		return Imported{}, err
	}, "i.ini", groups.String())
}
