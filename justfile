# Commands for people who work on Segue; `just` lists them.

_default:
    @just --list

# Build and run the sample app under Segue, on 127.0.0.1:1234.
run:
    ./examples/run.sh

# Everything that CI runs.
ci:
    .ci/run

# The tests, as in the README.
test:
    cargo test --workspace

# Formatting and lints, quickly.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# The tests without a real dockerd and systemd.
test-fast:
    SEGUE_TEST_ONLY=fast cargo test --workspace

# What is too long for every change, or some parts of it by name; `just more --list` prints them.
more *NAMES:
    .ci/more {{NAMES}}

# Write the tables of the manual anew, after a change in supervisor/src/config/options.
pages:
    SEGUE_WRITE_PAGES=1 cargo test -q -p segue the_tables_of_the_manual

# Measure, and print the table of docs/BENCHMARKS.md.
bench:
    cargo run --release -p segue-benches

# Where `just install` puts things: `just PREFIX=/usr DESTDIR=/tmp/package install`, or the environment.
PREFIX := env_var_or_default("PREFIX", "/usr/local")
DESTDIR := env_var_or_default("DESTDIR", "")

# Build the supervisor and install it with man pages, completions and units; nothing is started.
install:
    cargo build --release --locked -p segue -p segue-app --bins
    ./install.sh --prefix '{{PREFIX}}' --destdir '{{DESTDIR}}'

# Remove what `just install` has installed.
uninstall:
    ./install.sh --uninstall --prefix '{{PREFIX}}' --destdir '{{DESTDIR}}'
