#!/usr/bin/env bash
# Moves disks of several kinds over links of several rates, plain, compressed and as auto decides.
#
#   bench/modes.sh [--disks files,random,zero,text,database] [--rates 100M,1G,2.5G,10G,unlimited]
#                  [--modes plain,1,3,6,9,auto,zstd-adapt] [--rounds 3] [--size-mib 512]
#                  [--dir FOLDER] [--keep-disks FOLDER] [--json FILE] [--svg FOLDER] [--drop] [--no-advise]
#                  [--no-install]
#   bench/modes.sh --disks text --rates 1G --modes plain,1,auto --rounds 1 --size-mib 64   # a minute
#
# Two network namespaces are the hosts; tbf on both ends of the wire between them is the link. Disks are
# dynamic VHDX files with 4 MiB blocks and --size-mib of content, made from seeds and from /usr: an ext4
# with files of /usr/bin and /usr/share, random bytes, pages that are mostly zero, text, an SQLite
# database. A number among the modes is a level of zstd; zstd-adapt is a rival, `zstd --adapt` in a pipe.
#
# The source is in the page cache, the clock stops when the destination is synced, every copy is compared
# with the source. In each round every mode has its turn, in another order; the table has medians, what
# auto lost against the best fixed mode (turns of one round compared), and what `vhdx-migrate advise` said.
# --drop: also over a link that drops from 10G to 100M and comes back; --size-mib 4096 is needed for that.
# --json: the record; --svg: a chart for each disk, time over rate, with the rate marked from which
# plain is the fastest. --dir: where disks are made (default: TMPDIR or /var/tmp). --keep-disks: source
# disks are taken from there, and left there, for a series in parts: bench/modes_report.py puts records
# together.
# VHDX_MIGRATE_TOOL names a vhdx-migrate that is built already. Needs root, for the namespaces.
#
# Only processes and namespaces that this script made are ended. Exit 0 if every copy was right.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
source "$root/tools/packages.sh"
exec </dev/null
export PATH=$PATH:/sbin:/usr/sbin

fail() {
  printf 'modes.sh: %s\n' "$*" >&2
  exit 1
}
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

install=yes arguments=()
for argument in "$@"; do
  case "$argument" in
    --help | -h) usage; exit 0 ;;
    --no-install) install=no ;;
    *) arguments+=("$argument") ;;
  esac
done
command -v python3 >/dev/null || [ "$install" = yes ] || fail "python3 is missing"
[ "$(id -u)" -eq 0 ] || fail "network namespaces need root: run it as root or with sudo"

if [ "$install" = yes ]; then
  install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_MODES[@]}" || exit 1
fi
python3 -B "$root/bench/modes_run.py" --check "${arguments[@]}" || exit 1
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
exec python3 -B "$root/bench/modes_run.py" --tool "$tool" "${arguments[@]}"
