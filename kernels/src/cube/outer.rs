//! Products of two thin matrices, added to a wide one in place, so that A Bᵀ takes no memory.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::strided::{Strided, strided};
use super::{empty_like, unit_each};

/// Σ L Uᵀ over pairs of L `[rows, rank]` and U `[columns, rank]`: `[rows, columns]`.
pub fn sum_of_products<R: CubeRuntime>(
    like: &CubeTensor<R>,
    size: [usize; 2],
    pairs: &[[&CubeTensor<R>; 2]],
) -> CubeTensor<R> {
    launch(empty_like(like, size), true, pairs, None)
}

/// `y + Σ L Uᵀ + b`, with the bias b `[columns]` in each row; y is overwritten.
pub fn add_products<R: CubeRuntime>(
    y: CubeTensor<R>,
    pairs: &[[&CubeTensor<R>; 2]],
    bias: Option<&CubeTensor<R>>,
) -> CubeTensor<R> {
    match pairs.is_empty() && bias.is_none() {
        true => y,
        false => launch(y, false, pairs, bias),
    }
}

fn launch<R: CubeRuntime>(
    y: CubeTensor<R>,
    fresh: bool,
    pairs: &[[&CubeTensor<R>; 2]],
    bias: Option<&CubeTensor<R>>,
) -> CubeTensor<R> {
    let (cubes, cube) = unit_each(&y, y.meta.num_elements());
    let factors = |i: usize| pairs.iter().map(|pair| strided(pair[i])).collect();
    add_kernel::launch(
        &y.client,
        cubes,
        cube,
        factors(0),
        factors(1),
        bias.map(|bias| strided(bias)).into(),
        strided(&y),
        fresh,
        y.dtype.into(),
    );
    y
}

/// Adds to y, or sets y if it is `fresh` (uninitialised). One unit computes one element of y.
#[cube(launch)]
fn add_kernel<F: Float>(
    low: &Sequence<Strided<F>>,
    up: &Sequence<Strided<F>>,
    bias: &ComptimeOption<Strided<F>>,
    y: &mut Strided<F>,
    #[comptime] fresh: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = ABSOLUTE_POS / y.shape(1usize);
    let column = ABSOLUTE_POS % y.shape(1usize);
    if row >= y.shape(0usize) {
        terminate!();
    }
    let at = row * y.stride(0usize) + column * y.stride(1usize);
    let mut sum = if fresh { 0.0f32.runtime() } else { f32::cast_from(y.values[at]) };
    #[unroll]
    for pair in 0..low.len() {
        let low = low.index(pair);
        let up = up.index(pair);
        for r in 0..low.shape(1usize) {
            let low = low.values[row * low.stride(0usize) + r * low.stride(1usize)];
            let up = up.values[column * up.stride(0usize) + r * up.stride(1usize)];
            sum += f32::cast_from(low) * f32::cast_from(up);
        }
    }
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => {
            sum += f32::cast_from(bias.values[column * bias.stride(0usize)]);
        }
        ComptimeOption::None => {}
    }
    y.values[at] = F::cast_from(sum);
}
