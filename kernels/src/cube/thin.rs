//! Products of a large matrix with a thin one, in plain f32 sums.
//!
//! LoRA multiplies by its factors in this way (x B, gᵀ (x B), xᵀ (g A)), and the projection by its
//! basis (Qᵀ B, Q C). The result has one column per rank, and each element is a sum over a long row
//! or column of the large matrix.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::strided::{Strided, strided};
use super::{UNITS, cube_each, dims, empty_like, sum_over_units};

/// Units that share one sum.
const TERMS: usize = 32;

/// Rows of the result per cube: as many consecutive floats as GPUs load at once.
const TILE: usize = UNITS / TERMS;

/// Columns of the result per cube. All of them use an element of the large matrix once it is
/// loaded.
const COLUMNS: usize = 4;

/// Σ M T over pairs of a large matrix `[rows, k]` and a thin one `[k, columns]`: `[rows, columns]`.
///
/// The result is zero if there are no pairs. `like` gives its device and dtype. Matrices may be
/// transposed views.
pub fn sum_of_products<R: CubeRuntime>(
    like: &CubeTensor<R>,
    size: [usize; 2],
    pairs: &[[&CubeTensor<R>; 2]],
) -> CubeTensor<R> {
    launch(empty_like(like, size), None, pairs)
}

/// M T
pub fn product<R: CubeRuntime>(m: &CubeTensor<R>, t: &CubeTensor<R>) -> CubeTensor<R> {
    let ([rows, _], [_, columns]) = (dims(m), dims(t));
    sum_of_products(m, [rows, columns], &[[m, t]])
}

/// B − M T
pub fn minus_product<R: CubeRuntime>(
    b: &CubeTensor<R>,
    m: &CubeTensor<R>,
    t: &CubeTensor<R>,
) -> CubeTensor<R> {
    launch(empty_like(b, dims::<2, _>(b)), Some(b), &[[m, t]])
}

fn launch<R: CubeRuntime>(
    y: CubeTensor<R>,
    minuend: Option<&CubeTensor<R>>,
    pairs: &[[&CubeTensor<R>; 2]],
) -> CubeTensor<R> {
    let [rows, columns] = dims(&y);
    let (cubes, cube) = cube_each(&y, rows.div_ceil(TILE) * columns.div_ceil(COLUMNS));
    let factors = |i: usize| pairs.iter().map(|pair| strided(pair[i])).collect();
    sum_kernel::launch(
        &y.client,
        cubes,
        cube,
        minuend.map(|b| strided(b)).into(),
        factors(0),
        factors(1),
        strided(&y),
        pairs.first().is_some_and(|[m, _]| m.meta.strides()[0] == 1),
        columns.min(COLUMNS),
        y.dtype.into(),
    );
    y
}

/// `y = Σ M T`, or `b − Σ M T`. A cube computes a tile of y.
///
/// Neighbouring units read neighbouring elements of M. These belong to one row and one sum, or, if
/// M is `transposed` in memory, to one column and the sums of neighbouring rows.
#[cube(launch)]
fn sum_kernel<F: Float>(
    b: &ComptimeOption<Strided<F>>,
    m: &Sequence<Strided<F>>,
    t: &Sequence<Strided<F>>,
    y: &mut Strided<F>,
    #[comptime] transposed: bool,
    #[comptime] width: usize,
    #[define(F)] _dtype: StorageType,
) {
    let unit = UNIT_POS as usize;
    let term = if transposed { unit / TILE } else { unit % TERMS };
    let in_tile = if transposed { unit % TILE } else { unit / TERMS };
    let columns = y.shape(1usize);
    let across = columns.div_ceil(width);
    let row = CUBE_POS / across * TILE + in_tile;
    let first = CUBE_POS % across * width;
    let inside = row < y.shape(0usize);

    let mut sums = Array::<f32>::new(width);
    #[unroll]
    for i in 0..width {
        sums[i] = 0.0f32;
    }
    #[unroll]
    for pair in 0..m.len() {
        let m = m.index(pair);
        let t = t.index(pair);
        let depth = if inside { m.shape(1usize) } else { 0usize.runtime() };
        let mut k = term;
        while k < depth {
            let large = f32::cast_from(m.values[row * m.stride(0usize) + k * m.stride(1usize)]);
            #[unroll]
            for i in 0..width {
                // A tile may extend beyond the last column; the sums there are not written.
                let column = min(first + i, columns - 1);
                sums[i] += large
                    * f32::cast_from(t.values[k * t.stride(0usize) + column * t.stride(1usize)]);
            }
            k += TERMS;
        }
    }

    let mut shared = SharedMemory::<f32>::new(UNITS);
    #[unroll]
    for i in 0..width {
        let column = first + i;
        let mut sum = sum_over_units(sums[i], &mut shared, term, in_tile, TERMS);
        if inside && term == 0 && column < columns {
            #[comptime]
            match b {
                ComptimeOption::Some(b) => {
                    let b = b.values[row * b.stride(0usize) + column * b.stride(1usize)];
                    sum = f32::cast_from(b) - sum;
                }
                ComptimeOption::None => {}
            }
            y.values[row * y.stride(0usize) + column * y.stride(1usize)] = F::cast_from(sum);
        }
    }
}
