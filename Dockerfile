# One image for what runs in the cluster from this repository: the backup jobs, the cache API, the warmer.
# It carries Redis' own programs (redis-cli, redis-check-rdb, redis-server) and nothing that builds.
#
#   docker build -t registry.example.com/cachestack:0.1.0 .
#
# The same sources on the same bases give the same files, bytecode included: SOURCE_DATE_EPOCH stands in for the time of the
# build, and the builder has to set the files' own times (buildah: --timestamp 0; BuildKit: rewrite-timestamp=true).
#
# Both bases are pinned by the digest of their index, for all platforms, as the record of the official images has it
# (docker-library/repo-info, 25 August 2026). A newer one: docker buildx imagetools inspect python:3.11-slim-bookworm
# Bases of your own, such as those of a mirror: --build-arg PYTHON=... --build-arg REDIS=...
ARG PYTHON=python:3.11.16-slim-bookworm@sha256:0bee7276f83efd4a1ee05bbbf4281d95ed28e079220a9457f25a93e3f1e3c31b
ARG REDIS=redis:7.2.16-bookworm@sha256:74566c6910d13ae61e7ce73ebd3127438a1fe805b309b097c323142719ec8a5b
ARG SOURCE_DATE_EPOCH=0

FROM ${REDIS} AS redis
# Both programs and what they link to; of the libraries, the last stage takes those that it lacks.
RUN mkdir -p /out/bin /out/lib \
 && cp "$(command -v redis-server)" "$(command -v redis-cli)" /out/bin/ \
 && ldd /out/bin/* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | xargs -r cp -L -t /out/lib

FROM ${PYTHON} AS build
ARG SOURCE_DATE_EPOCH
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH}
COPY requirements/image.lock /src/requirements/image.lock
RUN python -m venv /opt/cachestack \
 && /opt/cachestack/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /src/requirements/image.lock
COPY pyproject.toml hatch_build.py README.md LICENSE /src/
COPY cacheclient /src/cacheclient
COPY alerts /src/alerts
COPY dashboards /src/dashboards
COPY infra /src/infra
# hatchling builds the wheel; it stays in this stage. There is no compiler, so the image has no compiled code of ours.
RUN /opt/cachestack/bin/pip wheel --no-cache-dir --disable-pip-version-check --no-deps -w /src/dist /src \
 && /opt/cachestack/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /src/dist/*.whl \
 && /opt/cachestack/bin/pip uninstall -y setuptools pip

FROM ${PYTHON}
ARG SOURCE_DATE_EPOCH
COPY --from=redis /out/bin/ /usr/local/bin/
# redis-check-rdb is the server under the name by which it checks snapshots.
RUN --mount=type=bind,from=redis,source=/out/lib,target=/mnt/lib \
    for library in /mnt/lib/*; do \
      ldconfig -p | grep -qF "${library##*/} " || cp "$library" /usr/local/lib/; \
    done \
 && ldconfig && rm -f /var/cache/ldconfig/aux-cache \
 && ln -s redis-server /usr/local/bin/redis-check-rdb \
 && redis-server --version && redis-cli --version \
 && groupadd --gid 10999 cache && useradd --uid 10999 --gid 10999 --no-create-home --home-dir /nonexistent cache
COPY --from=build /opt/cachestack /opt/cachestack
ENV PATH=/opt/cachestack/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10999:10999
ENTRYPOINT ["python", "-m"]
CMD ["infra.jobs", "--help"]
