# Runs the parts of deploy/test one after the other, all bounded by DEADLINE,
# and adds their counts up. Sourced after common.sh.

# shellcheck shell=bash

LOGS= # folder with one log a part
PASSED=0 FAILED=0 SKIPPED=0
SUMMARY=()

start_parts() {
  LOGS=$1
  rm -rf "$LOGS"
  mkdir -p "$LOGS"
}

# part NAME COUNTER FILTER COMMAND…
# COMMAND's output goes whole to a log and through FILTER to the terminal; then
# COUNTER reads the log and prints passed, failed and skipped. A command that
# fails counts as one failure, even if its runner did not get to count.
part() {
  local name=$1 counter=$2 filter=$3 began=$SECONDS status=0 passed failed skipped
  shift 3
  local log=$LOGS/$name.log
  : >"$log"
  printf '\n--- %s\n' "$name"
  if ((SECONDS >= DEADLINE)); then
    echo "no time left for this part" >"$log"
    status=124
  else
    set -m
    (
      set +e
      "$@" </dev/null 2>&1 | tee "$log" | "$filter" | tee "$log.shown"
      exit "${PIPESTATUS[0]}"
    ) &
    JOB=$!
    set +m
    wait_for_job "$log" || status=$?
  fi
  rm -f "$log.shown"
  read -r passed failed skipped < <("$counter" <"$log")
  if ((status && !failed)); then failed=1; fi
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
  conclude
}

# Adds the line of a part to the summary.
conclude() {
  local text=ok
  if ((passed + failed + skipped)); then text="$passed passed, $failed failed"; fi
  if ((skipped)); then text+=", $skipped skipped"; fi
  if ((status == 124)); then text+=" (time limit)"; fi
  if ((status)); then text+=" (status $status; see ${log#"$ROOT"/})"; fi
  SUMMARY+=("$(printf '%-10s %5s s  %s' "$name" "$((SECONDS - began))" "$text")")
  printf '%s: %s, %s s\n' "$name" "$text" "$((SECONDS - began))"
}

# Waits, and stops the job with all that it started when the time is over.
# A job that shows nothing for a while is shown to be alive.
wait_for_job() {
  local log=$1 status=0 began=$SECONDS beat=$((SECONDS + 30)) size=0 now
  while kill -0 "$JOB" 2>/dev/null; do
    nap 0.2
    if ((SECONDS >= DEADLINE)); then
      echo "the time limit of the whole run is reached: stopping" | tee -a "$log"
      stop_group
      JOB=
      return 124
    fi
    if ((SECONDS >= beat)); then
      beat=$((SECONDS + 30))
      now=$(stat -c %s "$log.shown" 2>/dev/null || echo 0)
      if ((now == size)); then echo "  … $((SECONDS - began)) s"; fi
      size=$now
    fi
  done
  wait "$JOB" || status=$?
  JOB=
  return $status
}

# The closing line is the only one of its form, and alone.
summarize() {
  local skipped=
  printf '\n--- summary\n'
  printf '%s\n' "${SUMMARY[@]}"
  if ((SKIPPED)); then skipped=", $SKIPPED skipped"; fi
  printf '\n%s passed, %s failed%s\n' "$PASSED" "$FAILED" "$skipped"
  ((FAILED == 0))
}

# --- Filters: what of a part's output is worth a line -----------------------

without_progress() { grep --line-buffered -vE '^ *(Compiling|Checking|Downloading|Downloaded|Fresh|Updating|Blocking|Locking|Adding) ' || true; }

# cargo test without what went well: no line for a test that passed, and
# nothing at all for a program that has no test.
only_news() {
  awk '
    /^ *(Compiling|Checking|Downloading|Downloaded|Fresh|Updating|Blocking|Locking|Adding) / { next }
    /^ *(Running|Doc-tests) / { heading = $0; next }
    /^running [0-9]+ tests?$/ || /^test .* \.\.\. (ok|ignored.*)$/ || /^$/ { next }
    /^test result: ok\. 0 passed; 0 failed; 0 ignored/ { heading = ""; next }
    { if (heading != "") print heading; heading = ""; print; fflush() }
  '
}

# --- Counters: a log on stdin, "passed failed skipped" on stdout ------------

none() { echo "0 0 0"; }

# "skipped - why" is a part that could not run here.
counted_by_cargo() {
  awk '/^test result: / { passed += $4; failed += $6; skipped += $8 } /^skipped - / { skipped++ } END { print passed + 0, failed + 0, skipped + 0 }'
}

# "Ran 12 tests in 0.1s", then "OK (skipped=1)" or "FAILED (failures=1, errors=2, skipped=1)".
counted_by_unittest() {
  awk '
    /^Ran [0-9]+ tests? in / { ran += $2 }
    /^(OK|FAILED)( \(.*\))?$/ {
      text = $0
      gsub(/expected failures=[0-9]+/, "", text)
      while (match(text, /[a-z ]+=[0-9]+/)) {
        split(substr(text, RSTART, RLENGTH), pair, "=")
        text = substr(text, RSTART + RLENGTH)
        if (pair[1] ~ /skipped/) skipped += pair[2]; else failed += pair[2]
      }
    }
    END { passed = ran - failed - skipped; print (passed > 0 ? passed : 0), failed + 0, skipped + 0 }
  '
}

# "ok - what" and "FAILED - what", one line a test.
counted_by_lines() {
  awk '/^ok - / { passed++ } /^FAILED - / { failed++ } END { print passed + 0, failed + 0, 0 }'
}
