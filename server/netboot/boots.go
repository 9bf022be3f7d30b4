package netboot

import (
	"crypto/subtle"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// boot is what this process knows of one attempt's boot into the rescue system.
type boot struct {
	Boot
	token    string
	made     time.Time     // when this process first heard of the attempt
	given    time.Time     // when it gave the token, or recognised one that was given before it; zero: not yet
	seeded   bool          // the seed has left
	up       bool          // the rescue system has phoned home
	awake    chan struct{} // closed when up
	findings string
}

// boots holds the boots of the attempts, and finds the one that a token belongs to.
type boots struct {
	secret  []byte
	expires time.Duration
	now     func() time.Time
	running func() []Boot

	mu  sync.Mutex
	all map[attempt]*boot

	ask   sync.Mutex // guards what running said last
	asked time.Time
	told  []Boot
}

// attempt names an attempt: ids such as HOST/1 come again in every incident.
type attempt struct{ incident, id string }

const (
	forget    = 24 * time.Hour // after this a boot is no longer kept; no attempt lasts as long
	askPause  = time.Second    // between two questions for the running attempts
	maxLines  = 64             // of findings
	maxLine   = 300            // characters
	maxTokens = 64             // bytes of a token that are looked at
)

var (
	errNoToken = errors.New("no attempt has this token")
	errExpired = errors.New("the token has expired")
	errSeeded  = errors.New("the seed was given before")
)

func newBoots(cfg Config) *boots {
	return &boots{secret: cfg.Secret, expires: cfg.Expires, now: cfg.Now, running: cfg.Running, all: map[attempt]*boot{}}
}

// of returns the attempt's boot, a new one where there is none. The caller holds mu.
func (bs *boots) of(incident, id string) *boot {
	key, now := attempt{incident, id}, bs.now()
	if b := bs.all[key]; b != nil {
		return b
	}
	for old, b := range bs.all {
		if now.Sub(b.made) > forget {
			delete(bs.all, old)
		}
	}
	b := &boot{
		Boot: Boot{Incident: incident, Attempt: id}, token: token(bs.secret, incident, id),
		made: now, awake: make(chan struct{}),
	}
	bs.all[key] = b
	return b
}

// grant notes that the attempt's host is given its token now, and begins the token's time. A seed that was given before stays given.
func (bs *boots) grant(want Boot) *boot {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	b := bs.of(want.Incident, want.Attempt)
	b.Host, b.given = want.Host, bs.now()
	return b
}

// find returns the boot that a token belongs to: one that this process gave, or one of an attempt that is running.
func (bs *boots) find(token string) (*boot, error) {
	if len(token) > maxTokens {
		return nil, errNoToken
	}
	b := bs.known(token)
	if b == nil {
		b = bs.adopt(token)
	}
	if b == nil {
		return nil, errNoToken
	}
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if bs.now().Sub(b.given) > bs.expires {
		return b, errExpired
	}
	return b, nil
}

// known looks among the tokens that were given. It takes as long whether one is right or not.
func (bs *boots) known(token string) *boot {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	var found *boot
	for _, b := range bs.all {
		if same(b.token, token) && !b.given.IsZero() {
			found = b
		}
	}
	return found
}

// adopt looks among the tokens of the attempts that are running, for those that a coordinator before this one gave.
func (bs *boots) adopt(want string) *boot {
	var found *Boot
	for _, running := range bs.runningNow() {
		if same(token(bs.secret, running.Incident, running.Attempt), want) {
			found = &running
		}
	}
	if found == nil {
		return nil
	}
	return bs.grant(*found)
}

// runningNow is the list of the running attempts, no older than askPause.
func (bs *boots) runningNow() []Boot {
	bs.ask.Lock()
	defer bs.ask.Unlock()
	if now := bs.now(); bs.asked.IsZero() || now.Sub(bs.asked) >= askPause {
		bs.told, bs.asked = bs.running(), now
	}
	return bs.told
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// takeSeed returns nil once for each attempt.
func (bs *boots) takeSeed(b *boot) error {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if b.seeded {
		return errSeeded
	}
	b.seeded = true
	return nil
}

// hello notes that the rescue system is up, and what it found. It reports whether that is the first word of it.
func (bs *boots) hello(b *boot, body string) (findings string, first bool) {
	findings = tidy(body)
	bs.mu.Lock()
	defer bs.mu.Unlock()
	b.findings, first = findings, !b.up
	if first {
		b.up = true
		close(b.awake)
	}
	return findings, first
}

func (bs *boots) awake(incident, id string) <-chan struct{} {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	return bs.of(incident, id).awake
}

func (bs *boots) findings(incident, id string) string {
	bs.mu.Lock()
	defer bs.mu.Unlock()
	if b := bs.all[attempt{incident, id}]; b != nil {
		return b.findings
	}
	return ""
}

// tidy makes a rescue system's words safe to show: clean lines, bounded in number and length.
func tidy(body string) string {
	var lines []string
	for line := range strings.Lines(body) {
		line = recovery.Clean(line, maxLine)
		if line == "" {
			continue
		}
		if len(lines) == maxLines {
			lines[maxLines-1] = "…"
			break
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
