# One image, one process, one worker, not root. The models of the first start are in the packages.
FROM python:3.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /srv/recollect

# Dependencies first: they change less often than the code.
COPY requirements.txt ./
RUN pip install --requirement requirements.txt

COPY pyproject.toml README.md ./
COPY app ./app
RUN pip install --no-deps --no-build-isolation . \
    && useradd --system --create-home --home-dir /data recollect

# Of several machines (deploy/): docker build --build-arg EXTRAS=s3,redis,postgres .
ARG EXTRAS=""
RUN if [ -n "$EXTRAS" ]; then pip install --no-build-isolation ".[$EXTRAS]"; fi

USER recollect
WORKDIR /data
# Inside the container every address, which the service refuses until there is an access key, or until it is told
# that the port is published on the host's loopback only, as docker-compose.yml does.
ENV RECOLLECT_HOST=0.0.0.0 \
    RECOLLECT_PORT=8000 \
    RECOLLECT_DATABASE_URL=sqlite:////data/recollect.db \
    RECOLLECT_UPLOADS_DIR=/data/uploads
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"

CMD ["recollect", "serve"]
