#!/usr/bin/env bash
# Tests of the scripts in deploy/: no network, no package is touched. Each test
# is a function whose name is a sentence; it runs in a subshell and a folder of
# its own, and fails at the first command that fails.
# shellcheck disable=SC2016 # much is quoted here for another shell
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT

# A checkout with the scripts alone: $1 is where.
a_checkout() {
  mkdir -p "$1"
  cp -r "$ROOT/deploy" "$1/deploy"
}

# Runs "$2…" in a shell that has the functions of the checkout $1.
WITH_FUNCTIONS='set -euo pipefail
  checkout=$1; shift
  for file in common setup parts; do source "$checkout/deploy/lib/$file.sh"; done
  make_state_dir
  eval "$@"'
with_functions_of() { bash -c "$WITH_FUNCTIONS" _ "$@"; }

expect() { # TEXT PATTERN
  if [[ $1 != *"$2"* ]]; then
    printf 'expected: %s\nin: %s\n' "$2" "$1"
    return 1
  fi
}

# Runs "$2…" and expects exit status $1; its output is in $OUTPUT.
expect_status() {
  local wanted=$1 status=0
  shift
  OUTPUT=$("$@" 2>&1 </dev/null) || status=$?
  if ((status != wanted)); then
    printf 'status %s, expected %s:\n%s\n' "$status" "$wanted" "$OUTPUT"
    return 1
  fi
}

test_each_command_explains_itself() {
  local command
  for command in setup up test compose-secrets; do
    expect_status 0 "$ROOT/deploy/$command" --help
    expect "$OUTPUT" "usage: deploy/$command"
  done
}

test_a_sandbox_is_not_deployed_with_settings_that_cannot_be() {
  local deploy=$ROOT/deploy/deploy_sandbox.sh
  expect_status 0 "$deploy" --help
  expect "$OUTPUT" "usage: deploy/deploy_sandbox.sh"
  expect_status 1 env -u MANIM_SANDBOX_SERVER_IMAGE "$deploy" --dry-run
  expect "$OUTPUT" "--server-image"
  expect_status 1 "$deploy" --dry-run --server-image x --name Not_A_Name
  expect "$OUTPUT" "no name for a sandbox"
  expect_status 1 "$deploy" --dry-run --server-image x --memory 12
  expect "$OUTPUT" "--memory 12"
  expect_status 2 "$deploy" --now
}

test_what_tells_how_to_make_a_sandbox_names_all_that_the_script_wants() {
  local told
  told=$(grep -rhE 'deploy_sandbox\.sh --(name|server-image)' "$ROOT/deploy/sandbox/README.md" "$ROOT/worker/src")
  expect "$told" "bl delete sandbox NAME && "
  told=$(grep -v -e '--server-image IMAGE' <<<"$told" || true)
  [[ -z $told ]] || { printf 'without --server-image:\n%s\n' "$told"; return 1; }
}

test_a_sandbox_is_deployed_with_the_renderer_and_the_settings_that_were_asked_for() {
  mkdir "$WORK/bin"
  printf '%s\n' '#!/bin/sh' 'mkdir -p "$2/renderer-0" && echo "$2/renderer-0"' >"$WORK/bin/worker"
  printf '%s\n' '#!/bin/sh' 'echo "bl $*"; echo "key $BL_API_KEY"; while [ $# -gt 0 ]; do [ "$1" = -d ] && ls "$2" && cat "$2/blaxel.toml"; shift; done' \
    >"$WORK/bin/bl"
  chmod +x "$WORK/bin/worker" "$WORK/bin/bl"
  expect_status 0 env -u BL_API_KEY PATH="$WORK/bin:$PATH" MANIMQ_WORKER_BIN="$WORK/bin/worker" BLAXEL_API_KEY=k BL_WORKSPACE=acme \
    "$ROOT/deploy/deploy_sandbox.sh" --name films --memory 4096 --server-image x/y:z
  expect "$OUTPUT" "bl deploy -y"
  expect "$OUTPUT" "-w acme"
  expect "$OUTPUT" "key k"
  expect "$OUTPUT" 'name = "films"'
  expect "$OUTPUT" 'memory = 4096'
  expect "$OUTPUT" 'SANDBOX_SERVER_IMAGE = "x/y:z"'
  expect "$OUTPUT" "renderer"
  expect "$OUTPUT" "MANIM_SANDBOX_NAME=films"
}

test_an_unknown_argument_is_refused() {
  expect_status 2 "$ROOT/deploy/setup" --latex
  expect "$OUTPUT" "unknown argument: --latex"
  expect_status 2 "$ROOT/deploy/test" quota
  expect "$OUTPUT" "unknown argument: quota"
}

test_an_unknown_profile_is_refused() {
  a_checkout "$WORK/here"
  expect_status 1 env MANIMQ_PROFILE=fast bash -c 'source "$1/deploy/lib/common.sh"; profile' _ "$WORK/here"
  expect "$OUTPUT" "MANIMQ_PROFILE is 'fast'"
}

test_without_cargo_it_says_how_to_get_it() {
  a_checkout "$WORK/here"
  expect_status 1 env -u CARGO_HOME PATH=/usr/bin:/bin HOME="$WORK" bash -c '
    source "$1/deploy/lib/common.sh"
    find_cargo() { return 1; }
    need_cargo' _ "$WORK/here"
  expect "$OUTPUT" "cargo was not found"
  expect "$OUTPUT" "rustup"
}

test_cargo_is_found_in_the_home_of_a_shell_that_was_not_restarted() {
  a_checkout "$WORK/here"
  mkdir -p "$WORK/home/.cargo/bin"
  printf '#!/bin/sh\n' >"$WORK/home/.cargo/bin/cargo"
  chmod +x "$WORK/home/.cargo/bin/cargo"
  expect_status 0 env -u CARGO_HOME PATH=/usr/bin:/bin HOME="$WORK/home" bash -c '
    source "$1/deploy/lib/common.sh"
    find_cargo' _ "$WORK/here"
  expect "$OUTPUT" "$WORK/home/.cargo/bin/cargo"
}

test_a_step_that_fails_shows_the_end_of_its_output_and_ends_with_its_status() {
  a_checkout "$WORK/here"
  expect_status 7 with_functions_of "$WORK/here" 'bad() { echo the reason; false || return 7; echo not here; }' ';' 'step "try it" bad' ';' 'echo not here either'
  expect "$OUTPUT" "try it: failed"
  expect "$OUTPUT" "| the reason"
  [[ $OUTPUT != *"not here"* ]]
}

test_a_step_ends_at_its_first_failing_command() {
  a_checkout "$WORK/here"
  expect_status 1 with_functions_of "$WORK/here" 'bad() { false; echo went on; }' ';' 'step "try it" bad'
  [[ $OUTPUT != *"went on"* ]]
}

test_a_signal_ends_the_step_and_what_it_started() {
  local pid child status=0
  a_checkout "$WORK/here"
  bash -c "$WITH_FUNCTIONS" _ "$WORK/here" 'long() { sleep 61 & echo $! >"$STATE/child"; wait; }' ';' 'step "long" long' >"$WORK/out" 2>&1 &
  pid=$!
  wait_until test -s "$WORK/here/.manimq/child"
  child=$(<"$WORK/here/.manimq/child")
  kill -TERM "$pid"
  wait "$pid" || status=$?
  ((status == 143)) || { echo "status $status"; return 1; }
  wait_until is_gone "$child"
}

# Not running: a dead process that its new parent has not collected is gone too.
is_gone() { ! grep -q '^State:[[:space:]][^ZX]' "/proc/$1/status" 2>/dev/null; }

wait_until() {
  local tries=0
  until "$@"; do
    if ((++tries > 100)); then
      echo "still not: $*"
      return 1
    fi
    sleep 0.1
  done
}

test_a_step_is_stopped_at_the_time_limit() {
  a_checkout "$WORK/here"
  expect_status 124 with_functions_of "$WORK/here" 'DEADLINE=$((SECONDS + 1)); step "slow" sleep 60'
  expect "$OUTPUT" "the time limit is reached"
}

test_a_second_setup_waits_for_the_first() {
  a_checkout "$WORK/here"
  mkdir -p "$WORK/here/.manimq"
  flock "$WORK/here/.manimq/setup.lock" sleep 1 &
  wait_until is_locked "$WORK/here/.manimq/setup.lock"
  expect_status 0 with_functions_of "$WORK/here" 'take_lock; echo mine'
  expect "$OUTPUT" "another set-up is at work"
  expect "$OUTPUT" "mine"
}

is_locked() { ! flock -n "$1" true; }

test_a_disk_with_too_little_room_is_told_before_anything_is_made() {
  a_checkout "$WORK/here"
  mkdir "$WORK/bin"
  printf '%s\n' '#!/bin/sh' 'printf "Avail\n %sM\n" "$FREE"' >"$WORK/bin/df"
  chmod +x "$WORK/bin/df"
  expect_status 1 env FREE=900 PATH="$WORK/bin:$PATH" "$WORK/here/deploy/setup" --no-build
  expect "$OUTPUT" "900 MB of disk are free at $WORK/here"
  [[ ! -e $WORK/here/.manimq/python.tools ]]
  expect_status 0 env FREE=90000 PATH="$WORK/bin:$PATH" bash -c "$WITH_FUNCTIONS" _ "$WORK/here" 'BUILD=0; need_room; echo enough'
  expect "$OUTPUT" enough
}

test_other_requirements_make_another_environment() {
  local before after
  a_checkout "$WORK/here"
  before=$(with_functions_of "$WORK/here" environment_id)
  [[ $before == "$(with_functions_of "$WORK/here" environment_id)" ]]
  echo "# changed" >>"$WORK/here/deploy/requirements.txt"
  after=$(with_functions_of "$WORK/here" environment_id)
  [[ $before != "$after" ]]
}

test_without_latex_no_latex_is_wanted() {
  a_checkout "$WORK/here"
  OUTPUT=$(with_functions_of "$WORK/here" 'LATEX=0; wanted_packages')
  [[ $OUTPUT != *texlive* && $OUTPUT != *dvisvgm* ]]
  expect "$(with_functions_of "$WORK/here" wanted_packages)" texlive-latex-extra
}

test_only_a_test_run_wants_prometheus() {
  a_checkout "$WORK/here"
  [[ $(with_functions_of "$WORK/here" wanted_packages) != *prometheus* ]]
  expect "$(with_functions_of "$WORK/here" 'TESTS=1; wanted_packages')" prometheus-alertmanager
}

test_the_script_of_the_workers_image_changes_no_other_system() {
  expect_status 2 "$ROOT/deploy/images/worker-root" system
  expect "$OUTPUT" "only for an image or a chroot"
}

test_a_package_that_is_not_installed_is_missing_and_only_that() {
  a_checkout "$WORK/here"
  command -v dpkg-query >/dev/null || return 0
  OUTPUT=$(with_functions_of "$WORK/here" 'wanted_packages() { printf "%s\n" bash manimq-no-such-package dpkg; }; missing_packages')
  [[ $OUTPUT == manimq-no-such-package ]]
}

test_without_root_or_sudo_it_says_what_root_should_run() {
  a_checkout "$WORK/here"
  expect_status 1 with_functions_of "$WORK/here" 'is_root_at_hand() { return 1; }; sudo() { return 1; }; MISSING=(redis-server gcc); need_root'
  expect "$OUTPUT" "as root, run: apt-get install --no-install-recommends redis-server gcc"
}

test_through_sudo_in_the_checkout_of_a_user_it_asks_to_be_run_without() {
  a_checkout "$WORK/here"
  if ((EUID)); then return 0; fi
  chown 65534 "$WORK/here"
  expect_status 1 env SUDO_UID=65534 SUDO_USER=ann "$WORK/here/deploy/setup" --no-build
  expect "$OUTPUT" "belongs to ann: run it without sudo"
}

test_on_another_system_it_lists_what_is_needed() {
  a_checkout "$WORK/here"
  expect_status 1 with_functions_of "$WORK/here" 'command() { [[ $2 != bwrap ]] && builtin command "$@"; }; check_other_system'
  expect "$OUTPUT" "this is not Debian 12"
  expect "$OUTPUT" "not found: bwrap"
  expect "$OUTPUT" "libpango1.0-dev"
}

test_requirements_are_pinned_with_hashes_and_name_no_host() {
  local file
  for file in requirements.txt requirements-build.txt requirements-check.txt; do
    [[ $(grep -cE '^[A-Za-z0-9._-]+==[^ ]+ \\$' "$ROOT/deploy/$file") == $(grep -cE '^[A-Za-z0-9]' "$ROOT/deploy/$file") ]]
    if grep -E '://|^--?(index|extra|find|trusted)' "$ROOT/deploy/$file"; then return 1; fi
  done
}

test_cargo_counts_add_up_over_all_programs() {
  a_checkout "$WORK/here"
  OUTPUT=$(printf '%s\n' 'test a ... ok' \
    'test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s' \
    'test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s' |
    with_functions_of "$WORK/here" counted_by_cargo)
  [[ $OUTPUT == "8 1 2" ]]
  OUTPUT=$(echo 'skipped - no such program here' | with_functions_of "$WORK/here" counted_by_cargo)
  [[ $OUTPUT == "0 0 1" ]]
}

test_without_valkey_it_is_told_and_the_set_up_goes_on() {
  a_checkout "$WORK/here"
  expect_status 0 with_functions_of "$WORK/here" 'is_debian_12() { true; }; fetch_valkey() { echo no network; false; }; valkey; echo went on'
  expect "$OUTPUT" "no network"
  expect "$OUTPUT" "Valkey could not be had"
  expect "$OUTPUT" "went on"
}

test_unittest_counts_tell_failures_errors_and_skips_apart() {
  a_checkout "$WORK/here"
  OUTPUT=$(printf '%s\n' 'Ran 12 tests in 0.100s' '' 'FAILED (failures=1, errors=2, skipped=3, expected failures=1)' |
    with_functions_of "$WORK/here" counted_by_unittest)
  [[ $OUTPUT == "6 3 3" ]] || { echo "$OUTPUT"; return 1; }
  OUTPUT=$(printf '%s\n' 'Ran 1 test in 0.100s' '' 'OK' | with_functions_of "$WORK/here" counted_by_unittest)
  [[ $OUTPUT == "1 0 0" ]]
}

test_a_part_that_fails_without_counting_is_one_failure_and_the_rest_runs() {
  a_checkout "$WORK/here"
  expect_status 1 with_functions_of "$WORK/here" 'DEADLINE=30; start_parts "$STATE/test"
    part compile counted_by_cargo cat bash -c "echo error; exit 101"
    part lines counted_by_lines cat echo "ok - one"
    summarize'
  expect "$OUTPUT" "1 passed, 1 failed"
  expect "$OUTPUT" "status 101; see .manimq/test/compile.log"
}

test_a_part_is_stopped_at_the_time_limit() {
  a_checkout "$WORK/here"
  expect_status 1 with_functions_of "$WORK/here" 'DEADLINE=$((SECONDS + 1)); start_parts "$STATE/test"
    part slow none cat sleep 60
    part late none cat true
    summarize'
  expect "$OUTPUT" "slow: 0 passed, 1 failed (time limit)"
  expect "$OUTPUT" "0 passed, 2 failed"
}

test_up_passes_its_arguments_on_and_becomes_the_program() {
  a_checkout "$WORK/here"
  # Everything is set up already, and the program says what it was given.
  printf 'set_up() { say "set up: LATEX=$LATEX"; }\n' >>"$WORK/here/deploy/lib/setup.sh"
  mkdir -p "$WORK/here/programs/release"
  printf '#!/bin/bash\necho "pid $$: $*; $MANIMQ_PYTHON_ENV $MANIMQ_RENDERER_DIR $(umask)"\n' >"$WORK/here/programs/release/manimq"
  chmod +x "$WORK/here/programs/release/manimq"
  OUTPUT=$(
    umask 027
    unset MANIMQ_PROFILE MANIMQ_DATA_DIR MANIMQ_PYTHON_ENV MANIMQ_RENDERER_DIR
    export CARGO_TARGET_DIR=$WORK/here/programs
    bash -c 'echo "pid $$"; exec "$0" "$@"' "$WORK/here/deploy/up" --no-latex --once --listen 127.0.0.1:0
  )
  expect "$OUTPUT" "set up: LATEX=0"
  expect "$OUTPUT" "$(head -n 1 <<<"$OUTPUT"): up --data-dir $WORK/here/.manimq/data --once --listen 127.0.0.1:0; $WORK/here/.manimq/python $WORK/here/worker/renderer 0027"
  OUTPUT=$(CARGO_TARGET_DIR=$WORK/here/programs MANIMQ_PROFILE=release "$WORK/here/deploy/up" --data-dir=elsewhere)
  expect "$OUTPUT" ": up --data-dir=elsewhere;"
}

# The names that a page's headings have in links, one a line.
anchors_of() { grep -E '^#+ ' "$1" | sed -E 's/^#+ //; s/[^[:alnum:] _-]//g; s/ /-/g' | tr '[:upper:]' '[:lower:]'; }

pages() { find "$ROOT" \( -name target -o -name '.?*' -o -name node_modules \) -prune -o -name '*.md' -print; }

test_every_link_of_the_documents_leads_somewhere() {
  local page target file anchor broken=0 links=0
  while IFS=: read -r page target; do
    target=${target#](} target=${target%)}
    case $target in http://* | https://* | mailto:*) continue ;; esac
    links=$((links + 1))
    file=${target%%#*} anchor=${target#"${target%%#*}"}
    file=${file:+$(dirname -- "$page")/$file}
    file=${file:-$page}
    if [[ ! -e $file ]] || { [[ $anchor ]] && ! anchors_of "$file" | grep -qxF -- "${anchor#\#}"; }; then
      echo "${page#"$ROOT"/} links to $target, which is not there"
      broken=1
    fi
  done < <(pages | xargs -d '\n' grep -oHE '\]\([^) ]+\)')
  ((links > 10 && !broken))
}

test_the_front_page_is_short_and_leads_to_the_other_pages() {
  local page
  (($(wc -l <"$ROOT/README.md") <= 200))
  for page in ARCHITECTURE.md producer/README.md deploy/README.md deploy/RUNBOOK.md deploy/bench/README.md; do
    grep -qF "]($page" "$ROOT/README.md" || { echo "README.md does not lead to $page"; return 1; }
  done
}

test_each_test_that_the_table_of_other_queues_names_exists() {
  local name named=0 broken=0
  while read -r name; do
    named=$((named + 1))
    grep -rqE "fn $name\(" "$ROOT/shared/tests" "$ROOT/worker/tests" || { echo "there is no test $name"; broken=1; }
  done < <(grep -oE '\| `[a-z_0-9]+` \|$' "$ROOT/ARCHITECTURE.md" | tr -d '|` ')
  ((named == 29 && !broken))
}

main() {
  local name sentence output failed=0
  for name in $(compgen -A function test_); do
    sentence=${name#test_}
    sentence=${sentence//_/ }
    rm -rf "${WORK:?}"/*
    # Not in a condition: there, bash would not stop at a failing command.
    set +e
    output=$(
      set -e
      "$name" 2>&1
    )
    local status=$?
    set -e
    if ((status == 0)); then
      echo "ok - $sentence"
    else
      failed=$((failed + 1))
      echo "FAILED - $sentence"
      printf '    %s\n' "${output//$'\n'/$'\n'    }"
    fi
  done
  ((failed == 0))
}

main
