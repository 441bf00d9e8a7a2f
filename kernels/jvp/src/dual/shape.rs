//! Operations that move elements and so are linear.

use burn::tensor::ops::PadMode;
use burn::tensor::{FloatDType, Tensor, backend::Backend};

use super::Dual;

impl<B: Backend, const D: usize> Dual<B, D> {
    /// The same elements in another shape.
    pub fn reshape<const E: usize>(self, shape: [usize; E]) -> Dual<B, E> {
        self.map_linear(|t| t.reshape(shape))
    }

    /// The same numbers in another precision.
    pub fn cast(self, dtype: FloatDType) -> Self {
        self.map_linear(|t| t.cast(dtype))
    }

    /// Two dimensions exchanged.
    pub fn swap_dims(self, first: usize, second: usize) -> Self {
        self.map_linear(|t| t.swap_dims(first, second))
    }

    /// The dimensions in a new order.
    pub fn permute(self, axes: [isize; D]) -> Self {
        self.map_linear(|t| t.permute(axes))
    }

    /// `length` entries of dimension `dim` from `start` on.
    pub fn narrow(self, dim: usize, start: usize, length: usize) -> Self {
        self.map_linear(|t| t.narrow(dim, start, length))
    }

    /// Two values one after the other along `dim`.
    pub fn cat(self, other: Self, dim: usize) -> Self {
        let tangent = match (self.tangent, other.tangent) {
            (None, None) => None,
            (a, b) => {
                let a = a.unwrap_or_else(|| self.primal.zeros_like());
                let b = b.unwrap_or_else(|| other.primal.zeros_like());
                Some(Tensor::cat(vec![a, b], dim))
            }
        };
        Self { primal: Tensor::cat(vec![self.primal, other.primal], dim), tangent }
    }
}

impl<B: Backend> Dual<B, 4> {
    /// Each pixel of `[batch, channels, height, width]` repeated `factor` times in both directions.
    ///
    /// Not Burn's `interpolate`, whose backward pass cannot be differentiated once more: nested
    /// autodiff would panic.
    pub fn upsample_nearest(self, factor: usize) -> Self {
        let [batch, channels, height, width] = self.dims();
        self.map_linear(|t| {
            t.reshape([batch, channels, height, 1, width, 1])
                .expand([batch, channels, height, factor, width, factor])
                .reshape([batch, channels, height * factor, width * factor])
        })
    }

    /// Zeros added at the right and at the bottom edge.
    pub fn pad_bottom_right(self, amount: usize) -> Self {
        self.map_linear(|t| t.pad((0, amount, 0, amount), PadMode::Constant(0.0)))
    }
}
