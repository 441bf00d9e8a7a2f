//! Kernels for CPUs, in f32; other precisions take the references.
//!
//! Matrix products are `gemm`'s. The rest is plain loops over slices: rayon shares them out among
//! the cores, and `pulp` compiles each once per instruction set (AVX-512, AVX2, NEON, none) and
//! chooses at run time.

mod activation;
mod attention;
mod conv2d;
mod elementwise;
mod lora_linear;
mod math;
mod matrix;
mod normalize;
mod transpose;

use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};

use crate::operation::{BackwardPasses, Gradients, Kernel, Operation};
use crate::project::Project;

/// An operation with f32 kernels; [`Kernel`] and [`BackwardPasses`] say what they compute.
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
        match all_f32(x) {
            true => Tuned::value(operation, x),
            false => Operation::value::<Self>(operation, x),
        }
    }

    fn tangent(operation: &O, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        match all_f32(x) {
            true => Tuned::tangent(operation, x, dx),
            false => Operation::tangent::<Self>(operation, x, dx),
        }
    }

    fn backward(x: &[FlexTensor]) -> Option<BackwardPasses<Self, O>> {
        let passes = BackwardPasses { of_value: O::adjoint, of_tangent: O::tangent_adjoint };
        all_f32(x).then_some(passes)
    }
}

impl Kernel<Project> for Flex {}

/// Whether the tuned kernels apply.
fn all_f32<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor>) -> bool {
    tensors.into_iter().all(|t| t.dtype() == DType::F32)
}

/// The same elements one after the other, without a copy where they already are.
fn contiguous(t: &FlexTensor) -> FlexTensor {
    match t.is_contiguous() {
        true => t.clone(),
        false => transpose::copy(t).unwrap_or_else(|| t.to_contiguous()),
    }
}

/// The elements of a [`contiguous`] tensor.
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
