//! Which inputs an output of a resampling consists of, in one dimension.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A resampling filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle that is two pixels wide.
    Bilinear,
    /// Cubic convolution (Keys 1981), four pixels wide; the coefficient is Pillow's −0.5.
    Bicubic,
}

/// The weights of one output: of the inputs from `first` on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taps {
    pub(super) first: usize,
    pub(super) weights: Vec<f64>,
}

impl Filter {
    /// The weights of the outputs in `range` of all `outputs`, as Pillow and torchvision's antialiasing have them: the
    /// filter is as wide as the ratio of sizes when an image shrinks, is cut off at the edges, and its
    /// weights sum to one.
    pub(super) fn taps(self, inputs: usize, outputs: usize, range: Range<usize>) -> Vec<Taps> {
        let scale = inputs as f64 / outputs as f64;
        let width = scale.max(1.0);
        let (support, step) = (self.support() * width, 1.0 / width);
        let taps = |output: usize| {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(inputs);
            let weight = |i: usize| self.value((i as f64 - centre + 0.5) * step);
            let weights: Vec<f64> = (first..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            Taps { first, weights: weights.into_iter().map(|weight| weight / sum).collect() }
        };
        range.map(taps).collect()
    }

    /// The weights without antialiasing, as torchvision's of tensors were before version 0.17: of the
    /// inputs next to the position whatever the ratio of sizes is, with the coefficient −0.75. Positions
    /// outside count as the nearest edge.
    pub(super) fn interpolating_taps(
        self,
        inputs: usize,
        outputs: usize,
        range: Range<usize>,
    ) -> Vec<Taps> {
        let scale = inputs as f64 / outputs as f64;
        let reach = self.support() as i64;
        let taps = |output: usize| {
            let position = (output as f64 + 0.5) * scale - 0.5;
            let mut weights = vec![0.0; inputs];
            for offset in 1 - reach..=reach {
                let input = position.floor() as i64 + offset;
                let weight = match self {
                    Self::Bilinear => self.value(input as f64 - position),
                    Self::Bicubic => cubic(input as f64 - position, -0.75),
                };
                weights[input.clamp(0, inputs as i64 - 1) as usize] += weight;
            }
            Taps { first: 0, weights }
        };
        range.map(taps).collect()
    }

    /// How far the filter reaches to each side.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn value(self, x: f64) -> f64 {
        match self {
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => cubic(x, -0.5),
        }
    }
}

/// The cubic convolution kernel with the coefficient a, in Pillow's order of operations.
fn cubic(x: f64, a: f64) -> f64 {
    match x.abs() {
        x if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_lie_inside() {
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            for (inputs, outputs) in [(512, 224), (3, 224), (7, 7), (1, 5), (224, 1)] {
                let all = 0..outputs;
                for taps in [
                    filter.taps(inputs, outputs, all.clone()),
                    filter.interpolating_taps(inputs, outputs, all),
                ] {
                    assert_eq!(taps.len(), outputs);
                    for Taps { first, weights } in taps {
                        assert!(first + weights.len() <= inputs);
                        assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
