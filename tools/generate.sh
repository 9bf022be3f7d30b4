#!/bin/sh
# Writes the generated code anew: Go from proto/, then whatever `go generate` finds. Called by make, which builds the
# tools into .bin first. Nothing is deleted before buf has succeeded.
set -eu

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
trap 'exit 1' HUP INT TERM

.bin/buf generate -o "$out"
find proto -name '*.pb.go' | while read -r file; do
	if [ ! -e "$out/$file" ]; then
		rm -f "$file" # its .proto is gone
	fi
done
(cd "$out" && find proto -name '*.pb.go') | while read -r file; do
	cmp -s "$out/$file" "$file" || cp "$out/$file" "$file"
done
go generate ./...
