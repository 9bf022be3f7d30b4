package fleet

import (
	"fmt"
	"math"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// control is an entry of power: or boot:, checked. Its values are filled in for each host.
type control struct {
	controlEntry
	section string // power or boot
	name    string
	what    string // how messages call it: "power bmc-dc1"
	slots   string // the resource that guards it; "" for none
}

// The sections of the file that hold controls.
const (
	sectionPower = "power"
	sectionBoot  = "boot"
)

// slotsOf is the resource that guards a control. No name in the file holds a slash, so nothing else is called so.
func slotsOf(section, name string) string { return section + "/" + name }

// restartsByPower reports whether a rung of this kind restarts the host by its power control, where it has one.
func restartsByPower(kind string) bool {
	return kind == recovery.RungRescue || kind == recovery.RungHelper
}

// What a control may say, and gets when it says nothing.
const (
	noControl   = "none"  // the power: of a host that has none, whatever its site says
	urlOption   = "url"   // where a Redfish control's address goes
	caOption    = "ca"    // a Redfish control's file of certificates
	imageOption = "image" // what a boot target's program is told beside its options
	powerAtOnce = 8
	minTimeout  = time.Second
	maxTimeout  = time.Hour
)

// option is a value for a control: words, a number or a flag, kept as written.
type option struct{ text }

// parse never repeats what was written: it may be a secret in the wrong place.
func (o *option) parse(s string) (problem, do string) {
	switch {
	case len(s) > longestText:
		return fmt.Sprintf("is %d bytes long", len(s)), fmt.Sprintf("write at most %d", longestText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "holds a control character", "write it on one line in plain characters"
	case strings.TrimSpace(s) == "":
		return "is empty", "write a value or leave the option out"
	}
	o.s = s
	return "", ""
}

// controlTable checks the controls of one section, and makes a resource of each that has a number of slots.
func (b *builder) controlTable(section string, t table[controlEntry], atOnce int) map[string]*control {
	out := make(map[string]*control, len(t))
	if len(t) > maxControls {
		b.add(t[maxControls].Key.at, "make one serve more hosts, with {name} or {4} in its options", "%s has more than %d controls", section, maxControls)
		t = t[:maxControls]
	}
	for _, row := range t {
		c := &control{controlEntry: row.Value, section: section, name: row.Key.s, what: section + " " + row.Key.s}
		if b.name(row.Key, "the name of "+c.what); c.name == noControl {
			b.add(row.Key.at, "rename it", "%s: none stands for no control at all", section)
		}
		if !c.at.given() {
			c.at = row.Key.at
		}
		b.control(c)
		slots := atOnce
		if c.AtOnce.given() {
			if slots = c.AtOnce.n; slots < 1 {
				b.add(c.AtOnce.at, "write 1 or more", "at-once of %s is 0", c.what)
			}
		}
		if slots > 0 {
			c.slots = slotsOf(section, c.name)
			b.resources[c.slots] = len(b.out.Resources)
			b.out.Resources = append(b.out.Resources, recovery.Resource{Name: c.slots, Slots: slots})
		}
		out[c.name] = c
	}
	return out
}

// control checks what a control says of itself.
func (b *builder) control(c *control) {
	switch agent, redfish := c.Agent.at.given(), c.Redfish.at.given(); {
	case agent && redfish:
		b.add(c.Redfish.at, "keep one of the two", "%s has both agent and redfish", c.what)
	case !agent && !redfish:
		b.add(c.at, "write agent: and a program, or redfish: and an address", "%s does not say what it acts through", c.what)
	case c.Agent.given():
		if problem := checkProgram(c.Agent.s); problem != "" {
			b.add(c.Agent.at, "write a name such as fence_ipmilan, or an absolute path", "agent %s", problem)
		}
		if o, ok := c.Options.get(imageOption); ok && c.section == sectionBoot {
			b.add(o.at, "remove it", "option %s of %s is told anew for each boot", imageOption, c.what)
		}
	case c.Redfish.given():
		b.redfish(c)
	}
	b.options(c.Options, c.what, controlOptions)
	b.secrets(c)
	if t := c.Timeout; t.given() && (t.d < minTimeout || t.d > maxTimeout) {
		b.add(t.at, "write a length of time from 1s to 1h", "timeout of %s is %s", c.what, t.d)
	}
}

// redfish checks what our own client must be told.
func (b *builder) redfish(c *control) {
	problem, do := checkPlaces(c.Redfish.s)
	if problem == "" {
		address, _ := sample.fill(c.Redfish.s)
		problem, do = checkRedfish(address)
	}
	if problem != "" {
		b.add(c.Redfish.at, do, "redfish %s", problem)
	}
	if o, ok := c.Options.get(urlOption); ok {
		b.add(o.at, "write it as redfish:", "%s has an option %s", c.what, urlOption)
	}
	if _, ok := c.Options.get("username"); !ok {
		b.add(c.at, "write it in options:", "%s has no username", c.what)
	}
	if _, ok := c.Secrets.get("password"); !ok {
		b.add(c.at, "write where it lies in secrets:", "%s has no password", c.what)
	}
}

// optionRules are what the options of one kind of thing must be.
type optionRules struct {
	name   func(key string) (problem, do string)
	secret string // what to do about one that is a secret
}

var controlOptions = optionRules{checkOption, "move it to secrets: of the control, as file:PATH or env:NAME"}

// options checks the options of something, or those that a host adds to it; what is how messages call it.
func (b *builder) options(list table[option], what string, rules optionRules) {
	if len(list) > maxList {
		b.add(list[maxList].Key.at, "remove some", "%s has more than %d options", what, maxList)
	}
	for _, row := range list {
		if !row.Value.at.given() {
			b.add(row.Key.at, "write one, or remove the line", "option %s has no value", cut(row.Key.s))
		}
		switch problem, do := rules.name(row.Key.s); {
		case problem != "":
			b.add(row.Key.at, do, "option %s", problem)
		case secretive(row.Key.s):
			b.add(row.Key.at, rules.secret, "option %s is a secret, which does not belong into this file", row.Key.s)
		case row.Value.given():
			if problem, do := checkPlaces(row.Value.s); problem != "" {
				b.add(row.Value.at, do, "option %s: %s", row.Key.s, problem)
			}
		}
	}
}

func (b *builder) secrets(c *control) {
	if len(c.Secrets) > maxList {
		b.add(c.Secrets[maxList].Key.at, "remove some", "%s has more than %d secrets", c.what, maxList)
	}
	for _, row := range c.Secrets {
		if problem, do := checkOption(row.Key.s); problem != "" {
			b.add(row.Key.at, do, "secret %s", problem)
		}
		b.apart(c.Options, row.Key.s, c)
	}
}

// apart refuses an option that is one of the control's secrets too.
func (b *builder) apart(options table[option], secret string, c *control) {
	if o, ok := options.get(secret); ok {
		b.add(o.at, "keep the one in secrets:", "option %s is a secret of %s too", cut(secret), c.what)
	}
}

var (
	optionName  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	programName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
)

// checkOption refuses names that no agent knows, and the one that we give ourselves.
func checkOption(key string) (problem, do string) {
	const longest = 64
	switch {
	case len(key) > longest || !optionName.MatchString(key):
		return "is called " + quote(key), "use letters, digits, hyphens and underscores only"
	case key == "action":
		return "action is told by what is to be done", "remove it"
	}
	return "", ""
}

// checkProgram takes a name, which is looked up in PATH, or an absolute path.
func checkProgram(s string) (problem string) {
	const longest = 255
	if len(s) > longest || !programName.MatchString(s) && (s[0] != '/' || s == "/" || path.Clean(s) != s) {
		return quote(s) + " is neither the name of a program nor an absolute path"
	}
	return ""
}

// checkRedfish takes https://ADDRESS, with a port where it is not 443.
func checkRedfish(s string) (problem, do string) {
	const like = "write one such as https://10.90.1.11"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a web address", like // err may repeat a password
	case u.Scheme != "https":
		return "is not reached by https", like + ", because a password goes over it"
	case u.User != nil:
		return "holds a user or password", "write them as username in options: and password in secrets:"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
		return quote(s) + " is more than an address", like
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
			return quote(s) + " has no usable port", like
		}
	}
	if _, problem, do = parseAddress(u.Hostname()); problem != "" {
		return problem, do
	}
	return "", ""
}

// forHost makes a host's control; own are its options on top.
func (b *builder) forHost(c *control, own table[option], f *facts) *recovery.Control {
	out := recovery.Control{Name: c.name, Kind: recovery.ControlAgent, Program: c.Agent.s, Timeout: c.Timeout.d}
	if n := len(c.Options) + len(own); n > 0 || c.Redfish.given() {
		out.Options = make(map[string]string, n+1)
	}
	if c.Redfish.given() {
		out.Kind = recovery.ControlRedfish
		out.Options[urlOption] = b.fill(c.Redfish.at, c.Redfish.s, "redfish of "+c.what, f)
	}
	for _, list := range []table[option]{c.Options, own} {
		for _, row := range list {
			out.Options[row.Key.s] = b.fill(row.Value.at, row.Value.s, "option "+row.Key.s, f)
		}
	}
	if ca := out.Options[caOption]; ca != "" && c.Redfish.given() {
		out.Options[caOption] = b.absolute(c.at, ca)
	}
	if c.Redfish.given() {
		where := c.Redfish.at
		if o, ok := own.get(urlOption); ok {
			where = o.at
		}
		if problem, do := checkRedfish(out.Options[urlOption]); problem != "" {
			b.once(where, do, "redfish of host %s %s", f.name, problem)
		}
	}
	if len(c.Secrets) > 0 {
		out.Secrets = make(map[string]string, len(c.Secrets))
	}
	for _, row := range c.Secrets {
		out.Secrets[row.Key.s] = b.secret(row.Value, "secret "+row.Key.s, f)
	}
	return &out
}
