# fleet: make alone prints what there is to make.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := help

VERSION := 2.0.0-dev
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
# The commit's time, not the clock's: the same code makes the same files.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
DATE    := $(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.buildDate=$(DATE)

# What is costly to make and may outlive a checkout: tools, the hosts' root
# filesystem.
export FLEET_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/fleet
GOLANGCI := $(FLEET_CACHE)/tools/golangci-lint-v2.15.0

VULNCHECK := $(FLEET_CACHE)/tools/govulncheck-v1.8.0
ACTIONLINT := $(FLEET_CACHE)/tools/actionlint-v1.7.12

NFPM := $(FLEET_CACHE)/tools/nfpm-v2.43.4
# What is made for another machine lies apart: the tests want this one's.
BIN := bin$(if $(GOARCH),/$(GOARCH))
OUT := dist/out$(if $(GOARCH),/$(GOARCH))

.PHONY: help
help: ## print this
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/fleetd and bin/fleetctl, static
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./fleetd ./fleetctl

.PHONY: packages
packages: build tools $(NFPM) ## dist/out: a .deb, an .rpm and a systemd-sysext image (GOARCH=arm64 for another machine)
	@VERSION='$(VERSION)' ARCH=$$(go env GOARCH) EPOCH=$(SOURCE_DATE_EPOCH) NFPM=$(NFPM) BIN=$(BIN) OUT=$(OUT) dist/packages/build

# Newer ones need modules that the Go proxy doesn't have.
$(NFPM):
	@echo "building nfpm v2.43.4 (about a minute, once)"
	@mkdir -p $(dir $@)
	GOARCH= GOBIN=$(dir $@)new-nfpm go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
	mv $(dir $@)new-nfpm/nfpm $@
	rmdir $(dir $@)new-nfpm

.PHONY: test
test: unit sim mutants functional ## every test there is, on real hosts too (as root)

.PHONY: unit
unit: tools ## the tests that need no host, under the race detector
	go vet ./...
	go test -race -timeout 10m $$(go list ./... | grep -v '/functional')
# Uncached: go does not see that files outside of a module have changed.
	for module in dist/check bench/swarmkit bench/plot; do (cd $$module && go vet ./... && go test -count=1 ./...); done

# Which worlds: so many from 1 on, or from-to. SEED runs one of them, LARGE one of those
# of 2,000 machines; TRACE=1 tells all that happens in it.
SEEDS ?= 2000
one = $(if $(filter command environment,$(origin $(1))),$($(1))-$($(1)),$(2))

.PHONY: sim
sim: ## whole clusters in simulation, under the faults that SEEDS (2000; or 2001-9000) draw; SEED=7 TRACE=1 (LARGE=1 TRACE=1) replays one
	go test -count=1 -timeout 60m -v -run '^Test($(if $(call one,LARGE),Large,Seeds$(if $(call one,SEED),,|Large)))$$' ./engine/simulation -args -large=$(call one,LARGE,1) -seeds=$(call one,SEED,$(SEEDS)) $(if $(TRACE),-trace)

# How long each; 20000x is so many inputs.
FUZZTIME ?= 10m

# What a fuzzer finds interesting is kept in the cache, for the next run to go on from;
# what it finds wrong, in the package's testdata/fuzz, where it is to be committed.
.PHONY: fuzz
fuzz: ## send every parser and service whatever comes to mind, for FUZZTIME (10m) each
	@for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' $$file); do \
			dir=$$(dirname $$file); echo "$$name of $$dir"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./$$dir -args -test.fuzzcachedir=$(FLEET_CACHE)/fuzz/$$dir; \
		done; \
	done

.PHONY: mutants
mutants: ## break the source in six ways, one at a time: the simulation must notice each, and nothing else
	go run ./engine/simulation/mutants

.PHONY: functional
functional: packages ## the tests on three real hosts (as root)
	@[ "$$(id -u)" = 0 ] || echo "real hosts need root: without it, the tests on them are skipped" >&2
# One package after the other, for each result to be seen when it is there.
	go test -count=1 -timeout 30m -p 1 -v ./functional/... | grep --line-buffered -v '^=== '

FAULTS_OUT := dist/out/faults

.PHONY: test-faults
test-faults: packages ## every fault that is promised to do no harm, on real hosts: one table (as root, under 40 minutes)
	rm -rf $(FAULTS_OUT)
	go test -count=1 -timeout 60m -v ./functional/faults -faults=all | grep --line-buffered -v '^=== '

.PHONY: faults-docs
faults-docs: ## put the table of the last make test-faults into docs/reliability.md
	go run ./functional/faults/table -docs docs/reliability.md

# How long, and what draws its faults and commands.
SOAK ?= 1h
SEED ?= $(shell date +%s)

.PHONY: soak
soak: packages ## three real hosts under random faults and random operators for SOAK (1h), and what that leaves behind (as root)
	go run ./functional/soak -for $(SOAK) -seed $(SEED) -dir dist/out/soak

.PHONY: soak-docs
soak-docs: ## put the tables of the last make soak into docs/reliability.md
	go run ./functional/soak -docs docs/reliability.md -dir dist/out/soak

.PHONY: tools
tools:
	@.ci/install

.PHONY: lint
lint: $(GOLANGCI) $(ACTIONLINT) ## go vet, staticcheck and more
	$(GOLANGCI) run ./...
	$(ACTIONLINT) -shellcheck= -pyflakes=
	for module in dist/check bench/swarmkit bench/plot; do (cd $$module && $(GOLANGCI) run ./...); done

$(GOLANGCI):
	@echo "building golangci-lint v2.15.0 (about two minutes, once)"
	@mkdir -p $(dir $@)
	GOBIN=$(dir $@)new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv $(dir $@)new/golangci-lint $@
	rmdir $(dir $@)new

$(ACTIONLINT):
	@mkdir -p $(dir $@)
	GOBIN=$(dir $@)new-actionlint go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	mv $(dir $@)new-actionlint/actionlint $@
	rmdir $(dir $@)new-actionlint

.PHONY: vulncheck
vulncheck: $(VULNCHECK) ## what is known of vulnerabilities in what fleet is made of, by vuln.go.dev
	@.ci/vulncheck $(VULNCHECK)

# A newer one needs a module that the Go proxy doesn't have.
$(VULNCHECK):
	@mkdir -p $(dir $@)
	GOBIN=$(dir $@)new-govulncheck go install golang.org/x/vuln/cmd/govulncheck@v1.8.0
	mv $(dir $@)new-govulncheck/govulncheck $@
	rmdir $(dir $@)new-govulncheck

.PHONY: fmt
fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: docs
docs: ## what is made of the commands themselves: docs/fleetctl.md, dist/man, dist/completions
	go test -count=1 -run 'TestReferenceIsCurrent|TestManPagesAreCurrent' ./fleetctl ./fleetd -update

# What make bench runs, in this order. Each part writes what it measured there.
BENCHES := planner swarmkit fleetctl cluster crowd hosts go
BENCH_OUT := dist/out/bench

.PHONY: bench
bench: packages ## speed, beside floors and peers of the same run: one table (as root, 15 to 40 minutes)
	@bench/run $(BENCH_OUT) $(BENCHES)

.PHONY: bench-docs
bench-docs: ## put the table and the plot of the last make bench into docs/performance.md
	go run ./bench/table -docs docs/performance.md $(wildcard $(BENCHES:%=$(BENCH_OUT)/%.json))
	cp $(BENCH_OUT)/performance.svg docs/performance.svg

.PHONY: bench-planner
bench-planner: ## the planner alone: a million units on ten thousand machines
	go run ./bench/planner -out $(BENCH_OUT)/planner.json

.PHONY: bench-swarmkit
bench-swarmkit: ## SwarmKit's scheduler, beside the planner of the last bench-planner
	cd bench/swarmkit && go run . -out ../../$(BENCH_OUT)/swarmkit.json -fleet ../../$(BENCH_OUT)/planner.json

.PHONY: bench-fleetctl
bench-fleetctl: build ## the shipped fleetctl: its start, and a list of 100 units
	go run ./bench/fleetctl -fleetctl $(BIN)/fleetctl -out $(BENCH_OUT)/fleetctl.json

.PHONY: bench-cluster
bench-cluster: build ## a real etcd, the real engine and API, a thousand simulated agents
	go run ./bench/cluster -out $(BENCH_OUT)/cluster.json

.PHONY: bench-crowd
bench-crowd: build ## the same with five thousand agents
	go run ./bench/cluster -agents 5000 -out $(BENCH_OUT)/crowd.json

.PHONY: bench-hosts
bench-hosts: packages ## start, stop, failover and idleness on three real hosts (as root)
	go run ./bench/hosts -out $(BENCH_OUT)/hosts.json

# How long each; longer is more precise.
BENCHTIME ?= 0.3s

.PHONY: bench-go
bench-go: ## go test -bench of the hot paths, for benchstat: dist/out/bench/go.txt
	@mkdir -p $(BENCH_OUT)
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) $$(go list ./... | grep -v '/functional') | tee $(BENCH_OUT)/go.txt

.PHONY: demo
demo: packages ## three bare hosts, one cloud-config, a docker service that survives the loss of its host
	go run ./functional/demo up

.PHONY: demo-down
demo-down: ## remove what make demo left
	go run ./functional/demo down

.PHONY: clean
clean: ## remove what was built here (not the cache, ~/.cache/fleet)
	rm -rf bin dist/out functional/failed
