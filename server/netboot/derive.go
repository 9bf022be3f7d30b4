package netboot

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"golang.org/x/crypto/ssh"
)

// derive makes 32 bytes for one purpose and one attempt, always the same ones.
func derive(secret []byte, purpose, incident, attempt string) []byte {
	key, err := hkdf.Key(sha256.New, secret, []byte(purpose), incident+"\x00"+attempt, 32)
	if err != nil {
		panic("netboot: HKDF refuses 32 bytes: " + err.Error()) // only when more than 255 hashes are asked for
	}
	return key
}

// hostKey is the SSH host key of the attempt's rescue system.
func hostKey(secret []byte, incident, attempt string) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(derive(secret, "rescue-host-key", incident, attempt))
}

// publicLine is the key's public half as authorized_keys has it, without a comment.
func publicLine(key ed25519.PrivateKey) string {
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		panic("netboot: no SSH public key of ed25519: " + err.Error())
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))
}

// token is what the attempt's machine shows to get its files; it fits into a URL.
func token(secret []byte, incident, attempt string) string {
	return base64.RawURLEncoding.EncodeToString(derive(secret, "rescue-token", incident, attempt))
}
