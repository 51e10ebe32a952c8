# syntax=docker/dockerfile:1
# Images of a deployment, all without root, and each with its part of requirements.lock only, held to the lock's hashes:
#   airflow       API server, scheduler, Dag processor, triggerer: no torch
#   worker        the same with torch, for a Celery worker and its capture children
#   gpu-worker    the same with the torch that fits CUDA
#   dashboard     Streamlit; reads the index and the reports, so it needs neither Airflow nor torch
#   object-store  MinIO as a user who is not root
#
# Which torch goes in is the builder's choice, as it is outside: the registry's own build, unless the build argument
# UV_FIND_LINKS names a page or folder of wheels.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG MINIO_IMAGE=minio/minio:latest

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    PATH=/opt/model-health/.venv/bin:$PATH
# tini reaps what a capture child leaves behind and passes SIGTERM on; libgomp is what torch and scipy compute with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin model-health \
    && install -d -o model-health -g model-health /var/lib/model-health
WORKDIR /opt/model-health

# ------------------------------------------------------------------------------------------- what is built from
FROM base AS source
ENV PIP_CACHE_DIR=/var/cache/build/pip UV_CACHE_DIR=/var/cache/build/uv UV_LINK_MODE=copy
COPY pyproject.toml README.md LICENSE requirements.lock requirements-torch.txt ./
COPY configs/deploy/lock-part.awk /usr/local/lib/lock-part.awk
# uv by the lock's hash, into a folder of its own that no image carries.
RUN --mount=type=cache,target=/var/cache/build \
    echo uv > /tmp/names && awk -f /usr/local/lib/lock-part.awk /tmp/names requirements.lock > /tmp/uv.lock \
    && python -m venv /opt/uv && /opt/uv/bin/pip install -q --require-hashes --no-deps -r /tmp/uv.lock \
    && python -m venv --without-pip .venv \
    && printf '%s\n' editables hatchling packaging pathspec pluggy trove-classifiers > /tmp/names \
    && awk -f /usr/local/lib/lock-part.awk /tmp/names requirements.lock > /opt/uv/backend.lock
COPY include include
COPY plugins plugins

FROM source AS airflow-build
RUN --mount=type=cache,target=/var/cache/build \
    /opt/uv/bin/uv pip compile pyproject.toml --extra airflow --extra baseline --extra validate --extra prometheus \
        --extra datadog --extra postgres --extra s3 --constraint requirements.lock -q --no-annotate -o /tmp/names \
    && awk -f /usr/local/lib/lock-part.awk /tmp/names requirements.lock > /tmp/part.lock \
    && /opt/uv/bin/uv pip install -p .venv/bin/python --require-hashes --no-deps --compile-bytecode -r /tmp/part.lock \
    && /opt/uv/bin/uv pip install -p .venv/bin/python --build-constraint /opt/uv/backend.lock --no-deps -e .

FROM airflow-build AS worker-build
ARG UV_FIND_LINKS=
# torch is pinned, but not in the lock: its build differs from machine to machine. The rest of it is.
RUN --mount=type=cache,target=/var/cache/build \
    /opt/uv/bin/uv pip install -p .venv/bin/python --compile-bytecode \
        -r requirements-torch.txt \
    && /opt/uv/bin/uv pip compile pyproject.toml --extra capture --constraint requirements.lock \
        --constraint requirements-torch.txt -q --no-annotate -o /tmp/names \
    && awk -f /usr/local/lib/lock-part.awk /tmp/names requirements.lock > /tmp/part.lock \
    && /opt/uv/bin/uv pip install -p .venv/bin/python --require-hashes --no-deps --compile-bytecode -r /tmp/part.lock

FROM source AS dashboard-build
RUN --mount=type=cache,target=/var/cache/build \
    /opt/uv/bin/uv pip compile pyproject.toml --extra dashboard --extra postgres --extra s3 \
        --constraint requirements.lock -q --no-annotate -o /tmp/names \
    && awk -f /usr/local/lib/lock-part.awk /tmp/names requirements.lock > /tmp/part.lock \
    && /opt/uv/bin/uv pip install -p .venv/bin/python --require-hashes --no-deps --compile-bytecode -r /tmp/part.lock \
    && /opt/uv/bin/uv pip install -p .venv/bin/python --build-constraint /opt/uv/backend.lock --no-deps -e .

# ------------------------------------------------------------------------------------------------------- images
FROM base AS dashboard
COPY --from=dashboard-build /opt/model-health /opt/model-health
COPY configs configs
COPY dashboard dashboard
COPY .streamlit .streamlit
USER model-health
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=5 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=9)"]
ENTRYPOINT ["tini", "--", "python"]
CMD ["dashboard/serve.py", "--server.address=0.0.0.0", "--server.headless=true"]

FROM ${MINIO_IMAGE} AS object-store
COPY --from=base --chown=10001:10001 /var/lib/model-health /data
USER 10001:10001
EXPOSE 9000
CMD ["server", "/data"]

FROM base AS airflow-base
COPY configs configs
COPY dags dags
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/model-health/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/model-health/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
RUN install -d -o model-health -g model-health /opt/airflow /opt/airflow/logs /opt/airflow/state
# Not `airflow`: the official chart and its executor name whole commands.
ENTRYPOINT ["tini", "-g", "--"]
CMD ["airflow", "version"]

FROM airflow-base AS worker
COPY --from=worker-build /opt/model-health /opt/model-health
USER model-health

FROM worker AS gpu-worker
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM airflow-base AS airflow
COPY --from=airflow-build /opt/model-health /opt/model-health
USER model-health
EXPOSE 8080
