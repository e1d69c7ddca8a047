# Common commands, for https://just.systems: `just` lists them.

_default:
    @just --list --unsorted

# Start the server with two demo pools on localhost:7878
serve *ARGS:
    cargo run -- serve {{ARGS}}

# All Rust tests, or those that match
test *FILTER:
    cargo test --workspace {{FILTER}}

# The pure core alone: ten thousand schedules, every state of small pools
core:
    cargo test -p herder-core

# The Python package and the example workers
python:
    python3 -m pytest python/tests

# Format everything
fmt:
    cargo fmt --all
    ruff format python

# Clippy and ruff on the main sources (`.ci/run` checks more)
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    ruff check python

# The documentation of all crates, in a browser
doc:
    cargo doc --workspace --all-features --no-deps --open

# Every kind of fault at full load
chaos SECONDS="60" SEED="1":
    cargo run --release -p herder-chaos -- --seconds {{SECONDS}} --seed {{SEED}}

# One call against a minimal loop in the same run
bench:
    cargo bench --bench echo

# Instructions of one call through the core, by kind of pool (needs valgrind)
instructions:
    cargo bench -p herder-core --bench instructions

# Run the tests over and over, each in a process of its own (needs cargo-nextest)
stress COUNT="10" *FILTER:
    cargo nextest run --workspace --profile stress --stress-count {{COUNT}} {{FILTER}}

# Change one file of the core in small ways and see that a test notices each change (needs cargo-mutants)
mutants FILE:
    cargo mutants -p herder-core --file {{FILE}} --timeout 120 -- --lib --test it -- schedules answers tests::

# Everything CI runs, or some of its steps
ci *STEPS:
    .ci/run {{STEPS}}
