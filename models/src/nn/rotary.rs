//! Rotary position embeddings of a grid of patches.

use std::f64::consts::PI;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;

/// The rotation of queries and keys by the position of their patch (RoPE of DINOv3,
/// [arXiv 2508.10104](https://arxiv.org/abs/2508.10104), section 3.1).
///
/// The centre of row i of n is `y = 2 (i + ½) / n − 1`, and likewise x for columns, so positions lie
/// between −1 and 1 in images of every size. With d channels per head, angle j of y is
/// `2π y θ^(−4j/d)` for j < d/4, then those of x follow; each angle turns two channels that are d/2
/// apart. Tokens before the patches are not turned.
#[derive(Debug, Clone)]
pub struct Rotary<B: Backend> {
    /// `[1, tokens, 1, d]`
    cosine: Tensor<B, 4>,
    sine: Tensor<B, 4>,
}

impl<B: Backend> Rotary<B> {
    /// The rotation of `before` tokens and a grid of patches after them, in heads of `channels`
    /// channels, a multiple of four.
    pub fn new(
        [rows, columns]: [usize; 2],
        before: usize,
        channels: usize,
        theta: f64,
        device: &B::Device,
    ) -> Self {
        let angles = angles([rows, columns], before, channels, theta);
        let tensor = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            let shape = [1, before + rows * columns, 1, channels];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self { cosine: tensor(f64::cos), sine: tensor(f64::sin) }
    }

    /// `x cos + h(x) sin` with `h([a, b]) = [−b, a]`, head by head.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, heads × d]`
    pub fn apply(&self, x: Dual<B, 3>) -> Dual<B, 3> {
        let shape @ [batch, tokens, width] = x.dims();
        let d = self.cosine.dims()[3];
        let x = x.reshape([batch, tokens, width / d, d]);
        let (first, second) = (x.clone().narrow(3, 0, d / 2), x.clone().narrow(3, d / 2, d / 2));
        let turned = (-second).cat(first, 3);
        let y = x.mul_constant(self.cosine.clone()) + turned.mul_constant(self.sine.clone());
        y.reshape(shape)
    }
}

/// The angles of all tokens, `[tokens, channels]`.
fn angles([rows, columns]: [usize; 2], before: usize, channels: usize, theta: f64) -> Vec<f64> {
    let centre = |i: usize, count: usize| 2.0 * (i as f64 + 0.5) / count as f64 - 1.0;
    let quarter = channels / 4;
    let turns = |position: f64| {
        let rate = move |j: usize| theta.powf(-4.0 * j as f64 / channels as f64);
        (0..quarter).map(move |j| 2.0 * PI * position * rate(j))
    };
    let mut angles = vec![0.0; before * channels];
    for row in 0..rows {
        for column in 0..columns {
            for _ in 0..2 {
                angles.extend(turns(centre(row, rows)));
                angles.extend(turns(centre(column, columns)));
            }
        }
    }
    angles
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;
    use seqlora_kernels::matmul::Times;

    /// What makes it a position embedding: the product of a rotated query and a rotated key depends on
    /// their distance alone.
    #[test]
    fn products_depend_on_the_distance_alone() {
        let device = Default::default();
        let rotary = Rotary::<Flex>::new([1, 4], 1, 8, 100.0, &device);
        let row = |values: [f32; 8]| {
            let all = Tensor::<Flex, 1>::from_floats(values, &device).reshape([1, 1, 8]);
            rotary.apply(Dual::constant(all.expand([1, 5, 8]))).primal
        };
        let query = row([0.3, -1.0, 0.5, 2.0, 1.5, 0.2, -0.7, 0.1]);
        let key = row([1.0, 0.4, -0.2, 0.8, -1.1, 0.9, 0.6, -0.3]);
        let products = query.squeeze_dim::<2>(0).times(key.squeeze_dim::<2>(0).transpose());
        let products: Vec<f32> = products.into_data().iter::<f32>().collect();
        let at = |query: usize, key: usize| products[query * 5 + key];
        // Tokens 1 to 4 are patches beside each other, token 0 is no patch.
        for (a, b) in [((1, 2), (2, 3)), ((2, 4), (1, 3)), ((4, 3), (2, 1)), ((1, 1), (4, 4))] {
            assert!((at(a.0, a.1) - at(b.0, b.1)).abs() < 1e-5, "{a:?} and {b:?}");
        }
        assert!((at(1, 2) - at(1, 3)).abs() > 1e-2);
        assert!((at(0, 0) - at(1, 1)).abs() < 1e-5, "a token before the patches is not turned");
    }
}
