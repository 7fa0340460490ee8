# Cognito user pool backup: everything a developer runs. `make` lists the targets.
# Needs Go, Node with npm, make and bash; `make setup` fetches the rest.

SHELL         := bash
.SHELLFLAGS   := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS     += --no-print-directory
.DELETE_ON_ERROR:

export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20

# What the demo's pool looks like and how fast the workflows may call Cognito.
USERS       ?= 500
USER_GROUPS ?= 105
SEED        ?= 1
TPS         ?= 25
# A folder with the AWS CLI's output of a real pool, instead of a made-up one.
FROM        ?=
# More flags for the demo, for example DEMO_FLAGS="-kill 2".
DEMO_FLAGS  ?=
# More for the CDK, in deploy, deploy-secondary, diff and destroy.
ARGS        ?=
# Where `make local` listens; its page has the next port.
PORT        ?= 4599

# The assembly that demo, local and tests deploy on the testbed, and what its
# synthesis adds to the context of cdk.json. cdk deploy takes cdk.json alone.
ASSEMBLY    ?= cdk.out
CONTEXT     ?= -c cognitoTps=$(TPS)

cdk := node_modules/.bin/cdk

lambda_sources := $(shell find lambdas internal -name '*.go' -not -name '*_test.go' 2>/dev/null)
stack_sources  := $(shell find stacks -type f -not -name '*_test.go' -not -path '*/testdata/*' 2>/dev/null) $(wildcard main.go)

# $(call need,command,what it is for and where it comes from)
need = @command -v $(1) >/dev/null 2>&1 || { echo "$(1) was not found: $(2)" >&2; exit 1; }

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make demo USERS=5000 USER_GROUPS=20 SEED=7 TPS=25, or FROM=<folder with the AWS CLI's output>"

.PHONY: need-go need-node
need-go:
	$(call need,go,install Go 1.26 or newer (https://go.dev/dl) and run make again.)

need-node:
	$(call need,node,install Node.js 20 or newer (https://nodejs.org) and run make again.)
	$(call need,npm,it comes with Node.js (https://nodejs.org); on Debian install the package npm. Then run make again.)

.PHONY: setup
setup: node_modules/.package-lock.json .build/modules ## fetch npm packages and Go modules

# npm writes this file last, so its date says whether node_modules is complete.
node_modules/.package-lock.json: package.json package-lock.json | need-node
	npm ci --no-audit --no-fund --no-update-notifier --loglevel=error
	@touch $@

.build/modules: go.mod go.sum | need-go
	@mkdir -p $(@D)
	go mod download
	@touch $@

.PHONY: build
build: dist/.built ## build the functions for AWS (linux/arm64) into dist/<step>/bootstrap

# One go command links all of them side by side. The flags make the output the
# same bytes on any machine, so that a deployment replaces only what changed,
# and an unchanged binary keeps its date.
dist/.built: $(lambda_sources) go.mod go.sum | .build/modules
	@mkdir -p .build/lambdas dist
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 go build -trimpath -buildvcs=false -tags lambda.norpc \
		-ldflags="-s -w -buildid=" -o .build/lambdas/ ./lambdas/...
	@for binary in .build/lambdas/*; do \
		step=$${binary##*/}; \
		if [ ! -d "lambdas/$$step" ]; then rm -rf "$$binary" "dist/$$step"; continue; fi; \
		mkdir -p "dist/$$step"; \
		cmp -s "$$binary" "dist/$$step/bootstrap" || cp "$$binary" "dist/$$step/bootstrap"; \
	done
	@touch $@

.PHONY: synth
synth: $(ASSEMBLY)/.synthesized ## synthesize the templates into cdk.out

# What the CDK says after a synthesis that went well, and what the jsii runtime
# says, without ending the line, when it was waited for twice.
not_news := -e '/^Runtime process exited abnormally: waitid: no child processes/{s///;/^$$/d;}' \
	-e '/^Successfully synthesized to /d' -e '/^Supply a stack id /d'

# Only when sources or context changed: what somebody edits under cdk.out by
# hand stays, and demo and tests run it. The testbed has an account of its own,
# whatever credentials there are.
$(ASSEMBLY)/.synthesized: $(stack_sources) cdk.json go.mod go.sum dist/.built .build/context$(subst /,-,$(ASSEMBLY)) | setup
	@echo "synthesizing the templates into $(ASSEMBLY)"
	@$(cdk) synth --app "CDK_DEFAULT_ACCOUNT= go run ." --quiet --output $(ASSEMBLY) $(CONTEXT) 2>&1 >/dev/null | sed $(not_news) >&2
	@touch $@

.PHONY: always
always:

.build/context$(subst /,-,$(ASSEMBLY)): always
	@mkdir -p $(@D)
	@echo '$(CONTEXT)' | cmp -s - $@ || echo '$(CONTEXT)' > $@

.PHONY: demo
demo: setup ## export, disaster, restore in the other Region, proof: all on this machine
	@mkdir -p .build
	@[ -x .build/demo ] || echo "Compiling the testbed and its AWS clients. That takes some minutes, the first time only."
	@go build -o .build/demo ./test/demo
	@assembly=$(ASSEMBLY); \
	if [ -n "$(FROM)" ]; then \
		pool=$$(.build/demo -from "$(FROM)" -print-pool-id); \
		assembly=.build/cdk.out-$$pool; \
		case $$pool in \
			us-west-2_*) secondary=us-east-1;; \
			us-gov-west-1_*) secondary=us-gov-east-1;; us-gov-*) secondary=us-gov-west-1;; \
			cn-north-1_*) secondary=cn-northwest-1;; cn-*) secondary=cn-north-1;; \
			*) secondary=us-west-2;; \
		esac; \
		$(MAKE) synth ASSEMBLY=$$assembly \
			CONTEXT="$(CONTEXT) -c primaryUserPoolId=$$pool -c secondaryRegion=$$secondary"; \
	else \
		$(MAKE) synth; \
	fi; \
	exec .build/demo -assembly "$$assembly" -users "$(USERS)" -groups "$(USER_GROUPS)" -seed "$(SEED)" -from "$(FROM)" $(DEMO_FLAGS)

.PHONY: local
local: setup synth ## the same testbed, kept running: a page to watch, an endpoint for the AWS CLI and SDKs
	@go build -o .build/local ./test/local
	@exec .build/local -assembly $(ASSEMBLY) -port $(PORT)

# The assembly that goes to AWS, apart from the one that the testbed deploys.
deployment := --output .build/cdk.deploy

.PHONY: deploy
deploy: setup ## deploy into your account; ARGS="-c key=value --profile name"
	$(cdk) deploy --all $(deployment) $(ARGS)

# Whatever the prefix is. Exclusively: the stacks before it may be in a Region
# that is down.
.PHONY: deploy-secondary
deploy-secondary: setup ## deploy only the secondary Region, the primary may be down; ARGS as for deploy
	$(cdk) deploy --exclusively '*-Secondary' $(deployment) $(ARGS)

.PHONY: diff
diff: setup ## what a deployment would change
	$(cdk) diff $(deployment) $(ARGS)

.PHONY: destroy
destroy: setup ## remove the stacks; table, buckets and keys stay, and are named; ARGS as for deploy
	$(cdk) destroy --all $(deployment) $(ARGS)
	@go run ./stacks/leftovers .build/cdk.deploy

# What the tests of pages drive. Without it they are skipped, but not in CI.
.PHONY: chromium
chromium: ## install Chromium where apt-get does (Debian, Ubuntu), for the tests of pages
	@for name in $(CHROMIUM) chromium chromium-browser google-chrome chrome; do \
		if command -v "$$name" >/dev/null 2>&1; then exit 0; fi; \
	done; \
	if ! command -v apt-get >/dev/null 2>&1; then \
		echo "Chromium was not found: install it from https://www.chromium.org, or name it by CHROMIUM=<path>." >&2; exit 1; \
	fi; \
	as_root=; if [ "$$(id -u)" != 0 ]; then as_root=sudo; fi; \
	$$as_root apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null

.PHONY: screenshots
screenshots: setup synth chromium ## take the pictures of the documentation anew
	SCREENSHOTS=docs/images go test -count=1 -timeout 40m -run TestPage ./test/local -update

# Root in a container gets it without asking; elsewhere nobody's machine is
# changed behind their back.
.PHONY: offer-chromium
offer-chromium:
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) chromium || echo "Chromium could not be installed: the tests of pages are skipped." >&2; fi

.PHONY: test
test: setup synth $(if $(CI),chromium,offer-chromium) ## all tests: unit, templates, whole workflows on the testbed
	go test -p 2 -timeout 40m ./...
	@echo; sed -n '/^## Findings of cdk-nag/,$$p' docs/permissions.md

.PHONY: lint
lint: setup ## gofmt, go vet, staticcheck, layer rules, links of the documentation
	@unformatted=$$(gofmt -l main.go internal lambdas stacks test); \
	if [ -n "$$unformatted" ]; then printf 'gofmt -w would change:\n%s\n' "$$unformatted" >&2; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	go tool depguard ./...
	go test -run TestLinks ./test/docs

# What bench measures; BENCH="-only simulation,cost,functions -sizes 10000 -processes 10000" is a quick one,
# -only simulation,rates,cost,functions measures parts again, and -cases with a
# regular expression single ones. What it does not measure keeps its figures.
BENCH ?=

.PHONY: bench
bench: setup synth ## measurements: rates, durations, cost, memory, in docs/benchmarks.md
	@mkdir -p .build
	@go build -o .build/bench-figures ./test/bench
	@.build/bench-figures $(BENCH)

# How many runs a fault campaign has. Each has a seed of its own, from SEED on.
RUNS ?= 20

.PHONY: faults
faults: setup synth ## exports and imports under drawn faults; RUNS=200, or RUNS=1 SEED=<seed> to replay one
	@mkdir -p .build
	@go build -o .build/faults ./test/faults
	@.build/faults -runs $(RUNS) -seed $(SEED) -keep .build/faults-kept -into docs/benchmarks.md

# How long each fuzz target runs.
FUZZTIME ?= 60s

.PHONY: fuzz
fuzz: setup ## what reads foreign input, fed with anything; histories of a pool, drawn at random
	@grep -rl --include='*_test.go' '^func Fuzz' internal stacks test/fuzz | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$file); do \
			echo "$$target of $$(dirname $$file)"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
		done; \
	done
	go test -count=1 -timeout 60m -run 'TestEveryRestorePoint|TestRecordsOfAChangingPool' ./internal/export -rapid.checks=2000

.PHONY: clean
clean: ## remove what was built (not node_modules, not the Go caches)
	rm -rf .build dist cdk.out
