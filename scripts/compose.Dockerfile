# The image of the service from nothing but the source: what docker-compose.yml builds. Dockerfile is for a binary that is there already, for
# machines without a registry (`make service-image`).
ARG GO_IMAGE=golang:1.26-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG MAYFLY_VERSION=dev
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=${MAYFLY_VERSION}" -o /mayfly ./cmd/mayfly

FROM ${BASE_IMAGE}
RUN if ! command -v mkfs.xfs || ! command -v mkfs.btrfs || ! command -v losetup || ! [ -s /etc/ssl/certs/ca-certificates.crt ]; then \
		apt-get update && \
		apt-get install -y --no-install-recommends xfsprogs btrfs-progs mount ca-certificates && \
		rm -rf /var/lib/apt/lists/*; \
	fi
COPY --from=build /mayfly /usr/local/bin/mayfly
EXPOSE 8080 6432
ENTRYPOINT ["/usr/local/bin/mayfly"]
CMD ["serve", "--config", "/etc/mayfly/mayfly.yaml"]
