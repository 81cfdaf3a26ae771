#!/usr/bin/env bash
# The engine without a disk behind it: into a receiver that verifies and drops, beside one iperf3 stream.
#
#   bench/discard.sh [--runs 5] [--files-mib 1024] [--dir FOLDER] [--json FILE] [--no-install]
#
# The disk: a dynamic VHDX of 4 MiB blocks that qemu-img makes of files of /usr/bin and /usr/share, in the page
# cache. Each run measures in turns: plain with one, two and four streams, TLS with four, iperf3 with one.
# CPU is that of both processes together, per GB of payload, while frames flow.
# VHDX_MIGRATE_DISCARD names a bench/discard that is built already. Only processes that this script started are
# ended.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
source "$root/tools/packages.sh"
exec </dev/null
fail() {
  printf 'discard.sh: %s\n' "$*" >&2
  exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
runs=5 files_mib=1024 parent_dir=${TMPDIR:-/var/tmp} json='' install=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --help | -h) usage; exit 0 ;;
    --no-install) install=no; shift; continue ;;
    --runs | --files-mib | --dir | --json) [ $# -ge 2 ] || fail "$1 needs a value; see --help" ;;
    *) fail "unknown argument $1; see --help" ;;
  esac
  case "$1" in
    --runs) runs=$2 ;;
    --files-mib) files_mib=$2 ;;
    --dir) parent_dir=$2 ;;
    --json) json=$2 ;;
  esac
  shift 2
done
[[ $runs =~ ^[1-9][0-9]*$ && $files_mib =~ ^[1-9][0-9]*$ ]] || fail "--runs and --files-mib take whole numbers"

server=
work=
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  [ -z "$server" ] || kill "$server" 2>/dev/null
  [ -z "$work" ] || rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$install" = yes ]; then
  install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_PEERS[@]}" || exit 1
fi
discard=${VHDX_MIGRATE_DISCARD-}
if [ -z "$discard" ]; then
  (cd "$root" && cmake --preset release && cmake --build --preset release --parallel "$(build_jobs)" --target discard) \
    >&2 || fail "the build failed"
  discard=$root/build/release/bench/discard
fi
for program in "$discard" qemu-img iperf3 python3 tar; do
  command -v "$program" >/dev/null || fail "$program is missing"
done

work=$(mktemp -d "$parent_dir/vhdx-migrate-discard.XXXXXX") || fail "cannot make a folder in $parent_dir"
# One after the other, so no file system is needed: what counts is that the bytes are real.
(
  cd / && find usr/bin usr/share -xdev -type f -size +0 -readable ! -name $'*\n*' -print0 2>/dev/null |
    xargs -0 cat 2>/dev/null | head -c $((files_mib * 1048576)) >"$work/content.raw"
)
qemu-img convert -q -f raw -O vhdx -o subformat=dynamic,block_size=4M "$work/content.raw" "$work/disk.vhdx" ||
  fail "the disk could not be made"
rm "$work/content.raw"
cat "$work/disk.vhdx" >/dev/null

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
iperf3 -s -p "$port" -B 127.0.0.1 >/dev/null 2>&1 &
server=$!
for ((try = 0; try < 200; ++try)); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
  sleep 0.025
done
export TMPDIR=$work
for ((run = 0; run < runs; ++run)); do
  for how in "--streams 1" "--streams 2" "--streams 4" "--tls --streams 4" iperf3; do
    if [ "$how" = iperf3 ]; then
      line=$(iperf3 -c 127.0.0.1 -p "$port" -t 2 -J |
        python3 -c 'import json, sys; end = json.load(sys.stdin)["end"]["sum_received"]
print(json.dumps({"seconds": end["seconds"], "bytes": end["bytes"], "GB_per_s": end["bits_per_second"] / 8e9}))')
    else
      # shellcheck disable=SC2086  # words
      line=$("$discard" "$work/disk.vhdx" $how) || fail "discard $how failed"
    fi
    printf '{"how":"%s","run":%d,"result":%s}\n' "$how" "$run" "$line" >>"$work/results"
  done
done
python3 - "$work/results" "$json" <<'PYTHON'
import json
import statistics
import sys

rows = [json.loads(line) for line in open(sys.argv[1])]
order = list(dict.fromkeys(row["how"] for row in rows))
median = lambda how, key: statistics.median(row["result"].get(key, 0) for row in rows if row["how"] == how)
pairs = lambda how: [row["result"]["GB_per_s"] / beside["result"]["GB_per_s"] for row in rows for beside in rows
                     if row["how"] == how and beside["how"] == "iperf3" and row["run"] == beside["run"]]
print("| how | GB/s | of one iperf3 stream | CPU s per GB |\n|---|---:|---:|---:|")
for how in order:
    cpu = median(how, "cpu_s_per_GB")
    print(f"| {how} | {median(how, 'GB_per_s'):.2f} | {statistics.median(pairs(how)):.2f} | {f'{cpu:.2f}' if cpu else '-'} |")
if sys.argv[2]:
    with open(sys.argv[2], "w") as out:
        json.dump({"schema": 1, "results": rows}, out, indent=1)
PYTHON
