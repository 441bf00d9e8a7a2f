#!/usr/bin/env bash
# What has to hold before a change lands, cheapest first: format, tests on CPU, on wgpu (Mesa's software Vulkan
# where there is no GPU) and on CUDA without a GPU. Lints are in `.ci/lint.sh`.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

has_vulkan() { compgen -G '/usr/share/vulkan/icd.d/*.json' >/dev/null || compgen -G '/etc/vulkan/icd.d/*.json' >/dev/null; }

# What a fresh machine may lack: Vulkan in software, pip for NVIDIA's compiler, and a C++ compiler for emulated kernels.
missing=()
has_vulkan || missing+=(mesa-vulkan-drivers libvulkan1)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
command -v "${CXX:-c++}" >/dev/null || missing+=(g++)
if [ ${#missing[@]} -gt 0 ]; then
  step "installing ${missing[*]}"
  root=; [ "$(id -u)" = 0 ] || root=sudo
  $root apt-get update -qq
  $root apt-get install -y -qq "${missing[@]}" >/dev/null
  has_vulkan
fi

# The tests compile the kernels for CUDA by it.
step "installing NVIDIA's run-time compiler"
bash .ci/nvrtc.sh

step format
cargo fmt --all --check

# One build serves both backends; only the one test binary that needs it instantiates wgpu, which
# takes minutes (docs/decisions/0002). `.ci/full` runs the examples.
step "tests on cpu and wgpu"
cargo test --release --workspace --features seqlora-tests/wgpu --lib --bins --tests

step "all passed"
