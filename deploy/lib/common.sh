# Shared by deploy/setup, deploy/up and deploy/test: where things are, what is
# printed, and how a long command runs. Sourced, never run.
#
# Everything a command prints goes to $LOG; the terminal gets one line a step.

# shellcheck shell=bash

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
STATE=$ROOT/.manimq
LOG=$STATE/setup.log
PYTHON_ENV=$STATE/python

QUIET=0 # 1: a step that took no time says nothing
JOB=    # process id, and group, of the command that a step runs now
STATUS=0
DEADLINE=0  # in SECONDS: no step runs past it; 0: none
SUDO_STEP=0 # 1: that command runs through sudo, so only root may stop it

# shellcheck disable=SC2034 # for deploy/up
CALLER_UMASK=$(umask)
# Private umasks are common (077), but the sandbox reads the environment as
# another user.
umask 022

if [[ -t 1 ]]; then TERMINAL=1; else TERMINAL=0; fi

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() {
  printf 'error: %s\n' "$1" >&2
  shift
  local hint
  for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
  exit 1
}
usage_error() {
  printf 'error: %s\n  see: %s --help\n' "$1" "$0" >&2
  exit 2
}

# A builtin sleep: forks nothing, so nothing is left behind when we are stopped.
exec {NAP_FD}<> <(:)
nap() { read -rt "$1" -u "$NAP_FD" _ || true; }

# try TITLE COMMAND…: runs it in its own process group and sets STATUS.
# Call it as a plain statement: in `try … || …` bash would switch `set -e` off
# inside COMMAND too.
try() {
  local title=$1 from next_beat=30 shown=0 line
  shift
  printf '\n== %s  %s\n' "$(date +%FT%T)" "$title" >>"$LOG"
  from=$(stat -c %s "$LOG")
  local began=$SECONDS
  STATUS=0
  set -m
  "$@" >>"$LOG" 2>&1 </dev/null &
  JOB=$!
  set +m
  local quick=0
  while kill -0 "$JOB" 2>/dev/null; do
    if ((quick < 10)); then
      quick=$((quick + 1))
      nap 0.05
      continue
    fi
    nap 0.2
    if ((DEADLINE && SECONDS >= DEADLINE)); then
      echo "the time limit is reached: stopped" >>"$LOG"
      stop_group
      STATUS=124
    elif ((TERMINAL)); then
      if ((!QUIET || SECONDS - began >= 2)); then
        line=$(tail -c 400 "$LOG" | tr '\r' '\n' | tr -cd '[:print:]\n' | grep -v '^ *$' | tail -n 1 || true)
        progress_line "$title" "$((SECONDS - began))" "$line"
        shown=1
      fi
    elif ((!shown && (!QUIET || SECONDS - began >= 2))); then
      say "  $title …"
      shown=1
    elif ((SECONDS - began >= next_beat)); then
      say "  $title … $((SECONDS - began)) s"
      next_beat=$((next_beat + 30))
    fi
  done
  if ((!STATUS)); then wait "$JOB" || STATUS=$?; fi
  JOB=
  if ((TERMINAL && shown)); then printf '\r\e[K'; fi
  if ((STATUS)); then
    say "  $title: failed after $((SECONDS - began)) s (status $STATUS)"
    say "  the end of its output ($LOG has all of it):"
    tail -c "+$((from + 1))" "$LOG" | tail -n 25 | sed 's/^/    | /'
  elif ((shown || !QUIET)); then
    say "  $title: ok ($((SECONDS - began)) s)"
  fi
}

# step TITLE COMMAND…: try, and end here if it failed.
step() {
  try "$@"
  if ((STATUS)); then exit "$STATUS"; fi
}

progress_line() {
  local text="  $1 … $2 s"
  local room=$((${COLUMNS:-80} - ${#text} - 4))
  if ((room > 10)) && [[ -n $3 ]]; then text+="  ${3:0:room}"; fi
  printf '\r\e[K%s' "$text"
}

signal_job() {
  kill "-$1" -- "-$JOB" 2>/dev/null || true
  if ((SUDO_STEP)); then sudo -n kill "-$1" -- "-$JOB" 2>/dev/null || true; fi
}

# Ends the present command and all of its process group, within ten seconds.
stop_group() {
  local tries=0
  signal_job TERM
  while kill -0 -- "-$JOB" 2>/dev/null && ((tries++ < 50)); do nap 0.2; done
  signal_job KILL
  wait "$JOB" 2>/dev/null || true
}

# On a signal for us: the present command gets it too, and is waited for. apt is
# the one that must not be cut in the middle (see system-packages): for it the
# wait takes as long as it takes, unless asked twice.
stop_job() {
  local signal=$1 code=$2
  # shellcheck disable=SC2064 # the code of now
  trap "exit $code" INT TERM HUP
  if [[ -n $JOB ]]; then
    if ((TERMINAL)); then printf '\r\e[K'; fi
    say "stopping (SIG$signal); waiting for the present step to end"
    signal_job TERM
    wait "$JOB" 2>/dev/null || true
  fi
  exit "$code"
}
trap 'stop_job INT 130' INT
trap 'stop_job TERM 143' TERM
trap 'stop_job HUP 129' HUP

# Where our own state lives. Made before anything is logged.
make_state_dir() {
  mkdir -p "$STATE" 2>/dev/null || true
  if [[ ! -w $STATE ]]; then
    fail "$STATE cannot be written by $(id -un)" \
      "it belongs to $(stat -c %U "$STATE" 2>/dev/null || stat -c %U "$ROOT"): run this as that user, or give the folder to yourself"
  fi
  # The log of the last few runs is enough.
  if [[ -f $LOG ]] && (($(stat -c %s "$LOG") > 4000000)); then mv -f "$LOG" "$LOG.old"; fi
  touch "$LOG"
}

# Prints where cargo is, which a shell that has not been restarted since Rust
# was installed does not have on its PATH yet.
find_cargo() {
  local cargo
  for cargo in "$(command -v cargo || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" /usr/local/cargo/bin/cargo; do
    if [[ -n $cargo && -x $cargo ]]; then
      printf '%s\n' "$cargo"
      return
    fi
  done
  return 1
}

# Puts cargo on PATH, or ends with what to do.
need_cargo() {
  local cargo
  cargo=$(find_cargo) || fail "cargo was not found: manimq is built from source with Rust" \
    "install Rust with rustup (https://www.rust-lang.org/tools/install), then run this again" \
    "if it is installed already, put its bin folder on PATH"
  PATH=$(dirname -- "$cargo"):$PATH
  export PATH
}

# The profile to build with: release for use, dev for tests.
profile() {
  local profile=${MANIMQ_PROFILE:-release}
  case $profile in
    release | dev) printf '%s\n' "$profile" ;;
    *) fail "MANIMQ_PROFILE is '$profile'; it may be release or dev" ;;
  esac
}

# Prints the folder that the built programs are in.
programs_dir() {
  local target folder=release
  if [[ $(profile) == dev ]]; then folder=debug; fi
  target=$(cd "$ROOT" && cargo metadata --no-deps --offline --locked --format-version 1 2>/dev/null |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
  printf '%s/%s\n' "${target:-${CARGO_TARGET_DIR:-$ROOT/target}}" "$folder"
}

# Tells the programs where the renderer is, unless the caller did.
export_renderer() {
  export MANIMQ_PYTHON_ENV=${MANIMQ_PYTHON_ENV:-$PYTHON_ENV}
  export MANIMQ_RENDERER_DIR=${MANIMQ_RENDERER_DIR:-$ROOT/worker/renderer}
}
