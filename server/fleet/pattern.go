package fleet

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Select returns the hosts of a fleet that a person's pattern means, in the fleet's order; an empty pattern means all, and so
// does the word all.
//
// A pattern is a list with commas between. Each item is a host's name, in which * and ? stand for other characters and
// [01-24] for numbers, as in the fleet file; or tier=NAME, service=NAME, site=NAME, council=NAME, group=NAME or os=NAME, in
// whose names the same holds. An item that begins with ! takes out what it means; a pattern of such items alone begins with
// all hosts. An item that means no host, or a range of which one name means none, is an error: a typing mistake must not
// quietly leave a host out.
func Select(f recovery.Fleet, text string) ([]recovery.Host, error) {
	chosen := make([]bool, len(f.Hosts))
	items := splitItems(text)
	if !slices.ContainsFunc(items, func(item string) bool { return !strings.HasPrefix(item, "!") }) {
		for i := range chosen {
			chosen[i] = true
		}
	}
	for _, out := range []bool{false, true} { // what is taken out stays out, wherever it stands in the list
		for _, item := range items {
			if strings.HasPrefix(item, "!") != out {
				continue
			}
			meant, err := meantBy(f, strings.TrimSpace(strings.TrimPrefix(item, "!")))
			if err != nil {
				return nil, err
			}
			for _, i := range meant {
				chosen[i] = !out
			}
		}
	}
	var hosts []recovery.Host
	for i, h := range f.Hosts {
		if chosen[i] {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return nil, fmt.Errorf("%s leaves no host of fleet %s: name some", quote(text), f.Name)
	}
	return hosts, nil
}

// splitItems splits at the commas outside of brackets.
func splitItems(text string) []string {
	depth := 0
	items := strings.FieldsFunc(text, func(c rune) bool {
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		}
		return c == ',' && depth <= 0
	})
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return slices.DeleteFunc(items, func(item string) bool { return item == "" })
}

// selectors are what a pattern can choose by beside the host's name.
var selectors = map[string]func(recovery.Host) []string{
	"tier":    func(h recovery.Host) []string { return []string{h.Tier} },
	"service": func(h recovery.Host) []string { return []string{h.Service} },
	"site":    func(h recovery.Host) []string { return []string{h.Site} },
	"council": func(h recovery.Host) []string { return []string{h.Council} },
	"os":      func(h recovery.Host) []string { return []string{h.OS} },
	"group":   func(h recovery.Host) []string { return h.Groups },
}

// meantBy returns the places in f.Hosts that one item means.
func meantBy(f recovery.Fleet, item string) ([]int, error) {
	if item == "all" {
		item = "*"
	}
	values, names, what := func(h recovery.Host) []string { return []string{h.Name} }, item, "host"
	if key, value, ok := strings.Cut(item, "="); ok {
		if values = selectors[key]; values == nil {
			return nil, fmt.Errorf("%s chooses by %s: use tier=, service=, site=, council=, group= or os=, or a host's name", quote(item), quote(key))
		}
		names, what = value, "host with "+key
	}
	p, problem, do := parsePattern(names, maxHosts)
	if problem != "" {
		return nil, fmt.Errorf("%s: %s", problem, do)
	}
	having := map[string][]int{}
	for i, h := range f.Hosts {
		for _, v := range values(h) {
			having[v] = append(having[v], i)
		}
	}
	var meant []int
	for _, name := range p.expand() {
		found, err := hostsLike(having, name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s is no name and no pattern: use letters, digits, * and ?", quote(name))
		case len(found) == 0 && name == item:
			return nil, fmt.Errorf("no host of fleet %s is called %s: see `blackstart plan --fleet` for its hosts, or use *", f.Name, quote(name))
		case len(found) == 0:
			return nil, fmt.Errorf("fleet %s has no %s %s, which %s names: correct it, or use *", f.Name, what, quote(name), quote(item))
		}
		meant = append(meant, found...)
	}
	return meant, nil
}

// hostsLike looks a name up, or tries all where it has wildcards.
func hostsLike(having map[string][]int, name string) ([]int, error) {
	if !strings.ContainsAny(name, `*?\`) {
		return having[name], nil
	}
	var found []int
	for value, hosts := range having {
		like, err := path.Match(name, value)
		if err != nil {
			return nil, err
		}
		if like {
			found = append(found, hosts...)
		}
	}
	return found, nil
}
