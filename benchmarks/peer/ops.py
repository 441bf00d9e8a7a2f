"""Single operations at SD1.5's shapes, in four forms.

- `forward`: the value alone.
- `gradient`: the value, then the gradient in every input.
- `tangent`: the value with its tangent, by PyTorch's forward mode.
- `second`: what the operation costs within a Hessian product. The gradient is recorded and then
  differentiated backwards, and both the value and that gradient receive a cotangent, as they do
  inside a network. Its twin is the value with its tangent, and one backward pass through both.

Weights are frozen. Attention is fused in the first two forms, and written out in the others: fused
attention has neither forward mode nor a second derivative in PyTorch. `jvp_flash_attention` has the
former, on GPUs, and no gradient of a tangent.
"""

import functools

import torch
import torch.nn.functional as F
from torch.autograd import forward_ad

import frozen_conv
from model import RANK, add_lora


def linear_lora(tensor, rows, inputs, outputs):
    """`x Wᵀ + b + (x B) Aᵀ`, x `[rows, inputs]`; the tangent enters through x and A, not B."""
    weight, bias = tensor(outputs, inputs) / inputs**0.5, tensor(outputs)
    x, up, down = tensor(rows, inputs), tensor(outputs, RANK), tensor(RANK, inputs)

    def function(x, up, down, **_):
        return add_lora(F.linear(x, weight, bias), x, up, down)

    return function, [x, up, down], 2


def matmul(tensor, rows, inputs, outputs):
    """`x Wᵀ`, x `[rows, inputs]`."""
    weight = tensor(outputs, inputs) / inputs**0.5
    return lambda x, **_: F.linear(x, weight), [tensor(rows, inputs)], 1


def conv3x3(tensor, channels, side):
    """Convolution of `[1, channels, side, side]` to as many channels, with bias."""
    weight = tensor(channels, channels, 3, 3) / (3 * channels**0.5)
    bias = tensor(channels)
    x = tensor(1, channels, side, side)

    def function(x, stock=False, **_):
        conv2d = F.conv2d if stock else frozen_conv.conv2d
        return conv2d(x, weight, bias, padding=1)

    return function, [x], 1


def attention(tensor, batch, heads, queries, keys, width, causal=False):
    """Queries `[batch, heads, queries, width]`, keys and values `[batch, heads, keys, width]`."""
    query = tensor(batch, heads, queries, width)
    key, value = tensor(batch, heads, keys, width), tensor(batch, heads, keys, width)
    beta = 1 if causal else 0
    bias = tensor(queries, keys).fill_(float("-inf" if causal else 0)).triu(1)

    def function(query, key, value, explicit=False, jvp_flash=False, **_):
        if jvp_flash:
            from jvp_flash_attention.jvp_attention import JVPAttn

            return JVPAttn.fwd_dual(query, key, value, causal=causal)
        if not explicit:
            return F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        query, key, value = (x.flatten(0, 1) for x in (query, key, value))
        scores = torch.baddbmm(bias, query, key.mT, beta=beta, alpha=width**-0.5)
        return (scores.softmax(-1) @ value).unflatten(0, (batch, heads))

    return function, [query, key, value], 3


def group_norm_silu(tensor, channels, side, groups=32):
    """SiLU of the group norm of `[1, channels, side, side]`."""
    weight, bias = 1 + 0.1 * tensor(channels), tensor(channels)
    x = tensor(1, channels, side, side)
    return lambda x, **_: F.silu(F.group_norm(x, groups, weight, bias)), [x], 1


def layer_norm(tensor, rows, channels):
    """Layer norm of `[rows, channels]`."""
    weight, bias = 1 + 0.1 * tensor(channels), tensor(channels)
    x = tensor(rows, channels)
    return lambda x, **_: F.layer_norm(x, (channels,), weight, bias), [x], 1


def silu(tensor, *shape):
    """SiLU of a tensor."""
    return lambda x, **_: F.silu(x), [tensor(*shape)], 1


def geglu(tensor, rows, columns):
    """Left half times GELU of the right half of `[rows, columns]`."""

    def function(x, **_):
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)

    return function, [tensor(rows, columns)], 1


OPS = {
    "linear_lora/1024x320x320": functools.partial(linear_lora, rows=1024, inputs=320, outputs=320),
    "linear_lora/64x1280x1280": functools.partial(linear_lora, rows=64, inputs=1280, outputs=1280),
    "conv3x3/1x320x32x32": functools.partial(conv3x3, channels=320, side=32),
    "conv3x3/1x1280x8x8": functools.partial(conv3x3, channels=1280, side=8),
    "attention/self_1x8x1024x40": functools.partial(
        attention, batch=1, heads=8, queries=1024, keys=1024, width=40
    ),
    "attention/cross_1x8x1024x40_77": functools.partial(
        attention, batch=1, heads=8, queries=1024, keys=77, width=40
    ),
    "attention/causal_16x12x77x64": functools.partial(
        attention, batch=16, heads=12, queries=77, keys=77, width=64, causal=True
    ),
    "group_norm_silu/1x320x32x32": functools.partial(group_norm_silu, channels=320, side=32),
    "group_norm_silu/1x1280x8x8": functools.partial(group_norm_silu, channels=1280, side=8),
    "layer_norm/1024x320": functools.partial(layer_norm, rows=1024, channels=320),
    "silu/1x320x32x32": lambda tensor: silu(tensor, 1, 320, 32, 32),
    "geglu/1024x2560": functools.partial(geglu, rows=1024, columns=2560),
    "matmul/1024x320x320": functools.partial(matmul, rows=1024, inputs=320, outputs=320),
    "matmul/1024x1280x320": functools.partial(matmul, rows=1024, inputs=1280, outputs=320),
    "matmul/1232x768x3072": functools.partial(matmul, rows=77 * 16, inputs=768, outputs=3072),
}
FORMS = ["forward", "gradient", "tangent", "second"]


def build(operation, form, setup):
    """A function without arguments that computes one form of an operation."""
    function, inputs, directed = OPS[operation](setup.randn)
    if form == "tangent":
        # A convolution of ours has no forward mode, and is linear.
        function = functools.partial(function, stock=True, explicit=True)
        function = functools.partial(function, jvp_flash=setup.jvp_flash)
        return tangent(function, inputs, [torch.randn_like(x) for x in inputs[:directed]])
    function = functools.partial(function, stock=setup.stock)
    if setup.compile:
        function = torch.compile(function)
    if form == "forward":
        return torch.inference_mode()(lambda: function(*inputs))

    inputs = [x.requires_grad_() for x in inputs]
    cotangent = torch.randn_like(function(*inputs))
    if form == "gradient":
        return lambda: torch.autograd.grad(function(*inputs), inputs, cotangent)

    directions = [torch.randn_like(x) for x in inputs[:directed]]
    of_value = torch.randn_like(cotangent)
    cotangent.requires_grad_()

    def second():
        value = function(*inputs, explicit=True)
        slopes = torch.autograd.grad(value, inputs[:directed], cotangent, create_graph=True)
        leaves = [*inputs, cotangent]
        return torch.autograd.grad([value, *slopes], leaves, [of_value, *directions])

    return second


def tangent(function, inputs, directions):
    """The value and its tangent; inputs beyond the directions do not move."""

    def run():
        with forward_ad.dual_level():
            moving = list(map(forward_ad.make_dual, inputs, directions))
            return forward_ad.unpack_dual(function(*moving, *inputs[len(moving) :]))

    return torch.no_grad()(run)
