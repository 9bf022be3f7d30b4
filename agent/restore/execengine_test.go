package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// restored is a folder that was restored, and the work that did it.
func restored(t *testing.T, check ...string) (SetWork, string) {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir, map[string]string{"rows": "one\ntwo\nthree\n"})
	return SetWork{Set: Set{Name: "people", Host: "db1", Kind: "files", Engine: "exec", Check: check}, Point: "p1", TakenAt: expectMoment}, dir
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func TestExecEngineCheck(t *testing.T) {
	for _, c := range []struct{ name, script, want, detail string }{
		{"a good one", `test "$(wc -l <rows)" = 3`, "L3 ok check by sh", "exit status 0"},
		{"a good one with words", `echo "CHECKDB found 0 allocation errors"; echo "and 0 consistency errors"; echo "took 3 s" >&2`, "L3 ok check by sh", "and 0 consistency errors"},
		{"a bad one", `echo "page 7"; echo "3 consistency errors"; exit 2`, "L3 failed check by sh", "exit status 2: 3 consistency errors"},
		{"a bad one that says why", `echo "checking"; printf '\033[31mdamaged\033[0m\n' >&2; exit 1`, "L3 failed check by sh", "exit status 1: [31mdamaged[0m"},
		{"a silent one", `exit 5`, "L3 failed check by sh", "exit status 5"},
		{"one that looks round", `test "$BLACKSTART_RESTORED,$BLACKSTART_DATA_SET,$BLACKSTART_HOST,$BLACKSTART_POINT,$BLACKSTART_MOMENT" = "$PWD,people,db1,p1,2026-03-10T12:00:00Z"`, "L3 ok check by sh", "exit status 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := restored(t, sh(c.script)...)
			checks, err := execEngine{}.Check(t.Context(), s, dir, 3)
			if err != nil {
				t.Fatal(err)
			}
			checkedAs(t, checks, c.want)
			if checks[0].Detail != c.detail {
				t.Errorf("it says %q; want %q", checks[0].Detail, c.detail)
			}
		})
	}
}

// What keeps a check from being made says nothing of the point.
func TestExecEngineCheckThatCannotBeMade(t *testing.T) {
	for _, c := range []struct {
		argv      []string
		signature string
	}{
		{[]string{"/nonexistent/program"}, "program cannot be started"},
		{sh(`kill -9 $$`), "check cannot be made"},
		{sh(`sqlcmd-that-is-not-installed`), "check cannot be made"},
		{nil, "nothing to check with"},
	} {
		s, dir := restored(t, c.argv...)
		checks, err := execEngine{}.Check(t.Context(), s, dir, 3)
		isFault(t, conformWorld{}, err, Failed, c.signature)
		if len(checks) > 0 {
			t.Errorf("%q: checked %+v", c.argv, checks)
		}
	}
	s, dir := restored(t, sh(`echo started; sleep 600`)...)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := execEngine{}.Check(ctx, s, dir, 3)
	isFault(t, conformWorld{}, err, TimedOut, signatureTimedOut)
}

func TestExecEngineGoesAsFarAsItIsAsked(t *testing.T) {
	lines := Invariant{Name: "lines", Command: sh(`grep -c . rows`), Expect: "= 3"}
	for _, c := range []struct {
		name  string
		check string
		level int
		want  []string
	}{
		{"to L2", "true", 2, nil},
		{"to L3", "true", 3, []string{"L3 ok check by sh"}},
		{"to L4", "true", 4, []string{"L3 ok check by sh", "L4 ok invariant lines"}},
		{"to L4, and L3 fails", "false", 4, []string{"L3 failed check by sh"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := restored(t, sh(c.check)...)
			s.Set.Invariants = []Invariant{lines}
			checks, err := execEngine{}.Check(t.Context(), s, dir, c.level)
			if err != nil {
				t.Fatal(err)
			}
			checkedAs(t, checks, c.want...)
		})
	}
	s, dir := restored(t, "true")
	s.Set.Invariants = []Invariant{{Name: "sql", SQL: "SELECT 1", Expect: "= 1"}}
	_, err := execEngine{}.Check(t.Context(), s, dir, 4)
	isFault(t, conformWorld{}, err, Failed, "nothing to check with")
}

func TestCommandInvariant(t *testing.T) {
	for _, c := range []struct{ name, script, expect, want, detail string }{
		{"the first line", `echo "812 812"; echo "811 812"`, "equal", "L4 ok invariant i", "the answer is 812 | 812"},
		{"after an empty one", `echo; echo "  7  "`, "= 7", "L4 ok invariant i", "the answer is 7"},
		{"a time in two words", `echo "2026-03-10 11:30:00"`, "within 1h", "L4 ok invariant i", "the answer is 2026-03-10 | 11:30:00: the data is of 2026-03-10T12:00:00Z"},
		{"not as expected", `echo 2`, ">= 3", "L4 failed invariant i", "the answer is 2; expected >= 3"},
		{"no answer", `exit 0`, "= 0", "L4 failed invariant i", "there is no answer, not one row; expected = 0"},
		{"an answer that ends badly", `echo 3; echo "lost a page" >&2; exit 1`, "= 3", "L4 failed invariant i", "exit status 1: lost a page"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, dir := restored(t)
			got, err := commandInvariant(t.Context(), s, dir, Invariant{Name: "i", Command: sh(c.script), Expect: c.expect})
			if err != nil {
				t.Fatal(err)
			}
			checkedAs(t, []Check{got}, c.want)
			if got.Detail != c.detail {
				t.Errorf("it says %q; want %q", got.Detail, c.detail)
			}
		})
	}
	s, dir := restored(t)
	for _, inv := range []Invariant{{Name: "i", Command: sh("echo 3"), Expect: "three"}, {Name: "i", Command: sh("echo 3"), Expect: "equal"}, {Name: "i", Command: sh("kill -9 $$"), Expect: "= 3"}} {
		_, err := commandInvariant(t.Context(), s, dir, inv)
		isFault(t, conformWorld{}, err, Failed, "check cannot be made")
	}
	var fault *Fault
	if _, err := commandInvariant(t.Context(), s, dir, Invariant{Name: "i", Command: sh("exit 127"), Expect: "= 3"}); !errors.As(err, &fault) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// What was restored may be a single file; its folder is where programs run.
func TestCommandOnAFile(t *testing.T) {
	s, dir := restored(t)
	file := filepath.Join(dir, "rows")
	got, err := commandInvariant(t.Context(), s, file, Invariant{Name: "i", Command: sh(`test "$PWD" = "${BLACKSTART_RESTORED%/rows}" && wc -l <"$BLACKSTART_RESTORED"`), Expect: "= 3"})
	if err != nil || !got.OK {
		t.Errorf("%+v, %v", got, err)
	}
	if text, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(text), "one") {
		t.Errorf("the file is %q, %v", text, err)
	}
}
