package power

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// The documentation's table of errors holds what the code can say, and nothing else.
func TestTheDocumentedErrors(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/power.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\S+)` \\| ([^`|]+) \\| *([\\d, ]*?|any other) *\\| .+ \\|$").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, strings.TrimSpace(row[1]+" | "+row[2]+" | "+row[3]))
	}
	said := saidInCode(t)
	for _, row := range documented {
		if !slices.Contains(said, row) {
			t.Errorf("documented, and never said: %s", row)
		}
	}
	for _, row := range said {
		if !slices.Contains(documented, row) {
			t.Errorf("said, and not documented: %s", row)
		}
	}
}

// saidInCode are class, signature and exit statuses of every error, from the tables and from the calls that make one.
func saidInCode(t *testing.T) []string {
	t.Helper()
	statuses := map[string][]int{} // of class and signature
	for _, known := range phrases {
		statuses[string(known.meaning.class)+" | "+known.meaning.signature] = nil
	}
	for exit, m := range exits {
		key := string(m.class) + " | " + m.signature
		statuses[key] = append(statuses[key], exit)
	}
	classes := map[string]recovery.Class{"Failed": recovery.Failed, "TimedOut": recovery.TimedOut, "Lost": recovery.Lost}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range regexp.MustCompile(`recovery\.(\w+), (c\.action\+)?"([^"]+)"`).FindAllStringSubmatch(string(source), -1) {
			actions := []string{""}
			if call[2] != "" {
				actions = []string{actionOn, actionOff, actionBootRescue, actionBootDisk}
			}
			for _, action := range actions {
				statuses[string(classes[call[1]])+" | "+action+call[3]] = nil
			}
		}
	}
	said := []string{"failed | killed |", "failed | exit N | any other"}
	for key, list := range statuses {
		slices.Sort(list)
		words := make([]string, len(list))
		for i, exit := range list {
			words[i] = strconv.Itoa(exit)
		}
		said = append(said, strings.TrimSpace(key+" | "+strings.Join(words, ", ")))
	}
	return said
}
