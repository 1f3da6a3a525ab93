# Makes a checkout ready to run. Sourced after common.sh by deploy/setup,
# deploy/up and deploy/test, which call set_up; its parts stand in the order in
# which it takes them.

# shellcheck shell=bash disable=SC2034

LATEX=1    # 0: leave LaTeX out
BUILD=1    # 0: do not build the Rust programs
TESTS=0    # 1: also what deploy/test needs
MISSING=() # Debian packages that are not installed
RECIPE=1   # of the Python environment: count up when it is made in another way

set_up() {
  local began=$SECONDS
  refuse_foreign_sudo
  make_state_dir
  if ((BUILD)); then need_cargo; fi
  take_lock
  ((QUIET)) || say "setting up manimq in $ROOT"
  need_room
  system_packages
  font_cache
  python_environment
  if ((TESTS)); then checks_environment; fi
  if ((TESTS)); then valkey; fi
  if ((BUILD)); then build_programs; fi
  ((QUIET)) || say "ready ($((SECONDS - began)) s)"
  exec 9>&- # the lock
}

# Through sudo in one's own checkout all that is made would be root's.
refuse_foreign_sudo() {
  local owner
  owner=$(stat -c %u "$ROOT")
  if ((EUID || !owner)) || [[ ${SUDO_UID:-} != "$owner" ]]; then return; fi
  fail "this checkout belongs to $SUDO_USER: run it without sudo" \
    "it asks for root by itself, where packages are installed"
}

# Two set-ups in one checkout take turns. The lock belongs to the open file, so
# it also covers commands that outlive a killed set-up.
take_lock() {
  exec 9>"$STATE/setup.lock"
  if flock -n 9; then return; fi
  say "another set-up is at work in this checkout: waiting for it (up to 30 minutes)"
  flock -w 1800 9 || fail "another set-up has been at work in $ROOT for 30 minutes" \
    "see what it does: $LOG"
}

# What is still to be made here, in megabytes of disk: measured on a fresh clone, and a fifth more.
room_wanted() {
  local wanted=200
  if [[ ! -e $PYTHON_ENV ]]; then wanted=$((wanted + 900)); fi
  if ((TESTS)) && [[ ! -e $STATE/check ]]; then wanted=$((wanted + 300)); fi
  if ((BUILD || TESTS)) && [[ ! -e $(programs_dir)/manimq ]]; then
    if ((TESTS)); then wanted=$((wanted + 4000)); else wanted=$((wanted + 1500)); fi
  fi
  printf '%s\n' "$wanted"
}

# A disk that fills up in the middle fails in a hundred ways, none of which says why.
need_room() {
  local wanted free
  wanted=$(room_wanted)
  free=$(df --output=avail -BM "$ROOT" 2>/dev/null | tail -n 1 | tr -cd 0-9)
  if [[ -z $free ]] || ((free >= wanted)); then return; fi
  fail "$free MB of disk are free at $ROOT, and what is to be made here takes about $wanted MB" \
    "free some, or work in a checkout on another disk"
}

# --- System packages --------------------------------------------------------

# What a worker needs of the system to render.
render_packages() {
  local packages=(python3 libcairo2 libpango-1.0-0 libpangocairo-1.0-0 bubblewrap ffmpeg fontconfig fonts-inter)
  if ((LATEX)); then packages+=(texlive-latex-base dvisvgm texlive-latex-extra texlive-xetex); fi
  printf '%s\n' "${packages[@]}"
}

# What building the Python environment needs besides.
build_packages() { printf '%s\n' python3-venv python3-dev gcc libc6-dev pkg-config libcairo2-dev libpango1.0-dev; }

# What deploy/test needs besides: it asks a real Prometheus about the dashboards and alerts; --soak makes a root file system.
test_packages() { printf '%s\n' prometheus prometheus-alertmanager prometheus-redis-exporter shellcheck debootstrap; }

wanted_packages() {
  render_packages
  build_packages
  printf '%s\n' redis-server curl
  if ((TESTS)); then test_packages; fi
}

# One call for all: a package that dpkg does not know makes it complain, no more.
missing_packages() {
  local wanted installed
  wanted=$(wanted_packages)
  # shellcheck disable=SC2086 # one word a package
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p' || true)
  comm -23 <(sort <<<"$wanted") <(sort -u <<<"$installed")
}

is_debian_12() (
  ID='' VERSION_ID=''
  # shellcheck disable=SC1091 # a file of the system
  if [[ -r /etc/os-release ]]; then source /etc/os-release; fi
  [[ $ID == debian && $VERSION_ID == 12 ]]
)

# In place of the shell, so that who waits for this waits for the command.
exec_as_root() {
  if ((EUID == 0)); then exec "$@"; else exec sudo -n "$@"; fi
}

# True if root may be had without a question.
is_root_at_hand() { ((EUID == 0)) || sudo -n true 2>/dev/null; }

# Ends, with what to do, unless we are root or may become it. May ask for a password.
need_root() {
  local todo="apt-get install --no-install-recommends ${MISSING[*]}"
  if is_root_at_hand; then return; fi
  command -v sudo >/dev/null ||
    fail "root is needed to install packages, and there is no sudo here" "as root, run: $todo" "then run this again"
  if [[ -t 0 ]]; then
    say "  sudo may ask for your password: packages are installed as root"
    if sudo -v; then return; fi
  fi
  fail "root is needed to install packages, and sudo does not let $(id -un) have it here" \
    "as root, run: $todo" "then run this again"
}

megabytes() { awk -v bytes="$1" 'BEGIN { printf (bytes < 1e7) ? "%.1f MB" : "%.0f MB", bytes / 1e6 }'; }

# Prints how many packages come, what is downloaded for it, and what they take.
packages_cost() {
  local download count installed new
  download=$(LC_ALL=C apt-get -qq --print-uris --no-install-recommends install "$@" 2>/dev/null | awk '{ sum += $3 } END { print sum + 0 }')
  new=$(LC_ALL=C apt-get -qq -s --no-install-recommends install "$@" 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1=\2/p')
  count=$(grep -c . <<<"$new" || true)
  # shellcheck disable=SC2086 # one word a package
  installed=$(apt-cache show --no-all-versions $new 2>/dev/null | awk '/^Installed-Size:/ { sum += $2 } END { print sum * 1024 }')
  printf '%s packages, %s to download, %s on disk' "$count" "$(megabytes "$download")" "$(megabytes "$installed")"
}

root_step() {
  local title=$1
  shift
  if ((EUID)); then SUDO_STEP=1; fi
  try "$title" exec_as_root bash "$ROOT/deploy/lib/system-packages" "$@"
  SUDO_STEP=0
}

dpkg_was_interrupted() { [[ -n $(dpkg --audit 2>/dev/null) || -n $(ls -A /var/lib/dpkg/updates 2>/dev/null) ]]; }

install_packages() {
  mapfile -t MISSING < <(missing_packages)
  if ((${#MISSING[@]} == 0)); then return; fi
  say "  Debian packages to install: ${MISSING[*]}"
  need_root "${MISSING[@]}"
  root_step "read the package lists" refresh
  if ((STATUS)); then warn "the package lists could not all be read; going on with those that are here"; fi
  if dpkg_was_interrupted; then
    need_root
    root_step "repair packages that were left half installed" repair
    if ((STATUS)); then exit "$STATUS"; fi
    mapfile -t MISSING < <(missing_packages)
    if ((${#MISSING[@]} == 0)); then return; fi
  fi
  say "  with what they depend on: $(packages_cost "${MISSING[@]}")"
  need_root # the password may have been given a while ago
  root_step "download Debian packages" download "${MISSING[@]}"
  if ((STATUS)); then exit "$STATUS"; fi
  need_root
  root_step "install Debian packages" install "${MISSING[@]}"
  if ((STATUS)); then exit "$STATUS"; fi
}

# What a killed run may have left: the rule that no package starts a service.
restore_policy() {
  if ! grep -qsF 'manimq deploy/setup: temporary' /usr/sbin/policy-rc.d || ! is_root_at_hand; then return; fi
  root_step "clean up after an interrupted set-up" restore
}

# Elsewhere we install nothing, but run if everything is there.
check_other_system() {
  local missing=() what
  for what in gcc pkg-config redis-server curl bwrap ffprobe fc-cache; do
    command -v "$what" >/dev/null || missing+=("$what")
  done
  if ((LATEX)); then
    for what in latex dvisvgm; do command -v "$what" >/dev/null || missing+=("$what"); done
    if ! kpsewhich standalone.cls >/dev/null 2>&1; then missing+=("LaTeX's standalone class"); fi
  fi
  if ((TESTS)); then
    for what in prometheus promtool amtool prometheus-redis-exporter; do command -v "$what" >/dev/null || missing+=("$what"); done
  fi
  for what in cairo pangocairo; do
    pkg-config --exists "$what" 2>/dev/null || missing+=("$what, with headers")
  done
  /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null ||
    missing+=("/usr/bin/python3, version 3.11 or 3.12")
  /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=("Python's venv and ensurepip")
  /usr/bin/python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null ||
    missing+=("Python's headers")
  if ((${#missing[@]} == 0)); then return; fi
  fail "this is not Debian 12, so the system packages are yours to install" \
    "not found: $(join ', ' "${missing[@]}")" \
    "on Debian 12 the packages are: $(wanted_packages | tr '\n' ' ')" \
    "install the like of them, then run this again"
}

join() {
  local separator=$1 text
  shift
  text=$(printf "%s$separator" "$@")
  printf '%s' "${text%"$separator"}"
}

system_packages() {
  if ! is_debian_12; then
    check_other_system
    return
  fi
  restore_policy
  install_packages
}

# The sandbox sees the system's font cache read-only: it must be there and
# valid, or each render reads every font again. Checked as the sandbox sees it,
# without the caller's own cache.
font_cache() {
  if HOME=/nonexistent XDG_CACHE_HOME=/nonexistent fc-cache -s >/dev/null 2>&1; then return; fi
  if is_root_at_hand; then
    root_step "build the font cache" fonts
    if ((!STATUS)); then return; fi
  fi
  warn "the system's font cache is out of date, so text renders slowly; as root, run: fc-cache -s"
}

# --- Python -----------------------------------------------------------------

# The environment of the caller reaches pip, cargo and the bytecode compiler.
# What says where to download from stays; what changes the result goes.
clean_environment() {
  unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME PYTHONPYCACHEPREFIX PYTHONOPTIMIZE PYTHONSTARTUP VIRTUAL_ENV
  unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_NO_COMPILE PIP_NO_BINARY PIP_ONLY_BINARY PIP_REQUIREMENT \
    PIP_CONSTRAINT PIP_NO_DEPS PIP_DRY_RUN PIP_PYTHON PIP_EDITABLE PIP_PRE PIP_REQUIRE_VIRTUALENV
  export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
  export TMPDIR=$TEMPORARY # packages are built there; /tmp may be small, or forbid to run programs
}

# Changes whenever the environment must be made anew.
environment_id() {
  {
    cat "$ROOT/deploy/requirements.txt" "$ROOT/deploy/requirements-build.txt"
    printf '%s\n' "$RECIPE"
    /usr/bin/python3 -Ic 'import sysconfig; print(sysconfig.get_config_var("SOABI"))'
  } | sha256sum | cut -d ' ' -f 1
}

make_tools() {
  clean_environment
  rm -rf "$TOOLS" "$TEMPORARY"
  mkdir -p "$TEMPORARY"
  /usr/bin/python3 -m venv "$TOOLS"
  "$TOOLS/bin/python" -m pip install --progress-bar off --require-hashes --only-binary :all: \
    -r "$ROOT/deploy/requirements-build.txt"
}

# The tools are lent to the new environment for as long as this takes: it ends
# up with Manim and what Manim needs, and no pip or compiler.
install_manim() {
  local lent
  clean_environment
  lent=$("$TOOLS/bin/python" -Ic 'import sysconfig; print(sysconfig.get_path("purelib"))')
  rm -rf "$NEW"
  /usr/bin/python3 -m venv --without-pip "$NEW"
  PYTHONPATH=$lent PATH=$TOOLS/bin:$PATH "$NEW/bin/python" -m pip install --progress-bar off \
    --require-hashes --ignore-installed --no-build-isolation --no-compile --no-warn-script-location \
    -r "$ROOT/deploy/requirements.txt"
  # Its commands name the folder that it was made in.
  grep -lIF -- "$NEW" "$NEW"/bin/* | xargs -r sed -i "s|$NEW|$PYTHON_ENV|g"
}

# Without bytecode the import takes twice as long, every time, and nobody who
# renders may write here. Unchecked: valid whatever a copy does to file dates.
compile_bytecode() {
  clean_environment
  "$NEW/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$NEW" -p "$PYTHON_ENV" "$NEW/lib"
}

check_environment() {
  local closed
  closed=$(find "$NEW" ! -type l ! -perm -o=r -print -quit)
  if [[ -n $closed ]]; then
    echo "not readable by others: $closed"
    return 1
  fi
  (cd / && env -i PATH=/usr/bin:/bin HOME=/nonexistent LANG=C.UTF-8 "$NEW/bin/python" -Ic 'import manim; print("manim", manim.__version__)')
}

# From here on the environment is there, whole: the stamp comes with it.
put_in_place() {
  printf '%s\n' "$1" >"$NEW/manimq-environment"
  rm -rf "$PYTHON_ENV.old"
  if [[ -e $PYTHON_ENV ]]; then mv "$PYTHON_ENV" "$PYTHON_ENV.old"; fi
  mv "$NEW" "$PYTHON_ENV"
  rm -rf "$PYTHON_ENV.old" "$TOOLS" "$TEMPORARY"
}

python_environment() {
  local id began=$SECONDS
  id=$(environment_id)
  if [[ $(cat "$PYTHON_ENV/manimq-environment" 2>/dev/null) == "$id" && -x $PYTHON_ENV/bin/python ]]; then return; fi
  NEW=$PYTHON_ENV.new TOOLS=$STATE/python.tools TEMPORARY=$STATE/python.tmp
  say "  Python environment: $(grep '^manim==' "$ROOT/deploy/requirements.txt" | cut -d ' ' -f 1) and what it needs, about 130 MB to download, 450 MB on disk"
  step "Python build tools" make_tools
  step "install Manim" install_manim
  step "compile bytecode" compile_bytecode
  step "check that Manim works" check_environment
  step "put the environment in place" put_in_place "$id"
  say "  Python environment: $(tail -n 20 "$LOG" | grep -o '^manim [0-9.]*' | tail -n 1), made in $((SECONDS - began)) s"
}

# What checks compose file, images, dashboards and rules (deploy/requirements-check.in), for deploy/test.
checks_environment() {
  local id
  id=$(cat "$ROOT/deploy/requirements-check.txt" <(/usr/bin/python3 -V) | sha256sum | cut -d ' ' -f 1)
  if [[ $(cat "$STATE/check/manimq-environment" 2>/dev/null) == "$id" ]]; then return; fi
  TEMPORARY=$STATE/check.tmp
  step "tools that check files" make_checks "$id"
}

make_checks() {
  clean_environment
  rm -rf "$STATE/check" "$TEMPORARY"
  mkdir -p "$TEMPORARY"
  /usr/bin/python3 -m venv "$STATE/check"
  "$STATE/check/bin/python" -m pip install --progress-bar off --require-hashes --only-binary :all: \
    -r "$ROOT/deploy/requirements-check.txt"
  rm -rf "$TEMPORARY"
  printf '%s\n' "$1" >"$STATE/check/manimq-environment"
}

# --- Valkey -----------------------------------------------------------------

VALKEY=$STATE/valkey/valkey-server

# The other server that knows the queue's functions, for deploy/test, which can do without it.
valkey() {
  if [[ -x $VALKEY ]] || ! is_debian_12; then return; fi
  try "Valkey (1 MB, from Debian's backports)" fetch_valkey
  if ((STATUS)); then warn "Valkey could not be had: the queue is not tested on it"; fi
}

# One program of a package is unpacked; it links to nothing that redis-server does not. Nothing is installed, and the
# system's package sources stay as they are.
fetch_valkey() {
  local new=$STATE/valkey.new apt mirror
  rm -rf "$new"
  mkdir -p "$new/lists/partial" "$new/cache/archives/partial"
  # The mirror that this machine uses anyway has the backports, too.
  # shellcheck disable=SC2016 # apt's own variables
  mirror=$(apt-get indextargets --format '$(RELEASE) $(SITE)' | awk '$1 == "bookworm" { print $2; exit }')
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" >"$new/sources.list"
  apt=(timeout 60 apt-get -q -o "Dir::Etc::SourceList=$new/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::State::Lists=$new/lists" -o "Dir::Cache=$new/cache" -o Acquire::http::Timeout=10 -o APT::Update::Error-Mode=any)
  "${apt[@]}" update
  cd "$new" || return
  "${apt[@]}" download valkey-tools
  dpkg-deb -x valkey-tools_*.deb unpacked
  # What it is it takes from the name by which it is called.
  mv unpacked/usr/bin/valkey-check-rdb valkey-server
  ./valkey-server --version
  rm -rf lists cache unpacked sources.list valkey-tools_*.deb "$STATE/valkey"
  mv "$new" "$STATE/valkey"
}

# --- Rust -------------------------------------------------------------------

build_programs() {
  local flags=(--locked) profile
  profile=$(profile)
  if [[ $profile == release ]]; then flags+=(--release); fi
  step "build the programs ($profile)" build "${flags[@]}"
}

build() {
  cd "$ROOT" || return
  cargo build --color never "$@"
}
