# The runner: the far side of a conversation. It reaches the host on the stdin of `exec /bin/sh`, after a head of assignments
# (talk.go). The whole text is one function, so that the shell has read all of it before any of it runs, and stdin is free
# for the answers. Every word of ours begins with the secret $bs_nonce; whatever else appears on stdout is chatter of the
# login shell. Builtins are used wherever they do, for on a busy host a fork is what costs.
#
#   bs_nonce  secret word of this conversation       bs_root   BLACKSTART_ROOT of the rung, or empty
#   bs_id     attempt id, as the script sees it      bs_limit  seconds that the script may run
#   bs_folder the attempt's folder name              bs_text   the script, where it is not pushed by SFTP
#   bs_env    linux | rescue-linux                   bs_size   its length
#   bs_sum    its sha256, where it is pushed         bs_reboot command that restarts the host
#
# These processes belong to an attempt; none of them minds when the connection goes:
#   front     this shell: claims, starts the others, listens to what we say, and stays until the exit is written
#   script    the script, behind a shell that notes its exit
#   keeper    keeps what the script prints; when all is there, writes the exit and tells it
#   watchdog  only of a script that takes long, or is alone: ends it at its limit, and a keeper that waits for a daemon
#
# The attempt's folder holds:
#   claim     front's process: number, birth, boot id; made exclusively, it is the claim
#   script.N  what is run                            output   the first 512 reads of what it printed
#   exit      exit, how it came (ended | timed-out), boot id; the exit alone until the output is kept; blank before
#   tail      the last 64 KiB of what came after output

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

bs_birth() { # PID: when it was born, to tell it from a later process of the same number, and its process group
  bs_born=- bs_group=-
  read -r bs_a 2>/dev/null <"/proc/$1/stat" || return 0
  bs_a=${bs_a##*) }
  set -- $bs_a
  bs_born=${20:--} bs_group=${3:--}
}

bs_alive() { # FILE: does the process noted there still run?
  bs_p= bs_b= bs_t=
  read -r bs_p bs_b bs_t 2>/dev/null <"$1"
  case $bs_p in '' | *[!0-9]*) return 1 ;; esac
  [ "$bs_t" = "$bs_boot" ] && kill -0 "$bs_p" 2>/dev/null || return 1
  bs_birth "$bs_p"
  [ "$bs_born" = "$bs_b" ]
}

bs_look() { bs_exit= bs_how= bs_at=; read -r bs_exit bs_how bs_at 2>/dev/null <"$bs_d/exit"; }
bs_ended() { bs_look; [ -n "$bs_exit" ]; } # has the script ended?
bs_over() { bs_look; [ -n "$bs_how" ]; }   # and is all of it kept?

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
    mkdir -p "$bs_d" "$bs_keep" 2>/dev/null </dev/null || # quicker than to ask for its words at once
      bs_e=$(mkdir -p "$bs_d" "$bs_keep" 2>&1 </dev/null) || bs_fail state "$bs_e"
  fi
}

bs_take() { # NAME: takes the script that SFTP left in the folder, or the text that came along, and checks it
  if [ -z "$1" ]; then
    [ ${#bs_text} = "$bs_size" ] || bs_fail push "${#bs_text} of $bs_size bytes arrived"
    # where the builtin fails, cat words the cause
    { printf '%s' "$bs_text" >"$bs_new"; } 2>/dev/null ||
      bs_e=$(printf '%s' "$bs_text" | cat 2>&1 >"$bs_new") || bs_fail state "$bs_e"
    return
  fi
  [ -f "$bs_new" ] || bs_fail push "the pushed file is not there"
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

bs_claim() { # or returns 1: it is claimed already
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
  # room for what comes, should the script fill the disk; it is written over without truncation
  { printf '%80s\n' ' ' >"$bs_d/exit"; } 2>/dev/null || {
    rm -f "$bs_d/claim" "$bs_d/exit" "$bs_new" </dev/null
    bs_fail state "the exit cannot be written: No space left on device"
  }
}

bs_script() { # becomes the script, in a clean environment
  trap - TERM PIPE
  IFS='
'
  set -f
  for bs_a in $(export -p); do
    case $bs_a in
    'export '*)
      bs_a=${bs_a#export }
      bs_a=${bs_a%%=*}
      [ "$bs_a" = PATH ] || [ "$bs_a" = LC_ALL ] || command unset -v "$bs_a" 2>/dev/null
      ;;
    esac
  done
  export BLACKSTART_ROOT="$bs_root" BLACKSTART_ATTEMPT="$bs_id" BLACKSTART_KEEP="$bs_keep"
  exec $bs_sid sh "$bs_new"
}

bs_run() { # notes the script's exit
  bs_script 2>&1 </dev/null &
  [ -n "$bs_own" ] || printf '%s\n' $! >"$bs_d/group"
  wait $!
  bs_a=$?
  bs_over || printf '%s ' $bs_a 1<>"$bs_d/exit"
  bs_w=
  read -r bs_w 2>/dev/null <"$bs_d/watch" && kill "$bs_w"
}

bs_keeper() { # stdin is what the script prints
  # dd takes nothing out of the pipe that it does not write, at once; so nothing is lost between it and tail
  bs_a=512+0 bs_few=
  dd bs=1024 count=512 >"$bs_d/output" 2>"$bs_d/records" && bs_a=0+0
  while read -r bs_b bs_c bs_e; do
    case "$bs_c $bs_e" in
    'records in') bs_a=$bs_b ;;
    bytes*) [ "$bs_b" -gt 1024 ] || bs_few=1 ;;
    esac
  done <"$bs_d/records"
  [ $((${bs_a%+*} + ${bs_a#*+})) -lt 512 ] || tail -c 65536 >"$bs_d/tail" || cat >/dev/null
  if [ -e "$bs_d/late" ]; then # the watchdog ends us all
    bs_finish timed-out
  else
    bs_finish ended
    bs_collect
  fi
}

bs_finish() { # HOW: writes the exit
  bs_look
  printf '%s %s %s\n' "${bs_exit:--}" "$1" "$bs_boot" 1<>"$bs_d/exit"
}

bs_collect() {
  bs_look
  bs_say exit "$bs_exit" "$bs_how" "$bs_at"
  if [ -n "$bs_few" ]; then # a few lines need no cat
    while IFS= read -r bs_a; do printf '%s\n' "$bs_a"; done <"$bs_d/output"
    printf %s "$bs_a"
  else
    cat "$bs_d/output" 2>/dev/null </dev/null
  fi
  if [ -s "$bs_d/tail" ]; then
    bs_say tail
    cat "$bs_d/tail" 2>/dev/null </dev/null
  fi
  bs_say end
}

bs_start() { # of a claimed attempt
  bs_say claimed
  bs_sid= bs_since= bs_own=
  if [ "$bs_group" = $$ ]; then
    bs_own=1 # the script can be ended with our process group
  elif command -v setsid >/dev/null 2>&1; then
    bs_sid=setsid
  fi
  read -r bs_since bs_a 2>/dev/null </proc/uptime
  trap '' PIPE TERM
  (cd / && exec 2>/dev/null && bs_run) | bs_keeper 2>/dev/null &
  bs_keeps=$!
}

bs_left() { # seconds that the script has left; a limit below a second starts anew
  bs_l=$bs_limit bs_now=
  read -r bs_now bs_a 2>/dev/null </proc/uptime
  case $bs_l in *.*) return ;; esac
  [ -z "$bs_now" ] || [ -z "$bs_since" ] || bs_l=$((bs_limit - ${bs_now%.*} + ${bs_since%.*}))
  [ "$bs_l" -gt 0 ] || bs_l=0
}

bs_await() { # TENTHS TEST: waits so long for the test to hold
  bs_n=0
  while ! $2; do
    [ $bs_n -lt "$1" ] || return 1
    bs_n=$((bs_n + 1))
    bs_pause 0.1
  done
}

bs_watchdog() {
  bs_left
  (trap - TERM; exec sleep "$bs_l") </dev/null >/dev/null 2>&1 &
  bs_w=$!
  printf '%s\n' $bs_w >"$bs_d/watch"
  bs_ended || wait $bs_w
  kill $bs_w 2>/dev/null
  if bs_ended; then
    bs_await 20 bs_over && return
    # a daemon that the script left behind may hold the pipe for ever
    kill -s KILL $bs_keeps
    bs_over && return
    bs_finish ended
    bs_collect
    return
  fi
  # Over the limit. Nothing of the script may live when that is told; so whoever joins tells it.
  printf '' >"$bs_d/late"
  bs_g=$$
  [ -n "$bs_own" ] || read -r bs_g <"$bs_d/group"
  kill -s TERM -- "-$bs_g" || kill -s TERM "$bs_g"
  bs_await 20 bs_over || bs_finish timed-out
  kill -s KILL -- "-$bs_g" || kill -s KILL "$bs_g"
  kill -s KILL $bs_keeps $$
}

bs_join() { # waits until the exit is there; says lost when it cannot come any more
  bs_n=0 bs_m=0
  while ! bs_over; do
    if bs_alive "$bs_d/claim"; then
      bs_n=0 bs_m=$((bs_m + 1))
      [ $bs_m -gt 20 ] && bs_pause 1 || bs_pause 0.1
    elif [ $bs_n -lt 8 ]; then # between two writes, perhaps
      bs_n=$((bs_n + 1))
      bs_pause 0.1
    else
      bs_say lost
      exit 0
    fi
  done
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
    trap - TERM PIPE
    exec $bs_sid /bin/sh -c 'sync "$2/claim" "$2/exit" 2>/dev/null; sleep 0.2 2>/dev/null || sleep 1; eval "$1"' blackstart-reboot "$bs_reboot" "$bs_d"
  ) </dev/null >>"$bs_d/rebooted" 2>&1 &
}

bs_listen() { # until we say no more, or cannot
  while IFS= read -r bs_answer; do
    case $bs_answer in
    watch)
      [ -z "$bs_keeps" ] || [ -n "$bs_watching" ] || bs_watchdog 2>/dev/null &
      bs_watching=1
      ;;
    reboot) bs_restart ;;
    *) exit 0 ;;
    esac
  done
  # the connection is gone; whoever joins finds this process, as long as there is something to wait for
  [ -z "$bs_keeps" ] || [ -n "$bs_watching" ] || bs_over || bs_watchdog 2>/dev/null
  wait
  exit 0
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
  bs_new=$bs_d/script.$$ bs_few= bs_keeps= bs_watching=
  if [ -e "$bs_d/claim" ]; then
    bs_c=
    read -r bs_a bs_b bs_c 2>/dev/null <"$bs_d/claim"
    bs_say hello claimed "${bs_c:--}"
  else
    bs_say hello fresh "$bs_boot" "$bs_new"
  fi
  IFS= read -r bs_answer || exit 0
  case $bs_answer in go | 'go sftp') ;; *) exit 0 ;; esac
  if [ ! -e "$bs_d/claim" ] && bs_take "${bs_answer#go}" && bs_claim; then
    bs_start
  else
    bs_say joined
    bs_join
    bs_collect
  fi
  bs_listen
}
bs_main
