//! Position embeddings for images of another size than in training.

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// The coefficient a of the cubic convolution kernel, as in PyTorch.
const A: f64 = -0.75;

/// Resamples a grid of vectors bicubically, as PyTorch's `interpolate` with `align_corners=False`
/// and without antialiasing.
///
/// # Shapes
/// - grid: `[height, width, channels]`, output: `[size[0], size[1], channels]`
pub(super) fn resample<B: Backend>(grid: Tensor<B, 3>, size: [usize; 2]) -> Tensor<B, 3> {
    let across = resample_first(grid, size[0]).swap_dims(0, 1);
    resample_first(across, size[1]).swap_dims(0, 1)
}

/// Resamples the first dimension. It is a matrix product, so gradients work on every backend.
fn resample_first<B: Backend>(x: Tensor<B, 3>, outputs: usize) -> Tensor<B, 3> {
    let [inputs, others, channels] = x.dims();
    if inputs == outputs {
        return x;
    }
    let taps = TensorData::new(taps(inputs, outputs), [outputs, inputs]);
    let taps = Tensor::<B, 2>::from_data(taps, &x.device());
    taps.matmul(x.reshape([inputs, others * channels])).reshape([outputs, others, channels])
}

/// The matrix `[outputs, inputs]` of the resampling. Row i holds the weights of the inputs around the
/// position `(i + ½) inputs / outputs − ½`. Positions outside the grid count as the nearest edge.
fn taps(inputs: usize, outputs: usize) -> Vec<f32> {
    let row = |i: usize| {
        let centre = (i as f64 + 0.5) * inputs as f64 / outputs as f64 - 0.5;
        let mut row = vec![0f64; inputs];
        for offset in -1..=2 {
            let position = centre.floor() + f64::from(offset);
            let input = position.clamp(0.0, (inputs - 1) as f64) as usize;
            row[input] += kernel((centre - position).abs());
        }
        row.into_iter().map(|weight| weight as f32)
    };
    (0..outputs).flat_map(row).collect()
}

/// The cubic convolution kernel of Keys (1981) at a distance of 0 to 2.
fn kernel(x: f64) -> f64 {
    if x <= 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else {
        ((x - 5.0) * x + 8.0) * x * A - 4.0 * A
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_are_symmetric() {
        for (inputs, outputs) in [(4, 6), (14, 16), (9, 3), (1, 5)] {
            let taps = taps(inputs, outputs);
            for (i, row) in taps.chunks(inputs).enumerate() {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
                let mirrored = &taps[(outputs - 1 - i) * inputs..][..inputs];
                let pairs = row.iter().zip(mirrored.iter().rev());
                assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }
    }

    #[test]
    fn a_quarter_of_the_way_weighs_as_in_pytorch() {
        let expected = [0.0, -0.10546875, 0.87890625, 0.26171875, -0.03515625, 0.0, 0.0, 0.0];
        assert_eq!(taps(8, 16)[5 * 8..6 * 8], expected);
    }
}
