//! Activations with their first and second derivatives, one kernel launch each.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::tensor::layout::linear::LinearView;

use super::{Gradients, Tuned, empty_like, unit_each};
use crate::activation::Activation;

impl Tuned for Activation {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        launch(*self, &x[0], &[])
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        launch(*self, &x[0], &[dx[0].as_ref().expect("not all tangents are missing")])
    }

    // The Jacobian is diagonal, so its transpose is the tangent map.
    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        _: &[bool],
    ) -> Gradients<R> {
        vec![Some(launch(*self, &x[0], &[&g]))]
    }

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let dx = dx[0].as_ref().expect("not all tangents are missing");
        let at_x = wanted[0].then(|| launch(*self, &x[0], &[dx, &h]));
        vec![at_x, wanted[1].then(|| launch(*self, &x[0], &[&h]))]
    }
}

/// f(x), f'(x) t or f''(x) t u: the number of factors is the order of the derivative.
fn launch<R: CubeRuntime>(
    kind: Activation,
    x: &CubeTensor<R>,
    factors: &[&CubeTensor<R>],
) -> CubeTensor<R> {
    let y = empty_like(x, x.shape());
    let (cubes, cube) = unit_each(&y, y.meta.num_elements());
    let view = |t: &CubeTensor<R>| t.clone().into_linear_view_like(&y);
    activation_kernel::launch(
        &y.client,
        cubes,
        cube,
        view(x),
        factors.iter().map(|t| view(t)).collect(),
        y.clone().into_linear_view(),
        kind,
        y.dtype.into(),
    );
    y
}

#[cube(launch)]
fn activation_kernel<F: Float>(
    x: &LinearView<F>,
    factors: &Sequence<LinearView<F>>,
    y: &mut LinearView<F, ReadWrite>,
    #[comptime] kind: Activation,
    #[define(F)] _dtype: StorageType,
) {
    if !y.is_in_bounds(ABSOLUTE_POS) {
        terminate!();
    }
    let order = comptime!(factors.len());
    let mut product = derivative(f32::cast_from(x[ABSOLUTE_POS]), kind, order);
    #[unroll]
    for i in 0..order {
        product *= f32::cast_from(factors.index(i)[ABSOLUTE_POS]);
    }
    y[ABSOLUTE_POS] = F::cast_from(product);
}

/// f(x), f'(x) or f''(x)
#[cube]
pub fn derivative(x: f32, #[comptime] kind: Activation, #[comptime] order: usize) -> f32 {
    match comptime!(kind) {
        Activation::Silu => gated(x, 1.0f32, order),
        Activation::QuickGelu => gated(x, 1.702f32, order),
        Activation::Gelu => gelu(x, order),
    }
}

/// `x σ(c x)`, `σ (1 + c x (1 − σ))` or `c σ (1 − σ) (2 + c x (1 − 2 σ))`
#[cube]
fn gated(x: f32, c: f32, #[comptime] order: usize) -> f32 {
    let s = 1.0f32 / (1.0f32 + (-c * x).exp());
    if order == 0 {
        x * s
    } else if order == 1 {
        s * (1.0f32 + c * x * (1.0f32 - s))
    } else {
        c * s * (1.0f32 - s) * (2.0f32 + c * x * (1.0f32 - 2.0f32 * s))
    }
}

/// `x Φ(x)`, `Φ(x) + x φ(x)` or `φ(x) (2 − x²)`
#[cube]
fn gelu(x: f32, #[comptime] order: usize) -> f32 {
    let cdf = 0.5f32 * (1.0f32 + Erf::erf(x * FRAC_1_SQRT_2));
    let pdf = (-0.5f32 * x * x).exp() * comptime!(1.0 / (2.0 * PI).sqrt());
    if order == 0 {
        x * cdf
    } else if order == 1 {
        cdf + x * pdf
    } else {
        pdf * (2.0f32 - x * x)
    }
}
