//! Operations that move or repeat elements, which are linear.

use burn::tensor::{FloatDType, Tensor, backend::Backend};

use super::Dual;

impl<B: Backend, const D: usize> Dual<B, D> {
    /// The same elements in another shape.
    pub fn reshape<const E: usize>(self, shape: [usize; E]) -> Dual<B, E> {
        self.map_linear(|t| t.reshape(shape))
    }

    /// Dimensions of size one repeated up to the given sizes.
    pub fn expand(self, dims: [usize; D]) -> Self {
        self.map_linear(|t| t.expand(dims))
    }

    /// The same numbers in another precision.
    pub fn cast(self, dtype: FloatDType) -> Self {
        self.map_linear(|t| t.cast(dtype))
    }

    /// Two dimensions exchanged.
    pub fn swap_dims(self, first: usize, second: usize) -> Self {
        self.map_linear(|t| t.swap_dims(first, second))
    }

    /// The last two dimensions exchanged.
    pub fn transpose(self) -> Self {
        self.map_linear(Tensor::transpose)
    }

    /// The dimensions in a new order.
    pub fn permute(self, axes: [isize; D]) -> Self {
        self.map_linear(|t| t.permute(axes))
    }

    /// `length` entries of dimension `dim`, beginning with entry `start`.
    pub fn narrow(self, dim: usize, start: usize, length: usize) -> Self {
        self.map_linear(|t| t.narrow(dim, start, length))
    }

    /// Two values concatenated along `dim`.
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
    /// Nearest-neighbour upsampling: each pixel is repeated `factor` times in both directions.
    ///
    /// It is made of reshapes and not of Burn's `interpolate`, whose backward pass has no
    /// derivative of its own, so that second derivatives can also be checked by nested tapes
    /// (`Autodiff<Autodiff<B>>`).
    ///
    /// # Shapes
    /// - self: `[batch, channels, height, width]`
    /// - output: `[batch, channels, factor × height, factor × width]`
    pub fn upsample_nearest(self, factor: usize) -> Self {
        let [batch, channels, height, width] = self.dims();
        self.map_linear(|t| {
            t.reshape([batch, channels, height, 1, width, 1])
                .expand([batch, channels, height, factor, width, factor])
                .reshape([batch, channels, height * factor, width * factor])
        })
    }

    /// Adds `amount` columns of zeros at the right edge and as many rows at the bottom edge.
    ///
    /// # Shapes
    /// - self: `[batch, channels, height, width]`
    /// - output: `[batch, channels, height + amount, width + amount]`
    pub fn pad_bottom_right(self, amount: usize) -> Self {
        let [batch, channels, height, width] = self.dims();
        // Not Burn's `pad`, which pads with the device's default precision and so refuses f64.
        self.map_linear(|t| {
            let options = (&t.device(), t.dtype());
            let right = Tensor::zeros([batch, channels, height, amount], options);
            let bottom = Tensor::zeros([batch, channels, amount, width + amount], options);
            Tensor::cat(vec![Tensor::cat(vec![t, right], 3), bottom], 2)
        })
    }
}
