# Everything a newcomer needs: `make demo`, `make test`. `make help` lists the rest.
SHELL := /bin/bash
PY := .venv/bin/python
STATE ?= $(HOME)/.local/state/goalkeeper-demo
KILLS ?= 200
SEED ?=

.PHONY: help setup engine demo test check bench bench-long bench-peers chaos lock lock-peers format clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.synced ## virtual environment with the locked dependencies

.venv/.synced: requirements.txt pyproject.toml deploy/setup.sh
	@bash deploy/setup.sh

engine: ## Docker Engine and the base image, where they are missing
	@bash deploy/engine.sh
	@bash deploy/base_image.sh

demo: setup engine ## one real goal on real parts, from its plan to the running service
	@.venv/bin/goalkeeper --state $(STATE) demo

test: setup engine ## every test, with the servers that they need
	@$(PY) -m pytest -q

check: setup ## ruff, mypy --strict, import-linter
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check -q .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo

bench: setup engine ## the benchmarks, as one JSON object (six minutes)
	@.venv/bin/goalkeeper bench --json

bench-long: setup engine ## also the storm of goals, goals of 10,000 tasks and 10,000 waiting goals
	@.venv/bin/goalkeeper bench --all --json

bench-peers: setup ## the same work on Prefect and DBOS, in an environment of their own
	@$(PY) -m deploy.bench_peers.compare

chaos: setup engine ## kill -9 of every process at random: KILLS=200 SEED=…
	@$(PY) -m tests.chaos.storm --kills $(KILLS) $(if $(SEED),--seed $(SEED))

lock: setup ## pin every dependency anew, with hashes
	@.venv/bin/uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header -q -o requirements.txt

lock-peers: setup ## pin what bench-peers compares with
	@.venv/bin/uv pip compile deploy/bench_peers/requirements.in --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header -q -o deploy/bench_peers/requirements.txt

format: setup ## let ruff write the layout
	@.venv/bin/ruff check --fix -q .
	@.venv/bin/ruff format -q .

clean: ## remove what the targets above made in this folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
