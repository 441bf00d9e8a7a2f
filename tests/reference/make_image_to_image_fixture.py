"""Write what diffusers' image-to-image makes of an image, for tiny-sd1.

    python make_image_to_image_fixture.py            ../fixtures/image_to_image_sd1.safetensors
    python make_image_to_image_fixture.py --out FILE the same, into FILE

    pixels              the image, [1, 3, 64, 64] in [-1, 1]
    posterior, noise    what the pipeline draws for the latents, and then to noise them
    <sampler>.latents   the latents that the image is denoised to

Prompts, guidance and steps are those of text2image in fixtures.json; the strength is STRENGTH.
"""

import argparse
from pathlib import Path

import make_fixtures as fixtures
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

STRENGTH = 0.7
SAMPLERS = {key: fixtures.SAMPLERS[key] for key in ["ddim", "dpm"]}


@torch.no_grad()
def write(out):
    """Write the fixture to a file."""
    torch.set_num_threads(1)
    text2image = fixtures.load(fixtures.DEFAULT_OUT / "tiny-sd1")
    pipe = StableDiffusionImg2ImgPipeline(**text2image.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    config = pipe.scheduler.config
    pixels = fixtures.rand("image_to_image/pixels", 1, 3, 64, 64) * 2 - 1
    draws = fixtures.generator("image_to_image/draws")
    shape = (1, 4, 8, 8)
    tensors = {
        "pixels": pixels,
        "posterior": randn_tensor(shape, generator=draws),
        "noise": randn_tensor(shape, generator=draws),
    }
    for name, (cls, options) in SAMPLERS.items():
        pipe.scheduler = cls.from_config(config, **options)
        tensors[f"{name}.latents"] = pipe(
            **fixtures.TEXT2IMAGE,
            image=(pixels + 1) / 2,
            strength=STRENGTH,
            generator=fixtures.generator("image_to_image/draws"),
            output_type="latent",
        ).images
    save_file(tensors, out)
    out.chmod(0o644)
    print(out, {name: tuple(tensor.shape) for name, tensor in tensors.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    out = fixtures.DEFAULT_OUT / "image_to_image_sd1.safetensors"
    parser.add_argument("--out", type=Path, default=out)
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
