"""Compare adapters that our code has written for PEFT with those of ../fixtures/peft.

    SEQLORA_PEFT_OUT=DIR cargo test --release -p seqlora-tests --test formats
    python check_peft.py DIR

The first command reads the fixture and writes it to DIR with `Peft::write`. The second loads DIR with
PEFT and fails unless every module is adapted as before: the same modules, and the same ΔW up to the
rounding of float32 (our factors take the place of factors times `lora_alpha / r`).
"""

import argparse
import warnings
from pathlib import Path

import torch
from make_fixtures import DEFAULT_OUT
from make_peft_fixture import CONFIGS, delta_weights
from safetensors.torch import load_file

TOLERANCE = 1e-6


def main():
    """Load the folder with PEFT and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with unet/ and text_encoder/")
    folder = parser.parse_args().folder
    # PEFT only warns of factors that are missing, and leaves ΔW zero there.
    warnings.filterwarnings("error", message="Found missing adapter keys")
    found = {}
    for component in CONFIGS:
        found |= delta_weights(component, folder)
    expected = load_file(DEFAULT_OUT / "peft" / "delta_weight.safetensors")
    if found.keys() != expected.keys():
        raise SystemExit(f"other modules: {sorted(found.keys() ^ expected.keys())}")
    worst = max(
        ((found[name] - expected[name]).abs().max() / expected[name].abs().max()).item()
        for name in expected
    )
    print(f"{len(expected)} modules, largest relative difference {worst:.1e}")
    if not worst <= TOLERANCE:
        raise SystemExit(f"more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
