package power

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestWhatTheProgramIsTold(t *testing.T) {
	t.Setenv("BOARD_PASSWORD", "out of the environment\n")
	t.Setenv("COORDINATOR_SECRET", "not for programs")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(" p4ss=wörd\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	control := program(t, `echo "$told" > $home/told
tr '\0' '\n' < /proc/$$/environ > $home/environ
tr '\0' '\n' < /proc/$$/cmdline > $home/cmdline
pwd > $home/folder`)
	control.Timeout = time.Minute
	control.Options = map[string]string{"ip": "192.0.2.7", "plug": `"quoted"`, "power-timeout": "9"}
	control.Secrets = map[string]string{"password": "file:" + file, "snmp_priv_passwd": "env:BOARD_PASSWORD"}
	if err := Open(control).Monitor(t.Context()); err != nil {
		t.Fatal(err)
	}

	home := filepath.Dir(control.Program)
	read := func(name string) string {
		content, err := os.ReadFile(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	const told = `action=monitor
ip=192.0.2.7
login_timeout=10
password=" p4ss=wörd""
plug=""quoted""
power-timeout=9
shell_timeout=10
snmp_priv_passwd=out of the environment
`
	if got := read("told"); got != told {
		t.Errorf("told:\n%s\nwant:\n%s", got, told)
	}
	if got, want := read("cmdline"), "/bin/sh\n"+control.Program+"\n"; got != want {
		t.Errorf("command line: %q, want %q", got, want)
	}
	if got := read("folder"); got != "/\n" {
		t.Errorf("it runs in %q", got)
	}
	for line := range strings.Lines(read("environ")) {
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PATH", "HOME", "LC_ALL", "PYTHONWARNINGS"}, name) {
			t.Errorf("it inherits %q", line)
		}
	}
}

func TestOptionsOfFenceIpmilan(t *testing.T) {
	for _, c := range []struct {
		program string
		timeout time.Duration
		options map[string]string
		want    string
	}{
		{"fence_pve", time.Minute, nil, "action=status login_timeout=10 power_timeout=15 shell_timeout=10"},
		{"/opt/fence_idrac", time.Minute, nil, "action=status login_timeout=10 power_timeout=10 power_wait=0 shell_timeout=10 verbose_level=2"},
		{"fence_ilo3", time.Minute, nil, "action=status login_timeout=10 power_timeout=10 shell_timeout=10 verbose_level=2"},
		{"fence_ipmilan", time.Second, map[string]string{"power_wait": "3", "verbose-level": "0"},
			"action=status login_timeout=5 power_timeout=5 power_wait=3 shell_timeout=5 verbose-level=0"},
	} {
		a := Open(recovery.Control{Program: c.program, Timeout: c.timeout, Options: c.options})
		input, _, err := a.input(actionStatus, nil)
		if got := strings.Join(strings.Fields(input), " "); err != nil || got != c.want {
			t.Errorf("%s is told %q (%v), want %q", c.program, got, err, c.want)
		}
	}
}

func TestRefusedBeforeAnythingIsStarted(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	options := func(key, value string) func(*recovery.Control) {
		return func(c *recovery.Control) { c.Options = map[string]string{key: value} }
	}
	secret := func(ref string) func(*recovery.Control) {
		return func(c *recovery.Control) { c.Secrets = map[string]string{"password": ref} }
	}
	for name, c := range map[string]struct {
		change    func(*recovery.Control)
		signature string
	}{
		"line break":       {options("plug", "vm1\naction=on"), "wrong options"},
		"carriage return":  {options("plug", "vm1\raction=on"), "wrong options"},
		"zero byte":        {options("plug", "vm1\x00"), "wrong options"},
		"no UTF-8":         {options("plug", "\xff\xfe"), "wrong options"},
		"odd name":         {options("plug\naction=on", "vm1"), "wrong options"},
		"empty name":       {options("", "vm1"), "wrong options"},
		"equal sign":       {options("a=b", "vm1"), "wrong options"},
		"own action":       {options("action", "on"), "wrong options"},
		"own Action":       {options("Action", "on"), "wrong options"},
		"too long":         {options("plug", strings.Repeat("x", maxInput)), "wrong options"},
		"secret of lines":  {secret(file("lines", "one\ntwo\n")), "wrong options"},
		"secret too long":  {secret(file("long", strings.Repeat("x", maxSecret+1))), "secret missing"},
		"empty secret":     {secret(file("empty", "\n")), "secret missing"},
		"no secret":        {secret("file:" + filepath.Join(dir, "none")), "secret missing"},
		"secret in a pipe": {secret("file:" + pipe), "secret missing"},
		"secret in folder": {secret("file:" + dir), "secret missing"},
		"secret not set":   {secret("env:BLACKSTART_TEST_NOT_SET"), "secret missing"},
		"secret itself":    {secret("hunter2"), "secret missing"},
		"twice": {func(c *recovery.Control) {
			c.Options = map[string]string{"password": "x"}
			c.Secrets = map[string]string{"password": file("twice", "y")}
		}, "wrong options"},
		"no program":       {func(c *recovery.Control) { c.Program = "" }, "program missing"},
		"relative program": {func(c *recovery.Control) { c.Program = "bin/fence_fake" }, "program missing"},
		"unknown program":  {func(c *recovery.Control) { c.Program = "fence_of_nobody" }, "program missing"},
		"folder":           {func(c *recovery.Control) { c.Program = dir }, "program missing"},
	} {
		t.Run(name, func(t *testing.T) {
			control := program(t, "exit 0")
			original := control
			c.change(&control)
			err := Open(control).On(t.Context())
			wantError(t, err, recovery.Failed, c.signature)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is shown: %v", err)
			}
			if got := actions(t, original); got != "" {
				t.Errorf("the program was started for %q", got)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body  string
		state State
		class recovery.Class
		words string // of the signature
	}{
		"on":                         {"echo Status: ON", On, "", ""},
		"on, without a word":         {"exit 0", On, "", ""},
		"off":                        {"echo Status: OFF; exit 2", Off, "", ""},
		"off, without a word":        {"exit 2", Off, "", ""},
		"off, with warnings":         {"echo 'DeprecationWarning: pipes' >&2; echo Status: OFF; exit 2", Off, "", ""},
		"2 of a shell":               {"echo 'fence_fake: 12: Syntax error' >&2; exit 2", Unknown, recovery.Failed, "status contradicts itself"},
		"2, but the words say on":    {"echo Status: ON; exit 2", Unknown, recovery.Failed, "status contradicts itself"},
		"0, but the words say off":   {"echo Status: OFF", Unknown, recovery.Failed, "status contradicts itself"},
		"error":                      {"exit 1", Unknown, recovery.Failed, "exit 1"},
		"error of a kind of its own": {"exit 77", Unknown, recovery.Failed, "exit 77"},
		"killed":                     {"kill -9 $$", Unknown, recovery.Failed, "killed"},
		"garbage":                    {"head -c 100000 /dev/urandom; head -c 100000 /dev/urandom >&2; exit 1", Unknown, recovery.Failed, "exit 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, err := Open(program(t, c.body)).State(t.Context())
			if state != c.state {
				t.Errorf("got %q, want %q", state, c.state)
			}
			if c.class == "" && err != nil {
				t.Error(err)
			}
			if c.class != "" {
				wantError(t, err, c.class, c.words)
			}
		})
	}
}

// The words are those of the real programs.
func TestClasses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		exit      int
		words     string
		class     recovery.Class
		signature string
	}{
		{3, "", recovery.AuthRefused, "login refused"},
		{4, "", recovery.Unreachable, "no answer"},
		{5, "", recovery.Unreachable, "no answer"},
		{8, "", recovery.Failed, "no status"},
		{10, "", recovery.AuthRefused, "no password"},
		{11, "", recovery.AuthRefused, "not enough rights"},
		{12, "", recovery.Failed, "no status"},
		{127, "", recovery.Failed, "tool missing"},
		{2, "", recovery.Failed, "exit 2"},
		{1, "> RAKP 2 HMAC is invalid\nError: Unable to establish IPMI v2 / RMCP+ session\n2026-11-22 03:30:54,456 ERROR: Failed: Unable to obtain correct plug status or plug is not available",
			recovery.AuthRefused, "password refused"},
		{1, "RAKP 2 message indicates an error : unauthorized name\nERROR: Failed: Unable to obtain correct plug status", recovery.AuthRefused, "user refused"},
		{1, "Invalid completion code received: Insufficient privilege level\nSet Chassis Power Control to Up/On failed: Insufficient privilege level\n" +
			"ERROR: Failed: Timed out waiting to power ON", recovery.AuthRefused, "not enough rights"},
		{1, "Invalid completion code received: Insufficient privilege level\nERROR: Failed: Timed out waiting to power ON", recovery.Failed, "no change"},
		{1, "Get Auth Capabilities error\nERROR: Failed: Unable to obtain correct plug status", recovery.Unreachable, "no answer"},
		{1, "Error in open session response message : invalid authentication algorithm\nFailed: Unable to obtain correct plug status", recovery.Failed, "cipher suite refused"},
		{1, "2026-11-22 03:30:57,640 ERROR: Connection timed out", recovery.Unreachable, "no answer"},
		{1, "ERROR: Failed: Unable to obtain correct plug status or plug is not available", recovery.Failed, "no status"},
		{1, "ERROR: Failed: You have to set login password", recovery.AuthRefused, "no password"},
		{1, "ERROR: Failed: The user does not have the correct privileges to do the requested action.", recovery.AuthRefused, "not enough rights"},
		{1, "ERROR: Failed: Unrecognised action 'boot-rescue'", recovery.Failed, "action not known"},
		{1, "ERROR: Failed: Incorrect Access Key or Secret Key.", recovery.AuthRefused, "login refused"},
		{1, "ERROR: Failed: send_get_request: HTTPSConnectionPool(host='192.0.2.1', port=443): Max retries exceeded with url: /redfish/v1 " +
			"(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate')))",
			recovery.Failed, "certificate not trusted"},
		{1, "ERROR: Failed: send_get_request: HTTPSConnectionPool(host='192.0.2.1', port=443): Max retries exceeded with url: /redfish/v1 " +
			"(Caused by NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))", recovery.Unreachable, "no answer"},
		{1, "Failed: Ipmitool not found or not accessible", recovery.Failed, "tool missing"},
		{1, "ModuleNotFoundError: No module named 'boto3'", recovery.Failed, "tool missing"},
	} {
		control := program(t, fmt.Sprintf("cat >&2 <<'END'\n%s\nEND\nexit %d", c.words, c.exit))
		err := Open(control).Monitor(t.Context())
		wantError(t, err, c.class, c.signature)
		if strings.Contains(err.Error(), "2026-11-22") {
			t.Errorf("the time of the program's log is in the detail: %v", err)
		}
	}
}

// The fence agents say the same words of a wrong password and of a device that is not there.
func TestRefusedLoginIsToldFromSilence(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	control := program(t, "echo 'ERROR: Unable to connect/login to fencing device' >&2; exit 1")
	control.Options = map[string]string{"ip": "127.0.0.1", "ipport": port}

	wantError(t, Open(control).Monitor(t.Context()), recovery.AuthRefused, "login refused")
	listener.Close()
	wantError(t, Open(control).Monitor(t.Context()), recovery.Unreachable, "no answer")
	control.Options = nil
	wantError(t, Open(control).Monitor(t.Context()), recovery.AuthRefused, "login refused")
}

func TestReadBack(t *testing.T) {
	t.Parallel()
	const state = "is=$(cat $home/state 2>/dev/null || echo on)\n"
	const answer = "case $action in status) echo Status: $is; [ $is = on ] || exit 2; exit 0;; esac\n"
	for name, c := range map[string]struct {
		body    string
		timeout time.Duration
		class   recovery.Class
		words   string
		actions string // as they begin
	}{
		"obeys":                  {state + answer + "echo $action > $home/state", 0, "", "", "status off status status"},
		"is off already":         {"is=off\n" + answer + "exit 1", 0, "", "", "status status"},
		"takes a while":          {state + "[ $(grep -c status $home/actions) -lt 4 ] || is=off\n" + answer, 0, "", "", "status off status status status status"},
		"does not obey":          {state + answer, 3 * time.Second, recovery.Failed, "off not obeyed", "status off status"},
		"fails and did":          {state + answer + "echo $action > $home/state; exit 1", 0, "", "", "status off status status"},
		"fails and did not":      {state + answer + "exit 9", 0, recovery.Failed, "exit 9", "status off status"},
		"tires of waiting":       {state + "[ $(grep -c status $home/actions) -lt 4 ] || is=off\n" + answer + "exit 7", 0, "", "", "status off status status status status"},
		"refuses us":             {state + answer + "exit 3", 0, recovery.AuthRefused, "login refused", "status off"},
		"refuses us later":       {state + "[ $(grep -c status $home/actions) -lt 3 ] || exit 3\n" + answer, 0, recovery.AuthRefused, "login refused", "status off status status"},
		"is silent for a moment": {state + "case $(grep -c status $home/actions) in 2|3) exit 4;; esac\n" + answer + "echo $action > $home/state", 0, "", "", "status off status status status status"},
		"is silent for good":     {state + "[ $(grep -c status $home/actions) -lt 2 ] || exit 4\n" + answer, 3 * time.Second, recovery.Unreachable, "no answer", "status off status"},
		"changes its mind":       {state + "[ $(($(grep -c status $home/actions) % 2)) = 1 ] || is=off\n" + answer, 3 * time.Second, recovery.Failed, "off does not last", "status off status"},
		"is silent at first":     {"exit 4", 0, recovery.Unreachable, "no answer", "status"},
		"hangs and did":          {state + answer + "echo $action > $home/state; sleep 60", 6 * time.Second, "", "", "status off status status"},
		"hangs and did not":      {state + answer + "sleep 60", 4 * time.Second, recovery.Failed, "off not obeyed", "status off status"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := program(t, c.body)
			if c.timeout != 0 {
				control.Timeout = c.timeout
			}
			begin := time.Now()
			err := Open(control).Off(t.Context())
			if took := time.Since(begin); took > control.Timeout+3*time.Second {
				t.Errorf("it took %s", took)
			}
			switch {
			case c.class != "":
				wantError(t, err, c.class, c.words)
			case err != nil:
				t.Error(err)
			}
			got := actions(t, control)
			if c.timeout != 0 && !strings.HasPrefix(got, c.actions) || c.timeout == 0 && got != c.actions {
				t.Errorf("actions were %q, want %q", got, c.actions)
			}
		})
	}
}

func TestBootTarget(t *testing.T) {
	t.Parallel()
	const board = `case $action in
boot-status) echo some words; cat $home/target 2>/dev/null || echo disk; echo;;
boot-rescue) echo "$told" | grep ^image= >> $home/images; echo rescue > $home/target;;
boot-disk) echo disk > $home/target;;
esac`
	control := program(t, board)
	a := Open(control)
	want := func(want string) {
		t.Helper()
		if got, err := a.BootTarget(t.Context()); err != nil || got != want {
			t.Fatalf("target is %q (%v), want %q", got, err, want)
		}
	}
	want("disk")
	for _, url := range []string{"http://192.0.2.1:8080/one", "http://192.0.2.1:8080/two"} {
		if err := a.BootRescue(t.Context(), url); err != nil {
			t.Fatal(err)
		}
		want("rescue")
	}
	for range 2 {
		if err := a.BootDisk(t.Context()); err != nil {
			t.Fatal(err)
		}
		want("disk")
	}
	images, err := os.ReadFile(filepath.Join(filepath.Dir(control.Program), "images"))
	if got := string(images); err != nil || got != "image=http://192.0.2.1:8080/one\nimage=http://192.0.2.1:8080/two\n" {
		t.Errorf("told of images %q (%v)", got, err)
	}
	if got := strings.Count(actions(t, control), "boot-disk"); got != 1 {
		t.Errorf("boot-disk was done %d times, want once: the second time the disk was the target already", got)
	}
}

func TestBootTargetIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body  string
		act   func(*Agent) error
		words string
	}{
		"keeps rescue":  {"echo rescue", func(a *Agent) error { return a.BootDisk(t.Context()) }, "boot-disk not obeyed"},
		"keeps disk":    {"echo disk", func(a *Agent) error { return a.BootRescue(t.Context(), "") }, "boot-rescue not obeyed"},
		"another word":  {"echo pxe", func(a *Agent) error { _, err := a.BootTarget(t.Context()); return err }, "boot target unknown"},
		"nothing":       {"exit 0", func(a *Agent) error { _, err := a.BootTarget(t.Context()); return err }, "boot target unknown"},
		"error":         {"echo disk; exit 1", func(a *Agent) error { _, err := a.BootTarget(t.Context()); return err }, "exit 1"},
		"line too long": {"head -c 200000 /dev/zero | tr '\\0' x; printf disk", func(a *Agent) error { _, err := a.BootTarget(t.Context()); return err }, "boot target unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := program(t, c.body)
			control.Timeout = 3 * time.Second
			wantError(t, c.act(Open(control)), recovery.Failed, c.words)
		})
	}
}

func TestProgramsThatDoNotEnd(t *testing.T) {
	t.Parallel()
	const note = "echo $$ >> $home/pids\n"
	for name, c := range map[string]struct {
		body  string
		class recovery.Class // "" means that the program's own end counts
		most  time.Duration
	}{
		"hangs":                         {note + "exec sleep 60", recovery.TimedOut, 3 * time.Second},
		"ignores SIGTERM":               {note + "trap '' TERM\nwhile :; do sleep 60; done", recovery.TimedOut, 4 * time.Second},
		"a child ignores SIGTERM":       {note + "sh -c 'trap \"\" TERM; echo $$ >> '$home'/pids; while :; do sleep 60; done'", recovery.TimedOut, 4 * time.Second},
		"a child keeps the pipe":        {"sleep 60 & echo $! >> $home/pids\nexit 0", "", 3 * time.Second},
		"a child of another group":      {"setsid sleep 3 & exit 0", "", 3 * time.Second},
		"writes for ever":               {note + "exec cat /dev/zero", recovery.TimedOut, 4 * time.Second},
		"writes for ever to the other":  {note + "exec yes >&2", recovery.TimedOut, 4 * time.Second},
		"a child hangs behind its back": {"(exec >/dev/null 2>&1 </dev/null; sleep 60) & echo $! >> $home/pids\nexit 0", "", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := program(t, c.body)
			control.Timeout = 2 * time.Second
			if c.class == "" {
				control.Timeout = time.Minute
			}
			begin := time.Now()
			err := Open(control).Monitor(t.Context())
			if took := time.Since(begin); took > c.most+time.Second {
				t.Errorf("it took %s, want at most %s", took, c.most)
			}
			switch {
			case c.class != "":
				wantError(t, err, c.class, "no end")
			case err != nil:
				t.Error(err)
			}
			noneLeft(t, control)
		})
	}
}

// noneLeft waits until the processes that the program noted are gone.
func noneLeft(t *testing.T, control recovery.Control) {
	t.Helper()
	content, _ := os.ReadFile(filepath.Join(filepath.Dir(control.Program), "pids"))
	for _, word := range strings.Fields(string(content)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.After(5 * time.Second); alive(pid); {
			select {
			case <-end:
				t.Fatalf("process %d is still there", pid)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

// alive reports whether a process runs; one that is dead and not yet reaped does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func TestAFloodIsBounded(t *testing.T) {
	t.Parallel()
	control := program(t, "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo 'RAKP 2 HMAC is invalid' >&2; head -c 100000000 /dev/zero >&2; echo >&2; echo the end >&2; exit 1")
	control.Timeout = time.Minute
	err := Open(control).Monitor(t.Context())
	wantError(t, err, recovery.Failed, "exit 1") // the telling words were washed away
	if !strings.Contains(err.Error(), `"the end"`) {
		t.Errorf("the last line is not in %q", err)
	}

	var kept tail
	for range 1000 {
		if n, err := kept.Write(make([]byte, 5000)); n != 5000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if text := kept.text(); text != "" {
		t.Errorf("half a line of %d bytes is told, and could hold half a secret", len(text))
	}
	if size := len(kept.kept); size < keep || size > 2*keep || cap(kept.kept) > 4*keep {
		t.Errorf("%d bytes are kept (room for %d), want %d to %d", size, cap(kept.kept), keep, 2*keep)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const secret = "hun ter/2&'x"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const password = `p=$(echo "$told" | sed -n 's/^password=//p')
`
	for name, body := range map[string]string{
		"plain":             `echo "wrong password $p" >&2`,
		"on standard out":   `echo "Parse error: ignoring password=$p"`,
		"told again":        `echo "$told" >&2`,
		"all on one line":   `echo $told >&2`,
		"with colours":      `printf 'login %s\033[1m%s failed\n' "hun ter/" "2&'x" >&2`,
		"as a boot target":  `[ $action = monitor ] || { printf 'hun ter\033[1m%s\n' "/2&'x"; exit 0; }`,
		"with more blanks":  `echo "hun   ter/2&'x" >&2`,
		"of the web":        `echo "GET /login?p=hun+ter%2F2%26%27x 401" >&2`,
		"of a path":         `echo "GET /hun%20ter%2F2&%27x 401" >&2`,
		"in base64":         `echo "Authorization: $(printf %s "$p" | base64)" >&2`,
		"at the length cut": `echo "$(head -c 150 /dev/zero | tr '\0' a)$p" >&2`,
		"at the buffer cut": `printf %s "$p" >&2; head -c $((2*65536 - 3)) /dev/zero | tr '\0' a >&2`,
		"in quotes":         `echo "ipmitool -P 'hun ter/2&'\"'\"'x' power" >&2`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			control := program(t, password+body+"\nexit 1")
			control.Secrets = map[string]string{"password": "file:" + file}
			err := Open(control).Monitor(t.Context())
			if name == "as a boot target" {
				_, err = Open(control).BootTarget(t.Context())
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range []string{"hun", "ter", "2&", "aHVu", "%20", "%26"} {
				if shown := fmt.Sprintf("%v %+v", err, err); strings.Contains(strings.ReplaceAll(shown, "after", ""), part) {
					t.Errorf("%q of the secret is in %s", part, shown)
				}
			}
			if !strings.Contains(err.Error(), "[secret]") && !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("the detail %q tells nothing", err)
			}
		})
	}
}

func TestACallerGivesUp(t *testing.T) {
	t.Parallel()
	control := program(t, "echo $$ >> $home/pids\ntouch $home/started\nexec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := Open(control).State(ctx); ended <- err }()
	awaitFile(t, control, "started")
	cancel()
	select {
	case err := <-ended:
		wantError(t, err, recovery.Lost, "stopped")
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on without its caller")
	}
	noneLeft(t, control)

	_, err := Open(control).State(ctx)
	wantError(t, err, recovery.Lost, "stopped")
	if got := actions(t, control); got != "status" {
		t.Errorf("started for %q, want nothing after the caller gave up", got)
	}
}

func TestACallerGivesUpWhileItIsReadBack(t *testing.T) {
	t.Parallel()
	control := program(t, "[ $action = status ] && [ $(wc -l < $home/actions) -gt 2 ] && touch $home/reading; exit 0")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Open(control).Off(ctx) }()
	awaitFile(t, control, "reading")
	cancel()
	select {
	case err := <-ended:
		wantError(t, err, recovery.Lost, "stopped")
	case <-time.After(5 * time.Second):
		t.Errorf("it goes on without its caller, and then says %v", <-ended)
	}
}

// awaitFile returns when the program has made the file.
func awaitFile(t *testing.T, control recovery.Control, name string) {
	t.Helper()
	path := filepath.Join(filepath.Dir(control.Program), name)
	for end := time.After(10 * time.Second); ; {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-end:
			t.Fatalf("the program did not make %s", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
