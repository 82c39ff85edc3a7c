# The API: no torch, no model; it talks to the store and the database, workers do the rest.
FROM python:3.11-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY store store
COPY extractor extractor
COPY service service
COPY clients clients
RUN python -m venv /opt/covpool \
    && /opt/covpool/bin/pip install --no-cache-dir --constraint constraints.txt '.[service,postgres,s3]'

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 covpool
COPY --from=build /opt/covpool /opt/covpool
# By number, so that a cluster can see that it is not root.
USER 10001:10001
WORKDIR /home/covpool
ENV PATH=/opt/covpool/bin:$PATH \
    COVPOOL_HOST=0.0.0.0 \
    COVPOOL_PORT=8000 \
    COVPOOL_WORKERS=0 \
    COVPOOL_LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import os, httpx; httpx.get(f\"http://127.0.0.1:{os.environ['COVPOOL_PORT']}/health/ready\", timeout=8).raise_for_status()"]
CMD ["covpool", "serve"]
