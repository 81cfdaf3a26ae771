#!/usr/bin/env bash
# tools/quickstart.sh with a command that is built already: quickstart_test.sh ROOT VHDX-MIGRATE
set -uo pipefail
root=$1
export VHDX_MIGRATE_TOOL=$2 VHDX_QUICKSTART_MIB=16
TMPDIR=$(mktemp -d) || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
cd "$TMPDIR" || exit 1

failures=0
expect() {  # WHAT STATUS TEXT COMMAND...: the command ends with STATUS, and its output has TEXT
  local what=$1 status=$2 text=$3 output got
  shift 3
  output=$("$@" 2>&1 </dev/null)
  got=$?
  if [ "$got" -ne "$status" ] || [[ $output != *"$text"* ]]; then
    printf 'FAILED: %s: exit %s, expected %s and "%s" in:\n%s\n' "$what" "$got" "$status" "$text" "$output"
    failures=$((failures + 1))
  fi
}
expect_nothing_left() {
  local left
  left=$(find "$TMPDIR" -mindepth 1 -maxdepth 1 ! -name given)
  if [ -n "$left" ]; then
    printf 'FAILED: %s: left behind: %s\n' "$1" "$left"
    failures=$((failures + 1))
  fi
}
quickstart=$root/tools/quickstart.sh

expect "help" 0 "tools/quickstart.sh DISK.vhdx" "$quickstart" --help
expect "an option that is none" 2 "unknown option --fast" "$quickstart" --fast
expect "two disks" 2 "one disk at a time" "$quickstart" a.vhdx b.vhdx
expect "a disk that is not there" 1 "gone.vhdx: there is no such file" "$quickstart" gone.vhdx

expect "a disk of its own" 0 "e2fsck finds the file system in the copy clean" "$quickstart"
expect_nothing_left "a disk of its own"

mkdir given
"$VHDX_MIGRATE_TOOL" create "given/a disk.vhdx" --size 100M --progress none >/dev/null 2>&1 || exit 1
expect "a disk that is given, with a space in its name" 0 "hold the same content" \
  "$quickstart" "given/a disk.vhdx"
expect_nothing_left "a disk that is given"

head -c 5000000 /dev/zero >given/no.vhdx
expect "a file that is no disk" 1 "no.vhdx" "$quickstart" given/no.vhdx
expect_nothing_left "a file that is no disk"

expect "a copy that is kept" 0 "The copy is" "$quickstart" --keep "given/a disk.vhdx"
copies=("$TMPDIR"/*/destination/"a disk.vhdx")
if [ ! -f "${copies[0]}" ]; then
  echo "FAILED: the copy was not kept"
  failures=$((failures + 1))
fi
[ "$failures" -eq 0 ]
