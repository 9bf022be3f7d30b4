# The supervisor of one attempt: runs detached from the connection, in a session of its own, and outlives it. Started by
# runner.sh as `sh -c TEXT NAME FOLDER LIMIT BOOT SETSID ROOT ID KEEP`. It leaves in the attempt folder:
#   pid     its own process: number, birth, boot id     output  the first 512 reads of what the script printed
#   group   the script's process                        tail    the last 64 KiB of what came after them
#   status  the script's exit, blank until it has ended exit    exit, how it came (ended | timed-out), boot id; last of all
umask 077
d=$1 limit=$2 boot=$3 sid=$4
[ -n "$sid" ] || trap '' HUP
cd /

born=-
if read -r a 2>/dev/null <"/proc/$$/stat"; then
  set -- "$5" "$6" "$7" ${a##*) }
  born=${23:--}
else
  set -- "$5" "$6" "$7"
fi
printf '%s %s %s\n' $$ "$born" "$boot" >"$d/pid"
# room for what comes, should the script fill the disk; it is written over without truncation
printf '%80s\n' ' ' >"$d/exit.new"
printf '%s\n' '    ' >"$d/status"

ended() { # has the script ended, and how?
  rc=
  read -r rc <"$d/status"
  [ -n "$rc" ]
}

pause() { sleep 0.1 2>/dev/null || sleep 1; }

# Who ends the sleep decides: the reader below when the script's output is drained, its own end when the limit has passed.
sleep "$limit" &
watch=$!
{
  env -i PATH="$PATH" BLACKSTART_ROOT="$1" BLACKSTART_ATTEMPT="$2" BLACKSTART_KEEP="$3" LC_ALL=C \
    $sid sh "$d/script.sh" 2>&1 </dev/null &
  printf '%s\n' $! >"$d/group"
  wait $!
  printf '%s\n' $? 1<>"$d/status"
  exec >/dev/null
  # a daemon that the script left behind may hold the pipe open for ever
  sleep 2
  [ -e "$d/drained" ] || [ -e "$d/exit" ] || kill "$watch"
} | {
  # dd takes nothing out of the pipe that it does not write, at once; so nothing is lost between it and tail
  dd bs=1024 count=512 >"$d/output"
  tail -c 65536 >"$d/tail" || cat >/dev/null
  printf '' >"$d/drained"
  [ -e "$d/exit" ] || kill "$watch"
} &

how=ended
if wait "$watch" && ! ended; then
  how=timed-out
  read -r group <"$d/group"
  n=0
  kill -s TERM -- "-$group" || kill -s TERM "$group"
  while [ $n -lt 20 ] && ! ended; do
    n=$((n + 1))
    pause
  done
  kill -s KILL -- "-$group" || kill -s KILL "$group"
  n=0
  while [ $n -lt 10 ] && [ ! -e "$d/drained" ]; do
    n=$((n + 1))
    pause
  done
fi
ended || rc=-
printf '%s %s %s\n' "$rc" "$how" "$boot" 1<>"$d/exit.new"
sync "$d/output" "$d/exit.new"
mv -f "$d/exit.new" "$d/exit"
