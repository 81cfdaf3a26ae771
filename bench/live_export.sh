#!/usr/bin/env bash
# Writes to a disk in use over NBD, by VHDX Migrate and by others, in turns, on this machine; prints a table.
#
#   bench/live_export.sh [--runs 5] [--seconds 10] [--size-mib 1024] [--blocks 4000] [--only random|allocate]
#                        [--dir FOLDER] [--json FILE] [--no-install]
#
# fio, 4 KiB, 16 writes under way, over a Unix socket:
# * random: everywhere in a disk that was written once, for so many seconds: nbdkit's file plugin on a
#   raw file, ours with its writes untracked and tracked, qemu-nbd on the same kind of VHDX.
# * allocate: each write in a block of 1 MiB that has no place yet, then a flush: ours and qemu-nbd on a
#   fresh dynamic VHDX, nbdkit on a sparse raw file.
# Each run takes them in another order; the table has medians. --dir: where disks are made (default:
# TMPDIR or /var/tmp; it should be on a disk, with 4 times --size-mib of room). --json: every run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tools/packages.sh"
source "$root/bench/arguments.sh"

take_arguments "$@"
[ "$install" = no ] || install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_PEERS[@]}"
build=$root/build/compare
(
  cd "$root"
  cmake --preset release -DVHDXM_BUILD_TESTS=OFF -DVHDXM_BUILD_BENCH=OFF -B "$build" &&
    cmake --build "$build" --parallel "$(build_jobs)" --target vhdx-migrate-tool
) >&2
exec python3 -B "$root/bench/live_export.py" --build "$build" "${arguments[@]}"
