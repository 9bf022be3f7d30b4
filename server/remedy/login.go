package remedy

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// login is one SSH handshake and authentication under way: what is learnt of it, for its end. The connection's goroutines
// write it, also at a later key exchange.
type login struct {
	r        *SSH
	greeting *greeting
	target   target
	cut      *time.Timer // closes the connection at the phase's deadline

	mu      sync.Mutex
	refusal *end     // of the host key
	known   bool     // the host has shown a key that it may show
	late    bool     // the phase's deadline has passed
	methods []string // the ways to log in that the host takes
	partly  bool     // it has accepted our key and wants something more
	signed  bool     // it knows our key, and we have proven that we hold it
	mute    error    // why we could not
}

// handshake logs in. A deadline of its own runs up to the host key, another one for the authentication. Passwords and
// keyboard-interactive are never offered, so that a host that asks for one gets no answer and we never wait for a person.
func (r *SSH) handshake(ctx context.Context, g *greeting, t target) (*link, *end) {
	l := &login{r: r, greeting: g, target: t}
	method, agent, err := r.identity.offer(r.cfg.Timeouts.Auth, l.prove)
	if err != nil {
		_ = g.Close()
		return nil, refusedUs("ssh-agent does not answer", "The ssh-agent does not answer, so no key can be shown; start it and load the key.")
	}
	defer func() { _ = agent.Close() }()

	l.cut = time.AfterFunc(r.cfg.Timeouts.Handshake, func() {
		l.mu.Lock()
		l.late = true
		l.mu.Unlock()
		_ = g.Close()
	})
	defer l.cut.Stop()
	config := &ssh.ClientConfig{
		Config:            ssh.Config{KeyExchanges: keyExchanges},
		User:              t.user,
		Auth:              []ssh.AuthMethod{method},
		AuthCallback:      l.choose,
		BannerCallback:    l.banner,
		HostKeyAlgorithms: t.expected.algorithms(),
		HostKeyCallback:   l.hostKey,
	}
	made, err := within(ctx, r.cfg.Timeouts.Handshake+r.cfg.Timeouts.Auth, func() { _ = g.Close() }, func() (*link, error) {
		c, chans, reqs, err := ssh.NewClientConn(g, t.addr, config)
		if err != nil {
			return nil, err
		}
		g.admitted.Store(true)
		return r.watch(ctx, ssh.NewClient(c, chans, reqs)), nil
	})
	if err == nil {
		t.pass(StepLogin)
		return made, nil
	}
	_ = g.Close()
	return nil, l.end(ctx, err)
}

// keyExchanges are those of x/crypto's default and two good ones more, which some hardened servers have alone.
var keyExchanges = []string{
	ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256, ssh.KeyExchangeECDHP384,
	ssh.KeyExchangeECDHP521, ssh.KeyExchangeDH14SHA256, ssh.KeyExchangeDH16SHA512, ssh.KeyExchangeDHGEXSHA256,
	ssh.InsecureKeyExchangeDH14SHA1,
}

// hostKey is asked for the host's key, at the first and at every later key exchange.
func (l *login) hostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	e := l.target.expected.check(key)
	if e == nil {
		l.target.pass(StepHostKey)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e != nil {
		l.refusal = e
		return e
	}
	if !l.known && l.cut.Stop() {
		l.cut.Reset(l.r.cfg.Timeouts.Auth)
	}
	l.known = true
	return nil
}

// banner keeps the last of what the host wants people to read.
func (l *login) banner(text string) error {
	_, _ = l.greeting.words.Write([]byte("\n" + text))
	return nil
}

// choose only listens: it leaves the choice to what we have.
func (l *login) choose(with *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.methods = with.AllowedMethods
	l.partly = len(with.PartialSuccessMethods) > 0
	return nil, nil
}

// prove stands round each signature: the host has said that it knows the key.
func (l *login) prove(sign func() (*ssh.Signature, error)) (*ssh.Signature, error) {
	signature, err := sign()
	over := l.greeting.over.Load()
	l.greeting.words.reset() // of interest is what the host says to our proof
	l.mu.Lock()
	defer l.mu.Unlock()
	l.signed, l.mute = err == nil && !over, err
	return signature, err
}

func failed(signature, detail string) *end { return &end{recovery.Failed, signature, detail} }

func refusedUs(signature, detail string) *end { return &end{recovery.AuthRefused, signature, detail} }

// end says what the end of a login means that did not come about.
func (l *login) end(ctx context.Context, err error) *end {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.refusal != nil:
		return l.refusal
	case ctx.Err() != nil:
		return stopped(context.Cause(ctx))
	case l.greeting.flooded.Load(), l.known && strings.Contains(err.Error(), "packet") && strings.Contains(err.Error(), "too large"),
		l.known && strings.Contains(err.Error(), "max packet length exceeded"):
		return failed("too much before the login", "The host sends more before the login than a login takes; shorten the file that Banner names in its sshd_config, or see whether the machine is the right one.")
	}
	slow := l.late || errors.Is(err, errSlow)
	if l.known {
		return l.authEnd(err, slow)
	}
	return l.handshakeEnd(err, slow)
}

// handshakeEnd is the end before a host key was known.
func (l *login) handshakeEnd(err error, slow bool) *end {
	var algorithm *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &algorithm) && strings.Contains(algorithm.What, "host key"):
		return &end{recovery.HostKeyMismatch, "wrong kind of host key", "The host has no key of a kind that is known for it, only " + listed(algorithm.RequestedAlgorithms) + "; it may be another machine: compare its keys at the console, and add the one it has to the fleet file or known_hosts."}
	case errors.As(err, &algorithm):
		return failed("no common algorithm", "The host offers only "+listed(algorithm.RequestedAlgorithms)+" for the "+strings.TrimPrefix(algorithm.What, "client to server ")+", too old to be used safely; allow a newer one in its sshd_config or use another rung.")
	case slow:
		return unreachable("stalled in the handshake", "The host began to talk and then stalled in the SSH handshake; it is half up or overloaded: look at its console.")
	case badHostKey(err):
		return &end{recovery.HostKeyMismatch, "bad host key", "The host shows a key that cannot be read or that it does not hold (" + oneLine(spoken(err), 160) + "); it may be another machine: look at its console before trusting it."}
	default:
		return unreachable("dropped in the handshake", "The SSH handshake with the host broke off; it is half up, refuses this address, or gives too little time (LoginGraceTime).")
	}
}

// authEnd is the end of the authentication with a host that is the right one.
func (l *login) authEnd(err error, slow bool) *end {
	text, words := spoken(err), l.greeting.words.last()
	switch {
	case l.mute != nil:
		return refusedUs("ssh-agent does not sign", "The host knows our key, but the ssh-agent does not sign with it; unlock the agent, touch or confirm the key, or name a key file.")
	case slow:
		return unreachable("stalled in authentication", "The host never ended the authentication; it may wait for a directory server that is down: log in as a local user.")
	case strings.Contains(text, "Too many authentication failures"):
		return refusedUs("too many keys", "The host stops us after too many wrong keys (MaxAuthTries); name the one right key, and load no others into the ssh-agent.")
	case l.partly:
		return refusedUs("second factor wanted", "The host accepts our key and then wants "+listed(l.methods)+" as well, which nobody is there to answer; allow the key alone for this user from this address (Match, AuthenticationMethods publickey).")
	case strings.Contains(text, "unable to authenticate") && len(l.methods) > 0 && !l.signed && !slices.Contains(l.methods, "publickey"):
		return refusedUs("keys not taken", "The host takes no keys from this user, only "+listed(l.methods)+"; allow PubkeyAuthentication and AuthenticationMethods publickey in its sshd_config.")
	case strings.Contains(text, "unable to authenticate"), strings.Contains(text, "disconnect, reason"):
		return refusedUs("no key accepted", "The host lets this user in with none of the keys that we showed; check the user in the fleet file, and on the host authorized_keys or the user CA, AllowUsers, DenyUsers, PermitRootLogin, and whether the account is locked or expired: its SSH server's log names the reason.")
	case l.signed && dropped(err) && closedForNow(words):
		return unreachable("no logins for now", "The host knows our key but lets nobody in at this moment"+saying(words)+"; it is still booting or going down, and is tried again.")
	case l.signed && dropped(err):
		return refusedUs(accountRefused, "The host knows our key and then refuses the account"+saying(words)+"; see its account rules (expired, pam_access, pam_nologin, a directory that is down), or log in as root.")
	case dropped(err):
		return unreachable("dropped in authentication", "The host dropped the connection during the authentication; its LoginGraceTime or MaxAuthTries may be too small for us, its Banner file larger than 256 KB, or it is going down: see its SSH server's log.")
	default:
		return failed("protocol broken", "The host's SSH server says what the protocol does not allow ("+oneLine(text, 160)+"); see which server it is, and use another rung.")
	}
}

// closedForNow knows the words of pam_nologin and systemd.
func closedForNow(words string) bool {
	return slices.ContainsFunc([]string{"booting up", "going down", "shutting down", "not permitted to log in", "nologin"}, func(sign string) bool {
		return strings.Contains(strings.ToLower(words), sign)
	})
}

// dropped reports whether an error is that of a connection, and not of what came over it.
func dropped(err error) bool {
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &network)
}

// badHostKey knows the words of x/crypto for keys that cannot be read and for signatures that do not hold.
func badHostKey(err error) bool {
	return slices.ContainsFunc([]string{
		"unknown key algorithm", "signature", "rsa modulus", "exponent", "crypto/rsa", "public key", "curve point", "unsupported curve", "key type mismatch",
	}, func(sign string) bool { return strings.Contains(err.Error(), sign) })
}

// spoken is an error of x/crypto without the words that say where it comes from.
func spoken(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "ssh: handshake failed: "), "ssh: ")
}

// listed puts names that a host sent into a sentence.
func listed(names []string) string {
	names = slices.DeleteFunc(slices.Clone(names[:min(len(names), 64)]), func(name string) bool { // no algorithms
		return strings.HasPrefix(name, "kex-strict-") || strings.HasPrefix(name, "ext-info-")
	})
	if len(names) == 0 {
		return "nothing"
	}
	return oneLine(strings.Join(names[:min(len(names), 8)], ", "), 160)
}
