# The two commands: `make demo` and `make test`. Each installs what it needs, once, in .venv.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/ready
# Locked packages that must match each other come first and together: torchvision is built against one torch.
TORCH := $(shell grep -E '^(torch|torchvision)==' requirements.lock)

.PHONY: demo test test-slow test-postgresql test-gpu bench lint lock clean

demo: $(READY)
	$(BIN)/lab demo

test: $(READY) lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

# PostgreSQL from Debian's packages, where it is missing; its server is the tests' own and ends with them.
test-postgresql: $(READY)
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends postgresql
	LAB_POSTGRESQL=required $(BIN)/python -m pytest -q -m postgresql tests/lab/sweep

test-gpu: $(READY)
	$(BIN)/python -m pytest -q -m gpu

bench: $(READY)
	$(BIN)/python tests/benchmarks/speed.py

lint: $(READY)
	$(BIN)/ruff check .

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# New versions within pyproject's bounds. What torch itself pins to the last digit (nvidia-*, cuda-*, triton) stays out:
# it differs between platforms and comes with torch.
lock:
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch torchvision
	.venv-lock/bin/python -m pip install --quiet --editable '.[avalanche,dev,postgresql,ray,slurm]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | grep -vE '^(nvidia-|cuda-|triton)' > requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
