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
files = $(addprefix benchmarks/test_,$(addsuffix .py,$(1)))
# What two at a time would disturb comes first, alone; whole steps and counts share the machine.
ALONE := $(call files,train denoiser tokens geometry voxels sampling bev bev_quality grounding)
STEPS := $(call files,training_step)
OTHERS := $(filter-out $(ALONE) $(STEPS),$(wildcard benchmarks/test_*.py))
QUICK := $(call files,tokens geometry grounding training_step)

bench: $(VENV)/.dev  ## run the benchmarks; writes benchmarks/RESULTS.md and README's section
	mkdir -p .benchmarks && rm -f .benchmarks/*.json
	-$(BENCH) $(ALONE) --benchmark-json=.benchmarks/alone.json
	-$(BENCH) $(STEPS) --benchmark-json=.benchmarks/steps.json > .benchmarks/steps.log 2>&1 & \
	$(BENCH) $(OTHERS) --benchmark-json=.benchmarks/others.json; wait; cat .benchmarks/steps.log
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
