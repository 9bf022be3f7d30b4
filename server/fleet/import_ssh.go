package fleet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// plainFlags are ssh's options that change nothing of how a host is reached.
var plainFlags = []string{"-4", "-6", "-A", "-a", "-C", "-q", "-T", "-t", "-tt", "-v", "-vv", "-vvv", "-x"}

// plainOptions are the same for -o, in lower case.
var plainOptions = map[string]bool{}

func init() {
	for _, o := range strings.Fields(`addkeystoagent addressfamily batchmode checkhostip ciphers compression connectionattempts connecttimeout
		controlmaster controlpath controlpersist forwardagent globalknownhostsfile gssapiauthentication gssapidelegatecredentials
		hashknownhosts hostkeyalgorithms identitiesonly identityfile kbdinteractiveauthentication kexalgorithms loglevel macs
		numberofpasswordprompts passwordauthentication preferredauthentications pubkeyacceptedalgorithms pubkeyacceptedkeytypes
		pubkeyauthentication requesttty serveralivecountmax serveraliveinterval stricthostkeychecking tcpkeepalive
		updatehostkeys userknownhostsfile visualhostkey`) {
		plainOptions[o] = true
	}
}

const jumpLike = "write it as -J user@10.20.0.5, or import with --json after changing it"

// sshArguments is what arguments to ssh say of the way to a host.
type sshArguments struct {
	jump  string   // as -J has it
	aside []string // options that change nothing of it
}

// readArguments reads arguments to ssh. What could change how a host is reached is understood exactly or refused.
func readArguments(s string) (a sshArguments, problem, do string) {
	words, problem, _ := shellWords(s, false)
	if problem != "" {
		return a, problem, "close it"
	}
	for len(words) > 0 {
		w := words[0].s
		words = words[1:]
		// An option's value follows at once or as a word of its own.
		value := func(flag string) string {
			v := strings.TrimPrefix(w, flag)
			if v == "" && len(words) > 0 {
				v, words = words[0].s, words[1:]
			}
			return strings.TrimSpace(v)
		}
		var jump string
		switch {
		case slices.Contains(plainFlags, w):
			a.aside = append(a.aside, "ssh "+w)
			continue
		case strings.HasPrefix(w, "-i"):
			value("-i")
			a.aside = append(a.aside, "ssh -i")
			continue
		case strings.HasPrefix(w, "-J"):
			jump = value("-J")
		case strings.HasPrefix(w, "-o"):
			v := value("-o")
			end := strings.IndexAny(v, "= \t")
			if end < 0 {
				return a, "has the ssh option " + quote(v) + " without a value", "write it as -o Name=value"
			}
			name := v[:end]
			if plainOptions[strings.ToLower(name)] {
				a.aside = append(a.aside, "ssh -o "+name)
				continue
			}
			if !strings.EqualFold(name, "ProxyJump") {
				return a, fmt.Sprintf("has the ssh option %s, which may change how the host is reached", quote(name)), jumpLike
			}
			jump = strings.Trim(v[end:], "= \t")
		default:
			return a, fmt.Sprintf("has the ssh argument %s, which may change how the host is reached", quote(w)), jumpLike
		}
		if jump == "" || a.jump != "" && a.jump != jump {
			return a, "has no jump host behind -J, or two that differ", jumpLike
		}
		a.jump = jump
	}
	return a, "", ""
}

// jumpHops reads a list of jump hosts as ssh does, outermost first, and writes each as user@address:port. What DNS or ssh's own
// settings would say is left to be filled in, and hints say what it is called.
func jumpHops(s string) (hops, hints []string, problem, do string) {
	if s == "none" {
		return nil, nil, "", ""
	}
	for hop := range strings.SplitSeq(s, ",") {
		rest := strings.TrimSuffix(strings.TrimPrefix(hop, "ssh://"), "/")
		user := fillIn
		if i := strings.LastIndexByte(rest, '@'); i >= 0 {
			user, rest = rest[:i], rest[i+1:]
			if problem := checkUser(user); problem != "" || holdsTemplate(user) {
				return nil, nil, quote(hop) + " has no usable user name", jumpLike
			}
		} else {
			hints = append(hints, "the user for "+rest+" is not said")
		}
		host, port := rest, "22"
		if m := bracketedPort.FindStringSubmatch(rest); m != nil {
			host, port = m[1], m[2]
		} else if before, after, found := strings.Cut(rest, ":"); found && !strings.Contains(after, ":") {
			host, port = before, after
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if problem := checkPort(port); problem != "" {
			return nil, nil, quote(hop) + " has a port that " + problem, jumpLike
		}
		ip, hint, problem, do := importAddress(host)
		switch {
		case problem != "":
			return nil, nil, problem, do
		case ip == "":
			hints = append(hints, hint+" is a name")
			hops = append(hops, user+"@"+fillIn+":"+port)
		default:
			a := netip.MustParseAddr(ip) // it was just made
			if a.Is6() {
				ip = "[" + ip + "]"
			}
			hops = append(hops, user+"@"+ip+":"+port)
		}
	}
	if len(hops) > maxJumps {
		return nil, nil, fmt.Sprintf("is one of more than %d", maxJumps), "use fewer"
	}
	return hops, hints, "", ""
}

// importAddress reads an address of an inventory or list. A name is no address while DNS is down: it comes back as a hint
// for the person who will fill in the address.
func importAddress(s string) (ip, hint, problem, do string) {
	if _, err := netip.ParseAddr(s); err != nil && looksLikeName(s) {
		return "", s, "", ""
	}
	a, problem, do := parseAddress(s)
	if _, err := netip.ParseAddrPort(s); err == nil {
		do = "write the port apart from the address"
	}
	switch {
	case problem != "":
		return "", "", problem, do
	case a.Zone() != "":
		return "", "", quote(s) + " has a zone, which differs from machine to machine", "write an address without %"
	}
	return a.String(), "", "", ""
}

// looksLikeName reports whether s could be a host's name in DNS and no address.
func looksLikeName(s string) bool {
	if problem, _ := checkName(strings.TrimSuffix(s, ".")); problem != "" {
		return false
	}
	return strings.ContainsFunc(s, isLetter)
}

// checkPort checks a port that is written as a text.
func checkPort(s string) (problem string) {
	if !decimal.MatchString(s) || len(s) > 5 || s == "0" || len(s) == 5 && s > "65535" {
		return "is " + quote(s) + ", not a number from 1 to 65535"
	}
	return ""
}
