package lab

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"
)

func parseRange(s string) (Range, error) {
	lo, hi, two := strings.Cut(s, "..")
	a, err := time.ParseDuration(lo)
	b := a
	if err == nil && two {
		b, err = time.ParseDuration(hi)
	}
	if err != nil || a < 0 || b < a {
		return Range{}, fmt.Errorf("%q is no duration or range; write 90s or 2m..5m, the smaller first", s)
	}
	return Range{a, b}, nil
}

func parseCount(s string) (Count, error) {
	lo, hi, two := strings.Cut(s, "..")
	a, err := parseWhole(lo)
	b := a
	if err == nil && two {
		b, err = parseWhole(hi)
	}
	if err != nil || b < a {
		return Count{}, fmt.Errorf("%q is no whole number or range; write 3 or 2..6, the smaller first", s)
	}
	return Count{a, b}, nil
}

// validPattern refuses what path.Match could not use.
func validPattern(s string) error {
	if _, err := path.Match(s, ""); err != nil || s == "" {
		return fmt.Errorf("%q is no host name or pattern; write brt-app01 or brt-app*", s)
	}
	return nil
}

// validFolder refuses a folder that would lie outside a machine's disk.
func validFolder(s string) error {
	if s == "" || path.Clean("/" + s)[1:] != s {
		return fmt.Errorf("%q is no folder below the disk; write it with slashes and without a slash at either end", s)
	}
	return nil
}

func parseText(s string) (string, error) { return strings.TrimSpace(s), nil }

func parseName(s string) (string, error) {
	if s == "" {
		return "", errors.New("a scenario needs a name, such as estate-2024")
	}
	return s, nil
}

func parseFileName(s string) (string, error) {
	if s == "" || s == "." || s == ".." || path.Base(s) != s || strings.ContainsRune(s, '\\') {
		return "", fmt.Errorf("%q is no file name; write it without a folder", s)
	}
	return s, nil
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is no time; write it as 2024-07-19T04:09:00Z", s)
	}
	return t, nil
}

func parseSeed(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no seed; write a whole number above 0", s)
	}
	return n, nil
}

func parseWhole(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1_000_000_000 {
		return 0, fmt.Errorf("%q is no whole number", s)
	}
	return n, nil
}

func parsePositive(s string) (int, error) {
	n, err := parseWhole(s)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no whole number above 0", s)
	}
	return n, nil
}

func parseSize(s string) (int64, error) {
	n, err := parseWhole(s)
	if err != nil || n > 1<<30 {
		return 0, fmt.Errorf("%q is no size; write a number of bytes up to 1 GiB", s)
	}
	return int64(n), nil
}

func parsePercent(s string) (int, error) {
	n, err := parseWhole(strings.TrimSuffix(s, "%"))
	if err != nil || n > 100 || !strings.HasSuffix(s, "%") {
		return 0, fmt.Errorf("%q is no share; write it as 35%%", s)
	}
	return n, nil
}

func parsePark(s string) (Count, error) {
	if s == "never" {
		return Count{}, nil
	}
	c, err := parseCount(s)
	if err != nil || c.Min == 0 {
		return Count{}, fmt.Errorf("%q is no number of crashes; write never, 3 or 3..8", s)
	}
	return c, nil
}

func parseHeader(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil || len(b) == 0 || len(b) > 64 {
		return nil, fmt.Errorf("%q is no header; write 1 to 64 bytes in hex, such as AA AA AA AA 01 00 23 01", s)
	}
	return b, nil
}
