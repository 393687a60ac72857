# The image of vault-unseal-sidecar: one static binary, and nothing that could
# be run beside it. `make image` gives the arguments.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26.8@sha256:9d2f36f06329b2a141b9db99ffa32765cf695ee57b813ca29e245e8670bcbfff AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY sidecar sidecar
ARG TARGETARCH VERSION=unknown COMMIT=unknown
RUN CGO_ENABLED=0 GOOS=linux GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" \
    -o /out/vault-unseal-sidecar ./sidecar

FROM scratch
ARG VERSION=unknown COMMIT=unknown
LABEL org.opencontainers.image.title="vault-unseal-sidecar" \
      org.opencontainers.image.description="Unseals the HashiCorp Vault beside it as soon as its storage serves" \
      org.opencontainers.image.source="https://github.com/alybadawy/vault-unseal-sidecar" \
      org.opencontainers.image.documentation="https://github.com/alybadawy/vault-unseal-sidecar/blob/main/README.md" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
# For a Vault whose certificate a public CA signed.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/vault-unseal-sidecar /vault-unseal-sidecar
USER 65532:65532
EXPOSE 9810
ENTRYPOINT ["/vault-unseal-sidecar"]
