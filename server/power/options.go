package power

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

// maxInput is the size of all that a program is told, in bytes. It is less than a pipe holds, so a program that does not read stops nobody.
const maxInput = 32 << 10

// input is what the program reads on its standard input: one key=value line per option, in a fixed order. The veil hides the secrets
// among them. An option that could be read as more than one line is refused, and so is one that is given twice.
func (a *Agent) input(action string, more map[string]string) (string, veil, error) {
	options := defaults(a.control.Program, a.timeout)
	for key := range options {
		if given(a.control.Options, key) || given(a.control.Secrets, key) {
			delete(options, key)
		}
	}
	var hidden veil
	for _, source := range []map[string]string{a.control.Options, a.control.Secrets, more, {"action": action}} {
		for _, key := range sorted(source) {
			if given(options, key) {
				return "", nil, a.problem(recovery.Failed, "wrong options", fmt.Sprintf("is given the option %q twice; give it once", recovery.Clean(key, 40)))
			}
			options[key] = source[key]
		}
	}
	for _, key := range sorted(a.control.Secrets) {
		value, err := ReadSecret(a.control.Secrets[key])
		if err != nil {
			return "", nil, a.problem(recovery.Failed, "secret missing", fmt.Sprintf("needs the secret %q, but %s", recovery.Clean(key, 40), err))
		}
		options[key] = value
		hidden = hidden.add(value)
	}

	var text strings.Builder
	for _, key := range sorted(options) {
		if flaw := flawOf(key, options[key]); flaw != "" {
			return "", nil, a.problem(recovery.Failed, "wrong options", fmt.Sprintf("cannot be given the option %q: %s", recovery.Clean(key, 40), flaw))
		}
		text.WriteString(key + "=" + quoted(options[key]) + "\n")
	}
	if text.Len() > maxInput {
		return "", nil, a.problem(recovery.Failed, "wrong options", fmt.Sprintf("has more than %d bytes of options; shorten them", maxInput))
	}
	return text.String(), hidden, nil
}

// defaults are the options that make a fence agent answer within the control's timeout. The control's own options win. None is less than
// 5 s: a coordinator with many agents at once is slow too.
func defaults(program string, timeout time.Duration) map[string]string {
	seconds := func(part time.Duration) string { return strconv.Itoa(max(5, int(part/time.Second))) }
	options := map[string]string{
		"login_timeout": seconds(timeout / 6),
		"shell_timeout": seconds(timeout / 6), // one request; the agents' own 3 s is short for a board under load
		"power_timeout": seconds(timeout / 4), // waiting for a change; we go on reading after it
	}
	if throughIpmitool(program) {
		options["power_timeout"] = seconds(timeout / 6) // here also the time of one ipmitool; a dead board costs all of it
		options["verbose_level"] = "2"                  // only ipmitool -v tells a wrong password from silence; it prints no secret
		if !strings.HasPrefix(filepath.Base(program), "fence_ilo3") {
			options["power_wait"] = "0" // 2 s of idle waiting by default
		}
	}
	return options
}

// throughIpmitool reports whether the program is fence_ipmilan by one of its names.
func throughIpmitool(program string) bool {
	switch filepath.Base(program) {
	case "fence_ipmilan", "fence_ipmilanplus", "fence_idrac", "fence_ilo3", "fence_ilo4", "fence_ilo5", "fence_imm":
		return true
	}
	return false
}

// given reports whether the options hold the key; to the fence agents power_wait and power-wait are the same.
func given(options map[string]string, key string) bool {
	if _, ok := options[key]; ok {
		return true
	}
	for other := range options {
		if strings.EqualFold(strings.ReplaceAll(other, "-", "_"), strings.ReplaceAll(key, "-", "_")) {
			return true
		}
	}
	return false
}

// flawOf says why an option cannot be sent, or "". It never repeats the value.
func flawOf(key, value string) string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	switch {
	case key == "" || strings.ContainsFunc(key, odd):
		return "its name may hold only letters, digits, dots, dashes and underscores"
	case !utf8.ValidString(value):
		return "its value is not UTF-8 text"
	case strings.ContainsFunc(value, unicode.IsControl):
		return "its value holds a line break or control character"
	}
	return ""
}

// quoted puts a value in double quotes if the fence agents, which trim lines and take one pair of quotes off, would else change it.
func quoted(value string) string {
	if strings.TrimSpace(value) != value || strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`) {
		return `"` + value + `"`
	}
	return value
}

// sorted returns the keys of a map in order.
func sorted(options map[string]string) []string {
	keys := make([]string, 0, len(options))
	for key := range options {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
