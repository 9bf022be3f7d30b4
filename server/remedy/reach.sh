# What Reach looks at on a host, so that what a repair would miss there is known before it is needed. It comes and speaks as
# the runner does, finds the same folders by the same rules, and only looks: it makes, writes and changes nothing.
#
#   bs_nonce  secret word of this conversation       bs_root    BLACKSTART_ROOT of the rung, or empty
#   bs_env    linux | rescue-linux                   bs_reboot  command that restarts the host
#   bs_tools  commands that a repair cannot do without
#
# Between hello and end it prints lines:
#   agent yes | no | unknown    free KIB    lack THING    error KIND TEXT, in the runner's kinds; the first one counts

bs_fail() { printf 'error %s %s\n' "$1" "${2-}"; }

bs_uid() { # effective user id, without a fork where /proc is mounted
  bs_uid=
  while read -r bs_a bs_b bs_c bs_d; do
    [ "$bs_a" != Uid: ] || { bs_uid=$bs_c; return 0; }
  done 2>/dev/null </proc/self/status
  bs_uid=$(id -u 2>/dev/null </dev/null)
}

bs_agent() { # does the host's agent run? Names of processes are cut to 15 characters
  bs_a=unknown
  if [ "$bs_env" != linux ]; then
    : # these are the rescue system's processes
  elif [ -e /proc/self/comm ]; then
    if [ -r /proc/1/comm ]; then # else only our own processes are shown to us
      bs_a=no
      for bs_b in /proc/[0-9]*/comm; do
        bs_c=
        read -r bs_c 2>/dev/null <"$bs_b"
        [ "$bs_c" != blackstart-agen ] || { bs_a=yes; break; }
      done
    fi
  elif command -v pgrep >/dev/null 2>&1; then
    if pgrep '^blackstart-agen' >/dev/null 2>&1 </dev/null; then bs_a=yes; else bs_a=no; fi
  fi
  printf 'agent %s\n' "$bs_a"
}

bs_mount() { # PATH: type and options of the file system it lies on
  bs_best=0 bs_type= bs_options= bs_path=$1
  while :; do # blanks are written so there
    case $bs_path in *' '*) bs_path=${bs_path%%' '*}'\040'${bs_path#*' '} ;; *) break ;; esac
  done
  while read -r bs_a bs_b bs_c bs_d bs_e; do
    case $bs_b in
    /) bs_n=1 ;;
    *)
      case $bs_path/ in "$bs_b"/*) bs_n=${#bs_b} ;; *) continue ;; esac
      ;;
    esac
    [ "$bs_n" -lt "$bs_best" ] || { bs_best=$bs_n bs_type=$bs_c bs_options=,$bs_d,; }
  done 2>/dev/null </proc/self/mounts
}

bs_writable() { # PATH: is it a folder that can be written, or can it be made? Leaves us in the nearest one there is
  bs_p=$1
  while [ ! -e "$bs_p" ] && [ ! -L "$bs_p" ]; do
    bs_p=${bs_p%/*}
    [ -n "$bs_p" ] || bs_p=/
  done
  [ -d "$bs_p" ] || { bs_fail state "$bs_p: Not a directory"; return 1; }
  cd -P -- "$bs_p" 2>/dev/null || { bs_fail state "$bs_p: Permission denied"; return 1; }
  bs_mount "$PWD"
  case $bs_type in proc | sysfs | cgroup | cgroup2) bs_fail state "$bs_p: No such file or directory"; return 1 ;; esac
  case $bs_options in *,ro,*) bs_fail state "$bs_p: Read-only file system"; return 1 ;; esac
  [ -w . ] && [ -x . ] || { bs_fail state "$bs_p: Permission denied"; return 1; }
}

bs_room() { # is there room where we are? A repair needs 64 KiB and a few files at the least
  bs_free= bs_nodes=
  set -- $(stat -f -c '%f %a %S %d %c' . 2>/dev/null </dev/null)
  case $#:$* in
  5:*[!0-9\ ]* | [!5]:* | ??:*)
    set -- $(df -Pk . 2>/dev/null </dev/null) # seven words are its head
    bs_free=${11-}
    ;;
  *)
    bs_free=$1
    [ "$bs_uid" = 0 ] || bs_free=$2 # the rest is kept for root
    bs_free=$((bs_free * ($3 / 512) / 2))
    [ "$5" = 0 ] || bs_nodes=$4 # some file systems count none
    ;;
  esac
  case $bs_free in '' | *[!0-9]*) return 0 ;; esac
  printf 'free %s\n' "$bs_free"
  [ "$bs_free" -ge 64 ] && [ "${bs_nodes:-8}" -ge 8 ] || { bs_fail state "$bs_p: No space left on device"; return 1; }
}

bs_have() { command -v "$1" >/dev/null 2>&1; }

bs_needs() { # what a repair meets, in its order
  [ -n "$bs_root" ] || bs_root=${BLACKSTART_ROOT:-}
  [ -n "$bs_root" ] || [ "$bs_env" != rescue-linux ] || { bs_fail no-root; return; }
  [ -d "${bs_root:-/}" ] || { bs_fail root-missing "$bs_root"; return; }
  case $bs_root in /) ;; *) bs_root=${bs_root%/} ;; esac
  bs_uid
  if [ "$bs_env" = rescue-linux ]; then
    bs_s=$bs_root/.blackstart
  elif [ "$bs_uid" = 0 ]; then
    bs_s=$bs_root/var/lib/blackstart
  else
    [ -n "${HOME:-}" ] || { bs_fail no-home; return; }
    bs_s=$HOME/.blackstart
  fi
  case $bs_s in /*) ;; *) bs_s=$PWD/$bs_s ;; esac
  bs_writable "$bs_s/attempts" && bs_writable "$bs_s/kept" && bs_room || return
  set --
  for bs_a in $bs_tools; do bs_have "$bs_a" || set -- "$@" "$bs_a"; done
  [ $# = 0 ] || bs_fail tools "$*"
}

bs_later() { # what not every repair needs
  bs_have setsid || printf 'lack setsid\n'
  bs_have sha256sum || bs_have shasum || bs_have openssl || printf 'lack sha256\n'
  set -f
  set -- $bs_reboot
  set +f
  case ${1-} in
  '' | *[!A-Za-z0-9_./-]*) ;; # no plain command: nobody can tell
  *) bs_have "$1" || printf 'lack reboot\n' ;;
  esac
}

bs_main() {
  LC_ALL=C
  PATH=${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  export LC_ALL PATH
  printf '\n%s hello\n' "$bs_nonce"
  bs_agent
  bs_needs
  bs_later
  printf '\n%s end\n' "$bs_nonce"
  exit 0
}
bs_main
