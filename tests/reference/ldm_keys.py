"""Write the keys of single-file checkpoints of the tiny fixture models, for the Rust tests.

    python ldm_keys.py            ../fixtures/ldm_keys.json
    python ldm_keys.py --full     check the names at SD1.5's and SD2.1's true size, write nothing

A single file ("LDM", the original Stable Diffusion code) holds the same parameters under other
names and, for some, in other shapes. The rules below are written from the original code's modules;
diffusers' own converters then turn the result back, and every tensor must come out as it went in.

The file lists, for each model, each key's shape and the parameters of the diffusers folder whose
bytes, one after the other, are its content; none for what Stable Diffusion does not use.
"""

import argparse
import json
import re

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from make_fixtures import DEFAULT_OUT, SD1_TEXT, SD1_UNET, SD1_VAE, load
from transformers import CLIPTextConfig, CLIPTextModel

UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.", "cond_stage_model.model."

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def renamed(text, names):
    """The text with its beginning replaced."""
    for old, new in names.items():
        if text.startswith(old + "."):
            return new + text[len(old) :]
    return text


def unet_key(name, config):
    """The key of a UNet parameter: blocks are numbered through, in the order of their making."""
    per_level = config["layers_per_block"] + 1
    block = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if block is None:
        mid = re.match(r"mid_block\.(\w+)\.(\d+)\.(.*)", name)
        if mid is None:
            return renamed(name, UNET_ENDS)
        kind, index, rest = mid.groups()
        if kind == "attentions":
            return f"middle_block.1.{rest}"
        return f"middle_block.{2 * int(index)}.{renamed(rest, RESNET)}"
    way, level, kind, index, rest = block.groups()
    level, index = int(level), int(index)
    side, first = ("input", 1) if way == "down" else ("output", 0)
    number = first + level * per_level + index
    if kind == "resnets":
        return f"{side}_blocks.{number}.0.{renamed(rest, RESNET)}"
    if kind == "attentions":
        return f"{side}_blocks.{number}.1.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{(level + 1) * per_level}.0.{renamed(rest, {'conv': 'op'})}"
    position = 2 if config["up_block_types"][level].startswith("Cross") else 1
    return f"output_blocks.{(level + 1) * per_level - 1}.{position}.{rest}"


def vae_key(name, config):
    """The key of a VAE parameter; the decoder's levels are counted from the finest."""
    levels = len(config["block_out_channels"])
    mid = re.match(r"(\w+coder)\.mid_block\.(\w+)\.(\d+)\.(.*)", name)
    if mid:
        coder, kind, index, rest = mid.groups()
        if kind == "attentions":
            return f"{coder}.mid.attn_1.{renamed(rest, VAE_ATTENTION)}"
        return f"{coder}.mid.block_{int(index) + 1}.{rest}"
    block = re.match(r"(\w+coder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if block is None:
        return name.replace("conv_norm_out", "norm_out")
    coder, way, level, kind, index, rest = block.groups()
    level = int(level) if way == "down" else levels - 1 - int(level)
    if kind == "resnets":
        rest = renamed(rest, {"conv_shortcut": "nin_shortcut"})
        return f"{coder}.{way}.{level}.block.{index}.{rest}"
    return f"{coder}.{way}.{level}.{way}sample.{rest}"


def open_clip_keys(names):
    """Key of each group of text encoder parameters: query, key and value share a tensor."""
    keys = {}
    for name in names:
        layer = re.match(r"encoder\.layers\.(\d+)\.(.*)", name)
        if layer is None:
            table = {
                "embeddings.token_embedding.weight": "token_embedding.weight",
                "embeddings.position_embedding.weight": "positional_embedding",
            }
            key = table.get(name, name.replace("final_layer_norm", "ln_final"))
        else:
            number, rest = layer.groups()
            rest = rest.replace("layer_norm", "ln_").replace("self_attn", "attn")
            rest = rest.replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj")
            rest = re.sub(r"attn\.[qkv]_proj\.(\w+)", r"attn.in_proj_\1", rest)
            key = f"transformer.resblocks.{number}.{rest}"
        keys.setdefault(key, []).append(name)
    # q, k, v, whatever the order of the names.
    order = ["q_proj", "k_proj", "v_proj"]
    for key, group in keys.items():
        if "in_proj" in key:
            group.sort(key=lambda name: order.index(name.split(".")[-2]))
    return keys


def single_file(unet, vae, text_encoder, is_sd2):
    """Every key with its shape and the parameters that it holds, by component."""
    entries = {}

    def add(component, module, key, names):
        shape = list(module.state_dict()[names[0]].shape)
        shape[0] *= len(names)
        if component == "vae" and ".attn_1." in key and len(shape) == 2:
            shape += [1, 1]
        entries[key] = {"shape": shape, "from": [f"{component}.{name}" for name in names]}

    for name in unet.state_dict():
        add("unet", unet, UNET + unet_key(name, unet.config), [name])
    for name in vae.state_dict():
        add("vae", vae, VAE + vae_key(name, vae.config), [name])
    names = [name.removeprefix("text_model.") for name in text_encoder.state_dict()]
    if is_sd2:
        for key, group in open_clip_keys(names).items():
            add("text_encoder", text_encoder, OPEN_CLIP + key, group)
    else:
        for name in names:
            add("text_encoder", text_encoder, f"{CLIP}text_model.{name}", [name])
    return entries | unused(entries, text_encoder.config, is_sd2)


def unused(entries, config, is_sd2):
    """What the published files hold beside the model."""
    extra = {"alphas_cumprod": [1000], "model_ema.decay": []}
    if is_sd2:
        last = f"{OPEN_CLIP}transformer.resblocks.{config.num_hidden_layers - 1}."
        spare = f"{OPEN_CLIP}transformer.resblocks.{config.num_hidden_layers}."
        block = {key: entry["shape"] for key, entry in entries.items() if key.startswith(last)}
        extra |= {key.replace(last, spare): shape for key, shape in block.items()}
        extra |= {f"{OPEN_CLIP}text_projection": [config.hidden_size] * 2}
        extra |= {f"{OPEN_CLIP}logit_scale": []}
    else:
        extra |= {f"{CLIP}text_model.embeddings.position_ids": [1, 77]}
    return {key: {"shape": shape, "from": []} for key, shape in extra.items()}


def content(entries, modules):
    """The tensors of a single file."""
    states = {name: module.state_dict() for name, module in modules.items()}

    def tensor(entry):
        if not entry["from"]:
            return torch.zeros(entry["shape"])
        parts = [states[key.split(".", 1)[0]][key.split(".", 1)[1]] for key in entry["from"]]
        return torch.cat(parts).reshape(entry["shape"])

    return {key: tensor(entry) for key, entry in entries.items()}


def check(entries, modules, is_sd2):
    """Diffusers' converters must find every parameter, with the value that it has."""
    unet, vae, text_encoder = modules.values()
    file = content(entries, modules)
    found = convert_ldm_unet_checkpoint(dict(file), unet.config)
    assert_same(unet.state_dict(), found)
    found = convert_ldm_vae_checkpoint(dict(file), vae.config)
    found = {k: v.reshape(vae.state_dict()[k].shape) for k, v in found.items()}
    assert_same(vae.state_dict(), found)
    if is_sd2:
        found = convert_open_clip_checkpoint(text_encoder, dict(file), prefix=OPEN_CLIP)
    else:
        found = convert_ldm_clip_checkpoint(dict(file))
    # Diffusers drops the spare block by its number in the published file, which tiny ones lack.
    drop = ["text_projection", "position_ids", f"layers.{text_encoder.config.num_hidden_layers}."]
    found = {key.removeprefix("text_model."): value for key, value in found.items()}
    found = {k: v for k, v in found.items() if not any(part in k for part in drop)}
    assert_same(text_encoder.state_dict(), found)


def assert_same(expected, found):
    """Both hold the same names and shapes, and numbers where there are some."""
    expected = {key.removeprefix("text_model."): value for key, value in expected.items()}
    assert expected.keys() == found.keys(), expected.keys() ^ found.keys()
    for key, value in expected.items():
        assert value.shape == found[key].shape, key
        assert value.is_meta or torch.equal(value, found[key]), key


def models(pipe):
    """The three components by name."""
    return {"unet": pipe.unet, "vae": pipe.vae, "text_encoder": pipe.text_encoder}


def full(is_sd2):
    """Networks of the published sizes, without numbers."""
    unet, text = dict(SD1_UNET), dict(SD1_TEXT)
    if is_sd2:
        unet |= {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]}
        unet |= {"use_linear_projection": True}
        text |= {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23}
        text |= {"num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 512}
    with torch.device("meta"):
        return {
            "unet": UNet2DConditionModel(**unet),
            "vae": AutoencoderKL(**SD1_VAE),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
        }


def write_entries(path, models):
    """Write JSON with a line for each key."""
    parts = []
    for label, entries in models.items():
        lines = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items()]
        parts.append(f" {json.dumps(label)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def checked(make_modules):
    """The entries of both families, whose names have been checked with diffusers' conversion."""
    written = {}
    for label in ["sd1", "sd2"]:
        is_sd2 = label == "sd2"
        modules = make_modules(label)
        entries = single_file(*modules.values(), is_sd2)
        check(entries, modules, is_sd2)
        written[label] = entries
        print(f"{label}: {len(entries)} keys, all as they were after diffusers' conversion")
    return written


def write(path):
    """Write the entries of the tiny models."""
    write_entries(path, checked(lambda label: models(load(DEFAULT_OUT / f"tiny-{label}"))))


def main():
    """Parse the command line, check, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="only check the published sizes")
    if parser.parse_args().full:
        checked(lambda label: full(label == "sd2"))
    else:
        write(DEFAULT_OUT / "ldm_keys.json")


if __name__ == "__main__":
    main()
