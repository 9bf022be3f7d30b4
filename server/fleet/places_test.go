package fleet

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// oneWord is what no POSIX shell does anything to, wherever it stands outside of quotes.
var oneWord = regexp.MustCompile(`^[A-Za-z0-9._:%-]+$`)

// hostile are things that a shell, a path or an option would take for its own.
var hostile = []string{
	"$(touch x)", "`touch x`", "; touch x", "a b", "a;b", "a&b", "a|b", "a>b", "a'b", `a"b`, `a\b`, "a*", "a?", "a!b", "~root", "#a", "-rf", "--", "..", ".", "../../etc/passwd", "a/b", "a=b", "a{b}", "{name}", "a\tb", "a\nb", "ä", "a\u2028b", "%s", "", " ",
}

// TestPlacesAreShellSafe puts hostile text wherever a place gets its value from. Either the file is refused, or a shell takes
// what the places hold as one word each, and as itself.
func TestPlacesAreShellSafe(t *testing.T) {
	places := strings.Fields("{name} {address} {mac} {uuid}")
	write := func(name, address, mac, uuid string) string {
		return fmt.Sprintf("fleet: f\ntiers: [{name: t}]\nhosts:\n  - name: %q\n    address: %q\n    mac: %q\n    uuid: %q\n    os: linux\n    tier: t\n", name, address, mac, uuid) +
			fmt.Sprintf("    ladder: [{name: h, kind: helper, address: 10.0.0.1, attach: %q, detach: x}]\n", strings.Join(places, " "))
	}
	const name, address, mac, uuid = "a-1._b", "fe80::1", "52:54:00:12:34:56", "4c4c4544-0043-3010-8052-b4c04f4d3532"
	texts := []string{write(name, address, mac, uuid), write(name, "fe80::1%eth0.5", mac, uuid), write(name, "10.0.0.7", mac, uuid)}
	for _, h := range hostile {
		texts = append(texts,
			write(h, address, mac, uuid), write("a"+h, address, mac, uuid),
			write(name, h, mac, uuid), write(name, "fe80::1%"+h, mac, uuid), write(name, "fe80::1%a"+h, mac, uuid), write(name, "10.0.0.1"+h, mac, uuid),
			write(name, address, h, uuid), write(name, address, mac+h, uuid), write(name, address, mac[:15]+h, uuid),
			write(name, address, mac, h), write(name, address, mac, uuid+h), write(name, address, mac, uuid[:34]+h))
	}
	taken := 0
	for _, text := range texts {
		f, err := Parse("f.yaml", []byte(text))
		if err != nil {
			continue
		}
		taken++
		words := strings.Split(f.Hosts[0].Ladder[0].Attach, " ")
		if len(words) != len(places) {
			t.Fatalf("%q are not %d words, of\n%s", words, len(places), text)
		}
		for _, w := range words {
			if !oneWord.MatchString(w) || w[0] == '-' {
				t.Errorf("%q is not safe, of\n%s", w, text)
			}
		}
		out, err := exec.Command("/bin/sh", "-c", "printf '%s\\n' "+f.Hosts[0].Ladder[0].Attach).Output()
		if err != nil || string(out) != strings.Join(words, "\n")+"\n" {
			t.Errorf("a shell reads %q as %q (%v)", words, out, err)
		}
	}
	if taken < 3 || taken > len(texts)/10 {
		t.Errorf("%d of %d files were taken", taken, len(texts))
	}
}

func TestFill(t *testing.T) {
	four := facts{name: "web1", address: netip.MustParseAddr("10.20.30.40"), mac: "52:54:00:12:34:56"}
	six := facts{name: "web2", address: netip.MustParseAddr("fd00::5"), uuid: "4c4c4544-0043-3010-8052-b4c04f4d3532"}
	none := facts{name: "web3"}
	for _, c := range []struct {
		of         facts
		in         string
		out, lacks string
	}{
		{four, "plain } text", "plain } text", ""},
		{four, "{name}{name}", "web1web1", ""},
		{four, "https://{1}.{2}.{3}.{4}/{address}?{mac}", "https://10.20.30.40/10.20.30.40?52:54:00:12:34:56", ""},
		{six, "{address}/{uuid}", "fd00::5/4c4c4544-0043-3010-8052-b4c04f4d3532", ""},
		{four, "{uuid}", "", "a uuid:"},
		{six, "{mac}", "", "a mac:"},
		{six, "{4}", "", "an IPv4 address:"},
		{none, "{address}", "", "an address:"},
	} {
		if problem, _ := checkPlaces(c.in); problem != "" {
			t.Errorf("%q is refused: %s", c.in, problem)
		}
		if out, lacks := c.of.fill(c.in); out != c.out || lacks != c.lacks {
			t.Errorf("%q of %s is %q and lacks %q, want %q and %q", c.in, c.of.name, out, lacks, c.out, c.lacks)
		}
	}
	for _, bad := range []string{"{", "{}", "{0}", "{5}", "{11}", "{ name }", "{Name}", "{name", "{{name}}", "a{name}{b}", "${name}{"} {
		if problem, do := checkPlaces(bad); problem == "" || do == "" {
			t.Errorf("%q is taken", bad)
		}
	}
}
