"""One concept's training step, upper and lower level.

    lower   A_{t+1} = A_t − s_t ∘ g_t,  g_t = ∇_A L(A_t, B; ξ_t) + λ A_t,  s_t = α P_t
    upper   v = ∇_A L(A_T, B; ξ),  h = ∇_B L(A_T, B; ξ),  then for t = T − 1 … 0
            u = s_t ∘ v;   h −= H_BA(A_t; ξ_t) u;   v −= H_AA(A_t; ξ_t) u + λ u
            B ← Π(AdamW(B, Π h))

P_t is Adam's 1 / (√v̂ + ε), not differentiated. Factors are lists with one tensor for each site:
`up` is A `[outputs, rank]`, `down` is Bᵀ `[rank, inputs]`.
"""

import dataclasses

import torch
from torch import Tensor

RIDGE = 1e-8
RATE_TOKENS = 1e-3
WEIGHT_DECAY = 0.01
TOKEN_NORM_LIMIT = 0.55
BETA2, EPSILON = 0.999, 1e-8


def leaves(tensors):
    """The same values, to be differentiated for."""
    return [tensor.detach().requires_grad_() for tensor in tensors]


def gradient(loss, up, down, rows):
    """Gradients of the loss in A, B and the token rows (where there are any)."""
    up, down = leaves(up), leaves(down)
    rows = leaves([] if rows is None else [rows])
    grads = torch.autograd.grad(loss(up, down, *rows), [*up, *down, *rows])
    return grads[: len(up)], grads[len(up) : 2 * len(up)], grads[2 * len(up) :]


def hessian_product(loss, up, down, rows, direction):
    """H_AA V and H_BA V by differentiating ∇_A L backwards."""
    up, down = leaves(up), leaves(down)
    slope = torch.autograd.grad(loss(up, down, rows, True), up, create_graph=True)
    products = torch.autograd.grad(slope, [*up, *down], grad_outputs=direction)
    return products[: len(up)], products[len(up) :]


def project(down, basis):
    """`B − Q (Qᵀ B)` twice, on Bᵀ `[rank, inputs]` and Qᵀ `[directions, inputs]` or on stacks."""
    for _ in range(2):
        down = down - (down @ basis.mT) @ basis
    return down


@dataclasses.dataclass
class InnerStep:
    """What one step of the lower level did."""

    up: list[Tensor]  # A_t
    slope: list[Tensor]  # ∇_A L(A_t, B; ξ_t), with its graph where that is kept
    step: list[Tensor]  # s_t


class Bilevel:
    """A concept in training.

    `loss(t, up, down, rows, twice)` is the loss on ξ_t (t = T in the upper level); `twice` says
    that it is going to be differentiated twice. `hvp` says how second derivatives are taken:

    - `keep`: the graph of every inner gradient is kept and differentiated later; fastest.
    - `replay`: the gradient is computed again, with a graph; two graphs less in memory.
    - `none`: not at all (Continual Alternating).
    """

    def __init__(self, loss, up, down, rows, rates, hvp, inner=2, adam=True, bases=None):
        self.loss, self.rates, self.hvp, self.inner, self.adam = loss, rates, hvp, inner, adam
        self.up, self.down = up, leaves(down)
        self.rows = None if rows is None else rows.detach().requires_grad_()
        self.bases = bases
        self.second, self.count = [torch.zeros_like(a) for a in up], 0
        groups = [
            {"lr": rate, "params": [b for b, own in zip(self.down, rates) if own == rate]}
            for rate in sorted(set(rates))
        ]
        if rows is not None:
            groups.append({"lr": RATE_TOKENS, "params": [self.rows]})
        self.optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, foreach=True)

    def step(self):
        """One minibatch with K = 1."""
        steps = [self.inner_step(t) for t in range(self.inner)]
        down, rows = self.hypergradient(steps)
        for parameter, grad in zip(self.down, self.project(down)):
            parameter.grad = grad
        if self.rows is not None:
            frozen = self.rows.detach().norm(dim=1).mean() >= TOKEN_NORM_LIMIT
            self.rows.grad = None if frozen else rows[0]
        self.optimizer.step()
        if self.bases is not None:
            torch._foreach_copy_([b.detach() for b in self.down], self.project(self.down))

    def inner_step(self, t):
        """Moves A."""
        keep = self.hvp == "keep"
        up = leaves(self.up)
        down = self.down if keep else [b.detach() for b in self.down]
        rows = None if self.rows is None else self.rows.detach()
        slope = torch.autograd.grad(self.loss(t, up, down, rows, keep), up, create_graph=keep)
        with torch.no_grad():
            full = torch._foreach_add(slope, up, alpha=RIDGE)
            step = self.step_size(full)
            self.up = torch._foreach_addcmul(up, full, step, value=-1)
        return InnerStep(up, slope, step)

    def step_size(self, slope):
        """α P_t, with Adam's second moment or without."""
        if not self.adam:
            return [torch.full_like(a, rate) for a, rate in zip(slope, self.rates)]
        self.count += 1
        torch._foreach_mul_(self.second, BETA2)
        torch._foreach_addcmul_(self.second, slope, slope, value=1 - BETA2)
        step = torch._foreach_div(self.second, 1 - BETA2**self.count)
        torch._foreach_sqrt_(step)
        torch._foreach_add_(step, EPSILON)
        torch._foreach_reciprocal_(step)
        torch._foreach_mul_(step, self.rates)
        return step

    def hypergradient(self, steps):
        """∇F(B) through the inner steps, and the gradient in the token rows."""

        def loss(up, down, rows=None):
            return self.loss(self.inner, up, down, rows, False)

        adjoint, down, rows = gradient(loss, self.up, self.down, self.rows)
        if self.hvp == "none":
            return down, rows
        for t in reversed(range(self.inner)):
            direction = torch._foreach_mul(adjoint, steps[t].step)
            of_up, of_down = self.products(t, steps[t], direction)
            down = torch._foreach_sub(down, of_down)
            adjoint = torch._foreach_sub(adjoint, of_up)
            torch._foreach_add_(adjoint, direction, alpha=-RIDGE)
        return down, rows

    def products(self, t, step, direction):
        """H_AA V and H_BA V at an inner step."""
        if self.hvp == "keep":
            wanted = [*step.up, *self.down]
            products = torch.autograd.grad(step.slope, wanted, grad_outputs=direction)
            return products[: len(step.up)], products[len(step.up) :]

        def loss(*parameters):
            return self.loss(t, *parameters)

        rows = None if self.rows is None else self.rows.detach()
        return hessian_product(loss, step.up, self.down, rows, direction)

    @torch.no_grad()
    def project(self, down):
        """Π at every site."""
        return down if self.bases is None else list(map(project, down, self.bases))
