#!/bin/sh
# Channel File 291, 19 July 2024: removes the bad versions from a Windows volume that is mounted under $BLACKSTART_ROOT in
# a Linux rescue system. Plain POSIX sh: dash and busybox will do. Needs: od, stat -c, sha256sum, cp, touch, mkdir, rm, sync.
#
# In:    BLACKSTART_ROOT  folder on which the Windows volume is mounted, for writing
#        BLACKSTART_KEEP  folder for the copies of what is removed; it is made when it does not exist
# Out:   0 repaired, 10 nothing found, 11 expected place missing, anything else failed (nothing is removed before
#        every bad file has a checked copy); the last line of stdout is the result line.
#
# A name alone decides nothing: good and bad versions share it. Header and time of change decide.
set -u
LC_ALL=C
export LC_ALL
umask 077

# What decides. A test holds these equal to manifest.yaml.
HEADER='aa aa aa aa 01 00 23 01' # signature, version 1, channel number 0x0123 = 291, little endian
BAD_FROM=1721362140              # 2024-07-19T04:09:00Z, the first bad second
BAD_TO=1721366820                # 2024-07-19T05:27:00Z, the first good second

bad=0 good=0 zeroed=0 other=0 removed=0 kept=0

say() { printf '%s\n' "$*" >&2; }

# finish EXIT OUTCOME [REASON]: the only way out.
finish() {
	printf 'BLACKSTART-RESULT outcome=%s bad=%d good=%d zeroed=%d other=%d removed=%d kept=%d%s\n' \
		"$2" "$bad" "$good" "$zeroed" "$other" "$removed" "$kept" "${3:+ reason=$3}"
	exit "$1"
}

# fail EXIT REASON SENTENCE…
fail() {
	code=$1 reason=$2
	shift 2
	say "$*"
	finish "$code" failed "$reason"
}

# shown PATH sets $shown to the file's name, or to a description of it where the name could garble the output.
shown() {
	shown=${1##*/}
	case $shown in
	*[!A-Za-z0-9._\ \(\)-]*) shown="(a file with unusual characters in its name)" ;;
	esac
}

# folder PATH: is it a real folder that can be listed? A link is never followed: it may lead off the volume.
folder() {
	if [ -L "$1" ]; then
		links=$((links + 1))
		say "not following the link $1"
		return 1
	fi
	[ -d "$1" ] || return 1
	if [ ! -r "$1" ] || [ ! -x "$1" ]; then
		fail 6 cannot-read "the folder $1 cannot be listed: run as root, or check the volume"
	fi
}

# each FUNCTION: calls it with every file of the right name. On Linux a Windows volume may be case-sensitive: the globs
# match any case, and there may be more than one folder of a name.
each() {
	place=0 links=0
	for windows in "$root"/[Ww][Ii][Nn][Dd][Oo][Ww][Ss]; do
		folder "$windows" || continue
		for system in "$windows"/[Ss][Yy][Ss][Tt][Ee][Mm]32; do
			folder "$system" || continue
			for drivers in "$system"/[Dd][Rr][Ii][Vv][Ee][Rr][Ss]; do
				folder "$drivers" || continue
				for place_found in "$drivers"/[Cc][Rr][Oo][Ww][Dd][Ss][Tt][Rr][Ii][Kk][Ee]; do
					folder "$place_found" || continue
					place=1
					for file in "$place_found"/[Cc]-00000291*.[Ss][Yy][Ss]; do
						if [ -L "$file" ] || [ -e "$file" ]; then "$1" "$file"; fi
					done
				done
			done
		done
	done
}

# classify FILE sets $kind: bad, good, zeroed (an artefact of a crash while the file was written: neither bad nor good) or other.
classify() {
	kind=other
	if [ -L "$1" ] || [ ! -f "$1" ]; then return; fi
	changed=$(stat -c %Y "$1") || unreadable "$1"
	[ "$changed" -ge "$BAD_FROM" ] || return 0
	head=$(od -An -v -tx1 -N8 <"$1") || unreadable "$1"
	case $head in
	*"$HEADER"*) if [ "$changed" -lt "$BAD_TO" ]; then kind=bad; else kind=good; fi ;;
	*'00 00 00 00 00 00 00 00'*) kind=zeroed ;;
	esac
}

unreadable() {
	shown "$1"
	fail 6 cannot-read "$shown cannot be read, so nothing was decided and nothing more was changed: check the volume (chkdsk)"
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
	zeroed) zeroed=$((zeroed + 1)) ;;
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
'') fail 2 no-root "BLACKSTART_ROOT is empty: set it to the folder on which the Windows volume is mounted" ;;
/*) ;;
*) fail 2 no-root "BLACKSTART_ROOT is not an absolute path: set it to the folder on which the Windows volume is mounted" ;;
esac
case ${BLACKSTART_KEEP:-} in
/*) ;;
*) fail 2 no-keep "BLACKSTART_KEEP is not an absolute path: set it to a folder for the copies" ;;
esac

each count
if [ "$place" -eq 0 ]; then
	if [ "$links" -gt 0 ]; then
		fail 7 link-in-the-way "the CrowdStrike folder is behind a link that this script does not follow: do this host by hand"
	fi
	say "no Windows/System32/drivers/CrowdStrike under $root: is the right volume mounted and unlocked?"
	finish 11 place-missing
fi
if [ "$bad" -eq 0 ]; then
	finish 10 nothing-found
fi

# Copies first, all of them, checked and on the disk.
mkdir -p "$BLACKSTART_KEEP" || fail 3 copy-failed "the folder $BLACKSTART_KEEP cannot be made: is the volume mounted for writing?"
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
	rm -f "$file" || fail 4 cannot-remove "$shown could not be removed: is the volume mounted for writing?"
	removed=$((removed + 1))
	n=$((n + 1))
done

# Look again, from the top: what counts is what is there now.
was=$bad
bad=0 good=0 zeroed=0 other=0
each count
if [ "$bad" -ne 0 ]; then
	removed=$((was - bad))
	fail 5 still-bad "$bad bad files are still there after $was were removed"
fi
bad=$was
finish 0 repaired
