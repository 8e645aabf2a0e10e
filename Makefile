.DEFAULT_GOAL := help
SHELL := /bin/bash
SUITE ?=

help: ## Say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

run: plugins ## Build what is needed and run a gateway to try things out
	tests/lab/install protobuf
	cargo build --locked --workspace --bin witgate --bin lab
	target/debug/lab run -- target/debug/witgate dev

test: ## Prove it against the real programs; SUITE=identity|apiserver|prometheus|storage|recovery|plugins|author|deploy|state|run for one of them
	tests/run $(SUITE)

check: ## Format, lints and unit tests
	tests/check

lab: ## Start every program of the test lab, and stop them on Ctrl-C
	tests/lab/install
	cargo run --locked -q -p witgate-lab

soak: ## Lose nothing for minutes while everything fails, for each backend; SECONDS=300
	tests/lab/install && plugins/build
	cargo build --locked --workspace --bin witgate
	WITGATE_SOAK_SECONDS=$(or $(SECONDS),300) cargo test --locked --workspace --test prometheus nothing_lost -- \
		--nocapture --test-threads 1

fuzz: ## Fuzz a decoder: TARGET=write_v2 SECONDS=300
	tests/fuzz/run $(TARGET) $(SECONDS)

bench: ## Measure the figures of tests/bench/README.md
	tests/bench/run

plugins: ## Build the plugins' components into plugins/dist
	plugins/build

.PHONY: help run test check lab soak fuzz bench plugins
