package playbook

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// TestScriptsAgree: the facts that stand in a script are those of its manifest. A script is a file of its own, which a
// person can read and run without Blackstart; so the facts stand twice, and this holds them equal.
func TestScriptsAgree(t *testing.T) {
	lib, err := Load(recoveryplaybooks.FS)
	if err != nil {
		t.Fatal(err)
	}
	hex := func(b []byte, between, format string) string {
		var parts []string
		for _, x := range b {
			parts = append(parts, fmt.Sprintf(format, x))
		}
		return strings.Join(parts, between)
	}
	for _, p := range lib.All() {
		bad, good := p.Bad[0], p.Good[0]
		if string(bad.Header) != string(good.Header) || !bad.ModifiedTo.Equal(good.ModifiedFrom) {
			t.Errorf("%s: the scripts call good what is like a bad file but later; the probes do not", p.Facts.Name)
		}
		for _, env := range p.Facts.Environments {
			body, _ := p.Script(env)
			fact := func(pattern, want string) {
				t.Helper()
				m := regexp.MustCompile(`(?m)^` + pattern).FindSubmatch(body)
				if m == nil {
					t.Errorf("%s, %s: nothing like %s", p.Facts.Name, env, pattern)
				} else if string(m[1]) != want {
					t.Errorf("%s, %s: %q in the script, %q in the manifest", p.Facts.Name, env, m[1], want)
				}
			}
			if env == recovery.EnvWindowsSafeMode {
				when := func(at time.Time) string {
					return fmt.Sprintf("%d, %d, %d, %d, %d, %d", at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second())
				}
				fact(`\$Header  = '([^']*)'`, hex(bad.Header, "-", "%02X"))
				fact(`\$BadFrom = New-Object DateTime \((.*), \[DateTimeKind\]::Utc\)`, when(bad.ModifiedFrom))
				fact(`\$BadTo   = New-Object DateTime \((.*), \[DateTimeKind\]::Utc\)`, when(bad.ModifiedTo))
				continue
			}
			fact(`HEADER='([^']*)'`, hex(bad.Header, " ", "%02x"))
			fact(`BAD_FROM=(\d+) `, strconv.FormatInt(bad.ModifiedFrom.Unix(), 10))
			fact(`BAD_TO=(\d+) `, strconv.FormatInt(bad.ModifiedTo.Unix(), 10))
			if len(p.Bad) > 1 {
				fact(`BAD_SHA256='([^']*)'`, p.Bad[1].SHA256)
				fact(`FOLDER=(\S+)`, bad.Path[:strings.LastIndex(bad.Path, "/")])
				fact(`NAMES='([^']*)'`, bad.Path[strings.LastIndex(bad.Path, "/")+1:])
			}
		}
	}
}
