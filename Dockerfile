# syntax=docker/dockerfile:1
# Two stages: the first builds the environment, the second holds nothing but it and an interpreter.
#
# A tag may name another image tomorrow, and only a registry knows the digest of today's, so none stands here. To pin it:
#   docker buildx imagetools inspect python:3.11-slim-bookworm          says the digest
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:... .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE} AS build
# Extras of the package, parted by commas: --build-arg EXTRAS=dask,otel
ARG EXTRAS=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY hashes ./hashes
COPY src ./src
# Every package is of the version and the hash that the files name; --no-deps, since they name all of them. What builds the
# package has an environment of its own.
RUN python -m venv /build/tools \
    && /build/tools/bin/pip install --require-hashes --no-deps --only-binary=:all: -r hashes/build.txt \
    && /build/tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /build/wheel . \
    && python -m venv /opt/incident-process \
    && for group in program $(echo "$EXTRAS" | tr ',' ' '); do set -- "$@" -r "hashes/$group.txt"; done \
    && /opt/incident-process/bin/pip install --require-hashes --no-deps --only-binary=:all: "$@" \
    && /opt/incident-process/bin/pip install --no-deps --no-index /build/wheel/*.whl \
    && /opt/incident-process/bin/pip check \
    && /opt/incident-process/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 incident \
    && useradd --uid 10001 --gid incident --no-create-home --home-dir /var/lib/incident-process incident \
    && install -d -o incident -g incident -m 0700 /var/lib/incident-process
COPY --from=build /opt/incident-process /opt/incident-process
ENV PATH=/opt/incident-process/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/tmp
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/incident-process
# The command is process 1 and gets SIGTERM itself: a run then finishes what is under way and frees the lease.
ENTRYPOINT ["incident-process"]
CMD ["--help"]
