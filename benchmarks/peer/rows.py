"""The table of rows: what is timed, by name.

`ROWS[name](setup)` builds a row's inputs and returns a function without arguments that does the
work once.
"""

import dataclasses
import functools
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler

import ops
from bilevel import Bilevel, gradient, hessian_product, project
from model import RANK, Model, load, orthonormal

RATE_UNET, RATE_TEXT = 1e-4, 1e-5
DIRECTIONS = 400
CONCEPTS = 101
STEPS, GUIDANCE = 25, 7.5


@dataclasses.dataclass
class Setup:
    """What all rows share; the model is loaded when the first row asks for it."""

    device: torch.device
    dtype: torch.dtype
    folder: Path | None
    resolution: int
    channels_last: bool = False
    stock: bool = False
    compile: bool = False
    jvp_flash: bool = False

    @functools.cached_property
    def model(self):
        options = self.channels_last, self.stock
        return Model(self.model_folder(), self.device, self.dtype, *options)

    @functools.cached_property
    def vae(self):
        return load(self.model_folder(), self.device, self.dtype, AutoencoderKL, "vae")

    def model_folder(self):
        """The folder that rows with a model need."""
        if self.folder is None:
            raise ValueError("this row needs a model: start with --model DIR")
        return self.folder

    def compiled(self, function):
        """What `torch.compile` makes of a function, if that was asked for."""
        return torch.compile(function) if self.compile else function

    def side(self):
        """Height and width of the latents."""
        return self.resolution // 8

    def randn(self, *shape, dtype=None):
        """Standard normal numbers on the device."""
        return torch.randn(shape, device=self.device, dtype=dtype or self.dtype)


def unet_forward(setup):
    """The UNet alone on latents `[1, 4, side, side]` and context `[1, 77, width]`."""
    model, side = setup.model, setup.side()
    config = model.unet.config
    latents = setup.randn(1, config.in_channels, side, side)
    context = setup.randn(1, 77, config.cross_attention_dim)
    timesteps = torch.tensor([500], device=setup.device)
    model.explicit_attention(False)
    predict = setup.compiled(model.predict)
    return torch.inference_mode()(lambda: predict(latents, timesteps, context))


def loss_forward(setup):
    """The loss: the text encoder on one prompt per layer, then the UNet, with adapters."""
    loss, parameters = objective(setup)
    return torch.inference_mode()(lambda: loss(*parameters))


def lora_gradient(setup):
    """Value and gradient of the loss in A, B and the token rows."""
    loss, parameters = objective(setup)
    return lambda: gradient(loss, *parameters)


def hessian_product_row(setup):
    """H_AA V and H_BA V of the loss at all sites."""
    loss, (up, down, rows) = objective(setup)
    direction = [torch.ones_like(a) for a in up]
    return lambda: hessian_product(loss, up, down, rows, direction)


def iteration(setup, hvp):
    """One minibatch of the bilevel method, K = 1 and T = 2, without earlier concepts."""
    loss, parameters = objective(setup)
    rates = [RATE_UNET if name.startswith("unet.") else RATE_TEXT for name in setup.model.sites]
    concept = Bilevel(lambda _, *at: loss(*at), *parameters, rates, hvp)
    return concept.step


def objective(setup):
    """The loss on one image as a function of A, B and token rows, and values of those."""
    sample = setup.model.sample(setup.side())
    loss = setup.compiled(functools.partial(setup.model.loss, sample))
    return loss, setup.model.parameters()


def project_100(setup):
    """CGS2 of every site's Bᵀ `[4, m]` against Qᵀ `[min(400, m − 4), m]`, in float32.

    Site by site on the CPU; on a GPU the sites of the same m are one batched product.
    """
    widths = sorted(site.in_features for site in setup.model.sites.values())
    bases = [orthonormal(min(DIRECTIONS, m - RANK), m).to(setup.device) for m in widths]
    downs = [setup.randn(RANK, m, dtype=torch.float32) for m in widths]
    if setup.device.type == "cpu":
        return torch.inference_mode()(lambda: list(map(project, downs, bases)))

    spans = [(widths.index(m), widths.index(m) + widths.count(m)) for m in sorted(set(widths))]
    stacks = [torch.stack(bases[start:end]) for start, end in spans]

    def batched():
        for (start, end), stack in zip(spans, stacks):
            project(torch.stack(downs[start:end]), stack)

    return torch.inference_mode()(batched)


def compose_101(setup, how):
    """101 adapters of rank 4 at every site, in the model's precision.

    - `factors`: the factors side by side and no more, `[A_1 … A_N]` and `[B_1 … B_N]`
    - `product`: then `W + [A_1 … A_N] [B_1 … B_N]ᵀ`
    - `one_by_one`: `W + Σ A_i B_iᵀ` adapter by adapter, as PEFT merges
    """
    sites = [site.weight for site in setup.model.sites.values()]
    ups = [[setup.randn(len(w), RANK) / 100 for _ in range(CONCEPTS)] for w in sites]
    downs = [[setup.randn(RANK, w.shape[1]) for _ in range(CONCEPTS)] for w in sites]

    def merge(weight, up, down):
        if how == "factors":
            return torch.cat(up, 1), torch.cat(down)
        if how == "product":
            return torch.addmm(weight, torch.cat(up, 1), torch.cat(down))
        merged = weight.clone()
        for a, b in zip(up, down):
            merged += a @ b
        return merged

    return torch.inference_mode()(lambda: list(map(merge, sites, ups, downs)))


def sample_25(setup):
    """25 DDIM steps with guidance 7.5 (a batch of 2), then the VAE's decoder."""
    model, vae, side = setup.model, setup.vae, setup.side()
    config = model.unet.config
    scheduler = DDIMScheduler.from_config(model.schedule.config)
    scheduler.set_timesteps(STEPS, device=setup.device)
    noise = setup.randn(1, config.in_channels, side, side)
    context = setup.randn(2, 77, config.cross_attention_dim)
    model.explicit_attention(False)
    predict = setup.compiled(model.predict)

    def run():
        latents = noise
        for timestep in scheduler.timesteps:
            batch = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            negative, prompt = predict(batch, timestep, context).chunk(2)
            guided = negative + GUIDANCE * (prompt - negative)
            latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
        return vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]

    return torch.inference_mode()(run)


def operation_rows():
    """`operation/shape/form` → builder."""

    def row(operation, form):
        return lambda setup: ops.build(operation, form, setup)

    return {f"{name}/{form}": row(name, form) for name in ops.OPS for form in ops.FORMS}


ROWS = {
    **operation_rows(),
    "unet_forward": unet_forward,
    "loss_forward": loss_forward,
    "lora_gradient": lora_gradient,
    "hessian_product": hessian_product_row,
    "seqlora_iteration": functools.partial(iteration, hvp="keep"),
    "seqlora_iteration_replay": functools.partial(iteration, hvp="replay"),
    "alternating_iteration": functools.partial(iteration, hvp="none"),
    "project_100": project_100,
    "compose_101": functools.partial(compose_101, how="product"),
    "compose_101_factors": functools.partial(compose_101, how="factors"),
    "compose_101_one_by_one": functools.partial(compose_101, how="one_by_one"),
    "sample_25": sample_25,
}

# What `torch.compile` can do: it has no forward mode and no second derivatives.
COMPILED = ["unet_forward", "loss_forward", "lora_gradient", "alternating_iteration", "sample_25"]


def table(setup):
    """The rows that a setup can do."""

    def is_compiled(name):
        return name in COMPILED or name.endswith(("/forward", "/gradient"))

    if setup.compile:
        return {name: row for name, row in ROWS.items() if is_compiled(name)}
    if setup.jvp_flash:
        return {
            name: row
            for name, row in ROWS.items()
            if name.startswith("attention/") and name.endswith("/tangent")
        }
    return ROWS
