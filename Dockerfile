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
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
# The constraints also hold for what builds the package: PIP_CONSTRAINT reaches the build's own environment.
RUN python -m venv /opt/incident-process \
    && PIP_CONSTRAINT=/build/constraints.txt /opt/incident-process/bin/pip install ".${EXTRAS:+[$EXTRAS]}" \
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
