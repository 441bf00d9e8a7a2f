"""Write the derivatives of the loss with Mix-of-Show's attention regularisation, as PyTorch computes them.

    python make_attention_fixture.py            ../fixtures/attention_sd1.safetensors, for ../fixtures/tiny-sd1
    python make_attention_fixture.py --out FILE the same, into FILE

The point, the minibatch and the direction are those of second_order_sd1.safetensors, whose outer sample this is.
The term has the weight WEIGHT, so that it is as large as the denoising loss, and is written down from its
definition on the probabilities of diffusers' unfused attention, in float64:

    subject                       the subject mask
    <identity>.loss               the loss with `reg_full_identity` false or true
    <identity>.grad_A.<site>      its gradient in A
    true.grad_B, true.hAA, true.hBA   likewise, and both Hessian products
"""

import argparse
from pathlib import Path

import make_fixtures as fixtures
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

WEIGHT = 2.0
# Of the new word and the class word in each prompt.
POSITIONS = [[5, 6], [3, 4]]


class Maps:
    """The probabilities of every cross-attention layer, in the mean over the heads."""

    def __init__(self, unet):
        self.layers = []
        for name, module in unet.named_modules():
            if name.endswith("attn2"):
                module.register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(self, attention, args, kwargs):
        query = attention.head_to_batch_dim(attention.to_q(args[0]))
        key = attention.head_to_batch_dim(attention.to_k(kwargs["encoder_hidden_states"]))
        probabilities = attention.get_attention_scores(query, key)
        self.layers.append(probabilities.unflatten(0, (len(args[0]), -1)).mean(1))


def term(layers, subject, full_identity):
    """The regularisation, from its definition."""
    total = 0.0
    for places in sorted({layer.shape[1] for layer in layers}):
        mean = torch.stack([layer for layer in layers if layer.shape[1] == places]).mean(0)
        side = round(places**0.5)
        mask = F.interpolate(subject, size=(side, side), mode="nearest").flatten(1)
        new, own = (
            torch.stack([image[:, at[word]] for image, at in zip(mean, POSITIONS)]) for word in (0, 1)
        )
        new, own = new / new.max(), own / own.max()
        total = total + new[mask == 0].mean()
        total = total + (((own - mask) ** 2).mean() if full_identity else own[mask == 0].mean())
    return WEIGHT * total


def derivatives(pipe):
    """The loss and its derivatives at the point of the second-order fixture."""
    adapters, maps = fixtures.Adapters(pipe), Maps(pipe.unet)
    values = fixtures.site_values
    up = values("A", adapters.linears, 0.1, "out_features")
    down = values("B", adapters.linears, 0.1, "in_features")
    direction = values("V", adapters.linears, 1.0, "out_features")
    data = {
        "latents": fixtures.randn("second_order/latents", 2, 4, 8, 8),
        "mask": fixtures.rand("second_order/mask", 2, 1, 8, 8),
        "input_ids": fixtures.token_ids(pipe.tokenizer, fixtures.SECOND_ORDER_PROMPTS),
    }
    subject = torch.zeros(2, 1, 8, 8)
    subject[0, :, 2:7, 1:6] = 1
    subject[1, :, 0:4, 3:8] = 0.5

    pipe.unet.double().requires_grad_(False)
    pipe.text_encoder.double().requires_grad_(False)
    outer = fixtures.double(fixtures.draw("outer"))
    data, up, down, direction = map(fixtures.double, (data, up, down, direction))

    def loss(full_identity):
        maps.layers.clear()
        value, prediction = fixtures.denoising_loss(pipe, adapters, data, outer)
        return value + term(maps.layers, subject.double(), full_identity), prediction

    tensors = {"subject": subject}
    with sdpa_kernel(SDPBackend.MATH):
        for full_identity in (False, True):
            found = fixtures.derivatives(
                adapters, up, down, direction, lambda: loss(full_identity)
            )
            wanted = ("loss", "grad_A") + (("grad_B", "hAA", "hBA") if full_identity else ())
            for name, value in found.items():
                if name.split(".")[0] in wanted:
                    tensors[f"{str(full_identity).lower()}.{name}"] = value.float()
    return tensors


def write(path):
    """Write the fixture."""
    pipe = fixtures.load(fixtures.DEFAULT_OUT / "tiny-sd1")
    fixtures.write_tensors(path, derivatives(pipe))


def main():
    """Parse the command line and write the fixture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=fixtures.DEFAULT_OUT / "attention_sd1.safetensors")
    write(parser.parse_args().out)


if __name__ == "__main__":
    main()
