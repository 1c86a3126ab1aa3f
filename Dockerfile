# One image for the API, its migrations and its checks (`service`, the default), one for load (`locust`), and what
# else docker-compose.yml starts with files of ours in it: no container reads the checkout, whatever its path and file modes.
# Dependencies have a layer of their own: a change to the code rebuilds in seconds.
ARG PYTHON_VERSION=3.13
ARG PYTHON_IMAGE=python:${PYTHON_VERSION}-slim-trixie
ARG PROMETHEUS_IMAGE=prom/prometheus:v3.5.0
ARG GRAFANA_IMAGE=grafana/grafana:12.0.0

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
COPY deploy/healthcheck.py deploy/
COPY brigade/ brigade/
COPY service/ service/
# Readable by any user, because a checkout made under umask 077 is readable by its owner alone. /state is writable by group
# 0, because OpenShift runs an image as a user of its own choice in that group.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash . \
 && chmod -R a+rX . \
 && mkdir /volumes \
 && mkdir --mode=775 /volumes/state


FROM build AS load-code
WORKDIR /app
COPY loadtests/ loadtests/
# /runs is writable by group 0, as /state is.
RUN chmod -R a+rX . \
 && mkdir /volumes \
 && mkdir --mode=775 /volumes/runs


FROM caddy:2 AS proxy
COPY --chmod=644 deploy/Caddyfile /etc/caddy/Caddyfile
COPY --chmod=755 deploy/start_proxy.sh /usr/local/bin/start_proxy
CMD ["start_proxy"]


FROM redis:8-trixie AS redis
COPY --chmod=644 deploy/redis.conf /etc/redis.conf


FROM ${PROMETHEUS_IMAGE} AS prometheus
COPY --chmod=644 deploy/prometheus.yml deploy/alerts.yml /etc/prometheus/


FROM ${GRAFANA_IMAGE} AS grafana
COPY --chmod=755 deploy/grafana/provisioning /etc/grafana/provisioning
COPY --chmod=755 deploy/grafana/dashboards /etc/grafana/dashboards


FROM python AS run
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:0


FROM run AS locust
COPY --from=locust-packages /venv /venv
COPY --from=load-code --chown=10001:0 /volumes/ /
COPY --from=load-code /app /app
ENV LOCUST_RUNS=/runs/runs.jsonl
EXPOSE 8089
ENTRYPOINT ["locust", "--locustfile", "loadtests/locustfile.py"]


FROM run AS service
# A named volume takes the owner of the folder it covers.
COPY --from=code --chown=10001:0 /volumes/ /
COPY --from=service-packages /venv /venv
COPY --from=code /app /app
# Replicas on one host may share /state, if it is on a disk of that host; the metrics of a container are its own.
# `::` answers IPv4 too; where the machine has no IPv6 the service listens on every IPv4 address.
ENV HOST=:: PORT=8000 STATE_DIR=/state PROMETHEUS_MULTIPROC_DIR=/tmp/metrics
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "/app/deploy/healthcheck.py", "/livez"]
CMD ["python", "-m", "service", "run"]
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Brigade" \
      org.opencontainers.image.description="A FastAPI template that uses every core, and proves it." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python"
