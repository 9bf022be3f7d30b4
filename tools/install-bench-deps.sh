#!/bin/sh
# Installs what `make bench` compares Blackstart with, on a Debian machine, beside what the tests need: ClusterShell's clush,
# parallel-ssh and Ansible. Safe to run again: says nothing when all is there. As install-test-deps.sh, which does the work,
# it starts and enables no SSH server of the system's own.
set -eu

exec sh "$(dirname "$0")/install-test-deps.sh" \
	clustershell:clush pssh:parallel-ssh ansible-core:ansible
