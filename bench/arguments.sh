# What the scripts of this folder that a Python program does the work of have in common.
# Sourced; then: take_arguments "$@"

# shellcheck shell=bash disable=SC2034
# Sets `install` (yes, or no with --no-install) and `arguments`, the others. --help prints the comment at the
# script's beginning, and ends it.
take_arguments() {
  local argument
  install=yes
  arguments=()
  for argument in "$@"; do
    case "$argument" in
      --no-install) install=no ;;
      --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[1]}"; exit 0 ;;
      *) arguments+=("$argument") ;;
    esac
  done
}
