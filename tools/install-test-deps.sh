#!/bin/sh
# Installs what the tests with real components need on a Debian machine: an SSH server and client with SFTP,
# dropbear, iproute2, python3, procps, busybox, dash, csh, restic, PostgreSQL, SQLite, jq, Ansible, a C compiler for the race detector; and for machines that
# really crash: qemu with its firmware, GRUB, IPMI and fence agents, and what a rescue image is made of and opens disks with.
# Safe to run again: says nothing when all is there. It never starts or enables an SSH server of the system's own; the tests
# start theirs, on loopback.
#
# Without CI=true a missing tool is only said, and the tests that need it name what they left out.
set -eu

packages=''
need() { # need PACKAGE COMMAND|/FILE...: note the package unless one of the commands or files exists
	package=$1
	shift
	for tool in "$@"; do
		case $tool in
		/*) if [ -e "$tool" ]; then return; fi ;;
		*) if command -v "$tool" >/dev/null 2>&1; then return; fi ;;
		esac
	done
	packages="$packages $package"
}

fail() {
	echo "install-test-deps: $1" >&2
	if [ "${CI:-}" = true ]; then
		exit 1
	fi
	echo "install-test-deps: going on without; under CI=true this would have failed" >&2
	exit 0
}

need openssh-server /usr/sbin/sshd sshd
need openssh-client ssh
need openssh-sftp-server /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server /usr/libexec/sftp-server
need iproute2 ip /usr/sbin/ip /sbin/ip
need python3 python3
need procps pgrep
need busybox busybox
need dash dash
# Backups: repositories, a database server with its checks, and what the example of a vendor's program wants. Installing the
# server alone starts no cluster: the tests make theirs.
need restic restic
need postgresql-15 /usr/lib/postgresql/15/bin/postgres
need postgresql-client-15 /usr/lib/postgresql/15/bin/pg_dump
need sqlite3 sqlite3
need jq jq
need csh csh
need dropbear-bin dropbear /usr/sbin/dropbear
need util-linux unshare
need mount mount
need gcc cc gcc
need ansible-core ansible-inventory
need qemu-system-x86 qemu-system-x86_64
need seabios /usr/share/seabios/bios-256k.bin
need ipxe-qemu /usr/lib/ipxe/qemu/pxe-virtio.rom
need grub-common grub-mkimage
need grub-pc-bin /usr/lib/grub/i386-pc/boot.img
need openipmi ipmi_sim
need ipmitool ipmitool
need fence-agents fence_ipmilan /usr/sbin/fence_ipmilan
need redfishtool redfishtool
need e2fsprogs mke2fs /usr/sbin/mke2fs /sbin/mke2fs
need ntfs-3g ntfs-3g
need cpio cpio
need dislocker dislocker-file
need lvm2 lvm /usr/sbin/lvm /sbin/lvm
need cryptsetup-bin cryptsetup /usr/sbin/cryptsetup /sbin/cryptsetup
need xorriso xorriso
need isolinux /usr/lib/ISOLINUX/isolinux.bin
need syslinux-common /usr/lib/syslinux/modules/bios/ldlinux.c32
need python3-sushy /usr/lib/python3/dist-packages/sushy
need xz-utils xz
for extra in "$@"; do # PACKAGE:COMMAND, as install-bench-deps.sh adds them
	need "${extra%%:*}" "${extra#*:}"
done
if command -v dpkg >/dev/null 2>&1 && [ ! -e /usr/include/stdlib.h ]; then
	packages="$packages libc6-dev"
fi

# sshd run by root wants this folder, and /run is empty after a boot.
if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
	mkdir -p -m 0755 /run/sshd || true
fi

if [ -z "$packages" ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
	fail "missing:$packages (Debian's names), and there is no apt-get here: install them by hand"
fi
if [ "$(id -u)" != 0 ]; then
	fail "missing:$packages, and only root can install them: run 'sudo apt-get install$packages' or this script as root"
fi

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
tidy() {
	rm -f "$log"
	if [ -n "$made_policy" ]; then
		rm -f "$policy"
	fi
}
trap tidy EXIT
trap 'exit 1' HUP INT TERM

# Debian starts a service when it is installed, unless this file says 101: not allowed.
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	made_policy=yes
fi

install() {
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
		-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold $packages >>"$log" 2>&1
}

echo "install-test-deps: installing$packages"
if ! install; then
	if ! apt-get update -q -o DPkg::Lock::Timeout=300 >>"$log" 2>&1 || ! install; then
		tail -n 30 "$log" >&2
		fail "apt-get could not install$packages: its last lines are above"
	fi
fi

# Not started is not enough: it must not come up at the next boot either.
case " $packages " in
*' openssh-server '*)
	if command -v deb-systemd-helper >/dev/null 2>&1; then
		for unit in ssh.service ssh.socket; do
			deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true
		done
	fi
	if command -v update-rc.d >/dev/null 2>&1; then
		update-rc.d ssh disable >/dev/null 2>&1 || true
	fi
	mkdir -p -m 0755 /run/sshd
	;;
esac
