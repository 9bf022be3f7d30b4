package netboot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var secret = bytes.Repeat([]byte{7}, 32)

// imageDir is a rescue image of a few bytes.
func imageDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{kernelFile, initrdFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// estate is what all quick tests serve.
var estate = []recovery.Host{
	{Name: "web-1", MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:11"}, UUID: "11111111-2222-3333-4444-555555555555"},
	{Name: "web-2", MACs: []string{"52:54:00:00:00:02"}, UUID: "aaaaaaaa-2222-3333-4444-555555555555"},
	{Name: "clone-1", MACs: []string{"52:54:00:00:00:03"}, UUID: "cccccccc-2222-3333-4444-555555555555"},
	{Name: "clone-2", MACs: []string{"52:54:00:00:00:04"}, UUID: "cccccccc-2222-3333-4444-555555555555"},
	{Name: "twin-1", MACs: []string{"52:54:00:00:00:05"}},
	{Name: "twin-2", MACs: []string{"52:54:00:00:00:05"}},
	{Name: "o'brien; reboot", MACs: []string{"52:54:00:00:00:06"}},
}

// world is a Service with a core that a test plays, a clock that it turns, and the log.
type world struct {
	*Service
	t *testing.T

	mu     sync.Mutex
	now    time.Time
	wants  map[string]Boot // by host: what Ask grants, once
	list   []Boot          // what Running says
	asked  []string
	listed int
	log    bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 7, 19, 5, 30, 0, 0, time.UTC), wants: map[string]Boot{}}
	cfg := Config{
		ImageDir: imageDir(t), URL: "http://192.0.2.1:8067", Secret: secret, Hosts: estate, Ask: w.ask, Running: w.running, Now: w.clock,
		Log: hclog.New(&hclog.LoggerOptions{Output: lockedWriter{w}, Level: hclog.Debug}),
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Service = s
	return w
}

type lockedWriter struct{ w *world }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

func (w *world) ask(_ context.Context, host, _ string) (incident, attempt string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, host)
	b, ok := w.wants[host]
	if !ok {
		return "", "", errors.New("no attempt wants it in rescue")
	}
	delete(w.wants, host)
	return b.Incident, b.Attempt, nil
}

func (w *world) running() []Boot {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listed++
	return w.list
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// wantRescue makes the core want a host in rescue, once.
func (w *world) wantRescue(host, attempt string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wants[host] = Boot{Incident: "I1", Attempt: attempt, Host: host}
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// do sends one request to the handler; target is taken as the request line would have it.
func (w *world) do(method, target, body string, header ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.Handler().ServeHTTP(rec, r)
	return rec.Result()
}

func (w *world) get(target string) (status int, body string) {
	w.t.Helper()
	return read(w.t, w.do(http.MethodGet, target, ""))
}

func read(t *testing.T, res *http.Response) (status int, body string) {
	t.Helper()
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all)
}

// booted brings web-1 into its rescue script and returns the path of its files.
func (w *world) booted(attempt string) string {
	w.t.Helper()
	w.wantRescue("web-1", attempt)
	status, script := w.get("/host.ipxe?mac=52-54-00-00-00-01&uuid=")
	_, rest, ok := strings.Cut(script, "kernel http://192.0.2.1:8067")
	path, _, ok2 := strings.Cut(rest, "/vmlinuz")
	if status != http.StatusOK || !ok || !ok2 || !strings.HasPrefix(path, "/rescue/") {
		w.t.Fatalf("no rescue script: %d %s", status, script)
	}
	return path
}

func isLocal(script string) bool {
	return strings.HasPrefix(script, "#!ipxe\n") && strings.Contains(script, "local disk") && strings.Contains(script, "sanboot") && !strings.Contains(script, "/rescue/")
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
