// Package rescue builds the system that a host is started into when its own does not come up: a kernel and an initramfs from
// Debian's packages, with the responders' SSH keys inside and the scripts of the folder image. The same packages and the same
// Config give the same bytes.
//
// Reading order: rescue.go (the checklist), apt.go and deb.go (where the files come from), closure.go and modules.go (which of
// them are needed), image.go and cpio.go (what is written), image/init and image/usr/sbin/blackstart-disk (what runs on the host).
package rescue

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/crypto/ssh"
)

// Config says what an image is made of.
type Config struct {
	Out    string          // folder for vmlinuz, initrd, manifest.json and rescue.iso; it is made where it does not exist
	URL    string          // how hosts reach the coordinator: http://IP:PORT
	Keys   []ssh.PublicKey // who may log in as root
	CAs    []ssh.PublicKey // whose certificates for the principal root may log in
	Kernel string          // a Debian kernel package, DefaultKernel when empty
	ISO    bool            // also write rescue.iso, for virtual media
	Cache  string          // folder for package lists and packages; the user's cache folder when empty
	Tell   func(string)    // called with what is being done, in a few words; may be nil
}

// DefaultKernel has drivers for servers of every make. linux-image-cloud-amd64 is much smaller, for virtual machines.
const DefaultKernel = "linux-image-amd64"

// Files of an image folder.
const (
	KernelFile   = "vmlinuz"
	InitrdFile   = "initrd"
	ManifestFile = "manifest.json"
	ISOFile      = "rescue.iso"
)

// ErrConfig is wrapped by the errors of Build that the caller's input caused.
var ErrConfig = errors.New("the rescue image cannot be built so")

// Build makes the image. It asks apt for Debian's packages (apt verifies their signatures), with folders of its own: the machine's
// packages stay as they are, and it need not be root. The image folder changes only when everything could be built; the
// manifest is written last.
func Build(ctx context.Context, cfg Config) (Manifest, error) {
	if err := cfg.check(); err != nil {
		return Manifest{}, err
	}
	if cfg.ISO {
		if err := isoTools(); err != nil {
			return Manifest{}, err
		}
	}
	apt, err := openApt(cfg.Cache)
	if err != nil {
		return Manifest{}, err
	}
	cfg.Tell("asking apt for the packages")
	debs, err := apt.resolve(ctx, append([]string{cfg.Kernel}, packages...), cfg.Tell)
	if err != nil {
		return Manifest{}, err
	}
	cfg.Tell(fmt.Sprintf("downloading what of %d packages is not in %s yet", len(debs), cfg.Cache))
	if err := apt.download(ctx, debs); err != nil {
		return Manifest{}, err
	}
	dir, err := os.MkdirTemp(cfg.Cache, "build-")
	if err != nil {
		return Manifest{}, fmt.Errorf("no folder to build in: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg.Tell("unpacking")
	t, err := unpack(ctx, filepath.Join(dir, "tree"), apt.archives(), debs)
	if err != nil {
		return Manifest{}, err
	}
	cfg.Tell("choosing programs, libraries and drivers")
	img, kernel, err := assemble(cfg, t)
	if err != nil {
		return Manifest{}, err
	}
	cfg.Tell("writing the image")
	return write(ctx, cfg, t, img, kernel, dir)
}

var kernelPackage = regexp.MustCompile(`^linux-image-[a-z0-9][a-z0-9.+-]{0,80}$`)

// check refuses what would only fail on the host, and fills in what was left out.
func (c *Config) check() error {
	if c.Kernel == "" {
		c.Kernel = DefaultKernel
	}
	if c.Tell == nil {
		c.Tell = func(string) {}
	}
	switch {
	case c.Out == "":
		return fmt.Errorf("%w: no folder is given for it", ErrConfig)
	case len(c.Keys)+len(c.CAs) == 0:
		return fmt.Errorf("%w: without an SSH key or CA nobody could log in to it", ErrConfig)
	case !kernelPackage.MatchString(c.Kernel):
		return fmt.Errorf("%w: %q is no Debian kernel package: give one such as %s or linux-image-cloud-amd64", ErrConfig, c.Kernel, DefaultKernel)
	}
	if err := checkURL(c.URL); err != nil {
		return err
	}
	if c.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("%w: there is no folder for the packages, for this user has no home: name one", ErrConfig)
		}
		c.Cache = filepath.Join(dir, "blackstart", "rescue")
	}
	var err error
	c.Cache, err = filepath.Abs(c.Cache)
	return err
}

// checkURL takes http://IP:PORT only: a rescue system has no DNS, and its wget no certificates.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err == nil {
		_, err = netip.ParseAddrPort(u.Host)
	}
	if err != nil || text != "http://"+u.Host {
		return fmt.Errorf("%w: the coordinator's URL is %q, and a host without DNS needs it as http://IP:PORT", ErrConfig, text)
	}
	return nil
}

// ReadKeys reads SSH public keys, one a line, from a .pub or authorized_keys file. Options before a key are refused: they would
// be lost.
func ReadKeys(path string) ([]ssh.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the SSH public key cannot be read: %w", err)
	}
	if _, err := ssh.ParseRawPrivateKey(data); err == nil || errors.As(err, new(*ssh.PassphraseMissingError)) {
		return nil, fmt.Errorf("%s is a private key: give the file with the public one, %s.pub", path, filepath.Base(path))
	}
	var keys []ssh.PublicKey
	for rest := data; len(rest) > 0; {
		key, _, options, next, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break // no further key
		}
		if len(options) > 0 {
			return nil, fmt.Errorf("%s has options before a key, which the rescue image does not keep: give the plain key", path)
		}
		if _, ok := key.(*ssh.Certificate); ok {
			return nil, fmt.Errorf("%s is a certificate: give the public key of the authority that signed it", path)
		}
		keys, rest = append(keys, key), next
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no SSH public key: give a .pub file", path)
	}
	return keys, nil
}
