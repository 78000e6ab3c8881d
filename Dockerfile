# One image for nodes, submitters and watchers: the `mesh` command, configured by environment only.
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS build
COPY . /src
WORKDIR /src
# With a wheelhouse (see scripts/containers) nothing is downloaded; without, the versions of uv.lock are.
RUN python3 -m venv /opt/meshd \
 && if [ -d wheelhouse ]; then \
      /opt/meshd/bin/pip install --quiet --no-index --find-links wheelhouse "agent-meshd[uvloop,language]"; \
    else \
      python3 -m venv /opt/uv \
      && /opt/uv/bin/pip install --quiet uv==0.13.9 \
      && UV_PROJECT_ENVIRONMENT=/opt/meshd /opt/uv/bin/uv sync --quiet --locked --no-dev --no-editable \
           --extra uvloop --extra language --python /opt/meshd/bin/python; \
    fi

FROM ${BASE}
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/meshd meshd
COPY --from=build /opt/meshd /opt/meshd
ENV PATH=/opt/meshd/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MESHD_STATE_DIR=/var/lib/meshd
# Links to other nodes. On one container network nothing need be published; else publish both under this number and set
# MESHD_PEERS__ADVERTISE.
EXPOSE 9900/tcp 9900/udp
USER meshd
WORKDIR /var/lib/meshd
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["mesh", "status", "--json"]
ENTRYPOINT ["mesh"]
CMD ["node", "start"]
