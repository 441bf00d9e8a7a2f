"""Make every fixture again, and compare it with the one in ../fixtures.

    python check.py     names every difference, and exits with 1 if there is one

Texts and pictures have to be equal, numbers in JSON and tensors nearly so: other processors add in
another order. Numbers that stand in the tests themselves are checked by `check_literals.py`.
"""

import json
import math
import sys
import tempfile
from pathlib import Path

import ldm_keys
import make_adapters_fixture
import make_attention_fixture
import make_ckpt_fixture
import make_fixtures
import make_fusion_fixture
import make_image
import make_image_to_image_fixture
import make_metrics_fixtures
import make_peft_fixture
import make_prompt_fixture
import make_sampling_fixture
import make_statistics_fixture
import torch
from make_fixtures import DEFAULT_OUT
from safetensors.torch import load_file

# Relative to the largest number of a tensor. Second derivatives and 25 sampling steps add up errors.
TOLERANCE = 1e-4

# Written by this program (`SEQLORA_GOLDEN=write`, and a bank of version 0.1, which nothing writes any more),
# and random keys, by `tls.sh`.
NOT_MADE_HERE = ("golden.json", "bank-v1/", "bank-v1.latents.safetensors", "tls/")


def make(out):
    """Write all fixtures into a folder."""
    make_fixtures.write_fixtures(out)
    make_peft_fixture.write(out / "peft")
    make_adapters_fixture.write(out / "adapters")
    make_fusion_fixture.write(out / "fusion.safetensors")
    make_attention_fixture.write(out / "attention_sd1.safetensors")
    make_metrics_fixtures.write(out / "metrics")
    ldm_keys.write(out / "ldm_keys.json")
    make_ckpt_fixture.write(out / "tiny-sd1.ckpt")
    make_image_to_image_fixture.write(out / "image_to_image_sd1.safetensors")
    make_sampling_fixture.write(out / "sampling.json")
    make_prompt_fixture.write(out / "weighted_prompts.safetensors")
    make_statistics_fixture.write(out / "statistics.json")
    (out / "images").mkdir()
    make_image.write(out / "images" / "cmyk.jpg")


def files(folder):
    """The files of a folder by their path in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in paths}


def differences(name, made, committed):
    """What differs between a file and the committed one, as sentences."""
    if name.endswith(".safetensors"):
        yield from tensor_differences(load_file(made), load_file(committed))
    elif name.endswith((".bin", ".pth", ".pth.tar", ".ckpt")):
        # A class of another module is part of the last.
        only = not name.endswith(".ckpt")
        both = [torch.load(path, weights_only=only) for path in (made, committed)]
        yield from tensor_differences(*(flat(weights) for weights in both))
    elif name.endswith(".json"):
        values = [json.loads(path.read_text(encoding="utf-8")) for path in (made, committed)]
        if name == "fixtures.json":
            # The build of torch for another processor has another suffix.
            for value in values:
                value["versions"]["torch"] = value["versions"]["torch"].split("+")[0]
                del value["versions"]["python"]
        yield from json_differences("", *values)
    elif made.read_bytes() != committed.read_bytes():
        yield "its bytes differ"


def flat(weights):
    """The tensors of a PyTorch file by name, without what they are nested in."""
    weights = weights.get("state_dict", weights.get("params", weights))
    tensors = {}
    for name, value in weights.items():
        inner = {"": value} if isinstance(value, torch.Tensor) else value
        tensors |= {f"{name}.{key}": tensor for key, tensor in inner.items()}
    return tensors


def tensor_differences(made, committed):
    """What differs between two dictionaries of tensors."""
    if made.keys() != committed.keys():
        yield f"these tensors are in one only: {sorted(made.keys() ^ committed.keys())}"
    for name in made.keys() & committed.keys():
        a, b = made[name], committed[name]
        if a.dtype != b.dtype or a.shape != b.shape:
            yield f"`{name}` is {a.dtype} {list(a.shape)}, not {b.dtype} {list(b.shape)}"
            continue
        a, b = a.to(torch.float64), b.to(torch.float64)
        # A tensor may hold infinities, which have to be the same ones.
        apart = torch.where(a == b, 0.0, (a - b).abs())
        scale = b[b.isfinite()].abs().max().item() if b.numel() else 1.0
        if not apart.numel() or apart.max() <= TOLERANCE * scale:
            continue
        yield f"`{name}` is up to {apart.max().item():.1e} off, at most {scale:.1e} large"


def json_differences(place, made, committed):
    """What differs between two JSON values."""
    if isinstance(made, dict) and isinstance(committed, dict) and made.keys() == committed.keys():
        for key in made:
            yield from json_differences(f"{place}/{key}", made[key], committed[key])
    elif isinstance(made, list) and isinstance(committed, list) and len(made) == len(committed):
        for index, pair in enumerate(zip(made, committed)):
            yield from json_differences(f"{place}/{index}", *pair)
    elif isinstance(made, float) and isinstance(committed, float):
        if not math.isclose(made, committed, rel_tol=TOLERANCE, abs_tol=1e-9):
            yield f"{place} is {made}, not {committed}"
    elif made != committed:
        yield f"{place} is {json.dumps(made)[:60]}, not {json.dumps(committed)[:60]}"


def main():
    """Make, compare, and say what differs."""
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        make(out)
        made, committed = files(out), files(DEFAULT_OUT)
        found = []
        for name in sorted(made.keys() | committed.keys()):
            if name not in committed:
                found.append(f"{name} is not committed")
            elif name in made:
                found += [f"{name}: {it}" for it in differences(name, made[name], committed[name])]
            elif not name.startswith(NOT_MADE_HERE):
                found.append(f"{name} is made by no script")
        print("\n".join(found) or f"{len(made)} fixtures are as they are made")
        sys.exit(bool(found))


if __name__ == "__main__":
    main()
