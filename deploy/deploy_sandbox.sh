#!/usr/bin/env bash
# Deploys the image of a persistent sandbox to Blaxel's cloud, by the vendor's program `bl`.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib/common.sh"

NAME=${MANIM_SANDBOX_NAME:-manim-sandbox}
NAME=${NAME%%,*}
REGION=${BL_REGION:-us-pdx-1}
MEMORY=8192
SERVER_IMAGE=${MANIM_SANDBOX_SERVER_IMAGE:-}
WORKER=${MANIMQ_WORKER_BIN:-}
DRY_RUN=0
CONTEXT=

help() {
  cat <<HELP
Builds the image in deploy/sandbox and makes or updates a sandbox of it, then
prints what a worker needs in its environment (.env).

usage: deploy/deploy_sandbox.sh [--name NAME] [--region REGION] [--memory MB]
                                [--server-image IMAGE] [--dry-run]

  --name NAME           the sandbox's name (default: the first of MANIM_SANDBOX_NAME, or manim-sandbox)
  --region REGION       where it runs (default: BL_REGION, or us-pdx-1)
  --memory MB           its memory, half of which is its disk (default: 8192, for two slots)
  --server-image IMAGE  the vendor's image with /sandbox-api in it, as the vendor's page on custom
                        sandbox images names it (blaxel-ai/sandbox, with its registry and a version
                        tag); or MANIM_SANDBOX_SERVER_IMAGE
  --dry-run             put the folder together, show where it is, deploy nothing

environment: BL_WORKSPACE; BLAXEL_API_KEY or BL_API_KEY (without one, what \`bl login\` left is used);
MANIMQ_WORKER_BIN: the worker program, if it is not in target/
HELP
}

need_value() { (($# > 1)) || usage_error "$1 wants a value"; }

while (($#)); do
  case $1 in
    --name) need_value "$@"; NAME=$2; shift ;;
    --region) need_value "$@"; REGION=$2; shift ;;
    --memory) need_value "$@"; MEMORY=$2; shift ;;
    --server-image) need_value "$@"; SERVER_IMAGE=$2; shift ;;
    --dry-run) DRY_RUN=1 ;;
    -h | --help)
      help
      exit 0
      ;;
    *) usage_error "unknown argument: $1" ;;
  esac
  shift
done

[[ $NAME =~ ^[a-z0-9]+(-[a-z0-9]+)*$ && ${#NAME} -le 49 ]] \
  || fail "$NAME is no name for a sandbox" "at most 49 small letters, digits and single hyphens between: --name manim-sandbox"
[[ $REGION =~ ^[a-z0-9-]+$ ]] || fail "$REGION is no region" "such as --region us-pdx-1"
if [[ ! $MEMORY =~ ^[0-9]{1,7}$ ]] || ((MEMORY < 2048)); then
  fail "--memory $MEMORY is too little or no number" "in MB, at least 2048; 4096 for each slot"
fi
[[ -n $SERVER_IMAGE ]] \
  || fail "the image with the sandbox's server is not named" "--server-image IMAGE, or MANIM_SANDBOX_SERVER_IMAGE: see --help"
[[ $SERVER_IMAGE =~ ^[A-Za-z0-9./:@_-]+$ ]] || fail "$SERVER_IMAGE is no name of an image" "such as REGISTRY/blaxel-ai/sandbox:TAG"

for profile in release debug; do
  if [[ -z $WORKER && -x $ROOT/target/$profile/manimq-worker ]]; then WORKER=$ROOT/target/$profile/manimq-worker; fi
done
[[ -n $WORKER ]] || fail "there is no worker program, whose renderer goes into the image" \
  "build it with: cargo build --release -p manimq-worker" "or name it in MANIMQ_WORKER_BIN"
if ((!DRY_RUN)) && ! command -v bl >/dev/null; then
  fail "the vendor's program bl is not installed" "see the vendor's page on its command line, then run: bl login"
fi

CONTEXT=$(mktemp -d)
if ((!DRY_RUN)); then trap 'rm -rf "$CONTEXT"' EXIT; fi
cp "$ROOT"/deploy/sandbox/{Dockerfile,entrypoint.sh} "$ROOT"/deploy/requirements{,-build}.txt "$CONTEXT"
MANIMQ_RENDERER_DIR=$ROOT/worker/renderer "$WORKER" bundle "$CONTEXT/renderer"
sed -e "s|@NAME@|$NAME|; s|@REGION@|$REGION|; s|@MEMORY@|$MEMORY|; s|@SERVER_IMAGE@|$SERVER_IMAGE|" \
  "$ROOT/deploy/sandbox/blaxel.toml" >"$CONTEXT/blaxel.toml"

if ((DRY_RUN)); then
  say "what would be deployed is in $CONTEXT; remove it when you have seen it"
else
  if [[ -n ${BLAXEL_API_KEY:-} && -z ${BL_API_KEY:-} ]]; then export BL_API_KEY=$BLAXEL_API_KEY; fi
  arguments=(deploy -y -d "$CONTEXT")
  if [[ -n ${BL_WORKSPACE:-} ]]; then arguments+=(-w "$BL_WORKSPACE"); fi
  bl "${arguments[@]}" || fail "bl deploy did not work" "its words are above; deploy/sandbox/README.md lists what can be wrong"
fi

cat <<ENV

For the worker, in .env:

MANIMQ_SANDBOX=blaxel
MANIM_SANDBOX_NAME=$NAME
MANIM_SANDBOX_IMAGE=sandbox/$NAME:latest
BL_WORKSPACE=${BL_WORKSPACE:-YOUR_WORKSPACE}
BLAXEL_API_KEY=YOUR_KEY

Then: manimq-worker verify
ENV
