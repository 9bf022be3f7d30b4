package fleet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// facts are what a {…} in the file may stand for: what is known of one host. None of them holds a character that a shell, a
// path or an option would take for its own.
type facts struct {
	name      string
	address   netip.Addr // the host's own; invalid when it has none
	mac, uuid string     // "" when it has none
}

// sample stands for a host of which all is known. It fills in also for what was refused, so that each mistake is told once.
var sample = facts{"x", netip.AddrFrom4([4]byte{1, 1, 1, 1}), "52:54:00:00:00:01", "00000000-0000-0000-0000-000000000001"}

// checkPlaces refuses every { that is none of the places which fill knows.
func checkPlaces(s string) (problem, do string) {
	if _, ok := braces(s, sample.value); !ok {
		return fmt.Sprintf("%s has a { that is not {name}, {address}, {1} to {4}, {mac} or {uuid}", quote(s)), "write one of these, or put the command into a script of its own"
	}
	return "", ""
}

// fill puts the host's facts into the places of s. Where it returns lacks, the host would have to have that.
func (f *facts) fill(s string) (out, lacks string) {
	out, _ = braces(s, func(word string) (string, bool) {
		value, known := f.value(word)
		if known && value == "" && lacks == "" {
			lacks = map[string]string{"mac": "a mac:", "uuid": "a uuid:", "address": "an address:"}[word]
			if lacks == "" {
				lacks = "an IPv4 address:"
			}
		}
		return value, true
	})
	return out, lacks
}

// value is what a word between braces stands for, and whether there is such a word.
func (f *facts) value(word string) (value string, known bool) {
	switch word {
	case "name":
		return f.name, true
	case "address":
		if !f.address.IsValid() {
			return "", true
		}
		return f.address.String(), true
	case "mac":
		return f.mac, true
	case "uuid":
		return f.uuid, true
	}
	if !isOctet(word) {
		return "", false
	}
	if !f.address.Is4() {
		return "", true
	}
	return octet(f.address, word), true
}

// isOctet reports whether a word between braces means an octet of the host's address.
func isOctet(word string) bool { return len(word) == 1 && word[0] >= '1' && word[0] <= '4' }

// octet is the octet of an IPv4 address that such a word means.
func octet(a netip.Addr, word string) string { return strconv.Itoa(int(a.As4()[word[0]-'1'])) }

// braces replaces each {word} of s by its value. It reports false when a brace stays open or a word is unknown.
func braces(s string, value func(word string) (string, bool)) (string, bool) {
	if !strings.Contains(s, "{") {
		return s, true
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "{")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		word, tail, closed := strings.Cut(after, "}")
		v, known := value(word)
		if !closed || !known {
			return "", false
		}
		b.WriteString(v)
		s = tail
	}
}

// fill fills in a value for a host; what is how messages call the value.
func (b *builder) fill(where at, s, what string, f *facts) string {
	out, lacks := f.fill(s)
	if lacks != "" {
		b.once(where, "give the host "+lacks+", or write the value out", "%s is made of what host %s does not have: %s", what, f.name, quote(s))
	}
	return out
}

// once adds a problem of a place that many hosts share, for the first of them only.
func (b *builder) once(where at, do, format string, args ...any) {
	if b.told[where] {
		return
	}
	if b.told == nil {
		b.told = map[at]bool{}
	}
	b.told[where] = true
	b.add(where, do, format, args...)
}
