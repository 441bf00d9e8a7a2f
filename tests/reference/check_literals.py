"""Compute the numbers again that stand in the tests of samplers and noise schedules.

    python check_literals.py     names every number that differs, and exits with 1 if there is one

The tests are read as text: every row of `rows_of_diffusers` in core/src/diffusion/sampler holds keys of
a scheduler's config, a number of steps, the first noise, three timesteps and the ends of two samples;
every call of `assert_table` in core/src/diffusion/schedule.rs holds a config and entries of the table of
alphas. What they are compared with is said by diffusers.
"""

import json
import math
import re
import sys
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)

DIFFUSION = Path(__file__).resolve().parents[2] / "burn-seqlora" / "core" / "src" / "diffusion"

SAMPLERS = {
    "ddim.rs": DDIMScheduler,
    "dpm_solver.rs": DPMSolverMultistepScheduler,
    "euler.rs": EulerDiscreteScheduler,
}

# `testing::config` of sampler.rs.
CONFIG = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}

ROW = re.compile(
    r'\(\s*(?:r#"(?P<keys>[^#]*)"#|""),\s*(?P<steps>\d+),\s*(?P<sigma>[-\d.e]+),'
    r"\s*\[(?P<timesteps>[^\]]*)\],\s*\[(?P<ends>[^\]]*)\],?\s*\)"
)
STARTS = [-1.3, 0.7]


def numbers(text):
    """The numbers of a list in Rust."""
    return [float(number) for number in text.split(",") if number.strip()]


def sample(scheduler, steps, start):
    """`testing::run` of sampler.rs: the loop for one number and a made-up model."""
    scheduler.set_timesteps(steps)
    x = torch.tensor([start]) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        model_input = scheduler.scale_model_input(x, timestep)
        output = torch.sin(1.3 * model_input + 0.001 * timestep) - 0.2 * model_input
        x = scheduler.step(output.float(), timestep, x).prev_sample
    return x.item()


def check_row(kind, row):
    """The numbers of a row that diffusers does not say, as sentences."""
    keys = json.loads("{" + (row["keys"] or "").removeprefix(",") + "}")
    steps = int(row["steps"])

    def scheduler():
        return kind.from_config({**CONFIG, **keys})

    laid_out = scheduler()
    laid_out.set_timesteps(steps)
    visited = [laid_out.timesteps[i].item() for i in (0, 1, steps - 1)]
    said = [float(laid_out.init_noise_sigma), *visited]
    said += [sample(scheduler(), steps, start) for start in STARTS]
    literals = [float(row["sigma"]), *numbers(row["timesteps"]), *numbers(row["ends"])]
    for literal, number in zip(literals, said, strict=True):
        if not math.isclose(literal, number, rel_tol=2e-6, abs_tol=2e-6):
            yield f"{kind.__name__} {keys}, {steps} steps: {literal} stands there, {number} is right"


def check_tables(source):
    """The entries of the tables of alphas that diffusers does not say, and how many there are."""
    sd15 = re.search(r'fn sd15\(\).*?schedule\(\s*r#"(.*?)"#', source, re.S)[1]
    rescaled = re.search(r'let rescaled = schedule\(\s*r#"(.*?)"#', source, re.S)[1]
    table = re.compile(
        r"assert_table\(\s*&(?P<schedule>sd15\(\)|rescaled|schedule\((?:r#)?\"(?P<json>.*?)\"#?\)),"
        r"\s*&\[(?P<entries>.*?)\],?\s*\);",
        re.S,
    )
    found, count = [], 0
    for call in table.finditer(source):
        text = {"sd15()": sd15, "rescaled": rescaled}.get(call["schedule"], call["json"])
        alphas = DDPMScheduler.from_config(json.loads(text)).alphas_cumprod
        for index, literal in re.findall(r"\((\d+),\s*([-\d.e]+)\)", call["entries"]):
            count += 1
            # A product of up to 1000 numbers in f32, which processors round apart.
            number = alphas[int(index)].item()
            if not math.isclose(float(literal), number, rel_tol=1e-6):
                found.append(f"alphas of {text} at {index}: {literal} stands there, {number} is right")
    return found, count


def main():
    """Check all of them."""
    found, count = [], 0
    for name, kind in SAMPLERS.items():
        source = (DIFFUSION / "sampler" / name).read_text(encoding="utf-8")
        rows = list(ROW.finditer(source))
        count += 6 * len(rows)
        # A row that is written in another way would not be seen.
        body = re.search(r"fn rows_of_diffusers\(\).*?\n    }\n", source, re.S)[0]
        expected = len(re.findall(r"\],\s*\[", body))
        if len(rows) != expected:
            found.append(f"{name}: {len(rows)} rows are understood, and there are {expected}")
        for row in rows:
            found += check_row(kind, row)
    tables, entries = check_tables((DIFFUSION / "schedule.rs").read_text(encoding="utf-8"))
    found += tables
    if not entries:
        found.append("schedule.rs: no table is understood")
    print("\n".join(found) or f"{count + entries} numbers in tests are as diffusers says")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
