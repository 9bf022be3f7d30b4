#!/bin/sh
# Fails when the generated code in this tree is not what its sources give. It works on a copy of the tree as it
# stands, uncommitted changes included, so it neither writes here nor minds a dirty tree.
set -eu

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$copy/before" "$copy/after"

# All that git would commit; the whole tree where there is no git.
if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	git -c safe.directory='*' ls-files -z --cached --others --exclude-standard --deduplicate >"$copy/all"
	xargs -0 sh -c 'for file; do [ -e "$file" ] || [ -L "$file" ] || continue; printf "%s\0" "$file"; done' sh \
		<"$copy/all" >"$copy/files"
	tar -cf "$copy/tree.tar" --exclude=.bin --null -T "$copy/files"
else
	tar -cf "$copy/tree.tar" --exclude=./.git --exclude=./.bin --exclude=./bin .
fi
tar -xf "$copy/tree.tar" -C "$copy/before"
tar -xf "$copy/tree.tar" -C "$copy/after"
ln -s "$(pwd)/.bin" "$copy/after/.bin"

if ! (cd "$copy/after" && sh tools/generate.sh) >"$copy/log" 2>&1; then
	cat "$copy/log" >&2
	echo "generate-check: the generator failed, see above" >&2
	exit 1
fi
rm "$copy/after/.bin"

if ! (cd "$copy" && diff -rq before after) >"$copy/stale" 2>&1; then
	sed -e 's,^Files before/\(.*\) and after/.* differ$,  stale: \1,' \
		-e 's,^Only in after/*\(.*\): ,  missing: \1/,' \
		-e 's,^Only in before/*\(.*\): ,  left over: \1/,' "$copy/stale" >&2
	(cd "$copy" && diff -ru before after | head -n 40) >&2 || true
	echo "generate-check: generated code is not fresh: run 'make generate' and commit what it changes" >&2
	exit 1
fi
