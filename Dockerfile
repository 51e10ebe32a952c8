# syntax=docker/dockerfile:1
# Two images from one file, both from requirements.lock, both without root:
#   airflow    (default) every Airflow service and the capture child; carries torch
#   dashboard  the Streamlit dashboard; reads the index and the reports, so it needs neither Airflow nor torch
#
# Which torch goes in is the builder's choice, as it is outside: by default the build that fits CUDA. For a small
# image without CUDA pass a folder or page of wheels: docker build --build-arg PIP_FIND_LINKS=... .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_DISABLE_TELEMETRY=1
# tini reaps what a capture child leaves behind and passes SIGTERM on; libgomp is what torch computes with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home --shell /usr/sbin/nologin model-health
WORKDIR /opt/model-health

# ------------------------------------------------------------------------------------------- what both build from
FROM base AS source
ENV PIP_CACHE_DIR=/var/cache/build/pip UV_CACHE_DIR=/var/cache/build/uv UV_LINK_MODE=copy
COPY pyproject.toml setup_env.py README.md LICENSE requirements.in requirements.lock requirements-torch.txt \
    requirements-model.txt ./
COPY include include
COPY plugins plugins

FROM source AS airflow-build
ARG PIP_FIND_LINKS=
RUN --mount=type=cache,target=/var/cache/build python setup_env.py setup

FROM source AS dashboard-build
# The dashboard's part of the lock: its versions are constrained by it, its hashes are checked.
RUN --mount=type=cache,target=/var/cache/build \
    grep -A99 '^uv==' requirements.lock | awk 'NR > 1 && /^[^ ]/ { exit } { print }' > /tmp/uv.txt \
    && python -m venv .venv \
    && .venv/bin/pip install -q --require-hashes --no-deps -r /tmp/uv.txt \
    && .venv/bin/uv pip compile pyproject.toml --extra dashboard --extra postgres --extra s3 \
        --constraint requirements.lock --generate-hashes -q -o /tmp/dashboard.txt \
    && .venv/bin/uv pip install -p .venv/bin/python --require-hashes --no-deps --compile-bytecode -r /tmp/dashboard.txt \
    && .venv/bin/uv pip install -p .venv/bin/python --no-deps --build-constraint requirements.lock -e .

# ----------------------------------------------------------------------------------------------------- dashboard
FROM base AS dashboard
COPY --from=dashboard-build /opt/model-health /opt/model-health
COPY configs configs
COPY dashboard dashboard
COPY .streamlit .streamlit
ENV PATH=/opt/model-health/.venv/bin:$PATH
RUN install -d -o model-health -g model-health /var/lib/model-health
USER model-health
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=5 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["streamlit", "run", "dashboard/streamlit_app.py", "--server.address=0.0.0.0", "--server.headless=true"]

# ------------------------------------------------------------------------------------------------------- airflow
FROM base AS airflow
COPY --from=airflow-build /opt/model-health /opt/model-health
COPY configs configs
COPY dags dags
ENV PATH=/opt/model-health/.venv/bin:$PATH \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/model-health/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/model-health/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
RUN install -d -o model-health -g model-health /opt/airflow /opt/airflow/logs /opt/airflow/state /var/lib/model-health
USER model-health
EXPOSE 8080
ENTRYPOINT ["tini", "-g", "--", "airflow"]
CMD ["version"]
