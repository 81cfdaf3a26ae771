#!/usr/bin/env bash
# Moves of a disk in use, there and back between two host services on this machine, beside QEMU's own way.
#
#   bench/live.sh [--only pause,guest,mirror,export,peer] [--moves 50] [--peer-moves 50] [--max-pause-ms 20]
#                 [--connect before|after] [--mib 256] [--depth 16] [--runs 5] [--seconds 3] [--copy-mib 3072]
#                 [--base-seconds 2] [--minutes N] [--seed N] [--dir FOLDER] [--json FILE] [--no-install]
#   bench/live.sh --show RECORD...      # one table of records that were measured in pieces
#
# A client (bench/live_client.cc) makes 4 KiB random writes at full speed through the exported socket, --depth
# under way, records when each was sent and answered, goes on at the other host when writes are refused, and in
# the end reads back all it was told is written. It is connected there before, as a guest is that waits to be
# started, or (--connect after) connects when writes are refused.
#
# * pause: the longest time without an answer over each move, less the longest one in as much time (at most
#   --base-seconds) without a move; how much of it was at the source; and what passes sent again, beside the pages
#   that were written between their borders by the client's own record.
# * guest: writes a second without a move, and while a disk of --copy-mib is copied with --limit of half of what it
#   is copied with when nobody writes.
# * mirror: writes a second and how long one takes when every write is mirrored (move --mirror always), and without a
#   move, beside a round trip of TCP.
# * export: not tracked, tracked, and nbdkit's file plugin on a raw file (bench/live_export.py).
# * peer: the same client and disk, but raw, at a qemu-storage-daemon, which mirrors it (blockdev-mirror, sync full,
#   write-blocking, or it never catches up with this writer) to the export of another over a Unix socket, without
#   TLS; then the client stops, the job is completed, and the client goes on at the other one. Nobody writes
#   down there who owns the disk. Its pause is the client's gap, as above.
#
# --minutes: a series of moves ends after so long, whatever --moves says. --dir: where disks are made (default: TMPDIR or
# /var/tmp; both hosts' are there, so they share one device). --json: the record of every move.
# VHDX_MIGRATE_BUILD names a build folder whose programs are built already.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tools/packages.sh"
source "$root/bench/arguments.sh"

take_arguments "$@"
[ "$install" = no ] || install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_LIVE[@]}"
build=${VHDX_MIGRATE_BUILD-}
if [ -z "$build" ]; then
  build=$root/build/live
  (
    cd "$root"
    cmake --preset release -DVHDXM_BUILD_TESTS=OFF -B "$build" &&
      cmake --build "$build" --parallel "$(build_jobs)" --target \
        vhdx-migrate-tool vhdx-migrated nbdkit-vhdx-plugin.so live_client
  ) >&2
fi
exec python3 -B "$root/bench/live.py" --build "$build" "${arguments[@]}"
