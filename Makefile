PYTHON ?= python3
BIN := .venv/bin
# Both may be set in the environment.
export PYTEST_WORKERS ?= 2

.PHONY: setup lock demo up test lint format bench docs

setup: .venv/ready  ## make the virtual environment and install what is locked

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && touch $@

lock:  ## write requirements/*.txt anew from pyproject.toml
	./requirements/lock

demo: setup  ## the whole path once, on embedded services; FAST=1 for a shorter training
	$(BIN)/tunery demo $(if $(FAST),--fast)

up: setup  ## everything on this machine, with the demo's data, until Ctrl-C
	$(BIN)/tunery demo --stay

# It pins versions that others of ours can't live with. Without it, its tests skip; where CI is set, they fail.
.venv/clairvoyance/ready: .venv/ready
	-$(PYTHON) -m venv .venv/clairvoyance && .venv/clairvoyance/bin/python -m pip install --quiet --disable-pip-version-check clairvoyance==2.5.5 && touch $@

# As mem0 uses it; its own environment, because it would add a dozen packages to ours.
.venv/qdrant/ready: .venv/ready
	-$(PYTHON) -m venv .venv/qdrant && .venv/qdrant/bin/python -m pip install --quiet --disable-pip-version-check qdrant-client==1.20.0 && touch $@

test: setup .venv/clairvoyance/ready
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

lint: setup
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: setup
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup
	$(MAKE) $(patsubst benchmarks/%.py,bench-%,$(filter-out benchmarks/measure.py,$(wildcard benchmarks/*.py))) \
		$(patsubst benchmarks/%/__main__.py,bench-%,$(wildcard benchmarks/*/__main__.py))

bench-memory: .venv/qdrant/ready

bench-%: setup  ## one of them, e.g. bench-tokenization; LARGE=1 for the long version
	$(BIN)/python $(if $(wildcard benchmarks/$*/__main__.py),-m benchmarks.$*,benchmarks/$*.py)

docs: setup
	$(BIN)/mkdocs build --strict
