"""Every row once on a small model, and the maths against the project's reference tensors."""

import functools
import json

import torch
from safetensors.torch import load_file

from bilevel import Bilevel, gradient, hessian_product
from model import Model, Sample

REFERENCE = "second_order_sd1.safetensors"
INNER_RATE = 0.05
TOLERANCE = 1e-6


def run(server, folder, output):
    """Prints a line for each check; ends with an error if any of them failed."""
    failed = 0
    for line in checks(server, folder):
        print(json.dumps(line), file=output)
        failed += "error" in line
    if failed:
        raise SystemExit(f"{failed} checks failed")


def checks(server, folder):
    """The reference first, if it lies beside the model, then the rows."""
    reference = folder.parent / REFERENCE
    if reference.exists():
        yield from agreement(folder, load_file(reference))
    for name in server.table:
        yield one_row(server, name)


def one_row(server, name):
    """Prepares, runs and releases a row; the answer to the run, or the first error."""
    for request in [{"prepare": True}, {}, {"release": True}]:
        answer = server.answer({"row": name, **request})
        if "error" in answer:
            return answer
        if "seconds" in answer:
            result = answer
    return result


def agreement(folder, tensors):
    """Largest differences from the reference, relative to its largest entry, in float64."""
    model = Model(folder, torch.device("cpu"), torch.float64)
    read = functools.partial(by_site, model, tensors)
    up, down = read("A"), read("B")
    samples = [sample(tensors, prefix) for prefix in ["inner0.", "inner1.", ""]]

    def loss(t, *at):
        return model.loss(samples[t], *at)

    outer = functools.partial(loss, 2)
    first = gradient(outer, up, down, None)
    second = hessian_product(outer, up, down, None, read("V"))
    pairs = {"grad_A": first[0], "grad_B": first[1], "hAA": second[0], "hBA": second[1]}
    for hvp, name in [("keep", "hyper"), ("replay", "hyper"), ("none", "hyper_none")]:
        rates = [INNER_RATE] * len(up)
        concept = Bilevel(loss, up, down, None, rates, hvp, adam=False)
        steps = [concept.inner_step(t) for t in range(2)]
        pairs |= {f"{name}:{hvp}": concept.hypergradient(steps)[0]}
    return [compare(name, ours, read(name.split(":")[0])) for name, ours in pairs.items()]


def by_site(model, tensors, prefix):
    """The reference's tensors of one kind in the order of the sites, B transposed."""
    of_down = prefix in ["B", "grad_B", "hBA", "hyper", "hyper_none"]
    found = [tensors[f"{prefix}.{site}"].double() for site in model.sites]
    return [tensor.T for tensor in found] if of_down else found


def sample(tensors, prefix):
    """A minibatch of two images whose layers share one encoding of the prompt."""
    shared = {name: tensors[name] for name in ["latents", "mask"]}
    drawn = {name: tensors[prefix + name] for name in ["noise", "timesteps"]}
    ids = tensors["input_ids"]
    return Sample(**shared, **drawn, ids=ids, words=None, copies=1).to("cpu", torch.float64)


def compare(name, ours, theirs):
    """One line of the report."""
    largest = max(tensor.abs().max() for tensor in theirs)
    error = max((a - b).abs().max() for a, b in zip(ours, theirs, strict=True)) / largest
    line = {"check": name, "relative_error": error.item()}
    return line if error < TOLERANCE else {**line, "error": f"above {TOLERANCE}"}
