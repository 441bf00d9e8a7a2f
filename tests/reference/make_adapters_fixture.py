"""Write the adapters of diffusers, kohya and Mix-of-Show that the Rust tests read.

    python make_adapters_fixture.py            ../fixtures/adapters, for ../fixtures/tiny-sd1
    python make_adapters_fixture.py --out DIR  the same, into DIR

What is written, with random factors:

    pytorch_lora_weights.safetensors  `StableDiffusionPipeline.save_lora_weights`, with the settings of
                                      both components in its metadata; alpha is not the rank
    kohya.safetensors                 the same by diffusers' `convert_state_dict_to_kohya`, float16
    edlora.pth                        the same as Mix-of-Show's trainer saves it (no alpha, which goes
                                      into `up` here), with two words
    delta_weight.safetensors          ΔW of every adapted module, float32, under our site names: what
                                      PEFT says after diffusers has loaded the first file
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from make_fixtures import DEFAULT_OUT, randn, write_tensors
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

MODEL = DEFAULT_OUT / "tiny-sd1"
NAME = "pytorch_lora_weights.safetensors"

CONFIGS = {
    "unet": LoraConfig(r=3, lora_alpha=6, target_modules=["to_k", "to_out.0"]),
    "text_encoder": LoraConfig(r=2, lora_alpha=1, target_modules=["q_proj", "out_proj"]),
}


def load_pipeline():
    """The tiny model without adapters, in float32."""
    return StableDiffusionPipeline.from_pretrained(
        MODEL, safety_checker=None, requires_safety_checker=False
    )


def save_diffusers(out):
    """Adapt both components at random and save them as diffusers' training scripts do."""
    pipeline = load_pipeline()
    layers, settings = {}, {}
    for component, config in CONFIGS.items():
        model = getattr(pipeline, component)
        model.add_adapter(config)
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                value = randn(f"adapters/{component}/{name}", *parameter.shape)
                parameter.data.copy_(0.1 * value)
        layers[component] = get_peft_model_state_dict(model)
        settings[component] = config.to_dict() | {
            # A set has another order in every run, and the path is one of this machine.
            "target_modules": sorted(config.target_modules),
            "base_model_name_or_path": f"tiny-sd1/{component}",
        }
    StableDiffusionPipeline.save_lora_weights(
        out,
        unet_lora_layers=convert_state_dict_to_diffusers(layers["unet"]),
        text_encoder_lora_layers=convert_state_dict_to_diffusers(layers["text_encoder"]),
        unet_lora_adapter_metadata=settings["unet"],
        text_encoder_lora_adapter_metadata=settings["text_encoder"],
    )
    return layers


def delta_weights(file):
    """ΔW of every module that a LoRA file adapts, under our site names, as diffusers loads it."""
    pipeline = load_pipeline()
    pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name="default")
    return {
        f"{component}.{site(component, name)}": module.get_delta_weight("default").detach()
        for component in CONFIGS
        for name, module in getattr(pipeline, component).named_modules()
        if "default" in getattr(module, "lora_A", {})
    }


def site(component, module):
    """The module path of transformers before version 5, which our sites have."""
    inside = component == "text_encoder" and not module.startswith("text_model.")
    return f"text_model.{module}" if inside else module


def save_kohya(layers, out):
    """The same adapter by diffusers' converter, with alpha as the scripts of kohya write it."""
    everything = {}
    for component, weights in layers.items():
        named = {f"{component}.{site(component, key)}": value for key, value in weights.items()}
        converted = convert_state_dict_to_kohya(named)
        alpha = float(CONFIGS[component].lora_alpha)
        everything |= {
            key: torch.tensor(alpha) if key.endswith(".alpha") else value.half()
            for key, value in converted.items()
        }
    write_tensors(out / "kohya.safetensors", everything)


def save_mix_of_show(layers, out):
    """The dictionary of Mix-of-Show's trainer (51270fd5, mixofshow/pipelines/trainer_edlora.py)."""
    params = {
        "new_concept_embedding": {
            word: randn(f"adapters/{word}", 2, 16) for word in ("<potter1>", "<potter2>")
        }
    }
    for component, weights in layers.items():
        config, inner = CONFIGS[component], {}
        for key, value in weights.items():
            module, factor = key.removesuffix(".weight").rsplit(".", 1)
            scale = {"lora_A": 1.0, "lora_B": config.lora_alpha / config.r}[factor]
            end = {"lora_A": "lora_down", "lora_B": "lora_up"}[factor]
            inner[f"{site(component, module)}.{end}.weight"] = scale * value
        params[component] = inner
    torch.save({"params": params}, out / "edlora.pth")


def write(out):
    """Write all files, replacing what an earlier run left in `out`."""
    torch.set_num_threads(1)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    layers = save_diffusers(out)
    save_kohya(layers, out)
    save_mix_of_show(layers, out)
    write_tensors(out / "delta_weight.safetensors", delta_weights(out / NAME))


def main():
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "adapters", help="folder to write")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
