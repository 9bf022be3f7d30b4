package rescue

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnImageIsCheckedAgainstItsManifest(t *testing.T) {
	dir := t.TempDir()
	fails := func(url, want string) {
		t.Helper()
		if _, err := Check(dir, url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want … %s …", err, want)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	fails("", "no such file")
	write(KernelFile, "kernel")
	write(InitrdFile, "")
	fails("", "is empty or no file")
	write(InitrdFile, "initrd")
	if m, err := Check(dir, "http://192.0.2.1:7480"); err != nil || m.URL != "" {
		t.Errorf("an image without a manifest: %+v, %v", m, err)
	}
	m := Manifest{URL: "http://192.0.2.1:7480", Keys: []string{"SHA256:a"}, Files: map[string]File{}}
	for _, name := range []string{KernelFile, InitrdFile} {
		sum, size, err := digestFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		m.Files[name] = File{size, sum}
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(ManifestFile, string(text))
	for _, url := range []string{"", m.URL} {
		if got, err := Check(dir, url); err != nil || got.Keys[0] != "SHA256:a" {
			t.Errorf("%q: %+v, %v", url, got, err)
		}
	}
	fails("http://192.0.2.1:7481", "was built for the coordinator at http://192.0.2.1:7480, not http://192.0.2.1:7481")
	write(InitrdFile, "init")
	fails("", "is not the file that manifest.json names")
	write(ManifestFile, "{")
	fails("", "cannot be read")
}

func TestWhomAnImageLetsIn(t *testing.T) {
	for _, c := range []struct {
		m    Manifest
		keys []string
		want bool
	}{
		{Manifest{Keys: []string{"a", "b"}}, []string{"x", "b"}, true},
		{Manifest{Keys: []string{"a"}}, []string{"x"}, false},
		{Manifest{Keys: []string{"a"}}, nil, false},
		{Manifest{Keys: []string{"a"}, CAs: []string{"c"}}, []string{"x"}, true},
		{Manifest{}, nil, true},
	} {
		if got := c.m.LetsIn(c.keys); got != c.want {
			t.Errorf("%+v lets in %v: %v", c.m, c.keys, got)
		}
	}
}
