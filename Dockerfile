# The service in a container. The binary is built outside (`make service-image`): it is static, and so this file needs
# neither a Go image nor BuildKit, and with a base that has the programs below no network either.
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}

# mkfs.xfs and mkfs.btrfs make the pool; mount and losetup put it in its place.
RUN if ! command -v mkfs.xfs || ! command -v mkfs.btrfs || ! command -v losetup || ! [ -s /etc/ssl/certs/ca-certificates.crt ]; then \
		apt-get update && \
		apt-get install -y --no-install-recommends xfsprogs btrfs-progs mount ca-certificates && \
		rm -rf /var/lib/apt/lists/*; \
	fi

COPY bin/linux/mayfly /usr/local/bin/mayfly

# API and dashboard; gateway.
EXPOSE 8080 6432
ENTRYPOINT ["/usr/local/bin/mayfly"]
CMD ["serve", "--config", "/etc/mayfly/mayfly.yaml"]
