#!/usr/bin/env bash
# The worker's image without a container engine: debootstrap makes a Debian 12, deploy/images/worker-root
# (which the Dockerfile runs) makes it one that renders, and in a chroot of it, as the image's user and at
# level `container`, scenes are rendered. Wants root and the network, some minutes and 3 GB.
#
#   deploy/tests/worker-root.sh [FOLDER]     keeps the root file system in FOLDER for the next time
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
WORK=$(mktemp -d)
CHROOT=${1:-$WORK/root}
# The same, where nothing can be written but what compose mounts.
VIEW=$WORK/view
PROGRAMS=${MANIMQ_PROGRAMS:-$ROOT/target/debug}
LOG=$WORK/log
USER_ID=10001

clean_up() {
  local place
  if mountpoint -q "$VIEW"; then umount -R -l "$VIEW"; fi
  for place in sandbox dev proc tmp; do
    if mountpoint -q "$CHROOT/$place"; then umount -R -l "$CHROOT/$place"; fi
  done
  rm -rf --one-file-system "$WORK"
}
trap clean_up EXIT

check() {
  local sentence=$1 began=$SECONDS
  shift
  # In a subshell of its own, so that it stops at the first command that fails.
  set +e
  (
    set -e
    "$@"
  ) >"$LOG" 2>&1
  local status=$?
  set -e
  if ((status)); then
    echo "FAILED - $sentence"
    tail -n 60 "$LOG" | sed 's/^/    /'
    exit 1
  fi
  echo "ok - $sentence ($((SECONDS - began)) s)"
}

# Where the host gets its packages from, the root file system does: with its proxy and certificates.
as_the_host() {
  cp -L /etc/resolv.conf "$CHROOT/etc/resolv.conf"
  rm -f "$CHROOT/etc/apt/sources.list"
  cp -a /etc/apt/. "$CHROOT/etc/apt/"
  if [[ -d /usr/local/share/ca-certificates ]]; then
    mkdir -p "$CHROOT/usr/local/share/ca-certificates"
    cp -a /usr/local/share/ca-certificates/. "$CHROOT/usr/local/share/ca-certificates/"
  fi
  mkdir -p "$CHROOT/etc/ssl/certs"
  cp -aL /etc/ssl/certs/. "$CHROOT/etc/ssl/certs/"
  if [[ -e /etc/pip.conf ]]; then cp -L /etc/pip.conf "$CHROOT/etc/pip.conf"; fi
}

mirror() {
  local line
  line=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  if [[ -z $line ]]; then line=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) { print $i; exit } }' /etc/apt/sources.list); fi
  printf '%s\n' "${line:?no Debian archive is known to apt here}"
}

bootstrap() {
  if [[ ! -e $CHROOT/etc/debian_version ]]; then
    mkdir -p "$CHROOT"
    debootstrap --variant=minbase bookworm "$CHROOT" "$(mirror)"
    # Before there are links in it that would lead out, to the host's own files.
    as_the_host
  fi
}

copied() {
  mkdir -p "$CHROOT/opt/manimq/deploy/images"
  cp "$ROOT/deploy/images/worker-root" "$CHROOT/opt/manimq/deploy/images/"
  cp -rT "$ROOT/deploy/lib" "$CHROOT/opt/manimq/deploy/lib"
  cp "$ROOT"/deploy/requirements.txt "$ROOT"/deploy/requirements-build.txt "$CHROOT/opt/manimq/deploy/"
  cp -rT "$ROOT/worker/renderer" "$CHROOT/opt/manimq/renderer"
  install -m 0755 "$PROGRAMS/manimq-worker" "$ROOT/deploy/images/healthy" "$CHROOT/usr/local/bin/"
}

step_after_copy() {
  copied
  step system
}

step() { chroot "$CHROOT" /opt/manimq/deploy/images/worker-root "$1"; }

# What a container has, while its image is built and later.
mounts() {
  mkdir -p "$CHROOT/proc" "$CHROOT/dev"
  mount -t proc proc "$CHROOT/proc"
  mount -t tmpfs -o mode=0755,size=64m dev "$CHROOT/dev"
  ln -s /proc/self/fd "$CHROOT/dev/fd"
  mkdir -m 1777 "$CHROOT/dev/shm"
  local device
  for device in null zero full random urandom; do
    touch "$CHROOT/dev/$device"
    mount --bind "/dev/$device" "$CHROOT/dev/$device"
  done
}

# And where compose mounts file systems in memory.
more_mounts() {
  mount -t tmpfs -o size=2g,mode=0700,uid=$USER_ID,gid=$USER_ID,nosuid,nodev,noexec sandbox "$CHROOT/sandbox"
  mount -t tmpfs -o size=256m,mode=1777,nosuid,nodev,noexec tmp "$CHROOT/tmp"
}

# As compose runs it: what is not mounted cannot be written.
read_only() {
  mkdir "$VIEW"
  mount --rbind "$CHROOT" "$VIEW"
  mount -o remount,bind,ro "$VIEW"
  ! touch "$VIEW/opt/manimq/written"
}

# The image takes the Python environment from a stage of its own, without what built it.
without_compilers() {
  chroot "$CHROOT" apt-get -q -y purge python3-venv python3-dev gcc libc6-dev pkg-config libcairo2-dev libpango1.0-dev
  chroot "$CHROOT" apt-get -q -y autoremove --purge
  ! chroot "$CHROOT" sh -c 'command -v gcc'
}

# As the image's user: no capability, no way to get one.
in_image() {
  setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --bounding-set -all --inh-caps -all --no-new-privs -- \
    true # fails here, and not in the chroot, if this machine cannot do it
  chroot "$VIEW" /usr/bin/setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --bounding-set -all \
    --inh-caps -all --no-new-privs -- /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin \
    MANIMQ_PYTHON_ENV=/opt/manimq/python MANIMQ_RENDERER_DIR=/opt/manimq/renderer MANIMQ_SANDBOX_DIR=/sandbox \
    MANIMQ_SANDBOX_LEVEL=container "$@"
}

verifies() {
  in_image manimq-worker verify
}

live() {
  MANIMQ_TEST_WORKER_ROOT=$VIEW MANIMQ_PROGRAMS=$PROGRAMS PYTHONPATH=$ROOT/deploy/tests \
    "$ROOT/.manimq/check/bin/python" -B -m unittest test_worker_root
}

if ((EUID)); then
  echo "skipped: it wants root, for debootstrap and chroot"
  exit 0
fi
command -v debootstrap >/dev/null || { echo "FAILED - debootstrap is here (apt-get install debootstrap)"; exit 1; }

check "debootstrap makes a Debian 12" bootstrap
mounts
check "the script of the image installs what a render needs of Debian" step_after_copy
check "the script of the image makes the Python environment, from hashes" step python
check "the compilers go, as they are in no layer of the image" without_compilers
check "the script of the image ends with caches and folders" step finish
more_mounts
check "its root file system is read-only from here on, as compose has it" read_only
check "as the image's user, without any capability, the worker verifies that it can render" verifies
check "it renders what is sent to the API, formulas too, and stores the film" live
