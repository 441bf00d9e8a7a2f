"""Draw with adapters that our program has exported, in diffusers, and compare the latents with ours.

    SEQLORA_EXPORT_OUT=DIR cargo test --release --workspace --test cli -- exported_concept
    python check_export.py DIR

The first command exports a concept of the tiny model in every format, and draws with it from the noise of
../fixtures/adapters. The second loads each export with diffusers and PEFT, draws the same, and fails
unless the latents are the same; and unless they differ as soon as one module is left out.
"""

import argparse
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from make_adapters_fixture import MODEL, load_pipeline, noise
from make_fixtures import TEXT2IMAGE
from peft import PeftModel
from safetensors.torch import load_file, save_file

# Relative to the largest latent.
TOLERANCE = 1e-4
SCALE = 5.0
# What the adapter has to change.
VISIBLE = 0.1


def draw(pipeline):
    """The final latents from the fixture's noise."""
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(**TEXT2IMAGE, latents=noise(), output_type="latent").images


def with_file(file):
    """A pipeline with a LoRA file at the scale that our program used."""
    pipeline = load_pipeline()
    pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name="concept")
    pipeline.set_adapters(["concept"], [SCALE])
    return pipeline


def with_peft(folder):
    """The same with PEFT's folders."""
    pipeline = load_pipeline()
    for component in ["unet", "text_encoder"]:
        model = PeftModel.from_pretrained(getattr(pipeline, component), folder / component)
        for module in model.modules():
            if hasattr(module, "scale_layer"):
                module.scale_layer(SCALE)
        setattr(pipeline, component, model.merge_and_unload())
    return pipeline


def with_single_file(file):
    """A checkpoint in one file, whose architecture is the tiny model's."""
    return StableDiffusionPipeline.from_single_file(
        str(file), config=str(MODEL), safety_checker=None, torch_dtype=torch.float32
    )


def without_one_module(file, folder):
    """A copy of a LoRA file without the first module."""
    tensors = load_file(file)
    module = min(tensors).split(".lora")[0].removesuffix(".alpha")
    rest = {key: value for key, value in tensors.items() if not key.startswith(module)}
    assert len(rest) < len(tensors)
    copy = folder / f"less-{file.name}"
    save_file(rest, copy)
    return copy


def main():
    """Compare every format with our latents."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="what the test has written")
    folder = parser.parse_args().folder
    expected = load_file(folder / "latents.safetensors")["latents"]
    kohya = folder / "kohya" / "cat.safetensors"
    diffusers = folder / "diffusers" / "cat" / "pytorch_lora_weights.safetensors"

    def apart(pipeline):
        return ((draw(pipeline) - expected).abs().max() / expected.abs().max()).item()

    found = {
        "kohya": apart(with_file(kohya)),
        "diffusers": apart(with_file(diffusers)),
        "peft": apart(with_peft(folder / "peft" / "cat")),
        "merged": apart(load_pipeline(folder / "merged" / "strong")),
        "single-file": apart(with_single_file(folder / "single-file" / "strong.safetensors")),
    }
    # What a module more or less changes has to be visible, or the comparison proves nothing.
    changed = {
        "kohya without a module": apart(with_file(without_one_module(kohya, folder))),
        "diffusers without a module": apart(with_file(without_one_module(diffusers, folder))),
    }
    base = apart(load_pipeline())
    print(f"no adapter: {base:.1e}")
    for name, value in (found | changed).items():
        print(f"{name}: {value:.1e}")
    wrong = [name for name, value in found.items() if not value <= TOLERANCE]
    wrong += [name for name, value in changed.items() if not value > TOLERANCE]
    wrong += [] if base >= VISIBLE else ["no adapter"]
    if wrong:
        raise SystemExit(f"not as they should be: {', '.join(wrong)}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
