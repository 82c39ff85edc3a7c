# A worker: torch and the models. BASE is Debian or Ubuntu with Python 3.11 or newer, in the image or as its python3
# package: nvidia/cuda:12.8.1-runtime-ubuntu24.04 for a GPU.
ARG BASE=python:3.11-slim

FROM ${BASE}
# No version is pinned: which one there is depends on BASE.
# hadolint ignore=DL3008
RUN if ! python3 -c 'import ensurepip'; then \
        apt-get update \
        && apt-get install --yes --no-install-recommends python3 python3-venv \
        && rm -rf /var/lib/apt/lists/*; \
    fi \
    && useradd --create-home --uid 10001 covpool
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY store store
COPY extractor extractor
COPY service service
COPY clients clients
RUN python3 -m venv /opt/covpool \
    && /opt/covpool/bin/pip install --no-cache-dir --constraint constraints.txt \
        '.[extractor,service,postgres,s3]' \
    && rm -rf /build/*

# By number, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /home/covpool
ENV PATH=/opt/covpool/bin:$PATH \
    OMP_WAIT_POLICY=PASSIVE \
    COVPOOL_LOG_FORMAT=json
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s CMD ["covpool", "worker", "--check"]
CMD ["covpool", "worker"]
