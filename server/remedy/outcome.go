package remedy

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/blackstart-recovery/blackstart/server/recovery"
)

const resultWord = "BLACKSTART-RESULT "

// judge turns a script's exit and output into the class of its attempt.
func judge(job recovery.Job, exit int, output string) recovery.Result {
	line := resultLine(output)
	res := recovery.Result{Exit: exit, Line: oneLine(line, 512)}
	outcome := field(res.Line, "outcome")
	set := func(class recovery.Class, signature, detail string) recovery.Result {
		res.Class, res.Signature, res.Detail = class, signature, detail
		return res
	}
	switch {
	case exit == 0 && job.Plain:
		return set(recovery.Succeeded, "", "The script ended with 0.")
	case job.Plain: // its other exits are its own affair
	case exit == 0 && outcome == "repaired":
		return set(recovery.Succeeded, "", "The script says that it has repaired the host; proof is to come.")
	case exit == 0 && line == "":
		return set(recovery.Failed, "no result line", "The script ended with 0 but without its result line, so nothing is claimed; read its output.")
	case exit == 0:
		return set(recovery.Failed, "exit 0 without a repair", "The script ended with 0 while its result line says "+quoted(outcome)+"; read its output and correct the playbook.")
	case exit == 10:
		return set(recovery.NothingFound, "nothing found", "The script found nothing bad: the host is cured, was never hit, or the script looked in the wrong place.")
	case exit == 11:
		return set(recovery.Failed, "expected place missing", "The place where the bad content is expected does not exist; check the rung's root and whether the volume is mounted and unlocked.")
	}
	last := lastWords(output)
	if known := knownCause(last); known != "" {
		last = known
	}
	signature := fmt.Sprintf("exit %d", exit)
	if said := neutral(job, last); said != "" {
		signature += ": " + said
	}
	return set(recovery.Failed, signature, fmt.Sprintf("The script ended with %d%s; read its output.", exit, said(last)))
}

func said(last string) string {
	if last == "" {
		return " and said nothing"
	}
	return ", its last words being " + quoted(last)
}

func quoted(text string) string { return "“" + oneLine(text, 160) + "”" }

// resultLine returns the last line that begins as a result line does. stderr shares the stream, so something may follow it.
func resultLine(output string) string {
	at := strings.LastIndex("\n"+output, "\n"+resultWord)
	if at < 0 {
		return ""
	}
	line, _, _ := strings.Cut(output[at:], "\n")
	return line
}

// field returns the value of key in a line of key=value words.
func field(line, key string) string {
	for word := range strings.FieldsSeq(line) {
		if value, ok := strings.CutPrefix(word, key+"="); ok {
			return value
		}
	}
	return ""
}

// lastWords returns the last line of an output that is neither empty nor a result line.
func lastWords(output string) string {
	if len(output) > 8<<10 {
		output = output[len(output)-8<<10:]
	}
	lines := strings.Split(output, "\n")
	for n := len(lines) - 1; n >= 0; n-- {
		if line := oneLine(lines[n], 400); line != "" && !strings.HasPrefix(line, strings.TrimSpace(resultWord)) {
			return line
		}
	}
	return ""
}

// knownCause names the causes that every tool words alike under LC_ALL=C.
func knownCause(text string) string {
	for _, cause := range [][2]string{
		{"no space left on device", "disk full"}, {"disk quota exceeded", "disk full"},
		{"read-only file system", "read-only file system"}, {"permission denied", "permission denied"},
		{"operation not permitted", "operation not permitted"}, {"input/output error", "input/output error"},
		{"device or resource busy", "device busy"}, {"cannot allocate memory", "out of memory"},
	} {
		if strings.Contains(strings.ToLower(text), cause[0]) {
			return cause[1]
		}
	}
	return ""
}

var (
	address = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b|\b[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){3,7}\b`)
	hexWord = regexp.MustCompile(`\b(0x)?[0-9a-fA-F-]*\d[0-9a-fA-F-]*\b`)
	digits  = regexp.MustCompile(`\d+`)
)

// Neutral makes what a command of a job said last part of a signature: what differs between hosts goes, and what tools word alike gets
// one name.
func Neutral(job recovery.Job, last string) string {
	if known := knownCause(last); known != "" {
		return known
	}
	return neutral(job, last)
}

// neutral takes out of a text what differs between hosts, so that like failures read alike.
func neutral(job recovery.Job, text string) string {
	text = oneLine(text, 400)
	short, _, _ := strings.Cut(job.Host.Name, ".")
	for _, name := range []string{job.Host.Name, job.Rung.Address, short} {
		if name != "" {
			text = regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(name)+`\b`).ReplaceAllLiteralString(text, "HOST")
		}
	}
	text = address.ReplaceAllLiteralString(text, "ADDRESS")
	text = hexWord.ReplaceAllStringFunc(text, func(w string) string {
		if len(w) >= 8 {
			return "#"
		}
		return w
	})
	return oneLine(digits.ReplaceAllLiteralString(text, "#"), 100)
}
