//! Kernels for GPUs in CubeCL, with one source for wgpu and CUDA.
//!
//! Tensors keep their precision in memory, and the kernels compute in f32. Only wide matrix products of 16
//! bits use tensor cores. Attention goes tile by tile over the keys; a convolution consists of products with patches. A GPU
//! in software has simpler kernels for attention and products. f64 and tensors without elements are computed by the references.

mod activation;
mod attention;
mod conv2d;
mod geglu;
mod lora_linear;
mod matmul;
mod normalize;
mod outer;
mod project;
mod strided;
mod thin;

use burn::tensor::{DType, Shape, TensorMetadata};
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};
use cubecl::calculate_cube_count_elemwise;
use cubecl::ir::features::Plane;
use cubecl::prelude::*;

use crate::operation::{BackwardPasses, Kernel, Operation};

/// An operation with kernels of its own; [`Kernel`] and [`BackwardPasses`] say what they compute.
trait Tuned: Operation {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R>;

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R>;

    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R>;

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R>;
}

/// A gradient for each input, `None` where it was not asked for.
type Gradients<R> = Vec<Option<CubeTensor<R>>>;

impl<R, F, I, BT, O> Kernel<O> for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
    O: Tuned,
{
    fn value(operation: &O, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        match all_tuned(x) {
            true => Tuned::value(operation, x),
            false => Operation::value::<Self>(operation, x),
        }
    }

    fn tangent(operation: &O, x: &[CubeTensor<R>], dx: &[Option<CubeTensor<R>>]) -> CubeTensor<R> {
        match all_tuned(x) {
            true => Tuned::tangent(operation, x, dx),
            false => Operation::tangent::<Self>(operation, x, dx),
        }
    }

    fn backward(x: &[CubeTensor<R>]) -> Option<BackwardPasses<Self, O>> {
        let passes = BackwardPasses { of_value: O::adjoint, of_tangent: O::tangent_adjoint };
        all_tuned(x).then_some(passes)
    }
}

/// Whether the kernels apply: no tensor is empty, and all have one dtype, of 16 or 32 bits.
fn all_tuned<R: CubeRuntime>(tensors: &[CubeTensor<R>]) -> bool {
    let dtype = tensors[0].dtype;
    let tuned = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    tuned && tensors.iter().all(|t| t.dtype == dtype && t.meta.num_elements() > 0)
}

/// Whether a device is a GPU and not one in software, which CubeCL tells by planes. Mesa's takes up to 25 s to
/// compile a tiled kernel of attention, since it makes a coroutine of each unit that waits for others (decision 16).
fn is_hardware<R: CubeRuntime>(t: &CubeTensor<R>) -> bool {
    t.client.properties().features.plane.contains(Plane::Ops)
}

/// An uninitialised contiguous tensor.
fn empty_like<R: CubeRuntime>(t: &CubeTensor<R>, shape: impl Into<Shape>) -> CubeTensor<R> {
    let shape = shape.into();
    let handle = t.client.empty(shape.num_elements() * t.dtype.size());
    CubeTensor::new_contiguous(t.client.clone(), t.device.clone(), shape, handle, t.dtype)
}

/// The sizes of a tensor of rank `D`.
fn dims<const D: usize, R: CubeRuntime>(t: &CubeTensor<R>) -> [usize; D] {
    t.shape().dims()
}

/// The transpose of a matrix: a view.
fn transpose<R: CubeRuntime>(matrix: &CubeTensor<R>) -> CubeTensor<R> {
    permute(matrix.clone(), &[1, 0])
}

/// The units of a cube. 256 is what every WebGPU device allows.
const UNITS: usize = 256;

/// Enough cubes to give each of `count` elements a unit.
fn unit_each<R: CubeRuntime>(t: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    let cube = CubeDim::new_1d(UNITS as u32);
    (calculate_cube_count_elemwise(&t.client, count, cube), cube)
}

/// At least `count` cubes; more if `count` does not fit into one dimension.
fn cube_each<R: CubeRuntime>(t: &CubeTensor<R>, count: usize) -> (CubeCount, CubeDim) {
    let cubes = calculate_cube_count_elemwise(&t.client, count, CubeDim::new_single());
    (cubes, CubeDim::new_1d(UNITS as u32))
}

/// The sum of `value` over a cube's units of the same `group`, for all of them.
///
/// The sum is a tree in shared memory, which all devices have. The cube is divided into groups of
/// `terms` units, and this unit has index `term` in its group.
#[cube]
fn sum_over_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    term: usize,
    group: usize,
    #[comptime] terms: usize,
) -> f32 {
    let groups = comptime!(UNITS / terms);
    shared[term * groups + group] = value;
    sync_cube();
    let mut half = comptime!(terms / 2).runtime();
    while half > 0 {
        if term < half {
            let other = shared[(term + half) * groups + group];
            shared[term * groups + group] += other;
        }
        sync_cube();
        half /= 2;
    }
    let total = shared[group];
    // The next sum overwrites this one.
    sync_cube();
    total
}
