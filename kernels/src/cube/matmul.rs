//! Matrix products on GPUs.
//!
//! Burn's own choose among some forty algorithms, those with tensor cores first, which round f32 to TF32 on CUDA. Here
//! f32 is multiplied by units, and 16 bits, which tensor cores take as they are, by tensor cores where there are
//! any. A GPU in software sums each element by itself. Naming the algorithms also spares compiling the others, which
//! are most of what a program with a GPU backend takes to build.

use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubek_matmul::components::tile::TileMatmulKind;
use cubek_matmul::definition::{MatmulElems, MatmulGlobalElems, MatmulSetupError};
use cubek_matmul::launch::launch_naive;
use cubek_matmul::launch::launch_tiling::launch_ref;
use cubek_matmul::routines::simple::{SimpleAlgorithm, SimpleArgs};
use cubek_matmul::routines::simple_unit::SimpleUnitAlgorithm;
use cubek_matmul::routines::{BlueprintStrategy, Routine};
use cubek_std::InputBinding;

use super::{empty_like, is_hardware};
use crate::matmul::MatMul;

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
    let y = empty_like(a, shape_of_product(a, b));
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
    let launched = match is_hardware(a) {
        true => launch::<R, SimpleUnitAlgorithm>(a, b, &y, &BlueprintStrategy::default()),
        false => launch_naive::launch_ref(
            &y.client,
            input(a),
            input(b),
            y.clone().binding(),
            &elements(a, b, &y),
        ),
    };
    launched.unwrap_or_else(|error| panic!("{error:?}"));
    y
}

/// The rows of a and the columns of b, for as many batches as either has.
fn shape_of_product<R: CubeRuntime>(a: &CubeTensor<R>, b: &CubeTensor<R>) -> Vec<usize> {
    let (a, b) = (a.shape(), b.shape());
    let last = a.rank() - 1;
    let batches = (0..last - 1).map(|axis| a[axis].max(b[axis]));
    batches.chain([a[last - 1], b[last]]).collect()
}

fn launch<R: CubeRuntime, A: Routine<()>>(
    a: &CubeTensor<R>,
    b: &CubeTensor<R>,
    y: &CubeTensor<R>,
    strategy: &BlueprintStrategy<(), A>,
) -> Result<(), MatmulSetupError> {
    let mut elements = elements(a, b, y);
    launch_ref(&y.client, input(a), input(b), y.clone().binding(), strategy, &mut elements)
}

fn input<R: CubeRuntime>(x: &CubeTensor<R>) -> InputBinding<R> {
    InputBinding::new(x.clone().binding(), x.dtype.into())
}

/// In what the numbers are, which is also what they are multiplied in.
fn elements<R: CubeRuntime>(
    a: &CubeTensor<R>,
    b: &CubeTensor<R>,
    y: &CubeTensor<R>,
) -> MatmulElems {
    let (lhs, rhs, out) = (a.dtype.into(), b.dtype.into(), y.dtype.into());
    MatmulElems::from_globals(&MatmulGlobalElems { lhs, rhs, out })
}
