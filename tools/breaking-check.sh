#!/bin/sh
# Fails when the wire no longer understands agents built from an earlier commit. Compared with: the last release tag,
# and where this branch left main (on main itself: the commit before). Neither exists in a young history: then there
# is nothing to break yet, and it says so. BREAKING_AGAINST=REF compares with that one only.
set -eu

git() { command git -c safe.directory='*' "$@"; }
has_protos() { [ -n "$(git ls-tree -r --name-only "$1" -- proto 2>/dev/null | grep '\.proto$')" ]; }

bases=${BREAKING_AGAINST:-}
if [ -z "$bases" ] && git rev-parse -q --verify HEAD >/dev/null 2>&1; then
	head=$(git rev-parse HEAD)
	tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' HEAD 2>/dev/null || true)
	fork=
	for main in origin/main main; do
		if git rev-parse -q --verify "$main^{commit}" >/dev/null 2>&1; then
			fork=$(git merge-base "$main" HEAD 2>/dev/null || true)
			break
		fi
	done
	# On main, or without one, the commit before; a tree with changes to proto is compared with its own commit too.
	if [ -z "$fork" ] || [ "$fork" = "$head" ]; then
		fork=$(git rev-parse -q --verify 'HEAD^1^{commit}' 2>/dev/null || true)
	fi
	bases="$tag $fork"
	if [ -n "$(git status --porcelain -- proto 2>/dev/null)" ]; then
		bases="$bases $head"
	fi
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

compared=
for base in $bases; do
	if ! has_protos "$base"; then
		continue
	fi
	commit=$(git rev-parse --short "$base^{commit}")
	case " $compared " in *" $commit "*) continue ;; esac
	mkdir "$tmp/$commit"
	git archive "$base" -- proto | tar -xf - -C "$tmp/$commit"
	cp buf.yaml "$tmp/$commit/buf.yaml"
	if ! .bin/buf breaking --against "$tmp/$commit"; then
		echo "breaking-check: the wire changed against $base ($commit) in a way that older agents do not survive: add fields and methods, never change or remove them" >&2
		exit 1
	fi
	compared="$compared $commit"
done
if [ -z "$compared" ]; then
	echo "breaking-check: no earlier commit with a .proto to compare with"
fi
