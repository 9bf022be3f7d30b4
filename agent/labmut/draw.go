package lab

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// draw is the lab's only chance: a number that depends on the seed, the machine, the purpose and a counter, and on
// nothing else, so that no scheduling and no order of machines can change it.
func draw(seed uint64, host, purpose string, n int) uint64 {
	sum := digest(seed, host, purpose, n)
	return binary.BigEndian.Uint64(sum[:8])
}

// bootID returns the id of a machine's nth boot, in the form that Linux gives it.
func bootID(seed uint64, host string, n int) string {
	b := digest(seed, host, "boot-id", n)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// hostKey makes a machine's key for one purpose.
func hostKey(seed uint64, host, purpose string) ed25519.PrivateKey {
	sum := digest(seed, host, "key "+purpose, 0)
	return ed25519.NewKeyFromSeed(sum[:])
}

func digest(seed uint64, host, purpose string, n int) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s\x00%d", seed, host, purpose, n))
}
