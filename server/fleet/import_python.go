package fleet

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// invValue is what an inventory says of a variable that Blackstart uses. One that Ansible would read in a way that is not
// certain is a problem only where it is used.
type invValue struct {
	at
	s       string
	problem string
	do      string
}

func (v invValue) same(other invValue) bool { return v.s == other.s && v.problem == other.problem }

const (
	useJSON  = "write it out, or import the output of `ansible-inventory --list` with --json"
	quoteINI = `put it into two pairs of quotes, as in "'value'"`
)

// iniValue reads a value of an INI inventory. Ansible gives it to Python's literal_eval and keeps the text as it is when that
// fails, so 0x1f is 31 and 007 is a text. Taken here is what is certain: whole numbers, quoted texts, addresses, and words
// that begin with a letter.
func iniValue(s string, where at) invValue {
	v := invValue{at: where}
	switch {
	case holdsTemplate(s):
		v.problem, v.do = "holds a template, "+quote(s), useJSON
	case s == "":
		v.problem, v.do = "is empty", "write a value, or remove it"
	case decimal.MatchString(s):
		v.s = s
	case s[0] == '\'' || s[0] == '"':
		inside := s[1:]
		if end := strings.IndexByte(inside, s[0]); end >= 0 && end == len(inside)-1 && !strings.Contains(inside, `\`) && end > 0 {
			v.s = inside[:end]
			return v
		}
		v.problem, v.do = "is "+quote(s)+", a quoted text with something beside or in it", "write a plain word, and comments on a line of their own"
	case pythonWord(s):
		v.s = s
	default:
		if _, err := netip.ParseAddr(s); err == nil {
			v.s = s
			return v
		}
		v.problem, v.do = fmt.Sprintf("is %s, which Ansible may read as something else than this text", quote(s)), quoteINI
	}
	return v
}

var (
	decimal      = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})$`)
	plainStart   = regexp.MustCompile(`^-{0,2}[\p{L}_]`)
	digitStart   = regexp.MustCompile(`^[0-9][0-9A-Za-z._-]*[g-ik-np-wyzG-IK-NP-WYZ][0-9A-Za-z._-]*$`) // not a-f, j, o, x
	pythonNoWord = regexp.MustCompile(`^((None|True|False)\b|set\s*\(|(?i:[rbuf]{1,2})['"])`)
)

// pythonWord reports whether Python's literal_eval certainly fails, so that the text stays what it is: it begins with a
// letter or with - and a letter, and is none of Python's constants or prefixed texts; or it begins with a digit, and has a
// letter that no number has.
func pythonWord(s string) bool {
	return plainStart.MatchString(s) && !pythonNoWord.MatchString(s) && !strings.Contains(s, "#") || digitStart.MatchString(s)
}

func holdsTemplate(s string) bool {
	return strings.Contains(s, "{{") || strings.Contains(s, "{%") || strings.Contains(s, "{#")
}

// notText is what YAML 1.1, which Ansible reads, makes of a plain word other than a text.
var notText = regexp.MustCompile(`^(` + strings.Join([]string{
	`~|null|Null|NULL|`,
	`yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF`,
	`[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+`,
	`[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?`,
	`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)`,
	`[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9].*`,
	`=|<<`,
}, "|") + `)$`)
