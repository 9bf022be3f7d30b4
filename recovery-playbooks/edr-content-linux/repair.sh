#!/bin/sh
# Removes bad content files of an endpoint-security product (EDR) from a Linux host: from the running system, or from a
# volume that a rescue system has mounted under $BLACKSTART_ROOT. Plain POSIX sh: dash and busybox will do. Needs: od,
# stat -c, sha256sum, cp, touch, mkdir, rm, sync. EDIT THE FACTS BELOW, and the same facts in manifest.yaml: see README.md.
#
# In:    BLACKSTART_ROOT  empty for the running system, else the folder on which the host's volume is mounted, for writing
#        BLACKSTART_KEEP  folder for the copies of what is removed; it is made when it does not exist
# Out:   0 repaired, 10 nothing found, 11 expected place missing, anything else failed (nothing is removed before
#        every bad file has a checked copy); the last line of stdout is the result line.
set -u
LC_ALL=C
export LC_ALL
umask 077

# ---- the facts: an example, to be edited. A test holds these equal to manifest.yaml. -----------------------------------
FOLDER=/opt/edr/content    # where the content files are, as the host itself sees it
NAMES='*.bin'              # their names; * and ? are wildcards
HEADER='45 44 52 43 01 00' # the first bytes of a content file, in hex
BAD_FROM=1768471200        # 2026-01-15T10:00:00Z, the first bad second of the time of change
BAD_TO=1768476600          # 2026-01-15T11:30:00Z, the first good second
# Files that are bad whatever their time of change: digests with a space between them, or empty.
BAD_SHA256='8ff647981fe88d3f63b840935e4fc099ee2fc7cf6d5ae0ab7f5e24234afdc9fb'
# -----------------------------------------------------------------------------------------------------------------------

bad=0 good=0 other=0 removed=0 kept=0

say() { printf '%s\n' "$*" >&2; }

# finish EXIT OUTCOME [REASON]: the only way out.
finish() {
	printf 'BLACKSTART-RESULT outcome=%s bad=%d good=%d other=%d removed=%d kept=%d%s\n' \
		"$2" "$bad" "$good" "$other" "$removed" "$kept" "${3:+ reason=$3}"
	exit "$1"
}

# fail EXIT REASON SENTENCE
fail() {
	say "$3"
	finish "$1" failed "$2"
}

# shown PATH sets $shown to the file's name, or to a description of it where the name could garble the output.
shown() {
	shown=${1##*/}
	case $shown in
	*[!A-Za-z0-9._\ \(\)-]*) shown="(a file with unusual characters in its name)" ;;
	esac
}

# each FUNCTION: calls it with every file of the right name.
each() {
	for file in "$place"/* "$place"/.*; do
		case ${file##*/} in
		. | ..) continue ;;
		$NAMES) if [ -L "$file" ] || [ -e "$file" ]; then "$1" "$file"; fi ;;
		esac
	done
}

# classify FILE sets $kind: bad, good or other. The dearest question comes last.
classify() {
	kind=other
	if [ -L "$1" ] || [ ! -f "$1" ]; then return; fi
	changed=$(stat -c %Y "$1") || unreadable "$1"
	if [ "$changed" -ge "$BAD_FROM" ]; then
		head=$(od -An -v -tx1 -N"$header_size" <"$1") || unreadable "$1"
		case $head in
		" $HEADER") if [ "$changed" -lt "$BAD_TO" ]; then kind=bad; else kind=good; fi ;;
		esac
	fi
	if [ -n "$BAD_SHA256" ] && [ "$kind" != bad ]; then
		digest "$1" || unreadable "$1"
		case " $BAD_SHA256 " in *" $digest "*) kind=bad ;; esac
	fi
}

unreadable() {
	shown "$1"
	fail 6 cannot-read "$shown cannot be read, so nothing was decided and nothing more was changed: check the disk"
}

# count FILE adds it to the counters and remembers bad ones as bad_1, bad_2 …
count() {
	classify "$1"
	case $kind in
	bad)
		bad=$((bad + 1))
		eval "bad_$bad=\$1"
		;;
	good) good=$((good + 1)) ;;
	*) other=$((other + 1)) ;;
	esac
	shown "$1"
	say "$kind: $shown"
}

# digest FILE sets $digest.
digest() {
	digest=$(sha256sum <"$1") && digest=${digest%% *} && [ ${#digest} -eq 64 ]
}

# keep FILE NUMBER puts a checked copy of the file into the keep folder.
keep() {
	shown "$1"
	copy=$BLACKSTART_KEEP/$2-${1##*/}
	if [ -e "$copy" ] || [ -L "$copy" ]; then
		fail 3 copy-exists "a copy of $shown is in $BLACKSTART_KEEP already: use an empty folder"
	fi
	if ! digest "$1"; then unreadable "$1"; fi
	original=$digest
	if ! cp "$1" "$copy" || ! digest "$copy" || [ "$digest" != "$original" ]; then
		rm -f "$copy"
		fail 3 copy-failed "$shown could not be copied to $BLACKSTART_KEEP, so nothing was removed: make room there"
	fi
	touch -r "$1" "$copy" || say "the copy of $shown does not have its time of change"
	if ! printf '%s  %s\n' "$original" "$2-${1##*/}" >>"$BLACKSTART_KEEP/SHA256SUMS"; then
		fail 3 copy-failed "the list of copies could not be written to $BLACKSTART_KEEP, so nothing was removed: make room there"
	fi
	kept=$((kept + 1))
	eval "copy_$2=\$copy"
}

# ---- the work -------------------------------------------------------------------------------------------------------

root=${BLACKSTART_ROOT:-}
while [ "$root" != "${root%/}" ]; do root=${root%/}; done
case $root in
'' | /*) ;;
*) fail 2 no-root "BLACKSTART_ROOT is not an absolute path: set it to the folder on which the host's volume is mounted" ;;
esac
case ${BLACKSTART_KEEP:-} in
/*) ;;
*) fail 2 no-keep "BLACKSTART_KEEP is not an absolute path: set it to a folder for the copies" ;;
esac
header_size=$(((${#HEADER} + 1) / 3))

# The folder may be reached through links, but never off the volume.
place=$root$FOLDER
if [ ! -d "$place" ]; then
	say "no folder $place: is the product installed there, and the right volume mounted?"
	finish 11 place-missing
fi
top=$(cd "${root:-/}" && pwd -P) && place=$(cd "$place" && pwd -P) && [ -r "$place" ] && [ -x "$place" ] ||
	fail 6 cannot-read "the folder $root$FOLDER cannot be listed: run as root, or check the disk"
case $place/ in
"${top%/}"/*) ;;
*) fail 7 link-in-the-way "the folder $root$FOLDER is a link that leads off the volume: do this host by hand" ;;
esac

each count
if [ "$bad" -eq 0 ]; then
	finish 10 nothing-found
fi

# Copies first, all of them, checked and on the disk.
mkdir -p "$BLACKSTART_KEEP" || fail 3 copy-failed "the folder $BLACKSTART_KEEP cannot be made: is the disk writable?"
n=1
while [ "$n" -le "$bad" ]; do
	eval "file=\$bad_$n"
	keep "$file" "$n"
	n=$((n + 1))
done
set --
n=1
while [ "$n" -le "$bad" ]; do
	eval "set -- \"\$@\" \"\$copy_$n\""
	n=$((n + 1))
done
sync "$@" || fail 3 copy-failed "the copies in $BLACKSTART_KEEP could not be written to the disk, so nothing was removed"

n=1
while [ "$n" -le "$bad" ]; do
	eval "file=\$bad_$n"
	shown "$file"
	rm -f "$file" || fail 4 cannot-remove "$shown could not be removed: is the disk writable?"
	removed=$((removed + 1))
	n=$((n + 1))
done

# Look again, from the top: what counts is what is there now.
was=$bad
bad=0 good=0 other=0
each count
if [ "$bad" -ne 0 ]; then
	removed=$((was - bad))
	fail 5 still-bad "$bad bad files are still there after $was were removed"
fi
bad=$was
finish 0 repaired
