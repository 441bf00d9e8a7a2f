"""Write the adapters of diffusers, kohya and Mix-of-Show that the Rust tests read.

    python make_adapters_fixture.py            ../fixtures/adapters, for ../fixtures/tiny-sd1
    python make_adapters_fixture.py --out DIR  the same, into DIR

What is written, with random factors:

    pytorch_lora_weights.safetensors  `StableDiffusionPipeline.save_lora_weights`, with the settings of
                                      both components in its metadata; alpha is not the rank
    kohya.safetensors                 the same by diffusers' `convert_state_dict_to_kohya`, float16
    edlora.pth                        the same as Mix-of-Show's trainer saves it (no alpha, which goes
                                      into `up` here), with two words
    old-diffusers/                    the same as the first versions with LoRA saved it: a pickle
                                      `pytorch_lora_weights.bin`, no alpha, names of processors
    old-peft/                         the same as PEFT saved both components before safetensors:
                                      `adapter_model.bin` with `adapter_config.json`
    delta_weight.safetensors          ΔW of every adapted module, float32, under our site names: what
                                      PEFT says after diffusers has loaded the first file
    convolutions.safetensors          another adapter, of the transformers' projections and of two
                                      convolutions of every residual block, as kohya names them
    latents.safetensors               `noise`, and the final latents of StableDiffusionPipeline without
                                      an adapter and with each of the two
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_kohya
from make_fixtures import DEFAULT_OUT, TEXT2IMAGE, randn, write_tensors
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

MODEL = DEFAULT_OUT / "tiny-sd1"
NAME = "pytorch_lora_weights.safetensors"

CONFIGS = {
    "unet": LoraConfig(r=3, lora_alpha=6, target_modules=["to_k", "to_out.0"]),
    "text_encoder": LoraConfig(r=2, lora_alpha=1, target_modules=["q_proj", "out_proj"]),
}


def load_pipeline(folder=MODEL):
    """The tiny model, or another one, without adapters, in float32."""
    return StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )


CONVOLUTIONS = LoraConfig(r=2, lora_alpha=1, target_modules=["proj_in", "proj_out", "conv1", "conv2"])


def adapt(model, config, label, size):
    """Adapt a model at random; its factors as PEFT names them."""
    model.add_adapter(config)
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            parameter.data.copy_(size * randn(f"adapters/{label}/{name}", *parameter.shape))
    return get_peft_model_state_dict(model)


def save_diffusers(out):
    """Adapt both components at random and save them as diffusers' training scripts do."""
    pipeline = load_pipeline()
    layers, settings = {}, {}
    for component, config in CONFIGS.items():
        layers[component] = adapt(getattr(pipeline, component), config, component, 0.1)
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


def to_kohya(component, weights, alpha):
    """Factors by diffusers' converter, with alpha as the scripts of kohya write it."""
    named = {f"{component}.{site(component, key)}": value for key, value in weights.items()}
    return {
        key: torch.tensor(float(alpha)) if key.endswith(".alpha") else value
        for key, value in convert_state_dict_to_kohya(named).items()
    }


def save_kohya(layers, out):
    """The same adapter in kohya's format, rounded to float16 as its scripts save it."""
    everything = {}
    for component, weights in layers.items():
        everything |= to_kohya(component, weights, CONFIGS[component].lora_alpha)
    halves = {
        key: value if key.endswith(".alpha") else value.half() for key, value in everything.items()
    }
    write_tensors(out / "kohya.safetensors", halves)


def latents(pipeline):
    """The final latents of a short run from fixed noise."""
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(**TEXT2IMAGE, latents=noise(), output_type="latent").images


def noise():
    """Where all runs start."""
    return randn("adapters/noise", 1, 4, 8, 8)


def save_latents(out):
    """The second adapter, and what the model draws without and with each of the two."""
    base, lora, convolutions = (load_pipeline() for _ in range(3))
    lora.load_lora_weights(out, weight_name=NAME)
    weights = adapt(convolutions.unet, CONVOLUTIONS, "convolutions", 0.2)
    kohya = to_kohya("unet", weights, CONVOLUTIONS.lora_alpha)
    write_tensors(out / "convolutions.safetensors", kohya)
    tensors = {"noise": noise(), "base": latents(base), "lora": latents(lora)}
    write_tensors(
        out / "latents.safetensors", tensors | {"convolutions": latents(convolutions)}
    )


def save_mix_of_show(layers, out):
    """The dictionary of Mix-of-Show's trainer (51270fd5, mixofshow/pipelines/trainer_edlora.py)."""
    params = {
        "new_concept_embedding": {
            word: randn(f"adapters/{word}", 4, 32) for word in ("<potter1>", "<potter2>")
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


def save_old_diffusers(layers, out):
    """What `save_lora_weights` of diffusers wrote before safetensors, with the oldest names."""
    old = {}
    for component, weights in layers.items():
        config = CONFIGS[component]
        processor = ".processor" if component == "unet" else ""
        for key, value in weights.items():
            module, factor = key.removesuffix(".weight").rsplit(".", 1)
            scale = {"lora_A": 1.0, "lora_B": config.lora_alpha / config.r}[factor]
            end = {"lora_A": "down", "lora_B": "up"}[factor]
            attention, name = module.removesuffix(".0").rsplit(".", 1)
            name = {"q_proj": "to_q", "out_proj": "to_out"}.get(name, name)
            place = f"{component}.{site(component, attention)}{processor}.{name}_lora"
            old[f"{place}.{end}.weight"] = scale * value
    out.mkdir()
    torch.save(old, out / "pytorch_lora_weights.bin")


def save_old_peft(layers, out):
    """What PEFT's `save_pretrained` wrote of both components before safetensors."""
    for component, weights in layers.items():
        folder = out / component
        folder.mkdir(parents=True)
        config = LoraConfig(**CONFIGS[component].to_dict() | {"inference_mode": True})
        config.target_modules = sorted(config.target_modules)
        # A path of this machine.
        config.base_model_name_or_path = None
        config.save_pretrained(folder)
        named = {f"base_model.model.{key}": value for key, value in weights.items()}
        torch.save(named, folder / "adapter_model.bin")


def write(out):
    """Write all files, replacing what an earlier run left in `out`."""
    torch.set_num_threads(1)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    layers = save_diffusers(out)
    save_kohya(layers, out)
    save_mix_of_show(layers, out)
    save_old_diffusers(layers, out / "old-diffusers")
    save_old_peft(layers, out / "old-peft")
    write_tensors(out / "delta_weight.safetensors", delta_weights(out / NAME))
    save_latents(out)


def main():
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "adapters", help="folder to write")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
