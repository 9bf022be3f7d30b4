package redfish

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

func TestFaultsHaveTheirClass(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was sent elsewhere, with %v", r.Method, r.URL, r.Header)
	}))
	t.Cleanup(elsewhere.Close)
	for name, scene := range map[string]struct {
		quirks           quirks
		class            recovery.Class
		signature, words string
	}{
		"garbage":            {quirks{garbage: true}, recovery.Failed, "answer not understood", "something that is not Redfish"},
		"ten megabytes":      {quirks{huge: true}, recovery.Failed, "answer too large", "more than 1048576 bytes"},
		"no answer":          {quirks{hang: true}, recovery.TimedOut, "no answer in time", "does not answer in time"},
		"the line goes dead": {quirks{drop: true}, recovery.Unreachable, "connection broken", "broke"},
		"401 after login":    {quirks{status: 401}, recovery.AuthRefused, "login refused", `does not accept the user "blackstart"`},
		"403":                {quirks{status: 403}, recovery.AuthRefused, "not allowed", "saying “There are insufficient privileges"},
		"404":                {quirks{status: 404}, recovery.Failed, "BMC answers 404: InsufficientPrivilege", "refuses reading with status 404"},
		"500":                {quirks{status: 500}, recovery.Failed, "BMC answers 500: InsufficientPrivilege", "status 500"},
		"503 for ever":       {quirks{busy: 1 << 20}, recovery.Failed, "BMC busy", "has no time for reading"},
		"echoes the secret":  {quirks{status: 403, echo: true}, recovery.AuthRefused, "not allowed", "(…)"},
		"sent elsewhere":     {quirks{redirect: elsewhere.URL + "/redfish/v1/Systems"}, recovery.Failed, "redirected elsewhere", "sends us to another address"},
		"sent round":         {quirks{redirect: "/redfish/v1/Systems"}, recovery.Failed, "redirected elsewhere", ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, scene.quirks)
			c := b.client()
			if scene.quirks.hang {
				c.pace.request = 300 * time.Millisecond
			}
			want(t, c.On(t.Context()), scene.class, scene.signature, scene.words)
			b.left(t)
		})
	}
}

func TestWrongPasswordIsTriedOnce(t *testing.T) {
	for name, q := range map[string]quirks{"session": {}, "basic": {basicOnly: true}} {
		t.Run(name, func(t *testing.T) {
			b := startBMC(t, q)
			control := b.control()
			file := filepath.Join(t.TempDir(), "password")
			good(t, os.WriteFile(file, []byte("wrong"), 0o600))
			control.Secrets["password"] = "file:" + file
			c, err := Open(control)
			good(t, err)
			tries := 0
			b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost || r.Header.Get("Authorization") != "" {
					tries++
				}
				b.ServeHTTP(w, r)
			})
			want(t, c.On(t.Context()), recovery.AuthRefused, "login refused", `does not accept the user "blackstart"`)
			if tries != 1 {
				t.Errorf("the password was tried %d times; each counts towards a lockout", tries)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	b := startBMC(t, quirks{})
	// The one that is known, however it is written.
	spaced := strings.ToUpper(b.fingerprint()[:2]) + ":" + b.fingerprint()[2:]
	for _, more := range [][]string{
		{}, {"fingerprint", "SHA256:" + spaced}, {"fingerprint", "", "ca", b.pem()}, {"fingerprint", "", "insecure", "1"}, {"fingerprint", "", "ca", b.pem(), "name", "example.com"},
	} {
		if _, err := b.client(more...).State(t.Context()); err != nil {
			t.Errorf("%v: %v", more, err)
		}
	}
	// Another one.
	for words, more := range map[string][]string{
		"fingerprint " + b.fingerprint() + ", which is not": {"fingerprint", strings.Repeat("00", 32)},
		"not example.net":                         {"fingerprint", "", "ca", b.pem(), "name", "example.net"},
		"certificate signed by unknown authority": {"fingerprint", ""},
	} {
		_, err := b.client(more...).State(t.Context())
		want(t, err, recovery.HostKeyMismatch, "wrong certificate", words)
	}
	if len(b.sessions) != 0 || b.number != 5 {
		t.Errorf("a password was sent to a BMC that was not recognised: %d sessions", b.number)
	}
}

func TestNobodyThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	good(t, err)
	address := listener.Addr().String()
	b := startBMC(t, quirks{})
	// Somebody who accepts and says nothing.
	c := b.client("url", "https://"+address)
	c.timeout = 500 * time.Millisecond
	want(t, c.On(t.Context()), recovery.TimedOut, "no answer in time", "does not answer in time")
	// Nobody at all.
	good(t, listener.Close())
	want(t, c.On(t.Context()), recovery.Unreachable, "no connection", "takes no connection: connection refused")
	// Somebody who speaks another protocol.
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	want(t, b.client("url", "https://"+plain.Listener.Addr().String()).On(t.Context()), recovery.Failed, "no TLS", "does not speak TLS")
	// A web server that is none of ours.
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"hello": "world"}`)) }))
	t.Cleanup(web.Close)
	want(t, b.client("url", web.URL).On(t.Context()), recovery.Failed, "no Redfish service", "no Redfish service that knows systems")
}

func TestProxiesOfTheEnvironmentAreNotAsked(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://192.0.2.1:1")
	t.Setenv("ALL_PROXY", "http://192.0.2.1:1")
	b := startBMC(t, quirks{})
	if transport := newTransport(b.client().tls); transport.Proxy != nil {
		t.Error("the transport asks for a proxy")
	}
	good(t, b.client().Monitor(t.Context()))
}

func TestACallThatIsStoppedSaysWhetherItHadBegun(t *testing.T) {
	b := startBMC(t, quirks{hang: true})
	ctx, stop := context.WithCancel(t.Context())
	stop()
	want(t, b.client().On(ctx), recovery.Cancelled, "stopped", "before the BMC")
	b = startBMC(t, quirks{deaf: true})
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, "Reset") {
			stop()
		}
	})
	want(t, b.client().On(ctx), recovery.Lost, "stopped", "while the BMC")
	b.left(t)
}

func TestBrokenLinksAreNotFollowed(t *testing.T) {
	v := &visit{Client: &Client{where: "192.0.2.1"}}
	for _, text := range []string{"", "Systems", "://", "mailto:a@b", "https://192.0.2.9", "%zz"} {
		if path, err := v.local(text); err == nil {
			t.Errorf("%q became %q", text, path)
		}
	}
	for text, wanted := range map[string]string{
		"/redfish/v1/Systems/1":              "/redfish/v1/Systems/1",
		"https://far.example.net/redfish/v1": "/redfish/v1",
		"/a?$skip=1#/b":                      "/a?$skip=1",
		"//far.example.net/x":                "/x",
	} {
		if path, err := v.local(text); path != wanted || err != nil {
			t.Errorf("%q became %q, %v", text, path, err)
		}
	}
}
