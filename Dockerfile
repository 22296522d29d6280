# Segue as PID 1 of a container, with the sample app. docs/containers.md leads from here to deploys without a new image.
#
#   docker build --tag segue .                          on Debian: a shell, users and hosts by name
#   docker build --tag segue:static --target static .   two static binaries; what does not work there: docs/containers.md
#
# The cache mounts below need BuildKit.
#
# An image of one's own needs two lines:
#   FROM segue
#   COPY my-app /srv/app/current/app
# and where the app is called differently, needs flags, or listens elsewhere, also one's own /etc/segue.toml.

ARG RUST_IMAGE=rust:1.95-slim-trixie
ARG RUNTIME_IMAGE=debian:trixie-slim

FROM ${RUST_IMAGE} AS source
WORKDIR /src
COPY . .
# `dev` builds faster; the binaries are larger and slower.
ARG PROFILE=release

# The cache mounts keep what cargo has downloaded and compiled, so that the next build compiles only what has changed. A cache
# mount is no part of the image: what is needed of it is copied out.
FROM source AS build
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile "$PROFILE" --package segue --package segue-app --bins && \
    mkdir /out && \
    find target -maxdepth 2 -type f \( -name segue -o -name segue-poll -o -name app \) \
        -path "target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")/*" -exec cp -t /out {} +

# With an explicit target, so that only the programs become static and not the macros that the compiler itself loads.
FROM source AS build-static
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target="$(rustc --print host-tuple)" && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --profile "$PROFILE" --target "$target" \
        --package segue --package segue-app --bin segue --bin app && \
    mkdir /out && \
    cd "target/$target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE")" && cp segue app /out/

# Nothing but the two programs. (A stage of the name `scratch` would hide the empty image of that name.)
FROM scratch AS static
COPY --from=build-static /out/segue /usr/bin/segue
COPY --from=build-static /out/app /srv/app/current/app
COPY examples/container/segue.toml /etc/segue.toml
ENV PATH=/usr/bin
# Any other user will do; neither needs an entry in a user database.
USER 65532:65532
EXPOSE 1234
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["segue", "status"]
ENTRYPOINT ["segue", "run", "--config", "/etc/segue.toml"]
LABEL org.opencontainers.image.title="segue" \
    org.opencontainers.image.description="Socket-handoff supervisor as PID 1, with its sample app; static" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"

# The last stage is the one that is built if none is named.
FROM ${RUNTIME_IMAGE} AS debian
COPY --from=build /out/segue /out/segue-poll /usr/bin/
COPY --from=build /out/app /srv/app/current/app
COPY examples/container/segue.toml /etc/segue.toml
USER 65532:65532
EXPOSE 1234
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["segue", "status"]
ENTRYPOINT ["segue", "run", "--config", "/etc/segue.toml"]
LABEL org.opencontainers.image.title="segue" \
    org.opencontainers.image.description="Socket-handoff supervisor as PID 1, with its sample app" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0"
