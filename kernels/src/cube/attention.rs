//! Attention on GPUs, by matrix products in blocks of queries.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::all_tuned;
use crate::attention::Attention;
use crate::attention::blocks::Blocks;
use crate::operation::{BackwardPasses, Kernel, Operation};

/// The most scores of a block. They take 64 MB in f32, and derivatives hold several such matrices.
/// Unlimited, Stable Diffusion 1.5 has 268 million scores in its first layers, at 512 pixels with
/// guidance.
const SCORES: usize = 1 << 24;

fn blocks(attention: &Attention) -> Blocks {
    Blocks { attention: *attention, scores: SCORES }
}

impl<R, F, I, BT> Kernel<Attention> for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn value(attention: &Attention, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        match all_tuned(x) {
            true => blocks(attention).value::<Self>(x),
            false => Operation::value::<Self>(attention, x),
        }
    }

    fn tangent(
        attention: &Attention,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        match all_tuned(x) {
            true => blocks(attention).tangent::<Self>(x, dx),
            false => Operation::tangent::<Self>(attention, x, dx),
        }
    }

    fn backward(x: &[CubeTensor<R>]) -> Option<BackwardPasses<Self, Attention>> {
        let passes = BackwardPasses {
            of_value: |attention, x, g, wanted| blocks(attention).adjoint::<Self>(x, g, wanted),
            of_tangent: |attention, x, dx, h, wanted| {
                blocks(attention).tangent_adjoint::<Self>(x, dx, h, wanted)
            },
        };
        all_tuned(x).then_some(passes)
    }
}
