//go:build e2e

package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// ansibleList is what `ansible-inventory --list` prints.
type ansibleList struct {
	groups map[string]ansibleGroup
	vars   map[string]map[string]string // by host; the variables that this package uses, as texts
}

type ansibleGroup struct {
	Hosts    []string
	Children []string
}

// listed runs Debian's ansible-inventory on a file, and returns what it prints, raw and read.
func listed(t *testing.T, path string, more ...string) ([]byte, ansibleList) {
	t.Helper()
	program, err := exec.LookPath("ansible-inventory")
	if err != nil {
		t.Fatal("ansible-inventory is missing: tools/install-test-deps.sh installs it")
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, program, append([]string{"-i", path, "--list"}, more...)...)
	home := t.TempDir()
	settings := filepath.Join(home, "ansible.cfg") // none of this machine's
	if err := os.WriteFile(settings, []byte("[defaults]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "ANSIBLE_CONFIG=" + settings, "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ansible-inventory -i %s: %v\n%s", path, err, stderr.String())
	}
	return out, readList(t, out)
}

func readList(t *testing.T, out []byte) ansibleList {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(out, &raw); err != nil {
		t.Fatalf("%v in %.300s", err, out)
	}
	var meta struct{ Hostvars map[string]map[string]any }
	d := json.NewDecoder(bytes.NewReader(raw["_meta"]))
	d.UseNumber()
	if err := d.Decode(&meta); err != nil {
		t.Fatal(err)
	}
	delete(raw, "_meta")
	l := ansibleList{map[string]ansibleGroup{}, map[string]map[string]string{}}
	for name, data := range raw {
		var g ansibleGroup
		if err := json.Unmarshal(data, &g); err != nil {
			t.Fatal(err)
		}
		slices.Sort(g.Hosts)
		slices.Sort(g.Children)
		l.groups[name] = g
		for _, h := range g.Hosts {
			l.vars[h] = map[string]string{}
		}
	}
	for host, vars := range meta.Hostvars {
		l.vars[host] = map[string]string{}
		for key, v := range vars {
			if usedVars[key] && key != varPriority {
				l.vars[host][key] = fmt.Sprint(v)
			}
		}
	}
	return l
}

// understood is what this package reads, in the same form.
func understood(t *testing.T, name string, read func(*inventory)) ansibleList {
	t.Helper()
	inv := newInventory(name)
	read(inv)
	settled := inv.settle()
	if err := inv.err(); err != nil || !settled {
		t.Fatalf("%s is refused: %v", name, err)
	}
	l := ansibleList{map[string]ansibleGroup{}, map[string]map[string]string{}}
	for _, h := range inv.list {
		l.vars[h.name] = map[string]string{}
		u := inv.union(h)
		for key := range usedVars {
			if v, ok := h.value(u, key); ok && key != varPriority {
				if v.problem != "" {
					t.Errorf("%s: %s of %s %s", name, key, h.name, v.problem)
				}
				l.vars[h.name][key] = v.s
			}
		}
		for _, g := range h.groups {
			ag := l.groups[g.name]
			ag.Hosts = append(ag.Hosts, h.name)
			l.groups[g.name] = ag
		}
	}
	for _, g := range inv.groups {
		for _, p := range g.parents {
			ag := l.groups[p.name]
			ag.Children = append(ag.Children, g.name)
			l.groups[p.name] = ag
		}
	}
	for name, g := range l.groups {
		slices.Sort(g.Hosts)
		slices.Sort(g.Children)
		l.groups[name] = g
	}
	return l
}

// same compares two lists host by host, group by group, variable by variable.
func same(t *testing.T, what string, got, want ansibleList) {
	t.Helper()
	const most = 10
	wrong := 0
	differ := func(format string, args ...any) {
		if wrong++; wrong <= most {
			t.Errorf(what+": "+format, args...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want.vars)) {
		if _, ok := got.vars[name]; !ok {
			differ("host %s is missing", name)
			continue
		}
		if !maps.Equal(got.vars[name], want.vars[name]) {
			differ("host %s has %v, want %v", name, got.vars[name], want.vars[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got.vars)) {
		if _, ok := want.vars[name]; !ok {
			differ("host %s is too many", name)
		}
	}
	all := maps.Clone(want.groups)
	maps.Copy(all, got.groups)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		g, w := got.groups[name], want.groups[name]
		if !slices.Equal(g.Hosts, w.Hosts) || !slices.Equal(g.Children, w.Children) {
			differ("group %s is %v, want %v", name, g, w)
		}
	}
	if wrong > most {
		t.Errorf("%s: and %d more", what, wrong-most)
	}
}

// roundTrip imports an inventory with everything said that it does not, and compares the fleet with Ansible's list.
func roundTrip(t *testing.T, what string, want ansibleList, read func(ImportOptions) (Imported, error)) {
	t.Helper()
	made, err := read(ImportOptions{Map: []string{"all=service:everything", "all=tier:first"}, Defaults: []string{"os=linux", "data=none", "edr=some", "user=unsaid"}})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, b := range made.Blanks {
		if !strings.HasPrefix(b.Message, "address of host ") {
			t.Errorf("%s: %v", what, b)
		}
	}
	var filled strings.Builder // a person writes the missing addresses
	for i, part := range strings.Split(string(made.File), "address: "+fillIn) {
		if i > 0 {
			fmt.Fprintf(&filled, "address: 172.31.%d.%d", i>>8, i&255)
		}
		filled.WriteString(part)
	}
	f, err := Parse("fleet.yaml", []byte(filled.String()))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(f.Hosts) != len(want.vars) || made.Hosts != len(f.Hosts) {
		t.Errorf("%s: %d hosts, the account says %d, Ansible %d", what, len(f.Hosts), made.Hosts, len(want.vars))
	}
	for _, h := range f.Hosts {
		vars, ok := want.vars[h.Name]
		if !ok || len(h.Ladder) != 2 || h.Ladder[1].Kind != recovery.RungHands || h.Service != "everything" || h.Tier != "first" {
			t.Errorf("%s: host %+v", what, h)
			continue
		}
		value := func(key, otherwise string) string {
			for _, k := range []string{key, oldNames[key]} {
				if v, ok := vars[k]; ok {
					return v
				}
			}
			return otherwise
		}
		r := h.Ladder[0]
		address, _, problem, _ := importAddress(value(varHost, h.Name))
		if problem != "" || address == "" {
			address = r.Address
		}
		if r.Address != address || strconv.Itoa(r.Port) != value(varPort, "22") || r.User != value(varUser, "unsaid") {
			t.Errorf("%s: host %s is %s@%s:%d, want %v", what, h.Name, r.User, r.Address, r.Port, vars)
		}
		if args := vars["ansible_ssh_common_args"]; (args != "") != (len(r.Jump) == 1) || len(r.Jump) == 1 && !strings.Contains(args, r.Jump[0]) {
			t.Errorf("%s: host %s jumps over %v, want %q", what, h.Name, r.Jump, args)
		}
	}
}

// agree holds one inventory against Ansible in every way in which it can be imported.
func agree(t *testing.T, path string, data []byte) {
	t.Helper()
	out, want := listed(t, path)
	what := filepath.Base(path)
	same(t, what, understood(t, path, func(inv *inventory) { inv.readFile(path, data) }), want)
	same(t, what+" by --json", understood(t, path, func(inv *inventory) { inv.readJSON(out) }), want)
	roundTrip(t, what, want, func(o ImportOptions) (Imported, error) { return ImportAnsible(path, data, o) })
	roundTrip(t, what+" by --json", want, func(o ImportOptions) (Imported, error) { return ImportAnsibleList(path, out, o) })
}

// TestCorpusAgainstAnsible holds inventories written for it, from one host to 5,000, against Debian's own Ansible.
func TestCorpusAgainstAnsible(t *testing.T) {
	corpus, err := filepath.Glob("testdata/import/corpus/*")
	if err != nil || len(corpus) < 30 {
		t.Fatalf("%d inventories in the corpus (%v), want 30 at least", len(corpus), err)
	}
	large := t.TempDir()
	for name, data := range map[string][]byte{"large.ini": largeINI(5000), "large.yml": largeYAML(5000)} {
		path := filepath.Join(large, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		corpus = append(corpus, path)
	}
	for _, path := range corpus {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, path, data)
		})
	}
	for _, name := range []string{"precedence.ini", "priority.ini", "diamond.yml"} { // groups with their own variables
		t.Run(name+" exported", func(t *testing.T) {
			t.Parallel()
			path, err := filepath.Abs(filepath.Join("testdata/import/corpus", name))
			if err != nil {
				t.Fatal(err)
			}
			_, want := listed(t, path)
			out, _ := listed(t, path, "--export")
			same(t, name, understood(t, path, func(inv *inventory) { inv.readJSON(out) }), want)
		})
	}
}

// seed is printed, and taken from BLACKSTART_SEED to repeat a run.
func seed(t *testing.T) uint64 {
	s := uint64(time.Now().UnixNano())
	if given := os.Getenv("BLACKSTART_SEED"); given != "" {
		var err error
		if s, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("BLACKSTART_SEED=%d", s)
	return s
}

// TestRandomAgainstAnsible makes inventories by chance in the documented subset. Each is many small ones side by side, because
// starting Ansible is what costs.
func TestRandomAgainstAnsible(t *testing.T) {
	s := seed(t)
	for i := range uint64(4) {
		for _, form := range []string{"ini", "yml"} {
			t.Run(fmt.Sprintf("%d.%s", i, form), func(t *testing.T) {
				t.Parallel()
				g := &generator{Rand: rand.New(rand.NewPCG(s, i))}
				for range 50 {
					g.part()
				}
				data := g.ini()
				if form == "yml" {
					data = g.yaml()
				}
				path := filepath.Join(t.TempDir(), "random."+form)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				agree(t, path, data)
				if t.Failed() {
					kept := filepath.Join(os.TempDir(), fmt.Sprintf("blackstart-random-%d-%d.%s", s, i, form))
					t.Logf("the inventory is kept in %s: %v", kept, os.WriteFile(kept, data, 0o600))
				}
			})
		}
	}
}

// python runs a small program that answers each line of JSON with one of its own.
func python(t *testing.T, program string, questions any, answers any) {
	t.Helper()
	in, err := json.Marshal(questions)
	if err != nil {
		t.Fatal(err)
	}
	const interpreter = "/usr/bin/python3" // Debian's, which Ansible runs in
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	cmd := exec.CommandContext(ctx, interpreter, "-W", "ignore", "-c", program)
	cmd.Stdin = bytes.NewReader(in)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python: %v\n%s", err, stderr.String())
	}
	if err := json.Unmarshal(out, answers); err != nil {
		t.Fatal(err)
	}
}

// chance makes texts of few letters, so that what matters meets often.
func chance(r *rand.Rand, alphabet string, longest int) string {
	letters := []rune(alphabet)
	var b strings.Builder
	for range 1 + r.IntN(longest) {
		b.WriteRune(letters[r.IntN(len(letters))])
	}
	return b.String()
}

// TestWordsAgainstPython holds the splitting of lines against Python's shlex, which Ansible uses.
func TestWordsAgainstPython(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 1))
	lines := make([]string, 20_000)
	for i := range lines {
		lines[i] = chance(r, "ab= \t\"\"''\\\\#;ü", 14)
	}
	var want [][]*string // nil is a refusal
	python(t, `
import json, shlex, sys
def split(s, comments):
    try: return shlex.split(s, comments=comments)
    except ValueError: return [None]
print(json.dumps([split(s, c) for s in json.load(sys.stdin) for c in (True, False)]))`, lines, &want)
	wrong := 0
	for i, w := range want {
		line := lines[i/2]
		got, problem, _ := shellWords(line, i%2 == 0)
		refused := len(w) == 1 && w[0] == nil
		if (problem != "") == refused && (refused || slices.EqualFunc(got, w, func(a word, b *string) bool { return a.s == *b })) {
			continue
		}
		if wrong++; wrong < 10 {
			t.Errorf("%q: got %v %q, want refused %v", line, got, problem, refused)
		}
	}
}

// TestValuesAgainstPython holds the reading of values against what Ansible does with them in INI files and in YAML.
func TestValuesAgainstPython(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 2))
	values := []string{"None", "True", "set()", "set ()", "b'x'", "Rb'x'", "f'x'", "u''", "inf", "-True", "1_000", "0b1", "1:30", "2024-07-19", "y", "=", "<<"}
	for range 40_000 {
		values = append(values, chance(r, "01259afjxeETNonrulsb'\"._:-+,()[]{} \\#@/ü%", 7))
	}
	type answer struct {
		INI  string // as a text, if Ansible has a text or a whole number of it
		Kind string
		YAML bool // a text in YAML too
	}
	var want []answer
	python(t, `
import ast, json, sys, yaml
def ini(s):
    try: v = ast.literal_eval(s)
    except (ValueError, SyntaxError): v = s
    except TypeError: v = None # {[]}: Ansible gives up the whole file
    return v
def text(s):
    try: return isinstance(yaml.safe_load(s), str)
    except ValueError: return False # taken for a number or a day that it is not: 0x_
    except Exception: return True
out = []
for s in json.load(sys.stdin):
    v = ini(s)
    out.append({"INI": str(v), "Kind": type(v).__name__, "YAML": text(s)})
print(json.dumps(out))`, values, &want)
	taken, wrong := 0, 0
	for i, s := range values {
		if v := iniValue(strings.TrimSpace(s), top); v.problem == "" && strings.TrimSpace(s) == s {
			taken++
			if v.s != want[i].INI || want[i].Kind != "str" && want[i].Kind != "int" {
				if wrong++; wrong < 10 {
					t.Errorf("INI %q: got %q, want %q, %s", s, v.s, want[i].INI, want[i].Kind)
				}
			}
		}
		if plainYAML(s) && notText.MatchString(s) == want[i].YAML && !strings.HasPrefix(s, "+.") { // +.2 was a number once
			if wrong++; wrong < 10 {
				t.Errorf("YAML %q: a text is %v", s, want[i].YAML)
			}
		}
	}
	if taken < len(values)/10 {
		t.Errorf("only %d of %d values were taken: the test proves little", taken, len(values))
	}
}

// TestWrittenWordsAgainstPython holds what is written against a reader of YAML 1.1, as editors and other tools have.
func TestWrittenWordsAgainstPython(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 3))
	texts := slices.Clone(hostileWords)
	for range 5000 {
		texts = append(texts, chance(r, "01aefnoyxYNOT.-_:+~ '\"\\#{}[],&*!%@\tü☀", 6))
	}
	written := make([]string, len(texts))
	for i, s := range texts {
		written[i] = yamlWord(s)
	}
	var read []any
	python(t, `
import json, sys, yaml
print(json.dumps([yaml.safe_load("{a: %s, b: [%s]}" % (s, s))["b"][0] for s in json.load(sys.stdin)]))`, written, &read)
	for i, s := range texts {
		if got, ok := read[i].(string); !ok || got != s {
			t.Errorf("%q, written as %s, is read as %v", s, written[i], read[i])
		}
	}
}

// plainYAML reports whether a text can stand in YAML as a plain word, so that only its form tells what it is.
func plainYAML(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.+-:=<~") == "" &&
		!strings.HasSuffix(s, ":") && !strings.HasPrefix(s, "-") && !strings.HasPrefix(s, ":") && s != "<<" && s != "="
}
