"""Convolution with a frozen weight, whose second derivative does no more than it has to.

`F.conv2d` under double backward also computes a gradient of its weight, wanted or not (PyTorch
2.15, `_convolution_double_backward`), which makes a Hessian product of the UNet 1.1 times as
expensive, and of a convolution alone 1.4 to 2 times. In x the convolution is linear, so it and its
gradient are each other's derivatives.
"""

import functools

import torch
import torch.nn.functional as F


class Forward(torch.autograd.Function):
    """x `[batch, inputs, h, w]` → y `[batch, outputs, h', w']`."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding):
        ctx.save_for_backward(weight)
        ctx.options = x.shape, stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, cotangent):
        (weight,) = ctx.saved_tensors
        return Transposed.apply(cotangent, weight, *ctx.options), None, None, None, None


class Transposed(torch.autograd.Function):
    """Cotangent of y → cotangent of x, of the given shape."""

    @staticmethod
    def forward(ctx, cotangent, weight, shape, stride, padding):
        ctx.save_for_backward(weight)
        ctx.options = stride, padding
        return torch.nn.grad.conv2d_input(shape, weight, cotangent, stride, padding)

    @staticmethod
    def backward(ctx, x):
        (weight,) = ctx.saved_tensors
        return Forward.apply(x, weight, None, *ctx.options), None, None, None, None


def conv2d(x, weight, bias, stride=1, padding=0):
    """`F.conv2d` of frozen weight and bias."""
    return Forward.apply(x, weight, bias, stride, padding)


def use_in(module):
    """Lets every convolution below a module, all of them frozen, compute in this way."""
    for conv in module.modules():
        if isinstance(conv, torch.nn.Conv2d):
            options = {"stride": conv.stride, "padding": conv.padding}
            conv._conv_forward = functools.partial(conv2d, **options)
