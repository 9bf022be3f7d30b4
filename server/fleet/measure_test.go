package fleet

import (
	"regexp"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestMeasures(t *testing.T) {
	sizes := map[string]int64{
		"1B": 1, "500MB": 500_000_000, "1.5TB": 1_500_000_000_000, "1.5TiB": 3 << 39, "0.001kB": 1, "40GB": 40_000_000_000, "2.25KiB": 2304, "1000PB": 1e18,
		"": 0, "0B": 0, "5": 0, "5 GB": 0, "5gb": 0, "5KB": 0, "5Gb": 0, "-5GB": 0, "+5GB": 0, "1e3MB": 0, "1.GB": 0, ".5GB": 0, "1.0001GB": 0, "0.0001B": 0, "1001PB": 0, "9999999PiB": 0, "99999999B": 0, "NaNB": 0,
	}
	for written, want := range sizes {
		var s size
		problem, do := s.parse(written)
		if s.n != want || (problem == "") != (want > 0) || (problem == "") != (do == "") {
			t.Errorf("size %q is %d (%s; %s), want %d", written, s.n, problem, do, want)
		}
	}
	rates := map[string]int64{"200MB/s": 200_000_000, "1kB/s": 1000, "50MiB/s": 50 << 20, "200MB": 0, "200MB/m": 0, "1Gbit/s": 0, "999B/s": 0, "/s": 0, "1MB/s/s": 0}
	for written, want := range rates {
		var r rate
		if problem, _ := r.parse(written); r.n != want || (problem == "") != (want > 0) {
			t.Errorf("rate %q is %d (%s), want %d", written, r.n, problem, want)
		}
	}
	for written, want := range map[string]recovery.Level{"L0": recovery.L0, "L5": recovery.L5, "L6": -1, "l3": -1, "3": -1, "L33": -1, "": -1} {
		var l level
		if problem, _ := l.parse(written); (problem == "") != (want >= 0) || l.ok != (want >= 0) || want >= 0 && l.l != want {
			t.Errorf("level %q is %v (%s), want %v", written, l.l, problem, want)
		}
	}
	for written, want := range map[string]bool{
		"22:00-05:00": true, "00:00-23:59": true, "5:00-6:00": false, "22:00": false, "22:00-24:00": false, "22:60-23:00": false, "22:00 - 05:00": false, "05:00-05:00": false, "": false,
	} {
		var h hours
		if problem, _ := h.parse(written); (problem == "") != want || (h.s == written) != want && written != "" {
			t.Errorf("hours %q are %q (%s)", written, h.s, problem)
		}
	}
}

// TestMeasuresInSchema: what the reader takes an editor takes too, and other words neither.
func TestMeasuresInSchema(t *testing.T) {
	patterns := regexp.MustCompile(`"pattern": "([^"]*B(?:/s)?\$)"`).FindAllStringSubmatch(string(Schema), -1)
	if len(patterns) < 3 {
		t.Fatalf("the schema has the patterns %v", patterns)
	}
	for _, p := range patterns {
		like := regexp.MustCompile(strings.ReplaceAll(p[1], `\\`, `\`))
		perSecond := strings.HasSuffix(p[1], "/s$")
		for _, word := range []string{"500MB", "1.5TiB", "7B", "40GB/s", "5KB", "5 GB", "1.2345GB/s", "3Gbit/s"} {
			var problem string
			if perSecond {
				problem, _ = new(rate).parse(word)
			} else {
				problem, _ = new(size).parse(word)
			}
			if like.MatchString(word) != (problem == "") {
				t.Errorf("%q: the schema's %s says %v, the reader %q", word, p[1], like.MatchString(word), problem)
			}
		}
	}
}

// TestExpect holds what invariants may expect against what the agents understand: the grammar is documented, and kept on both sides.
func TestExpect(t *testing.T) {
	for _, good := range []string{
		"equal", "= 0", "=0", "= open", "= two words", "!= 0", "!=x", "< 5", "<= -2.5", "> .5", ">= 1e6", ">=1000", "within 26h", "within 90m", "within 2d", "within 1d12h", "  equal  ", "= -",
	} {
		if problem, _ := checkExpect(good); problem != "" {
			t.Errorf("%q %s", good, problem)
		}
	}
	for _, bad := range []string{
		"", "same", "Equal", "equal 5", "=", "= ", "!=", "== 5", "=> 5", "<> 5", "< many", "<= ", "> 0x10", ">= 1_000", "> Inf", "> NaN", "within", "within 26", "within -2h", "within 0s", "within 2w", "within 4000d",
		"= " + strings.Repeat("x", 199), "= a\u200bb", "= a\u2028b",
	} {
		if problem, do := checkExpect(bad); problem == "" || do == "" {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAbsolute(t *testing.T) {
	for path, want := range map[string]string{
		"/srv": "unix", "/srv/a b": "unix", `/srv/a\b`: "unix", `C:\data`: "windows", `d:\a b\c.d`: "windows", `\\server\share`: "", `C:\`: "", `C:`: "", `C:data`: "", `C:\a\`: "", `C:\a\\b`: "",
		`C:\a\..\b`: "", `C:\a.`: "", `C:/a`: "", `C:\a/b`: "", `C:\a:b`: "", "/": "", "//": "", "//a": "", "/a/": "", "/a//b": "", "/a/../b": "", "/a/.": "", "a": "", "./a": "", "": "", " /a": "", "/a ": "", "~": "",
	} {
		got := ""
		switch {
		case absoluteOn(path, false):
			got = "unix"
		case absoluteOn(path, true):
			got = "windows"
		}
		if got != want {
			t.Errorf("%q is an absolute path of %q, want %q", path, got, want)
		}
	}
}
