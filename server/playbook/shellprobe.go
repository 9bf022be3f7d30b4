package playbook

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// ShellProbe writes a POSIX shell script that evaluates the playbooks' probes on a host without an agent, by the rules of
// Probe, below $BLACKSTART_ROOT (empty means the running system). It changes nothing on the host. ParseProbeOutput reads
// what it prints: the boot id and one line per playbook; anything else in the output is to be ignored.
//
// Needed on the host: a POSIX shell (dash, busybox, bash), and of GNU coreutils or busybox `stat -c`, `od -An -tx1 -N` and
// `sha256sum`, each only where a probe asks for it. Wildcards match bytes, and case is that of ASCII letters.
//
// Everything that comes from a playbook stands in the script in single quotes, as a digit, or as a pattern built letter by
// letter.
func ShellProbe(playbooks ...*Playbook) string {
	var b strings.Builder
	b.WriteString(probePrologue)
	for _, p := range playbooks {
		fmt.Fprintf(&b, "\n# ---- %s\nbegin\n", commentSafe(p.Facts.Name))
		for _, set := range []struct {
			counter string
			probes  []Probe
		}{{"bad", p.Bad}, {"good", p.Good}} {
			for _, probe := range set.probes {
				writeWalk(&b, probe)
				writeConditions(&b, set.counter, probe)
			}
		}
		fmt.Fprintf(&b, "answer %s\n", quote(p.Facts.Digest))
	}
	fmt.Fprintf(&b, "\nprintf 'BLACKSTART-PROBE end playbooks=%%d\\n' %d\n", len(playbooks))
	return b.String()
}

// maxProbeFiles bounds the files of one probe; a probe that meets more says so and proves nothing.
const maxProbeFiles = 512

const probePrologue = `# Blackstart: read-only probes. Prints one line per playbook.
set -u
LC_ALL=C
export LC_ALL
IFS=' 	
'
nl='
'
root=${BLACKSTART_ROOT:-}
case $root in
'' | /*) ;;
*) printf 'BLACKSTART-PROBE error=relative-root\n'; exit 1 ;;
esac
if cd -P "${root:-/}" 2>/dev/null; then root=$PWD; fi
while [ "$root" != "${root%/}" ]; do root=${root%/}; done

# folder PATH r|x sets $real: the folder's path without links, if it lies below the root and can be listed (r) or gone through (x).
folder() {
	[ -d "$1" ] || return 1
	real=$1
	if [ -L "$1" ]; then
		cd -P "$1" 2>/dev/null || return 1
		real=$PWD
		case $real/ in "$root"/*) ;; *) return 1 ;; esac
	fi
	if [ ! -x "$real" ] || [ ! "-$2" "$real" ]; then
		error=cannot-list
		return 1
	fi
}

# header FILE BYTES HEX
header() {
	dump=$(od -An -v -tx1 -N"$2" <"$1") || { error=cannot-read; return 1; }
	hex=
	for byte in $dump; do hex=$hex$byte; done
	[ "$hex" = "$3" ]
}

# content FILE SHA256
content() {
	sum=$(sha256sum <"$1") || { error=cannot-read; return 1; }
	[ "${sum%% *}" = "$2" ]
}

begin() {
	bad=0 good=0 seen=0 place=0 error=- counted= looked=
}

# answer DIGEST
answer() {
	if [ "$place" -eq 1 ]; then missing=0; else missing=1; fi
	printf 'BLACKSTART-CONTENT playbook=%s bad=%d good=%d seen=%d missing=%d error=%s\n' \
		"$1" "$bad" "$good" "$seen" "$missing" "$error"
}

boot=
for file in "$root/proc/sys/kernel/random/boot_id" /proc/sys/kernel/random/boot_id; do
	if [ -r "$file" ] && IFS= read -r boot <"$file" && [ -n "$boot" ]; then break; fi
done
printf 'BLACKSTART-PROBE boot=%s\n' "$boot"
`

// writeWalk writes the loops that put every file matching the probe's path into the positional parameters.
func writeWalk(b *strings.Builder, p Probe) {
	elements := strings.Split(strings.TrimPrefix(p.Path, "/"), "/")
	last := len(elements) - 1
	listed := func(i int) string { // what element i asks of the folder above it
		if strings.ContainsAny(elements[i], "*?") || p.IgnoreCase {
			return "r"
		}
		return "x"
	}
	fmt.Fprintf(b, "set --\nif folder \"${root:-/}\" %s; then\n", listed(0))
	if last == 0 {
		b.WriteString("place=1\n")
	}
	above := "$root"
	for i, e := range elements {
		v := "d" + strconv.Itoa(i)
		pattern := shellPattern(e, p.IgnoreCase)
		if strings.ContainsAny(e, "*?") && strings.ContainsRune("*?.", rune(e[0])) {
			// A leading wildcard of a shell's glob passes over dot files, which a probe's does not; and .* would climb to ...
			fmt.Fprintf(b, "for %s in \"%s\"/* \"%s\"/.*; do\ncase ${%s##*/} in . | ..) continue ;; %s) ;; *) continue ;; esac\n", v, above, above, v, pattern)
		} else {
			fmt.Fprintf(b, "for %s in \"%s\"/%s; do\n", v, above, pattern)
		}
		above = "$" + v
		if i < last {
			fmt.Fprintf(b, "folder \"%s\" %s || continue\n%s=$real\n", above, listed(i+1), v)
			if i == last-1 {
				b.WriteString("place=1\n")
			}
		}
	}
	fmt.Fprintf(b, "if [ ! -f \"%s\" ] || [ -L \"%s\" ]; then continue; fi\n", above, above)
	fmt.Fprintf(b, "if [ $# -ge %d ]; then error=too-many-files; break %d; fi\n", maxProbeFiles, len(elements))
	fmt.Fprintf(b, "set -- \"$@\" \"%s\"\n", above)
	b.WriteString(strings.Repeat("done\n", len(elements)))
	b.WriteString("fi\n")
}

// writeConditions writes the loop that counts those of the positional parameters on which every condition holds.
func writeConditions(b *strings.Builder, counter string, p Probe) {
	timed := !p.ModifiedFrom.IsZero() || !p.ModifiedTo.IsZero()
	stat := timed || p.MinSize > 0
	b.WriteString("if [ $# -gt 0 ]; then\n")
	if stat {
		// One fork for all files: a line each, in their order.
		b.WriteString("facts=$(stat -c '%Y %s' \"$@\") || { error=cannot-read; set --; }\n")
	}
	b.WriteString("for file do\n")
	if stat {
		b.WriteString("line=${facts%%\"$nl\"*} facts=${facts#*\"$nl\"}\n")
	}
	b.WriteString("case $counted in *\"//$file//\"*) continue ;; esac\n")
	b.WriteString("case $looked in *\"//$file//\"*) ;; *) looked=$looked//$file// seen=$((seen + 1)) ;; esac\n")
	if !p.ModifiedFrom.IsZero() {
		fmt.Fprintf(b, "[ \"${line%% *}\" -ge %d ] || continue\n", p.ModifiedFrom.Unix())
	}
	if !p.ModifiedTo.IsZero() {
		fmt.Fprintf(b, "[ \"${line%% *}\" -lt %d ] || continue\n", p.ModifiedTo.Unix())
	}
	if p.MinSize > 0 {
		fmt.Fprintf(b, "[ \"${line#* }\" -ge %d ] || continue\n", p.MinSize)
	}
	if len(p.Header) > 0 {
		fmt.Fprintf(b, "header \"$file\" %d %s || continue\n", len(p.Header), hex.EncodeToString(p.Header))
	}
	if p.SHA256 != "" {
		fmt.Fprintf(b, "content \"$file\" %s || continue\n", quote(p.SHA256))
	}
	fmt.Fprintf(b, "%s=$((%s + 1)) counted=$counted//$file//\ndone\nfi\n", counter, counter)
}

// shellPattern turns one element of a probe's path into a shell pattern: wildcards stay bare, a letter becomes a bracket
// of both cases where case does not count, and everything else is quoted.
func shellPattern(element string, ignoreCase bool) string {
	var b, literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			b.WriteString(quote(literal.String()))
			literal.Reset()
		}
	}
	for i := range len(element) {
		c := element[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		switch {
		case c == '*' || c == '?':
			flush()
			b.WriteByte(c)
		case letter && ignoreCase:
			flush()
			fmt.Fprintf(&b, "[%c%c]", c&^0x20, c|0x20)
		default:
			literal.WriteByte(c)
		}
	}
	flush()
	return b.String()
}

// quote makes a single word of any text for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// commentSafe keeps a name inside its comment.
func commentSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, s)
}
