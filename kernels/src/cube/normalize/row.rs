//! A row and its statistics, which the units of a cube compute together.

use cubecl::prelude::*;

use crate::cube::strided::Strided;
use crate::cube::{UNITS, sum_over_units};

/// A row of x with its statistics.
#[derive(CubeType, Clone, Copy)]
pub struct Row {
    /// Its index.
    pub index: usize,
    /// The number of its elements.
    pub width: usize,
    mean: f32,
    /// 1/σ
    pub inverse_std: f32,
}

/// mean t and mean(x̂ t).
#[derive(CubeType, Clone, Copy)]
pub struct Moments {
    pub mean: f32,
    pub correlation: f32,
}

#[cube]
impl Row {
    /// This cube's row.
    pub fn new<F: Float>(x: &Strided<F>, epsilon: f32, shared: &mut SharedMemory<f32>) -> Row {
        let index = CUBE_POS;
        let width = x.shape(1usize) * x.shape(2usize);
        let start = index * width;
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width {
            sum += f32::cast_from(x.values[start + i]);
            i += UNITS;
        }
        let mean = average(sum, width, shared);
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width {
            let centered = f32::cast_from(x.values[start + i]) - mean;
            squares += centered * centered;
            i += UNITS;
        }
        let inverse_std = 1.0f32 / (average(squares, width, shared) + epsilon).sqrt();
        Row { index, width, mean, inverse_std }
    }

    /// An element of this row of a tensor of the shape of x.
    pub fn at<F: Float>(&self, t: &Strided<F>, i: usize) -> f32 {
        f32::cast_from(t.values[self.index * self.width + i])
    }

    /// The γ or β of an element. Rows are groups of channels, so row i takes the weights of group i
    /// mod the number of groups.
    pub fn weight<F: Float>(&self, weights: &Strided<F>, x: &Strided<F>, i: usize) -> f32 {
        let channels = x.shape(1usize);
        let group = self.index % (weights.shape(0usize) / channels);
        f32::cast_from(weights.values[group * channels + i / x.shape(2usize)])
    }

    /// An element of t, or of γ t if `scaled`.
    pub fn scaled<F: Float>(
        &self,
        x: &Strided<F>,
        gamma: &Strided<F>,
        t: &Strided<F>,
        i: usize,
        #[comptime] scaled: bool,
    ) -> f32 {
        let t = self.at::<F>(t, i);
        if scaled { t * self.weight::<F>(gamma, x, i) } else { t }
    }

    /// The moments of t, or of γ t if `scaled`.
    pub fn moments<F: Float>(
        &self,
        x: &Strided<F>,
        gamma: &Strided<F>,
        t: &Strided<F>,
        #[comptime] scaled: bool,
        shared: &mut SharedMemory<f32>,
    ) -> Moments {
        let mut sum = 0.0f32;
        let mut products = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < self.width {
            let t = self.scaled::<F>(x, gamma, t, i, scaled);
            sum += t;
            products += self.standard(self.at::<F>(x, i)) * t;
            i += UNITS;
        }
        let mean = average(sum, self.width, shared);
        let correlation = average(products, self.width, shared);
        Moments { mean, correlation }
    }

    /// x̂
    pub fn standard(&self, x: f32) -> f32 {
        (x - self.mean) * self.inverse_std
    }

    /// J t at one element.
    pub fn project(&self, x: f32, t: f32, of: &Moments) -> f32 {
        (t - of.mean - self.standard(x) * of.correlation) * self.inverse_std
    }
}

/// The mean, from the partial sums of a cube's units.
#[cube]
pub fn average(sum: f32, count: usize, shared: &mut SharedMemory<f32>) -> f32 {
    sum_over_units(sum, shared, UNIT_POS as usize, 0usize, UNITS) / f32::cast_from(count)
}
