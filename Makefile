# Two commands matter: `make demo` and `make test`. Both set everything up; the second time is quick.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
REPO ?= .
QUESTION ?= How does publish switch CURRENT to the new generation?
CODEINTEL_HOME ?= $(CURDIR)/.codeintel
export CODEINTEL_HOME
export DAGSTER_HOME = $(CODEINTEL_HOME)/dagster
# Where it is set, every process compiles all of its source again (5 of the 12 CPU seconds of a small build, a third of
# `make unit`).
unexport PYTHONDONTWRITEBYTECODE
# FAISS for the CPU by default; FAISS=gpu installs the CUDA build instead (never both: they share a module).
FAISS ?= cpu

# vLLM for the CPU: 3 GB, so outside the main environment, and only for `make test-vllm`.
VLLM ?= $(CURDIR)/.vllm

.PHONY: setup demo test test-vllm unit conformance check fuzz dagster serve bench bench-history bench-quality bench-tuning bench-learning notebooks clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.installed

# --no-compile: bytecode is written for what is used, not for every file of every package; and here, so that no later
# command has to.
$(VENV)/.installed: pyproject.toml requirements/no-deps.txt requirements/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || { echo "CodeIntel needs Python 3.11: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq --disable-pip-version-check --no-compile -c requirements/constraints.txt -e '.[$(FAISS),dev]'
	$(BIN)/pip install -qq --disable-pip-version-check --no-compile --no-deps -r requirements/no-deps.txt
	$(BIN)/python -c "import codeintel_pipelines.definitions, codeintel_serving.hosting, \
	  faiss, onnxruntime, tokenizers, logging; logging.disable(); \
	  from dagster import DagsterInstance; DagsterInstance.local_temp()"
	@touch $@

demo: setup
	@REPO="$(REPO)" QUESTION="$(QUESTION)" BIN="$(BIN)" deploy/demo.sh

# Half of the time a test waits (processes, Dagster, git), so two run beside each other; those of one file stay together.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_OPTIONS)

unit: setup
	$(BIN)/python -m pytest -m "not e2e" -n 2 --dist loadfile

# Slow and optional (docs/vllm.md): a real vLLM in all three roles.
test-vllm: setup $(VLLM)/.installed
	CODEINTEL_VLLM_PYTHON="$(VLLM)/bin/python" $(BIN)/python -m pytest tests/vllm

$(VLLM)/.installed: requirements/vllm.txt requirements/vllm-no-deps.txt
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install -qq --disable-pip-version-check --no-compile -r requirements/vllm.txt
	$(VLLM)/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps -r requirements/vllm-no-deps.txt
	@touch $@

# The official MCP suite and inspector; needs npm. Expected failures: tests/conformance/expected-failures.yml.
conformance: setup
	@BIN="$(CURDIR)/$(BIN)" tests/conformance/run.sh

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Requests made from the OpenAPI document, valid and not: 5,000 of them.
fuzz: setup
	CODEINTEL_FUZZ_CASES=5000 $(BIN)/python -m pytest tests/serving/api/test_fuzz.py

dagster: setup
	@mkdir -p "$(DAGSTER_HOME)" && cp dagster.yaml "$(DAGSTER_HOME)/dagster.yaml"
	$(BIN)/dagster dev

serve: setup
	$(BIN)/codeintel serve

# SUBJECTS="queries serving" measures those; the tables of docs/performance.md are written from what is stored.
bench: setup
	$(BIN)/python -m benchmarks $(if $(SUBJECTS),--only $(SUBJECTS))

# The trend of every ratio; fails when one got worse than the median of its former runs.
bench-history: setup
	$(BIN)/python -m benchmarks --history $(SUBJECTS)

# Evaluation sets and clones that are not on disk are skipped, and said so (CODEINTEL_EVAL_DATA, CODEINTEL_EVAL_CLONES).
bench-quality: setup
	$(BIN)/python -m benchmarks.quality

# The tuned numbers on data they were not chosen on: leave one set out.
bench-tuning: setup
	$(BIN)/python -m benchmarks.tuning

# What learning from traces finds in simulated sessions, and what it leaves alone.
bench-learning: setup
	$(BIN)/python -m benchmarks.learning

# The outputs of docs/notebooks, of what CODEINTEL_HOME holds.
notebooks: setup
	$(BIN)/python -m docs.notebooks.execute

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
