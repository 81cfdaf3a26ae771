#!/usr/bin/env bash
# Reads a source and writes a destination in the ways that this engine could, with fio; prints a table.
#
#   bench/file_io.sh [--fs ext4,xfs,tmpfs] [--what read|write] [--rounds 3] [--size-mib 1024]
#                    [--dir FOLDER] [--images FOLDER] [--json FILE] [--no-install]
#
# The base is what the engine does: O_DIRECT, 4 threads that take blocks of 1 MiB in turns, the destination
# preallocated. Every other row changes one thing: through the cache, with and without early write-out; the
# source's pages cached; threads; io_uring with one thread and so many requests under way; the size of a
# block; no preallocation. The last sync of a write is in its time, making the file is not.
# Each round takes the ways in another order; the table has medians. Sizes of some MiB only show that it runs.
#
# ext4 and xfs are made in images that are mounted over loop devices, which takes root; tmpfs is /dev/shm.
# What this machine cannot make or do is named and left out. --images: where the images are made (default:
# TMPDIR or /var/tmp; it should be on a disk, with 3 times --size-mib of room). --dir: measure in this
# folder, on the file system it is on, instead. --json: every run.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/tools/packages.sh"
source "$root/bench/arguments.sh"
export PATH=$PATH:/sbin:/usr/sbin

take_arguments "$@"
[ "$install" = no ] || install_packages "${PACKAGES_FILE_IO[@]}"
exec python3 -B "$root/bench/file_io.py" "${arguments[@]}"
