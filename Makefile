# The verbs of covpool: install demo serve check test bench results reference hooks clean.
# Every verb sets up what it needs; nothing has to be installed by hand but Python >= 3.11.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Idle compute threads sleep instead of spinning: on shared machines small tensors are far faster so.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install demo serve check test bench results reference hooks clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	touch $@

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py

serve: $(INSTALLED)
	$(BIN)/covpool serve

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two files at a time: most tests wait for processes of their own.
test: $(INSTALLED)
	$(BIN)/pytest --numprocesses 2 --dist loadfile

bench: $(INSTALLED)
	$(BIN)/python benchmarks/accumulate.py
	$(BIN)/python benchmarks/ntv3_profile.py
	$(BIN)/python benchmarks/ntv3_length.py
	$(BIN)/python benchmarks/pooling.py
	$(BIN)/python benchmarks/wide.py
	$(BIN)/python -m benchmarks.evo2_length
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/annotation.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/job_queue.py
	$(BIN)/python benchmarks/bulk.py

# Rewrites docs/results.md from the genomes in DATA.
DATA ?= ../shared/data

results: $(INSTALLED)
	$(BIN)/python scripts/results.py --data $(DATA)

# Rewrites docs/reference from the code; a test says when it is due.
reference: $(INSTALLED)
	$(BIN)/python scripts/document.py

# Checks before every commit and push of this clone; see .pre-commit-config.yaml.
hooks: $(INSTALLED)
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
