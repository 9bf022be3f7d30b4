package journal

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// The test binary starts itself as a coordinator that only appends; childEnv says what it shall do and pathEnv where.
const (
	childEnv = "BLACKSTART_JOURNAL_TEST_CHILD"
	pathEnv  = "BLACKSTART_JOURNAL_TEST_PATH"
)

func child(role string) int {
	if err := runChild(role, os.Getenv(pathEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runChild(role, path string) error {
	if role == "full-disk" {
		if err := limitFileSize(3 * growth); err != nil {
			return err
		}
	}
	j, err := Open(path)
	if err != nil {
		return err
	}
	n, err := j.LastSeq("i")
	if err != nil {
		return err
	}
	for {
		if err = j.Append("i", n, entriesFrom(n+1, n+3)); err != nil {
			break
		}
		n += 3
		if _, err := fmt.Fprintln(os.Stdout, n); err != nil { // what is told is acknowledged
			return err
		}
	}
	return checkRefusal(j, n, err)
}

// checkRefusal looks at a journal whose disk has just refused an append behind entry n.
func checkRefusal(j *Journal, n uint64, err error) error {
	if !errors.Is(err, ErrAppend) || !strings.Contains(err.Error(), j.path) {
		return fmt.Errorf("the refusal is not an ErrAppend with the file's name: %w", err)
	}
	if err := j.Append("i", n, []recovery.Entry{entry(n + 1)}); !errors.Is(err, ErrAppend) {
		return fmt.Errorf("an append after a failed one: %w", err)
	}
	if err := j.SaveSightings([]recovery.Sighting{{Host: "h"}}); !errors.Is(err, ErrAppend) {
		return fmt.Errorf("sightings after a failed append: %w", err)
	}
	if _, err := j.NextEpoch(0); !errors.Is(err, ErrAppend) {
		return fmt.Errorf("an epoch after a failed append: %w", err)
	}
	last := uint64(0)
	if err := j.Read("i", func(e recovery.Entry) error { last = e.Seq; return nil }); err != nil || last != n {
		return fmt.Errorf("entries up to %d of %d can be read after a failed append (%w)", last, n, err)
	}
	return j.Close()
}

func startChild(t *testing.T, role, path string) (*exec.Cmd, *bufio.Scanner, *strings.Builder) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+role, pathEnv+"="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout), &stderr
}

// Whatever was acknowledged before a kill -9 is there afterwards, and the rest is whole or absent.
func TestKilledWhileAppending(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "journal.db")
	acknowledged := uint64(0)
	for range 6 {
		cmd, told, stderr := startChild(t, "append", path)
		for range 1 + rnd.IntN(30) {
			if !told.Scan() {
				t.Fatalf("the child ended by itself: %s", stderr)
			}
			_, _ = fmt.Sscan(told.Text(), &acknowledged)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for told.Scan() { // what it had told before it died counts
			_, _ = fmt.Sscan(told.Text(), &acknowledged)
		}
		_ = cmd.Wait() // killed

		j := reopen(t, path)
		last, err := j.LastSeq("i")
		if err != nil || last < acknowledged || last > acknowledged+3 || last%3 != 0 {
			t.Fatalf("%d acknowledged, %d there, %v", acknowledged, last, err)
		}
		wantEntries(t, j, "i", last)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	j := openTemp(t)
	cmd, told, stderr := startChild(t, "append", j.path)
	if told.Scan() {
		t.Fatal("a second process could append")
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(stderr.String(), "another blackstart has") {
		t.Fatalf("%v: %s", err, stderr)
	}
	mustAppend(t, j, "i", entry(1))
}
