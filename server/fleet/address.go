package fleet

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
)

// parseAddress reads the IP address of one host.
func parseAddress(s string) (a netip.Addr, problem, do string) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if _, err := netip.ParseAddrPort(s); err == nil {
			return a, fmt.Sprintf("%s holds a port", quote(s)), "write the port as the rung's port:"
		}
		if !strings.ContainsAny(s, ":/") && strings.ContainsFunc(s, isLetter) {
			return a, fmt.Sprintf("%s is a host name", quote(s)), "write its IP address, because DNS may be down during a recovery"
		}
		return a, fmt.Sprintf("%s is not an IP address", quote(s)), "write one such as 10.20.1.11, without leading zeros"
	}
	if strings.ContainsFunc(a.Zone(), func(c rune) bool { return !isLetter(c) && (c < '0' || c > '9') && !strings.ContainsRune("._-", c) }) {
		return a, fmt.Sprintf("%s has a zone that is no network interface", quote(s)), "write one such as fe80::1%eth0"
	}
	a = a.Unmap()
	if !ofOneHost(a) {
		return a, fmt.Sprintf("%s is not the address of one host", quote(s)), "write the host's own address"
	}
	return a, "", ""
}

func ofOneHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func isLetter(c rune) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// parseAddresses reads count addresses: a range of that length, or the first of as many in a row.
func parseAddresses(s string, count int) (list []netip.Addr, problem, do string) {
	p, problem, do := parsePattern(s, maxHosts)
	if problem != "" {
		return nil, problem, do
	}
	if strings.Contains(s, "[") {
		if p.count != count {
			return nil, fmt.Sprintf("%s stands for %d, but the name for %s", quote(s), p.count, plural(count, "host")),
				"make both ranges the same length, or write the first address only"
		}
		list = make([]netip.Addr, 0, count)
		for _, one := range p.expand() {
			a, problem, do := parseAddress(one)
			if problem != "" {
				return nil, problem, do
			}
			list = append(list, a)
		}
		return list, "", ""
	}
	a, problem, do := parseAddress(s)
	if problem != "" {
		return nil, problem, do
	}
	list = make([]netip.Addr, 0, count)
	for range count {
		if !ofOneHost(a) {
			return nil, fmt.Sprintf("%s leaves no room for %d addresses", quote(s), count), "begin with a lower one"
		}
		list = append(list, a)
		a = a.Next()
	}
	return list, "", ""
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// fromOctets makes an address of a host's own: {1} to {4} in the template stand for its octets.
func fromOctets(template string, host netip.Addr) (a netip.Addr, problem, do string) {
	if !host.Is4() {
		return a, fmt.Sprintf("%s needs the host's IPv4 address", quote(template)), "give the host an address:, or write this one out"
	}
	out, ok := braces(template, func(word string) (string, bool) {
		if !isOctet(word) {
			return "", false
		}
		return octet(host, word), true
	})
	if !ok {
		return a, fmt.Sprintf("%s has a { that is not {1}, {2}, {3} or {4}", quote(template)), "write it as in 10.90.{3}.{4}"
	}
	return parseAddress(out)
}

// parseJump reads user@address:port, of which user and port may be left out, and writes it in full.
func parseJump(s, user string) (jump, problem, do string) {
	const (
		port = 22
		like = "write it as user@10.20.0.5:22"
	)
	to := s
	if before, after, found := strings.Cut(s, "@"); found {
		user, to = before, after
	}
	if problem := checkUser(user); problem != "" {
		return "", quote(s) + " " + problem, like
	}
	if end, err := netip.ParseAddrPort(to); err == nil {
		if end.Port() == 0 {
			return "", quote(s) + " has port 0", like
		}
		if _, problem, do := parseAddress(end.Addr().String()); problem != "" {
			return "", problem, do
		}
		return user + "@" + end.String(), "", ""
	}
	if host, _, found := strings.Cut(to, ":"); found && strings.Count(to, ":") == 1 {
		to = host
		if _, err := netip.ParseAddr(host); err == nil {
			return "", quote(s) + " has no usable port", like
		}
	}
	a, problem, do := parseAddress(to)
	if problem != "" {
		return "", problem, do
	}
	return user + "@" + netip.AddrPortFrom(a, port).String(), "", ""
}

func checkUser(s string) (problem string) {
	odd := func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r) || strings.ContainsRune("@:/'\"", r)
	}
	if s == "" || len(s) > 64 || strings.ContainsFunc(s, odd) || s[0] == '-' {
		return "has no usable user name"
	}
	return ""
}

// parseHostKey reads a line as in authorized_keys, which may begin with cert-authority, and writes it without its comment.
// Messages never repeat the line: somebody may have pasted a private key.
func parseHostKey(s string) (line, problem, do string) {
	const like = "write a public key as ssh-keyscan shows it: ssh-ed25519 AAAA…, with cert-authority in front for a host CA"
	switch {
	case strings.Contains(s, "PRIVATE KEY"):
		return "", "is a private key", "remove it from this file, treat it as exposed, and write the public key"
	case strings.HasPrefix(s, "@") || strings.HasPrefix(s, "|"):
		return "", "is a line of known_hosts", like
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(s))
	if err != nil || len(rest) > 0 {
		return "", "is not a public key", like
	}
	line = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	for _, o := range options {
		if o != "cert-authority" {
			return "", "has the option " + quote(o), "write cert-authority or no option"
		}
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return "", "is a certificate", "write the key of the CA that signed it, with cert-authority in front"
	}
	if len(options) > 0 {
		line = "cert-authority " + line
	}
	return line, "", ""
}
