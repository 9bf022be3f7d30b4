package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		args             string
		code             int
		stdout, stderrIn string
	}{
		"one incident":      {"--seed 3 --count 1", exitKept, "seeds 3 to 3: 1 incidents", ""},
		"every entry":       {"--seed 3 --count 1 -v", exitKept, "*recovery.IncidentDeclared", ""},
		"promises":          {"--promises", exitKept, "executes-at-most-once", ""},
		"nothing is shown":  {"--for 1ns", exitBroken, "", "no incident was played"},
		"an argument":       {"now", exitUsage, "", "takes flags only"},
		"a strange output":  {"-o xml", exitUsage, "", "use text or json"},
		"two kinds of text": {"-o json -v", exitUsage, "", "goes with neither"},
		"too few hosts":     {"--hosts 50", exitUsage, "", "100 to 10000"},
	} {
		var out, errs bytes.Buffer
		code := run(strings.Fields(c.args), &out, &errs)
		if code != c.code || !strings.Contains(out.String(), c.stdout) || !strings.Contains(errs.String(), c.stderrIn) {
			t.Errorf("%s: exit %d\n%.300s\n%.300s", name, code, out.String(), errs.String())
		}
	}
}

func TestJSON(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(strings.Fields("--seed 3 --count 2 -o json"), &out, &errs)
	var account struct {
		Tally  struct{ Incidents, Entries int }
		Broken []any
	}
	if err := json.Unmarshal(out.Bytes(), &account); err != nil || code != exitKept || account.Tally.Incidents != 2 || account.Tally.Entries == 0 || account.Broken == nil {
		t.Errorf("exit %d, %v: %s", code, err, &out)
	}
}
