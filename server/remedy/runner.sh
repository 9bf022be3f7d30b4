# The front of the runner: the half of a conversation that lives as long as the connection. It reaches the far side on the
# stdin of `exec /bin/sh`, after a head of assignments (talk.go). The whole text is one function, so that the shell has read
# all of it before any of it runs, and stdin is free for the answers. Every word of ours begins with the secret $bs_nonce;
# whatever else appears on stdout is chatter of the login shell. Builtins are used wherever they do; each fork is a cost.
#
#   bs_nonce  secret word of this conversation       bs_env    linux | rescue-linux
#   bs_id     attempt id, as the script sees it      bs_root   BLACKSTART_ROOT of the rung, or empty
#   bs_folder the attempt's folder name              bs_limit  seconds that the script may run
#   bs_sum    sha256 of the script                   bs_text   the script, where it is not pushed by SFTP
#   bs_super  text of supervisor.sh                  bs_reboot command that restarts the host

bs_say() { printf '\n%s %s\n' "$bs_nonce" "$*"; }

bs_fail() { # KIND TEXT: ends the conversation; nothing was started
  bs_say error "$1" "${2%%
*}"
  exit 0
}

bs_pause() { sleep "$1" 2>/dev/null </dev/null || sleep 1 </dev/null; }

bs_uid() { # effective user id, without a fork where /proc is mounted
  bs_uid=
  while read -r bs_a bs_b bs_c bs_d; do
    [ "$bs_a" != Uid: ] || { bs_uid=$bs_c; return 0; }
  done 2>/dev/null </proc/self/status
  bs_uid=$(id -u </dev/null)
}

bs_birth() { # PID: when it was born, to tell it from a later process of the same number
  bs_born=-
  read -r bs_a 2>/dev/null <"/proc/$1/stat" || return 0
  bs_a=${bs_a##*) }
  set -- $bs_a
  bs_born=${20:--}
}

bs_alive() { # FILE: does the process noted there still run?
  bs_p= bs_b= bs_t=
  read -r bs_p bs_b bs_t 2>/dev/null <"$1"
  case $bs_p in '' | *[!0-9]*) return 1 ;; esac
  [ "$bs_t" = "$bs_boot" ] && kill -0 "$bs_p" 2>/dev/null || return 1
  bs_birth "$bs_p"
  [ "$bs_born" = "$bs_b" ]
}

bs_state() { # finds the state folder and makes the attempt's
  [ -n "$bs_root" ] || bs_root=${BLACKSTART_ROOT:-}
  [ -n "$bs_root" ] || [ "$bs_env" != rescue-linux ] || bs_fail no-root
  [ -d "${bs_root:-/}" ] || bs_fail root-missing "$bs_root"
  [ "$bs_root" = / ] || bs_root=${bs_root%/}
  if [ "$bs_env" = rescue-linux ]; then
    bs_s=$bs_root/.blackstart
  else
    bs_uid
    if [ "$bs_uid" = 0 ]; then
      bs_s=$bs_root/var/lib/blackstart
    else
      [ -n "${HOME:-}" ] || bs_fail no-home
      bs_s=$HOME/.blackstart
    fi
  fi
  bs_d=$bs_s/attempts/$bs_folder
  bs_keep=$bs_s/kept/$bs_folder
  if [ ! -d "$bs_d" ] || [ ! -d "$bs_keep" ]; then
    bs_e=$(mkdir -p "$bs_d" "$bs_keep" 2>&1 </dev/null) || bs_fail state "$bs_e"
  fi
}

bs_push() { # NAME: takes the script that SFTP left in the folder, or the text that came along, and checks it
  bs_new=$bs_d/script.$bs_nonce
  if [ -n "$1" ]; then
    [ -f "$bs_new" ] || bs_fail push "the pushed file is not there"
  else
    # where the builtin fails, cat words the cause
    { printf '%s' "$bs_text" >"$bs_new"; } 2>/dev/null ||
      bs_e=$(printf '%s' "$bs_text" | cat 2>&1 >"$bs_new") || bs_fail state "$bs_e"
  fi
  if command -v sha256sum >/dev/null 2>&1; then
    bs_e=$(sha256sum <"$bs_new")
  elif command -v shasum >/dev/null 2>&1; then
    bs_e=$(shasum -a 256 <"$bs_new")
  elif command -v openssl >/dev/null 2>&1; then
    bs_e=$(openssl dgst -sha256 -r <"$bs_new")
  else
    bs_fail tool sha256sum
  fi
  [ "${bs_e%% *}" = "$bs_sum" ] && return
  rm -f "$bs_new" </dev/null
  bs_fail push "the digest of what arrived is ${bs_e%% *}"
}

bs_start() { # claims the attempt and starts its supervisor, or returns 1: it is claimed already
  bs_birth $$
  bs_mine=
  set -C
  { bs_mine=1; printf '%s %s %s\n' $$ "$bs_born" "$bs_boot"; } 2>/dev/null >"$bs_d/claim"
  set +C
  if [ -z "$bs_mine" ]; then
    rm -f "$bs_new" </dev/null
    [ -e "$bs_d/claim" ] || bs_fail state "the claim cannot be written: No space left on device or Read-only file system"
    return 1
  fi
  mv -f "$bs_new" "$bs_d/script.sh" </dev/null 2>/dev/null || bs_fail state "the script cannot be put in its place"
  bs_say claimed
  bs_sid=
  ! command -v setsid >/dev/null 2>&1 || bs_sid=setsid
  $bs_sid /bin/sh -c "$bs_super" blackstart-attempt "$bs_d" "$bs_limit" "$bs_boot" "$bs_sid" \
    "$bs_root" "$bs_id" "$bs_keep" </dev/null >/dev/null 2>&1 &
  wait $!
}

bs_join() { # waits until the exit is there; says lost when it cannot come any more
  bs_n=0
  while [ ! -e "$bs_d/exit" ]; do
    if bs_alive "$bs_d/pid"; then
      bs_n=0
      # GNU tail blocks on the process; elsewhere look again and again
      tail --pid="$bs_p" -s 0.05 -f /dev/null >/dev/null 2>&1 </dev/null || bs_pause 0.2
    elif [ ! -e "$bs_d/pid" ] && bs_alive "$bs_d/claim"; then
      bs_pause 0.1
    elif [ $bs_n -lt 8 ]; then # between two writes, perhaps
      bs_n=$((bs_n + 1))
      bs_pause 0.1
    else
      bs_say lost
      exit 0
    fi
  done
}

bs_collect() {
  read -r bs_a <"$bs_d/exit"
  bs_say exit "$bs_a"
  cat "$bs_d/output" 2>/dev/null </dev/null
  if [ -s "$bs_d/tail" ]; then
    bs_say tail
    cat "$bs_d/tail" 2>/dev/null </dev/null
  fi
  bs_say end
}

bs_restart() { # once per attempt
  bs_mine=
  set -C
  { bs_mine=1; } 2>/dev/null >"$bs_d/rebooted"
  set +C
  [ -n "$bs_mine" ] || {
    [ -e "$bs_d/rebooted" ] && bs_say rebooted-before || bs_say reboot-failed
    return
  }
  bs_sid=
  ! command -v setsid >/dev/null 2>&1 || bs_sid=setsid
  bs_say rebooting
  (
    cd /
    exec $bs_sid /bin/sh -c 'sleep 0.2 2>/dev/null || sleep 1; eval "$1"' blackstart-reboot "$bs_reboot"
  ) </dev/null >>"$bs_d/rebooted" 2>&1 &
}

bs_main() {
  umask 077
  LC_ALL=C
  PATH=${PATH:-}${PATH:+:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  export LC_ALL PATH
  bs_state
  bs_boot=- # looked for where a probe looks
  for bs_a in "$bs_root/proc" /proc; do
    read -r bs_boot 2>/dev/null <"$bs_a/sys/kernel/random/boot_id" && break
  done
  if [ -e "$bs_d/claim" ]; then bs_say hello claimed; else bs_say hello fresh "$bs_d"; fi
  IFS= read -r bs_answer || exit 0
  case $bs_answer in go | 'go sftp') ;; *) exit 0 ;; esac
  if [ -e "$bs_d/claim" ]; then
    bs_say joined
  else
    bs_push "${bs_answer#go}"
    bs_start || bs_say joined
  fi
  bs_join
  bs_collect
  IFS= read -r bs_answer || exit 0
  [ "$bs_answer" != reboot ] || bs_restart
  exit 0
}
bs_main
