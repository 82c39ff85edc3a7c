# The API: no torch, no model; it talks to the store and the database, workers do the rest.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 covpool
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY store store
COPY extractor extractor
COPY service service
COPY clients clients
RUN pip install --no-cache-dir --constraint constraints.txt '.[service]'

USER covpool
WORKDIR /home/covpool
ENV COVPOOL_STORE=/home/covpool/store COVPOOL_HOST=0.0.0.0 COVPOOL_WORKERS=0
VOLUME /home/covpool/store
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/health/ready').raise_for_status()"]
CMD ["covpool", "serve"]
