package netboot

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// identity is how a machine names itself: MAC addresses as "52:54:00:12:34:56", a UUID in lower case or none.
type identity struct {
	macs []string
	uuid string
}

const (
	maxQuery = 1024 // bytes
	maxMACs  = 16   // of one machine
)

var (
	errBadIdentity = errors.New("the machine's identity cannot be read")
	errUnknown     = errors.New("no host of the fleet file has this MAC or UUID")
)

// parseIdentity reads mac (any number of them, with colons, hyphens or nothing between) and uuid of a query. Empty values, and
// values of only zeros or ones, which firmware gives that knows none, are no identity. Other keys are not looked at.
func parseIdentity(query string) (identity, error) {
	if len(query) > maxQuery {
		return identity{}, fmt.Errorf("%w: the query is longer than %d bytes", errBadIdentity, maxQuery)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return identity{}, fmt.Errorf("%w: the query is not well formed", errBadIdentity)
	}
	if len(values["mac"]) > maxMACs || len(values["uuid"]) > 1 {
		return identity{}, fmt.Errorf("%w: more than %d mac or one uuid", errBadIdentity, maxMACs)
	}
	var id identity
	for _, text := range values["mac"] {
		mac, ok := parseMAC(text)
		if !ok {
			return identity{}, fmt.Errorf("%w: mac %q is none", errBadIdentity, recovery.Clean(text, 40))
		}
		if mac != "" && !slices.Contains(id.macs, mac) {
			id.macs = append(id.macs, mac)
		}
	}
	uuid, ok := parseUUID(values.Get("uuid"))
	if !ok {
		return identity{}, fmt.Errorf("%w: uuid %q is none", errBadIdentity, recovery.Clean(values.Get("uuid"), 60))
	}
	id.uuid = uuid
	return id, nil
}

// parseMAC returns the address with colons in lower case; empty for one that identifies nothing; false for what is no address.
func parseMAC(text string) (string, bool) {
	digits := text
	if len(text) == 17 {
		digits = strings.ReplaceAll(text, text[2:3], "")
		if text[2] != ':' && text[2] != '-' || text[5] != text[2] || text[8] != text[2] || text[11] != text[2] || text[14] != text[2] {
			return "", false
		}
	}
	if text == "" {
		return "", true
	}
	if len(digits) != 12 || !hexadecimal(digits) {
		return "", false
	}
	if blank(digits) {
		return "", true
	}
	digits = strings.ToLower(digits)
	pairs := make([]string, 0, 6)
	for i := 0; i < len(digits); i += 2 {
		pairs = append(pairs, digits[i:i+2])
	}
	return strings.Join(pairs, ":"), true
}

// parseUUID returns the UUID in lower case; empty for one that identifies nothing; false for what is no UUID.
func parseUUID(text string) (string, bool) {
	if text == "" {
		return "", true
	}
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return "", false
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if !hexadecimal(digits) {
		return "", false
	}
	if blank(digits) {
		return "", true
	}
	return strings.ToLower(text), true
}

func hexadecimal(text string) bool {
	return strings.Trim(text, "0123456789abcdefABCDEF") == ""
}

// blank reports whether all digits are 0, or all are F.
func blank(digits string) bool {
	return strings.Trim(digits, "0") == "" || strings.Trim(digits, "fF") == ""
}

// swapped is the UUID with the bytes of its first three groups in the other order: SMBIOS and some hypervisors do not agree on it.
func swapped(uuid string) string {
	flip := func(group string) string {
		var out strings.Builder
		for i := len(group); i > 0; i -= 2 {
			out.WriteString(group[i-2 : i])
		}
		return out.String()
	}
	return flip(uuid[:8]) + "-" + flip(uuid[9:13]) + "-" + flip(uuid[14:18]) + uuid[18:]
}

// index finds a host by what its machine says of itself.
type index struct {
	macs  map[string][]string // to names of hosts: one, or the identity is nobody's for certain
	uuids map[string][]string
}

// newIndex also says which identities are of no use, and why.
func newIndex(hosts []recovery.Host) (ix index, doubts []string) {
	ix = index{macs: map[string][]string{}, uuids: map[string][]string{}}
	add := func(to map[string][]string, key, host string) {
		if !slices.Contains(to[key], host) {
			to[key] = append(to[key], host)
		}
		if len(to[key]) == 2 {
			doubts = append(doubts, fmt.Sprintf("%s is of %s and of %s", key, to[key][0], to[key][1]))
		}
	}
	for _, host := range hosts {
		for _, text := range host.MACs {
			if mac, ok := parseMAC(text); ok && mac != "" {
				add(ix.macs, mac, host.Name)
			} else {
				doubts = append(doubts, fmt.Sprintf("MAC %q of %s is none", recovery.Clean(text, 40), host.Name))
			}
		}
		if host.UUID == "" {
			continue
		}
		uuid, ok := parseUUID(host.UUID)
		if !ok || uuid == "" {
			doubts = append(doubts, fmt.Sprintf("UUID %q of %s is none", recovery.Clean(host.UUID, 60), host.Name))
			continue
		}
		add(ix.uuids, uuid, host.Name)
		if other := swapped(uuid); other != uuid {
			add(ix.uuids, other, host.Name)
		}
	}
	return ix, doubts
}

// find returns the host whose machine this is. A MAC address counts for more than a UUID, which cloned machines share; but when they
// clearly name different hosts nobody is found.
func (ix index) find(id identity) (host string, err error) {
	var named []string
	for _, mac := range id.macs {
		for _, owner := range ix.macs[mac] {
			if !slices.Contains(named, owner) {
				named = append(named, owner)
			}
		}
	}
	if len(named) > 1 {
		return "", fmt.Errorf("%w: its MAC is of several hosts: %s", errConflict, some(named))
	}
	owners := ix.uuids[id.uuid]
	switch {
	case len(named) == 1 && len(owners) == 1 && named[0] != owners[0]:
		return "", fmt.Errorf("%w: its MAC is of %s and its UUID of %s", errConflict, named[0], owners[0])
	case len(named) == 1:
		return named[0], nil
	case len(owners) > 1:
		return "", fmt.Errorf("%w: several hosts have its UUID: %s", errConflict, some(owners))
	case len(owners) == 1:
		return owners[0], nil
	default:
		return "", errUnknown
	}
}

var errConflict = errors.New("the machine's identity is of more than one host")

// some names at most three of the hosts.
func some(hosts []string) string {
	if len(hosts) > 3 {
		return strings.Join(hosts[:3], ", ") + fmt.Sprintf(" and %d more", len(hosts)-3)
	}
	return strings.Join(hosts, ", ")
}
