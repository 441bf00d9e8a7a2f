//! The projection, by two kernel launches per application. Sums are in f32 even if the device
//! computes matrix products in lower precision.

use burn_cubecl::tensor::CubeTensor;
use burn_cubecl::{BoolElement, CubeBackend, CubeRuntime, FloatElement, IntElement};

use super::{all_tuned, thin, transpose};
use crate::operation::{Kernel, Operation};
use crate::project::Project;

impl<R, F, I, BT> Kernel<Project> for CubeBackend<R, F, I, BT>
where
    R: CubeRuntime,
    F: FloatElement,
    I: IntElement,
    BT: BoolElement,
{
    fn value(operation: &Project, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        match all_tuned(x) {
            true => once(&once(&x[0], &x[1]), &x[1]),
            false => operation.value::<Self>(x),
        }
    }

    fn tangent(
        operation: &Project,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        let db = dx[0].clone().expect("only B has a tangent");
        <Self as Kernel<Project>>::value(operation, &[db, x[1].clone()])
    }
}

/// B − Q (Qᵀ B)
fn once<R: CubeRuntime>(b: &CubeTensor<R>, q: &CubeTensor<R>) -> CubeTensor<R> {
    thin::minus_product(b, q, &thin::product(&transpose(q), b))
}
