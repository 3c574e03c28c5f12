# Two commands: `make run` starts Rivetr on this machine, `make test` proves that it works.
VENV := .venv/bin

# Everything stays in this folder unless somebody named another: a rivetr.toml about other things must not lose the data.
ifeq ($(shell grep -s data_dir rivetr.toml)$(RIVETR_CONFIG)$(RIVETR_SERVER__DATA_DIR),)
RUN := RIVETR_SERVER__DATA_DIR="$(CURDIR)/data"
endif

.PHONY: run test check format engine bench-deploy bench-memory bench-proxy bench-soak

run: ## Install what is missing, then run web, worker and proxy in the foreground (Ctrl-C ends them)
	@scripts/environment.sh requirements.txt
	@scripts/engine.sh
	@$(VENV)/python scripts/base_images.py
	@$(RUN) exec $(VENV)/python -OO -m rivetr up

test: check engine ## Install what tests need, run every check and every test
	@scripts/test_programs.sh
	@$(VENV)/python -m pytest

check: ## Format, lint, types, layers
	@scripts/environment.sh requirements-dev.txt
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports

format: ## Rewrite the code as ruff wants it
	@scripts/environment.sh requirements-dev.txt
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

engine:
	@scripts/environment.sh requirements-dev.txt
	@scripts/engine.sh
	@$(VENV)/python scripts/base_images.py

bench-deploy: engine ## Time from asking for a deployment to its answer, beside the same done by hand
	@$(VENV)/python -m bench.deploy

bench-memory: engine ## Memory of each process at rest, and after use
	@$(VENV)/python -m bench.memory

bench-proxy: ## The proxy beside nginx, HAProxy, Caddy and Traefik (which it installs); ARGS="--rounds 2 --case browser"
	@scripts/environment.sh requirements-dev.txt
	@$(VENV)/python -m bench.proxy $(ARGS)

bench-soak: ## Ten minutes of everything at once for the proxy: does it lose requests, memory or files? ARGS="--minutes 60"
	@scripts/environment.sh requirements-dev.txt
	@$(VENV)/python -m bench.soak $(ARGS)
