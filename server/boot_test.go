package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server"
	"github.com/blackstart-recovery/blackstart/server/pki"
	"github.com/blackstart-recovery/blackstart/server/playbook"
	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// A host that asks the network boots from its own disk as long as no attempt wants it in rescue.
func TestBootServiceOfTheServer(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"vmlinuz", "initrd"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keyFile, _ := sshKey(t, dir)
	books, err := playbook.Load(recoveryplaybooks.FS)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue(pki.RoleCoordinator, "test", nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- server.Run(ctx, server.Config{Dir: filepath.Join(dir, "data"), TLS: pki.ServerConfig(ca.Pool(), cert), Playbooks: books, Log: hclog.NewNullLogger(),
			Fleet: recovery.Fleet{Hosts: []recovery.Host{{Name: "app01", MACs: []string{"52:54:00:12:34:56"}}}}, SSH: remedy.Config{Keys: []string{keyFile}},
			Boot: &server.Boot{Listener: l, URL: "http://" + l.Addr().String(), ImageDir: dir}, Ready: func() { close(ready) }})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{Proxy: nil}}
	defer client.CloseIdleConnections()
	get := func(path string) string {
		res, err := client.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v", path, res.Status, err)
		}
		return string(body)
	}
	if script := get("/boot.ipxe"); !strings.HasPrefix(script, "#!ipxe") || !strings.Contains(script, "host.ipxe") {
		t.Errorf("%s", script)
	}
	if script := get("/host.ipxe?mac=52-54-00-12-34-56&uuid="); strings.Contains(script, "vmlinuz") || !strings.Contains(script, "local disk") {
		t.Errorf("%s", script)
	}
	if info, err := os.Stat(filepath.Join(dir, "data", server.RescueSecretFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
