package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBootFlags(t *testing.T) {
	image, empty := t.TempDir(), t.TempDir()
	for _, name := range []string{"vmlinuz", "initrd"} {
		if err := os.WriteFile(filepath.Join(image, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		boot bootOptions
		url  string // of the service; empty: none
		says string // of the error
	}{
		{bootOptions{}, "", ""},
		{bootOptions{"127.0.0.1:0", "http://10.0.0.5:7480", image}, "http://10.0.0.5:7480", ""},
		{bootOptions{"0.0.0.0:0", "http://[fd00::5]:7480/", image}, "http://[fd00::5]:7480/", ""},
		{bootOptions{"", "http://10.0.0.5:7480", ""}, "", "--boot-listen"},
		{bootOptions{"", "", image}, "", "--boot-listen"},
		{bootOptions{"127.0.0.1:0", "http://10.0.0.5:7480", ""}, "", "rescue build"},
		{bootOptions{"127.0.0.1:0", "http://10.0.0.5:7480", empty}, "", "rescue build"},
		{bootOptions{"0.0.0.0:7480", "", image}, "", "--boot-url"},
		{bootOptions{"127.0.0.1:0", "http://laptop:7480", image}, "", "IP address"},
		{bootOptions{"127.0.0.1:0", "http://0.0.0.0:7480", image}, "", "IP address"},
		{bootOptions{"127.0.0.1:0", "https://10.0.0.5:7480", image}, "", "IP address"},
		{bootOptions{"127.0.0.1:0", "http://10.0.0.5:7480/x", image}, "", "IP address"},
		{bootOptions{"laptop:7480", "http://10.0.0.5:7480", image}, "", "--boot-listen laptop:7480: give an IP address"},
	} {
		boot, err := c.boot.open(&options{dir: t.TempDir()})
		switch {
		case err != nil:
			if _, exit := end(err); c.says == "" || exit != exitUsage || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%+v: %v", c.boot, err)
			}
		case c.says != "" || (boot == nil) != (c.url == ""):
			t.Errorf("%+v: %+v", c.boot, boot)
		case boot != nil:
			if boot.URL != c.url || boot.ImageDir != image || boot.Listener == nil {
				t.Errorf("%+v: %+v", c.boot, boot)
			}
			_ = boot.Listener.Close()
		}
	}
	if boot, err := (bootOptions{"127.0.0.1:47481", "", image}).open(&options{dir: t.TempDir()}); err == nil { // its port may be taken
		if boot.URL != "http://127.0.0.1:47481" {
			t.Errorf("%+v", boot)
		}
		_ = boot.Listener.Close()
	}
}
