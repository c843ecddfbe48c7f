# Two images from one file; neither needs the network once built:
#   docker build --target cpu -t mattestream .
#   docker build --target gpu -t mattestream:gpu .
# Neither has been built by this project's CI, which has no container engine; see README, "Limits".
#
#   docker run -p 127.0.0.1:50051:50051 -p 127.0.0.1:8080:8080 mattestream
#
# Inside, the server listens on every interface: publish its ports on 127.0.0.1, or give it TLS and API
# keys (docs/operations.md). The health check calls port 50051 without TLS: with another port or TLS
# give one of your own (--health-cmd).

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY mattestream mattestream
COPY server server
COPY models models
COPY kernels kernels
RUN pip install --no-cache-dir build \
 && python -m build --wheel --outdir /wheels

FROM python:3.12-slim AS cpu
RUN useradd --create-home --uid 10001 mattestream
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-cache-dir "$(ls /tmp/wheels/*.whl)[server]" \
 && rm -rf /tmp/wheels
USER mattestream
# glibc keeps big blocks instead of giving each back to the kernel (server/allocator.py); set here,
# the process need not start itself again.
ENV MALLOC_MMAP_THRESHOLD_=4294967296 \
    MALLOC_TRIM_THRESHOLD_=4294967296 \
    MALLOC_ARENA_MAX=1 \
    MATTESTREAM_ALLOCATOR=tuned \
    MATTESTREAM_HOST=0.0.0.0 \
    MATTESTREAM_HTTP_HOST=0.0.0.0 \
    MATTESTREAM_METRICS_HOST=0.0.0.0
EXPOSE 50051 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "from mattestream import Client; Client().wait_ready(4)"]
ENTRYPOINT ["mattestream"]
CMD ["serve"]

# Needs a driver for CUDA 13 on the host (docs/gpu.md) and `docker run --gpus all`; without a GPU it
# runs on the CPU. TensorRT builds its plans at the first start: keep them with a volume on
# /home/mattestream/.cache, or each new container builds them again, which takes minutes.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS gpu
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --uid 10001 mattestream \
 && python3 -m venv /opt/mattestream
ENV PATH=/opt/mattestream/bin:$PATH
COPY --from=wheel /wheels /tmp/wheels
RUN pip install --no-cache-dir "$(ls /tmp/wheels/*.whl)[server,gpu]" \
 && rm -rf /tmp/wheels
USER mattestream
ENV MALLOC_MMAP_THRESHOLD_=4294967296 \
    MALLOC_TRIM_THRESHOLD_=4294967296 \
    MALLOC_ARENA_MAX=1 \
    MATTESTREAM_ALLOCATOR=tuned \
    MATTESTREAM_HOST=0.0.0.0 \
    MATTESTREAM_HTTP_HOST=0.0.0.0 \
    MATTESTREAM_METRICS_HOST=0.0.0.0 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
EXPOSE 50051 8080 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from mattestream import Client; Client().wait_ready(4)"]
ENTRYPOINT ["mattestream"]
CMD ["serve"]
