package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestCutRowsFitsALine(t *testing.T) {
	head := table.Row{"HOST", "WAVE", "REASON"}
	rows := []table.Row{{"brt-app01", 2, strings.Repeat("wörter ", 40)}, {"a", 12, "short"}}
	for _, width := range []int{40, 80, 200} {
		for _, r := range cutRows(head, rows, width) {
			if n := 9 + 2 + 4 + 2 + text.StringWidth(r[2].(string)); n > width {
				t.Errorf("at %d columns a row has %d", width, n)
			}
		}
	}
	if cut := cutRows(head, rows, 80)[0][2].(string); !strings.HasSuffix(cut, "…") {
		t.Errorf("what was cut does not say so: %q", cut)
	}
	if cutRows(head, rows, 80)[1][2] != "short" || rows[0][2] == cutRows(head, rows, 40)[0][2] {
		t.Error("only what is too long is cut, and never in the caller's rows")
	}
	if got := cutRows(head, rows, 5)[0][2].(string); text.StringWidth(got) != leastCut {
		t.Errorf("in a very narrow terminal %q is left", got)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 90 * time.Second: "1m30s", 5 * time.Minute: "5m", 4 * time.Hour: "4h", 8*time.Hour + 30*time.Minute: "8h30m", 72 * time.Hour: "3d", 10 * time.Second: "10s"} {
		if got := span(d); got != want {
			t.Errorf("%s is shown as %q, not %q", d, got, want)
		}
	}
}

func TestParseWhen(t *testing.T) {
	london := time.FixedZone("BST", 3600)
	now := time.Date(2024, 7, 19, 6, 30, 0, 0, london)
	for s, want := range map[string]string{
		"2024-07-19T05:30:00+01:00": "2024-07-19T04:30:00Z", "05:30": "2024-07-19T04:30:00Z", "23:00": "2024-07-18T22:00:00Z",
		"2024-07-18 05:30": "2024-07-18T04:30:00Z", "90m": "2024-07-19T04:00:00Z", "0s": "2024-07-19T05:30:00Z",
		"2d": "2024-07-17T05:30:00Z", "0d": "2024-07-19T05:30:00Z", "1d12h": "2024-07-17T17:30:00Z",
	} {
		got, err := parseWhen("began", s, now)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s: %v, %v; want %s", s, got.UTC(), err, want)
		}
	}
	for _, s := range []string{"yesterday", "25:00", "-5m", "2024-07-19", "d", "-2d", "2d-1h", "2d3", "99999999999d"} {
		if _, err := parseWhen("began", s, now); err == nil {
			t.Errorf("%s was taken", s)
		}
	}
}

func TestErrorsBecomeSentences(t *testing.T) {
	o := &options{coordinator: "10.0.0.5:7443"}
	for _, tc := range []struct {
		err  error
		exit int
		says string
	}{
		{errGone, exitFailed, "10.0.0.5:7443: no coordinator answers there"},
		{status.Error(codes.Unavailable, `connection error: desc = "transport: authentication handshake failed: tls: failed to verify certificate: x509: certificate is valid for 127.0.0.1, not 10.0.0.5"`), exitFailed, "init --ip"},
		{status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: remote error: tls: bad certificate"`), exitFailed, "another authority"},
		{status.Error(codes.Unavailable, `connection error: desc = "something new"`), exitFailed, "cannot be reached (something new)"},
		{status.Error(codes.Unavailable, "the coordinator has stopped: start it again"), exitFailed, "the coordinator has stopped: start it again"},
		{status.Error(codes.DeadlineExceeded, "context deadline exceeded"), exitFailed, "did not answer within 30s"},
		{status.Error(codes.Canceled, "context canceled"), exitFailed, "interrupted"},
		{status.Error(codes.Unimplemented, "unknown method X"), exitFailed, "another version"},
		{status.Error(codes.FailedPrecondition, "not now"), exitRefused, "not now"},
		{status.Error(codes.PermissionDenied, "not you"), exitRefused, "not you"},
		{status.Error(codes.NotFound, "no such"), exitUsage, "no such"},
		{errors.New("the disk"), exitFailed, "the disk"},
	} {
		message, exit := end(o.reached(tc.err))
		if exit != tc.exit || !strings.Contains(message, tc.says) || strings.Contains(message, "desc = ") || strings.Contains(message, "rpc error") {
			t.Errorf("%v: exit %d, %q; want %d, %q", tc.err, exit, message, tc.exit, tc.says)
		}
	}
}

func TestQuoted(t *testing.T) {
	for s, want := range map[string]string{"/media/usb/bs": "/media/usb/bs", "my folder": "'my folder'", "it's": `'it'\''s'`, "": "''", "$HOME": "'$HOME'"} {
		if got := quoted(s); got != want {
			t.Errorf("%q is quoted as %s, not %s", s, got, want)
		}
	}
}

func TestBusySpeaksAfterTwoSeconds(t *testing.T) {
	for _, tc := range []struct {
		output string
		work   time.Duration
		says   string
	}{{"table", time.Second, ""}, {"table", 3 * time.Second, "blackstart: reading a large file …\n"}, {"json", 3 * time.Second, ""}} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			c := &cobra.Command{}
			c.SetErr(&said)
			done := (&options{output: tc.output}).busy(c, "reading a large file")
			time.Sleep(tc.work) //nolint:forbidigo // the bubble's clock: no time passes
			synctest.Wait()
			done()
			time.Sleep(time.Minute) //nolint:forbidigo // the same
			synctest.Wait()
			if said.String() != tc.says {
				t.Errorf("-o %s after %s: %q, not %q", tc.output, tc.work, said.String(), tc.says)
			}
		})
	}
}
