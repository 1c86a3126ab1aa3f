# Every target sets up what it needs. PYTHON names the interpreter that makes .venv.
PYTHON ?= python3
BIN := .venv/bin
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --custom-compile-command 'make lock'
.DEFAULT_GOAL := help
# What the shell brings along for another Python, or another environment, than .venv.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONSTARTUP PYTHONINSPECT PYTHONOPTIMIZE PYTHONWARNINGS PYTHONUSERBASE \
	PYTHONPLATLIBDIR PYTHONEXECUTABLE __PYVENV_LAUNCHER__ VIRTUAL_ENV CONDA_PREFIX UV_PROJECT_ENVIRONMENT UV_SYSTEM_PYTHON \
	PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
# These take as long as all others: a quarter of an hour on two cores.
LEFT_OUT := $(if $(BRIGADE_E2E),,--ignore=tests/e2e --ignore=tests/proof --ignore=tests/loadtests)
.PHONY: help run dev locust prove bench chaos test lint fix migrate reload lock fuzz audit deploy new upgrade clean environment development docs \
	lint-style lint-format lint-types lint-imports lint-workflows lint-deploy

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: environment ## Serve on 127.0.0.1:8000 (HOST, PORT), with Postgres and Valkey of its own
	@exec $(BIN)/python -m local run

locust: development ## Put load on it by hand: the service, and Locust's web UI on 127.0.0.1:8089
	@exec $(BIN)/python -m loadtests $(ARGS)

prove: development ## Prove by measurement what this template claims; ARGS=--quick for two minutes of it
	@exec $(BIN)/python -m proof.prove $(ARGS)

bench: development ## Compare ours with a textbook service and the ceiling of the server; ARGS=--help says more
	@exec $(BIN)/python -m proof.bench $(ARGS)

chaos: development ## Break a serving service in 40 ways and count what is lost; ARGS=--quick for two minutes of it
	@exec $(BIN)/python -m proof.chaos $(ARGS)

test: development ## Run the tests; BRIGADE_E2E=1 for those of clones, containers and load, too; ARGS goes to pytest
	@$(BIN)/python -m pytest -n4 $(LEFT_OUT) $(ARGS)

lint: development ## Check style, types, imports, workflows, and what is deployed; report all faults
	@$(MAKE) --no-print-directory --keep-going lint-style lint-format lint-types lint-imports lint-workflows lint-deploy

lint-style:
	@$(BIN)/ruff check || { echo "make fix mends some of these." >&2; exit 1; }

lint-format:
	@$(BIN)/ruff format --check || { echo "make fix formats these." >&2; exit 1; }

lint-types:
	@$(BIN)/mypy

lint-imports:
	@$(BIN)/lint-imports

lint-workflows:
	@[ ! -f .github/lint.sh ] || sh .github/lint.sh $(BIN)

lint-deploy:
	@sh deploy/lint.sh $(BIN)

docs: $(if $(filter --record,$(ARGS)),development,environment) ## Make docs/ a site in reports/docs; ARGS=--record takes the tour of the lab for it
	@$(PYTHON) local/environment.py docs
	@$(BIN)/python -m local.site $(ARGS)

fix: development ## Fix what ruff can fix
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

migrate: environment ## Bring the schema up to date, of make run's Postgres or of DATABASE_URL
	@$(BIN)/python -m local migrate

dev: environment ## Serve as make run does, with one worker: new code on save, and breakpoint() stops here
	@exec $(BIN)/python -m local dev

reload: environment ## Give make run new workers, with the code as it is now
	@$(BIN)/python -m local reload

lock: development ## Lock what pyproject.toml asks for; ARGS=--upgrade for the newest of it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.*'
	@$(LOCK) brigade/pyproject.toml pyproject.toml --group dev -o requirements/dev.txt $(ARGS)
	@$(LOCK) brigade/pyproject.toml pyproject.toml --group local -c requirements/dev.txt -o requirements/local.txt
	@$(LOCK) brigade/pyproject.toml pyproject.toml -c requirements/dev.txt -o requirements/service.txt
	@$(LOCK) --group locust -c requirements/dev.txt -o requirements/locust.txt
	@$(LOCK) --group policy -o requirements/policy.txt
	@$(LOCK) --group docs -c requirements/dev.txt -o requirements/docs.txt

fuzz: development ## Run the tests that fuzz, twenty times as long: some minutes; ARGS goes to pytest
	@FUZZ=20 $(BIN)/python -m pytest -m fuzz $(ARGS)

audit: development ## Check locked packages for known holes; ARGS=--strict fails if no service can be asked
	@$(BIN)/python deploy/audit.py $(ARGS)

deploy: ## Replace the running api containers by a new image, one at a time; roll back what is never ready
	@docker compose build api
	@$(PYTHON) deploy/rollout.py

new: ## Make a project of your own: NAME=orders DIR=../orders
	@$(PYTHON) local/project.py new "$$NAME" "$$DIR"

upgrade: ## Replace the engine of a project: FROM=<a newer clone of the template>
	@test -f "$$FROM/local/project.py" || { echo "FROM is the folder of a newer clone of Brigade." >&2; exit 1; }
	@$(PYTHON) "$$FROM/local/project.py" upgrade .

clean: ## Remove what the tools made; the data in .local stays
	@rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache .grimp_cache .import_linter_cache .coverage reports build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

environment:
	@$(PYTHON) local/environment.py local

development:
	@$(PYTHON) local/environment.py dev
