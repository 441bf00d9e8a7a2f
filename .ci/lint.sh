#!/usr/bin/env bash
# Format and lints with every backend compiled in. Clippy checks Burn once more, beside the build for the tests, which
# takes five minutes on two cores: this is a job of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
cargo clippy --release --workspace --all-targets --features wgpu,cuda,all-laws -- -D warnings
