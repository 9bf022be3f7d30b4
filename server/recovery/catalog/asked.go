package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// asked is a digest of what is asked of a data set's points at L3 and L4: another one after every change of it in the fleet file.
func asked(d *recovery.DataSet) string {
	data, err := json.Marshal([]any{d.Engine, d.Check, d.Options, d.Invariants})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// forgetOld leaves out checks that passed when something else was asked: whoever adds an invariant wants an answer to it. What failed stays
// in quarantine until a person releases it.
func (s *set) forgetOld(p *recovery.RestorePoint) {
	p.Checks = slices.DeleteFunc(p.Checks, func(c recovery.PointCheck) bool { return c.OK && c.Of != "" && c.Of != s.question })
}
