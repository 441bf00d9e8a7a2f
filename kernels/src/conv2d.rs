//! Convolution of images.

use burn::tensor::{Slice, Tensor, TensorMetadata, backend::Backend};

use crate::matmul::{MatMul, matmul};
use crate::operation::{ArithmeticIntensity, Float, Operation, float, tensor};

/// `y = W ⋆ x + b`, `ẏ = W ⋆ ẋ`, with square kernels.
///
/// Inputs: x `[batch, inputs, height, width]`, W `[outputs, inputs, kernel, kernel]`, b
/// `[outputs]`.
#[derive(Debug, Clone, Copy)]
pub struct Conv2d {
    /// The stride in both directions.
    pub stride: usize,
    /// The number of zeros added on every side.
    pub padding: usize,
}

impl Operation for Conv2d {
    fn arithmetic_intensity<B: Backend>(&self, x: &[Float<B>]) -> ArithmeticIntensity {
        let [outputs, inputs, height, width] = x[1].shape().dims();
        let taps = height * width;
        ArithmeticIntensity { value: inputs * taps, input_gradient: outputs * taps }
    }

    fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        self.convolve::<B>(&x[0], &x[1], Some(&x[2]))
    }

    fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        self.convolve::<B>(dx[0].as_ref().expect("only x has a tangent"), &x[1], None)
    }
}

impl Conv2d {
    fn convolve<B: MatMul>(
        &self,
        x: &Float<B>,
        weight: &Float<B>,
        bias: Option<&Float<B>>,
    ) -> Float<B> {
        let [x, weight] = [x, weight].map(|t| tensor::<B, 4>(t.clone()));
        let [outputs, inputs, kernel, _] = weight.dims();
        let [batch, _, height, width] = x.dims();
        let [height, width] =
            [height, width].map(|size| (size + 2 * self.padding - kernel) / self.stride + 1);
        let patches = self.patches(x, kernel, [height, width]);
        let depth = inputs * kernel * kernel;
        let weight = weight.reshape([1, outputs, depth]).expand([batch, outputs, depth]);
        let y = matmul(weight, patches.reshape([batch, depth, height * width]));
        let y = match bias {
            Some(bias) => y + tensor::<B, 1>(bias.clone()).reshape([1, outputs, 1]),
            None => y,
        };
        float(y.reshape([batch, outputs, height, width]))
    }

    /// What each tap of the kernel sees: `[batch, inputs, taps, height, width]` of y.
    fn patches<B: Backend>(
        &self,
        x: Tensor<B, 4>,
        kernel: usize,
        [height, width]: [usize; 2],
    ) -> Tensor<B, 5> {
        let padding = self.padding;
        let x = match padding {
            0 => x,
            _ => x.pad((padding, padding, padding, padding), 0.0),
        };
        let from = |tap: usize, count: usize| {
            let end = tap + (count - 1) * self.stride + 1;
            Slice::new(tap as isize, Some(end as isize), self.stride as isize)
        };
        let taps = (0..kernel).flat_map(|y| (0..kernel).map(move |x| (y, x)));
        let seen = taps.map(|(tap_y, tap_x)| {
            let all = Slice::full();
            x.clone().slice([all, all, from(tap_y, height), from(tap_x, width)])
        });
        Tensor::stack(seen.collect(), 2)
    }
}
