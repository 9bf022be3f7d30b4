// Package netboot answers machines that boot from the network: an iPXE script, and for a host that an attempt wants in rescue the
// rescue image and a seed of its own. It knows a host by its MAC addresses or its SMBIOS UUID and decides nothing: Config.Ask says
// whether a host gets the rescue system now, and whatever is not clearly wanted boots from its own disk.
//
//	GET  /boot.ipxe                 the same for everybody: chains to host.ipxe with the machine's identity
//	GET  /host.ipxe?mac&uuid        the rescue script, or the one for the local disk
//	GET  /rescue/TOKEN/vmlinuz      until the token expires, as often as it is asked for
//	GET  /rescue/TOKEN/initrd       the same
//	GET  /rescue/TOKEN/seed         once: a cpio archive, for iPXE a second initrd
//	POST /rescue/TOKEN/hello        the rescue system is up; the body says what it found
//	GET  /rescue.iso                the image for virtual media, where there is one; it holds no secret
//	GET  /seed?mac&uuid             for images that were booted otherwise: asks as host.ipxe does, answers with the seed
//
// The seed holds the SSH host key of the rescue system. Key and token are derived from Config.Secret and the attempt, so a restarted
// coordinator knows both without having stored them. What a restart forgets is told in docs/netboot.md.
//
// Everything is plain HTTP: whoever reads along on the network in between can take the key. docs/netboot.md says what follows.
package netboot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// Config is what a Service needs. Only Running, Expires, Now and Log may be left out.
type Config struct {
	ImageDir string // holds vmlinuz and initrd, as `blackstart rescue build` writes them
	URL      string // how hosts reach us: http://IP:PORT
	Secret   []byte // at least 32 bytes, the same after a restart; keys and tokens are derived from it
	Hosts    []recovery.Host

	// Ask says whether the host gets the rescue system now, for which incident and attempt. An error means the local disk, and its
	// text is the reason, which the log and the machine's console show. It is called once per boot, by many at a time.
	Ask func(ctx context.Context, host, peer string) (incident, attempt string, err error)

	// Running lists the attempts that want a host in rescue now. It is read when a token is unknown, at most once a second: after a
	// restart their downloads go on. Without it they do not.
	Running func() []Boot

	Expires time.Duration    // of a token, from when it was given, or after a restart first seen; default 30 min
	Now     func() time.Time // default time.Now
	Log     hclog.Logger
}

// Boot is an attempt that wants its host in rescue.
type Boot struct {
	Incident string
	Attempt  string
	Host     string
}

// DefaultExpires is how long a token holds where the Config does not say.
const DefaultExpires = 30 * time.Minute

// The rescue image's files, below Config.ImageDir and in the URLs.
const (
	kernelFile = "vmlinuz"
	initrdFile = "initrd"
	isoFile    = "rescue.iso" // may be missing
)

// Service answers the machines. All its methods may be called at once.
type Service struct {
	cfg    Config
	log    hclog.Logger
	hosts  index
	boots  *boots
	seldom *ration
}

// New checks the Config and the rescue image, and makes a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Expires == 0 {
		cfg.Expires = DefaultExpires
	}
	if cfg.Running == nil {
		cfg.Running = func() []Boot { return nil }
	}
	switch {
	case cfg.Expires < 0:
		return nil, fmt.Errorf("network boot: tokens cannot expire after %s; give a time above zero", cfg.Expires)
	case len(cfg.Secret) < 32:
		return nil, fmt.Errorf("network boot: a secret of %d bytes is too short; give 32", len(cfg.Secret))
	case cfg.Ask == nil:
		return nil, errors.New("network boot: nobody says which host is wanted in rescue; give Config.Ask")
	}
	base, err := baseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	cfg.URL = base
	cfg.Secret = append([]byte(nil), cfg.Secret...)
	hosts, doubts := newIndex(cfg.Hosts)
	for _, doubt := range doubts {
		cfg.Log.Warn("an identity names no host for certain and is not used", "why", doubt)
	}
	s := &Service{cfg: cfg, log: cfg.Log, hosts: hosts, boots: newBoots(cfg), seldom: newRation(cfg.Now)}
	if err := s.imageReady(); err != nil {
		return nil, err
	}
	return s, nil
}

// ISO is the URL of the rescue image for virtual media; empty when it was built without one.
func (s *Service) ISO() string {
	if info, err := os.Stat(filepath.Join(s.cfg.ImageDir, isoFile)); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return s.cfg.URL + "/" + isoFile
}

// HostKey is the rescue system's SSH host key for one attempt, as a line of an authorized_keys file without a comment.
func (s *Service) HostKey(incident, attempt string) string {
	return publicLine(hostKey(s.cfg.Secret, incident, attempt))
}

// Awake is closed when the attempt's rescue system has phoned home to this process.
func (s *Service) Awake(incident, attempt string) <-chan struct{} {
	return s.boots.awake(incident, attempt)
}

// Findings is what the attempt's rescue system last said of the machine: at most 64 clean lines. It is empty before Awake.
func (s *Service) Findings(incident, attempt string) string {
	return s.boots.findings(incident, attempt)
}

// Handler answers the requests of one server. Serve adds the deadlines and bounds that it wants.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.route) }

// askTimeout bounds one answer of Config.Ask.
const askTimeout = 10 * time.Second

// wanted asks whether the host gets the rescue system now. The error says why not.
func (s *Service) wanted(ctx context.Context, host, peer string) (*boot, error) {
	if err := s.imageReady(); err != nil {
		s.sparsely("image "+host, "the rescue image is not there, so the host boots from its own disk", "host", host, "error", err)
		return nil, errors.New("the rescue image is not there")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	incident, attempt, err := s.cfg.Ask(ctx, host, peer)
	if err != nil {
		return nil, err
	}
	if incident == "" || attempt == "" || strings.Contains(incident+attempt, "\x00") {
		return nil, fmt.Errorf("the attempt %q of incident %q cannot be named", attempt, incident)
	}
	return s.boots.grant(Boot{Incident: incident, Attempt: attempt, Host: host}), nil
}

// imageReady says what is wrong with the rescue image's files.
func (s *Service) imageReady() error {
	for _, name := range []string{kernelFile, initrdFile} {
		info, err := os.Stat(filepath.Join(s.cfg.ImageDir, name))
		switch {
		case err != nil:
			return fmt.Errorf("rescue image: %w; make it with `blackstart rescue build --out DIR`", err)
		case !info.Mode().IsRegular() || info.Size() == 0:
			return fmt.Errorf("rescue image: %s is empty or no file; make it with `blackstart rescue build --out DIR`", filepath.Join(s.cfg.ImageDir, name))
		}
	}
	return nil
}

// baseURL checks how hosts reach us and returns it without a slash at its end.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", fmt.Errorf("network boot: %q is not how hosts can reach us; give http://IP:PORT", recovery.Clean(text, 100))
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err != nil || addr.Zone() != "" || addr.IsUnspecified() {
		return "", fmt.Errorf("network boot: %q must name an IP address that hosts can reach, since DNS may be down; give http://IP:PORT", recovery.Clean(text, 100))
	}
	return u.Scheme + "://" + u.Host, nil
}
