# `make help` lists the targets. Every one works from a clean clone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Minimal environments (CI, cron, containers) lack what Go's caches and installs are found by.
ifeq ($(strip $(HOME)),)
export HOME := $(or $(shell getent passwd "$$(id -u)" 2>/dev/null | cut -d: -f6),/tmp/mayfly-home)
endif
export PATH := $(CURDIR)/bin:$(PATH):/usr/local/go/bin:$(HOME)/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# Major versions of Postgres: of the tests, of the demo and of `make images`.
MAJORS ?= 15 17
DEMO_MAJORS ?= 15
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

GO ?= go
# -buildvcs=false: the version comes from the flag below, and a checkout owned by another user must build too.
GO_BUILD := $(GO) build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
# Arguments for one's own use, e.g. make test GOTEST_ARGS='-run TestConverge -v' PKGS=./provisioner
PKGS ?= ./...
GOTEST_ARGS ?=
FUZZTIME ?= 20s

GOLANGCI_VERSION := v2.15.0
GOLANGCI := bin/golangci-lint-$(GOLANGCI_VERSION)

##@ Use it

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-zA-Z0-9_-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## Build bin/mayfly
	CGO_ENABLED=0 $(GO_BUILD) -o bin/mayfly ./cmd/mayfly

.PHONY: demo
demo: machine ## The whole job from nothing, on generated production data (KEEP=1 leaves it running)
	scripts/build-image.sh $(DEMO_MAJORS) >/dev/null
	$(MAKE) --no-print-directory build
	KEEP=$(KEEP) scripts/demo.sh

.PHONY: images
images: machine ## Provide the Postgres images (MAJORS="15 17" unless given; there are 13, 15, 17 and 18)
	scripts/build-image.sh $(MAJORS)

.PHONY: machine
machine: ## Install what this machine lacks, or say what to install
	@scripts/ensure-machine.sh

##@ Run it as a container

.PHONY: service-image
service-image: machine ## Build the image mayfly:local of the service (BASE_IMAGE=... to choose its base)
	MAYFLY_VERSION=$(VERSION) scripts/service-image.sh $(BASE_IMAGE)

.PHONY: up
up: service-image ## Start the service and its state database with docker compose
	scripts/compose.sh up -d

.PHONY: down
down: ## Stop them; data stays
	scripts/compose.sh down

##@ Work on it

.PHONY: test
test: ## Run all tests, with the race detector, on a real engine
	@scripts/ensure-machine.sh --race
	scripts/build-image.sh $(MAJORS) runner
	$(GO) test -race -timeout 20m $(GOTEST_ARGS) $(PKGS)

.PHONY: test-tools
test-tools: machine ## Hold the tests of migrations against the tools themselves, from npm and Debian too (those that are installed)
	scripts/build-image.sh $(DEMO_MAJORS) >/dev/null
	MAYFLY_ORACLES=1 $(GO) test -timeout 10m -count=1 -v -run 'ThemselvesAgree|ItselfAgrees|Tool' $(GOTEST_ARGS) ./migrations | grep -E '^ *---|^ok|^FAIL|_test.go'

.PHONY: test-short
test-short: ## Run the tests that need neither Docker nor root
	$(GO) test -short -timeout 5m $(GOTEST_ARGS) $(PKGS)

.PHONY: lint
lint: $(GOLANGCI) ## Run the linters and check the formatting
	@unformatted=$$($$($(GO) env GOROOT)/bin/gofmt -l .); \
		[ -z "$$unformatted" ] || { echo "run gofmt -w on: $$unformatted" >&2; exit 1; }
	$(GOLANGCI) run $(PKGS)
	@if command -v shellcheck >/dev/null; then \
		shellcheck -x .ci/run $(wildcard scripts/*.sh scripts/*/*.sh examples/*.sh examples/*/*.sh); \
	else echo "shellcheck is not installed: shell scripts are not checked"; fi

$(GOLANGCI):
	@mkdir -p bin
	@if [ "$$(golangci-lint version --short 2>/dev/null)" = "$(GOLANGCI_VERSION:v%=%)" ]; then \
		ln -sf "$$(command -v golangci-lint)" $@; \
	else \
		echo "installing golangci-lint $(GOLANGCI_VERSION)"; \
		GOBIN=$(CURDIR)/bin/.install $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION); \
		mv bin/.install/golangci-lint $@; rmdir bin/.install; \
	fi

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s)
	@grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | sort | while read -r file; do \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' "$$file"); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" </dev/null; \
		done; \
	done

.PHONY: model
HISTORIES ?= 5000
model: machine ## Play HISTORIES (5000) random histories of pull requests against docs/invariants.md
	scripts/build-image.sh $(DEMO_MAJORS) >/dev/null
	MAYFLY_MODEL_HISTORIES=$(HISTORIES) $(GO) test -timeout 0 -run 'TestModel$$' ./provisioner

.PHONY: bench
bench: machine ## Measure, and write bench/results.json
	scripts/build-image.sh $(DEMO_MAJORS) >/dev/null
	$(MAKE) --no-print-directory build
	$(GO) run -buildvcs=false ./bench -out bench/results.json $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove what was built here (not images, not data)
	rm -rf bin .cache bench/tmp
