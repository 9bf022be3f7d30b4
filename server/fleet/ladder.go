package fleet

import (
	"math"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ladder is a way in without the hosts' addresses.
type ladder struct {
	rungs     []recovery.Rung
	addresses []text // by rung, where it has its own
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
		rung := recovery.Rung{Name: e.Name.s, Kind: e.Kind.or(recovery.RungSSH), Estimate: e.Estimate.d}
		if rung.Kind == recovery.RungHands {
			b.handsRung(e, i == len(entries)-1)
		} else {
			b.sshRung(e, &rung)
		}
		l.rungs = append(l.rungs, rung)
		l.addresses = append(l.addresses, e.Address)
	}
	if n := len(l.rungs); n == 0 || l.rungs[n-1].Kind != recovery.RungHands {
		if seen[recovery.RungHands] {
			b.add(entries[0].at, "rename that rung", "the last rung, a person, is called hands, but another rung has that name")
		}
		l.rungs = append(l.rungs, recovery.Rung{Name: recovery.RungHands, Kind: recovery.RungHands})
		l.addresses = append(l.addresses, text{})
	}
	return l
}

func (b *builder) handsRung(e rungEntry, last bool) {
	if !last {
		b.add(e.at, "move it to the end", "rung %s of kind hands is not the last: nothing comes after a person", e.Name.s)
	}
	for _, stray := range []struct {
		where at
		key   string
	}{
		{e.Environment.at, "environment"}, {e.Reboots.at, "reboots"}, {e.Address.at, "address"}, {e.Port.at, "port"},
		{e.User.at, "user"}, {e.RebootCommand.at, "reboot-command"}, {e.Root.at, "root"}, {e.Jump.first(), "jump"}, {e.HostKeys.first(), "host-keys"},
	} {
		if stray.where.given() {
			b.add(stray.where, "remove it, or write kind: ssh", "rung %s of kind hands has %s", e.Name.s, stray.key)
		}
	}
}

func (b *builder) sshRung(e rungEntry, rung *recovery.Rung) {
	const port, user = 22, "root"
	if !e.Environment.at.given() {
		b.add(e.at, "write environment: linux, rescue-linux or windows-safe-mode", "rung %s does not say which environment it leads into", e.Name.s)
	}
	rung.Environment, rung.Reboots, rung.RebootCmd, rung.Root = e.Environment.s, e.Reboots.on, e.RebootCommand.s, e.Root.s
	rung.Port, rung.User = port, e.User.or(user)
	if e.Port.given() {
		if e.Port.n < 1 || e.Port.n > math.MaxUint16 {
			b.add(e.Port.at, "write a port from 1 to 65535", "port is %d", e.Port.n)
		}
		rung.Port = e.Port.n
	}
	if problem := checkUser(rung.User); problem != "" {
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
		jump, problem, do := parseJump(t.s, rung.User)
		if problem != "" {
			b.add(t.at, do, "jump host %s", problem)
			continue
		}
		rung.Jump = append(rung.Jump, jump)
	}
	for _, t := range e.HostKeys {
		line, problem, do := parseHostKey(t.s)
		if problem != "" {
			b.add(t.at, do, "the host key %s", problem)
			continue
		}
		rung.HostKeys = append(rung.HostKeys, line)
	}
}
