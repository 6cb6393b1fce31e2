# The image for those who have a builder. `cargo xtask image` makes the same without one, and describes what is in it:
# docs/how-to/build-the-image.md.
ARG RUST_IMAGE=rust:1.95.0-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /landbridge
COPY . .
# The compiler of the image is the pinned one; without this the formatter and the linter would be fetched too.
ENV CI=true RUSTUP_TOOLCHAIN=1.95.0
RUN cargo xtask image --output /out/landbridge.tar --unpack /out/root

FROM scratch
COPY --from=build /out/root/ /
ENV PATH=/usr/local/bin:/usr/bin:/bin
USER 65532:65532
ENTRYPOINT ["/landbridge"]
