//! Kernels for CPUs. They compute in f32; f16 and bf16 tensors are cast to f32 and back, and f64 is
//! computed by the references.
//!
//! Matrix products are by `gemm`, except for a convolution's value and its gradient at the image.
//! The other kernels are plain loops over slices: rayon shares them out among the cores, and `pulp`
//! compiles each for several instruction sets (AVX-512, AVX2, NEON, none) and chooses one at run
//! time.

mod activation;
mod attention;
mod conv2d;
mod elementwise;
mod lora_linear;
mod math;
mod matrix;
mod normalize;
mod panel;
mod transpose;

use std::borrow::Cow;

use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};

use crate::operation::{BackwardPasses, Gradients, Kernel, Operation};
use crate::project::Project;

/// An operation with kernels of its own, on f32; [`Kernel`] and [`BackwardPasses`] say what they
/// compute.
trait Tuned: Operation {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor;

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor;

    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, wanted: &[bool]) -> Gradients<Flex>;

    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex>;
}

impl<O: Tuned> Kernel<O> for Flex {
    fn value(operation: &O, x: &[FlexTensor]) -> FlexTensor {
        match all_tuned(x) {
            true => cast(Tuned::value(operation, &in_f32(x)), x[0].dtype()),
            false => Operation::value::<Self>(operation, x),
        }
    }

    fn tangent(operation: &O, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        match all_tuned(x) {
            true => cast(Tuned::tangent(operation, &in_f32(x), &some_in_f32(dx)), x[0].dtype()),
            false => Operation::tangent::<Self>(operation, x, dx),
        }
    }

    fn backward(x: &[FlexTensor]) -> Option<BackwardPasses<Self, O>> {
        let passes = BackwardPasses { of_value: adjoint::<O>, of_tangent: tangent_adjoint::<O> };
        all_tuned(x).then_some(passes)
    }
}

impl Kernel<Project> for Flex {}

fn adjoint<O: Tuned>(
    operation: &O,
    x: &[FlexTensor],
    g: FlexTensor,
    wanted: &[bool],
) -> Gradients<Flex> {
    let dtype = g.dtype();
    all_cast(operation.adjoint(&in_f32(x), cast(g, DType::F32), wanted), dtype)
}

fn tangent_adjoint<O: Tuned>(
    operation: &O,
    x: &[FlexTensor],
    dx: &[Option<FlexTensor>],
    h: FlexTensor,
    wanted: &[bool],
) -> Gradients<Flex> {
    let (dtype, h) = (h.dtype(), cast(h, DType::F32));
    all_cast(operation.tangent_adjoint(&in_f32(x), &some_in_f32(dx), h, wanted), dtype)
}

/// Whether the kernels apply: all tensors have one dtype, of 16 or 32 bits.
fn all_tuned(tensors: &[FlexTensor]) -> bool {
    let dtype = tensors[0].dtype();
    let tuned = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    tuned && tensors.iter().all(|t| t.dtype() == dtype)
}

fn in_f32(tensors: &[FlexTensor]) -> Cow<'_, [FlexTensor]> {
    match tensors.iter().all(|t| t.dtype() == DType::F32) {
        true => Cow::Borrowed(tensors),
        false => tensors.iter().map(|t| cast(t.clone(), DType::F32)).collect(),
    }
}

fn some_in_f32(tensors: &[Option<FlexTensor>]) -> Cow<'_, [Option<FlexTensor>]> {
    match tensors.iter().flatten().all(|t| t.dtype() == DType::F32) {
        true => Cow::Borrowed(tensors),
        false => Cow::Owned(all_cast(tensors.to_vec(), DType::F32)),
    }
}

fn all_cast(tensors: Vec<Option<FlexTensor>>, dtype: DType) -> Vec<Option<FlexTensor>> {
    tensors.into_iter().map(|t| t.map(|t| cast(t, dtype))).collect()
}

fn cast(t: FlexTensor, dtype: DType) -> FlexTensor {
    if t.dtype() == dtype { t } else { Flex::float_cast(t, dtype.into()) }
}

/// The elements of a [contiguous](transpose::contiguous) tensor.
fn slice(t: &FlexTensor) -> &[f32] {
    t.as_slice().expect("a contiguous f32 tensor")
}

/// The elements from a tensor's first on, whatever its strides.
fn slice_from(t: &FlexTensor) -> &[f32] {
    &t.storage()[t.layout().start_offset()..]
}

fn new_tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), DType::F32)
}

fn shape_of(t: &FlexTensor) -> Shape {
    t.layout().shape().clone()
}

/// The sizes of a tensor of rank `D`.
fn dims<const D: usize>(t: &FlexTensor) -> [usize; D] {
    t.layout().shape().dims()
}
