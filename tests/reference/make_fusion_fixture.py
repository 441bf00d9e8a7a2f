"""Write what Mix-of-Show's and LoRACLR's fusions make of one small layer, computed from rows.

    python make_fusion_fixture.py            ../fixtures/fusion.safetensors
    python make_fusion_fixture.py --out FILE the same, into FILE

Both objectives are written down from their definition on the inputs themselves and minimised by PyTorch's own
optimisers in float64; the Rust side has Gram matrices and optimisers of its own. Inputs are multiples of a
power of two, so that a Gram matrix in float32 is exact and only the arithmetic is compared.

    weight                  W0 [n, m]
    <i>.up <i>.down         A [n, r] and B^T [r, m] of concept i, which is used at strength SCALES[i]
    <i>.inputs              X [rows, m]
    lbfgs.<iterations>      W - W0 of Mix-of-Show after at most so many iterations
    loraclr.<margin>        W - W0 of LoRACLR with this margin and the other settings of the released code, but
                            LR, so that 50 steps go somewhere
"""

import argparse
from pathlib import Path

import torch
from make_fixtures import DEFAULT_OUT, randn, write_tensors

INPUTS, OUTPUTS, RANK, ROWS = 12, 14, 2, 24
SCALES = [1.0, 0.75, 1.5]
ITERATIONS = [1, 2, 5, 15, 40]
MARGINS = [0.5, 22.0]
LR = 0.02


def layer():
    """The frozen weight, and factors and inputs of each concept."""
    tensors = {"weight": randn("fusion/weight", OUTPUTS, INPUTS) / INPUTS**0.5}
    for concept in range(len(SCALES)):
        label = f"fusion/{concept}"
        tensors[f"{concept}.up"] = 0.5 * randn(f"{label}/up", OUTPUTS, RANK)
        tensors[f"{concept}.down"] = 0.5 * randn(f"{label}/down", RANK, INPUTS)
        # The last inputs are the smallest, as activations' spectra fall.
        sizes = 2.0 ** -torch.arange(INPUTS).div(3, rounding_mode="floor")
        inputs = torch.round(4 * randn(f"{label}/inputs", ROWS, INPUTS)) / 4
        tensors[f"{concept}.inputs"] = inputs * sizes
    return tensors


def rows(tensors):
    """W0, and inputs and targets of each concept, in float64."""
    double = {name: tensor.double() for name, tensor in tensors.items()}
    inputs, targets = [], []
    for concept, scale in enumerate(SCALES):
        change = double[f"{concept}.up"] @ double[f"{concept}.down"]
        inputs.append(double[f"{concept}.inputs"])
        targets.append(inputs[-1] @ (double["weight"] + scale * change).T)
    return double["weight"], torch.stack(inputs), torch.stack(targets)


def mix_of_show(weight, inputs, targets, iterations):
    """The best weight of PyTorch's L-BFGS on the mean square of all rows."""
    fused = weight.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [fused],
        lr=1,
        max_iter=iterations,
        history_size=25,
        tolerance_grad=1e-16,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )
    best = [float("inf"), None]

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(inputs @ fused.T, targets)
        loss.backward()
        if loss.item() < best[0]:
            best[:] = [loss.item(), fused.detach().clone()]
        return loss

    optimizer.step(closure)
    return best[1] - weight


def loraclr(weight, inputs, targets, margin):
    """The best change of 50 steps of AdamW on LoRACLR's loss."""
    change = torch.zeros_like(weight, requires_grad=True)
    optimizer = torch.optim.AdamW([change], lr=LR, weight_decay=1e-4)
    best = [float("inf"), None]
    for _ in range(50):
        outputs = inputs @ (weight + change).T
        pairs = outputs.flatten(1)[:, None] - targets.flatten(1)[None]
        distances = pairs.pow(2).sum(2).clamp(min=1e-12).sqrt()
        others = distances.masked_fill(torch.eye(len(inputs), dtype=torch.bool), float("inf"))
        near = torch.relu(margin - others.min(1).values)
        loss = (distances.diagonal().pow(2) + near.pow(2)).mean()
        loss = loss + 0.1 * torch.nn.functional.mse_loss(outputs, targets) + 1e-3 * change.norm()
        if loss.item() < best[0]:
            best[:] = [loss.item(), change.detach().clone()]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best[1]


def write(path):
    """Write the fixture."""
    tensors = layer()
    problem = rows(tensors)
    for iterations in ITERATIONS:
        tensors[f"lbfgs.{iterations}"] = mix_of_show(*problem, iterations).float()
    for margin in MARGINS:
        tensors[f"loraclr.{margin}"] = loraclr(*problem, margin).float()
    write_tensors(path, tensors)


def main():
    """Parse the command line and write the fixture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT / "fusion.safetensors")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
