SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# A build of one of the big servers takes the whole machine, whatever -j says.
.NOTPARALLEL:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

# Code of this project. The other modules only put other people's servers
# together: to analyse them is to analyse Vault.
OWN := . integration/servers/stallfs
HASH := \#
SCRIPTS = $(shell find . -type f -not -path './.git/*' -not -path './bin/*' -exec \
	awk 'FNR == 1 { if (/^$(HASH)!.*[\/ ](ba|da)?sh( |$$)/) print FILENAME; nextfile }' {} +)

# The race detector needs cgo, which Go switches off where there is no C compiler.
RACE = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# $(call in-each,FOLDERS,COMMAND) runs the command in every folder and stops at
# the first that fails.
in-each = for folder in $(1); do (cd "$$folder" && $(2)); done

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/vault-unseal-sidecar
	CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)" \
		-o bin/vault-unseal-sidecar ./sidecar

# The image is made with what the machine has. Its times are those of the
# commit: the same commit makes the same image with the same builder.
BUILDER ?= $(shell docker info >/dev/null 2>&1 && echo docker || echo buildah)
ARCH ?= $(shell go env GOARCH)
# The name and the version that patches/ asks a node for.
IMAGE ?= $(shell sed -n "s/^ *image: \(.*\):.*/\1/p" patches/pod/pod.yaml)
TAG ?= $(shell sed -n "s/^ *image: .*:\([^:]*\)$$/\1/p" patches/pod/pod.yaml)
EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
IMAGE_FLAGS ?=
# A file: the image is then written into it as an OCI archive.
ARCHIVE ?=
image-args = --platform linux/$(ARCH) --build-arg VERSION=$(VERSION) --build-arg COMMIT=$(COMMIT) \
	--tag $(IMAGE):$(TAG) $(IMAGE_FLAGS)
# BuildKit's own attestations have the time in them.
docker-output = $(if $(ARCHIVE),--provenance=false --sbom=false --output type=oci$(comma)dest=$(ARCHIVE),--output type=docker),rewrite-timestamp=true
comma := ,

.PHONY: image
image: ## build the image, with docker or buildah (ARCH=arm64 for the other kind)
ifeq ($(BUILDER),docker)
	SOURCE_DATE_EPOCH=$(EPOCH) docker buildx build $(image-args) $(docker-output) .
else
	$(BUILDER) build $(image-args) --build-arg BUILDPLATFORM=linux/$(shell go env GOHOSTARCH) --timestamp $(EPOCH) .
	$(if $(ARCHIVE),$(BUILDER) push --quiet $(IMAGE):$(TAG) oci-archive:$(ARCHIVE))
endif

# SIGN_KEY is a file with an SSH key, or with the public half of one in the agent.
.PHONY: release
release: ## make all that a release holds into bin/release, from HEAD's tag (SIGN_KEY=FILE signs it)
	@BUILDER="$(BUILDER)" IMAGE="$(IMAGE)" IMAGE_FLAGS="$(IMAGE_FLAGS)" scripts/release $(if $(SIGN_KEY),--sign-key "$(SIGN_KEY)")

.PHONY: servers
servers: ## build the real servers for the tests into bin/servers (the first time takes 12 to 40 minutes)
	@integration/servers/build.sh
	@integration/servers/kustomize/build.sh

# Twice as many tests at once as there are cores: half of them wait more than they compute.
# With the node's beside them each takes twice as long, and many too long.
.PHONY: test
test: fuse promtool chromium jq build servers vet ## run every test, against the real servers (needs /dev/fuse; root for the node)
	@$(if $(RACE),,echo "test: WITHOUT the race detector: there is no C compiler (package gcc)")
	go test $(RACE) ./sidecar/...
	go -C integration/servers/stallfs test $(RACE) -count=1 ./...
	go test -count=1 -timeout 60m -parallel $$(($$(nproc) * 2)) ./integration ./integration/testenv/... ./integration/browser ./integration/cmd/...
	go test -count=1 ./integration/soak
ifeq ($(shell id -u),0)
	@$(MAKE) --no-print-directory e2e
else
	@echo "test: !!! LEFT OUT: everything on a real node. It needs root: sudo make e2e"
	@[ -z "$(CI)" ] || { echo "test: in CI nothing is left out" >&2; exit 1; }
endif

.PHONY: e2e
e2e: fuse node-images ## run the whole home on a real Kubernetes node of its own (needs root)
	@rm -f bin/node/timeline
	go test -count=1 -timeout 60m ./integration/node
	@echo "e2e: what the sidecar tells after the power cut:"; cat bin/node/timeline

# Each half gets the whole time, both at once. Of a run that fails all logs are in bin/soak.
SOAK ?= 10m
.PHONY: soak
soak: fuse build servers ## throw random faults at everything, several at once, for SOAK=10m (SEED=N repeats a run, WORLD=N from there)
	SOAK=$(SOAK) SEED=$(SEED) WORLD=$(WORLD) go test -v -count=1 -timeout 0 ./integration/soak

CUTS ?= 20
.PHONY: soak-node
soak-node: fuse node-images ## cut the power of a real node CUTS=20 times in a row (SEED=N repeats the times; needs root)
	CUTS=$(CUTS) SEED=$(SEED) go test -v -count=1 -timeout 0 -run TestPowerCuts_ ./integration/node

# Each target gets the same part of the whole time.
FUZZ ?= 10m
.PHONY: fuzz
fuzz: ## fuzz all that reads what others wrote, one target after another, for FUZZ=10m in all
	@integration/fuzz.sh $(FUZZ)

# The stand-in for Vault is compared with a real one.
RECOVERIES ?= 10000
.PHONY: longevity
longevity: fuse build ## have it recover RECOVERIES=10000 times, and compare what it takes at the end with the start
	@integration/servers/build.sh vault stallfs
	RECOVERIES=$(RECOVERIES) go test -v -count=1 -timeout 0 -run 'TestLongevity|TestStandIn' ./integration

# As the servers are built, so that the standard library is compiled once.
run = CGO_ENABLED=0 go run -trimpath

# What act one takes; the demo itself has act two's servers built behind it. VAULT_BINARY
# and KUBEBUILDER_ASSETS name servers that are there.
.PHONY: demo demo-compare
demo: fuse build demo-servers ## show a power cut and the recovery, with real servers (the first time takes 5 minutes to act one)
	@$(run) ./integration/cmd/demo

demo-compare: fuse netcat build demo-servers ## the same, and beside it the two CronJobs that the sidecar replaces
	@$(run) ./integration/cmd/demo --compare

.PHONY: demo-servers
demo-servers:
	@integration/servers/build.sh $(if $(VAULT_BINARY),,vault) stallfs

.PHONY: bench
bench: fuse netcat build servers ## measure how fast Vault and External Secrets come back, and the footprint
	@$(run) ./integration/cmd/bench

.PHONY: pictures
pictures: fuse promtool chromium build ## take the README's pictures, of a power cut of a real Vault
	@integration/servers/build.sh vault stallfs
	@$(run) ./integration/cmd/pictures

.PHONY: compat
compat: fuse build ## run the main scenarios against older Vaults too (building them takes 15 to 40 minutes the first time)
	@integration/servers/build.sh vault stallfs
	@integration/servers/compat/build.sh
	@integration/compat.sh

.PHONY: check
check: format vet darwin lint vulnerabilities shell workflows tidy ## check the code without running it
	@echo "check: passed"

.PHONY: clean
clean: ## remove what the other targets made
	rm -rf bin

# The parts of check and test; each can be run alone.

.PHONY: format vet darwin lint vulnerabilities shell workflows tidy fuse netcat promtool chromium jq
format:
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "format: gofmt -w is due for:" $$files >&2; exit 1; }

vet:
	@$(call in-each,$(OWN),go vet ./...)

# What a laptop runs; what only the pod runs is in files for Linux. No file is for one
# architecture alone.
darwin:
	@CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go vet ./sidecar/... && \
		CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go build -o /dev/null ./sidecar || \
		{ echo "darwin: the program does not build for macOS: what only the pod needs belongs into a file *_linux.go" >&2; exit 1; }

lint:
	@$(call in-each,$(OWN),go run $(LINT) run ./...)

# Only data that cannot be had is let pass: it is fetched before anything is
# searched, so nothing found can hide behind it.
define govulncheck
if out=$$(go run $(GOVULNCHECK) ./... 2>&1); then echo "vulnerabilities: $$folder: none known"; \
elif grep -q 'fetching vulnerabilities' <<<"$$out"; then \
	echo "vulnerabilities: $$folder: !!! NOT CHECKED, the data is out of reach:"; \
	grep 'fetching vulnerabilities' <<<"$$out"; \
else echo "$$out" >&2; exit 1; fi
endef

vulnerabilities:
	@$(call in-each,$(OWN),$(govulncheck))

# $(call need,COMMAND,PACKAGE) installs a Debian package when root may, and
# names it when not.
need = command -v $(1) >/dev/null || { \
	[ "$$(id -u)" = 0 ] || { echo "$@: $(1) is missing: install the package $(2)" >&2; exit 1; }; \
	apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $(2); }

# What the node is made of, beside what is built: containerd, runc and their
# network, the builder of its images, and what the scripts want.
NODE_PACKAGES = containerd:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins iptables:iptables \
	conntrack:conntrack buildah:buildah setcap:libcap2-bin /bin/busybox:busybox-static qemu-aarch64-static:qemu-user-static \
	skopeo:skopeo jq:jq openssl:openssl ip:iproute2 fusermount3:fuse3 git:git ssh-keygen:openssh-client

.PHONY: node-images
node-images: node-packages build servers
	@integration/node/images.sh bin/node

.PHONY: node-packages
node-packages:
	@[ "$$(id -u)" = 0 ] || { echo "e2e: a Kubernetes node needs root, for its namespaces and cgroups: sudo make e2e" >&2; exit 1; }
	@missing=; for each in $(NODE_PACKAGES); do \
		command -v "$${each%:*}" >/dev/null || [ -e "$${each%:*}" ] || missing+=" $${each#*:}"; done; \
	if [ -n "$$missing" ]; then \
		echo "e2e: installing Debian's packages:$$missing"; \
		apt-get -qq update; \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; fi

netcat:
	@$(call need,nc,netcat-openbsd)

promtool:
	@$(call need,promtool,prometheus)

chromium:
	@$(call need,chromium,chromium)

jq:
	@$(call need,jq,jq)

shell:
	@$(call need,shellcheck,shellcheck)
	@shellcheck $(SCRIPTS)

workflows:
	@go run $(ACTIONLINT)

# An untidy module of a server harms nobody, and to look takes minutes of downloads.
tidy:
	@$(call in-each,$(OWN),go mod tidy -diff)

fuse:
	@[ -e /dev/fuse ] || { \
		echo "fuse: /dev/fuse is missing: modprobe fuse, in a container pass the device in" >&2; exit 1; }
	@[ "$$(id -u)" = 0 ] || command -v fusermount3 >/dev/null || { \
		echo "fuse: fusermount3 is missing, without it only root can mount: install the package fuse3" >&2; exit 1; }
