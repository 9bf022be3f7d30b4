package fleet

import (
	"fmt"
	"net"
	"regexp"
	"strings"
)

// mac is the address of a network card.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// parseMAC reads the address of one network card.
func parseMAC(s string) (m mac, problem, do string) {
	card, err := net.ParseMAC(s)
	if err != nil || len(s) != len("52:54:00:12:34:56") || len(card) != len(m) { // other notations, other networks
		return m, fmt.Sprintf("%s is not a MAC address", quote(s)), "write six pairs of hex digits, as in 52:54:00:12:34:56"
	}
	copy(m[:], card)
	if m == (mac{}) || m[0]&1 != 0 {
		return m, fmt.Sprintf("%s is not the address of one network card", quote(s)), "write the card's own"
	}
	return m, "", ""
}

// parseMACs reads count addresses: a range of that length, or the first of as many in a row. A row stays within the last three
// bytes, because the first three are the maker's.
func parseMACs(s string, count int) (list []mac, problem, do string) {
	if strings.Contains(s, "[") {
		words, problem, do := expandFor(s, count)
		if problem != "" {
			return nil, problem, do
		}
		for _, one := range words {
			m, problem, do := parseMAC(one)
			if problem != "" {
				return nil, problem, do
			}
			list = append(list, m)
		}
		return list, "", ""
	}
	m, problem, do := parseMAC(s)
	if problem != "" {
		return nil, problem, do
	}
	first := int(m[3])<<16 | int(m[4])<<8 | int(m[5])
	if first+count > 1<<24 {
		return nil, fmt.Sprintf("%s leaves no room for %d addresses", quote(s), count), "begin with a lower one"
	}
	list = make([]mac, count)
	for i := range list {
		n := first + i
		list[i] = mac{m[0], m[1], m[2], byte(n >> 16), byte(n >> 8), byte(n)}
	}
	return list, "", ""
}

// expandFor writes out a range that must stand for as many as the entry has hosts.
func expandFor(s string, count int) (words []string, problem, do string) {
	p, problem, do := parsePattern(s, maxHosts)
	switch {
	case problem != "":
		return nil, problem, do
	case p.count != count:
		return nil, fmt.Sprintf("%s stands for %d, but the name for %s", quote(s), p.count, plural(count, "host")), "make both ranges the same length"
	}
	return p.expand(), "", ""
}

var uuidShape = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// parseUUID reads the SMBIOS UUID of one host. Boards whose maker left it empty all share one, which tells nothing.
func parseUUID(s string) (uuid, problem, do string) {
	uuid = strings.ToLower(s)
	switch {
	case !uuidShape.MatchString(uuid):
		return "", fmt.Sprintf("%s is not a UUID", quote(s)), "write one such as 4c4c4544-0043-3010-8052-b4c04f4d3532"
	case strings.Trim(uuid, "0-") == "", strings.Trim(uuid, "f-") == "":
		return "", fmt.Sprintf("%s is what a board without a UUID says", quote(s)), "leave uuid: out, and give the host a mac:"
	}
	return uuid, "", ""
}

// identities finds what the hosts of an entry call themselves when they boot from the network: MAC addresses and UUID of each.
func (b *builder) identities(e hostEntry, count int) (macs [][]string, uuids []string) {
	macs, uuids = make([][]string, count), make([]string, count)
	if count == 0 {
		return macs, uuids
	}
	cards := e.MAC
	if len(cards) > maxCards {
		b.add(cards[maxCards].at, "name those it boots from", "there are more than %d MAC addresses of one host", maxCards)
		cards = cards[:maxCards]
	}
	for _, t := range cards {
		list, problem, do := parseMACs(t.s, count)
		if problem != "" {
			b.add(t.at, do, "mac %s", problem)
			continue
		}
		for i := range macs {
			macs[i] = append(macs[i], list[i].String())
		}
	}
	if !e.UUID.given() {
		return macs, uuids
	}
	words, problem, do := expandFor(e.UUID.s, count)
	if problem != "" {
		b.add(e.UUID.at, do, "uuid %s", problem)
		return macs, uuids
	}
	for i := range uuids {
		uuid, problem, do := parseUUID(words[i])
		if problem != "" {
			b.add(e.UUID.at, do, "uuid %s", problem)
			return macs, uuids
		}
		uuids[i] = uuid
	}
	return macs, uuids
}
