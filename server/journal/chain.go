package journal

import "github.com/blackstart-recovery/blackstart/server/recovery"

// Chain seals the entries of one incident as they stand in the file, and opens them again, each checked against the one before. It is
// for those who keep a journal somewhere else than in a file.
type Chain struct {
	seq  uint64
	hash string
}

// NewChain begins an incident's chain before its first entry.
func NewChain(incident string) Chain { return Chain{hash: hashOf(incident)} }

// Seal returns the entry's sealed value, which follows the one before.
func (c *Chain) Seal(e recovery.Entry) ([]byte, error) {
	v, err := newEnvelope(e)
	if err != nil {
		return nil, err
	}
	v.Prev = c.hash
	value := v.seal()
	c.seq, c.hash = v.Seq, sealedHash(value)
	return value, nil
}

// Open checks that a sealed value is the next of the chain and returns its entry.
func (c *Chain) Open(value []byte) (recovery.Entry, error) {
	v, hash, err := openEnvelope(value, c.seq+1, c.hash)
	if err != nil {
		return recovery.Entry{}, err
	}
	c.seq, c.hash = v.Seq, hash
	return v.entry()
}
