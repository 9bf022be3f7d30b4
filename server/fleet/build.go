package fleet

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// builder turns entries into the core's Fleet and checks what only the whole can tell.
type builder struct {
	problems
	tiers     map[string]int // index in the order of recovery
	services  map[string]int
	sites     map[string]bool
	resources map[string]int
	groups    map[string]int
	named     [][]memberList // by group
	power     map[string]*control
	boot      map[string]*control
	ladders   map[string]ladder
	stores    map[string]int                   // repositories, by index
	promises  map[string]recovery.BackupPolicy // those built in too
	parts     parts
	defaults  []setting
	dir       string           // the fleet file's folder, once it was needed
	facts     map[string]facts // of every host by name, where there are data sets
	restorers []restorer
	told      map[at]bool // places whose problem was told for one host and stands for all
	out       recovery.Fleet
}

// fleet converts the parts in the order in which they refer to each other.
func (b *builder) fleet(e *fileEntry) recovery.Fleet {
	b.out.Name = b.name(e.Fleet, "the fleet's name")
	b.policy(e.Policy)
	b.tierList(e.Tiers)
	b.serviceList(e.Services)
	b.resourceList(e)
	b.groupList(e.Groups)
	b.memberNames(e.Groups)
	b.power = b.controlTable(sectionPower, e.Power, powerAtOnce)
	b.boot = b.controlTable(sectionBoot, e.Boot, 0)
	b.repositoryTable(e.Repositories)
	b.backupPolicies(e.BackupPolicies)
	b.ladderTable(e.Ladders)
	b.partList(e.DefaultsFor, e.Groups)
	if len(e.Backups) > 0 {
		b.facts = map[string]facts{}
	}
	b.hostList(e)
	b.members(e.Groups)
	b.dataSets(e.Backups)
	b.restoreRungs()
	b.gates(e)
	b.cycles(e)
	b.tierOrder(e)
	slices.SortFunc(b.out.Hosts, func(x, y recovery.Host) int { return strings.Compare(x.Name, y.Name) })
	slices.SortFunc(b.out.DataSets, func(x, y recovery.DataSet) int { return strings.Compare(x.Name, y.Name) })
	return b.out
}

// name checks a name that others refer to. One that the file does not have is somebody else's problem.
func (b *builder) name(t text, what string) string {
	if t.given() {
		if problem, do := checkName(t.s); problem != "" {
			b.add(t.at, do, "%s %s", what, problem)
		}
	}
	return t.s
}

// declare notes a name and its index, and refuses a second one.
func (b *builder) declare(in map[string]int, t text, index int, what string) {
	if !t.given() {
		return
	}
	b.name(t, what)
	if _, ok := in[t.s]; ok {
		b.add(t.at, "rename one of them", "there are two %ss named %s", what, t.s)
		return
	}
	in[t.s] = index
}

// known reports whether a name that the file uses is declared. An absent name is fine.
func known[V any](b *builder, in map[string]V, t text, what, section string) bool {
	if !t.given() {
		return false
	}
	if _, ok := in[t.s]; ok {
		return true
	}
	do := "declare it in " + section
	if len(b.list) < maxPrinted {
		do = b.nearest(t.s, slices.Sorted(maps.Keys(in)), do)
	}
	b.add(t.at, do, "unknown %s %s", what, quote(t.s))
	return false
}

func (b *builder) policy(e policyEntry) {
	p := recovery.DefaultPolicy()
	count := func(into *int, w whole, key string) {
		if w.given() {
			if w.n < 1 {
				b.add(w.at, "write 1 or more, or leave the key out", "%s is 0", key)
			}
			*into = w.n
		}
	}
	length := func(into *time.Duration, s span, key string) {
		if s.given() {
			if s.d < time.Second {
				b.add(s.at, "write 1s or more, or leave the key out", "%s is %s", key, s.d)
			}
			*into = s.d
		}
	}
	count(&p.MaxAttempts, e.MaxAttempts, "max-attempts")
	count(&p.MaxInFlight, e.MaxInFlight, "max-in-flight")
	count(&p.TriesPerRung, e.TriesPerRung, "tries-per-rung")
	count(&p.MaxRelapses, e.MaxRelapses, "max-relapses")
	count(&p.SameSignature, e.SameSignature, "same-signature")
	length(&p.Backoff, e.Backoff, "backoff")
	length(&p.BackoffMax, e.BackoffMax, "backoff-max")
	length(&p.SilentAfter, e.SilentAfter, "silent-after")
	if e.MassSilence.given() {
		p.MassSilence = e.MassSilence.n
	}
	if e.IncidentFailures.given() {
		p.IncidentFailures = e.IncidentFailures.l
	}
	if p.Backoff > p.BackoffMax {
		where := e.Backoff.at
		if !where.given() {
			where = e.BackoffMax.at
		}
		b.add(where, "raise backoff-max or lower backoff", "backoff %s is longer than backoff-max %s", p.Backoff, p.BackoffMax)
	}
	b.out.Policy = p
}
