//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	certificates(t, dir, "app1")
	host := func(s settings) (string, error) {
		cfg, err := s.config()
		return cfg.Host, err
	}
	if got, err := host(settings{dir: dir}); got != "app1" || err != nil {
		t.Errorf("the certificate's: %q, %v", got, err)
	}
	if got, err := host(settings{dir: dir, host: "app1"}); got != "app1" || err != nil {
		t.Errorf("the same: %q, %v", got, err)
	}
	for _, suffix := range []string{".pem", "-key.pem"} {
		data, err := os.ReadFile(filepath.Join(dir, "app1"+suffix))
		if err != nil {
			t.Fatal(err)
		}
		file(t, filepath.Join(dir, "app2"+suffix), string(data))
	}
	for want, s := range map[string]settings{
		"the certificate of app1, not of app2": {dir: dir, host: "app2"},
		"2 files named HOST-key.pem":           {dir: dir},
		"no such file":                         {dir: dir, host: "app3"},
	} {
		if _, err := host(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(dir, "app2.pem"), string(data))
	if _, err := host(settings{dir: dir, host: "app2"}); err == nil || !strings.Contains(err.Error(), "is no agent's") {
		t.Errorf("a certificate without a host: %v", err)
	}
}
