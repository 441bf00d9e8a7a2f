//! The kernels. A cube computes a row of x, and its units share out the elements.

use cubecl::prelude::*;

use super::row::{Row, average};
use crate::cube::strided::Strided;
use crate::cube::{UNITS, sum_over_units};

/// Whether γ is multiplied before or after J.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scale {
    Before,
    After,
}

/// γ x̂ + β, or x̂
#[cube(launch)]
pub fn standardize_kernel<F: Float>(
    x: &Strided<F>,
    gamma: &ComptimeOption<Strided<F>>,
    beta: &ComptimeOption<Strided<F>>,
    y: &mut Strided<F>,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0usize) {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let mut value = row.standard(row.at::<F>(x, i));
        #[comptime]
        match gamma {
            ComptimeOption::Some(gamma) => {
                value *= row.weight::<F>(gamma, x, i);
            }
            ComptimeOption::None => {}
        }
        #[comptime]
        match beta {
            ComptimeOption::Some(beta) => {
                value += row.weight::<F>(beta, x, i);
            }
            ComptimeOption::None => {}
        }
        y.values[row.index * row.width + i] = F::cast_from(value);
        i += UNITS;
    }
}

/// γ J t or J(γ t)
#[cube(launch)]
pub fn project_kernel<F: Float>(
    x: &Strided<F>,
    gamma: &Strided<F>,
    t: &Strided<F>,
    y: &mut Strided<F>,
    epsilon: f32,
    #[comptime] scale: Scale,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0usize) {
        terminate!();
    }
    let before = comptime!(scale == Scale::Before);
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let moments = row.moments::<F>(x, gamma, t, before, &mut shared);
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let t = row.scaled::<F>(x, gamma, t, i, before);
        let mut value = row.project(row.at::<F>(x, i), t, &moments);
        if !before {
            value *= row.weight::<F>(gamma, x, i);
        }
        y.values[row.index * row.width + i] = F::cast_from(value);
        i += UNITS;
    }
}

/// The gradient of ⟨h, γ J ẋ⟩ at x.
#[cube(launch)]
pub fn curve_kernel<F: Float>(
    x: &Strided<F>,
    gamma: &Strided<F>,
    dx: &Strided<F>,
    h: &Strided<F>,
    y: &mut Strided<F>,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0usize) {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let of_u = row.moments::<F>(x, gamma, h, true, &mut shared);
    let of_dx = row.moments::<F>(x, gamma, dx, false, &mut shared);
    let mut products = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < row.width {
        products += row.scaled::<F>(x, gamma, h, i, true) * row.at::<F>(dx, i);
        i += UNITS;
    }
    let drift = average(products, row.width, &mut shared)
        - of_u.mean * of_dx.mean
        - of_u.correlation * of_dx.correlation;
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let x_i = row.at::<F>(x, i);
        let u = row.scaled::<F>(x, gamma, h, i, true);
        let along = row.standard(x_i) * drift * row.inverse_std;
        let across = of_dx.correlation * row.project(x_i, u, &of_u)
            + of_u.correlation * row.project(x_i, row.at::<F>(dx, i), &of_dx);
        y.values[row.index * row.width + i] = F::cast_from(-(along + across) * row.inverse_std);
        i += UNITS;
    }
}

/// The gradients at γ and β. A cube computes those of one channel, summed over all rows of its
/// group.
#[cube(launch)]
pub fn weights_kernel<F: Float>(
    standard: &Strided<F>,
    g: &Strided<F>,
    at_gamma: &mut Strided<F>,
    at_beta: &mut Strided<F>,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= at_gamma.shape(0usize) {
        terminate!();
    }
    let channels = g.shape(1usize);
    let elements = g.shape(2usize);
    let groups = at_gamma.shape(0usize) / channels;
    let mut gammas = 0.0f32;
    let mut betas = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < g.shape(0usize) / groups * elements {
        let row = i / elements * groups + CUBE_POS / channels;
        let at = (row * channels + CUBE_POS % channels) * elements + i % elements;
        let g = f32::cast_from(g.values[at]);
        gammas += g * f32::cast_from(standard.values[at]);
        betas += g;
        i += UNITS;
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    gammas = sum_over_units(gammas, &mut shared, UNIT_POS as usize, 0usize, UNITS);
    betas = sum_over_units(betas, &mut shared, UNIT_POS as usize, 0usize, UNITS);
    if UNIT_POS == 0 {
        at_gamma.values[CUBE_POS] = F::cast_from(gammas);
        at_beta.values[CUBE_POS] = F::cast_from(betas);
    }
}
