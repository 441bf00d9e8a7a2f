"""Stable Diffusion with adapters, and its denoising loss.

A site is a linear layer of attention and computes `y = x Wᵀ + b + (x B) Aᵀ`; W and b are frozen.
As in PEFT, A is held as `up` `[outputs, rank]` (there `lora_B.weight`), and B, transposed, as
`down` `[rank, inputs]` (there `lora_A.weight`).
"""

import dataclasses
import functools

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

import frozen_conv

RANK = 4
WORDS = 2
PROMPT = "a photo of a"


@dataclasses.dataclass
class Sample:
    """Everything random about one evaluation of the loss, as values."""

    latents: Tensor  # [batch, channels, height, width]
    noise: Tensor  # the same
    mask: Tensor  # [batch, 1, height, width]
    timesteps: Tensor  # [batch]
    ids: Tensor  # [batch × copies, 77]: each prompt `copies` times, one after the other
    words: tuple[Tensor, Tensor] | None  # where the token rows go: (lines of ids, positions)
    copies: int  # one for each cross-attention layer, or 1 for all of them

    def to(self, device, dtype):
        """The sample with its floating-point tensors in `dtype`."""

        def convert(value):
            if isinstance(value, tuple):
                return tuple(convert(part) for part in value)
            if not isinstance(value, Tensor):
                return value
            return value.to(device, dtype if value.is_floating_point() else None)

        fields = [field.name for field in dataclasses.fields(self)]
        return Sample(**{name: convert(getattr(self, name)) for name in fields})


class Model:
    """UNet and text encoder of a diffusers folder, frozen, with a place for LoRA at every site."""

    def __init__(self, folder, device, dtype, channels_last=False, stock=False):
        part = functools.partial(load, folder, device, dtype)
        self.unet = part(UNet2DConditionModel, "unet")
        self.text_encoder = part(CLIPTextModel, "text_encoder")
        if channels_last:
            self.unet.to(memory_format=torch.channels_last)
        if not stock:
            frozen_conv.use_in(self.unet)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.schedule = DDPMScheduler.from_pretrained(folder / "scheduler")
        self.device, self.dtype = device, dtype
        self.explicit = None

        self.up = self.down = self.rows = self.words = self.contexts = None
        self.sites = adapted_linears(self.unet, self.text_encoder)
        for number, linear in enumerate(self.sites.values()):
            linear.register_forward_hook(functools.partial(self._add_lora, number))
        cross_attentions = cross_attention_layers(self.unet)
        self.layers = len(cross_attentions)
        for layer, attention in enumerate(cross_attentions):
            choose = functools.partial(self._choose_context, layer)
            attention.register_forward_pre_hook(choose, with_kwargs=True)
        self.text_encoder.embeddings.token_embedding.register_forward_hook(self._put_rows)

    def _add_lora(self, number, _linear, args, output):
        """PEFT's plain LoRA: the low-rank branch is added to the frozen layer's output."""
        if self.up is None:
            return output
        return add_lora(output, args[0], self.up[number], self.down[number])

    def _choose_context(self, layer, _attention, args, kwargs):
        """Every cross-attention layer sees its own encoding of the prompt (ED-LoRA, P+)."""
        if self.contexts is not None:
            own = self.contexts[layer if len(self.contexts) > 1 else 0]
            kwargs = {**kwargs, "encoder_hidden_states": own}
        return args, kwargs

    def _put_rows(self, _embedding, _args, output):
        """Replaces the embeddings of the concept's words by its own token rows."""
        if self.rows is None:
            return output
        return output.index_put(self.words, self.rows.to(output.dtype))

    def explicit_attention(self, explicit):
        """Attention written out, whose second derivative PyTorch knows, or fused."""
        if explicit == self.explicit:
            return
        self.explicit = explicit
        self.unet.set_attn_processor(AttnProcessor() if explicit else AttnProcessor2_0())
        self.text_encoder.set_attn_implementation("eager" if explicit else "sdpa")

    def loss(self, sample, up, down, rows=None, twice=False):
        """Masked denoising loss: mean over the batch of Σ_chw M (ε̂ − ε)² / Σ_hw M.

        `up` and `down` are lists of factors in the order of `self.sites`; `rows` is
        `[words × layers, width]`; `twice` says that it is to be differentiated twice.
        """
        self.explicit_attention(twice)
        self.up, self.down = up, down
        self.rows, self.words = rows, sample.words
        try:
            encoded = self.text_encoder(sample.ids).last_hidden_state
            self.contexts = encoded.unflatten(0, (-1, sample.copies)).unbind(1)
            noisy = self.schedule.add_noise(sample.latents, sample.noise, sample.timesteps)
            predicted = self.predict(noisy, sample.timesteps, self.contexts[0])
        finally:
            self.up = self.down = self.rows = self.contexts = None
        squared = sample.mask * (predicted.to(sample.noise.dtype) - sample.noise) ** 2
        return (squared.sum((1, 2, 3)) / sample.mask.sum((1, 2, 3))).mean()

    def predict(self, noisy, timesteps, context):
        """The UNet's output `[batch, channels, height, width]`."""
        return self.unet(noisy.to(self.dtype), timesteps, context, return_dict=False)[0]

    def sample(self, side):
        """One image of `side` × `side` latents whose prompt names a concept of two words."""
        shape = (1, self.unet.config.in_channels, side, side)
        tokens = self.tokenizer(PROMPT).input_ids[:-1]
        first_word = len(tokens)
        tokens += [self.tokenizer.eos_token_id] * (WORDS + 1)
        tokens += [self.tokenizer.pad_token_id] * (77 - len(tokens))
        lines = torch.arange(self.layers).repeat(WORDS)
        positions = (first_word + torch.arange(WORDS)).repeat_interleave(self.layers)
        sample = Sample(
            latents=torch.randn(shape),
            noise=torch.randn(shape),
            mask=torch.ones(1, 1, side, side),
            timesteps=torch.tensor([500]),
            ids=torch.tensor([tokens] * self.layers),
            words=(lines, positions),
            copies=self.layers,
        )
        return sample.to(self.device, torch.float32)

    def parameters(self):
        """A, B and token rows of a concept in float32, whatever the model computes in."""
        up = [1e-3 * torch.randn(site.out_features, RANK) for site in self.sites.values()]
        down = [0.5 * orthonormal(RANK, site.in_features) for site in self.sites.values()]
        rows = 0.013 * torch.randn(WORDS * self.layers, self.text_encoder.config.hidden_size)
        to_device = functools.partial(torch.Tensor.to, device=self.device)
        return list(map(to_device, up)), list(map(to_device, down)), to_device(rows)


def add_lora(output, x, up, down):
    """`output + (x B) Aᵀ`; output `[..., outputs]`, x `[..., inputs]`, factors in any precision."""
    low = F.linear(x, down.to(x.dtype))
    # One pass over the output less than a sum of two tensors.
    total = torch.addmm(output.flatten(0, -2), low.flatten(0, -2), up.to(x.dtype).T)
    return total.view_as(output)


def load(folder, device, dtype, cls, name):
    """One part of the folder, frozen."""
    module = cls.from_pretrained(folder / name, dtype=dtype)
    return module.to(device).requires_grad_(False).eval()


def orthonormal(rows, columns):
    """A random matrix `[rows, columns]` with orthonormal rows."""
    return torch.linalg.qr(torch.randn(columns, rows)).Q.T.contiguous()


def adapted_linears(unet, text_encoder):
    """Name → layer of every site: 128 in SD1.5's UNet and 48 in its text encoder."""
    sites = {}
    for name, module in unet.named_modules():
        if name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0")):
            sites[f"unet.{name}"] = module
    for name, module in text_encoder.named_modules():
        if name.endswith(("q_proj", "k_proj", "v_proj", "out_proj")):
            sites[f"text_encoder.text_model.{name}"] = module
    return sites


def cross_attention_layers(unet):
    """The layers that attend to the prompt, in the order in which an image meets them."""
    blocks = [*unet.down_blocks, unet.mid_block, *unet.up_blocks]
    modules = [named for block in blocks for named in block.named_modules()]
    return [module for name, module in modules if name.endswith(".attn2")]
