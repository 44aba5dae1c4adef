# syntax=docker/dockerfile:1
# One image serves as API, worker and migration; the command says which.
#
#   docker build .                                   CPU
#   docker build --build-arg VARIANT=cuda .          for NVIDIA GPUs, with the CUDA kernels, whose compilation takes
#                                                    minutes (needs the NVIDIA container toolkit at run time)
#
# TORCH_PIP_ARGS reaches pip when it installs torch. With VARIANT=cpu, name there the package index of PyTorch's CPU
# builds (pytorch.org → Get started) to keep the image small; without it pip takes its default build.

ARG PYTHON_VERSION=3.11
ARG VARIANT=cpu

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/fqt
ENV PATH=/opt/fqt/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/service.txt requirements/torch.txt requirements/
RUN pip install --require-hashes -r requirements/service.txt
ARG TORCH_PIP_ARGS=""
# The arguments are words: they are split on purpose.
# hadolint ignore=SC2086
RUN pip install ${TORCH_PIP_ARGS} -r requirements/torch.txt
COPY . .

FROM build AS build-cpu
RUN pip install --no-deps --no-build-isolation ./client . \
    && python -c "import fqt_core.ops as ops; assert ops.isa() != 'reference', 'the native extension was not built'"

# Only its compiler is used. It was built for an older C library than that of the stage that it is copied to.
FROM nvidia/cuda:13.0.1-devel-ubuntu22.04 AS toolkit

FROM build AS build-cuda
COPY --from=toolkit /usr/local/cuda-13.0 /usr/local/cuda-13.0
# Compute capabilities, to compile for fewer; the default is in csrc/cuda.cmake.
ARG CUDA_TARGETS=""
# Without a working compiler the package installs all the same: a kernel that is not there must end the build here.
RUN PATH=/usr/local/cuda-13.0/bin:$PATH \
    CMAKE_ARGS="-D FQT_CUDA=1${CUDA_TARGETS:+ -D FQT_CUDA_TARGETS=$CUDA_TARGETS}" \
    pip install --no-deps --no-build-isolation ./client . \
    && python -c "from fqt_core.ops import native; assert native.CUDA_KERNELS, 'the CUDA kernels were not built'"

FROM python:${PYTHON_VERSION}-slim-bookworm AS cpu
COPY --from=build-cpu /opt/fqt /opt/fqt

FROM python:${PYTHON_VERSION}-slim-bookworm AS cuda
COPY --from=build-cuda /opt/fqt /opt/fqt
# The driver's libraries are put into the container by the NVIDIA container toolkit; torch brings the rest.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The stage is one of the two above.
# hadolint ignore=DL3006
FROM ${VARIANT} AS final
# LightGBM's threads; torch brings its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --gid 10001 fqt \
    && useradd --uid 10001 --gid fqt --create-home --home-dir /home/fqt fqt \
    && install --directory --owner=fqt --group=fqt /data /secrets
ENV PATH=/opt/fqt/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FQT_DATA_DIR=/data
USER 10001:10001
WORKDIR /home/fqt
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["fqt"]
CMD ["--help"]
