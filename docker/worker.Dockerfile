# A worker: torch and the models. BASE may be an image with CUDA and Python 3.11 or newer.
ARG BASE=python:3.11-slim
FROM ${BASE}

RUN useradd --create-home --uid 10001 covpool
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY store store
COPY extractor extractor
COPY service service
COPY clients clients
RUN pip install --no-cache-dir --constraint constraints.txt '.[all]'

USER covpool
WORKDIR /home/covpool
ENV COVPOOL_STORE=/home/covpool/store OMP_WAIT_POLICY=PASSIVE
VOLUME /home/covpool/store
CMD ["covpool", "worker"]
