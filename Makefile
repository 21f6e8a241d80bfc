# Every target sets up what it needs; `make demo` and `make test` are all a fresh machine has to run.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BUF := $(VENV)/buf/node_modules/.bin/buf
BUF_VERSION := 1.75.0
WORKERS ?= 2
ENGINE_VENV ?= $(VENV)-engine

.PHONY: setup demo test outside check fmt proto proto-lint golden calibration bench study tokens-study sweep-bundle sweeps-study engines record clean

setup: $(VENV)/.installed

# torch first and pinned: an unpinned torch may bring gigabytes of CUDA libraries with it
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/inference-audit demo

# two files at a time, each in one process: what a file shares is made once
test: setup outside
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(T)

# the npm verifier of the tests in tests/outside; a machine without npm says so and goes on
outside: setup
	@if command -v npm >/dev/null; then \
		test -d $(VENV)/outside/node_modules || { mkdir -p $(VENV)/outside && \
		cp tests/outside/package.json tests/outside/package-lock.json $(VENV)/outside/ && \
		npm ci --silent --no-audit --no-fund --prefix $(VENV)/outside >/dev/null; }; \
	else echo "outside verifier: skipped, no npm on this machine"; fi

check: setup proto-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_protos.py --check
	$(BIN)/python -m pytest tests/unit/test_house.py

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: setup
	$(BIN)/python scripts/generate_protos.py

# buf comes from npm; a machine without npm says so and goes on
proto-lint: setup
	@if command -v npm >/dev/null; then \
		test -x $(BUF) || npm install --silent --no-save --prefix $(VENV)/buf @bufbuild/buf@$(BUF_VERSION) >/dev/null; \
		$(BUF) lint && echo "buf lint: clean"; \
	else echo "buf lint: skipped, no npm on this machine"; fi

golden: setup
	$(BIN)/python -m tests.golden.regenerate

# each honest set-up under its own name: what a provider may run and still be honest
HONEST_VARIANTS := \
	$(foreach n,1 16,$(foreach p,a b c,$(addprefix batch-$n=,$(wildcard examples/study/calibration-batch-$n-$p.jsonl.gz)))) \
	$(foreach n,1 16,batch-$n=examples/traffic/honest-vllm-fp32-calibration-batch-$n.jsonl) \
	transformers-batch-1=examples/traffic/honest-transformers-calibration.jsonl

calibration: setup
	$(BIN)/inference-audit calibrate --model examples/model --out examples/calibration/example.json \
		$(addprefix --traffic ,$(HONEST_VARIANTS)) \
		--generate examples/calibration/prompts.txt --generate-profile torch-cpu-exponential

bench: setup
	$(BIN)/python benchmarks/check_throughput.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/log_throughput.py
	$(BIN)/python benchmarks/log_throughput.py --database postgresql
	$(BIN)/python benchmarks/report_memory.py

study: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[study]'
	$(BIN)/python -m benchmarks.study $(if $(QUICK),--quick)
	$(BIN)/python benchmarks/detection.py
	INFERENCE_AUDIT_MACHINE_EXAMPLES=$(if $(QUICK),200,1000) $(BIN)/python -m pytest tests/property/test_log_machine.py

# docs/study/hidden-tokens.md, on the data beside the repository; half an hour on two cores
tokens-study: setup
	$(BIN)/python benchmarks/hidden_tokens/channels.py
	$(BIN)/python benchmarks/hidden_tokens/estimator.py --seed 7
	$(BIN)/python benchmarks/hidden_tokens/streams.py --factors 1 1.25 1.5
	$(BIN)/python benchmarks/hidden_tokens/recount.py
	$(BIN)/python benchmarks/hidden_tokens/palace.py --domains math --max-train 300 --max-held-out 100 --epochs 3 --grpo-steps 6

# text-mmd and conformal-rank are left out: they take minutes an endpoint and see no copy of so small a model
EXAMPLE_DETECTORS := border-greedy/1 border-seeded/1 logprob-kl/1 logprob-tracking/1 logprob-binding/1 \
	candidate-ratio/1 one-token-cells/1

# examples/calibration/sweeps.json: what honest endpoints of the example model look like, to each detector
sweep-bundle: setup
	$(BIN)/inference-audit sweep calibrate --model examples/model --also-honest float32 --effort 0.5 \
		$(addprefix --detector ,$(EXAMPLE_DETECTORS)) --out examples/calibration/sweeps.json

# docs/study/sweeps.md; an hour on two cores, and real vLLM servers where `make engines` has installed one
sweeps-study: setup
	$(BIN)/python benchmarks/sweeps/sequential.py
	$(BIN)/python benchmarks/sweeps/logprobs.py
	$(BIN)/python benchmarks/sweeps/text.py
	$(BIN)/python benchmarks/sweeps/tier4.py
	$(BIN)/python benchmarks/sweeps/border.py $(if $(wildcard $(ENGINE_VENV)/bin/python),--engine $(abspath $(ENGINE_VENV))/bin/python)
	$(BIN)/python benchmarks/sweeps/adversaries.py

# a real vLLM beside the project (its own environment, 2.5 GB), and the tests that need it
engines: setup $(ENGINE_VENV)/.installed
	INFERENCE_AUDIT_ENGINE_PYTHON=$(abspath $(ENGINE_VENV))/bin/python $(BIN)/python -m pytest -m engines tests/engines

# records examples/traffic anew from the real engines; half an hour on two cores
record: $(ENGINE_VENV)/.installed
	$(ENGINE_VENV)/bin/python examples/recording/record.py --model examples/model --out examples/traffic

$(ENGINE_VENV)/.installed: examples/recording/install_engine.sh
	bash examples/recording/install_engine.sh $(ENGINE_VENV)
	touch $@

clean:
	rm -rf $(VENV) $(ENGINE_VENV) var build *.egg-info
