package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRescueBuildSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pub")
	if err := os.WriteFile(key, []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm0ivyjhhBRFk9bVmHpqhjaBQCpqnFQTkc6W3EWJKQ0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "needs --out DIR"},
		{[]string{"--out", out}, "needs --url http://IP:PORT"},
		{[]string{"--out", out, "--url", "http://10.0.0.5:7480"}, "needs --ssh-key FILE.pub or --ssh-ca FILE.pub"},
		{[]string{"--out", out, "--url", "http://10.0.0.5:7480", "--ssh-key", filepath.Join(dir, "none.pub")}, "--ssh-key: the SSH public key cannot be read"},
		{[]string{"--out", out, "--url", "http://boot.example:7480", "--ssh-key", key}, "needs it as http://IP:PORT"},
		{[]string{"--out", out, "--url", "http://10.0.0.5:7480", "--ssh-ca", key, "--kernel", "emacs"}, `"emacs" is no Debian kernel package`},
		{[]string{"--out", out, "--url", "http://10.0.0.5:7480", "--ssh-ca", key, "extra"}, "1 argument was given"},
	} {
		root := newRoot()
		var words bytes.Buffer
		root.SetOut(&words)
		root.SetErr(&words)
		root.SetArgs(append([]string{"rescue", "build", "--cache", filepath.Join(dir, "cache")}, c.args...))
		message, exit := end(root.Execute())
		if exit != exitUsage || !strings.Contains(message, c.want) {
			t.Errorf("%q: exit %d, %q; want %q", c.args, exit, message, c.want)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a refused build made the image folder")
	}
}

func TestRescueBuildWithoutAptSaysSo(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key.pub")
	if err := os.WriteFile(key, []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm0ivyjhhBRFk9bVmHpqhjaBQCpqnFQTkc6W3EWJKQ0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	root := newRoot()
	root.SetErr(&bytes.Buffer{})
	root.SetArgs([]string{"rescue", "build", "--out", filepath.Join(dir, "out"), "--url", "http://10.0.0.5:7480", "--ssh-key", key, "--cache", filepath.Join(dir, "cache")})
	message, exit := end(root.Execute())
	if exit != exitFailed || !strings.Contains(message, "there is no apt-get here: build it on a Debian machine") {
		t.Errorf("exit %d, %q", exit, message)
	}
}
