package playbook

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// manifestName is the file that makes a folder a playbook.
const manifestName = "manifest.yaml"

const (
	maxItems = 64             // of any list in a manifest
	maxTime  = 24 * time.Hour // of any duration in a manifest
)

var (
	kebab      = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	scriptName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// scriptSuffix says which kind of script an environment runs.
var scriptSuffix = map[string]string{
	recovery.EnvLinux:           ".sh",
	recovery.EnvRescueLinux:     ".sh",
	recovery.EnvWindowsSafeMode: ".ps1",
}

var environments = []string{recovery.EnvLinux, recovery.EnvRescueLinux, recovery.EnvWindowsSafeMode}

// Source is advice that a playbook follows.
type Source struct {
	Title     string
	URL       string
	Retrieved string // the day it was read, YYYY-MM-DD
}

// script is a script's name with the place that names it.
type script struct {
	name string
	node *yaml.Node
}

// manifest is a manifest.yaml as written; what it names has not been looked for yet.
type manifest struct {
	facts     recovery.Playbook
	bad, good []Probe
	preserve  bool
	preserved *yaml.Node // where preserve or, without it, the manifest stands
	sources   []Source
	scripts   map[string]script // by environment
	nameNode  *yaml.Node
}

// parseManifest reads a manifest. name is the file's name for messages. Every problem found is returned, each a *Problem.
func parseManifest(name string, data []byte) (*manifest, []error) {
	f := &yamlFile{name: name}
	root := f.document(data)
	if root == nil {
		return nil, f.problems
	}
	m := f.mapping(root, "a manifest", "name", "title", "match", "reboot", "bad-content", "good-content", "scripts",
		"preserve", "timeout", "verify-within", "soak", "debts", "sources")
	if root.Kind != yaml.MappingNode {
		return nil, f.problems
	}
	out := &manifest{scripts: map[string]script{}}
	p := &out.facts
	p.Name, out.nameNode = f.text(m, "name")
	if out.nameNode != nil && !kebab.MatchString(p.Name) {
		f.fail(out.nameNode, "name is %q; use lower-case letters and digits with single hyphens between them", p.Name)
	}
	p.Title, _ = f.text(m, "title")
	p.Match = f.match(m)
	p.Reboot = recovery.RebootPolicy(f.oneOf(m, "reboot",
		string(recovery.RebootRequired), string(recovery.RebootHelps), string(recovery.RebootForbidden)))
	out.bad = f.probes(m, "bad-content")
	out.good = f.probes(m, "good-content")
	f.scripts(m, out)
	out.preserve, out.preserved = f.flag(m, "preserve"), root
	if m.has("preserve") {
		out.preserved = m.values["preserve"]
	}
	p.Timeout = f.duration(m, "timeout", time.Second, maxTime)
	p.VerifyWithin = f.duration(m, "verify-within", time.Second, maxTime)
	p.Soak = f.duration(m, "soak", 0, maxTime)
	p.Debts = f.debts(m, p.Environments)
	out.sources = f.sources(m)
	return out, f.sorted()
}

func (f *yamlFile) match(m *mapping) recovery.Match {
	n, ok := m.values["match"]
	if !ok {
		f.fail(m.node, "the key match is missing; say which edr the playbook is for")
		return recovery.Match{}
	}
	mm := f.mapping(n, "match", "edr", "os")
	var out recovery.Match
	s, en := f.text(mm, "edr")
	if en != nil && !kebab.MatchString(s) {
		f.fail(en, "edr is %q; use lower-case letters and digits with single hyphens between them", s)
	}
	out.EDR = s
	for _, item := range f.items(mm, "os", maxItems) {
		s, on := f.scalar(item, "an element of os")
		switch {
		case on == nil:
		case !kebab.MatchString(s):
			f.fail(on, "os is %q; use lower-case letters and digits with single hyphens between them", s)
		case slices.Contains(out.OS, s):
			f.fail(on, "os %s stands twice; remove one", s)
		default:
			out.OS = append(out.OS, s)
		}
	}
	return out
}

// probes reads a required list of probes.
func (f *yamlFile) probes(m *mapping, key string) []Probe {
	if !m.has(key) {
		f.fail(m.node, "the key %s is missing; without a probe for it nothing proves that a host is well", key)
		return nil
	}
	var out []Probe
	for _, n := range f.items(m, key, maxItems) {
		out = append(out, f.probe(n, "a probe of "+key))
	}
	return out
}

func (f *yamlFile) probe(n *yaml.Node, what string) Probe {
	m := f.mapping(n, what, "name", "path", "ignore-case", "header", "modified-from", "modified-to", "sha256", "min-size")
	var p Probe
	p.Name, _ = f.text(m, "name")
	s, pn := f.text(m, "path")
	if pn != nil {
		if problem := pathProblem(s); problem != "" {
			f.fail(pn, "path is %q: %s", s, problem)
		}
	}
	p.Path = s
	p.IgnoreCase = f.flag(m, "ignore-case")
	if m.has("header") {
		if s, hn := f.text(m, "header"); hn != nil {
			b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
			if err != nil || len(b) == 0 || len(b) > maxHeader {
				f.fail(hn, "header is %q; write 1 to %d bytes in hex like AA AA 01 00, in quotes if it is all digits", s, maxHeader)
			}
			p.Header = b
		}
	}
	p.ModifiedFrom = f.instant(m, "modified-from")
	p.ModifiedTo = f.instant(m, "modified-to")
	if !p.ModifiedFrom.IsZero() && !p.ModifiedTo.IsZero() && !p.ModifiedFrom.Before(p.ModifiedTo) {
		f.fail(m.values["modified-to"], "modified-to is not after modified-from, so nothing can match; swap or correct them")
	}
	if m.has("sha256") {
		s, hn := f.text(m, "sha256")
		if hn != nil && !digestRE.MatchString(s) {
			f.fail(hn, "sha256 is %q; write the file's SHA-256 as 64 lower-case hex digits", s)
		}
		p.SHA256 = s
	}
	p.MinSize = f.size(m, "min-size")
	if m.node.Kind == yaml.MappingNode && !m.has("header") && !m.has("modified-from") && !m.has("modified-to") && !m.has("sha256") {
		f.fail(m.node, "the probe decides by name alone, and good and bad files share names; add header, modified-from, modified-to or sha256")
	}
	return p
}

func (f *yamlFile) scripts(m *mapping, out *manifest) {
	n, ok := m.values["scripts"]
	if !ok {
		f.fail(m.node, "the key scripts is missing; name a script for at least one of %s", strings.Join(environments, ", "))
		return
	}
	mm := f.mapping(n, "scripts", environments...)
	for _, env := range environments {
		if !mm.has(env) {
			continue
		}
		s, sn := f.text(mm, env)
		switch {
		case sn == nil:
		case !scriptName.MatchString(s):
			f.fail(sn, "script %q is not a plain file name; put the script into the playbook's own folder and name it without a path", s)
		case !strings.HasSuffix(s, scriptSuffix[env]):
			f.fail(sn, "script %q cannot run in %s; name a file that ends in %s", s, env, scriptSuffix[env])
		default:
			out.scripts[env] = script{s, sn}
			out.facts.Environments = append(out.facts.Environments, env)
		}
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		f.fail(n, "scripts is empty; name a script for at least one of %s", strings.Join(environments, ", "))
	}
}

func (f *yamlFile) debts(m *mapping, has []string) []recovery.DebtSpec {
	var out []recovery.DebtSpec
	for _, n := range f.items(m, "debts", maxItems) {
		mm := f.mapping(n, "a debt", "id", "what", "environments")
		var d recovery.DebtSpec
		s, in := f.text(mm, "id")
		switch {
		case in == nil:
		case !kebab.MatchString(s):
			f.fail(in, "id is %q; use lower-case letters and digits with single hyphens between them", s)
		case slices.ContainsFunc(out, func(o recovery.DebtSpec) bool { return o.ID == s }):
			f.fail(in, "the debt %s stands twice; remove one", s)
		}
		d.ID = s
		d.What, _ = f.text(mm, "what")
		for _, item := range f.items(mm, "environments", maxItems) {
			env, en := f.scalar(item, "an element of environments")
			switch {
			case en == nil:
			case !slices.Contains(has, env):
				f.fail(en, "the debt is for the environment %q, for which there is no script; correct it or remove it", env)
			case slices.Contains(d.Environments, env):
				f.fail(en, "the environment %s stands twice; remove one", env)
			default:
				d.Environments = append(d.Environments, env)
			}
		}
		out = append(out, d)
	}
	return out
}

func (f *yamlFile) sources(m *mapping) []Source {
	if !m.has("sources") {
		f.fail(m.node, "the key sources is missing; say whose advice the playbook follows")
		return nil
	}
	var out []Source
	for _, n := range f.items(m, "sources", maxItems) {
		mm := f.mapping(n, "a source", "title", "url", "retrieved")
		var s Source
		s.Title, _ = f.text(mm, "title")
		u, un := f.text(mm, "url")
		if un != nil && (!strings.HasPrefix(u, "https://") || len(u) == len("https://") || strings.ContainsAny(u, " \"<>")) {
			f.fail(un, "url is %q; write the full address, which starts with https://", u)
		}
		s.URL = u
		d, dn := f.text(mm, "retrieved")
		if dn != nil {
			if _, err := time.Parse(time.DateOnly, d); err != nil {
				f.fail(dn, "retrieved is %q; write the day the advice was read like 2024-07-19", d)
			}
		}
		s.Retrieved = d
		out = append(out, s)
	}
	return out
}
