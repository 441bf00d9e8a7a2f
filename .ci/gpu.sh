#!/usr/bin/env bash
# What only a GPU can tell, in ten minutes, by programs that were built elsewhere:
#
#   bash .ci/gpu.sh pack FOLDER               builds the programs for CUDA and packs them; needs no GPU
#   bash .ci/gpu.sh run FOLDER OUT [MODEL]    runs everything where the GPU is, in a copy of this repository
#
# MODEL is a folder of Stable Diffusion 1.5's size, such as tests/reference/make_fixtures.py --full writes; without it the built-in
# model is taken, and nothing is compared but single operations. PYTHON is one with the packages of benchmarks/peer. Exits with 1 if
# anything failed, after everything was tried; OUT has a log of each step. DEVICE=cpu STEPS=10 tries this script itself where there is no GPU.
set -uo pipefail
cd "$(dirname "$0")/.."

device=${DEVICE:-cuda}
python=${PYTHON:-python3}
steps=${STEPS:-250}

# Programs, and the laws with their fixtures, built with the one selection of features that a CUDA machine runs.
pack() { # FOLDER
  local features=seqlora-tests/$device,seqlora/$device,seqlora-benchmarks/$device target=${CARGO_TARGET_DIR:-target}
  mkdir -p "$1"
  cargo build --release --workspace --bins --features "$features" || return 1
  local laws
  laws=$(cargo test --release --workspace --features "$features" --test "$device" --no-run --message-format=json |
    sed -n "s/.*\"name\":\"$device\".*\"executable\":\"\([^\"]*\)\".*/\1/p" | head -n 1)
  [ -n "$laws" ] || return 1
  cp "$laws" "$1/laws"
  cp "$target/release/seqlora" "$target/release/seqlora-benchmarks" "$1/"
  strip "$1"/laws "$1"/seqlora "$1"/seqlora-benchmarks
  tar -C "$1" -cJf "$1/programs.tar.xz" laws seqlora seqlora-benchmarks
  ls -lh "$1/programs.tar.xz"
}

failed=()

# Runs a command into a log of its own, and notes how it ended.
step() { # NAME COMMAND...
  local start=$SECONDS code=0
  "${@:2}" >"$out/$1.log" 2>&1 || code=$?
  [ $code = 0 ] || failed+=("$1")
  printf '%-18s %s (%s s)\n' "$1" "$([ $code = 0 ] && echo ok || echo "failed with $code")" $((SECONDS - start)) |
    tee -a "$out/summary.txt"
}

# Bytes in use on the device; where that is the CPU, by the process that `timeout` runs.
used() { # PID
  case $device in
    cpu) awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$(pgrep -P "$1")/status" ;;
    *) nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | awk 'NR == 1 { print $1 * 1048576 }' ;;
  esac
}

# Runs a command, and fails if it fails or has more memory in its last quarter than in its second (burn#4792).
steady() { # COMMAND...
  local samples pid
  samples=$(mktemp)
  "$@" &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    used $pid >>"$samples" 2>/dev/null
    sleep 0.5
  done
  wait $pid || return 1
  awk '{ all[NR] = $1 }
    END {
      for (i = int(NR / 4) + 1; i <= NR / 2; i++) if (all[i] > early) early = all[i]
      for (i = int(NR * 3 / 4) + 1; i <= NR; i++) if (all[i] > late) late = all[i]
      printf "%d samples: %.0f MB in the second quarter, %.0f MB in the last\n", NR, early / 1e6, late / 1e6
      exit !(NR >= 8 && late <= 1.05 * early)
    }' "$samples"
}

run() { # FOLDER OUT [MODEL]
  out=$2
  local model=${3:-builtin} programs photos learn whole=()
  mkdir -p "$out"
  programs=$(mktemp -d)
  tar -C "$programs" -xJf "$1/programs.tar.xz" || return 1
  export SEQLORA_FIXTURES=$PWD/tests/fixtures
  : >"$out/summary.txt"
  [ "$device" = cpu ] || nvidia-smi >"$out/gpu.log"

  step laws timeout 120 "$programs/laws"
  if "$python" -c 'import torch, diffusers' 2>/dev/null; then
    [ "$model" = builtin ] || whole=(--model "$model" --resolution 512)
    local beside=("$programs/seqlora-benchmarks" compare --device "$device" --python "$python" --turns 3 "${whole[@]}")
    step beside-f32 timeout 100 "${beside[@]}" --json "$out/beside-f32.json"
    step beside-bf16 timeout 100 "${beside[@]}" --json "$out/beside-bf16.json" --precision bf16
    [ "$model" = builtin ] || step beside-compiled timeout 60 "${beside[@]}" --json "$out/beside-compiled.json" --compile \
      --only unet_forward --only loss_forward --only lora_gradient
    if "$python" -c 'import jvp_flash_attention' 2>/dev/null; then
      step beside-jvp-flash timeout 20 "${beside[@]}" --json "$out/beside-jvp-flash.json" --jvp-flash --only tangent
    fi
  else
    echo "not compared with PyTorch: $python has no torch and diffusers" | tee -a "$out/summary.txt"
  fi

  # Photos, drawn on the CPU; the first concept is learnt.
  step photos timeout 60 "$programs/seqlora" demo --untrained --concepts 2 --steps 1 --images 1 --method alternating \
    --out "$out/demo"
  photos=$(find "$out/demo/photos" -mindepth 1 -maxdepth 1 -type d | sort | head -n 1)
  learn=("$programs/seqlora" learn "$photos" --class cat --device "$device" --quiet)
  step concept timeout 140 "${learn[@]}" --model "$model" --bank "$out/bank" --steps "$steps"
  step memory steady timeout 60 "${learn[@]}" --model builtin --bank "$out/bank-long" --steps $((2 * steps)) \
    --outer 1 --inner 1
  rm -rf "$programs" "$out/demo" "$out"/bank*
}

case ${1:-} in
  pack) pack "${2:?FOLDER}" || exit 1 ;;
  run)
    run "${2:?FOLDER}" "${3:?OUT}" "${@:4}" || exit 1
    if [ ${#failed[@]} -gt 0 ]; then
      printf 'failed: %s\n' "${failed[*]}"
      exit 1
    fi
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
