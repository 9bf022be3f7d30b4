//go:build mutants

package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// How long a mutant may live.
const lifespan = 2 * time.Minute

// TestMutants builds the simulator with one fault at a time and plays until a promise breaks. A mutant that lives is a promise that is
// missing. BLACKSTART_MUTANTS, a regular expression, chooses some.
func TestMutants(t *testing.T) {
	only := regexp.MustCompile(os.Getenv("BLACKSTART_MUTANTS"))
	root := rootOf(t)
	binary, err := build(t, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	sound := runBinary(t, binary, "--for", "20s")
	if len(sound.Broken) > 0 {
		t.Fatalf("without any fault seed %d breaks %s: %s", sound.Broken[0].Seed, sound.Broken[0].Promise, sound.Broken[0].Detail)
	}
	tried := 0
	row := func(args ...any) { t.Logf("%-34s %-30s %-10s %-7s %s", args...) }
	row("MUTANT", "KILLED BY", "INCIDENTS", "SEED", "FAULT")
	for _, m := range mutants {
		if !only.MatchString(m.name) {
			continue
		}
		tried++
		binary, err := build(t, root, &m)
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		a := runBinary(t, binary, "--for", lifespan.String())
		if len(a.Broken) == 0 {
			row(m.name, "nobody", fmt.Sprint(a.Tally.Incidents), "-", m.fault)
			t.Errorf("%s lives", m.name)
			continue
		}
		b := a.Broken[0]
		row(m.name, b.Promise, fmt.Sprint(a.Tally.Incidents), fmt.Sprint(b.Seed), m.fault)
		if !slices.Contains(m.killers, b.Promise) {
			t.Errorf("%s was killed by %s (seed %d: %s), and not by one of %s", m.name, b.Promise, b.Seed, b.Detail, strings.Join(m.killers, ", "))
		}
	}
	if tried == 0 {
		t.Errorf("no mutant's name matches %q", only)
	}
}

type account struct {
	Tally  Tally
	Broken []struct {
		Seed            uint64
		Promise, Detail string
	}
}

func runBinary(t *testing.T, binary string, args ...string) account {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, append(args, "-o", "json")...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var a account
	if err := json.Unmarshal(out, &a); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return a
}

// build builds the simulator from the tree as it is, one file of which is overlaid with the mutant's.
func build(t *testing.T, root string, m *mutant) (string, error) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "blackstart-sim")
	args := []string{"build", "-o", binary}
	if m != nil {
		path, err := overlay(root, dir, *m)
		if err != nil {
			return "", err
		}
		args = append(args, "-overlay", path)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/blackstart-sim")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
}

func overlay(root, dir string, m mutant) (string, error) {
	original, faulty, path := filepath.Join(root, m.file), filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("its text stands %d times in %s: bring it up to date", n, m.file)
	}
	data, err := json.Marshal(map[string]map[string]string{"Replace": {original: faulty}})
	if err != nil {
		return "", err
	}
	return path, errors.Join(
		os.WriteFile(faulty, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600),
		os.WriteFile(path, data, 0o600))
}

func rootOf(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}
