package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/agent"
	"github.com/blackstart-recovery/blackstart/agent/health"
	recoveryplaybooks "github.com/blackstart-recovery/blackstart/recovery-playbooks"
	"github.com/blackstart-recovery/blackstart/server/pki"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"blackstart": func() { os.Exit(run()) }})
}

// TestScripts runs every command as its user does, as a process of its own, against a coordinator that is one too. Beside what
// testscript brings, scripts can say:
//
//	exits N COMMAND…           run it; its exit code must be N
//	until REGEXP COMMAND…      run it again and again until its output matches
//	capture NAME REGEXP        set NAME to the first group of REGEXP in the last output
//	serving                    wait until a coordinator answers at $BLACKSTART_COORDINATOR
//	phonehome HOST             a real agent on a well host calls the coordinator, until the script ends
//	quickplaybook DIR          the built-in edr-content-linux with short waits
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", RequireExplicitExec: true, RequireUniqueNames: true,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:         prepareScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "until": until, "serving": serving, "phonehome": phoneHome, "quickplaybook": quickPlaybook, "capture": capture,
			"machines": machines, "wrote": wrote, "startedonce": startedOnce, "runfolder": runFolder,
		},
	})
}

// scriptPatience bounds every wait of a script.
const scriptPatience = 90 * time.Second

// prepareScript gives a script an address of its own, a key and a folder; nothing of the user's.
func prepareScript(e *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return err
	}
	e.Setenv("GORACE", "atexit_sleep_ms=0") // a binary with the race detector sleeps a second at its end otherwise
	for name, value := range map[string]string{"ADDR": l.Addr().String(), "BLACKSTART_COORDINATOR": l.Addr().String(), "BLACKSTART_DIR": "d", "TZ": "UTC", "SSH_AUTH_SOCK": "", "NO_COLOR": ""} {
		e.Setenv(name, value)
	}
	if err := os.WriteFile(filepath.Join(e.WorkDir, "known_hosts"), nil, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.WorkDir, "id"), pem.EncodeToMemory(block), 0o600)
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s: exit %d, not %d", strings.Join(args[1:], " "), got, want)
	}
	if said := ts.ReadFile("stderr"); want == exitUsage || want == exitFailed || want == exitRefused {
		oneSentence(ts, said)
	}
}

// oneSentence holds what is told about every error: one line (a file that is read may have more, each with its place), no raw RPC error.
func oneSentence(ts *testscript.TestScript, said string) {
	lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	placed := regexp.MustCompile(`\.(yaml|yml|ini|csv|json):\d+:\d+: `)
	if !strings.HasPrefix(lines[len(lines)-1], "blackstart: ") && !placed.MatchString(lines[0]) {
		ts.Fatalf("the error does not begin with the program's name: %q", said)
	}
	if len(lines) > 1 && !placed.MatchString(said) {
		ts.Fatalf("the error is not one sentence: %q", said)
	}
	for _, raw := range []string{"rpc error", "code = ", "desc = ", "goroutine ", "panic"} {
		if strings.Contains(said, raw) {
			ts.Fatalf("the error shows %q: %q", raw, said)
		}
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP COMMAND…")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	tryUntil(ts, "output like "+args[0], func() bool {
		_ = ts.Exec(args[1], args[2:]...)
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

func capture(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("nothing like %s was printed", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func serving(ts *testscript.TestScript, _ bool, _ []string) {
	tryUntil(ts, "a coordinator at "+ts.Getenv("BLACKSTART_COORDINATOR"), func() bool {
		return ts.Exec("blackstart", "incident", "list") == nil
	})
}

func tryUntil(ts *testscript.TestScript, what string, done func() bool) {
	deadline := time.Now().Add(scriptPatience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		if <-tick.C; time.Now().After(deadline) {
			ts.Fatalf("no %s within %s", what, scriptPatience)
		}
	}
}

func phoneHome(ts *testscript.TestScript, _ bool, args []string) {
	dir, host := ts.MkAbs(ts.Getenv("BLACKSTART_DIR")), args[0]
	base := filepath.Join(dir, "agents", host)
	tls, _, err := pki.AgentTLS(filepath.Join(dir, "ca.pem"), base+".pem", base+"-key.pem")
	ts.Check(err)
	root := ts.MkAbs("root-" + host)
	content := filepath.Join(root, "opt", "edr", "content")
	ts.Check(os.MkdirAll(content, 0o755))
	ts.Check(os.WriteFile(filepath.Join(content, "now.bin"), append([]byte{0x45, 0x44, 0x52, 0x43, 1, 0}, bytes.Repeat([]byte{7}, 64)...), 0o644))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Config{Host: host, Coordinators: []string{ts.Getenv("ADDR")}, TLS: tls, Root: root, Version: "test",
			BootID:   func() (string, error) { return "boot-of-" + host, nil },
			BootMode: func() string { return "normal" }, Checks: []health.Check{}, MinBackoff: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond})
	}()
	ts.Defer(func() {
		stop()
		ts.Check(<-ended)
	})
}

func quickPlaybook(ts *testscript.TestScript, _ bool, args []string) {
	const name = "edr-content-linux"
	to := filepath.Join(ts.MkAbs(args[0]), name)
	ts.Check(os.MkdirAll(to, 0o755))
	ts.Check(fs.WalkDir(recoveryplaybooks.FS, name, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(recoveryplaybooks.FS, path)
		if err != nil {
			return err
		}
		if d.Name() == "manifest.yaml" {
			quick := regexp.MustCompile(`(?m)^verify-within: .*$`).ReplaceAll(data, []byte("verify-within: 6s"))
			quick = regexp.MustCompile(`(?m)^soak: .*$`).ReplaceAll(quick, []byte("soak: 1s"))
			if bytes.Equal(quick, data) {
				return fmt.Errorf("%s has no waits to shorten", path)
			}
			data = quick
		}
		return os.WriteFile(filepath.Join(to, d.Name()), data, 0o644)
	}))
}
