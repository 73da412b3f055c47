# `make help` lists the targets. Options: PYTHON (3.11 or later), ARGS (for the command), JOBS (tests).
PYTHON ?= python3
ARGS ?=
JOBS ?= 3
BIN := .venv/bin
# One thread a worker: test processes with many BLAS threads each are slower than with one. Three on two
# cores: the tests of deployments mostly wait.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# A file's tests share processes and folders, so one worker runs them all, in order.
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install simulate test check lint types contracts docs pictures dist bench clean

help: ## list the targets
	@sed -n 's/^\([a-z.]*\):.*## /  make \1\t/p' Makefile | expand -t 18

install: .venv/installed ## make .venv with all that is pinned in constraints.txt

simulate: .venv/installed ## run a private federated simulation; ARGS="--epsilon 3 --seed 2"
	$(BIN)/fedprofile simulate $(ARGS)

test: .venv/installed ## run all tests
	$(PYTEST) $(ARGS)

check: lint types contracts ## lint, types, contracts and the fast tests
	$(PYTEST) -m "not slow" -q $(ARGS)

lint: .venv/installed ## rules and format of the source, by ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed ## types, by mypy
	$(BIN)/mypy

contracts: .venv/installed ## which package may import which, by import-linter
	$(BIN)/lint-imports

docs: .venv/installed ## the pages as a site in site/; a broken link is an error
	$(BIN)/mkdocs build --strict

pictures: .venv/installed ## the pictures of the node's page in docs/images/, of a made-up shop; needs Chromium
	$(BIN)/python -m tests.client.serving.http.page_pictures docs/images

# Without what an earlier build left: setuptools would pack files that are gone from the source.
dist: .venv/installed ## build wheel and sdist into dist/
	rm -rf build dist *.egg-info
	$(BIN)/python -m build
	rm -rf build *.egg-info

bench: .venv/installed ## measure time and memory, write docs/benchmarks.md
	$(BIN)/fedprofile bench $(ARGS)

clean: ## remove the environment and all caches; runs/ stays
	rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Runs again only when what is required or pinned changes; a failed install leaves no stamp.
.venv/installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "PYTHON=$(PYTHON) must be Python 3.11 or later; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; \
		exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev,docs]'
	@touch $@
