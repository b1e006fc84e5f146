# agentark-ray for NVIDIA GPUs (CUDA 13). The host needs only the driver and the container toolkit:
# CUDA's libraries come with the pinned packages. From the project's folder:
#   docker build -f cluster/docker/gpu.Dockerfile -t agentark-ray:0.1.0-gpu .
FROM python:3.11.14-slim-bookworm AS packages
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/agentark
ENV PATH=/opt/agentark/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/gpu.txt /tmp/gpu.txt
RUN pip install --no-deps -r /tmp/gpu.txt
COPY pyproject.toml README.md LICENSE /app/
COPY agentark_ray /app/agentark_ray
RUN pip install --no-deps --no-build-isolation -e /app

FROM python:3.11.14-slim-bookworm
# vLLM and Triton compile kernels with gcc; the probes of Kubernetes may use wget.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ libgomp1 libnuma1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home --shell /usr/sbin/nologin agentark
COPY --from=packages /opt/agentark /opt/agentark
COPY --from=packages /app /app
COPY jobs /app/jobs
COPY serve /app/serve
ENV PATH=/opt/agentark/bin:$PATH RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /app
CMD ["agentark", "doctor"]
