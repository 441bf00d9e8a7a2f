"""Write what diffusers does with the options of `seqlora generate` that choose and cut noise levels.

    python make_sampling_fixture.py             ../fixtures/sampling.json
    python make_sampling_fixture.py --out FILE  the same, into FILE

    scheduler             the model's file that the options replace keys of
    init, fresh, clean    the noise to start from, that of every ancestral step, and an image's latents
    cases[]               a sampler with its options
        timesteps         that the model is given, in order
        ratios            σ / α of each of them, α² + σ² = 1 for samplers that keep the variance
        init_noise_sigma  the standard deviation of the first sample, if it starts from noise
        end               the state after the last step, for the model of make_fixtures.py

A case with a `strength` starts from `clean`, noised as in StableDiffusionImg2ImgPipeline. diffusers has
no Karras levels for its ancestral sampler; the case `euler-a` with them runs its step on the levels of
EulerDiscreteScheduler, which is k-diffusion's sample_euler_ancestral with get_sigmas_karras.
"""

import argparse
import json
from pathlib import Path
from types import SimpleNamespace

import diffusers
import make_fixtures as fixtures
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
)

FILE = {
    **fixtures.NOISE_SCHEDULE,
    "set_alpha_to_one": False,
    "clip_sample": False,
    "prediction_type": "epsilon",
}
SHAPE = (1, 2, 2, 2)
MOST_STEPS = 30
SPACINGS = [None, "leading", "trailing", "linspace"]
STRENGTHS = [(30, 0.6), (20, 0.04), (20, 1.0), (20, 0.34), (10, 0.29), (25, 0.08)]


class AncestralKarras(EulerAncestralDiscreteScheduler):
    """The ancestral step on the Karras levels of EulerDiscreteScheduler."""

    def set_timesteps(self, steps, device=None):
        super().set_timesteps(steps, device)
        config = {**self.config, "use_karras_sigmas": True}
        levels = EulerDiscreteScheduler.from_config(config)
        levels.set_timesteps(steps, device)
        self.timesteps, self.sigmas = levels.timesteps, levels.sigmas


def classes(karras):
    return {
        **({} if karras else {"ddim": DDIMScheduler, "ddpm": DDIMScheduler}),
        "dpm++2m": DPMSolverMultistepScheduler,
        "euler": EulerDiscreteScheduler,
        "euler-a": AncestralKarras if karras else EulerAncestralDiscreteScheduler,
    }


def scheduler(name, cls, spacing, karras):
    """The sampler for the file of Stable Diffusion 1.5, with its options."""
    config = dict(FILE)
    if spacing:
        config["timestep_spacing"] = spacing
    if karras and name != "euler-a":
        config["use_karras_sigmas"] = True
    return cls.from_config(config)


def ratios(sampler, timesteps):
    """σ / α where each step starts."""
    if hasattr(sampler, "sigmas"):
        first = len(sampler.timesteps) - len(timesteps)
        return sampler.sigmas[first : first + len(timesteps)].tolist()
    alphas = sampler.alphas_cumprod[timesteps.long()]
    return ((1 - alphas) / alphas).sqrt().tolist()


def run(name, sampler, timesteps, sample):
    """The state after the last step. DDPM is DDIM with η = 1."""
    eta = {"eta": 1.0} if name == "ddpm" else {}
    for index, timestep in enumerate(timesteps):
        output = fixtures.fake_model(sampler.scale_model_input(sample, timestep), timestep)
        draws = fixtures.generator(f"schedulers/fresh/{index}")
        sample = sampler.step(output, timestep, sample, generator=draws, **eta).prev_sample
    return sample.flatten().tolist()


def case(name, cls, steps, spacing, karras, strength, noise, clean):
    sampler = scheduler(name, cls, spacing, karras)
    sampler.set_timesteps(steps)
    timesteps, sample = sampler.timesteps, noise * sampler.init_noise_sigma
    if strength is not None:
        pipe = SimpleNamespace(scheduler=sampler)
        timesteps, count = StableDiffusionImg2ImgPipeline.get_timesteps(pipe, steps, strength, "cpu")
        assert count == len(timesteps)
        if count == 0:
            return {"sampler": name, "steps": steps, "strength": strength, "timesteps": []}
        sample = sampler.add_noise(clean, noise, timesteps[:1])
    return {
        "sampler": name,
        "steps": steps,
        "spacing": spacing,
        "karras": karras,
        "strength": strength,
        "timesteps": timesteps.tolist(),
        "ratios": ratios(sampler, timesteps),
        "init_noise_sigma": float(sampler.init_noise_sigma),
        "end": run(name, sampler, timesteps, sample),
    }


def write(out):
    """Write the fixture to a file."""
    torch.set_num_threads(1)
    noise = fixtures.randn("sampling/init", *SHAPE)
    clean = fixtures.randn("sampling/clean", *SHAPE)
    fresh = fixtures.fresh_noise(MOST_STEPS, SHAPE)
    cases = []
    for karras in [False, True]:
        for name, cls in classes(karras).items():
            for spacing in SPACINGS:
                for steps in [7, 20]:
                    cases.append(case(name, cls, steps, spacing, karras, None, noise, clean))
            for steps, strength in STRENGTHS:
                cases.append(case(name, cls, steps, None, karras, strength, noise, clean))
    content = {
        "diffusers": diffusers.__version__,
        # The build for another processor has another suffix.
        "torch": torch.__version__.split("+")[0],
        "scheduler": FILE,
        "init": noise.flatten().tolist(),
        "clean": clean.flatten().tolist(),
        "fresh": fresh.flatten(1).tolist(),
        "cases": cases,
    }
    out.write_text(json.dumps(content, indent=None, separators=(",", ":")) + "\n")
    print(f"{out}: {len(cases)} cases")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=fixtures.DEFAULT_OUT / "sampling.json")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
