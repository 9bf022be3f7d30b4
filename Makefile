# Blackstart. `make` shows what there is to do; `make test` runs everything, as CI does.

# Tools are pinned in tools/, built once into .bin and built again when their go.mod changes.
BIN   := .bin
OUT   := bin
GO    ?= go
MAKEFLAGS += --no-print-directory

GOLANGCI_LINT := $(BIN)/golangci-lint
BUF           := $(BIN)/buf
PROTOC_GEN    := $(BIN)/protoc-gen-go $(BIN)/protoc-gen-go-grpc

# What `make test` does, the quick and the telling first.
TEST_STEPS := deps build unit generate-check lint race sim-minute e2e machines

# Packages with tests behind //go:build e2e. Some of them want root.
E2E_PACKAGES = $(shell grep -rlE '^//go:build e2e\b' --include='*_test.go' --exclude-dir=.bin --exclude-dir=.git . | xargs -r -n1 dirname | sort -u)
# The tests in files whose build line begins with a tag; those of machines need e2e too, for the helpers that they share.
tests_behind = $$(grep -rlE '^//go:build $(1)\b' --include='*_test.go' --exclude-dir=.bin --exclude-dir=.git . | xargs -r grep -hoE '^func Test[A-Za-z0-9_]+' | sed 's/^func //' | sort)
# Packages that also run on Windows.
WINDOWS_PACKAGES := ./cmd/blackstart-agent ./agent ./agent/health

.DEFAULT_GOAL := help
.PHONY: help build test deps unit race lint breaking generate generate-check sim sim-minute mutants fuzz load crashes bench bench-go bench-footprint bench-peers e2e machines clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build both binaries into bin/, the agent for Windows too
	@mkdir -p $(OUT)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(OUT)/blackstart ./cmd/blackstart
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o $(OUT)/blackstart-agent ./cmd/blackstart-agent
	CGO_ENABLED=0 GOOS=windows $(GO) build -trimpath -ldflags='-s -w' -o $(OUT)/blackstart-agent.exe ./cmd/blackstart-agent

test: ## Run everything: unit, race, lint, generate-check and e2e, with what they need installed
	@begin=$$(date +%s); report=; \
	for step in $(TEST_STEPS); do \
		echo "==> $$step"; from=$$(date +%s); \
		$(MAKE) $$step || { echo "make test: FAILED at $$step after $$(($$(date +%s) - begin)) s (passed:$${report:- nothing})"; exit 1; }; \
		report="$$report $$step $$(($$(date +%s) - from))s"; \
	done; \
	echo "make test: passed in $$(($$(date +%s) - begin)) s:$$report"

deps: ## Install what the tests with real components need (Debian, root)
	@sh tools/install-test-deps.sh

unit: ## Run the quick tests: no root, no network; names what it leaves out
	$(GO) test ./...
	@echo "left out here (make e2e runs them):" $(call tests_behind,e2e)
	@echo "left out here (make machines runs them):" $(call tests_behind,machines)

race: ## Run the quick tests under the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout 10m ./...

# One package after the other: they play stories against the clock and would slow each other down. Those that wait for programs
# and for machines of their own do not mind each other.
PATIENT_PACKAGES := ./server/netboot ./server/power ./server/redfish ./server/rescue

e2e: ## Run the end-to-end tests against real components
	@test -n "$(E2E_PACKAGES)" || { echo "e2e: no test file with //go:build e2e was found, so nothing was proven end to end" >&2; exit 1; }
	$(GO) test -tags e2e -count=1 -p 1 -timeout 10m $(filter-out $(PATIENT_PACKAGES),$(E2E_PACKAGES))
	$(GO) test -tags e2e -count=1 -p 3 -timeout 20m $(filter $(PATIENT_PACKAGES),$(E2E_PACKAGES))

# Software emulation: no KVM is needed. The first run fetches Debian packages into the user's cache folder.
machines: ## Recover virtual machines whose kernels really panic (Debian, root; about five minutes on two cores)
	$(GO) test -tags e2e,machines -count=1 -run '^TestMachine' -timeout 25m ./cmd/blackstart

# Each time other seeds, unless SIM_SEED says which; the seconds of this century keep them apart.
SIM_SEED ?= $(shell date +%s)00000
SIM_SMALL ?= 3m
SIM_FULL ?= 1m
sim: ## Doubt the engine: thousands of simulated incidents with crashes, lies and late answers (four minutes; docs/track-record.md)
	$(GO) run ./cmd/blackstart-sim --for $(SIM_SMALL) --seed $(SIM_SEED)
	$(GO) run ./cmd/blackstart-sim --for $(SIM_FULL) --seed $(SIM_SEED) --hosts 934

sim-minute: ## A minute of the same, always from seed 1
	@$(MAKE) sim SIM_SEED=1 SIM_SMALL=45s SIM_FULL=15s

mutants: ## Put one fault at a time into the engine and see which promise kills it (about ten minutes)
	$(GO) test -tags mutants -count=1 -run '^TestMutants$$' -timeout 2h -v ./server/sim

FUZZTIME ?= 30s
fuzz: ## Fuzz every reader of foreign text, one after the other, FUZZTIME each (about fifteen minutes)
	@grep -rl '^func Fuzz' --include='*_test.go' --exclude-dir=.bin . | sort | while read f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$f); do \
			echo "==> $$t in $$(dirname $$f)"; \
			$(GO) test -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 300x $$(dirname $$f) || exit 1; \
		done; \
	done

# Wants a quiet machine: the agents share it with the coordinator.
load: ## Put 10,000 agents and 200 bad ones on one coordinator, and kill it under them (about ten minutes)
	BLACKSTART_LOAD_AGENTS=10000 BLACKSTART_LOAD_BAD=200 BLACKSTART_LOAD_WINDOW=30s $(GO) test -tags e2e -count=1 -run '^TestLoad$$' -timeout 30m -v ./server

crashes: ## Kill the real coordinator 300 times over one incident (about fifteen minutes)
	BLACKSTART_CRASH_KILLS=300 $(GO) test -tags e2e -count=1 -run '^TestCrashesOverOneIncident$$' -timeout 60m -v ./server

lint: $(GOLANGCI_LINT) $(BUF) breaking ## Check code, architecture and proto
	$(BUF) lint
	$(BUF) format --exit-code --diff
	$(GOLANGCI_LINT) run ./...
	GOOS=windows CGO_ENABLED=0 $(GOLANGCI_LINT) run $(WINDOWS_PACKAGES)

breaking: $(BUF) ## Check that the wire still understands older agents
	@sh tools/breaking-check.sh

generate: $(BUF) $(PROTOC_GEN) ## Write generated code anew
	@sh tools/generate.sh

generate-check: $(BUF) $(PROTOC_GEN) ## Fail when committed generated code is stale
	@sh tools/generate-check.sh

bench: bench-go bench-footprint bench-peers ## Run every benchmark (docs/benchmarks.md): minutes for the code, then hours for bench-peers

bench-go: ## Run the code's own benchmarks, the planner first
	$(GO) test -run "^$$" -bench NewPlan -benchmem ./server/recovery
	$(GO) test -run "^$$" -bench . -benchmem ./...

bench-footprint: ## Put appends beside raw bbolt, and 934 and 10,000 connected agents beside bare gRPC streams (about an hour)
	$(GO) test -tags bench -count=1 -p 1 -run '^Test(AppendsBesideRawBolt|AgentsFootprint)$$' -timeout 3h -v ./server/journal ./server

# Needs Debian, root, a quiet machine and about three hours on two cores; installs what it compares with. A quick look takes a minute:
#   make bench-peers BLACKSTART_BENCH_HOSTS=60 BLACKSTART_BENCH_RUNS=1 BLACKSTART_BENCH_FANOUTS=16 BLACKSTART_BENCH_SCENARIOS=sshd
bench-peers: ## Run a script on 934 hosts with Blackstart, clush, pssh, Ansible and a bare loop (Debian, root; about three hours)
	@sh tools/install-bench-deps.sh
	$(GO) test -tags bench -count=1 -run '^TestPeers' -timeout 8h -v ./cmd/blackstart

clean: ## Remove what was built
	rm -rf $(BIN) $(OUT)

# The tools. They run here, whatever GOOS the caller asked for.
TOOL_BUILD = GOOS= GOARCH= GOFLAGS=-mod=readonly GOWORK=off $(GO) build -trimpath -ldflags='-s -w' -o $(abspath $@)

$(GOLANGCI_LINT): tools/lint/go.mod tools/lint/go.sum
	@echo "building golangci-lint (once, about two minutes)"
	@cd tools/lint && $(TOOL_BUILD) github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BUF): tools/go.mod tools/go.sum
	@echo "building buf (once, about a minute)"
	@cd tools && $(TOOL_BUILD) github.com/bufbuild/buf/cmd/buf

$(BIN)/protoc-gen-go: tools/plugins/go.mod tools/plugins/go.sum
	@cd tools/plugins && $(TOOL_BUILD) google.golang.org/protobuf/cmd/protoc-gen-go

$(BIN)/protoc-gen-go-grpc: tools/plugins/go.mod tools/plugins/go.sum
	@cd tools/plugins && $(TOOL_BUILD) google.golang.org/grpc/cmd/protoc-gen-go-grpc
