package fleet

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// size is a number of bytes.
type size struct {
	at
	n int64
}

func (z *size) parse(s string) (problem, do string) {
	n, ok := bytesOf(s)
	if !ok {
		return fmt.Sprintf("is %s, not a size", quote(s)), "write one such as 500MB, 40GB or 1.5TiB"
	}
	if n < 1 || n > largestSize {
		return fmt.Sprintf("is %s", quote(s)), "write a size from 1B to 1000PB"
	}
	z.n = n
	return "", ""
}

// rate is a number of bytes per second.
type rate struct {
	at
	n int64
}

func (r *rate) parse(s string) (problem, do string) {
	const lowest = 1000
	amount, perSecond := strings.CutSuffix(s, "/s")
	n, ok := bytesOf(amount)
	if !perSecond || !ok {
		return fmt.Sprintf("is %s, not bytes per second", quote(s)), "write a number such as 200MB/s; 1Gbit/s is 125MB/s"
	}
	if n < lowest || n > largestSize {
		return fmt.Sprintf("is %s", quote(s)), "write a rate from 1kB/s to 1000PB/s"
	}
	r.n = n
	return "", ""
}

const largestSize = 1000 * 1e15

var (
	sizeShape = regexp.MustCompile(`^([0-9]{1,7})(?:\.([0-9]{1,3}))?(B|kB|MB|GB|TB|PB|KiB|MiB|GiB|TiB|PiB)$`)
	sizeUnits = map[string]int64{
		"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "PB": 1e15,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50,
	}
)

// bytesOf reads "1.5TB". What is more than an int64 comes back as more than largestSize.
func bytesOf(s string) (int64, bool) {
	const thousandths = 1000
	part := sizeShape.FindStringSubmatch(s)
	if part == nil {
		return 0, false
	}
	unit := sizeUnits[part[3]]
	amount, _ := strconv.ParseInt(part[1]+(part[2] + "000")[:3], 10, 64) // at most ten digits
	if amount/thousandths > largestSize/unit {
		return largestSize + 1, true
	}
	return amount/thousandths*unit + amount%thousandths*unit/thousandths, true
}

// level is how far a restore point was verified: L0 to L5.
type level struct {
	at
	l  recovery.Level
	ok bool
}

// given reports whether there is a usable level; one that was refused has a place and nothing else.
func (l level) given() bool { return l.ok }

func (l *level) parse(s string) (problem, do string) {
	if l.l.UnmarshalText([]byte(s)) != nil {
		return fmt.Sprintf("is %s, not a level", quote(s)),
			"write L1 (its repository's checksums hold), L2 (it restores), L3 (its engine's check passes), L4 (its invariants hold) or L5 (a person looked)"
	}
	l.ok = true
	return "", ""
}

// hours is a part of every day, in UTC: "22:00-05:00".
type hours struct {
	at
	s string
}

var hoursShape = regexp.MustCompile(`^((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])$`)

func (h *hours) parse(s string) (problem, do string) {
	const like = `write it in UTC, as in "22:00-05:00"`
	part := hoursShape.FindStringSubmatch(s)
	switch {
	case part == nil:
		return fmt.Sprintf("is %s, not a time of day", quote(s)), like
	case part[1] == part[2]:
		return fmt.Sprintf("is %s, which has no length", quote(s)), like + ", or leave the key out for all day"
	}
	h.s = s
	return "", ""
}
