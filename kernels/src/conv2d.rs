//! Convolution of images.

use burn::tensor::{TensorMetadata, backend::Backend, module, ops::ConvOptions};

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

    fn value<B: Backend>(&self, x: &[Float<B>]) -> Float<B> {
        self.convolve::<B>(&x[0], &x[1], Some(&x[2]))
    }

    fn tangent<B: Backend>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        self.convolve::<B>(dx[0].as_ref().expect("only x has a tangent"), &x[1], None)
    }
}

impl Conv2d {
    fn convolve<B: Backend>(
        &self,
        x: &Float<B>,
        weight: &Float<B>,
        bias: Option<&Float<B>>,
    ) -> Float<B> {
        let options = ConvOptions::new([self.stride; 2], [self.padding; 2], [1; 2], 1);
        let [x, weight] = [x, weight].map(|t| tensor::<B, 4>(t.clone()));
        float(module::conv2d(x, weight, bias.map(|bias| tensor::<B, 1>(bias.clone())), options))
    }
}
