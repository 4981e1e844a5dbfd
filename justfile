# What one does here every day. `just` lists it; `cargo xtask` does the work.

# list the recipes
default:
    @just --list --unsorted

# start the gateway on its embedded log
run *ARGS:
    cargo run --release -- serve {{ARGS}}

# format the code
fmt:
    cargo fmt --all

# lints, as strict as in CI
lint:
    cargo clippy --workspace --all-targets -- -D warnings

# every test; with arguments those they select
test *ARGS:
    cargo xtask test {{ARGS}}

# the conformance suite on one transport: memory or log
conformance BACKEND:
    cargo xtask test --package busgate-transports-{{BACKEND}}

# the brokers that the tests share, until ctrl-c
services:
    cargo xtask services

# the benchmarks, with their floor beside them
bench *ARGS:
    cargo xtask bench {{ARGS}}

# what .ci/run runs
ci:
    cargo xtask ci
