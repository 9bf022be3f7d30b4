package playbook

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Changes tells what differs between two versions of a playbook, one phrase for each thing that matters to a responder. It is empty
// only where nothing differs that hosts or people would notice, such as a README.
func Changes(from, to *Playbook) []string {
	var list []string
	note := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	a, b := from.Facts, to.Facts
	for _, env := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(a.Environments, b.Environments)))) {
		before, had := from.scripts[env]
		after, has := to.scripts[env]
		switch {
		case had && !has:
			note("no script for %s any more", env)
		case !had && has:
			note("a script for %s", env)
		case !bytes.Equal(before, after):
			note("another script for %s", env)
		}
	}
	if !reflect.DeepEqual(from.Bad, to.Bad) {
		note("other probes for bad content")
	}
	if !reflect.DeepEqual(from.Good, to.Good) {
		note("other probes for good content")
	}
	if a.Reboot != b.Reboot {
		note("reboot %s, before %s", b.Reboot, a.Reboot)
	}
	if !reflect.DeepEqual(a.Match, b.Match) {
		note("meant for other hosts: %s, before %s", meant(to), meant(from))
	}
	for _, d := range []struct {
		what          string
		before, after time.Duration
	}{{"timeout", a.Timeout, b.Timeout}, {"verify-within", a.VerifyWithin, b.VerifyWithin}, {"soak", a.Soak, b.Soak}} {
		if d.before != d.after {
			note("%s %s, before %s", d.what, d.after, d.before)
		}
	}
	if !reflect.DeepEqual(a.Debts, b.Debts) {
		note("other debts")
	}
	if from.Hands != to.Hands {
		note("other words for people")
	}
	return list
}

func meant(p *Playbook) string {
	m := p.Facts.Match
	if len(m.OS) == 0 {
		return m.EDR
	}
	return m.EDR + " on " + strings.Join(m.OS, ", ")
}
