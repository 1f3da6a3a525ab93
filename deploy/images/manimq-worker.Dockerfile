# syntax=docker/dockerfile:1
# The worker, with Python, Manim, LaTeX, fonts and bubblewrap. Built from the checkout's root:
#
#   docker build -f deploy/images/manimq-worker.Dockerfile -t manimq-worker .
#
# All that is installed comes from deploy/images/worker-root, which deploy/tests/worker-root.sh runs in a
# chroot as well. Base images are named by version and digest: see manimq.Dockerfile.

FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS chef
ENV RUSTUP_TOOLCHAIN=1.95.0
RUN cargo install cargo-chef --version 0.1.76 --locked
WORKDIR /src

FROM chef AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /src/recipe.json recipe.json
RUN cargo chef cook --release --locked --package manimq-worker --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --package manimq-worker && strip target/release/manimq-worker

# What renders, without the compilers that made it. First LaTeX and the libraries, which change least.
FROM debian:bookworm-20260803-slim@sha256:abd67ffcfa541b485a3dff59865ab629aa048a6c613e639d36e7456b0b229241 AS system
COPY deploy/images/worker-root /opt/manimq/deploy/images/
COPY deploy/lib /opt/manimq/deploy/lib
RUN /opt/manimq/deploy/images/worker-root system

FROM system AS python
COPY deploy/requirements.txt deploy/requirements-build.txt /opt/manimq/deploy/
RUN /opt/manimq/deploy/images/worker-root python

FROM system
COPY --from=python /opt/manimq/python /opt/manimq/python
COPY worker/renderer /opt/manimq/renderer
COPY --from=build /src/target/release/manimq-worker /usr/local/bin/manimq-worker
COPY deploy/images/healthy /usr/local/bin/healthy
# /sandbox: where compose mounts a file system in memory, for the folders of jobs.
RUN /opt/manimq/deploy/images/worker-root finish
USER 10001:10001
WORKDIR /run/manimq
ENV MANIMQ_WORKER_METRICS_LISTEN=0.0.0.0:9465 MANIMQ_PYTHON_ENV=/opt/manimq/python \
  MANIMQ_RENDERER_DIR=/opt/manimq/renderer MANIMQ_SANDBOX_DIR=/sandbox MANIMQ_LOG_FORMAT=json
EXPOSE 9465
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["healthy", "9465", "/healthz"]
ENTRYPOINT ["manimq-worker"]
CMD ["run"]
