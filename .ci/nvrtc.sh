#!/usr/bin/env bash
# Installs NVIDIA's run-time compiler, which needs no GPU and no driver, into target/nvrtc. These are the
# versions that `cubecl-cuda` 0.10's sources were tried with.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CARGO_TARGET_DIR:-target}/nvrtc
[ -e "$folder/complete" ] && exit
python3 -m pip install -q --no-deps --target "$folder" \
  nvidia-cuda-nvrtc-cu12==12.8.93 nvidia-cuda-nvcc-cu12==12.8.93 \
  nvidia-cuda-runtime-cu12==12.8.90 nvidia-cuda-cccl-cu12==12.8.90
touch "$folder/complete"
