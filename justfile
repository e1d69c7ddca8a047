# Common commands, for https://just.systems: `just` lists them.

_default:
    @just --list --unsorted

# Start the server with two demo pools on localhost:7878
serve *ARGS:
    cargo run -- serve {{ARGS}}

# Run all Rust tests, or those that match
test *FILTER:
    cargo test --workspace {{FILTER}}

# Test the core only: ten thousand schedules, every state of small pools
core:
    cargo test -p herder-core

# Test the Python package and the example workers
python:
    python3 -m pytest python/tests

# Format everything
fmt:
    cargo fmt --all
    ruff format python

# Run clippy and ruff on the main sources (`.ci/run` checks more)
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    ruff check python

# Open the documentation of all crates in a browser
doc:
    cargo doc --workspace --all-features --no-deps --open

# Inject every kind of fault under full load
chaos SECONDS="60" SEED="1":
    cargo run --release -p herder-chaos -- --seconds {{SECONDS}} --seed {{SEED}}

# Compare one call in process with a minimal loop, and HTTP with uvicorn, granian, FastAPI and gunicorn (some minutes; needs wrk)
bench:
    cargo bench --bench echo
    benches/peers/run.py

# Compare typed arguments and results with FastAPI and pydantic over HTTP (a minute; needs wrk)
bench-typed:
    benches/peers/run.py --typed

# Check the types of the package and of the examples with mypy and Pyright, strictly (installs large packages)
types:
    scripts/check-types

# Test the example with DSPy, and try its commands in a pool (installs dspy, which is large)
dspy:
    python3 -m venv target/dspy
    target/dspy/bin/pip install --quiet dspy pytest
    target/dspy/bin/python -m pytest -q -c python/pyproject.toml --rootdir python python/tests/test_examples.py -k dspy
    cargo build -p herder-cli
    scripts/try-dspy target/dspy/bin/python

# Send the same 40 requests to a FastAPI service and to the Herder app that it became (docs/from-fastapi.md)
from-fastapi:
    python3 -m venv target/fastapi && target/fastapi/bin/pip install --quiet fastapi uvicorn numpy
    cargo build -p herder-cli
    examples/fastapi/compare.py target/fastapi target/debug/herder

# Count the instructions of one call through the core, by kind of pool (needs valgrind)
instructions:
    cargo bench -p herder-core-benches --bench instructions

# Run the tests repeatedly, each in a separate process (needs cargo-nextest)
stress COUNT="10" *FILTER:
    cargo nextest run --workspace --profile stress --stress-count {{COUNT}} {{FILTER}}

# Make small changes to one file of the core and check that a test fails for each (needs cargo-mutants)
mutants FILE:
    cargo mutants -p herder-core --file {{FILE}} --timeout 120 -- --lib --test it -- schedules answers tests::

# Check the MCP endpoint with the client library `mcp` from PyPI, which is installed into target/mcp
mcp-check:
    cargo build -p herder-cli
    python3 -m venv target/mcp
    target/mcp/bin/pip install --quiet 'mcp>=2.3,<3'
    target/mcp/bin/python scripts/mcp-check target/debug/herder

# Check what a release publishes: package the crates, build the wheel, install it, serve an app (minutes; needs maturin)
release-check *PARTS:
    scripts/release-check {{PARTS}}

# Check /openapi.json with a validator, and a running server against it (minutes; needs schemathesis and openapi-spec-validator)
openapi-check *ARGS:
    cargo build -p herder-cli
    scripts/openapi-check target/debug/herder {{ARGS}}

# Run everything that CI runs, or some of its steps
ci *STEPS:
    .ci/run {{STEPS}}
