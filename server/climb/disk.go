package climb

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
	"github.com/blackstart-recovery/blackstart/server/remedy"
)

// The rescue system's own commands, their exits and their bounds.
const (
	openDisk   = "blackstart-disk open"
	closeDisk  = "blackstart-disk close"
	openLimit  = 5 * time.Minute // a log is replayed, a key is derived
	closeLimit = 2 * time.Minute // what was written goes to the disk

	exitLocked  = 20
	exitNone    = 21
	exitUnsafe  = 22
	exitSeveral = 23
)

// open opens the host's disk for writing and returns the folder of its root.
func (r *rescue) open(within context.Context) (string, *recovery.Result) {
	said, end := r.command(within, r.there(""), remedy.Command{Line: openDisk, Input: r.secret, Limit: openLimit})
	if end != nil {
		return "", r.lost(end)
	}
	if said.Exit == 0 {
		if word, root, _ := strings.Cut(said.Line(), "\t"); word == "root" && usable(root) {
			return root, nil
		}
		res := failure("no root from the rescue system", "The rescue system opened the disk but did not say where; its image is of another version: build it anew.")
		return "", &res
	}
	res := r.notOpened(said)
	return "", &res
}

// lost is what it means when the rescue system cannot be had any more before the script has been started.
func (r *rescue) lost(end *recovery.Result) *recovery.Result {
	if end.Class != recovery.HostKeyMismatch {
		return end
	}
	r.gone = true
	return &recovery.Result{Class: recovery.Unreachable, Signature: "rescue system gone", Detail: "The host left the rescue system before its disk was opened, and answers with another system; look at its console."}
}

// notOpened is the result for a disk that blackstart-disk did not open.
func (r *rescue) notOpened(said remedy.Said) recovery.Result {
	line := said.Line()
	problem := recovery.Clean(strings.TrimPrefix(line, "problem\t"), 300)
	switch said.Exit {
	case exitLocked:
		return r.locked(line)
	case exitNone:
		return failure("no system on the disk", "No system was found on the host's disk: "+problem)
	case exitUnsafe:
		return failure("disk not safe to write", "The host's disk must not be written to from outside: "+problem)
	case exitSeveral:
		return failure("several systems on the disk", "More than one system was found on the host's disk, and none is guessed: "+problem)
	}
	last := recovery.Clean(said.Last, 200)
	return failure("disk not opened: "+remedy.Neutral(r.job, last), "The rescue system could not open the host's disk, its last words being “"+last+"”.")
}

// locked is the result for an encrypted volume without its key: "locked DEV luks|bitlocker KEY-ID".
func (r *rescue) locked(line string) recovery.Result {
	words := append(strings.Fields(recovery.Clean(line, 300)), "", "", "", "")
	device, kind, key := words[1], strings.ToLower(words[2]), strings.Join(strings.Fields(strings.Join(words[3:], " ")), " ")
	if kind != "luks" && kind != "bitlocker" {
		kind = "of an unknown kind"
	}
	lack := "no key for it is named in the fleet file (unlock)"
	if r.secret != "" {
		lack = "the key that the fleet file names does not open it"
	}
	if key == "" {
		key = "not shown by the volume"
	}
	return recovery.Result{Class: recovery.Locked, Signature: "disk locked: " + kind,
		Detail: "The volume " + device + " is encrypted (" + kind + "), and " + lack + ": bring the key with the id " + key + "."}
}

// close gives the disk back, so that all that was written is on it before the power goes.
func (r *rescue) close() *recovery.Result {
	within, cancel := context.WithTimeout(r.ctx, closeLimit) // also when the attempt's time is over
	defer cancel()
	said, end := r.command(within, r.there(""), remedy.Command{Line: closeDisk, Limit: closeLimit})
	if end == nil && said.Exit != 0 {
		res := failure("disk not closed", "its last words were “"+recovery.Clean(said.Last, 200)+"”.")
		return &res
	}
	return end
}

// usable reports whether what another machine names as a folder may be one.
func usable(root string) bool {
	return path.IsAbs(root) && root != "/" && len(root) <= 1024 && path.Clean(root) == strings.TrimSuffix(root, "/") &&
		!strings.ContainsFunc(root, func(c rune) bool { return c < ' ' || c == 0x7f })
}
