package main

import (
	"flag"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file")

// The agent is small: it is linked from the modules of the golden file only, and from no package that loads code. Programs are started
// in one place, which is only reached where the settings allow work on backups.
func TestDependencies(t *testing.T) {
	modules := map[string]bool{}
	for _, system := range []string{"linux", "windows"} {
		list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}} {{join .Imports \",\"}}", ".")
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			t.Fatalf("go list for %s: %v", system, err)
		}
		for line := range strings.Lines(string(out)) {
			words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
			pkg, module, imports := words[0], words[1], strings.Split(words[2], ",")
			if module != "" {
				modules[module] = true
			}
			if slices.Contains([]string{"plugin", "net/http/pprof"}, pkg) || strings.Contains(pkg, "/blackstart/server") {
				t.Errorf("%s: the agent must not depend on %s", system, pkg)
			}
			if slices.Contains(imports, "os/exec") && pkg != "github.com/blackstart-recovery/blackstart/agent/restore" {
				t.Errorf("%s: %s must not start programs; agent/restore does", system, pkg)
			}
		}
	}
	const golden = "testdata/modules.golden"
	got := strings.Join(slices.Sorted(maps.Keys(modules)), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the agent is linked from other modules than %s allows; if that is meant, run go test -update\ngot:\n%swant:\n%s", golden, got, want)
	}
}
