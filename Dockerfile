# One image for the API, its migrations and its checks (`service`, the default), and one for load (`locust`).
# Dependencies have a layer of their own: a change to the code rebuilds in seconds.
ARG PYTHON_VERSION=3.13
ARG PYTHON_IMAGE=python:${PYTHON_VERSION}-slim-trixie

FROM ${PYTHON_IMAGE} AS python
ENV PYTHONUNBUFFERED=1


FROM python AS build
# Wheels only: a package that needs a compiler fails here, in a sentence, and not in a slow build.
# Bytecode is compiled once, below, for whatever reads it.
ENV PIP_ONLY_BINARY=:all: PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_COMPILE=1
RUN python -m venv --without-pip /venv


FROM build AS service-packages
COPY requirements/service.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --no-deps --requirement /requirements.txt \
 && find /venv -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib


FROM build AS locust-packages
COPY requirements/locust.txt /requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /venv/bin/python install --require-hashes --no-deps --requirement /requirements.txt \
 && find /venv -type d -name tests -prune -exec rm -r {} + \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /venv/lib


FROM build AS code
WORKDIR /app
COPY deploy/ deploy/
COPY brigade/ brigade/
COPY service/ service/
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash . \
 && mkdir /state


FROM python AS run
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001


FROM run AS locust
COPY --from=locust-packages /venv /venv
COPY loadtests/ loadtests/
EXPOSE 8089
ENTRYPOINT ["locust", "--locustfile", "loadtests/scenarios/"]
CMD ["--class-picker"]


FROM run AS service
# A named volume takes the owner of the folder it covers.
COPY --from=code --chown=10001:10001 /state /state
COPY --from=service-packages /venv /venv
COPY --from=code /app /app
# Replicas may share /state; the metrics of a container are its own.
ENV HOST=0.0.0.0 PORT=8000 STATE_DIR=/state PROMETHEUS_MULTIPROC_DIR=/tmp/metrics
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/deploy/healthcheck.py", "/livez"]
CMD ["python", "-m", "service", "run"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Brigade" \
      org.opencontainers.image.description="A FastAPI template that uses every core, and proves it." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python"
