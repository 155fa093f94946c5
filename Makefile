# Everything runs in .venv; PYTHON picks the interpreter that makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKDIR ?= runs/quickstart
# Of `make theory`: where to, and --quick or --data_dir=DIR.
THEORY ?= runs/theory
THEORY_FLAGS ?=
# Any PyTorch will do; a CPU build is a tenth of the others.
TORCH ?= torch==2.13.0
INSTALLED := $(VENV)/.installed

.PHONY: install quickstart theory test test-slow test-torch lint benchmark clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"gan_jax needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; try: make PYTHON=python3.12 $(MAKECMDGOALS)" if v < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/python -m launch.quickstart --workdir=$(WORKDIR)

theory: $(INSTALLED)
	$(BIN)/python -m launch.theory --experiment=all --out=$(THEORY) $(THEORY_FLAGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m slow --ignore=tests/processes_test.py
	$(BIN)/python -m pytest -m slow tests/processes_test.py

# In an environment of its own: the committed fixtures are PyTorch's answers, and
# features and scores are those of the codes that everybody uses. By its path:
# torch-fidelity installs a package `tests`.
test-torch: .venv-torch/.installed
	PYTHONPATH=. .venv-torch/bin/python tests/make_torch_fixtures.py --check
	.venv-torch/bin/python -m pytest tests/torch_*_test.py

.venv-torch/.installed: Makefile pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --upgrade pip
	.venv-torch/bin/python -m pip install --quiet -e '.[train,fidelity]' pytest $(TORCH)
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

benchmark: $(INSTALLED)
	$(BIN)/python -m launch.benchmark

clean:
	rm -rf $(VENV) .venv-torch build *.egg-info runs
