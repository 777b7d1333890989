# The five things a contributor runs. Build output stays outside the clone (docs/adr/0001).
export CARGO_TARGET_DIR ?= $(HOME)/.cache/mainstay/target

CARGO ?= cargo

.PHONY: help run test check bench soak

help:
	@echo "make run    build mainstay and the example site, and run them with users until stopped"
	@echo "make test   unit, property and end-to-end tests, then the examples in the docs"
	@echo "make check  formatting, lints, the tidy rules and spelling"
	@echo "make bench  the benchmarks, against their budgets"
	@echo "make soak   200 kills of a server under load, then simulation seeds until stopped"

run:
	$(CARGO) build --profile dev --package mainstay --package mainstay-site
	"$(CARGO_TARGET_DIR)/debug/mainstay" up

test:
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		set -ex; \
		$(CARGO) nextest run --workspace --no-tests=warn; \
		$(CARGO) nextest run --workspace --features mainstay-sim/planted --test planted; \
		$(CARGO) test --workspace --doc; \
	else \
		set -ex; \
		$(CARGO) test --workspace; \
		$(CARGO) test --workspace --features mainstay-sim/planted --test planted; \
	fi

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) xtask tidy
	.ci/typos

bench:
	$(CARGO) xtask bench

soak:
	$(CARGO) xtask crash --kills 200
	$(CARGO) xtask sim --forever
