# The Debian 12 packages that this project needs: the only place that names them.
# Sourced by quickstart.sh, test.sh and the scripts in bench/; then: install_packages "${PACKAGES_BUILD[@]}"

# shellcheck shell=bash disable=SC2034
# To build the library and the command.
PACKAGES_BUILD=(
  g++ cmake ninja-build pkg-config
  libboost1.81-dev libssl-dev libisal-dev libxxhash-dev libzstd-dev libfmt-dev libcli11-dev
  libtomlplusplus-dev nbdkit-plugin-dev libnbd-dev
)
# To make the demonstration's disk.
PACKAGES_DEMO=(e2fsprogs)
# To build and run the tests: every preset, and the independent programs that read what we write.
PACKAGES_TEST=(
  libgtest-dev libgmock-dev libbenchmark-dev python3
  clang libclang-rt-14-dev
  qemu-utils qemu-system-common libvhdi-utils nbdkit libnbd-bin python3-libnbd fio e2fsprogs openssl curl
  iproute2 bzip2 gzip xz-utils zstd
)
# To compare with other ways of moving a disk.
PACKAGES_PEERS=(qemu-utils libnbd-bin e2fsprogs python3 rsync zstd socat nbdkit fio)
# To move disks in use, and compare that with QEMU's way.
PACKAGES_LIVE=(qemu-utils qemu-system-common nbdkit fio python3)
# To compare ways of reading and writing files.
PACKAGES_FILE_IO=(fio python3 e2fsprogs xfsprogs mount util-linux)
# To compare ways of sending over links of several rates.
PACKAGES_MODES=(qemu-utils e2fsprogs python3 iproute2 zstd socat)

# Installs those of the packages named that are missing. Asks the mirror only if one is.
install_packages() {
  local missing=() package
  for package in "$@"; do
    if [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
      missing+=("$package")
    fi
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "These packages are missing, and installing them needs root or sudo: ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  if ! command -v apt-get >/dev/null; then
    echo "This script installs packages with apt-get (Debian 12). Missing: ${missing[*]}" >&2
    return 1
  fi
  echo "Installing: ${missing[*]}" >&2
  if ! "${as_root[@]}" apt-get update -q </dev/null >&2 ||
    ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null >&2; then
    echo "apt-get could not install: ${missing[*]}" >&2
    return 1
  fi
}

# How many compilers run at once: one a processor, as long as each has 1.5 GiB of memory.
build_jobs() {
  local processors memory_kib by_memory
  processors=$(nproc)
  memory_kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  by_memory=$((memory_kib / (1536 * 1024)))
  [ "$by_memory" -ge 1 ] || by_memory=1
  echo $((processors < by_memory ? processors : by_memory))
}
