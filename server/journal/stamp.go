package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"go.etcd.io/bbolt"
)

// A page of bbolt does not say when it was written, and its place is used again and again. When a disk or a hypervisor loses
// writes that it had confirmed, the newest meta page may lead to older pages of the same places, and these fit together: a
// journal as it once was, silently without what came after. So each write leaves a stamp, which says which write it is and which
// heads there are. The meta page vouches for the stamp, the stamp for the heads, each head for its entries.
type stamp struct {
	Write uint64 `json:"write"` // the number that bbolt gives to the write; the meta page has it too
	Heads string `json:"heads"` // SHA-256 of all head records
}

var stampKey = []byte("stamp")

// putStamp ends a write.
func putStamp(tx *bbolt.Tx) error {
	v, err := sealJSON(stamp{Write: uint64(tx.ID()), Heads: headsHash(tx)})
	if err != nil {
		return err
	}
	return tx.Bucket(settingsBucket).Put(stampKey, v)
}

// checkStamp refuses a file whose pages are not all of its last write. Before its first write by a Blackstart that knows stamps, a
// journal has none.
func checkStamp(tx *bbolt.Tx) error {
	v := tx.Bucket(settingsBucket).Get(stampKey)
	if v == nil {
		return nil
	}
	var s stamp
	if err := unsealJSON(v, &s); err != nil {
		return &BrokenError{Why: fmt.Sprintf("the stamp of the last write: %v", err)}
	}
	if n := uint64(tx.ID()); s.Write != n || s.Heads != headsHash(tx) {
		return &BrokenError{Why: fmt.Sprintf("it is of write %d and parts of it are older: the disk has lost writes that it had confirmed", n)}
	}
	return nil
}

// headsHash is over the names and values of the head records, which have no zero bytes in them.
func headsHash(tx *bbolt.Tx) string {
	var all bytes.Buffer
	c := tx.Bucket(headsBucket).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		all.Write(k)
		all.WriteByte(0)
		all.Write(v)
		all.WriteByte(0)
	}
	sum := sha256.Sum256(all.Bytes())
	return hex.EncodeToString(sum[:])
}
