//! GEGLU, `a ∘ gelu(b)` of `x = [a, b]`, and its derivatives, one kernel launch each.

use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::activation::derivative;
use super::strided::{Strided, contiguous, strided};
use super::{Gradients, Tuned, dims, empty_like, unit_each};
use crate::activation::{Activation, Geglu};

impl Tuned for Geglu {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        gate(&x[0], None)
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        gate(&x[0], Some(dx[0].as_ref().expect("not all tangents are missing")))
    }

    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        _: &[bool],
    ) -> Gradients<R> {
        vec![Some(ungate(&x[0], None, &g))]
    }

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let dx = dx[0].as_ref().expect("not all tangents are missing");
        let at_x = wanted[0].then(|| ungate(&x[0], Some(dx), &h));
        vec![at_x, wanted[1].then(|| ungate(&x[0], None, &h))]
    }
}

/// The value, or the tangent: `[rows, n]`.
fn gate<R: CubeRuntime>(x: &CubeTensor<R>, dx: Option<&CubeTensor<R>>) -> CubeTensor<R> {
    let [rows, width] = dims(x);
    let y = empty_like(x, [rows, width / 2]);
    let (cubes, cube) = unit_each(&y, rows * width / 2);
    gate_kernel::launch(
        &y.client,
        cubes,
        cube,
        contiguous(x),
        dx.map(contiguous).into(),
        strided(&y),
        y.dtype.into(),
    );
    y
}

/// The gradient of ⟨g, value⟩ at x, or that of ⟨g, tangent⟩: `[rows, 2 n]`.
fn ungate<R: CubeRuntime>(
    x: &CubeTensor<R>,
    dx: Option<&CubeTensor<R>>,
    g: &CubeTensor<R>,
) -> CubeTensor<R> {
    let [rows, width] = dims(x);
    let y = empty_like(x, [rows, width]);
    let (cubes, cube) = unit_each(&y, rows * width / 2);
    ungate_kernel::launch(
        &y.client,
        cubes,
        cube,
        contiguous(x),
        dx.map(contiguous).into(),
        contiguous(g),
        strided(&y),
        y.dtype.into(),
    );
    y
}

/// `a gelu(b)`, or `gelu(b) ȧ + a gelu'(b) ḃ`
#[cube(launch)]
fn gate_kernel<F: Float>(
    x: &Strided<F>,
    dx: &ComptimeOption<Strided<F>>,
    y: &mut Strided<F>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= y.values.len() {
        terminate!();
    }
    let half = y.shape(1usize);
    // The index of a; b is half a row further on.
    let at = ABSOLUTE_POS / half * half + ABSOLUTE_POS;
    let a = f32::cast_from(x.values[at]);
    let b = f32::cast_from(x.values[at + half]);
    #[comptime]
    match dx {
        ComptimeOption::Some(dx) => {
            let along_a = gelu(b, 0usize) * f32::cast_from(dx.values[at]);
            let along_b = a * gelu(b, 1usize) * f32::cast_from(dx.values[at + half]);
            y.values[ABSOLUTE_POS] = F::cast_from(along_a + along_b);
        }
        ComptimeOption::None => y.values[ABSOLUTE_POS] = F::cast_from(a * gelu(b, 0usize)),
    }
}

/// `[gelu(b), a gelu'(b)] g`, or `[gelu'(b) ḃ, gelu'(b) ȧ + a gelu''(b) ḃ] g`
#[cube(launch)]
fn ungate_kernel<F: Float>(
    x: &Strided<F>,
    dx: &ComptimeOption<Strided<F>>,
    g: &Strided<F>,
    y: &mut Strided<F>,
    #[define(F)] _dtype: StorageType,
) {
    if ABSOLUTE_POS >= g.values.len() {
        terminate!();
    }
    let half = g.shape(1usize);
    let at = ABSOLUTE_POS / half * half + ABSOLUTE_POS;
    let a = f32::cast_from(x.values[at]);
    let b = f32::cast_from(x.values[at + half]);
    let g = f32::cast_from(g.values[ABSOLUTE_POS]);
    #[comptime]
    match dx {
        ComptimeOption::Some(dx) => {
            let da = f32::cast_from(dx.values[at]);
            let db = f32::cast_from(dx.values[at + half]);
            let slope = gelu(b, 1usize);
            y.values[at] = F::cast_from(slope * db * g);
            y.values[at + half] = F::cast_from((slope * da + a * gelu(b, 2usize) * db) * g);
        }
        ComptimeOption::None => {
            y.values[at] = F::cast_from(gelu(b, 0usize) * g);
            y.values[at + half] = F::cast_from(a * gelu(b, 1usize) * g);
        }
    }
}

#[cube]
fn gelu(x: f32, #[comptime] order: usize) -> f32 {
    derivative(x, Activation::Gelu, order)
}
