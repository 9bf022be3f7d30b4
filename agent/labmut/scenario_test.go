//go:build unix

package lab

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestReadScenario(t *testing.T) {
	s := scenario(t, testScenario+"faults:\n  - {kind: silent-ssh, count: 2, times: 1}\n  - {kind: slow-boot, hosts: a*, boot: 5m..6m}\n")
	if s.Boot != (Range{2 * time.Minute, 5 * time.Minute}) || s.Loop.Network != 0 || s.Loop.ParkAfter != (Count{}) {
		t.Errorf("times: %+v %+v", s.Boot, s.Loop)
	}
	if c := s.Update.Linux; string(c.Header) != "\xed\x0c" || c.Before != nil || c.Bad.Name != "rules-2.bin" {
		t.Errorf("linux part: %+v", c)
	}
	want := []FaultSpec{{Kind: SilentSSH, Count: 2, Times: 1}, {Kind: SlowBoot, Hosts: "a*", Span: Range{5 * time.Minute, 6 * time.Minute}}}
	if len(s.Faults) != 2 || s.Faults[0] != want[0] || s.Faults[1] != want[1] {
		t.Errorf("faults: %+v, want %+v", s.Faults, want)
	}
}

func TestScenarioErrorsComeAllAtOnceInTheirPlaces(t *testing.T) {
	const text = `name: x
clock: yesterday
speed: 3
boot: 5m..2m
loop: {up: 10s, network: 135%, park-after: 0}
loop: {up: 10s}
update:
  windows:
    folder: ../etc
    header: XYZ
    bad-from: 2024-07-19T04:09:00Z
    bad-to: 2024-07-19T05:27:00Z
    bad: {name: a/b, modified: 2024-07-19T04:09:12Z}
  linux:
    folder: opt/edr
    header: AA
    bad-from: 2024-07-19T04:09:00Z
    bad-to: 2024-07-19T05:27:00Z
    bad: {name: x, modified: 2024-07-19T05:27:00Z}
    good: {name: y, modified: 2024-07-19T06:09:12Z}
faults:
  - {kind: heals-itself, count: 1}
  - {kind: gremlins, count: 1}
  - {kind: needs-hands}
  - {kind: floods, count: none, bytes: -1, crashes: 2}
  - {kind: unreachable-at-first, hosts: "[", for: 1h, answer: maybe}
`
	_, err := ReadScenario("s.yaml", []byte(text))
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`s.yaml:2:8: clock: "yesterday" is no time; write it as 2024-07-19T04:09:00Z`,
		`s.yaml:3:1: a scenario has no key "speed"`,
		`s.yaml:4:7: boot: "5m..2m" is no duration or range`,
		`s.yaml:5:26: network: "135%" is no share`,
		`s.yaml:5:44: park-after: "0" is no number of crashes`,
		`s.yaml:6:1: loop is here twice, first on line 5`,
		`s.yaml:9:5: windows needs a key "good"`,
		`s.yaml:9:13: folder: "../etc" is no folder below the disk`,
		`s.yaml:10:13: header: "XYZ" is no header`,
		`s.yaml:13:17: name: "a/b" is no file name`,
		`s.yaml:19:5: bad is modified outside bad-from..bad-to`,
		`s.yaml:22:5: heals-itself needs a key "crashes"`,
		`s.yaml:23:5: a fault needs a kind out of drops-connection, floods`,
		`s.yaml:24:5: needs-hands needs a count, or hosts, or both`,
		`s.yaml:25:27: count: "none" is no whole number above 0`,
		`s.yaml:25:40: bytes: "-1" is no whole number above 0`,
		`s.yaml:25:44: floods has no key "crashes"`,
		`s.yaml:26:41: hosts: "[" is no host name or pattern`,
		`s.yaml:26:63: answer: "maybe" is no answer; write refused or silent`,
	}
	got := strings.Split(err.Error(), "\n")
	for i := range max(len(got), len(want)) {
		g, w := "", "(nothing more)"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if !strings.HasPrefix(g, w) {
			t.Errorf("error %d is\n%s\nwant\n%s", i+1, g, w)
		}
	}
}

func TestScenarioThatIsNoYAML(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "s.yaml:1:1: there is not one YAML document",
		"# nothing\n":             "s.yaml:1:1: there is not one YAML document",
		"name: [x\nclock: 1":      "s.yaml:2:",
		"name: a\n---\nname: b\n": "s.yaml:1:1: there is not one YAML document",
		"- a\n":                   "s.yaml:1:1: a scenario must be a mapping",
		"name: &a x\nstory: *a":   "s.yaml:2:8: story is an alias",
		"update: {}\n":            `update needs a key windows or linux`,
	} {
		if _, err := ReadScenario("s.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadScenario(f *testing.F) {
	f.Add([]byte(testScenario))
	f.Add([]byte("faults: [{kind: [], count: {}}, 3]\nnever-hit: {hosts: [{a: b}]}\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ReadScenario("s.yaml", data)
		if (s == nil) == (err == nil) {
			t.Errorf("scenario %v, error %v", s, err)
		}
	})
}

// estate is the scenario that ships with the drill.
func estate(t testing.TB) *Scenario {
	t.Helper()
	const name = "../../cmd/blackstart/estate-2024/scenario.yaml"
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadScenario(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
