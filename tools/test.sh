#!/usr/bin/env bash
# Installs what the tests need (Debian 12), builds, and runs every test.
#
#   tools/test.sh            sanitizers and fuzzers first, then the release build; ctest's summary of
#                            the release build ends the output
#   tools/test.sh --quick    the release build only
#   tools/test.sh --nightly  as without, but for hours: ten minutes of fuzzing a target, and millions
#                            of random operations on disks in use
#
# Exit 0 if everything passed; else the last line names the stage that failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
exec </dev/null
source tools/packages.sh

FUZZ_SECONDS_PER_TARGET=${VHDXM_FUZZ_SECONDS:-15}
JOBS=$(build_jobs)
quick=no
nightly=no

case "${1-}" in
  "") ;;
  --quick) quick=yes ;;
  --nightly) nightly=yes ;;
  --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
  *) echo "test.sh: unknown argument $1; see tools/test.sh --help" >&2; exit 2 ;;
esac
if [ "$nightly" = yes ]; then
  FUZZ_SECONDS_PER_TARGET=${VHDXM_FUZZ_SECONDS:-600}
fi
if [ $# -gt 1 ]; then
  echo "test.sh: one argument at most; see tools/test.sh --help" >&2
  exit 2
fi

stage() {  # NAME COMMAND...
  local name=$1 begin=$SECONDS
  shift
  echo "=== $name"
  if ! "$@"; then
    echo "test.sh: stage \"$name\" failed (after $((SECONDS - begin)) s)" >&2
    exit 1
  fi
  echo "=== $name: passed in $((SECONDS - begin)) s"
}

# The shadow memory of sanitizers of this age collides with strongly randomised addresses.
fixed_addresses=()
if setarch --addr-no-randomize true 2>/dev/null; then
  fixed_addresses=(setarch --addr-no-randomize)
fi

build() {  # PRESET TARGETS...
  local preset=$1
  shift
  if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  cmake --preset "$preset" >"build/$preset.log" 2>&1 || { cat "build/$preset.log"; return 1; }
  cmake --build --preset "$preset" --parallel "$JOBS" ${1+--target "$@"}
}

run_tests() {  # PRESET JOBS CTEST-ARGUMENTS...
  local preset=$1 jobs=$2
  shift 2
  "${fixed_addresses[@]}" ctest --preset "$preset" --parallel "$jobs" --no-tests=error "$@"
}

# New inputs go to the build folder: the corpus of the tree grows by hand only.
fuzz_one() {  # TARGET
  local name found log
  name=$(basename "$1")
  found=build/asan/found/$name
  log=build/asan/found/$name.log
  mkdir -p "$found"
  if ! "${fixed_addresses[@]}" "$1" -max_total_time="$FUZZ_SECONDS_PER_TARGET" -timeout=25 \
    -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build/asan/found/$name-" \
    "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    tail -n 60 "$log"
    echo "fuzz target $name failed; the input is in build/asan/found/$name-*" >&2
    return 1
  fi
  awk -v name="$name" '/number_of_executed_units/ { print name ": " $2 " inputs, no finding" }' "$log"
}

fuzz_all() {
  local targets=(build/asan/fuzzers/*)
  if [ ! -x "${targets[0]}" ]; then
    echo "no fuzz target was built" >&2
    return 1
  fi
  local target running=0 failed=0
  for target in "${targets[@]}"; do
    fuzz_one "$target" &
    running=$((running + 1))
    if [ "$running" -ge "$JOBS" ]; then
      wait -n || failed=1
      running=$((running - 1))
    fi
  done
  while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  return "$failed"
}

mkdir -p build || exit 1
stage "install packages" install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_TEST[@]}"

if [ "$quick" = no ]; then
  stage "asan: build" build asan
  # Memory errors show in the first thousands; the release build's tests go through all crash states
  # and rounds.
  export VHDXM_ROUNDS_PERCENT=${VHDXM_ROUNDS_PERCENT:-25}
  VHDXM_CRASH_STATES=${VHDXM_CRASH_STATES:-750} VHDXM_SIM_RUNS=${VHDXM_SIM_RUNS:-4000} \
    stage "asan: tests" run_tests asan "$JOBS" --label-exclude lint
  stage "tsan: build" build tsan
  stage "tsan: tests" run_tests tsan "$JOBS"
  unset VHDXM_ROUNDS_PERCENT
  stage "fuzz: $FUZZ_SECONDS_PER_TARGET s a target" fuzz_all
fi

stage "release: build" build release
if [ "$nightly" = yes ]; then
  # Some thousands, without this.
  export VHDXM_MODEL_OPERATIONS=${VHDXM_MODEL_OPERATIONS:-2000000}
fi
echo "=== release: tests"
# One more at a time: a third of the time of tests with real programs is waiting.
if ! run_tests release $((JOBS + 1)); then
  echo 'test.sh: stage "release: tests" failed' >&2
  exit 1
fi
