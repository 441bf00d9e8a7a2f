"""Write the LoRA adapters of PEFT that the Rust tests read.

    python make_peft_fixture.py            ../fixtures/peft, for ../fixtures/tiny-sd1
    python make_peft_fixture.py --out DIR  the same, into DIR

What is written:

    unet/  text_encoder/     `PeftModel.save_pretrained` of random adapters, with ranks and alphas that
                             differ between modules; the text encoder's factors are float16
    delta_weight.safetensors ΔW of every adapted module, float32, under our site names: what
                             `get_delta_weight` says after PEFT has loaded those folders again
"""

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from make_fixtures import DEFAULT_OUT, randn, write_tensors
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import CLIPTextModel

MODEL = DEFAULT_OUT / "tiny-sd1"

# A site's name starts with the folder. transformers dropped `text_model.` from the module paths of
# CLIPTextModel in version 5; site names kept it.
SITE_PREFIXES = {"unet": "unet.", "text_encoder": "text_encoder.text_model."}

# Regular expressions as targets: PEFT stores a list of names in an order that changes from run to run.
CONFIGS = {
    "unet": LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=r".*\.(to_k|to_out\.0|ff\.net\.2)",
        rank_pattern={"attn2.to_k": 2, r"down_blocks\..*\.to_out\.0": 1},
        alpha_pattern={"attn2.to_k": 5, r"down_blocks\..*\.to_out\.0": 3},
    ),
    "text_encoder": LoraConfig(
        r=3,
        lora_alpha=8,
        use_rslora=True,
        target_modules=r".*\.(q_proj|out_proj|fc1)",
        rank_pattern={"layers.1.self_attn.q_proj": 1},
    ),
}


def load_component(component):
    """The tiny model's UNet or text encoder, without adapters, in float32."""
    kind = {"unet": UNet2DConditionModel, "text_encoder": CLIPTextModel}[component]
    return kind.from_pretrained(MODEL / component)


def randomise_factors(model, component):
    """Give every factor a random value; B starts at zero, which would hide mistakes."""
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            value = randn(f"peft/{component}/{name}", *parameter.shape)
            parameter.data.copy_(0.1 * value)


def save(component, folder):
    """Adapt one component at random and save it."""
    model = get_peft_model(load_component(component), CONFIGS[component])
    randomise_factors(model, component)
    if component == "text_encoder":
        model.half()
    # Otherwise it is the path of the model on this machine.
    model.peft_config["default"].base_model_name_or_path = f"tiny-sd1/{component}"
    # Otherwise PEFT asks the hub whether the vocabulary has grown.
    model.save_pretrained(folder / component, save_embedding_layers=False)
    # The generated model card says nothing.
    (folder / component / "README.md").unlink()


def delta_weights(component, folder):
    """ΔW of every module that an adapter folder adapts, under our site names, as PEFT reads it."""
    model = PeftModel.from_pretrained(load_component(component), folder / component)
    return {
        SITE_PREFIXES[component] + name.removeprefix("base_model.model."): module.get_delta_weight(
            "default"
        ).detach()
        for name, module in model.named_modules()
        if "default" in getattr(module, "lora_A", {})
    }


def write(out):
    """Write the adapters, and what PEFT makes of them, replacing what an earlier run left in `out`."""
    torch.set_num_threads(1)
    shutil.rmtree(out, ignore_errors=True)
    tensors = {}
    for component in CONFIGS:
        save(component, out)
        tensors |= delta_weights(component, out)
    write_tensors(out / "delta_weight.safetensors", tensors)


def main():
    """Parse the command line and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "peft", help="folder to write")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
