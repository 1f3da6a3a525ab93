# syntax=docker/dockerfile:1
# The API and the command line. Built from the checkout's root:
#
#   docker build -f deploy/images/manimq.Dockerfile -t manimq .
#
# Base images are named by version and digest, as in compose.yaml, whose head says where the digests are from. What apt
# installs is as new as the day of the build: rebuild for its security fixes, and move the base with them.

FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS chef
# The compiler of the image, whatever rust-toolchain.toml asks a checkout for.
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN cargo install cargo-chef --version 0.1.76 --locked
WORKDIR /src

# What the dependencies are: changes seldom, so what follows from it is kept.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --release --locked --package manimq --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package manimq && strip target/release/manimq

FROM debian:bookworm-20260803-slim@sha256:abd67ffcfa541b485a3dff59865ab629aa048a6c613e639d36e7456b0b229241
# Certificates: for buckets and webhooks.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/manimq /usr/local/bin/manimq
COPY deploy/images/healthy /usr/local/bin/healthy
# /data: results. /run/manimq: where compose puts the .env with the secrets; read from the working folder.
RUN install -d -o 10001 -g 10001 -m 0700 /data && install -d -m 0755 /run/manimq
USER 10001:10001
WORKDIR /run/manimq
ENV MANIMQ_LISTEN=0.0.0.0:8080 MANIMQ_METRICS_LISTEN=0.0.0.0:9464 MANIMQ_DATA_DIR=/data MANIMQ_LOG_FORMAT=json
EXPOSE 8080 9464
VOLUME /data
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["healthy", "8080", "/healthz"]
ENTRYPOINT ["manimq"]
CMD ["serve"]
