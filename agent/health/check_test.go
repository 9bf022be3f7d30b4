package health

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestChecks(t *testing.T) {
	got := Checks(t.Context(), []Check{
		{"fine", func(context.Context) (string, error) { return "all of it", nil }},
		{"ill", func(context.Context) (string, error) { return "ignored", errors.New(strings.Repeat("x", 4000)) }},
	})
	if got[0] != (Result{"fine", true, "all of it"}) || got[1].OK || got[1].Name != "ill" || len(got[1].Detail) > 600 {
		t.Errorf("%+v", got)
	}
}

func TestCheckHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got := Checks(t.Context(), []Check{{"slow", func(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }}})
		if took := time.Since(began); took != checkLimit || got[0].OK {
			t.Errorf("%v after %v", got, took)
		}
	})
}

func TestFull(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		free, total uint64
		ok          bool
	}{
		{0, 100 * gib, false},
		{gib / 5, 100 * gib, false}, // 1 % is more than 256 MiB, and less than that is left
		{gib / 2, 100 * gib, true},
		{gib / 200, gib, false},
		{gib / 50, gib, true},
		{0, 0, true}, // a file system without blocks, such as overlayfs on a strange host
	} {
		if _, err := judgeSpace(c.free, c.total); (err == nil) != c.ok {
			t.Errorf("%d of %d: %v", c.free, c.total, err)
		}
	}
}

// The machine that runs the tests is well, or it could not run them.
func TestThisMachine(t *testing.T) {
	for _, r := range Checks(t.Context(), System(t.TempDir(), nil, nil)) {
		if !r.OK {
			t.Errorf("%+v", r)
		}
	}
}
