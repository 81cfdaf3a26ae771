#!/usr/bin/env bash
# Builds VHDX Migrate and moves a disk with it, on this machine alone (Debian 12).
#
#   tools/quickstart.sh              makes a disk with a real file system in it, and moves that
#   tools/quickstart.sh DISK.vhdx    moves a disk of yours; it is read, never changed
#   tools/quickstart.sh --keep ...   leaves the copy that arrived, and says where
#
# Installs missing packages (apt-get, as root or with sudo), builds a release in build/quickstart,
# starts a receiver on 127.0.0.1, sends the disk to it over TCP, and compares both disks.
# VHDX_MIGRATE_TOOL names a vhdx-migrate that is built already.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
source "$root/tools/packages.sh"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
say() { printf '%s\n' "$*"; }
fail() {
  printf 'quickstart.sh: %s\n' "$*" >&2
  exit 1
}
step() { printf '\n== %s\n' "$*"; }

keep=no
disk=
for argument in "$@"; do
  case "$argument" in
    --help | -h) usage; exit 0 ;;
    --keep) keep=yes ;;
    -*) printf 'quickstart.sh: unknown option %s\n\n' "$argument" >&2; usage >&2; exit 2 ;;
    *)
      if [ -n "$disk" ]; then
        printf 'quickstart.sh: one disk at a time\n' >&2
        exit 2
      fi
      disk=$argument
      ;;
  esac
done
if [ -n "$disk" ]; then
  [ -f "$disk" ] || fail "$disk: there is no such file"
  [ -r "$disk" ] || fail "$disk: is not readable for $(id -un)"
  disk=$(realpath -- "$disk") || exit 1
fi

work=
receiver=
clean_up() {
  local status=$?
  trap - EXIT INT TERM
  if [ -n "$receiver" ] && kill -0 "$receiver" 2>/dev/null; then
    kill "$receiver" 2>/dev/null
    wait "$receiver" 2>/dev/null
  fi
  if [ -n "$work" ]; then
    if [ "$keep" = yes ] && [ "$status" -eq 0 ]; then
      rm -rf "$work/files" "$work/source" "$work/content.raw" "$work/events"
    else
      rm -rf "$work"
    fi
  fi
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- build ---------------------------------------------------------------------------------------
tool=${VHDX_MIGRATE_TOOL-}
if [ -z "$tool" ]; then
  step "Installing what is missing"
  install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_DEMO[@]}" ||
    fail "the packages above are needed; install them and run this again"
  say "All packages are there."

  step "Building (a few minutes the first time)"
  build=$root/build/quickstart
  mkdir -p "$build" || fail "cannot make $build"
  log=$build/build.log
  (
    cd "$root" || exit 1
    command -v ccache >/dev/null && export CMAKE_CXX_COMPILER_LAUNCHER=ccache
    cmake --preset release -B "$build" -DVHDXM_BUILD_TESTS=OFF -DVHDXM_BUILD_BENCH=OFF &&
      cmake --build "$build" --parallel "$(build_jobs)" --target vhdx-migrate-tool
  ) </dev/null >"$log" 2>&1 || {
    tail -n 40 "$log" >&2
    fail "the build failed; all of it is in $log"
  }
  tool=$build/tools/vhdx-migrate
fi
[ -x "$tool" ] || fail "$tool: is not a program"
say "$("$tool" --version)"

# --- a disk --------------------------------------------------------------------------------------
work=$(mktemp -d "${TMPDIR:-/var/tmp}/vhdx-migrate-quickstart.XXXXXX") || fail "cannot make a folder"
mkdir "$work/source" "$work/destination" || exit 1

free_mib() { df --output=avail --block-size=1M "$work" | tail -n 1 | tr -d ' '; }
need_mib() {
  local free
  free=$(free_mib)
  [ "$free" -ge "$1" ] ||
    fail "$work: $1 MiB of room are needed, $free MiB are free; set TMPDIR to a folder with more"
}

# Files of this system, FILES_MIB of them, as the content of an ext4 of 2 GiB.
make_disk() {
  local files_mib=${VHDX_QUICKSTART_MIB:-350} tree=$work/files
  need_mib $((files_mib * 3 + 100))
  mkdir "$tree" || return 1
  (
    cd / || exit 1
    find usr/bin usr/share usr/lib -xdev -type f -size +0 -readable ! -name $'*\n*' \
      -printf '%s %p\n' 2>/dev/null |
      awk -v most="$files_mib" 'BEGIN { most *= 1048576 }
        { size = $1; sub(/^[0-9]+ /, ""); if (total + size > most) next; total += size; print }' |
      tar --create --verbatim-files-from --files-from=- --ignore-failed-read 2>/dev/null
  ) | tar --extract --directory="$tree" --no-same-owner || return 1
  files_count=$(find "$tree" -type f | wc -l)
  truncate -s 2G "$work/content.raw" &&
    PATH=$PATH:/sbin:/usr/sbin mke2fs -q -t ext4 -L quickstart -d "$tree" "$work/content.raw" &&
    "$tool" import "$work/content.raw" "$disk" --progress none || return 1
  rm -rf "$tree" "$work/content.raw"
}

made=no
if [ -z "$disk" ]; then
  step "Making a disk with an ext4 and files of this system in it"
  disk=$work/source/demo.vhdx
  made=yes
  files_count=0
  make_disk || fail "the disk could not be made"
else
  need_mib $(($(du --block-size=1M "$disk" | cut -f1) + 64))
fi
name=$(basename -- "$disk")

step "The disk"
"$tool" info "$disk" || fail "$disk cannot be opened as a VHDX"

# --- move ----------------------------------------------------------------------------------------
step "Receiving in one process"
mkfifo "$work/events" || exit 1
"$tool" receive --into "$work/destination" --listen 127.0.0.1:0 --once --key-file "$work/key" \
  --progress none --json >"$work/events" 2>"$work/receive.err" &
receiver=$!
exec 3<"$work/events"
address=
while IFS= read -r -t 30 -u 3 line; do
  case "$line" in
    *'"type":"listening"'*)
      address=$(sed -n 's/.*"address":"\([^"]*\)".*/\1/p' <<<"$line")
      break
      ;;
    *) printf '%s\n' "$line" >>"$work/receive.err" ;;
  esac
done
if [ -z "$address" ]; then
  cat "$work/receive.err" >&2
  fail "the receiver did not start"
fi
cat <&3 >"$work/receive.jsonl" &
say "vhdx-migrate receive --into $work/destination --listen 127.0.0.1:0 --once --key-file $work/key"
say "  listens on $address"

step "Asking what the move will take"
say "vhdx-migrate advise $disk $address --key-file $work/key"
"$tool" advise "$disk" "$address" --key-file "$work/key" >"$work/advice" || {
  cat "$work/receive.jsonl" "$work/receive.err" >&2
  fail "the way there could not be measured"
}
cat "$work/advice"
# "Take --mode plain, or leave it to auto: ...", "Take --mode compress --level 1: ..."
read -r -a mode < <(sed -n 's/^Take \(--mode [^,:]*\)[,:].*/\1/p' "$work/advice")
[ ${#mode[@]} -ge 2 ] || fail "no advice in what advise said"

step "Sending as advised"
say "vhdx-migrate send $disk $address --key-file $work/key ${mode[*]}"
begin=$(date +%s%N)
"$tool" send "$disk" "$address" --key-file "$work/key" "${mode[@]}" || {
  cat "$work/receive.jsonl" "$work/receive.err" >&2
  fail "the disk was not moved"
}
milliseconds=$((($(date +%s%N) - begin) / 1000000))
wait "$receiver" || {
  cat "$work/receive.jsonl" "$work/receive.err" >&2
  fail "the receiver ended badly"
}
receiver=

# --- verify --------------------------------------------------------------------------------------
arrived=$work/destination/$name
step "Comparing what arrived, byte for byte, with the source"
"$tool" compare "$disk" "$arrived" --progress none || fail "the content differs"
"$tool" check "$arrived" --progress none || fail "the copy breaks rules of the format"
if [ "$made" = yes ]; then
  "$tool" export "$arrived" "$work/content.raw" --progress none || fail "the copy cannot be read"
  PATH=$PATH:/sbin:/usr/sbin e2fsck -fn "$work/content.raw" >"$work/e2fsck.log" 2>&1 || {
    cat "$work/e2fsck.log" >&2
    fail "the file system in the copy is damaged"
  }
  say "e2fsck finds the file system in the copy clean ($files_count files)."
  rm -f "$work/content.raw"
fi

step "Done"
say "Moved $name ($(du --block-size=1M "$arrived" | cut -f1) MiB) over TCP with TLS 1.3 in $((milliseconds / 1000)).$(printf %03d $((milliseconds % 1000))) s."
[ "$keep" = no ] || say "The copy is $arrived"
cat <<TEXT

Next, between two hosts:
  on the destination   $tool receive --into /path/to/folder
  on the source        $tool send DISK.vhdx DESTINATION
The receiver prints the exact command and a one-time key; TCP port 6600 must be open to it.
Install with: cmake --install ${build-BUILD} --component runtime     See also: README.md, $tool --help
TEXT
