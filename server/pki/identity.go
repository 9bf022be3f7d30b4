package pki

import (
	"crypto/x509"
	"fmt"
	"strings"
)

// Identity returns the role and name that a certificate carries. It does not check who signed it: that is done by the
// handshake, or by x509.Certificate.Verify.
func Identity(cert *x509.Certificate) (role, name string, err error) {
	if len(cert.URIs) != 1 {
		return "", "", fmt.Errorf("the certificate of %q carries %d identities and should carry one: it is not one of Blackstart's", cert.Subject.CommonName, len(cert.URIs))
	}
	u := cert.URIs[0]
	name = strings.TrimPrefix(u.Path, "/")
	// Put together again it must be the same, so that no port, user, query or escape hides in it.
	if u.Scheme != uriScheme || u.String() != uriScheme+"://"+u.Host+"/"+name {
		return "", "", fmt.Errorf("the certificate of %q carries the identity %q: it is not one of Blackstart's", cert.Subject.CommonName, u)
	}
	if err := checkName(u.Host, name); err != nil {
		return "", "", err
	}
	return u.Host, name, nil
}

// checkName refuses what is no role, and names that could mean something else in a path, a table or a log. A name also
// must not end as a key's file does: "web-key.pem" is the certificate of web-key and the key of web.
func checkName(role, name string) error {
	switch role {
	case RoleCoordinator, RoleOperator, RoleAgent:
	default:
		return fmt.Errorf("%q is no role: it is coordinator, operator or agent", role)
	}
	bad := func(why string) error {
		return fmt.Errorf("%s name %q %s: use letters, digits, '.', '-' and '_', beginning and ending with a letter or digit", role, name, why)
	}
	if name == "" {
		return bad("is empty")
	}
	if len(name) > maxName {
		return bad(fmt.Sprintf("is longer than %d characters", maxName))
	}
	for i, r := range name {
		edge := i == 0 || i == len(name)-1
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case !edge && (r == '.' || r == '-' || r == '_'):
		default:
			return bad(fmt.Sprintf("may not hold %q there", r))
		}
	}
	if strings.HasSuffix(strings.ToLower(name), "-key") {
		return bad(`may not end with "-key"`)
	}
	return nil
}
