package playbook

import (
	"reflect"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestParseProbeOutput(t *testing.T) {
	d1, d2 := "sha256:"+strings.Repeat("1", 64), "sha256:"+strings.Repeat("2", 64)
	const boot = "BLACKSTART-PROBE boot=6c1f0d2a-9d9c\n"
	line := func(d, rest string) string { return "BLACKSTART-CONTENT playbook=" + d + " " + rest + "\n" }
	one := line(d1, "bad=1 good=2 seen=3 missing=0 error=-")
	tests := []struct {
		name, out string
		want      []recovery.Content
		err       string
	}{
		{"none", boot + "BLACKSTART-PROBE end playbooks=0\n", nil, ""},
		{"two, among noise", "Welcome!\r\n" + boot + "noise\n" + one + line(d2, "bad=0 good=0 seen=2 missing=1 error=cannot-list") + "BLACKSTART-PROBE end playbooks=2\r\nBye\n",
			[]recovery.Content{{Playbook: d1, Bad: 1, Good: 2}, {Playbook: d2, Missing: true, Error: probeErrors["cannot-list"], Detail: "2 files of the right name, of which 2 are neither bad nor good"}}, ""},
		{"a word of a newer script", boot + line(d1, "bad=0 good=0 seen=0 missing=0 error=no-idea") + "BLACKSTART-PROBE end playbooks=1\n",
			[]recovery.Content{{Playbook: d1, Error: "the probe could not run to its end: no-idea"}}, ""},
		{"nothing", "", nil, "the probe's answer has no end"},
		{"cut off", boot + one, nil, "the probe's answer has no end"},
		{"cut in a line", boot + one[:60], nil, "which is not understood"},
		{"one is missing", boot + one + "BLACKSTART-PROBE end playbooks=2\n", nil, "names 2 playbooks and holds 1"},
		{"twice", boot + one + one + "BLACKSTART-PROBE end playbooks=2\n", nil, "holds playbook " + d1 + " twice"},
		{"no beginning", one + "BLACKSTART-PROBE end playbooks=1\n", nil, "which is not understood"},
		{"two beginnings", boot + boot + "BLACKSTART-PROBE end playbooks=0\n", nil, "which is not understood"},
		{"after the end", boot + "BLACKSTART-PROBE end playbooks=0\n" + one, nil, "goes on after its end"},
		{"relative root", "BLACKSTART-PROBE error=relative-root\n", nil, "which is not understood"},
		{"huge number", boot + line(d1, "bad=99999999999999999999 good=0 seen=0 missing=0 error=-"), nil, "which is not understood"},
		{"negative", boot + line(d1, "bad=-1 good=0 seen=0 missing=0 error=-"), nil, "which is not understood"},
		{"bad boot id", "BLACKSTART-PROBE boot=$(x)\n", nil, "which is not understood"},
	}
	for _, test := range tests {
		got, id, err := ParseProbeOutput([]byte(test.out))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s: %v, want %q", test.name, err, test.err)
			}
			continue
		}
		if err != nil || id != "6c1f0d2a-9d9c" || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %q, %v", test.name, got, id, err)
		}
	}
}
