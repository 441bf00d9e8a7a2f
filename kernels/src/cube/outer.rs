//! Products of two thin matrices, added to a wide one in place, so that A Bᵀ takes no memory.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

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
    let factors = |i: usize| pairs.iter().map(|pair| pair[i].clone().into_tensor_arg()).collect();
    add_kernel::launch(
        &y.client,
        cubes,
        cube,
        factors(0),
        factors(1),
        bias.map(|bias| bias.clone().into_tensor_arg()).into(),
        y.clone().into_tensor_arg(),
        fresh,
        y.dtype.into(),
    );
    y
}

/// Adds to y, or sets y if it is `fresh` (uninitialised). One unit computes one element of y.
#[cube(launch)]
fn add_kernel<F: Float>(
    low: &Sequence<Tensor<F>>,
    up: &Sequence<Tensor<F>>,
    bias: &ComptimeOption<Tensor<F>>,
    y: &mut Tensor<F>,
    #[comptime] fresh: bool,
    #[define(F)] _dtype: StorageType,
) {
    let row = ABSOLUTE_POS / y.shape(1);
    let column = ABSOLUTE_POS % y.shape(1);
    if row >= y.shape(0) {
        terminate!();
    }
    let at = row * y.stride(0) + column * y.stride(1);
    let mut sum = if fresh { 0.0f32.runtime() } else { f32::cast_from(y[at]) };
    #[unroll]
    for pair in 0..low.len() {
        let low = low.index(pair);
        let up = up.index(pair);
        for r in 0..low.shape(1) {
            let low = low[row * low.stride(0) + r * low.stride(1)];
            let up = up[column * up.stride(0) + r * up.stride(1)];
            sum += f32::cast_from(low) * f32::cast_from(up);
        }
    }
    #[comptime]
    match bias {
        ComptimeOption::Some(bias) => {
            sum += f32::cast_from(bias[column * bias.stride(0)]);
        }
        ComptimeOption::None => {}
    }
    y[at] = F::cast_from(sum);
}
