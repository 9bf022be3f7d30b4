package redfish

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/power"
	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// The options of a redfish control; docs/redfish.md explains them.
// What the option from says of where the rescue system comes from. Whoever calls BootRescue names the image accordingly.
const (
	FromNetwork = "network" // the default: the coordinator's network boot
	FromMedia   = "media"   // the virtual CD
)

var known = []string{"ca", "fingerprint", "from", "insecure", "media", "name", "system", "url", "username"}

// maxFile bounds the file of certificates, in bytes.
const maxFile = 1 << 20

func open(control recovery.Control) (*Client, error) {
	wrong := func(format string, args ...any) error {
		text := fmt.Sprintf("Control %q: ", control.Name) + fmt.Sprintf(format, args...) + "; correct it in the fleet file."
		return &power.Error{Class: recovery.Failed, Signature: "wrong redfish options", Detail: recovery.Clean(text, maxDetail)}
	}
	if control.Kind != recovery.ControlRedfish {
		return nil, wrong("its kind is %q, not %q", control.Kind, recovery.ControlRedfish)
	}
	for _, option := range slices.Sorted(maps.Keys(control.Options)) {
		if !slices.Contains(known, option) {
			return nil, wrong("the option %q is not one of %s", option, strings.Join(known, ", "))
		}
	}
	for _, option := range slices.Sorted(maps.Keys(control.Secrets)) {
		if option != "password" {
			return nil, wrong("the secret %q is not known; the only one is password", option)
		}
	}
	c := &Client{
		username: control.Options["username"],
		password: control.Secrets["password"],
		system:   control.Options["system"],
		media:    control.Options["media"],
		from:     control.Options["from"],
		timeout:  control.Timeout,
		pace:     pace{request: 20 * time.Second, poll: time.Second, settle: 5 * time.Second},
	}
	if c.timeout <= 0 {
		c.timeout = recovery.DefaultControlTimeout
	}
	if from := control.Options["from"]; from != "" && from != FromNetwork && from != FromMedia {
		return nil, wrong("the option from is %q, neither %s nor %s", from, FromNetwork, FromMedia)
	}
	if c.username == "" || c.password == "" {
		return nil, wrong("it needs the option username and the secret password")
	}
	var err error
	if c.base, c.where, err = address(control.Options["url"]); err != nil {
		return nil, wrong("%v", err)
	}
	if c.tls, err = trust(control.Options); err != nil {
		return nil, wrong("%v", err)
	}
	return c, nil
}

// address checks the option url: https, an IP address, and nothing else.
func address(text string) (base, where string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", fmt.Errorf("the option url is not of the form https://192.0.2.7 or https://192.0.2.7:8443")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		return "", "", fmt.Errorf("the option url has no IP address, and names cannot be looked up while DNS is down")
	}
	return "https://" + u.Host, u.Host, nil
}

// errCertificate is why a connection was given up: the BMC shows another certificate.
type errCertificate struct{ shown string }

func (e *errCertificate) Error() string { return "the certificate's SHA-256 fingerprint is " + e.shown }

// trust turns ca, fingerprint, insecure and name into how the BMC's certificate is checked. Without any of the first three it must
// lead to an authority that this machine trusts.
func trust(options map[string]string) (*tls.Config, error) {
	ca, fingerprint, insecure := options["ca"], options["fingerprint"], options["insecure"]
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: options["name"]}
	given := 0
	for _, option := range []string{ca, fingerprint, insecure} {
		if option != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, errors.New("only one of the options ca, fingerprint and insecure may be given")
	case ca != "":
		pool, err := readCertificates(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	case fingerprint != "":
		want, err := parseFingerprint(fingerprint)
		if err != nil {
			return nil, err
		}
		config.InsecureSkipVerify = true // the certificate itself is known; who signed it says nothing more
		config.VerifyConnection = func(state tls.ConnectionState) error { return matches(want, state) }
	case insecure == "1":
		config.InsecureSkipVerify = true // the fleet file says so
	case insecure != "":
		return nil, errors.New("the option insecure is 1 or not there")
	}
	return config, nil
}

func parseFingerprint(text string) ([]byte, error) {
	plain := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(text), "sha256:"), ":", "")
	sum, err := hex.DecodeString(plain)
	if err != nil || len(sum) != sha256.Size {
		return nil, errors.New("the option fingerprint is not a SHA-256 sum of 64 hexadecimal digits")
	}
	return sum, nil
}

func matches(want []byte, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return &errCertificate{shown: "none"}
	}
	if sum := sha256.Sum256(state.PeerCertificates[0].Raw); subtle.ConstantTimeCompare(sum[:], want) != 1 {
		return &errCertificate{shown: hex.EncodeToString(sum[:])}
	}
	return nil
}

// readCertificates reads a file of certificates. Anything but a plain small file could make us wait for ever.
func readCertificates(path string) (*x509.CertPool, error) {
	about, err := os.Stat(path)
	if err != nil || !about.Mode().IsRegular() || about.Size() > maxFile {
		return nil, fmt.Errorf("the option ca names %s, which is no readable file of certificates", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the option ca names %s, which cannot be read", path)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the option ca names %s, which holds no certificate in PEM form", path)
	}
	return pool, nil
}
