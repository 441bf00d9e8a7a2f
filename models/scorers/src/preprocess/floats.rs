//! Resampling of floating-point numbers, which are neither rounded nor cut off: values may leave 0 to 1.

use std::ops::Range;

use super::filter::{Filter, Taps};

/// A window, rows and columns, of planes `[3, height, width]` that are resized to the size `to`, as
/// torchvision does with tensors.
pub(super) fn resize_window(
    planes: &[f32],
    [height, width]: [usize; 2],
    to: [usize; 2],
    [rows, columns]: [Range<usize>; 2],
    filter: Filter,
    antialias: bool,
) -> Vec<f32> {
    let taps = |inputs, outputs, range: Range<usize>| match antialias {
        // At the size of the inputs each output is its input.
        _ if inputs == outputs => range.map(|first| Taps { first, weights: vec![1.0] }).collect(),
        true => filter.taps(inputs, outputs, range),
        false => filter.interpolating_taps(inputs, outputs, range),
    };
    let inner = columns.len();
    let across = apply(planes, width, 1, &taps(width, to[1], columns));
    apply(&across, height, inner, &taps(height, to[0], rows))
}

/// Applies weights to the middle dimension of `[outer, inputs, inner]`.
fn apply(values: &[f32], inputs: usize, inner: usize, taps: &[Taps]) -> Vec<f32> {
    let block = |block: &[f32]| {
        let output = |Taps { first, weights }: &Taps| {
            let sum = |place: usize| {
                let inputs = block[first * inner + place..].iter().step_by(inner);
                weights.iter().zip(inputs).map(|(w, x)| w * f64::from(*x)).sum::<f64>() as f32
            };
            (0..inner).map(sum).collect::<Vec<f32>>()
        };
        taps.iter().flat_map(output).collect::<Vec<f32>>()
    };
    values.chunks(inputs * inner).flat_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An edge overshoots by up to 7 % of its height: with bytes it would be cut off.
    #[test]
    fn edges_overshoot() {
        let edge: Vec<f32> = (0..3 * 8).map(|x| f32::from(u8::from(x % 8 >= 4))).collect();
        let window = [0..1, 0..32];
        let wide = resize_window(&edge, [1, 8], [1, 32], window, Filter::Bicubic, true);
        let largest = wide.iter().copied().fold(0.0, f32::max);
        let least = wide.iter().copied().fold(1.0, f32::min);
        assert!(
            (1.02..1.1).contains(&largest) && (least + largest - 1.0).abs() < 1e-6,
            "{largest}"
        );
    }
}
