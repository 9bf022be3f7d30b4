package fleet

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ladder is a way in, best rung first.
type ladder []rung

// rung is one step of a ladder, without what differs from host to host.
type rung struct {
	recovery.Rung
	where          at
	sets           names // RungRestore: those that the file names
	address        text  // where it has its own
	boot           *control
	unlock         secretRef
	attach, detach text
}

func (b *builder) ladderTable(t table[[]rungEntry]) {
	b.ladders = make(map[string]ladder, len(t))
	for _, row := range t {
		b.name(row.Key, "ladder")
		if len(row.Value) == 0 {
			b.add(row.Key.at, "write its rungs, or remove it", "ladder %s has no rungs", row.Key.s)
		}
		b.ladders[row.Key.s] = b.ladder(row.Value)
	}
}

// ladder checks the rungs and ends them with a person.
func (b *builder) ladder(entries []rungEntry) ladder {
	var l ladder
	seen := map[string]bool{}
	for i, e := range entries {
		if i == maxRungs {
			b.add(e.at, "remove some", "the ladder has more than %d rungs", maxRungs)
			break
		}
		b.name(e.Name, "rung")
		if e.Name.given() && seen[e.Name.s] {
			b.add(e.Name.at, "rename one of them", "there are two rungs named %s in one ladder", e.Name.s)
		}
		seen[e.Name.s] = true
		l = append(l, b.rung(e))
		if l[i].Kind == recovery.RungHands && i < len(entries)-1 {
			b.add(e.at, "move it to the end", "rung %s of kind hands is not the last: nothing comes after a person", e.Name.s)
		}
	}
	if n := len(l); n == 0 || l[n-1].Kind != recovery.RungHands {
		if seen[recovery.RungHands] {
			b.add(entries[0].at, "rename that rung", "the last rung, a person, is called hands, but another rung has that name")
		}
		l = append(l, rung{Rung: recovery.Rung{Name: recovery.RungHands, Kind: recovery.RungHands}})
	}
	return l
}

// rungKinds are the kinds of rung, and the keys that each can have beside name, kind and estimate.
var rungKinds = []struct{ kind, keys string }{
	{recovery.RungSSH, " environment reboots address port user jump host-keys reboot-command root resources "},
	{recovery.RungRace, " environment address port user jump host-keys reboot-command within resources "},
	{recovery.RungRescue, " environment reboots address port user jump within boot unlock resources "},
	{recovery.RungHelper, " environment reboots address port user jump host-keys within attach detach unlock resources "},
	{recovery.RungRestore, " reboots sets resources "},
	{recovery.RungHands, " "},
}

// byLogin reports whether a rung of this kind is climbed over SSH, so that it leads to an address.
func byLogin(kind string) bool { return kind != recovery.RungHands && kind != recovery.RungRestore }

// stray refuses keys that a rung of this kind would not heed.
func (b *builder) stray(e rungEntry, kind string) {
	for _, k := range []struct {
		where at
		key   string
	}{
		{e.Environment.at, "environment"}, {e.Reboots.at, "reboots"}, {e.Address.at, "address"}, {e.Port.at, "port"}, {e.User.at, "user"},
		{e.RebootCommand.at, "reboot-command"}, {e.Root.at, "root"}, {e.Jump.first(), "jump"}, {e.HostKeys.first(), "host-keys"}, {e.Within.at, "within"},
		{e.Boot.at, "boot"}, {e.Attach.at, "attach"}, {e.Detach.at, "detach"}, {e.Unlock.at, "unlock"}, {e.Sets.first(), "sets"}, {e.Resources.first(), "resources"},
	} {
		if !k.where.given() {
			continue
		}
		fit := ""
		for _, other := range rungKinds {
			if has := strings.Contains(other.keys, " "+k.key+" "); has && other.kind == kind {
				fit = kind
				break
			} else if has && fit == "" {
				fit = other.kind
			}
		}
		if fit != kind {
			b.add(k.where, "remove it, or write kind: "+fit, "rung %s of kind %s has %s", e.Name.s, kind, k.key)
		}
	}
}

// rung checks one rung.
func (b *builder) rung(e rungEntry) rung {
	r := rung{Rung: recovery.Rung{Name: e.Name.s, Kind: e.Kind.or(recovery.RungSSH), Estimate: e.Estimate.d}, where: e.at}
	if e.Kind.at.given() && !e.Kind.given() { // refused, and said so
		return r
	}
	b.stray(e, r.Kind)
	switch r.Kind {
	case recovery.RungHands:
		return r
	case recovery.RungRestore:
		b.fromBackup(e, &r)
		return r
	}
	b.environment(e, &r)
	b.login(e, &r)
	b.ways(e, &r)
	return r
}

// environment says what the rung leads into. Only a plain login may lead into different ones.
func (b *builder) environment(e rungEntry, r *rung) {
	r.Reboots = e.Reboots.on
	switch r.Kind {
	case recovery.RungSSH:
		r.Environment = e.Environment.s
		if !e.Environment.at.given() {
			b.add(e.at, "write environment: linux, rescue-linux or windows-safe-mode", "rung %s does not say which environment it leads into", e.Name.s)
		}
		return
	case recovery.RungRace:
		r.Environment = recovery.EnvLinux
	default:
		r.Environment, r.Reboots = recovery.EnvRescueLinux, true
		if e.Reboots.given() && !e.Reboots.on {
			b.add(e.Reboots.at, "remove it, or choose another kind", "rung %s of kind %s always restarts the host", e.Name.s, r.Kind)
		}
	}
	if e.Environment.given() && e.Environment.s != r.Environment {
		b.add(e.Environment.at, "write "+r.Environment+", or leave it out", "rung %s of kind %s leads into %s, not %s", e.Name.s, r.Kind, r.Environment, e.Environment.s)
	}
}

// login is how a script gets there over SSH.
func (b *builder) login(e rungEntry, r *rung) {
	const port, user = 22, "root"
	r.address, r.RebootCmd, r.Root = e.Address, e.RebootCommand.s, e.Root.s
	r.Port, r.User = port, e.User.or(user)
	if e.Port.given() {
		if e.Port.n < 1 || e.Port.n > math.MaxUint16 {
			b.add(e.Port.at, "write a port from 1 to 65535", "port is %d", e.Port.n)
		}
		r.Port = e.Port.n
	}
	if problem := checkUser(r.User); problem != "" {
		b.add(e.User.at, "write one such as root", "user %s", problem)
	}
	if e.Root.given() && !strings.HasPrefix(e.Root.s, "/") {
		b.add(e.Root.at, "write a path that begins with /", "root is %s", quote(e.Root.s))
	}
	if len(e.Jump) > maxJumps {
		b.add(e.Jump[maxJumps].at, "name fewer", "there are more than %d jump hosts on one rung", maxJumps)
		e.Jump = e.Jump[:maxJumps]
	}
	for _, t := range e.Jump {
		jump, problem, do := parseJump(t.s, r.User)
		if problem != "" {
			b.add(t.at, do, "jump host %s", problem)
			continue
		}
		r.Jump = append(r.Jump, jump)
	}
	for _, t := range e.HostKeys {
		line, problem, do := parseHostKey(t.s)
		if problem != "" {
			b.add(t.at, do, "the host key %s", problem)
			continue
		}
		r.HostKeys = append(r.HostKeys, line)
	}
}

// ways is what must happen before and after the login.
func (b *builder) ways(e rungEntry, r *rung) {
	const shortest, longest = time.Second, 24 * time.Hour
	r.Within, r.unlock, r.attach, r.detach = e.Within.d, e.Unlock, e.Attach, e.Detach
	if e.Within.given() && (e.Within.d < shortest || e.Within.d > longest) {
		b.add(e.Within.at, "write a length of time from 1s to 24h", "within of rung %s is %s", e.Name.s, e.Within.d)
	}
	b.scarce(e, r)
	if known(b, b.boot, e.Boot, "boot target", "boot:") {
		r.boot = b.boot[e.Boot.s]
	}
	if r.Kind != recovery.RungHelper {
		return
	}
	for _, c := range []struct {
		key     string
		command text
	}{{"attach", e.Attach}, {"detach", e.Detach}} {
		if !c.command.at.given() {
			b.add(e.at, "add "+c.key+": and the command there that does it", "rung %s of kind helper has no %s", e.Name.s, c.key)
		} else if problem, do := checkPlaces(c.command.s); problem != "" {
			b.add(c.command.at, do, "%s %s", c.key, problem)
		}
	}
}

// scarce is what the rung says that it takes a slot of.
func (b *builder) scarce(e rungEntry, r *rung) {
	for _, name := range b.scarceOnes(e.Resources) {
		if name != recovery.ResourceSSH { // every attempt takes a slot of ssh by itself
			r.Resources = append(r.Resources, name)
		}
	}
}

// guarded returns the resources that a rung takes on hosts with these: its own, and those of the controls that it restarts the
// host through.
func (r *rung) guarded(power *control, host []string) []string {
	var out []string
	take := func(name string) {
		if name != "" && !slices.Contains(host, name) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, name := range r.Resources {
		take(name)
	}
	if power != nil && restartsByPower(r.Kind) {
		take(power.slots)
	}
	if r.boot != nil {
		take(r.boot.slots)
	}
	return out
}

// rungFor is the rung of one host, without its address.
func (b *builder) rungFor(r *rung, f *facts) recovery.Rung {
	out := r.Rung
	if r.boot != nil {
		out.Boot = b.forHost(r.boot, nil, f)
	}
	if r.unlock.s != "" {
		out.Unlock = b.secret(r.unlock, "unlock", f)
	}
	out.Attach = b.fill(r.attach.at, r.attach.s, "attach", f)
	out.Detach = b.fill(r.detach.at, r.detach.s, "detach", f)
	return out
}
