"""Write the tiny model as a `.ckpt`, as Stable Diffusion 1 was first published.

    python make_ckpt_fixture.py             ../fixtures/tiny-sd1.ckpt, from ../fixtures/tiny-sd1
    python make_ckpt_fixture.py --out FILE  the same, into FILE

It is what PyTorch Lightning saves: the weights under `state_dict`, here in float16, beside numbers, empty lists and a
class of a module that readers need not have.
"""

import argparse
import json
import sys
import types
from pathlib import Path

import torch
from make_fixtures import DEFAULT_OUT
from safetensors.torch import load_file


def component_weights(component):
    """The weights of a component by diffusers' names."""
    (file,) = (DEFAULT_OUT / "tiny-sd1" / component).glob("*.safetensors")
    return load_file(file)


def state_dict():
    keys = json.loads((DEFAULT_OUT / "ldm_keys.json").read_text())["sd1"]
    folder = {
        f"{component}.{name}": tensor
        for component in ("unet", "vae", "text_encoder")
        for name, tensor in component_weights(component).items()
    }

    def tensor(entry):
        parts = [find(folder, name) for name in entry["from"]]
        joined = torch.cat(parts) if parts else torch.zeros(entry["shape"])
        return joined.reshape(entry["shape"]).half()

    return {key: tensor(entry) for key, entry in keys.items()}


def find(folder, name):
    """Transformers wrote `text_model.` before its names until version 5."""
    return folder[name] if name in folder else folder[name.replace(".text_model.", ".", 1)]


class ModelCheckpoint:
    pass


def write(out):
    *packages, name = "pytorch_lightning.callbacks.model_checkpoint".split(".")
    for end in range(1, len(packages) + 2):
        path = ".".join([*packages, name][:end])
        sys.modules[path] = types.ModuleType(path)
    sys.modules[path].ModelCheckpoint = ModelCheckpoint
    ModelCheckpoint.__module__ = path
    checkpoint = {
        "epoch": 3,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state_dict(),
        "callbacks": {ModelCheckpoint: {"monitor": "val/loss", "best_model_score": None}},
        "optimizer_states": [],
        "lr_schedulers": [],
    }
    torch.save(checkpoint, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "tiny-sd1.ckpt")
    write(parser.parse_args().out)
