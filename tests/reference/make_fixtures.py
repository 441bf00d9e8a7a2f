"""Write the reference tensors that the Rust tests compare themselves with.

Everything is computed with PyTorch, diffusers and transformers, on the CPU, from fixed seeds:

    python make_fixtures.py                     all fixtures, into ../fixtures
    python make_fixtures.py --out DIR           the same, into DIR
    python make_fixtures.py --model-only DIR    only a tiny SD1.5-like model, to try things out
    python make_fixtures.py --full DIR          a random model of SD1.5's true size, in float16

What is written:

    tiny-sd1/  tiny-sd2/             complete diffusers folders, every parameter random
    tiny-vit/                        a folder of transformers' ViTModel, likewise
    parity_sd{1,2}.safetensors       inputs and outputs of the UNet, text encoder and VAE
    parity_vit.safetensors           the same of the ViT, at its own and at another image size
    prompts.json                     prompts and their token ids under both tokenizers
    schedulers.safetensors, .json    sampler trajectories, noise schedules, DDPM targets
    text2image_sd{1,2}.safetensors   StableDiffusionPipeline, end to end
    second_order_sd1.safetensors     LoRA gradients, Hessian-vector products, hypergradient
    fixtures.json                    versions, seed, and the settings behind the files above

All references are computed from the *saved* folders, read back as float32: tiny-sd2 is stored in
half precision, and its references belong to the rounded weights. Notation follows the method:
a site computes `y = W x + b + A (Bᵀ x)` with A (n, r) and B (m, r).
"""

import argparse
import functools
import json
import platform
import shutil
import zlib
from pathlib import Path

import diffusers
import safetensors
import tokenizers
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, ViTConfig, ViTModel

SEED = 20_250_601
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "fixtures"

# --- Randomness -------------------------------------------------------------------------------


def generator(label):
    """A generator of its own for every labelled tensor: adding one never changes another."""
    return torch.Generator().manual_seed(SEED + zlib.crc32(label.encode()))


def randn(label, *shape):
    """Standard normal float32 tensor that depends only on `SEED`, the label and the shape."""
    return torch.randn(*shape, generator=generator(label))


def rand(label, *shape):
    """Uniform float32 tensor on [0, 1), otherwise as `randn`."""
    return torch.rand(*shape, generator=generator(label))


def randomise(model, label):
    """Give every parameter a random value that keeps activations of order one.

    Biases get 0.1·N, normalisation weights 1 + 0.1·N, embeddings 0.5·N, and matrices and
    convolutions N/√fan_in. Nothing stays zero or one, so no term of a forward can be missed.
    """
    for name, parameter in model.named_parameters():
        value = randn(f"{label}/{name}", *parameter.shape)
        if name.endswith("bias"):
            value *= 0.1
        elif parameter.ndim == 1:
            value = 1 + 0.1 * value
        elif "_embedding.weight" in name or name.endswith(("cls_token", "position_embeddings")):
            value *= 0.5
        else:
            value /= parameter[0].numel() ** 0.5
        parameter.data.copy_(value)
    return model.eval()


# --- Tokenizer --------------------------------------------------------------------------------

SUBJECTS = "dog cat bear plushie toy barn backpack vase teapot duck boot lamp person".split()
COLOURS = "red blue green yellow black white pink".split()
PLACES = [
    "on a table",
    "on the beach",
    "in the snow",
    "in a forest",
    "in front of a wooden house",
    "on top of a purple rug",
    "with a city in the background",
    "under the tree with autumn leaves",
]
STYLES = [
    "a photo of a",
    "a good photo of the",
    "a close-up picture of one",
    "an oil painting of a",
    "a cropped and blurry image of my",
    "a rendering of the nice, small",
]


def corpus():
    """Made-up sentences that hold every word above, enough to learn each as one token."""
    sentences = [
        f"{style} {colour} {subject} {place}."
        for style in STYLES
        for colour in COLOURS
        for subject in SUBJECTS
        for place in PLACES
    ]
    return sentences + ["it's lowres, bad anatomy, low quality, worst quality, cropped!"] * 20


def clip_vocabulary():
    """Learn a small vocabulary laid out as CLIP's: 256 bytes, 256 bytes + `</w>`, merges, specials.

    The normaliser and pre-tokeniser are those of `CLIPTokenizer`. All bytes are tokens, so any text
    can be encoded, and learning goes on until every word of the corpus is one token.
    """
    clip = CLIPTokenizer().backend_tokenizer
    learner = tokenizers.Tokenizer(BPE(end_of_word_suffix="</w>"))
    learner.normalizer = clip.normalizer
    learner.pre_tokenizer = clip.pre_tokenizer
    trainer = BpeTrainer(
        initial_alphabet=ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(corpus(), trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    tokens = byte_symbols() + [symbol + "</w>" for symbol in byte_symbols()]
    tokens += [left + right for left, right in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}, merges


def byte_symbols():
    """The 256 printable stand-ins for bytes, in CLIP's order: printable bytes first, `!` is 0."""
    return sorted(ByteLevel.alphabet(), key=lambda symbol: (ord(symbol) >= 256, ord(symbol)))


def make_tokenizer():
    """Tokenizer as Stable Diffusion 1 uses it: 77 tokens, padded with `<|endoftext|>`."""
    vocabulary, merges = clip_vocabulary()
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def save_original_tokenizer(folder, pad_token):
    """Write the four files of the original repositories: no tokenizer.json."""
    vocabulary, merges = clip_vocabulary()
    specials = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": pad_token,
    }
    config = {
        **specials,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": 77,
        "tokenizer_class": "CLIPTokenizer",
    }
    folder.mkdir(parents=True)
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2"] + [" ".join(pair) for pair in merges]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "special_tokens_map.json", specials)
    write_json(folder / "tokenizer_config.json", config)


def token_ids(tokenizer, prompts):
    """Token ids as the pipeline makes them: cut and padded to 77, shape (len(prompts), 77)."""
    batch = tokenizer(
        prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    return batch.input_ids


# --- Models -----------------------------------------------------------------------------------

NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
STABLE_DIFFUSION_SCHEDULER = {
    **NOISE_SCHEDULE,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "skip_prk_steps": True,
    "timestep_spacing": "leading",
}
TINY_VAE = {
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": 64,
    "scaling_factor": 0.18215,
}
SD1_UNET = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD1_TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
    "projection_dim": 768,
}
SD1_VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}


def text_config(tokenizer, **options):
    """CLIP text configuration whose special token ids are the tokenizer's."""
    return CLIPTextConfig(
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )


def assemble(unet, vae, text_encoder, tokenizer, scheduler):
    """Pipeline without a safety checker, as a container of its parts."""
    return StableDiffusionPipeline(
        unet=unet,
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def tiny_sd1():
    """SD1.5 in small: two levels, convolution projections, four heads everywhere, quick GELU.

    `attention_head_dim: 4` means four heads: diffusers reads that field as the number of heads.
    """
    tokenizer = make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[24, 48],
        layers_per_block=1,
        down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    text = text_config(
        tokenizer,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="quick_gelu",
        projection_dim=32,
    )
    return assemble(
        unet=randomise(unet, "sd1/unet"),
        vae=randomise(AutoencoderKL(block_out_channels=[8, 16, 16, 24], **TINY_VAE), "sd1/vae"),
        text_encoder=randomise(CLIPTextModel(text), "sd1/text_encoder"),
        tokenizer=tokenizer,
        scheduler=PNDMScheduler.from_config(
            {**STABLE_DIFFUSION_SCHEDULER, "prediction_type": "epsilon"}
        ),
    )


def tiny_sd2():
    """SD2.1 in small: three levels of two layers, linear projections, a list of head counts, GELU.

    The UNet and text encoder are float16 and the VAE bfloat16, as such repositories often are.
    """
    tokenizer = make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=[16, 16, 32],
        layers_per_block=2,
        down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        norm_num_groups=8,
        cross_attention_dim=40,
        attention_head_dim=[2, 4, 4],
        use_linear_projection=True,
    )
    text = text_config(
        tokenizer,
        vocab_size=len(tokenizer),
        hidden_size=40,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=5,
        hidden_act="gelu",
        projection_dim=24,
    )
    vae = AutoencoderKL(block_out_channels=[8, 8, 16, 16], **TINY_VAE)
    return assemble(
        unet=randomise(unet, "sd2/unet").half(),
        vae=randomise(vae, "sd2/vae").bfloat16(),
        text_encoder=randomise(CLIPTextModel(text), "sd2/text_encoder").half(),
        tokenizer=tokenizer,
        scheduler=DDIMScheduler.from_config(
            {**STABLE_DIFFUSION_SCHEDULER, "prediction_type": "v_prediction"}
        ),
    )


def tiny_vit():
    """DINO's ViT-S/16 in small: heads of width 8, feed-forward layers four times as wide."""
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=32,
        patch_size=8,
    )
    return randomise(ViTModel(config, add_pooling_layer=False), "vit")


def full_sd1():
    """SD1.5 at its true size in float16: norms 1, biases 0, all else N(0, 0.02²)."""
    tokenizer = make_tokenizer()
    with torch.device("meta"):
        models = [
            UNet2DConditionModel(**SD1_UNET),
            AutoencoderKL(**SD1_VAE),
            CLIPTextModel(text_config(tokenizer, **SD1_TEXT)),
        ]
    torch.manual_seed(SEED)
    for model in models:
        model.half().to_empty(device="cpu")
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.data.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                parameter.data.normal_(std=0.02)
    unet, vae, text_encoder = models
    scheduler = PNDMScheduler.from_config(
        {**STABLE_DIFFUSION_SCHEDULER, "prediction_type": "epsilon"}
    )
    return assemble(unet, vae, text_encoder, tokenizer, scheduler)


def save_sd2(pipe, folder):
    """Save in the shapes older repositories have, which our loader must read as well.

    The UNet is sharded, and the tokenizer has vocab.json and merges.txt and pads with `!` (id 0).
    The text encoder's keys start with `text_model.`, which transformers 5 no longer writes, beside
    a table of positions that no one needs. The VAE's attention has its names of before 2023.
    """
    pipe.save_config(folder)
    pipe.unet.save_pretrained(folder / "unet", max_shard_size="300KB")
    pipe.vae.save_pretrained(folder / "vae")
    pipe.scheduler.save_pretrained(folder / "scheduler")
    save_original_tokenizer(folder / "tokenizer", pad_token="!")
    pipe.text_encoder.save_pretrained(folder / "text_encoder")

    weights = folder / "text_encoder" / "model.safetensors"
    classic = {f"text_model.{key}": value for key, value in load_file(weights).items()}
    classic["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(classic, weights, metadata={"format": "pt"})

    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    classic = load_file(weights)
    for new, old in old_names.items():
        classic = {key.replace(f".{new}.", f".{old}."): value for key, value in classic.items()}
    save_file(classic, weights, metadata={"format": "pt"})


def load(folder):
    """Read a saved folder as a float32 pipeline."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


# --- Parity of single modules -----------------------------------------------------------------

PROMPTS = [
    "a photo of a dog",
    "A Photo of a RED cat, on the table!",
    "",
    "  double  spaces,\ttabs\nand a\u00a0hard space  ",
    "it's the bear's plushie; don't they've we'll I'm he'd 'salt",
    "zxqv unknownword teddybears backpacking",
    "café naïve Ünïcödé façade",
    "cafe\u0301 and A\u030angstro\u0308m, decomposed",
    "日本語のおもちゃ 🐶🧸 Привет ΣΊΣΥΦΟΣ İstanbul",
    "12345 3.14 50% off ½ ² Ⅷ ٣",
    "wow! dog !! toy!? ! !cat",
    "a-b_c/d\\e (f) [g] {h} <x1> <x2> # @ & * ~ `` \u2014 \u201cquoted\u201d\u2026",
    "<|startoftext|> dog <|endoftext|> cat <|EndOfText|>",
    "\u200bzero\u200dwidth\ufeff and control \u0007 bell",
    "a photo of a red dog and a blue cat and " * 12,
]
PARITY_PROMPTS = [PROMPTS[0], PROMPTS[4]]


@torch.no_grad()
def parity(pipe, label):
    """Inputs and outputs of the UNet, the text encoder and both halves of the VAE."""
    width = pipe.unet.config.cross_attention_dim
    ids = token_ids(pipe.tokenizer, PARITY_PROMPTS)
    sample = randn(f"{label}/sample", 2, 4, 8, 8)
    timesteps = torch.tensor([17, 801])
    context = randn(f"{label}/context", 2, 77, width)
    pixels = 2 * rand(f"{label}/pixels", 1, 3, 64, 64) - 1
    latent = randn(f"{label}/latent", 1, 4, 8, 8)
    layers = cross_attentions(pipe.unet)
    ctx_layers = randn(f"{label}/ctx_layers", 2, len(layers), 77, width)
    posterior = pipe.vae.encode(pixels).latent_dist
    return {
        "unet.sample": sample,
        "unet.timesteps": timesteps,
        "unet.encoder_hidden_states": context,
        "unet.output": pipe.unet(sample, timesteps, context).sample,
        "unet.ctx_layers": ctx_layers,
        "unet.output_ctx_layers": layerwise_unet(pipe.unet, sample, timesteps, ctx_layers),
        "text_encoder.input_ids": ids,
        "text_encoder.last_hidden_state": pipe.text_encoder(ids).last_hidden_state,
        "vae.pixels": pixels,
        "vae.mean": posterior.mean,
        "vae.logvar": posterior.logvar,
        "vae.latent": latent,
        "vae.decoded": pipe.vae.decode(latent).sample,
    }


@torch.no_grad()
def vit_parity(model):
    """Hidden states of images of the size that the position embeddings fit, and of another."""
    native, other = randn("vit/pixels", 2, 3, 32, 32), randn("vit/other_pixels", 1, 3, 48, 40)
    return {
        "pixels": native,
        "last_hidden_state": model(native).last_hidden_state,
        "other_pixels": other,
        "other_last_hidden_state": model(other, interpolate_pos_encoding=True).last_hidden_state,
    }


def cross_attentions(unet):
    """The cross-attention modules in the order that numbers them: down, mid, up."""
    stages = [unet.down_blocks, unet.mid_block, unet.up_blocks]
    return [
        module
        for stage in stages
        for name, module in stage.named_modules()
        if name.endswith(".attn2")
    ]


def layerwise_unet(unet, sample, timesteps, ctx_layers):
    """UNet forward in which cross-attention number l sees the context `ctx_layers[:, l]`."""

    def use_context(context, _module, args, kwargs):
        return args, {**kwargs, "encoder_hidden_states": context}

    hooks = [
        attention.register_forward_pre_hook(
            functools.partial(use_context, ctx_layers[:, index]), with_kwargs=True
        )
        for index, attention in enumerate(cross_attentions(unet))
    ]
    output = unet(sample, timesteps, ctx_layers[:, 0]).sample
    for hook in hooks:
        hook.remove()
    return output


def prompt_table(pipes):
    """Prompts and their padded ids under each pipeline's tokenizer."""
    table = {"prompts": PROMPTS}
    for label, pipe in pipes.items():
        tokenizer = pipe.tokenizer
        table[label] = {
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "ids": token_ids(tokenizer, PROMPTS).tolist(),
        }
    return table


# --- Schedulers -------------------------------------------------------------------------------

SPACINGS = ["leading", "trailing", "linspace"]
PREDICTIONS = ["epsilon", "v_prediction"]


def scheduler_cases():
    """Every (name, scheduler class, configuration, steps) of which a trajectory is stored."""
    cases = []

    def add(kind, scheduler, steps, **config):
        config = {**NOISE_SCHEDULE, **config}
        cases.append((f"{kind}/{steps}", scheduler, config, steps))

    for spacing in SPACINGS:
        for prediction in PREDICTIONS:
            common = {"timestep_spacing": spacing, "prediction_type": prediction}
            for last in [False, True]:
                for steps in [5, 20]:
                    kind = f"ddim/{spacing}/{prediction}/{'one' if last else 'first'}"
                    config = {**common, "set_alpha_to_one": last, "clip_sample": False}
                    add(kind, DDIMScheduler, steps, **config)
            for karras in [False, True]:
                sigmas = "karras" if karras else "plain"
                for steps in [5, 20, 25]:
                    add(
                        f"dpm/{spacing}/{prediction}/{sigmas}",
                        DPMSolverMultistepScheduler,
                        steps,
                        **common,
                        use_karras_sigmas=karras,
                        algorithm_type="dpmsolver++",
                        solver_order=2,
                        solver_type="midpoint",
                        lower_order_final=True,
                        final_sigmas_type="zero",
                    )
                for steps in [5, 20]:
                    add(
                        f"euler/{spacing}/{prediction}/{sigmas}",
                        EulerDiscreteScheduler,
                        steps,
                        **common,
                        use_karras_sigmas=karras,
                    )
            for steps in [5, 20]:
                kind = f"euler_a/{spacing}/{prediction}"
                add(kind, EulerAncestralDiscreteScheduler, steps, **common)
    for steps in [5, 20]:
        add(
            "ddim/zero_snr",
            DDIMScheduler,
            steps,
            timestep_spacing="trailing",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            set_alpha_to_one=False,
            clip_sample=False,
        )
    return cases


def fake_model(sample, timestep):
    """Stands in for a network: smooth, nonlinear, dependent on time."""
    return 0.3 * torch.sin(sample) + 0.1 * sample * timestep / 1000


def trajectory(scheduler, steps, noise):
    """Run a sampler on the fake model: timesteps, every sample, and sigmas if it has any.

    A sampler that draws noise in step i draws what `fresh_noise` has there.
    """
    scheduler.set_timesteps(steps)
    sample = noise * scheduler.init_noise_sigma
    samples = []
    for index, timestep in enumerate(scheduler.timesteps):
        output = fake_model(scheduler.scale_model_input(sample, timestep), timestep)
        draws = generator(f"schedulers/fresh/{index}")
        sample = scheduler.step(output, timestep, sample, generator=draws).prev_sample
        samples.append(sample)
    stored = {"timesteps": scheduler.timesteps.float(), "samples": torch.stack(samples)}
    if hasattr(scheduler, "sigmas"):
        stored["sigmas"] = scheduler.sigmas
    return stored


def fresh_noise(steps, shape):
    """The noise of each step of an ancestral sampler."""
    return torch.stack([randn(f"schedulers/fresh/{index}", *shape) for index in range(steps)])


def scheduler_fixtures():
    """Tensors of all trajectories, noise schedules and DDPM targets, and their description."""
    noise = randn("schedulers/init", 1, 4, 4, 4)
    tensors, cases = {"init": noise, "fresh": fresh_noise(20, noise.shape)}, []
    for name, cls, config, steps in scheduler_cases():
        scheduler = cls(**config)
        for key, value in trajectory(scheduler, steps, noise).items():
            tensors[f"{name}.{key}"] = value
        sigma = float(scheduler.init_noise_sigma)
        cases.append(
            {
                "name": name,
                "class": cls.__name__,
                "steps": steps,
                "init_noise_sigma": sigma,
                "config": config,
            }
        )

    schedules = {
        "linear": {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
        "scaled_linear": {"beta_schedule": "scaled_linear"},
        "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
        "zero_snr": {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
    }
    for name, config in schedules.items():
        schedules[name] = {**NOISE_SCHEDULE, **config}
        tensors[f"alphas_cumprod.{name}"] = DDPMScheduler(**schedules[name]).alphas_cumprod

    ddpm = DDPMScheduler(**NOISE_SCHEDULE)
    clean, added = (randn(f"schedulers/ddpm/{key}", 4, 4, 4, 4) for key in ["clean", "noise"])
    timesteps = torch.tensor([0, 1, 500, 999])
    tensors |= {
        "ddpm.clean": clean,
        "ddpm.noise": added,
        "ddpm.timesteps": timesteps,
        "ddpm.noisy": ddpm.add_noise(clean, added, timesteps),
        "ddpm.velocity": ddpm.get_velocity(clean, added, timesteps),
    }
    description = {
        "fake_model": "0.3 * sin(x) + 0.1 * x * t / 1000, x after scale_model_input",
        "first_sample": "init * init_noise_sigma",
        "noise_of_step_i": "fresh[i]",
        "trajectories": cases,
        "alphas_cumprod": schedules,
        "ddpm": NOISE_SCHEDULE,
    }
    return tensors, description


# --- Text to image ----------------------------------------------------------------------------

TEXT2IMAGE = {
    "prompt": "a photo of a red plushie on the table",
    "negative_prompt": "lowres, bad anatomy",
    "guidance_scale": 7.5,
    "num_inference_steps": 5,
}
SAMPLERS = {
    "ddim": (DDIMScheduler, {}),
    "dpm": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "euler_a": (EulerAncestralDiscreteScheduler, {}),
}


def text2image(pipe, label):
    """Latents after every step, final latents and image in [0, 1] of each sampler.

    `fresh` is what a generator that starts anew for each sampler gives it step by step.
    """
    first = randn(f"{label}/text2image", 1, 4, 8, 8)
    config = pipe.scheduler.config
    fresh = randn(f"{label}/text2image/fresh", TEXT2IMAGE["num_inference_steps"], *first.shape)
    tensors = {"latents": first, "fresh": fresh}
    for name, (cls, options) in SAMPLERS.items():
        pipe.scheduler = cls.from_config(config, **options)
        steps = []

        def record(_pipe, _step, _timestep, state):
            steps.append(state["latents"])
            return state

        image = pipe(
            **TEXT2IMAGE,
            latents=first.clone(),
            generator=generator(f"{label}/text2image/fresh"),
            output_type="pt",
            callback_on_step_end=record,
        ).images
        tensors[f"{name}.trajectory"] = torch.stack(steps)
        tensors[f"{name}.latents"] = steps[-1]
        tensors[f"{name}.image"] = image
    return tensors


# --- Second order -----------------------------------------------------------------------------

LORA_RANK = 2
INNER_RATE = 0.05
INNER_STEPS = 2
SECOND_ORDER_PROMPTS = ["a photo of a red dog plushie", "a blue toy bear on the table!"]


class Adapters:
    """LoRA at every attention projection of the UNet and the text encoder.

    `up` and `down` hold A and B of each site; hooks add `A (Bᵀ x)` to the frozen layers' outputs,
    so that the loss is a function of whatever tensors they hold at the time.
    """

    def __init__(self, pipe):
        self.up, self.down = {}, {}
        self.linears = adapted_linears(pipe)
        for site, linear in self.linears.items():
            linear.register_forward_hook(functools.partial(self._add, site))

    def _add(self, site, _module, args, output):
        return output + args[0] @ self.down[site] @ self.up[site].T


def adapted_linears(pipe):
    """Site name → frozen layer, sorted by name; text encoder sites in the `text_model.` form."""
    linears = {
        f"unet.{name}": module
        for name, module in pipe.unet.named_modules()
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0"))
    }
    for name, module in pipe.text_encoder.named_modules():
        if name.endswith(("q_proj", "k_proj", "v_proj", "out_proj")):
            linears[f"text_encoder.text_model.{name}"] = module
    return dict(sorted(linears.items()))


def site_values(label, linears, scale, side):
    """Random factors of every site, `side` being out_features (A) or in_features (B)."""
    return {
        site: scale * randn(f"second_order/{label}/{site}", getattr(linear, side), LORA_RANK)
        for site, linear in linears.items()
    }


def draw(label):
    """One minibatch's noise and timesteps."""
    timesteps = torch.randint(0, 1000, (2,), generator=generator(f"second_order/{label}/timesteps"))
    return {"noise": randn(f"second_order/{label}/noise", 2, 4, 8, 8), "timesteps": timesteps}


def denoising_loss(pipe, adapters, data, minibatch):
    """The masked diffusion loss and the prediction; the text encoder is part of the graph.

    mean over the batch of Σ_{c,h,w} M (ε̂ − ε)² / Σ_{h,w} M: four channels above, one below.
    """
    noise, timesteps = minibatch["noise"], minibatch["timesteps"]
    ddpm = DDPMScheduler.from_config(pipe.scheduler.config)
    noisy = ddpm.add_noise(data["latents"], noise, timesteps)
    context = pipe.text_encoder(data["input_ids"]).last_hidden_state
    prediction = pipe.unet(noisy, timesteps, context).sample
    mask = data["mask"]
    error = (mask * (prediction - noise) ** 2).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
    return error.mean(), prediction


def gradients(value, values, **options):
    """Gradient of a scalar for each entry of a dictionary of tensors."""
    return dict(zip(values, torch.autograd.grad(value, list(values.values()), **options)))


def leaves(values):
    """Fresh copies of the tensors that record gradients."""
    return {key: value.detach().clone().requires_grad_() for key, value in values.items()}


def second_order(pipe):
    """Gradients, Hessian-vector products and the hypergradient of two inner steps.

    Computed in float64 and stored in float32, with unfused attention, whose second derivative
    PyTorch knows. All inputs are float32 values, so that both sides start from the same numbers.
    Leaves the pipeline in float64 and with adapters on.
    """
    adapters = Adapters(pipe)
    up = site_values("A", adapters.linears, 0.1, "out_features")
    down = site_values("B", adapters.linears, 0.1, "in_features")
    direction = site_values("V", adapters.linears, 1.0, "out_features")
    data = {
        "latents": randn("second_order/latents", 2, 4, 8, 8),
        "mask": rand("second_order/mask", 2, 1, 8, 8),
        "input_ids": token_ids(pipe.tokenizer, SECOND_ORDER_PROMPTS),
    }
    outer = draw("outer")
    inner = [draw(f"inner{step}") for step in range(INNER_STEPS)]
    tensors = {**data, **outer}
    for step, minibatch in enumerate(inner):
        tensors |= {f"inner{step}.{key}": value for key, value in minibatch.items()}
    tensors |= by_site(A=up, B=down, V=direction)

    pipe.unet.double().requires_grad_(False)
    pipe.text_encoder.double().requires_grad_(False)
    data, outer, *inner = (double(values) for values in [data, outer, *inner])
    up, down, direction = double(up), double(down), double(direction)
    with sdpa_kernel(SDPBackend.MATH):
        loss = functools.partial(denoising_loss, pipe, adapters, data)
        tensors |= derivatives(adapters, up, down, direction, lambda: loss(outer))
        tensors |= hypergradient(adapters, up, down, loss, inner, outer)
    return {
        key: value.float() if value.is_floating_point() else value for key, value in tensors.items()
    }


def derivatives(adapters, up, down, direction, loss):
    """Loss, gradients, and H_AA V and H_BA V by differentiating ⟨∇_A L, V⟩."""
    adapters.up, adapters.down = leaves(up), leaves(down)
    value, prediction = loss()
    grad_up = gradients(value, adapters.up, create_graph=True)
    grad_down = gradients(value, adapters.down, retain_graph=True)
    slope = sum((grad_up[site] * direction[site]).sum() for site in grad_up)
    return {
        "loss": value.detach(),
        "prediction": prediction.detach(),
        **by_site(
            grad_A=grad_up,
            grad_B=grad_down,
            hAA=gradients(slope, adapters.up, retain_graph=True),
            hBA=gradients(slope, adapters.down),
        ),
    }


def hypergradient(adapters, up, down, loss, inner, outer):
    """dF/dB through A_{t+1} = A_t − α ∇_A L(A_t, B; ξ_t), and ∇_B L(A_T, B) alone.

    `inner{t}.loss` is taken at A_t, and `inner{t}.A` is A_{t+1}.
    """
    tensors = {}
    adapters.up, adapters.down = leaves(up), leaves(down)
    for step, minibatch in enumerate(inner):
        value, _ = loss(minibatch)
        slopes = gradients(value, adapters.up, create_graph=True)
        adapters.up = {
            site: factor - INNER_RATE * slopes[site] for site, factor in adapters.up.items()
        }
        tensors |= {f"inner{step}.loss": value.detach()}
        tensors |= by_site(**{f"inner{step}.A": adapters.up})
    value, _ = loss(outer)
    tensors["hyper_loss"] = value.detach()
    tensors |= by_site(hyper=gradients(value, adapters.down))

    adapters.up, adapters.down = leaves(adapters.up), leaves(down)
    tensors |= by_site(hyper_none=gradients(loss(outer)[0], adapters.down))
    return tensors


def by_site(**groups):
    """Flatten `{prefix: {site: tensor}}` to `{"prefix.site": tensor}`."""
    return {
        f"{prefix}.{site}": value.detach()
        for prefix, values in groups.items()
        for site, value in values.items()
    }


def double(values):
    """The dictionary with its floating-point tensors in float64."""
    return {
        key: value.double() if value.is_floating_point() else value for key, value in values.items()
    }


# --- Files ------------------------------------------------------------------------------------


def write_json(path, value):
    """Write readable JSON, characters as they are."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_tensors(path, tensors):
    """Write safetensors; no metadata, whose order the format leaves open."""
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


def summary():
    """Versions, seed and settings."""
    return {
        "seed": SEED,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
            "tokenizers": tokenizers.__version__,
            "safetensors": safetensors.__version__,
        },
        "parity": {"prompts": PARITY_PROMPTS},
        "text2image": {**TEXT2IMAGE, "samplers": list(SAMPLERS)},
        "second_order": {
            "prompts": SECOND_ORDER_PROMPTS,
            "rank": LORA_RANK,
            "scale": 1.0,
            "inner_rate": INNER_RATE,
            "inner_steps": INNER_STEPS,
        },
    }


def write_fixtures(out):
    """Write all fixtures, replacing what an earlier run left in `out`."""
    for name in ["tiny-sd1", "tiny-sd2", "tiny-vit"]:
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    tiny_sd1().save_pretrained(out / "tiny-sd1")
    save_sd2(tiny_sd2(), out / "tiny-sd2")
    tiny_vit().save_pretrained(out / "tiny-vit")

    pipes = {label: load(out / f"tiny-{label}") for label in ["sd1", "sd2"]}
    write_json(out / "prompts.json", prompt_table(pipes))
    for label, pipe in pipes.items():
        write_tensors(out / f"parity_{label}.safetensors", parity(pipe, label))
        write_tensors(out / f"text2image_{label}.safetensors", text2image(pipe, label))
    vit = ViTModel.from_pretrained(out / "tiny-vit", add_pooling_layer=False)
    write_tensors(out / "parity_vit.safetensors", vit_parity(vit.eval()))
    write_tensors(out / "second_order_sd1.safetensors", second_order(load(out / "tiny-sd1")))
    tensors, description = scheduler_fixtures()
    write_tensors(out / "schedulers.safetensors", tensors)
    write_json(out / "schedulers.json", description)
    write_json(out / "fixtures.json", summary())


def main():
    """Parse the command line and write what it asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--out", type=Path, default=DEFAULT_OUT, help="folder of the fixtures")
    target.add_argument("--model-only", type=Path, metavar="DIR", help="only a tiny SD1.5 model")
    target.add_argument("--full", type=Path, metavar="DIR", help="only a random full-size SD1.5")
    arguments = parser.parse_args()

    torch.set_num_threads(2)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if arguments.model_only:
        tiny_sd1().save_pretrained(arguments.model_only)
    elif arguments.full:
        full_sd1().save_pretrained(arguments.full)
    else:
        write_fixtures(arguments.out)


if __name__ == "__main__":
    main()
