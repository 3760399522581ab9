# Heatfleet as an image: every command of it, `serve` by default. Nothing in it is secret and nothing of it is written to:
# it runs as a number without a name, with a read-only root; what a local store keeps lies in the volume /data.
#   docker build --tag heatfleet .
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /app
COPY requirements-cloud.lock ./
RUN /app/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements-cloud.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /app/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .
# What only building needs stays behind, pip last.
RUN /app/bin/python -m pip uninstall --yes hatchling editables pathspec pluggy tomlkit trove-classifiers && \
    /app/bin/python -m pip uninstall --yes pip

FROM python:${PYTHON}-slim-bookworm
COPY --from=build /app /app
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HEATFLEET_HOST=0.0.0.0 \
    HEATFLEET_KEYS=required
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# The server leaves in order on SIGTERM, within seven seconds.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import os, urllib.request; \
urllib.request.urlopen('http://127.0.0.1:' + os.environ.get('HEATFLEET_PORT', '8000') + '/livez', timeout=4)"]
ENTRYPOINT ["heatfleet"]
CMD ["serve"]
