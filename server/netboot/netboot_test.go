package netboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestAWantedHostGetsAllOfItsRescueSystem(t *testing.T) {
	w := newWorld(t)
	awake := w.Awake("I1", "web-1/3")
	path := w.booted("web-1/3")
	for _, name := range []string{"vmlinuz", "initrd", "initrd"} {
		if status, body := w.get(path + "/" + name); status != http.StatusOK || body != "this is "+name {
			t.Errorf("%s: %d %q", name, status, body)
		}
	}
	status, seed := w.get(path + "/seed")
	if status != http.StatusOK {
		t.Fatalf("seed: %d %s", status, seed)
	}
	files := unpack(t, []byte(seed))
	signer, err := ssh.ParsePrivateKey([]byte(files["blackstart/seed/ssh_host_ed25519_key"]))
	if err != nil {
		t.Fatal(err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	if want := w.HostKey("I1", "web-1/3"); public != want || strings.TrimSpace(files["blackstart/seed/ssh_host_ed25519_key.pub"]) != want {
		t.Errorf("host keys differ: %s, %s, want %s", public, files["blackstart/seed/ssh_host_ed25519_key.pub"], want)
	}
	token := strings.TrimPrefix(path, "/rescue/")
	wantEnv := "BLACKSTART_URL='http://192.0.2.1:8067'\nBLACKSTART_TOKEN='" + token + "'\nBLACKSTART_ATTEMPT='web-1/3'\nBLACKSTART_HOST='web-1'\n"
	if env := files["blackstart/seed/env"]; env != wantEnv {
		t.Errorf("env:\n%s\nwant\n%s", env, wantEnv)
	}

	if closed(awake) {
		t.Error("awake before hello")
	}
	said := "volume\t/dev/sda2\tntfs\twindows\tdirty\t/mnt/1\t-\n\x1b[31mred\x1b[0m\x00\n"
	if status, body := read(t, w.do(http.MethodPost, path+"/hello", said)); status != http.StatusOK {
		t.Fatalf("hello: %d %s", status, body)
	}
	if !closed(awake) || !closed(w.Awake("I1", "web-1/3")) {
		t.Error("not awake after hello")
	}
	if closed(w.Awake("I2", "web-1/3")) || closed(w.Awake("I1", "web-1/4")) {
		t.Error("another attempt is awake too")
	}
	if got, want := w.Findings("I1", "web-1/3"), "volume /dev/sda2 ntfs windows dirty /mnt/1 -\nred"; got != want {
		t.Errorf("findings %q, want %q", got, want)
	}
	if status, _ := read(t, w.do(http.MethodPost, path+"/hello", "mended")); status != http.StatusOK || w.Findings("I1", "web-1/3") != "mended" {
		t.Errorf("a second hello: %d, findings %q", status, w.Findings("I1", "web-1/3"))
	}
	if strings.Contains(w.logged(), token) || strings.Contains(w.logged(), "PRIVATE KEY") {
		t.Errorf("the log holds a secret:\n%s", w.logged())
	}
	for _, want := range []string{"boots into the rescue system", "gets its seed", "is up", "web-1/3", "windows dirty", "peer=192.0.2.1"} {
		if !strings.Contains(w.logged(), want) {
			t.Errorf("the log does not say %q:\n%s", want, w.logged())
		}
	}
}

func TestRescueScriptIsOfferedOnceAndOthersGetTheirDisk(t *testing.T) {
	w := newWorld(t)
	w.booted("web-1/1")
	for _, query := range []string{
		"mac=52-54-00-00-00-01",                          // had its script
		"mac=52:54:00:00:00:02&uuid=",                    // not wanted
		"mac=52-54-00-00-00-99&uuid=",                    // unknown
		"mac=&uuid=99999999-2222-3333-4444-555555555555", // unknown
		"mac=&uuid=", "", "mac=rubbish", "uuid=%zz", "mac=52-54-00-00-00-01&mac=52-54-00-00-00-02",
	} {
		if status, script := w.get("/host.ipxe?" + query); status != http.StatusOK || !isLocal(script) {
			t.Errorf("%q: %d %s", query, status, script)
		}
	}
	if got := strings.Join(w.asked, " "); got != "web-1 web-1 web-2" {
		t.Errorf("asked for %s", got)
	}
	if !strings.Contains(w.logged(), "52:54:00:00:00:99") {
		t.Errorf("the unknown machine is not logged:\n%s", w.logged())
	}
}

func TestBootScriptChainsWithTheIdentity(t *testing.T) {
	w := newWorld(t)
	status, script := w.get("/boot.ipxe")
	if status != http.StatusOK || !strings.HasPrefix(script, "#!ipxe\n") ||
		!strings.Contains(script, "chain --autofree http://192.0.2.1:8067/host.ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid} || exit 1\n") {
		t.Errorf("%d %s", status, script)
	}
	if len(w.asked) != 0 {
		t.Error("the static script asks the core")
	}
}

func TestTheReasonForTheLocalDiskCannotSpeakIPXE(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Ask = askErr("held\nshell || ${net0/ip} && chain http://evil/ # `x`")
	})
	_, script := w.get("/host.ipxe?mac=52-54-00-00-00-01")
	if want := "#!ipxe\necho Blackstart: local disk: held shell      net0/ip     chain http://evil/    x\n" + ownDisk; script != want {
		t.Errorf("%q\nwant\n%q", script, want)
	}
	w.wantRescue("o'brien; reboot", "o/1")
	w.cfg.Ask = w.ask
	if _, script := w.get("/host.ipxe?mac=52-54-00-00-00-06"); !strings.Contains(script, "echo Blackstart: rescue system for o brien; reboot\n") {
		t.Errorf("%s", script)
	}
}

func TestSeedIsGivenOnce(t *testing.T) {
	w := newWorld(t)
	path := w.booted("web-1/1")
	var given, refused int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			status, _ := w.get(path + "/seed")
			mu.Lock()
			defer mu.Unlock()
			switch status {
			case http.StatusOK:
				given++
			case http.StatusGone:
				refused++
			}
		})
	}
	wg.Wait()
	if given != 1 || refused != 19 {
		t.Errorf("given %d times, refused %d times", given, refused)
	}
	if status, _ := w.get(path + "/vmlinuz"); status != http.StatusOK {
		t.Errorf("the kernel is refused after the seed: %d", status)
	}
	if n := strings.Count(w.logged(), "asked for and refused"); n != 1 {
		t.Errorf("the refusals are logged %d times:\n%s", n, w.logged())
	}
	other := w.booted("web-1/2")
	if status, _ := w.get(other + "/seed"); status != http.StatusOK || other == path {
		t.Errorf("the next attempt's seed: %d at %s", status, other)
	}
}

func TestSeedByIdentityAsksTheCoreAndCountsAsGiven(t *testing.T) {
	w := newWorld(t)
	if status, _ := w.get("/seed?mac=52:54:00:00:00:01"); status != http.StatusForbidden {
		t.Errorf("not wanted: %d", status)
	}
	w.wantRescue("web-1", "web-1/1")
	status, seed := w.get("/seed?mac=52:54:00:00:00:99&mac=52:54:00:00:00:11&uuid=11111111-2222-3333-4444-555555555555")
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, seed)
	}
	path := "/rescue/" + token(secret, "I1", "web-1/1")
	if env := unpack(t, []byte(seed))["blackstart/seed/env"]; !strings.Contains(env, strings.TrimPrefix(path, "/rescue/")) {
		t.Errorf("env %s", env)
	}
	if status, _ := w.get(path + "/seed"); status != http.StatusGone {
		t.Errorf("the same seed by token: %d", status)
	}
	if status, _ := read(t, w.do(http.MethodPost, path+"/hello", "up")); status != http.StatusOK || !closed(w.Awake("I1", "web-1/1")) {
		t.Errorf("hello: %d", status)
	}
	for query, want := range map[string]int{"mac=52:54:00:00:00:99": http.StatusForbidden, "mac=x": http.StatusBadRequest, "": http.StatusForbidden} {
		if status, _ := w.get("/seed?" + query); status != want {
			t.Errorf("%q: %d, want %d", query, status, want)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Expires = 10 * time.Minute })
	path := w.booted("web-1/1")
	w.list = []Boot{{"I1", "web-1/1", "web-1"}} // an attempt that goes on does not make its token younger
	w.wait(10 * time.Minute)
	if status, _ := w.get(path + "/vmlinuz"); status != http.StatusOK {
		t.Errorf("at the limit: %d", status)
	}
	w.wait(time.Second)
	for _, what := range []string{"vmlinuz", "initrd", "seed"} {
		if status, body := w.get(path + "/" + what); status != http.StatusNotFound || body != noBoot+"\n" {
			t.Errorf("%s after the limit: %d %q", what, status, body)
		}
	}
	if status, _ := read(t, w.do(http.MethodPost, path+"/hello", "late")); status != http.StatusNotFound || closed(w.Awake("I1", "web-1/1")) {
		t.Errorf("hello after the limit: %d", status)
	}
	w.booted("web-1/1") // the core may want the same attempt's host once more
	if status, _ := w.get(path + "/vmlinuz"); status != http.StatusOK {
		t.Errorf("given again: %d", status)
	}
	if !strings.Contains(w.logged(), "expired") {
		t.Errorf("not logged:\n%s", w.logged())
	}
}

func TestARestartedCoordinatorKnowsItsTokens(t *testing.T) {
	before := newWorld(t)
	path := before.booted("web-1/1")
	if status, _ := before.get(path + "/seed"); status != http.StatusOK {
		t.Fatalf("seed: %d", status)
	}

	after := newWorld(t)
	if before.HostKey("I1", "web-1/1") != after.HostKey("I1", "web-1/1") {
		t.Error("another host key after the restart")
	}
	if status, _ := after.get(path + "/vmlinuz"); status != http.StatusNotFound {
		t.Errorf("no attempt is running, and the token is good for %d", status)
	}
	after.list = []Boot{{"I1", "web-2/7", "web-2"}, {"I1", "web-1/1", "web-1"}}
	if status, _ := after.get(path + "/vmlinuz"); status != http.StatusNotFound || after.listed != 1 {
		t.Errorf("the core is asked %d times within a second (%d)", after.listed, status)
	}
	after.wait(time.Second)
	awake := after.Awake("I1", "web-1/1")
	for _, what := range []string{"vmlinuz", "initrd", "seed"} { // the seed once for each process: what the last one gave is not known
		if status, _ := after.get(path + "/" + what); status != http.StatusOK {
			t.Errorf("%s after the restart: %d", what, status)
		}
	}
	if status, _ := after.get(path + "/seed"); status != http.StatusGone {
		t.Errorf("the seed again: %d", status)
	}
	if status, _ := read(t, after.do(http.MethodPost, path+"/hello", "up")); status != http.StatusOK || !closed(awake) {
		t.Errorf("hello after the restart: %d", status)
	}
	if after.listed != 2 {
		t.Errorf("the core was asked %d times", after.listed)
	}
	after.wait(DefaultExpires + time.Second)
	if status, _ := after.get(path + "/vmlinuz"); status != http.StatusNotFound {
		t.Errorf("a token that was taken over does not expire: %d", status)
	}
}

// A stranger's guess must not start the time of tokens that nobody has been given yet.
func TestAWrongTokenStartsNoTokensTime(t *testing.T) {
	w := newWorld(t)
	w.list = []Boot{{"I1", "web-1/1", "web-1"}}
	w.get("/rescue/" + token(secret, "I9", "x") + "/vmlinuz")
	w.wait(DefaultExpires)
	path := w.booted("web-1/1")
	w.wait(time.Minute)
	if status, _ := w.get(path + "/vmlinuz"); status != http.StatusOK {
		t.Errorf("%d", status)
	}
}

func TestSecretsAreDerivedForOneAttemptAlone(t *testing.T) {
	seen := map[string]string{}
	for _, a := range [][2]string{{"I1", "a/1"}, {"I1", "a/2"}, {"I2", "a/1"}, {"I", "1a/1"}} {
		for _, with := range [][]byte{secret, bytes.Repeat([]byte{8}, 32)} {
			for _, made := range []string{token(with, a[0], a[1]), publicLine(hostKey(with, a[0], a[1]))} {
				if before, twice := seen[made]; twice {
					t.Errorf("%v and %s share %s", a, before, made)
				}
				seen[made] = fmt.Sprint(a)
			}
		}
	}
	// The contract: HKDF-SHA256 with the purpose as salt. Computed with another implementation (Python's hmac).
	if got, want := token(secret, "I1", "web-1/1"), goldenToken; got != want {
		t.Errorf("token %s, want %s", got, want)
	}
	if got, want := fmt.Sprintf("%x", hostKey(secret, "I1", "web-1/1").Seed()), goldenSeed; got != want {
		t.Errorf("host key of %s, want of %s", got, want)
	}
}

func TestALostImageMeansTheLocalDiskAndCostsNoAttempt(t *testing.T) {
	w := newWorld(t)
	w.wantRescue("web-1", "web-1/1")
	if err := os.Remove(filepath.Join(w.cfg.ImageDir, initrdFile)); err != nil {
		t.Fatal(err)
	}
	if _, script := w.get("/host.ipxe?mac=52-54-00-00-00-01"); !isLocal(script) || len(w.asked) != 0 {
		t.Errorf("asked for %v: %s", w.asked, script)
	}
	if !strings.Contains(w.logged(), "blackstart rescue build") {
		t.Errorf("the log does not say what to do:\n%s", w.logged())
	}
}

func TestAnAttemptWithoutANameIsRefused(t *testing.T) {
	for _, b := range []Boot{{}, {Incident: "I1"}, {Attempt: "a/1"}, {Incident: "I1", Attempt: "a\x00b"}} {
		w := newWorld(t)
		w.wants["web-1"] = b
		if _, script := w.get("/host.ipxe?mac=52-54-00-00-00-01"); !isLocal(script) {
			t.Errorf("%q: %s", b, script)
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := func() Config {
		return Config{ImageDir: imageDir(t), URL: "http://192.0.2.1:8067/", Secret: secret, Ask: askErr("no")}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	for name, change := range map[string]func(*Config){
		"32":                      func(c *Config) { c.Secret = secret[:31] },
		"Config.Ask":              func(c *Config) { c.Ask = nil },
		"expire":                  func(c *Config) { c.Expires = -1 },
		"blackstart rescue build": func(c *Config) { c.ImageDir = empty },
		"DNS may be down":         func(c *Config) { c.URL = "http://coordinator:8067" },
		"hosts can reach":         func(c *Config) { c.URL = "http://0.0.0.0:8067" },
		"IP:PORT":                 func(c *Config) { c.URL = "http://192.0.2.1:8067/boot?x" },
		"not how hosts":           func(c *Config) { c.URL = "ftp://192.0.2.1" },
		"give http://IP:PORT":     func(c *Config) { c.URL = "http://user:pass@192.0.2.1" },
	} {
		cfg := good()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, url := range []string{"http://192.0.2.1", "https://192.0.2.1:443", "http://[2001:db8::1]:8067"} {
		cfg := good()
		cfg.URL = url
		if _, err := New(cfg); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestOldBootsAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.booted(fmt.Sprintf("web-1/%d", i))
	}
	w.wait(forget + time.Second)
	w.booted("web-1/new")
	if n := len(w.boots.all); n != 1 {
		t.Errorf("%d boots are kept", n)
	}
}

func TestFindingsAreBounded(t *testing.T) {
	got := tidy(strings.Repeat(strings.Repeat("x", 1000)+"\n", 1000))
	if lines := strings.Split(got, "\n"); len(lines) != maxLines || lines[maxLines-1] != "…" || len([]rune(lines[0])) != maxLine+1 {
		t.Errorf("%d lines, the first of %d characters, the last %q", len(lines), len([]rune(lines[0])), lines[len(lines)-1])
	}
}

const (
	goldenToken = "WmoNNd0g9dHZ_zRLioKO6XqFdm3SeMh6G3s-0LVkdzY"
	goldenSeed  = "4ff9d1e57b6a932fa539e6f0f38751ff1f9eaf162dd6782ab0c679f56466c1c3"
)

func askErr(text string) func(context.Context, string, string) (string, string, error) {
	return func(context.Context, string, string) (string, string, error) { return "", "", errors.New(text) }
}
