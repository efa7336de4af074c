PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: train test lint check format clean bench bench-quick

train: $(VENV)/.train  ## set up, then train a small ROSS3D on generated rooms; writes runs/rooms
	$(BIN)/python examples/train_ross3d.py $(ARGS)

test: $(VENV)/.dev  ## set up, then run every test
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --cov=ross3d $(ARGS)

BENCH := $(BIN)/python -m pytest -q -p no:cacheprovider
SECOND := $(addprefix benchmarks/test_,training_step.py geometry.py sampling.py voxels.py data.py)
FIRST := $(filter-out benchmarks/test_train.py $(SECOND),$(wildcard benchmarks/test_*.py))
QUICK := $(addprefix benchmarks/test_,tokens.py geometry.py grounding.py training_step.py)

bench: $(VENV)/.dev  ## run the benchmarks, a process per core; writes benchmarks/RESULTS.md and README's section
	mkdir -p .benchmarks && rm -f .benchmarks/*.json
	-$(BENCH) benchmarks/test_train.py --benchmark-json=.benchmarks/train.json
	-$(BENCH) $(SECOND) --benchmark-json=.benchmarks/second.json > .benchmarks/second.log 2>&1 & \
	$(BENCH) $(FIRST) --benchmark-json=.benchmarks/first.json > .benchmarks/first.log 2>&1; wait; \
	tail -n 30 .benchmarks/first.log .benchmarks/second.log
	$(BIN)/python -m benchmarks.report .benchmarks/*.json --readme README.md

bench-quick: $(VENV)/.dev  ## the same in two minutes: some of them, shown and not kept
	mkdir -p .benchmarks/quick
	-ROSS3D_BENCH_FLEX=0 $(BENCH) $(QUICK) -k "not replica and not scaling" --benchmark-disable-gc \
		--benchmark-json=.benchmarks/quick/quick.json > .benchmarks/quick/quick.log 2>&1
	$(BIN)/python -m benchmarks.report .benchmarks/quick/quick.json -o .benchmarks/quick/RESULTS.md
	grep "^|" .benchmarks/quick/RESULTS.md | grep -v "not measured"

lint: $(VENV)/.dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

check: lint test  ## everything that has to pass before a commit

format: $(VENV)/.dev
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

$(VENV)/.train: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage dist build
