//! Matrix products on GPUs.
//!
//! Burn's own choose among some forty algorithms, those with tensor cores first, which round f32 to TF32 on CUDA. Here
//! f32 is multiplied by units, and 16 bits, which tensor cores take as they are, by tensor cores where there are
//! any; small products are each number by itself. Naming two algorithms also spares compiling the others, which are most of what a program with a GPU backend takes
//! to build.

use burn::tensor::DType;
use burn_cubecl::kernel::matmul::init_matmul_output;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::prelude::*;
use cubek_matmul::components::tile::TileMatmulKind;
use cubek_matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek_matmul::launch::launch_tiling::launch_ref;
use cubek_matmul::routines::simple::{SimpleAlgorithm, SimpleArgs};
use cubek_matmul::routines::simple_unit::SimpleUnitAlgorithm;
use cubek_matmul::routines::{BlueprintStrategy, Routine};
use cubek_std::InputBinding;

use super::unit_each;
use crate::matmul::MatMul;

/// Up to so many multiplications each number of a product is computed by itself. Sharing what is read takes barriers, which
/// devices without a GPU's threads emulate: the tests' models are several times slower by tiles on software Vulkan.
const SMALL: usize = 1 << 22;

impl<R, F, I, BT> MatMul for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn matmul(a: CubeTensor<R>, b: CubeTensor<R>) -> CubeTensor<R> {
        product(&a, &b)
    }
}

/// a b, batch by batch; a batch of one goes with any.
pub fn product<R: CubeRuntime>(a: &CubeTensor<R>, b: &CubeTensor<R>) -> CubeTensor<R> {
    let y = init_matmul_output(a, b, a.dtype);
    let (rank, elements) = (a.meta.shape().num_dims(), y.meta.num_elements());
    let tuned = matches!(a.dtype, DType::F32 | DType::F16 | DType::BF16);
    if tuned && elements * a.meta.shape()[rank - 1] <= SMALL {
        let (cubes, cube) = unit_each(&y, elements);
        let [left, right, out] = [a, b, &y].map(|x| x.clone().into_tensor_arg());
        small_kernel::launch(&y.client, cubes, cube, left, right, out, rank, y.dtype.into());
        return y;
    }
    if matches!(a.dtype, DType::F16 | DType::BF16) {
        let args = SimpleArgs { tile_matmul: TileMatmulKind::Cmma, ..SimpleArgs::default() };
        let tensor_cores = BlueprintStrategy::Inferred(args);
        match launch::<R, SimpleAlgorithm>(a, b, &y, &tensor_cores) {
            Ok(()) => return y,
            // A device without tensor cores for these numbers.
            Err(MatmulSetupError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    launch::<R, SimpleUnitAlgorithm>(a, b, &y, &BlueprintStrategy::default())
        .unwrap_or_else(|error| panic!("{error:?}"));
    y
}

fn launch<R: CubeRuntime, A: Routine<()>>(
    a: &CubeTensor<R>,
    b: &CubeTensor<R>,
    y: &CubeTensor<R>,
    strategy: &BlueprintStrategy<(), A>,
) -> Result<(), MatmulSetupError> {
    let binding = |x: &CubeTensor<R>| InputBinding::new(x.clone().binding(), x.dtype.into());
    let (lhs, rhs, out) = (a.dtype.into(), b.dtype.into(), y.dtype.into());
    let mut dtypes = MatmulElems::from_globals(&MatmulGlobalElems { lhs, rhs, out });
    launch_ref(&y.client, binding(a), binding(b), y.clone().binding(), strategy, &mut dtypes)
}

/// A unit computes one number of y. Any of the tensors may be a view, and a batch of one goes with any.
#[cube(launch)]
fn small_kernel<F: Float>(
    a: &Tensor<F>,
    b: &Tensor<F>,
    y: &mut Tensor<F>,
    #[comptime] rank: usize,
    #[define(F)] _dtype: StorageType,
) {
    let rows = comptime!(rank - 2);
    let columns = comptime!(rank - 1);
    let column = ABSOLUTE_POS % y.shape(columns);
    let row = ABSOLUTE_POS / y.shape(columns) % y.shape(rows);
    let mut batch = ABSOLUTE_POS / y.shape(columns) / y.shape(rows);
    let mut at_a = row * a.stride(rows);
    let mut at_b = column * b.stride(columns);
    let mut at_y = row * y.stride(rows) + column * y.stride(columns);
    #[unroll]
    for i in 0..rows {
        let dim = comptime!(rank - 3 - i);
        let index = batch % y.shape(dim);
        batch /= y.shape(dim);
        at_a += index % a.shape(dim) * a.stride(dim);
        at_b += index % b.shape(dim) * b.stride(dim);
        at_y += index * y.stride(dim);
    }
    if batch > 0 {
        terminate!();
    }
    let mut sum = 0.0f32.runtime();
    for k in 0..a.shape(columns) {
        let left = f32::cast_from(a[at_a + k * a.stride(columns)]);
        sum += left * f32::cast_from(b[at_b + k * b.stride(rows)]);
    }
    y[at_y] = F::cast_from(sum);
}
