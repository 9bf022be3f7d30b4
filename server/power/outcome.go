package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const (
	maxDetail = 500 // characters of a detail
	maxSaid   = 160 // characters of the program's words in it
)

// Exit statuses of the contract. The numbers above 2 are those that the fence agents' library names; its agents mostly end with 1 and
// say the rest in words.
const (
	exitDone        = 0
	exitOff         = 2 // of status only
	exitLogin       = 3
	exitConnection  = 4
	exitTimedOut    = 5
	exitWaitingOn   = 6
	exitWaitingOff  = 7
	exitStatus      = 8
	exitNoPassword  = 10
	exitPrivileges  = 11
	exitNoSuchPlug  = 12
	exitNotRunnable = 126
	exitNotFound    = 127
)

// act runs an action whose only answer is its exit status.
func (a *Agent) act(ctx context.Context, action string, more map[string]string) error {
	end, err := a.run(ctx, action, more)
	if err != nil {
		return err
	}
	if end.exit != exitDone {
		return a.failure(ctx, action, end)
	}
	return nil
}

// readPower runs status: exit 0 is on, 2 is off. Shells and interpreters end with 2 as well when they cannot run a program, so "off"
// also wants the word, or at least silence on standard error; and no status may say the other word.
func (a *Agent) readPower(ctx context.Context) (string, error) {
	end, err := a.run(ctx, actionStatus, nil)
	if err != nil {
		return "", err
	}
	saysOn, saysOff := statusOn.MatchString(end.out), statusOff.MatchString(end.out)
	switch {
	case end.exit == exitDone && !saysOff:
		return string(On), nil
	case end.exit == exitOff && !saysOn && (saysOff || strings.TrimSpace(end.errs) == ""):
		return string(Off), nil
	case end.exit == exitDone || end.exit == exitOff:
		return "", a.said(recovery.Failed, "status contradicts itself",
			fmt.Sprintf("answered status with exit %d, but its words do not agree; try it by hand", end.exit), lastLine(end), end.veil)
	}
	return "", a.failure(ctx, actionStatus, end)
}

var (
	statusOn  = regexp.MustCompile(`(?im)^\s*(?:status:\s*)?on\s*$`)
	statusOff = regexp.MustCompile(`(?im)^\s*(?:status:\s*)?off\s*$`)
)

// readBoot runs boot-status: the last line of its output is the target.
func (a *Agent) readBoot(ctx context.Context) (string, error) {
	end, err := a.run(ctx, actionBootStatus, nil)
	if err != nil {
		return "", err
	}
	if end.exit != exitDone {
		return "", a.failure(ctx, actionBootStatus, end)
	}
	switch line := lastOf(end.out); line {
	case bootRescue, bootDisk:
		return line, nil
	default:
		return "", a.said(recovery.Failed, "boot target unknown",
			fmt.Sprintf("ended %q well, but its last line is neither %q nor %q; mend the program", actionBootStatus, bootRescue, bootDisk), line, end.veil)
	}
}

// failure is the error of an end that is none of the good ones.
func (a *Agent) failure(ctx context.Context, action string, end ended) error {
	m, line := meaningOf(end)
	if m.ambiguous && !a.answers(ctx) {
		m = silence
	}
	e := a.said(m.class, m.signature, fmt.Sprintf("failed to do %q: %s", action, m.sentence), line, end.veil)
	e.tired = m.tired
	return e
}

// said makes an Error that ends with a line of the program's own words. They are tidied before secrets are looked for: a secret that is
// interrupted by a terminal's sequences would else come together again.
func (a *Agent) said(class recovery.Class, signature, sentence, line string, hidden veil) *Error {
	if words := recovery.Clean(hidden.over(recovery.Clean(line, keep)), maxSaid); words != "" {
		sentence += fmt.Sprintf("; it said %q", words)
	}
	return a.problem(class, signature, sentence)
}

// meaning is what an end tells us.
type meaning struct {
	class     recovery.Class
	signature string
	sentence  string // what it means and what to do
	ambiguous bool   // the same words are said of a wrong password and of silence
	tired     bool   // the program did its part and tired of waiting
}

// What an end can mean.
var (
	badPassword = meaning{class: recovery.AuthRefused, signature: "password refused", sentence: "the password is refused; correct it where the control's secret lies"}
	badUser     = meaning{class: recovery.AuthRefused, signature: "user refused", sentence: "the user is refused; correct the control's user and secret"}
	badRights   = meaning{class: recovery.AuthRefused, signature: "not enough rights", sentence: "the user may not do this; give it the right to switch power"}
	badLogin    = meaning{class: recovery.AuthRefused, signature: "login refused", sentence: "the login is refused; correct the control's user and secret"}
	noPassword  = meaning{class: recovery.AuthRefused, signature: "no password", sentence: "it wants a password; give the control a secret"}
	unsureLogin = meaning{class: recovery.AuthRefused, signature: "login refused", sentence: "the device can be reached, and the login fails; correct the control's user and secret", ambiguous: true}
	silence     = meaning{class: recovery.Unreachable, signature: "no answer", sentence: "the device does not answer; look at its network and address"}
	untrusted   = meaning{class: recovery.Failed, signature: "certificate not trusted", sentence: "the device's certificate is not trusted; install its authority, or set ssl_insecure=1"}
	badCipher   = meaning{class: recovery.Failed, signature: "cipher suite refused", sentence: "the device does not know the cipher suite; set the option cipher to one that it knows, 17 or 3"}
	badAction   = meaning{class: recovery.Failed, signature: "action not known", sentence: "the program does not know the action; use one that does"}
	badPlug     = meaning{class: recovery.Failed, signature: "no status", sentence: "it cannot tell the power of this machine; check the option that names it"}
	tooSlow     = meaning{class: recovery.Failed, signature: "no change", sentence: "the change did not come in its time", tired: true}
	missingTool = meaning{class: recovery.Failed, signature: "tool missing", sentence: "a program that it needs is not on the coordinator; install it there"}
)

// meaningOf reads an end: first the words, which are more telling than the fence agents' exit status, then the status. It returns the
// line that told it, or the last one.
func meaningOf(end ended) (meaning, string) {
	lines := linesOf(end)
	for _, known := range phrases {
		for _, line := range slices.Backward(lines) {
			if lower := strings.ToLower(line); slices.ContainsFunc(known.said, func(words string) bool { return strings.Contains(lower, words) }) {
				return known.meaning, line
			}
		}
	}
	m, ok := exits[end.exit]
	switch {
	case ok:
	case end.exit < 0:
		m = meaning{class: recovery.Failed, signature: "killed", sentence: "something killed it; try it by hand"}
	default:
		m = meaning{class: recovery.Failed, signature: fmt.Sprintf("exit %d", end.exit), sentence: fmt.Sprintf("it ended with exit status %d; try it by hand", end.exit)}
	}
	return m, lastLine(end)
}

// phrases are words of the fence agents, their library and their tools, the most telling first.
var phrases = []struct {
	said    []string // lower case; any of them
	meaning meaning
}{
	// ipmitool -v
	{[]string{"rakp 2 hmac is invalid", "rakp 4 message has invalid integrity", "activate session command failed"}, badPassword},
	{[]string{"unauthorized name", "invalid user name"}, badUser},
	{[]string{"failed: insufficient privilege", "unauthorized role or privilege", "set session privilege level to"}, badRights}, // its probes fail so too, in other words
	{[]string{"invalid authentication algorithm", "invalid integrity algorithm", "invalid confidentiality algorithm", "no matching cipher suite"}, badCipher},
	{[]string{"get auth capabilities error", "no response from remote controller"}, silence},
	// the fence agents' library
	{[]string{"timed out waiting to power"}, tooSlow},
	{[]string{"have to set login password"}, noPassword},
	{[]string{"does not have the correct privileges"}, badRights},
	{[]string{"unrecognised action"}, badAction},
	// web interfaces, clouds and SSH
	{[]string{"certificate verify failed", "certificate verification failed", "ssl certificate problem", "certificate_verify_failed"}, untrusted},
	{[]string{"401 client error", "401 unauthorized", "failed: unauthorized", "incorrect access key", "authentication failed", "authentication failure",
		"permission denied", "access denied", "invalid credentials", "login incorrect", "incorrect username or password"}, badLogin},
	{[]string{"403 client error", "403 forbidden"}, badRights},
	{[]string{"connection refused", "connection timed out", "connection lost", "connection failed", "connection reset", "no route to host", "network is unreachable",
		"could not resolve", "name or service not known", "name resolution", "failed to connect", "couldn't connect", "max retries exceeded", "timed out"}, silence},
	{[]string{"not found or not accessible", "no module named", "unable to run "}, missingTool},
	// last: said of several things
	{[]string{"unable to connect/login to fencing device"}, unsureLogin},
	{[]string{"unable to obtain correct plug status", "can not find vm uuid", "have to enter existing"}, badPlug},
}

// exits are the statuses of the contract.
var exits = map[int]meaning{
	exitLogin:       badLogin,
	exitConnection:  silence,
	exitTimedOut:    silence,
	exitWaitingOn:   tooSlow,
	exitWaitingOff:  tooSlow,
	exitStatus:      badPlug,
	exitNoPassword:  noPassword,
	exitPrivileges:  badRights,
	exitNoSuchPlug:  badPlug,
	exitNotRunnable: missingTool,
	exitNotFound:    missingTool,
}

// linesOf are the program's lines, tidied but with whatever secrets they hold: those of its output, then those of its standard error.
func linesOf(end ended) []string {
	var lines []string
	for _, text := range []string{end.out, end.errs} {
		for line := range strings.Lines(text) {
			line = logPrefix.ReplaceAllString(recovery.Clean(line, keep), "")
			if line != "" {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// logPrefix is the time and level that the fence agents' library puts before its words.
var logPrefix = regexp.MustCompile(`^\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+: `)

// lastLine is the program's last word.
func lastLine(end ended) string {
	if lines := linesOf(end); len(lines) > 0 {
		return lines[len(lines)-1]
	}
	return ""
}

// lastOf is the last line of a text that is not empty.
func lastOf(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// answers reports whether the device accepts a connection at one of the ports that the fence agents use. They say the same words of a
// refused login and of a device that is not there; to take silence for a refusal would send every host behind it to a person.
func (a *Agent) answers(ctx context.Context) bool {
	address := a.option("ip", "ipaddr")
	if address == "" {
		return true // we cannot know better
	}
	ports := []string{"443", "80", "23"}
	if port := a.option("ipport"); port != "" {
		ports = []string{port}
	} else if a.option("ssh", "secure") != "" {
		ports = []string{"22"}
	}
	dialer := net.Dialer{Timeout: 2 * time.Second}
	for _, port := range ports {
		if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, port)); err == nil {
			conn.Close()
			return true
		}
	}
	return false
}

// option returns the first of the control's options that is there, or "".
func (a *Agent) option(names ...string) string {
	for _, name := range names {
		if value := a.control.Options[name]; value != "" {
			return value
		}
	}
	return ""
}

// classOf returns the class of one of our errors.
func classOf(err error) recovery.Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}
