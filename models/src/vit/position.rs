//! Position embeddings for images of another size than in training.
//!
//! They are resampled on the host and in f64: a network's own embeddings are interpolated once for all images.

use super::config::Resampling;

/// Resamples a grid of vectors, `[grid[0], grid[1], channels]` to `[size[0], size[1], channels]`,
/// bicubically and one dimension after the other, as PyTorch's `interpolate` does with
/// `align_corners=False`.
pub(super) fn resample(
    values: &[f32],
    grid: [usize; 2],
    size: [usize; 2],
    resampling: Resampling,
) -> Vec<f32> {
    let values: Vec<f64> = values.iter().map(|x| f64::from(*x)).collect();
    let row = values.len() / grid[0];
    let rows = apply(&taps(grid[0], size[0], resampling), &values, 1, grid[0], row);
    let columns = taps(grid[1], size[1], resampling);
    let both = apply(&columns, &rows, size[0], grid[1], row / grid[1]);
    both.into_iter().map(|x| x as f32).collect()
}

/// Applies a matrix `[outputs, inputs]` to the middle dimension of `[outer, inputs, inner]`.
fn apply(taps: &[f64], values: &[f64], outer: usize, inputs: usize, inner: usize) -> Vec<f64> {
    let outputs = taps.len() / inputs;
    let mut result = vec![0.0; outer * outputs * inner];
    for block in 0..outer {
        for output in 0..outputs {
            let target = &mut result[(block * outputs + output) * inner..][..inner];
            for input in 0..inputs {
                let weight = taps[output * inputs + input];
                let source = &values[(block * inputs + input) * inner..][..inner];
                target.iter_mut().zip(source).for_each(|(sum, x)| *sum += weight * x);
            }
        }
    }
    result
}

/// The matrix `[outputs, inputs]` of the resampling. Row i holds the weights of the inputs around the
/// position `(i + ½) inputs / outputs − ½`. Positions outside the grid count as the nearest edge, or
/// with antialiasing do not count.
fn taps(inputs: usize, outputs: usize, resampling: Resampling) -> Vec<f64> {
    let ratio = match resampling {
        Resampling::Hub => inputs as f64 / (outputs as f64 + 0.1),
        _ => inputs as f64 / outputs as f64,
    };
    let row = |i: usize| {
        let centre = (i as f64 + 0.5) * ratio;
        match resampling {
            Resampling::Antialiased => antialiased(inputs, centre, ratio),
            _ => interpolating(inputs, centre - 0.5),
        }
    };
    if inputs == outputs {
        let identity = |i: usize| f64::from(u8::from(i / inputs == i % inputs));
        return (0..inputs * inputs).map(identity).collect();
    }
    (0..outputs).flat_map(row).collect()
}

/// Weights of the four inputs around a position, with PyTorch's coefficient −0.75.
fn interpolating(inputs: usize, centre: f64) -> Vec<f64> {
    let mut row = vec![0.0; inputs];
    for offset in -1..=2 {
        let position = centre.floor() + f64::from(offset);
        let input = position.clamp(0.0, (inputs - 1) as f64) as usize;
        row[input] += kernel(centre - position, -0.75);
    }
    row
}

/// Weights of all inputs whose centres lie under the kernel, with Pillow's coefficient −0.5. The kernel
/// is as wide as the ratio of sizes when the grid shrinks.
fn antialiased(inputs: usize, centre: f64, ratio: f64) -> Vec<f64> {
    let width = ratio.max(1.0);
    let from = (centre - 2.0 * width + 0.5).max(0.0) as usize;
    let to = ((centre + 2.0 * width + 0.5) as usize).min(inputs);
    let weight = |i: usize| match (from..to).contains(&i) {
        true => kernel((i as f64 - centre + 0.5) / width, -0.5),
        false => 0.0,
    };
    let row: Vec<f64> = (0..inputs).map(weight).collect();
    let sum: f64 = row.iter().sum();
    row.into_iter().map(|weight| weight / sum).collect()
}

/// The cubic convolution kernel of Keys (1981) with the coefficient a.
fn kernel(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => ((x - 5.0) * x + 8.0) * x * a - 4.0 * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_are_symmetric() {
        for resampling in [Resampling::Size, Resampling::Antialiased] {
            for (inputs, outputs) in [(4, 6), (14, 16), (9, 3), (1, 5), (37, 16), (3, 3)] {
                let taps = taps(inputs, outputs, resampling);
                for (i, row) in taps.chunks(inputs).enumerate() {
                    assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    let mirrored = &taps[(outputs - 1 - i) * inputs..][..inputs];
                    let pairs = row.iter().zip(mirrored.iter().rev());
                    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-12));
                }
            }
        }
    }

    #[test]
    fn a_quarter_of_the_way_weighs_as_in_pytorch() {
        let expected = [0.0, -0.10546875, 0.87890625, 0.26171875, -0.03515625, 0.0, 0.0, 0.0];
        assert_eq!(taps(8, 16, Resampling::Size)[5 * 8..6 * 8], expected);
    }

    /// Rows and columns are not exchanged, and channels stay apart.
    #[test]
    fn a_grid_of_its_own_size_is_unchanged() {
        let values: Vec<f32> = (0..12).map(|x| x as f32).collect();
        assert_eq!(resample(&values, [3, 2], [3, 2], Resampling::Size), values);
        let wide = resample(&values, [3, 2], [3, 4], Resampling::Size);
        assert_eq!(wide.len(), 24);
        // Columns mirror each other around the mean of both.
        for row in 0..3 {
            for channel in 0..2 {
                let mean = (values[row * 4 + channel] + values[row * 4 + 2 + channel]) / 2.0;
                let at = |column: usize| wide[row * 8 + column * 2 + channel];
                assert!((at(0) + at(3) - 2.0 * mean).abs() < 1e-5);
                assert!((at(1) + at(2) - 2.0 * mean).abs() < 1e-5);
            }
        }
    }
}
