package netboot

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// The ISO is there for BMCs and hypervisors, who have no token; it holds no secret.
func TestTheISOIsServedWhereThereIsOne(t *testing.T) {
	w := newWorld(t)
	if status, _ := w.get("/rescue.iso"); status != http.StatusNotFound || w.ISO() != "" {
		t.Errorf("without an ISO: %d and %q", status, w.ISO())
	}
	if err := os.WriteFile(filepath.Join(w.cfg.ImageDir, isoFile), []byte("an iso"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, body := w.get("/rescue.iso"); status != http.StatusOK || body != "an iso" || w.ISO() != w.cfg.URL+"/rescue.iso" {
		t.Errorf("%d %q at %q", status, body, w.ISO())
	}
	if r := w.do(http.MethodPost, "/rescue.iso", ""); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST: %d", r.StatusCode)
	}
}
