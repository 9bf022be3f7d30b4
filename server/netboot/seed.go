package netboot

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// seed is what one boot of the rescue system gets for itself: a cpio archive that the kernel unpacks over the rescue image.
func (s *Service) seed(b *boot) ([]byte, error) {
	key := hostKey(s.cfg.Secret, b.Incident, b.Attempt)
	private, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, fmt.Errorf("the rescue system's host key cannot be written: %w", err)
	}
	env := "BLACKSTART_URL=" + quote(s.cfg.URL) + "\n" +
		"BLACKSTART_TOKEN=" + quote(b.token) + "\n" +
		"BLACKSTART_ATTEMPT=" + quote(b.Attempt) + "\n" +
		"BLACKSTART_HOST=" + quote(b.Host) + "\n"
	var out archive
	out.folder("blackstart", 0o755)
	out.folder("blackstart/seed", 0o700)
	out.file("blackstart/seed/ssh_host_ed25519_key", 0o600, pem.EncodeToMemory(private))
	out.file("blackstart/seed/ssh_host_ed25519_key.pub", 0o644, []byte(publicLine(key)+"\n"))
	out.file("blackstart/seed/env", 0o600, []byte(env))
	return out.end(), nil
}

// quote makes text one word for a POSIX shell. NUL, which no shell can hold, is left out.
func quote(text string) string {
	text = strings.ReplaceAll(text, "\x00", "")
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// archive is a cpio archive in the "newc" form, as Linux unpacks it at boot. All is root's and of no date.
type archive struct {
	out    bytes.Buffer
	number int
}

const (
	modeFolder = 0o040000
	modeFile   = 0o100000
)

func (a *archive) folder(name string, mode int) { a.entry(name, modeFolder|mode, 2, nil) }

func (a *archive) file(name string, mode int, content []byte) {
	a.entry(name, modeFile|mode, 1, content)
}

func (a *archive) entry(name string, mode, links int, content []byte) {
	a.number++
	// inode, mode, uid, gid, links, time, size, device and rdevice as major and minor, length of the name with its NUL, check sum
	fmt.Fprintf(&a.out, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.out.WriteString(name + "\x00")
	a.pad(4)
	a.out.Write(content)
	a.pad(4)
}

// end closes the archive and returns it, a whole number of 512-byte blocks.
func (a *archive) end() []byte {
	a.entry("TRAILER!!!", 0, 1, nil)
	a.pad(512)
	return a.out.Bytes()
}

func (a *archive) pad(to int) {
	a.out.Write(make([]byte, (to-a.out.Len()%to)%to))
}
