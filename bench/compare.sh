#!/usr/bin/env bash
# Moves one disk by VHDX Migrate and by other means, in turns, on this machine; prints a table.
#
#   bench/compare.sh [--runs 5] [--virtual 8G] [--files-mib 1360] [--dir FOLDER] [--json FILE]
#                    [--svg FILE] [--only NAME,NAME...] [--source warm|cold] [--no-install]
#
# The disk: a dynamic VHDX with 4 MiB blocks that holds an ext4 with files of /usr/bin and /usr/share.
# Its source is in the page cache (--source cold: it is not, and the table says how much of it each
# contender brought there, by fincore), the clock stops when the destination is synced, and every copy is
# compared with the source. Each run takes the contenders in another order; the table has medians.
# --dir: where disks are made (default: a new folder in TMPDIR or /var/tmp; it should be on a disk, with
# 3 times --files-mib of room). --no-install: contenders whose programs are missing are left out.
# --json: the record of every run; --svg: a bar chart of the medians.
# VHDX_MIGRATE_TOOL names a vhdx-migrate that is built already.
#
# Only processes that this script started are ended. Exit 0 if every copy was right.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
source "$root/tools/packages.sh"
exec </dev/null
export PATH=$PATH:/sbin:/usr/sbin

fail() {
  printf 'compare.sh: %s\n' "$*" >&2
  exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

CONTENDERS=(vhdx-migrate vhdx-migrate-plaintext dd cp rsync zstd-pipe qemu-img nbdcopy)
runs=5 virtual=8G files_mib=1360 parent_dir=${TMPDIR:-/var/tmp} json='' svg='' only='' cache=warm install=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --no-install) install=no; shift; continue ;;
    --runs | --virtual | --files-mib | --dir | --json | --svg | --only | --source)
      [ $# -ge 2 ] || fail "$1 needs a value; see --help" ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
  case "$1" in
    --runs) runs=$2 ;;
    --virtual) virtual=$2 ;;
    --files-mib) files_mib=$2 ;;
    --dir) parent_dir=$2 ;;
    --json) json=$2 ;;
    --svg) svg=$2 ;;
    --only) only=$2 ;;
    --source) cache=$2 ;;
  esac
  shift 2
done
[[ $runs =~ ^[1-9][0-9]*$ && $files_mib =~ ^[1-9][0-9]*$ ]] ||
  fail "--runs and --files-mib take whole numbers"
[[ $cache =~ ^(warm|cold)$ ]] || fail "--source takes warm or cold"

# --- what runs -----------------------------------------------------------------------------------
servers=()  # processes of the contender that is running
work=
stop_servers() {
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${servers[@]}"; do wait "$pid" 2>/dev/null; done
  servers=()
}
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  stop_servers
  [ -z "$work" ] || rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ "$install" = yes ]; then
  install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_PEERS[@]}" || exit 1
fi
tool=${VHDX_MIGRATE_TOOL-}
if [ -z "$tool" ]; then
  build=$root/build/compare
  (
    cd "$root" || exit 1
    cmake --preset release -B "$build" -DVHDXM_BUILD_TESTS=OFF -DVHDXM_BUILD_BENCH=OFF &&
      cmake --build "$build" --parallel "$(build_jobs)" --target vhdx-migrate-tool
  ) >&2 || fail "the build failed"
  tool=$build/tools/vhdx-migrate
fi
[ -x "$tool" ] || fail "$tool: is not a program"
for program in mke2fs qemu-img tar python3 fincore; do
  command -v "$program" >/dev/null || fail "$program is missing"
done

needs() {  # CONTENDER: the programs it is made of
  case "$1" in
    vhdx-migrate*) ;;
    dd | cp) ;;
    rsync) echo rsync ;;
    zstd-pipe) echo zstd socat ;;
    qemu-img) echo qemu-nbd ;;
    nbdcopy) echo qemu-nbd nbdcopy ;;
    *) return 1 ;;
  esac
}
contenders=()
for name in $([ -n "$only" ] && tr , ' ' <<<"$only" || echo "${CONTENDERS[@]}"); do
  programs=$(needs "$name") || fail "--only: $name is none of: ${CONTENDERS[*]}"
  lacking=
  for program in $programs; do command -v "$program" >/dev/null || lacking=$program; done
  if [ -n "$lacking" ]; then
    echo "compare.sh: $name is left out: $lacking is missing" >&2
  else
    contenders+=("$name")
  fi
done
[ ${#contenders[@]} -gt 0 ] || fail "nobody is left to compare"

# --- the disk ------------------------------------------------------------------------------------
work=$(mktemp -d "$parent_dir/vhdx-migrate-compare.XXXXXX") || fail "cannot make a folder in $parent_dir"
free_mib=$(df --output=avail --block-size=1M "$work" | tail -n 1 | tr -d ' ')
[ "$free_mib" -ge $((files_mib * 3 + 300)) ] ||
  fail "$work: $((files_mib * 3 + 300)) MiB of room are needed, $free_mib MiB are free"

make_disk() {
  mkdir "$work/files" || return 1
  (
    cd / || exit 1
    find usr/bin usr/share -xdev -type f -size +0 -readable ! -name $'*\n*' -printf '%s %p\n' 2>/dev/null |
      awk -v most="$files_mib" 'BEGIN { most *= 1048576 }
        { size = $1; sub(/^[0-9]+ /, ""); if (total + size > most) next; total += size; print }' |
      tar --create --verbatim-files-from --files-from=- --ignore-failed-read 2>/dev/null
  ) | tar --extract --directory="$work/files" --no-same-owner || return 1
  truncate -s "$virtual" "$work/content.raw" &&
    mke2fs -q -t ext4 -d "$work/files" "$work/content.raw" &&
    qemu-img convert -q -f raw -O vhdx -o subformat=dynamic,block_size=4M \
      "$work/content.raw" "$source_disk" || return 1
  virtual_bytes=$(stat -c %s "$work/content.raw")
  content_mib=$(($(du --block-size=1K "$work/content.raw" | cut -f1) / 1024))
  rm -rf "$work/files" "$work/content.raw"
}
source_disk=$work/disk.vhdx
virtual_bytes=0 content_mib=0
echo "compare.sh: making a disk of $virtual with $files_mib MiB of files ..." >&2
make_disk || fail "the disk could not be made"
disk_mib=$(($(stat -c %s "$source_disk") / 1048576))

# --- the contenders: start_X before the clock, run_X on the clock ----------------------------------
to=$work/to  # empty at every start; the copy is $to/disk.vhdx

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
await_port() {
  local try
  for ((try = 0; try < 400; ++try)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return 0
    sleep 0.025
  done
  echo "nothing listens on port $1" >&2
  return 1
}

start_ours() {  # OPTIONS...
  mkfifo "$work/events" || return 1
  "$tool" receive --into "$to" --listen 127.0.0.1:0 --once --key-file "$work/key" --json \
    --progress none "$@" >"$work/events" 2>"$work/receive.err" &
  servers+=($!)
  exec 4<"$work/events"
  rm "$work/events"
  local line
  IFS= read -r -t 20 -u 4 line || return 1
  address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' <<<"$line")
  cat <&4 >"$work/receive.jsonl" &
  exec 4<&-
  [ -n "$address" ]
}
run_ours() { "$tool" send "$source_disk" "$address" --key-file "$work/key" --progress none "$@"; }

start_vhdx-migrate() { start_ours; }
run_vhdx-migrate() { run_ours; }
start_vhdx-migrate-plaintext() { start_ours --plaintext-data; }
run_vhdx-migrate-plaintext() { run_ours --plaintext-data; }

start_dd() { :; }
run_dd() { dd if="$source_disk" of="$to/disk.vhdx" bs=4M oflag=direct conv=fsync status=none; }

start_cp() { :; }
run_cp() { cp --sparse=always "$source_disk" "$to/disk.vhdx" && sync "$to/disk.vhdx"; }

start_rsync() {
  port=$(free_port) || return 1
  printf '%s\n' "use chroot = no" "[to]" "path = $to" "read only = no" \
    "uid = $(id -u)" "gid = $(id -g)" >"$work/rsyncd.conf"
  rsync --daemon --no-detach --address=127.0.0.1 --port="$port" --config="$work/rsyncd.conf" \
    --log-file="$work/rsyncd.log" &
  servers+=($!)
  await_port "$port"
}
run_rsync() {
  rsync -W --sparse "$source_disk" "rsync://127.0.0.1:$port/to/disk.vhdx" && sync "$to/disk.vhdx"
}

start_zstd-pipe() {
  port=$(free_port) || return 1
  (
    set -o pipefail
    socat -u "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr" STDOUT | zstd -q -d -o "$to/disk.vhdx"
  ) &
  pipe=$!
  servers+=("$pipe")
}
run_zstd-pipe() {
  zstd -q -1 -T2 -c "$source_disk" | socat -u STDIN "TCP:127.0.0.1:$port,retry=100,interval=0.05" &&
    wait "$pipe" && sync "$to/disk.vhdx"
}

serve_destination() {
  port=$(free_port) &&
    qemu-img create -q -f vhdx -o subformat=dynamic,block_size=4M "$to/disk.vhdx" "$virtual_bytes" || return 1
  qemu-nbd --persistent --shared=16 --bind=127.0.0.1 --port="$port" --format=vhdx --cache=none --aio=native \
    "$to/disk.vhdx" &
  servers+=($!)
  await_port "$port"
}
start_qemu-img() { serve_destination; }
run_qemu-img() {
  qemu-img convert -n -W -m 16 -f vhdx -O raw "$source_disk" "nbd://127.0.0.1:$port" &&
    sync "$to/disk.vhdx"
}

start_nbdcopy() {
  serve_destination || return 1
  source_port=$(free_port) || return 1
  qemu-nbd --persistent --shared=16 --bind=127.0.0.1 --port="$source_port" --format=vhdx --read-only \
    "$source_disk" &
  servers+=($!)
  await_port "$source_port"
}
run_nbdcopy() {
  nbdcopy --connections=4 --flush "nbd://127.0.0.1:$source_port" "nbd://127.0.0.1:$port" &&
    sync "$to/disk.vhdx"
}

# --- measure -------------------------------------------------------------------------------------
count_cpu() {  # sets cpu_ms: of all processes that this shell started and waited for; not in a subshell
  times >"$work/times"
  cpu_ms=$(tail -n 1 "$work/times" |
    awk -F '[ms ]+' '{ printf "%d", ($1 * 60 + $2) * 1000 + ($3 * 60 + $4) * 1000 }')
}

cached_mib() { echo $(($(fincore --bytes --noheadings --output RES "$source_disk") / 1048576)); }
prepare_source() {
  if [ "$cache" = warm ]; then
    cat "$source_disk" >/dev/null
    return
  fi
  # GNU dd: with oflag=nocache and count=0 it drops the whole file from the cache.
  dd of="$source_disk" oflag=nocache conv=notrunc,fdatasync count=0 status=none
  [ "$(cached_mib)" -eq 0 ] && return
  echo "$source_disk: this file system keeps it in the page cache" >&2
  return 1
}

measure() {  # CONTENDER: appends "name wall_ms cpu_ms cached_mib" to results
  local name=$1 cpu begin end cpu_ms
  rm -rf "$to" && mkdir "$to" || return 1
  sync -f "$work"
  prepare_source || return 1
  count_cpu
  cpu=$cpu_ms
  "start_$name" || return 1
  begin=$(date +%s%N)
  "run_$name" || return 1
  end=$(date +%s%N)
  stop_servers
  count_cpu
  echo "$name $(((end - begin) / 1000000)) $((cpu_ms - cpu)) $(cached_mib)" >>"$work/results"
  case "$name" in
    dd | cp | rsync | zstd-pipe) cmp "$source_disk" "$to/disk.vhdx" ;;
    *) qemu-img compare -q -f vhdx -F vhdx "$source_disk" "$to/disk.vhdx" ;;
  esac
}

: >"$work/results"
count=${#contenders[@]}
for ((run = 0; run < runs; ++run)); do
  for ((turn = 0; turn < count; ++turn)); do
    name=${contenders[(run + turn) % count]}
    if ! measure "$name" 2>"$work/measure.err"; then
      cat "$work/measure.err" "$work"/*.log "$work"/receive.* >&2 2>/dev/null
      fail "$name failed, or its copy differs from the source"
    fi
    tail -n 1 "$work/results" |
      awk -v run=$((run + 1)) -v runs="$runs" \
        '{ printf "compare.sh: run %d/%d %-24s %8.2f s\n", run, runs, $1, $2 / 1000 }' >&2
  done
done

# --- report --------------------------------------------------------------------------------------
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
filesystem=$(df --output=fstype "$work" | tail -n 1 | tr -d ' ')
facts="$(nproc) x ${model:-unknown processor}, Linux $(uname -r), $filesystem, commit $commit, $(date -u +%F)"
order=$(printf '%s\n' "${contenders[@]}")

MEDIAN='function median(list, n,   i, j, t, v) {
    split(list, v, " ")
    for (i = 2; i <= n; ++i) for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; --j) {
      t = v[j]; v[j] = v[j - 1]; v[j - 1] = t
    }
    return n % 2 ? v[(n + 1) / 2] + 0 : (v[n / 2] + v[n / 2 + 1]) / 2
  }'

echo "$facts"
echo "Disk: $((virtual_bytes / 1048576)) MiB virtual, $disk_mib MiB file, $content_mib MiB of content, $cache source; medians of $runs runs."
echo
awk -v order="$order" -v mib="$disk_mib" -v cache="$cache" "$MEDIAN"'
  { wall[$1] = wall[$1] " " $2; cpu[$1] = cpu[$1] " " $3; cached[$1] = cached[$1] " " $4; ++n[$1] }
  END {
    count = split(order, name, "\n")
    cold = cache == "cold"
    print "| who | wall s | CPU s | MiB/s | time, ours = 1 |" (cold ? " cached after, MiB |" : "")
    print "|---|---:|---:|---:|---:|" (cold ? "---:|" : "")
    for (i = 1; i <= count; ++i) {
      who = name[i]; ms = median(wall[who], n[who]); ratio = "-"
      # Pairwise: each run against our run beside it, then the median of the ratios.
      if (n[name[1]] == n[who]) {
        split(wall[name[1]], ours, " "); split(wall[who], theirs, " "); list = ""
        for (k = 1; k <= n[who]; ++k) list = list " " theirs[k] / ours[k]
        ratio = sprintf("%.2f", median(list, n[who]))
      }
      printf "| %s | %.2f | %.2f | %.0f | %s |%s\n", who, ms / 1000, median(cpu[who], n[who]) / 1000,
             mib * 1000 / ms, ratio, cold ? sprintf(" %d |", median(cached[who], n[who])) : ""
    }
  }' "$work/results"

record=${json:-$work/record.json}
if [ -n "$json$svg" ]; then
  awk -v order="$order" -v facts="$facts" -v cache="$cache" -v virtual="$virtual_bytes" -v disk_mib="$disk_mib" \
    -v content_mib="$content_mib" "$MEDIAN"'
    { wall[$1] = wall[$1] (n[$1] ? ", " : "") $2 / 1000; cpu[$1] = cpu[$1] (n[$1] ? ", " : "") $3 / 1000
      cached[$1] = cached[$1] (n[$1] ? ", " : "") $4; ++n[$1] }
    END {
      gsub(/["\\]/, "", facts)
      printf "{\n  \"schema\": 1,\n  \"machine\": \"%s\",\n", facts
      printf "  \"source\": \"%s\",\n", cache
      printf "  \"disk\": {\"virtual_bytes\": %.0f, \"file_mib\": %d, \"content_mib\": %d},\n", virtual, disk_mib, content_mib
      print "  \"results\": ["
      count = split(order, name, "\n")
      for (i = 1; i <= count; ++i)
        printf "    {\"name\": \"%s\", \"wall_s\": [%s], \"cpu_s\": [%s], \"cached_after_mib\": [%s]}%s\n",
          name[i], wall[name[i]], cpu[name[i]], cached[name[i]], i < count ? "," : ""
      print "  ]\n}"
    }' "$work/results" >"$record" || fail "cannot write $record"
fi
if [ -n "$svg" ]; then
  python3 -B "$root/bench/compare_chart.py" "$record" "$svg" || fail "cannot write $svg"
fi
