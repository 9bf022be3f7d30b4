package playbook

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// FuzzParse wants, of any manifest, soon and without a panic: either problems, each a sentence with its place in the file, or a
// playbook that is safe to use.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"crowdstrike-channel-file-291", "edr-content-linux"} {
		data, err := recoveryplaybooks.FS.ReadFile(name + "/manifest.yaml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	with := func(old, by string) []byte { return []byte(strings.Replace(demoManifest, old, by, 1)) }
	for _, data := range [][]byte{
		[]byte(demoManifest), []byte("a: &a [*a]\n"), []byte("{[a]: b}: c\n"), []byte("? |\n  name\n: x\n"), []byte("name: [" + strings.Repeat("[", 2000)), []byte("a: b\n---\nname: x\n"), []byte("\ufeffname: demo\r\n"),
		with("name: demo", "name: \"de\\x1b[31mmo\""), with("title: A demonstration", "title: !!binary aGk="), with("timeout: ", "timeout: -"), with("timeout: ", "timeout: 99999999999h #"), with("repair.sh", "../../repair.sh"),
		with("path: ", "path: /../"), with("path: ", "path: \"\\0\" #"), with("header: ", "header: 0x"), with("name: demo", "name: demo\nname: demo"), with("sources:", "sources: 7\nsource:"),
	} {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		began := time.Now()
		m, problems := parseManifest("m.yaml", data)
		if took := time.Since(began); took > 5*time.Second && len(data) < 1<<16 {
			t.Fatalf("%d bytes took %s", len(data), took)
		}
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + bytes.Count(data, []byte("\u2028")) + bytes.Count(data, []byte("\u2029")) + bytes.Count(data, []byte("\u0085")) + 1
		for _, err := range problems {
			var p *Problem
			if !errors.As(err, &p) || p.What == "" || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Fatalf("a problem without a sentence: %q", err)
			}
			if p.File != "m.yaml" || p.Line < 0 || p.Line > lines+1 || p.Column < 0 || (p.Line == 0) != (p.Column == 0) {
				t.Fatalf("a place outside of %d lines: %v", lines, err)
			}
		}
		if m == nil && len(problems) == 0 {
			t.Fatal("nothing read and nothing wrong")
		}
		if len(problems) > 0 {
			return
		}
		if again, _ := parseManifest("m.yaml", data); !reflect.DeepEqual(again.facts, m.facts) {
			t.Fatalf("read again, it is another: %+v and %+v", m.facts, again.facts)
		}
		if len(m.bad) == 0 || len(m.good) == 0 || len(m.scripts) == 0 || m.facts.Timeout <= 0 || m.facts.Timeout > maxTime || m.facts.VerifyWithin <= 0 || m.facts.Soak < 0 || m.facts.Name == "" || m.facts.Reboot == "" {
			t.Fatalf("accepted without what it needs: %+v", m)
		}
		for _, text := range []string{m.facts.Name, m.facts.Title, m.facts.Match.EDR, strings.Join(m.facts.Match.OS, "")} {
			if strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("accepted a control character in %q", text)
			}
		}
		for _, d := range m.facts.Debts {
			if d.ID == "" || d.What == "" || strings.ContainsFunc(d.ID+d.What, unicode.IsControl) {
				t.Fatalf("accepted the debt %+v", d)
			}
		}
		for _, p := range append(m.bad, m.good...) {
			if pathProblem(p.Path) != "" || len(p.Header) == 0 && p.SHA256 == "" && p.ModifiedFrom.IsZero() && p.ModifiedTo.IsZero() {
				t.Fatalf("accepted the probe %+v", p)
			}
		}
		for _, s := range m.scripts {
			if strings.ContainsAny(s.name, "/\\") || s.name == ".." || s.name == "" || strings.ContainsFunc(s.name, unicode.IsControl) {
				t.Fatalf("accepted the script %q", s.name)
			}
		}
	})
}

// FuzzParseProbeOutput lets a host answer a probe with anything. What is taken for an answer is one, whole and bounded: noise round
// it changes nothing, and without its last line, or with one of its lines twice, it is refused.
func FuzzParseProbeOutput(f *testing.F) {
	d1, d2 := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	const boot = "BLACKSTART-PROBE boot=6c1f0d2a-9d9c\n"
	line := func(d, rest string) string { return "BLACKSTART-CONTENT playbook=" + d + " " + rest + "\n" }
	one, two := line(d1, "bad=1 good=2 seen=3 missing=0 error=-"), line(d2, "bad=0 good=0 seen=2 missing=1 error=cannot-list")
	for _, out := range []string{
		"", boot, boot + one, boot + one + "BLACKSTART-PROBE end playbooks=1\n", "motd\r\n" + boot + one + "noise\n" + two + "BLACKSTART-PROBE end playbooks=2\r\nbye", "BLACKSTART-PROBE boot=1\nBLACKSTART-PROBE end playbooks=0\n",
		boot + one + one + "BLACKSTART-PROBE end playbooks=2\n", boot + line(d1, "bad=999999 good=999999 seen=0 missing=0 error=no-idea") + "BLACKSTART-PROBE end playbooks=1\n",
		boot + line(d1, "bad=٣ good=0 seen=3 missing=0 error=-"), "BLACKSTART-PROBE boot=\nBLACKSTART-PROBE end playbooks=000000\n", boot + "BLACKSTART-\x1b[2J\n", "BLACKSTART-PROBE error=relative-root\n", boot + "BLACKSTART-PROBE end playbooks=0\n" + one,
	} {
		f.Add([]byte(out))
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		content, id, err := ParseProbeOutput(out)
		if err != nil {
			if content != nil || id != "" {
				t.Fatal("an answer beside an error")
			}
			if strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 1000 {
				t.Fatalf("a poor refusal: %q", err)
			}
			return
		}
		if recovery.Clean(id, 64) != id {
			t.Fatalf("boot id %q", id)
		}
		seen := map[string]bool{}
		for _, c := range content {
			if seen[c.Playbook] || len(c.Playbook) != len(d1) || c.Bad < 0 || c.Bad > 999999 || c.Good < 0 || c.Good > 999999 || recovery.Clean(c.Error, 200) != c.Error || recovery.Clean(c.Detail, 200) != c.Detail {
				t.Fatalf("content %+v", c)
			}
			seen[c.Playbook] = true
		}
		var words []string // of the script
		for l := range strings.Lines(string(out)) {
			if strings.HasPrefix(l, "BLACKSTART-") {
				words = append(words, strings.TrimRight(l, "\r\n"))
			}
		}
		if len(words) != len(content)+2 {
			t.Fatalf("%d contents out of %q", len(content), words)
		}
		noisy := "motd\n" + strings.Join(words, "\r\nBLACKSTART is a word\n x\n") + "\nbye"
		if again, sameID, err := ParseProbeOutput([]byte(noisy)); err != nil || sameID != id || !reflect.DeepEqual(again, content) {
			t.Fatalf("among noise it is %+v, %q, %v", again, sameID, err)
		}
		for i := range words {
			short := strings.Join(append(append([]string{}, words[:i]...), words[i+1:]...), "\n")
			long := strings.Join(append(append([]string{}, words[:i+1]...), words[i:]...), "\n")
			for what, text := range map[string]string{"without": short, "twice": long} {
				if _, _, err := ParseProbeOutput([]byte(text)); err == nil {
					t.Fatalf("%s line %d it is taken: %q", what, i+1, text)
				}
			}
		}
	})
}
