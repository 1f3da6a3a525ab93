#!/usr/bin/env bash
# `deploy/up --once` for real: a sample through API, Redis, worker, sandbox and
# Manim, and nothing left behind.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
LOG=$WORK/log

# Says a sentence of what was seen, and whether it holds.
check() {
  local sentence=$1
  shift
  if "$@"; then
    echo "ok - $sentence"
  else
    echo "FAILED - $sentence"
    sed 's/^/    /' "$LOG"
    exit 1
  fi
}

run_once() {
  "$ROOT/deploy/up" --once --data-dir "$WORK/data" --listen 127.0.0.1:0 \
    --metrics-listen 127.0.0.1:0 --worker-metrics-listen 127.0.0.1:0 >"$WORK/out" 2>"$LOG" </dev/null
}

film_plays() {
  local seen
  seen=$(ffprobe -v error -select_streams v:0 -of csv=p=0 -show_entries stream=codec_name,width,height "$FILM")
  [[ $seen == h264,1280,720* ]] || return 1
  seen=$(ffprobe -v error -of csv=p=0 -show_entries format=duration "$FILM")
  awk -v s="$seen" 'BEGIN { exit !(s > 3 && s < 15) }'
}

# Every process of this system was started with the data folder in its arguments, its
# environment or as its working folder.
nothing_left() {
  local process
  for process in /proc/[0-9]*; do
    [[ $process != /proc/$$ && $process != /proc/self ]] || continue
    if grep -qsF -- "$WORK/data" "$process/cmdline" "$process/environ" ||
      [[ $(readlink "$process/cwd" 2>/dev/null || true) == "$WORK/data"* ]]; then
      echo "left: $process $(tr '\0' ' ' <"$process/cmdline")" >>"$LOG"
      return 1
    fi
  done
}

check "deploy/up --once ends with status 0" run_once
FILM=$(tail -n 1 "$WORK/out")
check "it prints the path of a film that plays, of the right size and length" film_plays
check "it leaves no process behind" nothing_left
