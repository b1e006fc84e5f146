# agentark-ray without a GPU: heads, rehearsals, the demo. From the project's folder:
#   docker build -f cluster/docker/cpu.Dockerfile -t agentark-ray:0.1.0-cpu .
FROM python:3.11.14-slim-bookworm AS packages
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/agentark
ENV PATH=/opt/agentark/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/cpu.txt /tmp/cpu.txt
RUN pip install --no-deps --extra-index-url https://download.pytorch.org/whl/cpu -r /tmp/cpu.txt
COPY pyproject.toml README.md LICENSE /app/
COPY agentark_ray /app/agentark_ray
RUN pip install --no-deps --no-build-isolation -e /app

FROM python:3.11.14-slim-bookworm
# vLLM compiles kernels with gcc; the probes of Kubernetes may use wget.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ libgomp1 libnuma1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home --shell /usr/sbin/nologin agentark
COPY --from=packages /opt/agentark /opt/agentark
COPY --from=packages /app /app
COPY jobs /app/jobs
COPY serve /app/serve
ENV PATH=/opt/agentark/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app
USER 1000:1000
WORKDIR /app
CMD ["agentark", "doctor"]
