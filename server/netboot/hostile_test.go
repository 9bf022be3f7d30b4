package netboot

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestWrongMethodsAreRefusedAndCostNothing(t *testing.T) {
	w := newWorld(t)
	path := w.booted("web-1/1")
	w.wantRescue("web-1", "web-1/2")
	asked := len(w.asked)
	for _, c := range []struct{ method, path string }{
		{"POST", "/boot.ipxe"},
		{"HEAD", "/host.ipxe?mac=525400000001"}, {"POST", "/host.ipxe?mac=525400000001"}, {"OPTIONS", "/host.ipxe?mac=525400000001"},
		{"HEAD", "/seed?mac=525400000001"}, {"POST", "/seed?mac=525400000001"},
		{"PUT", path + "/vmlinuz"}, {"DELETE", path + "/initrd"}, {"POST", path + "/initrd"},
		{"HEAD", path + "/seed"}, {"POST", path + "/seed"},
		{"GET", path + "/hello"}, {"HEAD", path + "/hello"}, {"PUT", path + "/hello"},
	} {
		res := w.do(c.method, c.path, "")
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") == "" {
			t.Errorf("%s %s: %d, Allow %q", c.method, c.path, res.StatusCode, res.Header.Get("Allow"))
		}
	}
	if len(w.asked) != asked || closed(w.Awake("I1", "web-1/1")) {
		t.Errorf("the core was asked for %v", w.asked[asked:])
	}
	if status, _ := w.get(path + "/seed"); status != http.StatusOK {
		t.Errorf("the seed is gone: %d", status)
	}
	for _, p := range []string{"/boot.ipxe", path + "/vmlinuz"} {
		if status, body := read(t, w.do(http.MethodHead, p, "")); status != http.StatusOK && body != "" {
			t.Errorf("HEAD %s: %d %q", p, status, body)
		}
	}
}

func TestPathsAreTakenLiterally(t *testing.T) {
	w := newWorld(t)
	path := w.booted("web-1/1")
	for _, p := range []string{
		"/", "//boot.ipxe", "/boot.ipxe/", "/./boot.ipxe", "/x/../boot.ipxe", "/boot%2eipxe", "/%62oot.ipxe", "/BOOT.IPXE", "/boot.ipxe%00", "/favicon.ico",
		"/rescue", "/rescue/", "/rescue//vmlinuz", "/rescue/x", "/rescue/x/vmlinuz", path, path + "/", path + "//vmlinuz", path + "/vmlinuz/",
		path + "/../../boot.ipxe", path + "/..%2f..%2fmanifest.json", path + "/manifest.json", path + "/rescue.iso", path + "/%76mlinuz", path + "/vmlinuz%00",
		path[:len(path)-1] + "/vmlinuz", path + "A/vmlinuz", strings.ToUpper(path) + "/vmlinuz", path + "%3d/vmlinuz",
		"/rescue/" + strings.Repeat("A", 1500) + "/vmlinuz", "/seed/", "/host.ipxe/x?mac=525400000001",
	} {
		if status, body := w.get(p); status != http.StatusNotFound || strings.Contains(body, "this is") || strings.Contains(body, "ipxe") {
			t.Errorf("%s: %d %q", p, status, body)
		}
	}
	if status, _ := w.get(path + "/vmlinuz?x=y"); status != http.StatusOK {
		t.Errorf("a query harms: %d", status)
	}
}

func TestHugeRequestsAreRefused(t *testing.T) {
	w := newWorld(t)
	path := w.booted("web-1/1")
	if status, _ := w.get("/host.ipxe?mac=" + strings.Repeat("5", maxURI)); status != http.StatusRequestURITooLong {
		t.Errorf("a long query: %d", status)
	}
	if status, script := w.get("/host.ipxe?mac=" + strings.Repeat("5", maxQuery)); status != http.StatusOK || !isLocal(script) {
		t.Errorf("a query of 1 KiB: %d %s", status, script)
	}
	if status, _ := read(t, w.do(http.MethodPost, path+"/hello", strings.Repeat("x", maxHello+1))); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long hello: %d", status)
	}
	if closed(w.Awake("I1", "web-1/1")) {
		t.Error("a hello that was refused counts")
	}
	if status, _ := read(t, w.do(http.MethodPost, path+"/hello", strings.Repeat("x", maxHello))); status != http.StatusOK || !closed(w.Awake("I1", "web-1/1")) {
		t.Errorf("a hello of 64 KiB: %d", status)
	}
	if len(w.Findings("I1", "web-1/1")) > 2*maxLine {
		t.Error("the findings are not cut")
	}
}

func TestRangesOfTheImage(t *testing.T) {
	w := newWorld(t)
	path := w.booted("web-1/1")
	for header, want := range map[string]struct {
		status int
		body   string
	}{
		"bytes=8-10": {http.StatusPartialContent, "vml"}, "bytes=-3": {http.StatusPartialContent, "nuz"}, "bytes=8-": {http.StatusPartialContent, "vmlinuz"},
		"bytes=99-": {http.StatusRequestedRangeNotSatisfiable, ""}, "rubbish": {http.StatusRequestedRangeNotSatisfiable, ""},
		"bytes=" + strings.Repeat("0-,", 500) + "0-": {http.StatusOK, "this is vmlinuz"}, // more than the file is worth: all of it once
	} {
		status, body := read(t, w.do(http.MethodGet, path+"/vmlinuz", "", "Range", header))
		if status != want.status || want.body != "" && body != want.body {
			t.Errorf("%.30s: %d %q", header, status, body)
		}
	}
	status, seed := read(t, w.do(http.MethodGet, path+"/seed", "", "Range", "bytes=0-9"))
	if status != http.StatusOK || len(unpack(t, []byte(seed))) != 3 {
		t.Errorf("a range of the seed: %d, %d bytes", status, len(seed))
	}
}

func TestStrangersCannotFloodTheLog(t *testing.T) {
	w := newWorld(t)
	for i := range 5000 {
		w.get(fmt.Sprintf("/host.ipxe?mac=0200%08x", i))
		w.get("/rescue/guess/vmlinuz")
	}
	lines := strings.Count(w.logged(), "\n")
	if lines < 10 || lines > 2*rationBurst {
		t.Errorf("%d lines", lines)
	}
	w.wait(time.Minute)
	w.get("/host.ipxe?mac=020100000001")
	if !strings.Contains(w.logged(), "02:01:00:00:00:01") || !strings.Contains(w.logged(), "not-shown=49") {
		t.Errorf("what was left out is not told:\n%s", w.logged()[len(w.logged())-400:])
	}
	if n := len(w.seldom.last); n > rationMemory {
		t.Errorf("%d things are remembered", n)
	}
	if w.listed != 1 {
		t.Errorf("guesses ask the core %d times", w.listed)
	}
}

func TestWhatIsLoggedCannotForgeALine(t *testing.T) {
	w := newWorld(t)
	w.get("/host.ipxe?mac=x%0a2026-01-01%20[ERROR]%20forged%1b[31m")
	path := w.booted("web-1/1")
	w.do(http.MethodPost, path+"/hello", "a\n2026-01-01 [ERROR] forged\x1b[31m\u009b31m\x9b")
	for line := range strings.Lines(w.logged()) {
		if strings.HasPrefix(line, "2026-01-01") || strings.ContainsAny(line, "\x1b\u009b") {
			t.Errorf("forged: %q", line)
		}
	}
}

func TestRationCountsCreditOverTime(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRation(func() time.Time { return now })
	allowed := 0
	count := func(n int, thing string) {
		for i := range n {
			if ok, _ := r.allow(fmt.Sprint(thing, i)); ok {
				allowed++
			}
		}
	}
	count(1000, "a")
	if allowed != rationBurst {
		t.Errorf("%d of a burst", allowed)
	}
	now = now.Add(7 * time.Second)
	count(1000, "b")
	if allowed != rationBurst+2 {
		t.Errorf("%d after 7 s", allowed)
	}
	now = now.Add(time.Hour)
	if ok, missed := r.allow("c"); !ok || missed != 998 { // the 960 before them were told with the first b
		t.Errorf("%v, %d missed", ok, missed)
	}
	if ok, _ := r.allow("c"); ok {
		t.Error("the same again at once")
	}
	now = now.Add(rationSame)
	if ok, _ := r.allow("c"); !ok {
		t.Error("not the same again later")
	}
}

func TestRationForgets(t *testing.T) {
	now := time.Unix(0, 0)
	r := newRation(func() time.Time { return now })
	for i := range 2 * rationMemory {
		now = now.Add(rationEvery)
		if ok, _ := r.allow(fmt.Sprint(i)); !ok {
			t.Fatalf("number %d has no credit", i)
		}
		if len(r.last) > rationMemory {
			t.Fatalf("%d things are remembered", len(r.last))
		}
	}
}
