package fleet

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// unsorted is the service of hosts of which nothing says what they are for.
const unsorted = "unsorted"

// fleetWriter writes hosts as a fleet file. What no source can know is marked, in as few places as will do.
type fleetWriter struct {
	*importer
	bytes.Buffer
	services []*importService // by name
	ladders  []*importLadder  // the one of most hosts first
	common   map[string]string
}

type importService struct {
	name    string
	tier    string
	council string
	hosts   []*importHost
}

// importLadder is what hosts reached in the same way share.
type importLadder struct {
	name        string
	environment string
	user        string
	port        int
	jump        []string
	hints       []string
	hosts       int
}

func newFleetWriter(im *importer) *fleetWriter {
	w := &fleetWriter{importer: im, common: map[string]string{}}
	for _, h := range im.hosts { // what goes without saying
		if h.port == 22 {
			h.port = 0
		}
		if h.terms[termCrit] == "false" {
			delete(h.terms, termCrit)
		}
		if h.terms[termAgent] == "true" {
			delete(h.terms, termAgent)
		}
	}
	for _, kind := range []string{termOS, termData, termEDR, termVersion, termAgent} {
		w.common[kind] = w.most(kind)
	}
	byName := map[string]*importService{}
	for _, h := range im.hosts {
		if h.terms[termService] == "" && h.terms[termTier] == "" {
			h.terms[termService] = unsorted
		}
		name := h.terms[termService]
		if name == "" {
			continue
		}
		s, ok := byName[name]
		if !ok {
			s = &importService{name: name}
			byName[name] = s
			w.services = append(w.services, s)
		}
		s.hosts = append(s.hosts, h)
	}
	slices.SortFunc(w.services, func(a, b *importService) int { return strings.Compare(a.name, b.name) })
	for _, s := range w.services {
		s.tier = w.serviceTier(s)
	}
	w.ladderList()
	return w
}

// most is the value that most hosts have; none when one of them has none, so that it can be filled in for all.
func (w *fleetWriter) most(kind string) string {
	count := map[string]int{}
	for _, h := range w.hosts {
		count[h.terms[kind]]++
	}
	if count[""] > 0 {
		return ""
	}
	return largest(count)
}

// largest is the key of the largest count; the first in order among equal ones.
func largest(count map[string]int) string {
	best := ""
	for _, key := range slices.Sorted(maps.Keys(count)) {
		if count[key] > count[best] {
			best = key
		}
	}
	return best
}

// serviceTier is the tier of most of a service's hosts; none when one of them has none.
func (w *fleetWriter) serviceTier(s *importService) string {
	count := map[string]int{}
	for _, h := range s.hosts {
		count[h.terms[termTier]]++
	}
	if count[""] > 0 {
		return ""
	}
	return largest(count)
}

// councils gives each service its council, and refuses hosts of one service that belong to several.
func (w *fleetWriter) councils() {
	for _, s := range w.services {
		var first *importHost
		for _, h := range s.hosts {
			council := h.terms[termCouncil]
			switch {
			case council == "":
			case s.council == "":
				s.council, first = council, h
			case s.council != council:
				w.add(h.at, "give each council a service of its own", "host %s of service %s is of council %s, but %s in line %d is of %s", h.name, s.name, council, first.name, first.line, s.council)
			}
		}
	}
}

// way is the key of a host's ladder.
func (w *fleetWriter) way(h *importHost) string {
	return fmt.Sprintf("%s %s %d %s", w.environment(h), h.user, h.port, strings.Join(h.jump, " "))
}

// environment is where SSH leads on the host's own address: into the running system. Windows has none that scripts run in.
func (w *fleetWriter) environment(h *importHost) string {
	given := w.defaults[termEnv]
	switch family, _, _ := strings.Cut(h.terms[termOS], "-"); {
	case family == "windows" && given != recovery.EnvLinux:
		return given
	case family == "windows" || given == recovery.EnvWindowsSafeMode && family != "":
		return ""
	}
	return cmp.Or(given, recovery.EnvLinux)
}

func (w *fleetWriter) ladderList() {
	byWay := map[string]*importLadder{}
	for _, h := range w.hosts {
		way := w.way(h)
		l, ok := byWay[way]
		if !ok {
			l = &importLadder{environment: w.environment(h), user: h.user, port: h.port, jump: h.jump, hints: h.hints}
			byWay[way] = l
			w.ladders = append(w.ladders, l)
		}
		l.hosts++
	}
	slices.SortStableFunc(w.ladders, func(a, b *importLadder) int { return cmp.Compare(b.hosts, a.hosts) })
	taken := map[string]bool{}
	for _, l := range w.ladders {
		base := "ssh"
		if len(w.ladders) > 1 {
			if user := slug(l.user); user != "" {
				base += "-" + user
			}
			if l.port != 0 {
				base += "-" + strconv.Itoa(l.port)
			}
			if len(l.jump) > 0 {
				base += "-jump"
			}
		}
		l.name = base
		for n := 2; taken[l.name]; n++ {
			l.name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[l.name] = true
	}
	for _, h := range w.hosts {
		h.terms["ladder"] = byWay[w.way(h)].name
	}
}

func (w *fleetWriter) write() []byte {
	fmt.Fprintf(w, "# Made by `blackstart fleet import` from %s.\n", comment(w.file))
	w.WriteString("# Whatever says " + fillIn + " only a person can know: `blackstart fleet check` lists each such place.\n\n")
	fmt.Fprintf(w, "fleet: %s\n\n", yamlWord(w.fleetName()))
	w.writeTiers()
	w.writeServices()
	w.writeSites()
	w.writeLadders()
	w.writeDefaults()
	w.writeHosts()
	return w.Bytes()
}

func (w *fleetWriter) writeTiers() {
	w.WriteString("# The order of recovery: the hosts of the first tier are wave 1, and so on.\ntiers:\n")
	for _, t := range w.tiers {
		w.WriteString("  - name: " + yamlWord(t))
		w.title(termTier, t, "\n    title: ")
		w.WriteByte('\n')
	}
	if len(w.tiers) == 0 {
		w.WriteString("  - name: " + fillIn + "  # such as infrastructure; add the tiers that come after it\n")
	}
}

// title writes what a name was made of, where it differs.
func (w *fleetWriter) title(kind, name, key string) {
	if t, ok := w.titles[kind+"/"+name]; ok && t != name {
		w.WriteString(key + yamlWord(t))
	}
}

func (w *fleetWriter) writeServices() {
	if len(w.services) == 0 {
		return
	}
	w.WriteString("\nservices:\n")
	for _, s := range w.services {
		w.WriteString("  - {name: " + yamlWord(s.name))
		w.title(termService, s.name, ", title: ")
		w.WriteString(", tier: " + yamlWord(cmp.Or(s.tier, fillIn)))
		if s.council != "" {
			w.WriteString(", council: " + yamlWord(s.council))
		}
		w.WriteString("}")
		if s.name == unsorted {
			fmt.Fprintf(w, "  # %s of which nothing says what they are for", plural(len(s.hosts), "host"))
		}
		w.WriteByte('\n')
	}
}

func (w *fleetWriter) writeSites() {
	sites := map[string]bool{}
	for _, h := range w.hosts {
		sites[h.terms[termSite]] = true
	}
	delete(sites, "")
	if len(sites) == 0 {
		return
	}
	w.WriteString("\n# A number behind a site limits how many of its hosts may be worked on at once.\nsites:\n")
	for _, s := range slices.Sorted(maps.Keys(sites)) {
		w.WriteString("  " + yamlWord(s) + ":\n")
	}
}

func (w *fleetWriter) writeLadders() {
	w.WriteString("\n# Ways into hosts. Their keys come from `serve --known-hosts`, or stand here as host-keys:.\nladders:\n")
	for _, l := range w.ladders {
		fmt.Fprintf(w, "  %s:\n    - {name: ssh, environment: %s, user: %s", yamlWord(l.name), cmp.Or(l.environment, fillIn), yamlWord(cmp.Or(l.user, fillIn)))
		if l.port != 0 {
			fmt.Fprintf(w, ", port: %d", l.port)
		}
		if len(l.jump) > 0 {
			hops := make([]string, len(l.jump))
			for i, j := range l.jump {
				hops[i] = yamlWord(j)
			}
			w.WriteString(", jump: [" + strings.Join(hops, ", ") + "]")
		}
		w.WriteString("}")
		var remarks []string
		if l.environment == "" {
			remarks = append(remarks, "rescue-linux or windows-safe-mode, and reboots: true if getting there restarts the host")
		}
		if remarks = append(remarks, l.hints...); len(remarks) > 0 {
			w.WriteString("  # " + comment(strings.Join(remarks, "; ")))
		}
		w.WriteByte('\n')
	}
}

func (w *fleetWriter) writeDefaults() {
	w.WriteString("\n# What a host has that says nothing else.\ndefaults:\n")
	line := func(key, value, remark string) {
		w.WriteString("  " + key + ": ")
		if value == "" {
			w.WriteString(fillIn + "  # " + remark)
		} else {
			w.WriteString(yamlWord(value))
		}
		w.WriteByte('\n')
	}
	line(termOS, w.common[termOS], "linux or windows, with a version if you like: windows-2019")
	line(termData, w.common[termData], "none (stateless), replica (can be rebuilt from a peer) or primary (the only good copy)")
	line("ladder", w.ladders[0].name, "")
	w.WriteString("  edr: {" + w.edr(w.common[termEDR], w.common[termVersion]) + "}")
	if w.common[termEDR] == "" {
		w.WriteString("  # the endpoint-security product as playbooks call it: crowdstrike-falcon")
	}
	w.WriteByte('\n')
	if value := w.common[termAgent]; value != "" {
		w.WriteString("  agent: " + value + "\n")
	}
}

func (w *fleetWriter) edr(product, version string) string {
	out := "product: " + yamlWord(cmp.Or(product, fillIn))
	if version != "" {
		out += ", version: " + yamlWord(version)
	}
	return out
}

func (w *fleetWriter) writeHosts() {
	w.WriteString("\nhosts:\n")
	tiers := map[string]string{}
	for _, s := range w.services {
		tiers[s.name] = s.tier
	}
	for _, h := range w.hosts {
		w.WriteString("  - {name: " + yamlWord(h.name))
		add := func(key, value string) {
			switch {
			case value == "":
			case key == termCrit || key == termAgent: // true or false
				w.WriteString(", " + key + ": " + value)
			default:
				w.WriteString(", " + key + ": " + yamlWord(value))
			}
		}
		w.WriteString(", address: " + yamlWord(cmp.Or(h.address, fillIn)))
		service := h.terms[termService]
		add(termService, service)
		if tier := h.terms[termTier]; service == "" || tier != tiers[service] {
			add(termTier, tier)
		}
		add(termSite, h.terms[termSite])
		for _, kind := range []string{termOS, termData, termCrit, termAgent} {
			if h.terms[kind] != w.common[kind] {
				add(kind, h.terms[kind])
			}
		}
		if product, version := h.terms[termEDR], h.terms[termVersion]; product+version != "" && (product != w.common[termEDR] || version != w.common[termVersion]) {
			w.WriteString(", edr: {" + w.edr(product, version) + "}")
		}
		if h.terms["ladder"] != w.ladders[0].name {
			add("ladder", h.terms["ladder"])
		}
		w.WriteString("}")
		var remarks []string
		if h.hint != "" {
			remarks = append(remarks, h.hint)
		}
		if service == unsorted && len(h.groups) > 0 {
			remarks = append(remarks, "in "+strings.Join(h.groups, ", "))
		}
		if len(remarks) > 0 {
			w.WriteString("  # " + comment(strings.Join(remarks, "; ")))
		}
		w.WriteByte('\n')
	}
}

// comment makes any text safe behind a #, and bounds it.
func comment(s string) string {
	const longest = 200
	s = printable(s)
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return s
}

// What yamlWord leaves bare: words that no reader of YAML takes for a number, and addresses; not those that some take for a truth value.
var (
	plainWord    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9._-]*|[0-9]{1,3}(\.[0-9]{1,3}){3})$`)
	reservedWord = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null)$`)
)

// yamlWord writes a text as one YAML value that every reader takes for just this text, also between brackets.
func yamlWord(s string) string {
	if plainWord.MatchString(s) && !reservedWord.MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
