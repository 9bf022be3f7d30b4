package fleet

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// hostNames writes out a host of an inventory: a name, with ranges as in web[01:50], [a:f] or [0:20:5], and a port after a
// colon if it has one. It makes no more than most names.
func hostNames(s string, most int) (list []string, port, problem, do string) {
	name := s
	if m := bracketedPort.FindStringSubmatch(s); m != nil {
		name, port = m[1], m[2]
	} else if m := namePort.FindStringSubmatch(s); m != nil {
		name, port = m[1], m[2]
	}
	if port != "" && !hasPlainLabels(name) {
		return nil, "", fmt.Sprintf("%s is a name before a port in which a part begins or ends with - or _", quote(s)), "rename it, or write the port as ansible_port"
	}
	list, problem, do = expandRanges(name, most)
	if problem != "" {
		return nil, "", quote(s) + " " + problem, do
	}
	for _, n := range list {
		if problem, do := checkName(n); problem != "" {
			if strings.Contains(n, ":") {
				do = "give the host a name, and the address as ansible_host"
			}
			return nil, "", "a host's name " + problem, do
		}
	}
	return list, port, "", ""
}

var (
	bracketedPort = regexp.MustCompile(`^\[([^\[\]]+)\]:([0-9]+)$`)
	namePort      = regexp.MustCompile(`^((?:[^:\[\]]|\[[^\]]*\])*):([0-9]+)$`)
	anyRange      = regexp.MustCompile(`\[[^\]]*\]`)
)

// hasPlainLabels reports whether Ansible sees a host name before a port. It takes any other text, port and all, for a name.
func hasPlainLabels(s string) bool {
	for label := range strings.SplitSeq(anyRange.ReplaceAllString(s, "0"), ".") {
		if label == "" || label[0] == '-' || strings.ContainsRune("-_", rune(label[len(label)-1])) {
			return false
		}
	}
	return true
}

const likeRange = "write ranges as [01:50], [a:f] or [0:20:5]"

// expandRanges writes out a name's ranges, the last one running fastest.
func expandRanges(s string, most int) (list []string, problem, do string) {
	list = []string{""}
	for s != "" {
		before, rest, found := strings.Cut(s, "[")
		if strings.Contains(before, "]") {
			return nil, "has a ] without a [", likeRange
		}
		items := []string{""}
		after := ""
		if found {
			inside, tail, closed := strings.Cut(rest, "]")
			if !closed {
				return nil, "has a [ without a ]", likeRange
			}
			if items, problem, do = expandRange(inside, most); problem != "" {
				return nil, problem, do
			}
			after = tail
		}
		if len(items) > most/len(list) {
			return nil, fmt.Sprintf("brings the hosts to more than %d", maxHosts), "split the estate"
		}
		next := make([]string, 0, len(list)*len(items))
		for _, head := range list {
			for _, item := range items {
				next = append(next, head+before+item)
			}
		}
		list, s = next, after
	}
	return list, "", ""
}

// expandRange writes out what stands between two brackets.
func expandRange(s string, most int) (list []string, problem, do string) {
	bounds := strings.Split(s, ":")
	step := 1
	if len(bounds) == 3 {
		if !decimal.MatchString(bounds[2]) || bounds[2] == "0" || len(bounds[2]) > 9 {
			return nil, fmt.Sprintf("has a range [%s] with an unusable step", s), likeRange
		}
		step, _ = strconv.Atoi(bounds[2]) // at most nine digits
		bounds = bounds[:2]
	}
	if len(bounds) != 2 {
		return nil, fmt.Sprintf("has a range [%s] that is not from:to or from:to:step", s), likeRange
	}
	low, high := bounds[0], bounds[1]
	if isLetters(low, high) {
		if low > high {
			return nil, fmt.Sprintf("has a range [%s] that runs backwards", s), "write the earlier letter first"
		}
		for c := int(low[0]); c <= int(high[0]); c += step {
			list = append(list, string(rune(c)))
		}
		return list, "", ""
	}
	if low == "" || high == "" || strings.Trim(low+high, "0123456789") != "" || len(low) > 9 || len(high) > 9 {
		return nil, fmt.Sprintf("has a range [%s] that is made neither of numbers nor of two letters of one case", s), likeRange
	}
	width := 0
	if low[0] == '0' && len(low) > 1 {
		if width = len(low); width != len(high) {
			return nil, fmt.Sprintf("has a range [%s] whose ends have different numbers of digits", s), "write both with the same leading zeros, as in [01:24]"
		}
	}
	from, _ := strconv.Atoi(low) // at most nine digits
	to, _ := strconv.Atoi(high)
	if from > to {
		return nil, fmt.Sprintf("has a range [%s] that runs backwards", s), "write the smaller number first"
	}
	if (to-from)/step >= most {
		return nil, fmt.Sprintf("brings the hosts to more than %d", maxHosts), "split the estate"
	}
	for n := from; n <= to; n += step {
		list = append(list, string(appendPadded(nil, n, width)))
	}
	return list, "", ""
}

// isLetters reports whether both ends of a range are one letter of the same case.
func isLetters(low, high string) bool {
	in := func(s string, a, z byte) bool { return len(s) == 1 && s[0] >= a && s[0] <= z }
	return in(low, 'a', 'z') && in(high, 'a', 'z') || in(low, 'A', 'Z') && in(high, 'A', 'Z')
}
