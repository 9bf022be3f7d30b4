package remedy

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

var update = flag.Bool("update", false, "write class, signature and words in docs/ssh-servers.md anew")

// docsTable is the table that people read. Its rows and the cases of the tests are the same set.
const docsTable = "../../docs/ssh-servers.md"

// row is one line of the table: what a server does and how an attempt on it ends.
type row struct{ does, class, signature, says, todo string }

func (r row) String() string {
	return fmt.Sprintf("| %s | %s | %s | %s | %s |", r.does, r.class, r.signature, r.says, r.todo)
}

var classCell = regexp.MustCompile("^`[a-z-]+`$")

// docsRows returns the rows of the document's tables that have a class in the second of five columns.
func docsRows(t *testing.T) map[string]row {
	t.Helper()
	text, err := os.ReadFile(docsTable)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]row{}
	for line := range strings.Lines(string(text)) {
		if r, ok := parseRow(line); ok {
			if _, twice := rows[r.does]; twice {
				t.Errorf("%s has %q twice", docsTable, r.does)
			}
			rows[r.does] = r
		}
	}
	return rows
}

func parseRow(line string) (row, bool) {
	cells := strings.Split(strings.TrimSpace(line), " | ")
	if len(cells) != 5 || !classCell.MatchString(cells[1]) {
		return row{}, false
	}
	return row{strings.TrimPrefix(cells[0], "| "), cells[1], cells[2], cells[3], strings.TrimSuffix(cells[4], " |")}, true
}

var fingerprint = regexp.MustCompile(`SHA256:[A-Za-z0-9+/]{43}`)

// rowOf is what the table ought to say of a result.
func rowOf(does string, res recovery.Result) row {
	r := row{does: does, class: "`" + string(res.Class) + "`", signature: res.Signature, says: fingerprint.ReplaceAllString(res.Detail, "SHA256:…")}
	if res.Class == recovery.Succeeded {
		r.signature, r.says = "–", "–"
	}
	r.says = strings.ReplaceAll(r.says, "|", `\|`)
	return r
}

// compareWithDocs fails if the table says something else than what happened; with -update it is corrected.
func compareWithDocs(t *testing.T, got []row) {
	t.Helper()
	rows := docsRows(t)
	for _, r := range got {
		if r.does == "" {
			continue // not run this time
		}
		in, ok := rows[r.does]
		r.todo = in.todo
		switch {
		case !ok:
			t.Errorf("%s has no row for it; add\n%s", docsTable, r)
		case in.todo == "":
			t.Errorf("%s does not say what to do: %s", docsTable, in)
		case *update:
			text, err := os.ReadFile(docsTable)
			if err == nil {
				err = os.WriteFile(docsTable, bytes.Replace(text, []byte(in.String()), []byte(r.String()), 1), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		case in != r:
			t.Errorf("%s is out of step; it has\n%s\nand should have\n%s", docsTable, in, r)
		}
	}
}

// saneResult holds for every end: one sentence for people, nothing raw for a terminal, a signature that groups hosts.
func saneResult(t *testing.T, res recovery.Result) {
	t.Helper()
	if res.Detail == "" || len(res.Detail) > 700 || res.Detail != recovery.Clean(res.Detail, 1000) || strings.ContainsAny(res.Signature, "0123456789") {
		t.Errorf("%+v", res)
	}
	if res.Class != recovery.Succeeded && (res.Signature == "" || !strings.HasSuffix(res.Detail, ".")) {
		t.Errorf("%+v", res)
	}
}

// hostile is a server that no real sshd can be made to be.
type hostile struct {
	does      string
	class     recovery.Class
	signature string
	serve     func(h *hostileHost, conn net.Conn)
	key       func(ssh.Signer) ssh.Signer // what the server shows instead of the key that is known
	says      string                      // part of the sentence
	ran       int
	rsa       bool // the known key is one
	waits     bool // a deadline is what ends it
}

type hostileHost struct {
	*machine
	sent  atomic.Int64 // bytes of a flood that the kernel took
	asked atomic.Int32 // questions
}

// flood writes one piece again and again until the client has gone.
func (h *hostileHost) flood(conn io.Writer, piece []byte) {
	for {
		n, err := conn.Write(piece)
		h.sent.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func (h *hostileHost) sshd(conn net.Conn, config *ssh.ServerConfig) {
	config.AddHostKey(h.key)
	if c, chans, reqs, err := ssh.NewServerConn(conn, config); err == nil {
		go ssh.DiscardRequests(reqs)
		for nc := range chans {
			_ = nc.Reject(ssh.Prohibited, "")
		}
		_ = c.Close()
	}
}

// bannersFirst is a machine that lets us in, but has something to say before.
func (h *hostileHost) bannersFirst(conn net.Conn, say func(ssh.ServerPreAuthConn)) {
	h.machine.preAuth = say
	h.machine.serve(conn)
}

// takes accepts our key, after it has done something.
func (h *hostileHost) takes(first func(c ssh.ConnMetadata)) *ssh.ServerConfig {
	return &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, _ ssh.PublicKey) (*ssh.Permissions, error) {
		first(c)
		return nil, nil
	}}
}

// questions is a keyboard-interactive dialogue that never ends by itself.
func (h *hostileHost) questions(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	for {
		h.asked.Add(1)
		if _, err := ask("", "", slices.Repeat([]string{"Password: "}, 1000), make([]bool, 1000)); err != nil {
			return nil, err
		}
	}
}

// packet is an SSH packet before the first key exchange.
func packet(payload []byte) []byte {
	padding := 8 - (5+len(payload))%8 + 8
	out := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	out = append(append(out, byte(padding)), payload...)
	return append(out, make([]byte, padding)...)
}

func kexInit(hostKeys string) []byte {
	ciphers, macs := []string{"aes128-ctr"}, []string{"hmac-sha2-256"}
	return packet(ssh.Marshal(struct {
		Cookie                        [16]byte `sshtype:"20"`
		Kex, HostKeys                 []string
		CiphersIn, CiphersOut         []string
		MACsIn, MACsOut               []string
		CompressionIn, CompressionOut []string
		LanguagesIn, LanguagesOut     []string
		First                         bool
		Reserved                      uint32
	}{
		Kex: []string{"curve25519-sha256"}, HostKeys: []string{hostKeys}, CiphersIn: ciphers, CiphersOut: ciphers, MACsIn: macs, MACsOut: macs,
		CompressionIn: []string{"none"}, CompressionOut: []string{"none"},
	}))
}

// oddKey shows another public key than it signs with, or signs with rubbish.
type oddKey struct {
	ssh.Signer
	format  string // of the signature and for the negotiation
	blob    []byte
	rubbish bool
}

func (k *oddKey) PublicKey() ssh.PublicKey { return k }
func (k *oddKey) Type() string             { return k.format }
func (k *oddKey) Marshal() []byte {
	if k.blob != nil {
		return k.blob
	}
	return k.Signer.PublicKey().Marshal()
}
func (k *oddKey) Verify([]byte, *ssh.Signature) error { return nil }
func (k *oddKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(nil, data, "")
}

func (k *oddKey) SignWithAlgorithm(_ io.Reader, data []byte, _ string) (*ssh.Signature, error) {
	if k.rubbish {
		return &ssh.Signature{Format: k.format, Blob: make([]byte, 64)}, nil
	}
	return k.Signer.Sign(rand.Reader, data)
}

func (k *oddKey) Algorithms() []string { return []string{k.format} }

const (
	someIdent = "SSH-2.0-OpenSSH_9.2\r\n"
	redBell   = "\x1b[31m\a"
)

var scripted = []hostile{
	{does: "accepts and says nothing", class: recovery.Unreachable, waits: true, signature: "silent after connecting", serve: func(_ *hostileHost, c net.Conn) { drain(c) }},
	{does: "closes at once", class: recovery.Unreachable, signature: "closed before the banner", serve: func(*hostileHost, net.Conn) {}},
	{does: "says why and closes (TCP wrappers, a firewall's words)", class: recovery.Unreachable, signature: "closed before the banner", says: "saying “go away”",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, redBell+"go away\r\n") }},
	{does: "turns us away: PerSourcePenalties or MaxStartups of OpenSSH 9.8 and later", class: recovery.Unreachable, signature: "too many logins at once",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, "Not allowed at this time\r\n") }},
	{does: "closes after its SSH banner", class: recovery.Unreachable, signature: "dropped in the handshake",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, someIdent) }},
	{does: "stalls after its SSH banner", class: recovery.Unreachable, waits: true, signature: "stalled in the handshake",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, someIdent); drain(c) }},
	{does: "sends a megabyte of lines before its SSH banner", class: recovery.Succeeded, ran: 1,
		serve: func(h *hostileHost, c net.Conn) {
			_, _ = c.Write(bytes.Repeat([]byte("welcome to the estate\r\n"), 1<<20/23))
			_, _ = c.Write(append(bytes.Repeat([]byte("-"), 20*512), "SSH-not at the start of a line\r\n"...))
			h.machine.serve(c)
		}},
	{does: "sends lines without end before its SSH banner", class: recovery.Unreachable, signature: "not an SSH server", says: "saying “welcome”",
		serve: func(h *hostileHost, c net.Conn) { h.flood(c, bytes.Repeat([]byte("welcome\r\n"), 1000)) }},
	{does: "sends bytes without end and without a line", class: recovery.Unreachable, signature: "not an SSH server",
		serve: func(h *hostileHost, c net.Conn) { h.flood(c, make([]byte, 1<<16)) }},
	{does: "is another kind of server (mail, web)", class: recovery.Unreachable, waits: true, signature: "not an SSH server", says: "saying “220 mail ESMTP”",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, "220 mail ESMTP\r\n"); drain(c) }},
	{does: "speaks SSH version 1 only", class: recovery.Failed, signature: "SSH version one",
		serve: func(_ *hostileHost, c net.Conn) { _, _ = io.WriteString(c, "SSH-1.5-1.2.27\n"); drain(c) }},
	{does: "sends packets without end before the key exchange is done", class: recovery.Failed, signature: "too much before the login",
		serve: func(h *hostileHost, c net.Conn) {
			go drain(c)
			_, _ = c.Write(append([]byte(someIdent), kexInit(ssh.KeyAlgoED25519)...))
			h.flood(c, packet(append([]byte{2}, ssh.Marshal(struct{ Data []byte }{make([]byte, 30_000)})...)))
		}},
	{does: "shows the key that is known but cannot sign with it", class: recovery.HostKeyMismatch, signature: "bad host key",
		key:   func(s ssh.Signer) ssh.Signer { return &oddKey{Signer: s, format: ssh.KeyAlgoED25519, rubbish: true} },
		serve: func(h *hostileHost, c net.Conn) { h.machine.serve(c) }},
	{does: "shows a host key of an unknown type", class: recovery.HostKeyMismatch, signature: "bad host key", says: "unknown key algorithm",
		key: func(s ssh.Signer) ssh.Signer {
			blob := ssh.Marshal(struct{ Name, Key string }{"ssh-foo" + redBell, "key"})
			return &oddKey{Signer: s, format: ssh.KeyAlgoED25519, blob: blob, rubbish: true}
		},
		serve: func(h *hostileHost, c net.Conn) { h.machine.serve(c) }},
	{does: "shows an RSA host key of 16 KB", class: recovery.HostKeyMismatch, signature: "bad host key", says: "rsa modulus too large", rsa: true,
		key: func(s ssh.Signer) ssh.Signer {
			n := bytes.Repeat([]byte{0x7f}, 16<<10)
			return &oddKey{Signer: s, format: ssh.KeyAlgoRSASHA512, blob: ssh.Marshal(struct {
				Name string
				E, N []byte
			}{ssh.KeyAlgoRSA, []byte{1, 0, 1}, n}), rubbish: true}
		},
		serve: func(h *hostileHost, c net.Conn) { h.machine.serve(c) }},
	{does: "sends a megabyte of login banner in pieces", class: recovery.Succeeded, ran: 1,
		serve: func(h *hostileHost, c net.Conn) {
			h.bannersFirst(c, func(pre ssh.ServerPreAuthConn) {
				for range 64 {
					_ = pre.SendAuthBanner(strings.Repeat("welcome\r\n"+redBell, 1<<10))
				}
			})
		}},
	{does: "sends login banners without end", class: recovery.Failed, signature: "too much before the login",
		serve: func(h *hostileHost, c net.Conn) {
			h.bannersFirst(c, func(pre ssh.ServerPreAuthConn) {
				text := strings.Repeat("welcome\r\n", 3000)
				for pre.SendAuthBanner(text) == nil {
					h.sent.Add(int64(len(text)))
				}
			})
		}},
	{does: "never ends the authentication", class: recovery.Unreachable, waits: true, signature: "stalled in authentication",
		serve: func(h *hostileHost, c net.Conn) {
			h.sshd(c, h.takes(func(ssh.ConnMetadata) { drain(c) }))
		}},
	{does: "asks a thousand questions again and again (keyboard-interactive)", class: recovery.AuthRefused, signature: "keys not taken", says: "only keyboard-interactive",
		serve: func(h *hostileHost, c net.Conn) {
			h.sshd(c, &ssh.ServerConfig{KeyboardInteractiveCallback: h.questions})
		}},
	{does: "takes our key and then asks a thousand questions", class: recovery.AuthRefused, signature: "second factor wanted",
		serve: func(h *hostileHost, c net.Conn) {
			h.sshd(c, &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, &ssh.PartialSuccessError{Next: ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: h.questions}}
			}})
		}},
	{does: "knows none of our keys", class: recovery.AuthRefused, signature: "no key accepted",
		serve: func(h *hostileHost, c net.Conn) {
			h.sshd(c, &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
				return nil, errors.New("a stranger")
			}})
		}},
	{does: "drops us when it looks for our key", class: recovery.Unreachable, signature: "dropped in authentication",
		serve: func(h *hostileHost, c net.Conn) {
			h.sshd(c, h.takes(func(ssh.ConnMetadata) { _ = c.Close() }))
		}},
}

func TestAsFoundScripted(t *testing.T) {
	rows := make([]row, len(scripted))
	t.Run("servers", func(t *testing.T) {
		for n, c := range scripted {
			t.Run(c.does, func(t *testing.T) {
				t.Parallel()
				res := c.run(t)
				saneResult(t, res)
				rows[n] = rowOf(c.does, res)
			})
		}
	})
	if !t.Failed() {
		compareWithDocs(t, rows)
	}
}

func (c hostile) run(t *testing.T) recovery.Result {
	r, key := newRemedy(t, func(cfg *Config) {
		if c.waits {
			cfg.Timeouts.Handshake, cfg.Timeouts.Auth = 600*time.Millisecond, 600*time.Millisecond
		}
	})
	h := &hostileHost{machine: new(machine)}
	h.machine.key = newSigner(t)
	known := h.machine.key
	if c.rsa {
		known = rsaSigner(t)
	}
	if h.machine.key = known; c.key != nil {
		h.machine.key = c.key(known)
	}
	h.raw = func(conn net.Conn) { c.serve(h, conn) }
	h.start(t, key)
	job := h.job(id(1))
	job.Rung.HostKeys = []string{line(known)}
	res := r.Run(t.Context(), job, script(claimOK))
	want(t, res, c.class, c.signature)
	if !strings.Contains(res.Detail, c.says) || h.ran() != c.ran || h.asked.Load() != 0 {
		t.Errorf("%+v, ran %d, %d questions", res, h.ran(), h.asked.Load())
	}
	_ = h.listener.Close()
	h.cut()
	h.wg.Wait()
	if sent := h.sent.Load(); sent > maxGreeting+24<<20 { // and what the kernel's buffers take
		t.Errorf("the host could send %d bytes", sent)
	}
	return res
}

// What a host sends before we are in is neither kept nor allowed without a bound.
func TestGreetingIsBounded(t *testing.T) {
	for _, piece := range []string{strings.Repeat("welcome\r\n", 7000), strings.Repeat("x", 1<<16)} {
		near, far := net.Pipe()
		done := make(chan int64, 1)
		go func() {
			h := new(hostileHost)
			h.flood(far, []byte(piece))
			done <- h.sent.Load()
		}()
		r, _ := newRemedy(t, nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		g := newGreeting(near)
		e := r.identify(t.Context(), g, r.cfg.Timeouts.Handshake)
		runtime.ReadMemStats(&after)
		if e == nil || e.signature != "not an SSH server" || len(g.words.bytes()) > 4<<10 {
			t.Fatalf("%+v, %d bytes kept", e, len(g.words.bytes()))
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 256<<10 {
			t.Errorf("%d bytes allocated for %d", used, maxGreeting)
		}
		_ = near.Close()
		if sent := <-done; sent > maxGreeting+1<<17 {
			t.Errorf("took %d bytes", sent)
		}
	}
}

func rsaSigner(t *testing.T) ssh.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// Once we are in, nothing is counted any more: a jump host carries the traffic of hundreds of hosts.
func TestNoBoundAfterTheLogin(t *testing.T) {
	t.Parallel()
	r, key := newRemedy(t, nil)
	m := new(machine).start(t, key)
	to, e := r.target(m.job(id(1)))
	if e != nil {
		t.Fatal(e)
	}
	l, e := r.connect(t.Context(), nil, to)
	if e != nil {
		t.Fatal(e)
	}
	defer l.close()
	session, err := l.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := session.Output(fmt.Sprintf("head -c %d /dev/zero", 2*maxGreeting)); err != nil || len(out) != 2*maxGreeting {
		t.Fatal(len(out), err)
	}
}

func TestProtocolBrokenInAuthentication(t *testing.T) {
	l := &login{known: true, greeting: newGreeting(nil)}
	e := l.end(t.Context(), errors.New("ssh: handshake failed: ssh: unexpected message type 60"+redBell+" (expected 52)"))
	want(t, e.result(), recovery.Failed, "protocol broken")
	saneResult(t, e.result())
}

// What stands in sh's place, a menu or what a login script has started, is given nothing that it could obey.
func TestNothingIsSaidToAStranger(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"cat >heard", "echo Your choice:; cat >heard"} {
		r, key := newRemedy(t, func(cfg *Config) { cfg.Timeouts.Shell = 500 * time.Millisecond })
		m := (&machine{shell: []string{"/bin/sh", "-c", program}}).start(t, key)
		want(t, r.Run(t.Context(), m.job(id(1)), script(claimOK)), recovery.TimedOut, "shell silent")
		m.cut()
		if text, _ := os.ReadFile(m.root + "/heard"); len(text) > 0 {
			t.Errorf("it was told %.80q", text)
		}
	}
}

// agentOf serves an ssh-agent whose signing is replaced.
func agentOf(t *testing.T, sign func() error) (socket string, key ssh.PublicKey) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(&reluctant{ring, sign}, conn) }()
		}
	}()
	key, err = ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return socket, key
}

type reluctant struct {
	agent.Agent
	sign func() error
}

func (a *reluctant) Sign(ssh.PublicKey, []byte) (*ssh.Signature, error) { return nil, a.sign() }

// An agent that is locked, or waits for a finger on a key, is our fault and not the host's.
func TestAgentThatDoesNotSign(t *testing.T) {
	t.Parallel()
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	for name, sign := range map[string]func() error{
		"refuses": func() error { return errors.New("locked") },
		"waits":   func() error { <-never; return errors.New("over") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket, key := agentOf(t, sign)
			r, _ := newRemedy(t, func(cfg *Config) { cfg.Keys, cfg.AgentSocket, cfg.Timeouts.Auth = nil, socket, 500*time.Millisecond })
			m := new(machine).start(t, key)
			res := r.Run(t.Context(), m.job(id(1)), script(claimOK))
			want(t, res, recovery.AuthRefused, "ssh-agent does not sign")
			saneResult(t, res)
		})
	}
}

// The document tells of every class that its rows have what follows from it.
func TestDocsTellWhatFollows(t *testing.T) {
	text, err := os.ReadFile(docsTable)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range docsRows(t) {
		if !strings.Contains(string(text), "\n| "+r.class+" | ") {
			t.Errorf("%s does not tell what follows from %s", docsTable, r.class)
		}
	}
}
