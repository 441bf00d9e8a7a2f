"""Write what the Rust tests of metrics compare themselves with.

    python make_metrics_fixtures.py            ../fixtures/metrics
    python make_metrics_fixtures.py --out DIR  the same, into DIR

What is written, every parameter random (`make_fixtures.randomise`) and all sizes tiny:

    dinov2/ dinov2-registers/ dinov2-swiglu/   folders of transformers, as `save_pretrained` writes them:
    dinov3/ dinov3-gated/ clip/                released files have these names, not those in memory
    open-clip/                 an archive of PyTorch and OpenCLIP's config; the weights lie under `state_dict`
    timm-dino/ timm-dinov3/    timm's names, which are also those of the original DINO
    dreamsim/                  three encoders under DreamSim's names, and an adapter of PEFT for them
    parity.safetensors         inputs and outputs of all encoders
    scores.json                scores of whole metrics: images to numbers
    preprocessing.safetensors  images after each preset, in small
    pillow.json                SHA-256 of images that Pillow has resized

Images are drawn by `image`, a formula of whole numbers that the Rust tests have too.
"""

import argparse
import hashlib
import json
import shutil
import unittest.mock
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from make_fixtures import DEFAULT_OUT, make_tokenizer, randn, token_ids, write_json, write_tensors
from make_fixtures import randomise as randomise_arrays
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_STATISTICS = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
PROMPTS = ["a photo of a dog", "a red backpack on the beach"]


def image(width, height, kind):
    """An RGB image with edges, slopes and noise, of whole numbers only."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    channels = []
    for c in range(3):
        slope = (x * (5 + c) + y * (3 + kind)) % 256
        noise = ((x * x + 3 * x * y + 7 * y * y + 89 * c + 41 * kind) // 4) % 256
        channels.append(np.where((x // 7 + y // 5 + c) % 3 == 0, noise, slope))
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


# --- Models -----------------------------------------------------------------------------------


def randomise(model, label):
    """Random parameters; CLIP's temperature, which is a number and no array, stays."""
    scalars = {name for name, parameter in model.named_parameters() if parameter.ndim == 0}
    for name in scalars:
        value = getattr(model, name).detach()
        delattr(model, name)
        model.register_buffer(name, value)
    return randomise_arrays(model, label)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def transformers_models(vocabulary):
    """Each kind of image encoder by its folder's name."""
    v2 = {**SMALL, "mlp_ratio": 2, "image_size": 40, "patch_size": 8}
    v3 = {**SMALL, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
    v3 |= {"num_register_tokens": 4}
    vision = {**SMALL, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
    text = {**SMALL, "intermediate_size": 48, "max_position_embeddings": 77}
    text |= {"vocab_size": vocabulary, "eos_token_id": vocabulary - 1}
    clip = CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    return {
        "dinov2": Dinov2Model(Dinov2Config(**v2)),
        "dinov2-registers": Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**v2)),
        "dinov2-swiglu": Dinov2Model(Dinov2Config(**{**v2, "mlp_ratio": 4}, use_swiglu_ffn=True)),
        "dinov3": DINOv3ViTModel(DINOv3ViTConfig(**v3)),
        "dinov3-gated": DINOv3ViTModel(
            DINOv3ViTConfig(**v3, use_gated_mlp=True, hidden_act="silu")
        ),
        "clip": CLIPModel(clip),
    }


def open_clip(vocabulary):
    """OpenCLIP's CLIP, whose heads have another width than 64."""
    vision = CLIPVisionCfg(layers=2, width=32, head_width=8, patch_size=8, image_size=32)
    text = CLIPTextCfg(context_length=77, vocab_size=vocabulary, width=32, heads=4, layers=2)
    return CLIP(embed_dim=24, vision_cfg=vision, text_cfg=text, quick_gelu=False)


def vision_transformer(**changes):
    """timm's ViT with one head of 64 channels, which is how many our loader expects."""
    return timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, mlp_ratio=1, num_classes=0,
        **changes,
    )


def timm_dinov3():
    """timm's counterpart of DINOv3, without biases of queries, keys and values."""
    return timm.models.eva.Eva(
        img_size=32, patch_size=8, embed_dim=64, depth=1, num_heads=1, mlp_ratio=1, num_classes=0,
        qkv_bias=False, init_values=1e-5, use_rot_pos_emb=True, use_abs_pos_emb=False,
        num_reg_tokens=4, rope_type="dinov3", rope_temperature=100, rope_rotate_half=True,
        use_fc_norm=False, global_pool="token", norm_layer=torch.nn.LayerNorm,
    )


class QuickGELU(torch.nn.Module):
    """x σ(1.702 x)"""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Branch(torch.nn.Module):
    """One of DreamSim's encoders, in the place where its code has it."""

    def __init__(self, model):
        super().__init__()
        self.model = model


class Ensemble(torch.nn.Module):
    """DreamSim's three encoders: DINO, CLIP and OpenCLIP."""

    def __init__(self):
        super().__init__()
        models = [
            vision_transformer(),
            vision_transformer(act_layer=QuickGELU),
            vision_transformer(),
        ]
        for model in models[1:]:
            model.pos_drop = torch.nn.LayerNorm(64)
        for model, epsilon in zip(models, (1e-6, 1e-5, 1e-5)):
            for module in model.modules():
                if isinstance(module, torch.nn.LayerNorm):
                    module.eps = epsilon
        self.extractor_list = torch.nn.ModuleList(Branch(model) for model in models)
        self.projections = [randn(f"dreamsim/proj{i}", 64, 24) / 8 for i in (1, 2)]

    def forward(self, pixels):
        """Class tokens: before the last normalisation of DINO, projected after it of the others."""
        branches = []
        for number, (branch, statistics) in enumerate(
            zip(self.extractor_list, (IMAGENET, CLIP_STATISTICS, CLIP_STATISTICS))
        ):
            model, x = branch.model, transforms.Normalize(*statistics)(pixels)
            x = model.pos_drop(torch.cat((
                model.cls_token.expand(len(x), -1, -1), model.patch_embed(x)
            ), 1) + model.pos_embed)
            x = model.blocks(x)
            if number:
                branches.append(model.norm(x)[:, 0] @ self.projections[number - 1])
            else:
                branches.append(x[:, 0])
        x = torch.cat(branches, 1)
        x = x - x.mean(1, keepdim=True)
        return x / x.norm(dim=1, keepdim=True)


def save_dreamsim(folder):
    """The files of DreamSim's release, and its ensemble with the adapter."""
    ensemble = Ensemble()
    for number, branch in enumerate(ensemble.extractor_list):
        randomise(branch.model, f"dreamsim/{number}")
    folder.mkdir(parents=True)
    names = ["dino_vitbase16", "clip_vitb16", "open_clip_vitb16"]
    for number, (name, branch) in enumerate(zip(names, ensemble.extractor_list)):
        weights = dict(branch.model.state_dict())
        if number:
            weights = {"state_dict": {**weights, "proj": ensemble.projections[number - 1]}}
        ending = ".pth.tar" if number else ".pth"
        torch.save(weights, folder / f"{name}_pretrain{ending}")
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["qkv"], bias="none")
    peft = get_peft_model(ensemble, config)
    for name, parameter in peft.named_parameters():
        if ".lora_" in name:
            parameter.data.copy_(0.3 * randn(f"dreamsim/{name}", *parameter.shape))
    # The name of a script's own module, whoever runs it.
    ensemble.__class__.__module__ = "__main__"
    peft.eval().save_pretrained(folder / "ensemble_lora")
    (folder / "ensemble_lora" / "README.md").unlink(missing_ok=True)
    return peft


def hub_resampling(grid, height, width):
    """Position embeddings of another grid by the rule of DINO's original code."""
    patch, side, channels = 8, 5, grid.shape[-1]
    rows, columns = height // patch, width // patch
    patches = grid[:, 1:].reshape(1, side, side, channels).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    patches = F.interpolate(patches, scale_factor=scale, mode="bicubic", align_corners=False)
    assert patches.shape[-2:] == (rows, columns)
    patches = patches.permute(0, 2, 3, 1).reshape(1, rows * columns, channels)
    return torch.cat((grid[:, :1], patches), 1)


# --- Preprocessing ----------------------------------------------------------------------------


def short_side(short, crop, statistics):
    """torchvision's Resize and CenterCrop on Pillow's images."""
    return transforms.Compose([
        transforms.Resize(short, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(crop),
        transforms.ToTensor(),
        transforms.Normalize(*statistics),
    ])


def squash(side):
    """DreamSim's, before the statistics of each encoder."""
    mode = transforms.InterpolationMode.BICUBIC
    return transforms.Compose([transforms.Resize((side, side), mode), transforms.ToTensor()])


def squash_floats(side):
    """DINOv3's processor: bilinear, of floats."""

    def apply(picture):
        x = transforms.ToTensor()(picture)[None]
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
        return transforms.Normalize(*IMAGENET)(x[0])

    return apply


def long_side(side, antialias=True):
    """HPSv2's: bicubic, of floats, zeros around."""

    def apply(picture):
        x = transforms.ToTensor()(picture)
        scale = side / float(max(picture.height, picture.width))
        height, width = (round(n * scale) for n in (picture.height, picture.width))
        if scale != 1.0:
            size = (height, width)
            x = F.interpolate(x[None], size, mode="bicubic", antialias=antialias)[0]
        top, left = (side - height) // 2, (side - width) // 2
        x = F.pad(x, (left, side - width - left, top, side - height - top))
        return transforms.Normalize(*CLIP_STATISTICS)(x)

    return apply


PRESETS = {
    "dino": short_side(32, 28, IMAGENET),
    "clip": short_side(28, 28, CLIP_STATISTICS),
    "dreamsim": squash(28),
    "dinov3": squash_floats(28),
    "hpsv2": long_side(28),
    "hpsv2-legacy": long_side(28, antialias=False),
}
SIZES = [(60, 45), (37, 51), (20, 23)]


def preprocessing():
    """Each preset of images that are wide, high and small."""
    return {
        f"{name}.{width}x{height}": preset(image(width, height, 1))
        for name, preset in PRESETS.items()
        for width, height in SIZES
    }


def pillow():
    """Digests of what Pillow makes of images."""
    cases = []
    for width, height in [(512, 512), (1024, 768), (150, 200), (33, 47), (224, 300)]:
        for target in [(224, 224), (298, 224), (17, 256), (224, height)]:
            for name, mode in [("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)]:
                resized = image(width, height, 2).resize(target, mode)
                cases.append({
                    "from": [width, height],
                    "to": list(target),
                    "filter": name,
                    "sha256": hashlib.sha256(resized.tobytes()).hexdigest(),
                })
    return cases


# --- Scores -----------------------------------------------------------------------------------


def unit(x):
    """Rows of length one, in float64."""
    x = x.double()
    return x / x.norm(dim=1, keepdim=True)


def scores(embed, preset, text=None):
    """Mean cosines of two generated images with two references, or with their prompts."""
    pictures = [image(60, 45, 0), image(48, 48, 3)]
    references = [image(40, 56, 0), image(37, 51, 1)]
    stack = lambda images: torch.stack([preset(picture) for picture in images])
    generated = unit(embed(stack(pictures)))
    if text is not None:
        return (generated * unit(text)).sum(1).tolist()
    return (generated @ unit(embed(stack(references))).T).mean(1).tolist()


def output(value):
    """A tensor, or the one that transformers has wrapped."""
    return value if torch.is_tensor(value) else value.pooler_output


@torch.no_grad()
def write(out):
    """Write all fixtures, replacing what an earlier run left in `out`."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    tokenizer = make_tokenizer()
    ids = token_ids(tokenizer, PROMPTS)
    tensors, found = {"ids": ids}, {}
    models = transformers_models(len(tokenizer))
    for name, model in models.items():
        randomise(model, f"metrics/{name}").save_pretrained(out / name)
        if name == "clip":
            continue
        own = model.config.image_size
        for label, size in {"native": (own, own), "other": (48, 24)}.items():
            x = randn(f"metrics/{name}/{label}", 2, 3, *size)
            tensors |= {
                f"{name}.{label}.pixels": x,
                f"{name}.{label}.class": model(x).last_hidden_state[:, 0].clone(),
            }
    # The same model and images, with the original code's position embeddings.
    embeddings = models["dinov2"].embeddings
    positions = lambda _, height, width: hub_resampling(embeddings.position_embeddings, height, width)
    with unittest.mock.patch.object(embeddings, "interpolate_pos_encoding", positions):
        hidden = models["dinov2"](tensors["dinov2.other.pixels"]).last_hidden_state
    tensors["dinov2.hub.class"] = hidden[:, 0].clone()
    tokenizer.save_pretrained(out / "clip")
    for unused in ["chat_template.jinja", "README.md"]:
        (out / "clip" / unused).unlink(missing_ok=True)

    clip = models["clip"]
    opened = randomise(open_clip(len(tokenizer)), "metrics/open-clip")
    (out / "open-clip").mkdir()
    torch.save({"state_dict": opened.state_dict()}, out / "open-clip" / "open_clip_pytorch_model.bin")
    write_json(out / "open-clip" / "open_clip_config.json", {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {
                "image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8
            },
            "text_cfg": {
                "context_length": 77, "vocab_size": len(tokenizer), "width": 32, "heads": 4,
                "layers": 2,
            },
        }
    })
    x = randn("metrics/clip/pixels", 2, 3, 32, 32)
    towers = {
        "clip": (clip.get_image_features, clip.get_text_features),
        "open-clip": (opened.encode_image, opened.encode_text),
    }
    for name, (image_tower, text_tower) in towers.items():
        tensors |= {
            f"{name}.pixels": x.clone(),
            f"{name}.image": output(image_tower(x)),
            f"{name}.text": output(text_tower(ids)),
        }

    for name, model in {"timm-dino": vision_transformer(), "timm-dinov3": timm_dinov3()}.items():
        randomise(model, f"metrics/{name}")
        (out / name).mkdir()
        weights = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(weights, out / name / "model.safetensors")
        write_json(out / name / "config.json", {"architecture": name})
        x = randn(f"metrics/{name}", 2, 3, 32, 32)
        tensors |= {f"{name}.pixels": x, f"{name}.class": model.forward_features(x)[:, 0].clone()}

    dreamsim = save_dreamsim(out / "dreamsim")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    tensors |= {"dreamsim.pixels": x, "dreamsim.embedding": dreamsim(x)}

    small = {"dino": short_side(36, 32, IMAGENET), "clip": short_side(32, 32, CLIP_STATISTICS)}
    embed_v3 = lambda x: models["dinov3"](x).last_hidden_state[:, 0]
    text = output(clip.get_text_features(ids))
    image_tower = lambda x: output(clip.get_image_features(x))
    found["dinov3"] = scores(embed_v3, squash_floats(32))
    embed_v2 = lambda x: models["dinov2"](x).last_hidden_state[:, 0]
    found["dinov2"] = scores(embed_v2, small["dino"])
    found["clip-i"] = scores(image_tower, small["clip"])
    found["clip-t"] = scores(image_tower, small["clip"], text)
    found["hpsv2"] = scores(opened.encode_image, long_side(32), opened.encode_text(ids))
    found["dreamsim"] = [1 - x for x in scores(dreamsim, squash(32))]
    found["prompts"] = PROMPTS
    write_tensors(out / "parity.safetensors", tensors)
    write_json(out / "scores.json", found)
    write_tensors(out / "preprocessing.safetensors", preprocessing())
    write_json(out / "pillow.json", pillow())


def main():
    """Parse the command line and write the fixtures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "metrics")
    torch.set_num_threads(1)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
