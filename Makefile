# Two words matter: `make run` shows the system at work on a real model, `make test` proves the repository.
# Everything else is a part of these. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# One check after another, also under `make -j`: they share two cores, and their output stays readable.
.NOTPARALLEL:

PYTHON ?= python3
BIN := .venv/bin
# More arguments for one run, such as: make pytest PYTEST_ARGS="tests/report -x", make run RUN_ARGS="--suite smoke"
PYTEST_ARGS ?=
RUN_ARGS ?=

# Runs one check under a heading, and says how long it took.
define section
@printf '\n==> %s\n' '$(1)'; SECONDS=0; \
$(2) || { code=$$?; printf '==> %s: FAILED after %s s\n' '$(1)' "$$SECONDS"; exit $$code; }; \
printf '==> %s: ok, %s s\n' '$(1)' "$$SECONDS"
endef

.PHONY: help run test setup check lint types layers docs docs-check audit sbom coverage-table pytest test-fast test-gpu bench \
	bench-quick bench-gpu bench-gate bench-counts bench-dashboard scale self-test rehearse chaos fuzz format lock stack dashboard demo clean distclean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

run: setup ## set up, then run the Airflow Dag run_canaries on a real model (SQLite, no service, no account)
	@$(BIN)/python -m model_health_airflow.local_run $(RUN_ARGS)

# mypy computes for a minute on one core, while tests begin: it has a log of its own, which is shown at the end.
test: setup lint layers docs-check ## set up, then every check and every test that needs no GPU (what CI runs)
	@log=$$(mktemp); failed=0; \
	$(MAKE) --no-print-directory types >"$$log" 2>&1 & types=$$!; \
	$(MAKE) --no-print-directory pytest || failed=1; \
	wait "$$types" || failed=1; cat "$$log"; rm -f "$$log"; exit "$$failed"

setup: ## create or complete .venv from the hashed lock; reuses what is there
	@command -v $(PYTHON) >/dev/null || { echo "setup: no '$(PYTHON)' on this machine (Python 3.11 or newer is needed)"; exit 2; }
	@$(PYTHON) setup_env.py setup

check: lint types layers docs-check audit ## every check that is not a test

lint: ## style, likely bugs, imports, docstrings
	$(call section,ruff check,$(BIN)/ruff check .)
	$(call section,ruff format,$(BIN)/ruff format --check .)

types: ## mypy, strict
	$(call section,mypy,$(BIN)/mypy)

layers: ## the import contracts
	$(call section,import contracts,$(BIN)/lint-imports --no-logo)

docs: ## write METRICS.md from the catalogue
	$(BIN)/python -m model_health.catalog.document > METRICS.md.tmp && mv METRICS.md.tmp METRICS.md

audit: ## .venv is what the lock says; advisories, where pip-audit is installed (secrets are searched by a test)
	$(call section,audit,$(BIN)/python setup_env.py audit)

sbom: ## print a software bill of materials (CycloneDX) of what the lock names: make -s sbom > sbom.cdx.json
	@$(PYTHON) setup_env.py sbom

coverage-table: setup ## judge every architecture of transformers again and write COVERAGE.md (minutes)
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m support.coverage_sweep --output ../COVERAGE.md

docs-check: ## METRICS.md and requirements.lock are as their sources say
	$(call section,METRICS.md,$(BIN)/python -m model_health.catalog.document --check)
	$(call section,requirements.lock,$(BIN)/python setup_env.py check-lock)

# Five processes at once on two cores: those of the first three mostly wait, for Airflow, services and servers; the
# fourth computes. What no line names is in the fifth.
WAITING := $(wildcard tests/airflow tests/dags)
STARTING := $(wildcard tests/test_*.py tests/plugins tests/cli)
SERVING := $(wildcard tests/delivery tests/sinks tests/monitors tests/alerting tests/dashboard)
COMPUTING := $(wildcard tests/capture tests/metrics tests/runner tests/replay tests/baseline tests/selftest tests/bench)
REST := $(filter-out $(WAITING) $(STARTING) $(SERVING) $(COMPUTING) tests/support tests/gpu tests/conftest.py tests/__pycache__,\
	$(wildcard tests/*))
# Where the environment forbids bytecode, each of the many children of the tests would compile our modules anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not gpu" --durations=15

pytest: ## every test that needs no GPU; with PYTEST_ARGS only what they name, in one process
ifeq ($(strip $(PYTEST_ARGS)),)
	@printf '\n==> pytest, in five processes\n'; SECONDS=0; logs=$$(mktemp -d); failed=0; \
	$(PYTEST) $(STARTING) >"$$logs/starting" 2>&1 </dev/null & starting=$$!; \
	$(PYTEST) $(SERVING) >"$$logs/serving" 2>&1 </dev/null & serving=$$!; \
	$(PYTEST) $(COMPUTING) >"$$logs/computing" 2>&1 </dev/null & computing=$$!; \
	$(PYTEST) $(REST) >"$$logs/rest" 2>&1 </dev/null & rest=$$!; \
	$(PYTEST) $(WAITING) || failed=1; \
	wait "$$starting" || failed=1; cat "$$logs/starting"; \
	wait "$$serving" || failed=1; cat "$$logs/serving"; \
	wait "$$computing" || failed=1; cat "$$logs/computing"; \
	wait "$$rest" || failed=1; cat "$$logs/rest"; rm -rf "$$logs"; \
	if [ "$$failed" != 0 ]; then printf '==> pytest: FAILED after %s s\n' "$$SECONDS"; exit 1; fi; \
	printf '==> pytest: ok, %s s\n' "$$SECONDS"
else
	$(call section,pytest,$(PYTEST) $(PYTEST_ARGS))
endif

test-fast: ## the tests that take a moment: no real model, no server
	$(call section,pytest,$(BIN)/python -m pytest -m "not gpu and not slow and not services and not e2e" $(PYTEST_ARGS))

test-gpu: ## the tests that need CUDA, with any Python that has torch, transformers and pytest: make test-gpu PYTHON=...
	PYTHONPATH=include:tests $(PYTHON) -m pytest -c /dev/null --rootdir . --import-mode=importlib -m gpu tests/gpu $(PYTEST_ARGS)

# Results of a benchmark that was interrupted count when it goes on; another folder starts afresh.
BENCH_OUT ?= .model-health/bench
BENCH_ARGS ?=
BENCH := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m model_health.bench
COUNTS := tests/bench/operation_counts.json

bench: setup ## measure everything and write BENCHMARKS.md (hours; BENCH_ARGS="--budget-minutes 60" bounds the cells)
	$(BENCH) matrix --out $(BENCH_OUT) $(BENCH_ARGS)
	$(BENCH) matrix --out $(BENCH_OUT) --how whole --presets again,standard --models llama-12 --batch 1,16 --prompt 256 --threads 1
	OMP_NUM_THREADS=1 $(BENCH) extras --json $(BENCH_OUT)/extras.json
	$(BENCH) render $(BENCH_OUT)/*.json $(COUNTS) > BENCHMARKS.md.tmp && mv BENCHMARKS.md.tmp BENCHMARKS.md

bench-quick: setup ## some minutes of it, printed: does watching cost roughly what it did?
	$(BENCH) matrix --out $(BENCH_OUT)-quick --models llama-12 --batch 1,16 --prompt 16,256 --threads 1 \
		--presets again,flags,standard --rounds 2 --processes 1 --memory-rounds 1 $(BENCH_ARGS)
	OMP_NUM_THREADS=1 $(BENCH) extras --parts suite --rounds 2 --json $(BENCH_OUT)-quick/extras.json
	$(BENCH) render $(BENCH_OUT)-quick/*.json

bench-gpu: ## the same on CUDA, with any Python that has torch, transformers and pydantic: make bench-gpu PYTHON=...
	PYTHONPATH=include $(PYTHON) -m model_health.bench matrix --out $(BENCH_OUT)-gpu --device cuda --models llama-1b,llama-8b \
		--dtypes bfloat16 --caches dynamic,static --batch 1,16,64 --prompt 16,256 --threads 1 --rounds 5 --processes 1 $(BENCH_ARGS)
	PYTHONPATH=include $(PYTHON) -m model_health.bench render $(BENCH_OUT)-gpu/*.json

# Counted operations are the same on every machine and fail the build. Times on a shared machine only inform.
bench-gate: setup ## fail if the probes add operations or waits; print what they add in time, and what rose
	$(call section,operations,$(BENCH) operations --check $(COUNTS))
	@mkdir -p $(BENCH_OUT)-gate; last=$(BENCH_OUT)-gate/last.json; \
	$(BENCH) cell --model llama-12 --batch 4 --prompt 64 --presets again,flags,standard --rounds 3 --memory-rounds 0 \
		--json "$$last.new" $$([ ! -f "$$last" ] || echo --against "$$last") && mv "$$last.new" "$$last" || true

bench-counts: setup ## count again and write what is expected from now on
	$(BENCH) operations --write $(COUNTS)

# On a CPU without instructions for bfloat16 one replay in it takes five times as long per text.
# More than one: DASHBOARD_INDEXES="sqlite:////... postgresql://..."; each is filled once, and then used again.
DASHBOARD_INDEXES ?= sqlite:///$(CURDIR)/$(BENCH_OUT)-dashboard/index.db

bench-dashboard: setup ## a year of 20 models in the index: how quick are the pages? (needs Chromium; writes DASHBOARD.md)
	mkdir -p $(BENCH_OUT)-dashboard
	cd tests && ../$(BIN)/python -m support.dashboard_benchmark $(foreach url,$(DASHBOARD_INDEXES),--index $(url)) \
		--out ../$(BENCH_OUT)-dashboard --markdown ../DASHBOARD.md $(BENCH_ARGS)

# Results that are there count: remove one to measure it again. Airflow's take half an hour each.
SCALE_OUT ?= .model-health/scale
SCALE := ../$(BIN)/python -m
SCALE_FILES := $(addprefix $(CURDIR)/$(SCALE_OUT)/,facts.json ingest-sqlite.json ingest-postgres.json hour-postgres.json \
	soak.json soak-postgres.json airflow-local.json airflow-celery.json)

scale: setup $(SCALE_FILES) ## measure what a fleet costs and where each part saturates, and write SCALE.md (two hours)
	$(BIN)/python -m model_health.bench.scale render --results $(SCALE_FILES) > SCALE.md.tmp && mv SCALE.md.tmp SCALE.md

%/facts.json:
	$(BIN)/python -m model_health.bench.scale facts --json $@

%/ingest-sqlite.json:
	$(BIN)/python -m model_health.bench.scale ingest --json $@

%/ingest-postgres.json:
	cd tests && $(SCALE) support.scale_postgres ingest --json $@

%/hour-postgres.json:
	cd tests && $(SCALE) support.scale_postgres hour --json $@

%/soak.json:
	$(BIN)/python -m model_health.bench.scale soak --json $@

%/soak-postgres.json:
	cd tests && $(SCALE) support.scale_postgres soak --json $@

%/airflow-local.json:
	cd tests && $(SCALE) support.airflow_scale --executor LocalExecutor --json $@.measured
	$(BIN)/python -m model_health.bench.scale airflow --measured $@.measured --json $@

%/airflow-celery.json:
	cd tests && $(SCALE) support.airflow_scale --executor CeleryExecutor --json $@.measured
	$(BIN)/python -m model_health.bench.scale airflow --measured $@.measured --json $@

SELF_TEST_ARGS ?= --dtype float32 --dtype bfloat16:items=4:longest=40:healthy=12:reduced

self-test: setup ## put faults into the real model, see whether they are noticed, and write SELF_TEST.md (an hour)
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE nice -n 5 $(BIN)/model-health self-test --model smollm2-135m --suite core \
		--markdown SELF_TEST.md $(SELF_TEST_ARGS)

REHEARSE_ARGS ?= --quick

rehearse: setup ## make candidates of the real model, see whether compare judges them rightly, and write COMPARE.md
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE nice -n 5 $(BIN)/model-health rehearse --model smollm2-135m --suite core \
		--markdown COMPARE.md $(REHEARSE_ARGS)

# Moments that were seen count when it goes on; another folder starts afresh.
CHAOS_OUT ?= .model-health/chaos
CHAOS_ARGS ?= --moments 200

chaos: setup ## kill -9 everything at random moments of runs, see what becomes of them, and write CHAOS.md (many hours)
	@mkdir -p $(CHAOS_OUT); cd tests && OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= \
		../$(BIN)/python -m support.chaos --out $(abspath $(CHAOS_OUT)) --markdown ../CHAOS.md $(CHAOS_ARGS)

fuzz: setup ## give ten thousand malformed inputs to whatever reads what others wrote, and count them (a quarter of an hour)
	$(call section,fuzz,PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest tests/fuzz --hypothesis-profile=fuzz --timeout=7200 $(PYTEST_ARGS))

format: ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## resolve requirements.in again into requirements.lock
	@$(BIN)/python setup_env.py lock

dashboard: setup ## show the runs at 127.0.0.1:8501
	$(BIN)/python dashboard/serve.py

STACK_ARGS ?=

stack: setup ## run docker-compose.yaml without Docker: PostgreSQL, Redis, Airflow with two workers, Prometheus, dashboard
	@$(BIN)/python -m model_health_airflow.stack $(STACK_ARGS)

# A folder of its own: the demonstration never mixes with real runs.
DEMO_OUT ?= .model-health/demo
DEMO_ARGS ?=

demo: setup ## make up a year of nights with incidents (synthetic), and show them at 127.0.0.1:8501
	$(BIN)/model-health demo --out $(DEMO_OUT) $(DEMO_ARGS)
	MODEL_HEALTH_HOME=$(DEMO_OUT) $(BIN)/python dashboard/serve.py

clean: ## remove what tools left behind; runs and .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist test-artifacts
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv, Airflow's database and the local runs
	rm -rf .venv .setup.lock .airflow .model-health
