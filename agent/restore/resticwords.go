package restore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// resticVersion is a version of restic; the zero value is one that it did not tell.
type resticVersion struct{ major, minor int }

var versionWords = regexp.MustCompile(`^restic v?(\d{1,5})\.(\d{1,5})`)

// parseResticVersion reads "restic 0.14.0 compiled with go1.19.8 on linux/amd64".
func parseResticVersion(line string) (v resticVersion) {
	if m := versionWords.FindStringSubmatch(line); m != nil {
		v.major, _ = strconv.Atoi(m[1])
		v.minor, _ = strconv.Atoi(m[2])
	}
	return v
}

// tellsByCode: since 0.17 an exit code tells some failures apart. Before, every failure was 1, and another code meant nothing.
func (v resticVersion) tellsByCode() bool { return v.major > 0 || v.minor >= 17 }

// Exit codes since 0.17 (12 since 0.17.1). Restic promises more to come, and that each is a failure.
const (
	resticNoRepository  = 10
	resticLocked        = 11
	resticWrongPassword = 12
)

// Signatures of restic's own.
const (
	signatureKilled   = "restic was killed"
	signatureReadOnly = "repository cannot be locked"
	signatureNoAccess = "repository access refused"
	signatureOther    = "repository damaged elsewhere"
	signatureRestic   = "restic failed"
)

// resticWords are how restic and the libraries in it have put each failure over its versions, the most telling first.
var resticWords = []struct {
	words            *regexp.Regexp
	class, signature string
	meaning          string // with the repository's name
}{
	{words(`no space left on device|not enough space on the disk|disk quota exceeded`),
		Failed, signatureFull, "The disk that was to take what repository %q holds is full; make room on it, and try again"},
	{words(`wrong password|no key found|password is incorrect`),
		AuthRefused, signaturePassword, "Repository %q refuses the password; see that the agent has the right one"},
	{words(`empty password|resolving password failed|password can(no|')t be read|unable to read password`),
		AuthRefused, "repository password missing", "Restic found no password for repository %q; give the agent one"},
	{words(`already locked`),
		Unreachable, signatureLocked, "Repository %q is locked by another restic; wait until it has ended, or run restic unlock if it is dead"},
	{words(`unable to create lock`), // 0.14 prints the reason before a trace of its stack, too far from the end to be heard
		Failed, signatureReadOnly, "Repository %q cannot be locked; see that its storage can be written to"},
	{words(`401 unauthorized|403 forbidden|access ?denied|invalidaccesskeyid|signaturedoesnotmatch|permission denied \(|` +
		`config file:.*permission denied|nocredentialproviders`),
		AuthRefused, signatureNoAccess, "The storage of repository %q refuses this machine; see that the agent's access to it is right"},
	{words(`connection (refused|reset|timed out)|no such host|(network|host) is (unreachable|down)|no route to host|i/o timeout|server misbehaving|` +
		`name resolution|stale (nfs )?file handle|deadline exceeded|endpoint is not connected|repository does not exist|` +
		`unable to open (config file|repository)|could not connect|temporary failure|tls handshake|50[234] (bad gateway|service unavailable|gateway timeout)`),
		Unreachable, signatureAway, "Repository %q cannot be had just now; see that it is there and can be reached from this machine"},
	{words(`no matching id found|no snapshot found|failed to find snapshot|no snapshots found`),
		Failed, signatureGone, "Repository %q no longer has this point; list its points again and choose another"},
	{words(`ciphertext verification failed|pack id does not match|repository contains errors|repository is damaged|failed to download|` +
		`unexpected (file size|eof)|invalid data returned|loadindex returned errors|(blob|tree|pack|id) \S+:? (does not exist|not found)|` +
		`not found in (repository|index)|data[/\\][0-9a-f]{2}[/\\][0-9a-f]{64}: (no such file|the system cannot find)|key does not exist|` +
		`hash mismatch|data seems damaged|does not match id`),
		Failed, SignatureDamagedPoint, "Data in repository %q is missing or damaged; use another point, and have the repository looked at"},
}

func words(alternatives string) *regexp.Regexp { return regexp.MustCompile(`(?i)` + alternatives) }

// resticFault tells how restic ended, nil when well. Exit codes count where they mean something, then words, read loosely; a failure that
// fits none is still one.
func resticFault(v resticVersion, s SetWork, doing string, e ended) error {
	heard := plain(e.said)
	said := withoutSecrets(s.Repository, heard)
	fault := func(class, signature, meaning string) error {
		if said != "" {
			meaning += " (restic " + doing + " said: " + clean(said, 600) + ")"
		}
		return &Fault{class, signature, sentence(meaning)}
	}
	byWords := func(only string) error {
		for _, w := range resticWords {
			if (only == "" || w.signature == only) && w.words.MatchString(heard) {
				return fault(w.class, w.signature, fmt.Sprintf(w.meaning, s.Repository.Name))
			}
		}
		return nil
	}
	name := s.Repository.Name
	switch {
	case e.signal != "":
		return fault(Failed, signatureKilled, fmt.Sprintf(
			"Restic was ended by a signal (%s) in the middle of its %s; see what ended it, such as want of memory, and try again", e.signal, doing))
	case e.exit == 0:
		return nil
	case v.tellsByCode() && e.exit == resticNoRepository:
		return fault(Unreachable, signatureAway, fmt.Sprintf(
			"There is no repository where %q should be; see that its storage is mounted and its location right", name))
	case v.tellsByCode() && e.exit == resticLocked:
		return cmp.Or(byWords(signatureLocked), byWords(signatureReadOnly),
			fault(Unreachable, signatureLocked, fmt.Sprintf("Repository %q is locked by another restic", name)))
	case v.tellsByCode() && e.exit == resticWrongPassword:
		return fault(AuthRefused, signaturePassword, fmt.Sprintf("Repository %q refuses the password; see that the agent has the right one", name))
	}
	if err := byWords(""); err != nil {
		return err
	}
	return fault(Failed, signatureRestic, fmt.Sprintf("Restic failed with exit code %d at the %s from repository %q", e.exit, doing, name))
}

var (
	badPack     = regexp.MustCompile(`^Pack ID does not match, want ([0-9a-f]{64}), got [0-9a-f]{64}$|^pack ([0-9a-f]{64})[ :]`)
	badPackTalk = regexp.MustCompile(`^Load\(<data/[0-9a-f]+>.* returned error, retrying after |^Fatal: repository contains errors$|^$`)
)

// badPacks are the packs that a check has found bad. ok says that it has found nothing else, and that all it said was heard.
func badPacks(said string) (packs []string, ok bool) {
	if len(said) > maxSaid*9/10 {
		return nil, false
	}
	for line := range strings.SplitSeq(said, "; ") {
		if m := badPack.FindStringSubmatch(line); m != nil {
			packs = append(packs, cmp.Or(m[1], m[2]))
		} else if !badPackTalk.MatchString(line) {
			return nil, false
		}
	}
	return packs, packs != nil
}

var (
	jsonMessage    = regexp.MustCompile(`\{[^{}]*"message":("(?:[^"\\]|\\.)*")`)
	urlCredentials = regexp.MustCompile(`://[^/@\s]*@`)
)

// plain takes the messages out of what newer versions say in JSON on standard error. Other text is left as it is.
func plain(said string) string {
	var messages []string
	for _, m := range jsonMessage.FindAllStringSubmatch(said, -1) {
		var text string
		if json.Unmarshal([]byte(m[1]), &text) == nil {
			messages = append(messages, text)
		}
	}
	if messages == nil {
		return said
	}
	return strings.Join(messages, "; ")
}

// withoutSecrets: restic names the location in many of its errors, and not each library in it hides the password there.
func withoutSecrets(r Repository, said string) string {
	if r.Location != "" {
		said = strings.ReplaceAll(said, r.Location, "its location")
	}
	return urlCredentials.ReplaceAllString(said, "://")
}

// resticProgress tells how far a restore has come: by restic's own word where it gives one, else by what was counted.
type resticProgress struct {
	tell Progress

	mu          sync.Mutex
	done, total int64
	ownWord     bool
}

// line reads a line of restore --json. 0.14 says one of plain text, which says nothing.
func (p *resticProgress) line(text string) {
	var m struct {
		Type  string `json:"message_type"`
		Done  int64  `json:"bytes_restored"`
		Total int64  `json:"total_bytes"`
	}
	if json.Unmarshal([]byte(text), &m) != nil || m.Type != "status" && m.Type != "summary" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ownWord, p.total = true, max(p.total, m.Total)
	p.advance(m.Done)
}

func (p *resticProgress) counted(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ownWord {
		p.advance(done)
	}
}

// soFar is what is done.
func (p *resticProgress) soFar() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// end tells that all is done.
func (p *resticProgress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.advance(p.total)
}

// advance never goes back, nor beyond the end.
func (p *resticProgress) advance(done int64) {
	if p.total > 0 {
		done = min(done, p.total)
	}
	p.done = max(p.done, done)
	if p.tell != nil {
		p.tell(p.done, p.total)
	}
}

// listing keeps what is written, up to a bound.
type listing struct{ text []byte }

func (l *listing) Write(p []byte) (int, error) {
	if len(l.text)+len(p) > maxListing {
		return 0, errors.New("the listing is too long to be true")
	}
	l.text = append(l.text, p...)
	return len(p), nil
}
