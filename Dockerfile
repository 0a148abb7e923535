# Targets: `cpu` (the default), `cuda`, `tensorrt`, and `export` for to_onnx.py and audit.py.
#
#     docker build --target cpu --tag posbake:cpu .        or `make images`
#
# Images run as uid 10001, and support a read-only root with a tmpfs on /tmp. Artifacts are in /artifacts, TensorRT engines
# in /engines.
# The syntax is supported by docker, podman and buildah. docs/deployment.md describes how to run the images.
ARG BASE=python:3.12-slim-bookworm

# pip in a separate environment, so that the images have no pip.
FROM ${BASE} AS pip
# Package index instead of PyPI. The builder can mount a certificate or a pip.conf.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Only files that determine the packages, so that code changes do not invalidate their layer.
COPY constraints.txt pyproject.toml LICENSE ./
RUN touch README.md \
    && python3 -m venv /opt/pip \
    && /opt/pip/bin/python -m pip install --quiet --constraint constraints.txt --upgrade pip \
    && python3 -m venv --without-pip /opt/venv

FROM pip AS packages-cpu
# 0 omits OpenVINO (190 MB).
ARG OPENVINO=1
RUN /opt/pip/bin/python -m pip --python /opt/venv/bin/python install --quiet --constraint constraints.txt '.[service,openvino]' \
    && if [ "$OPENVINO" != 1 ]; then \
        /opt/pip/bin/python -m pip --python /opt/venv/bin/python uninstall --quiet --yes openvino openvino-telemetry; \
    fi

FROM pip AS packages-cuda
RUN /opt/pip/bin/python -m pip --python /opt/venv/bin/python install --quiet --constraint constraints.txt '.[gpu]'

FROM packages-cuda AS packages-tensorrt
# TensorRT's installer downloads its libraries from NVIDIA's package index. ONNX Runtime finds them by LD_LIBRARY_PATH.
RUN /opt/pip/bin/python -m pip --python /opt/venv/bin/python install --quiet --constraint constraints.txt '.[gpu,tensorrt]' \
    && ln -s "$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tensorrt_libs" /opt/venv/tensorrt_libs

FROM pip AS packages-export
# The default torch depends on 4 GB of CUDA libraries. PyTorch's CPU index has the same release without them.
ARG PIP_EXTRA_INDEX_URL
RUN /opt/pip/bin/python -m pip --python /opt/venv/bin/python install --quiet --constraint constraints.txt '.[export,service]'

FROM ${BASE} AS code
COPY artifact/ /app/artifact/
COPY engines/ /app/engines/
COPY imaging/ /app/imaging/
COPY service/ /app/service/
COPY deploy/health.py /app/deploy/
# Compiled at build time, because the root is read-only at run time.
RUN python3 -m compileall -q /app

FROM code AS code-export
COPY export/ /app/export/
COPY models/ /app/models/
COPY examples/ /app/examples/
RUN python3 -m compileall -q /app

FROM ${BASE} AS runtime
RUN groupadd --gid 10001 posbake \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin posbake \
    && install --directory --owner 10001 --group 10001 /artifacts \
    && install --directory --owner 10001 --group 10001 --mode 700 /engines
WORKDIR /app
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="posbake" \
      org.opencontainers.image.description="Vision transformers with baked position encodings, served over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Each target copies its packages first, so that code changes do not invalidate their layer.
FROM runtime AS service
ENV POSBAKE_HOST=0.0.0.0 \
    POSBAKE_PORT=8000 \
    POSBAKE_REPOSITORY=/artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["python", "/app/deploy/health.py"]
ENTRYPOINT ["python", "-m", "service"]

FROM runtime AS export
COPY --from=packages-export /opt/venv/ /opt/venv/
COPY --from=code-export /app/ /app/
ENTRYPOINT ["python"]
CMD ["export/to_onnx.py", "--help"]

FROM service AS cuda
COPY --from=packages-cuda /opt/venv/ /opt/venv/
COPY --from=code /app/ /app/
ENV POSBAKE_DEVICE=cuda \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Mount a volume on /engines, because an engine takes minutes to build.
FROM service AS tensorrt
COPY --from=packages-tensorrt /opt/venv/ /opt/venv/
COPY --from=code /app/ /app/
ENV POSBAKE_BACKEND=tensorrt \
    POSBAKE_ENGINE_CACHE=/engines \
    LD_LIBRARY_PATH=/opt/venv/tensorrt_libs \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM service AS cpu
COPY --from=packages-cpu /opt/venv/ /opt/venv/
COPY --from=code /app/ /app/
