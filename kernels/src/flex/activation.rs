//! Activations with their first and second derivatives, each in one pass over memory.

use burn_flex::{Flex, FlexTensor};

use super::elementwise::{in_parts, map, map_both_into, map_into, vectorized};
use super::math::{normal, sigmoid};
use super::transpose::contiguous;
use super::{Tuned, dims, new_tensor, shape_of, slice};
use crate::activation::{Activation, Geglu};
use crate::operation::Gradients;

/// f, f' and f'' of an activation.
trait Curve: Copy + Sync {
    fn value(self, x: f32) -> f32;
    fn slope(self, x: f32) -> f32;
    fn curvature(self, x: f32) -> f32;
}

/// `x σ(c x)`
#[derive(Clone, Copy)]
struct Gated(f32);

#[derive(Clone, Copy)]
struct Gelu;

impl Curve for Gated {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(self.0 * x)
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let s = sigmoid(self.0 * x);
        s * (1.0 + self.0 * x * (1.0 - s))
    }

    #[inline(always)]
    fn curvature(self, x: f32) -> f32 {
        let s = sigmoid(self.0 * x);
        self.0 * s * (1.0 - s) * (2.0 + self.0 * x * (1.0 - 2.0 * s))
    }
}

impl Curve for Gelu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * normal(x).cdf
    }

    #[inline(always)]
    fn slope(self, x: f32) -> f32 {
        let normal = normal(x);
        normal.cdf + x * normal.pdf
    }

    #[inline(always)]
    fn curvature(self, x: f32) -> f32 {
        normal(x).pdf * (2.0 - x * x)
    }
}

/// Evaluates `$body` with the curve of an activation, so that a loop is compiled for each curve.
macro_rules! with_curve {
    ($kind:expr, |$curve:ident| $body:expr) => {
        match $kind {
            Activation::Silu => {
                let $curve = Gated(1.0);
                $body
            }
            Activation::QuickGelu => {
                let $curve = Gated(1.702);
                $body
            }
            Activation::Gelu => {
                let $curve = Gelu;
                $body
            }
        }
    };
}

/// Maps a function over tensors of one shape.
fn each<const N: usize>(
    x: [&FlexTensor; N],
    f: impl Fn([f32; N]) -> f32 + Copy + Sync,
) -> FlexTensor {
    let shape = shape_of(x[0]);
    let x = x.map(contiguous);
    new_tensor(map(std::array::from_fn(|i| slice(&x[i])), f), shape)
}

impl Tuned for Activation {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        with_curve!(self, |curve| {
            each(
                [&x[0]],
                #[inline(always)]
                |[x]| curve.value(x),
            )
        })
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        let dx = dx[0].as_ref().expect("not all tangents are missing");
        with_curve!(self, |curve| {
            each(
                [&x[0], dx],
                #[inline(always)]
                |[x, dx]| curve.slope(x) * dx,
            )
        })
    }

    // The Jacobian is diagonal, so its transpose is the tangent map.
    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, _: &[bool]) -> Gradients<Flex> {
        vec![Some(Tuned::tangent(self, x, &[Some(g)]))]
    }

    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        let dx = dx[0].as_ref().expect("not all tangents are missing");
        let at_x = with_curve!(self, |curve| {
            wanted[0].then(|| {
                each(
                    [&x[0], dx, &h],
                    #[inline(always)]
                    |[x, dx, h]| curve.curvature(x) * dx * h,
                )
            })
        });
        vec![at_x, wanted[1].then(|| Tuned::tangent(self, x, &[Some(h)]))]
    }
}

impl Tuned for Geglu {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        let x = contiguous(&x[0]);
        gate(
            &x,
            #[inline(always)]
            |row, y| {
                map_into(
                    halves(row, &x),
                    y,
                    #[inline(always)]
                    |[a, b]| a * Gelu.value(b),
                )
            },
        )
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        let dx = contiguous(dx[0].as_ref().expect("not all tangents are missing"));
        let x = contiguous(&x[0]);
        gate(
            &x,
            #[inline(always)]
            |row, y| {
                let ([a, b], [da, db]) = (halves(row, &x), halves(row, &dx));
                map_into(
                    [a, b, da, db],
                    y,
                    #[inline(always)]
                    |[a, b, da, db]| Gelu.value(b) * da + a * Gelu.slope(b) * db,
                );
            },
        )
    }

    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, _: &[bool]) -> Gradients<Flex> {
        let (x, g) = (contiguous(&x[0]), contiguous(&g));
        vec![Some(ungate(
            &x,
            #[inline(always)]
            |row, ga, gb| {
                let [a, b] = halves(row, &x);
                map_both_into(
                    [a, b, half(row, &g)],
                    [ga, gb],
                    #[inline(always)]
                    |[a, b, g]| [Gelu.value(b) * g, a * Gelu.slope(b) * g],
                );
            },
        ))]
    }

    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        let dx = contiguous(dx[0].as_ref().expect("not all tangents are missing"));
        let (x, h) = (contiguous(&x[0]), contiguous(&h));
        let at_x = || {
            ungate(
                &x,
                #[inline(always)]
                |row, ga, gb| {
                    let ([a, b], [da, db]) = (halves(row, &x), halves(row, &dx));
                    map_both_into(
                        [a, b, da, db, half(row, &h)],
                        [ga, gb],
                        #[inline(always)]
                        |[a, b, da, db, h]| {
                            let slope = Gelu.slope(b);
                            [slope * db * h, (slope * da + a * Gelu.curvature(b) * db) * h]
                        },
                    );
                },
            )
        };
        let at_x = wanted[0].then(at_x);
        let inputs = [x.clone()];
        let at_dx = wanted[1].then(|| Tuned::adjoint(self, &inputs, h.clone(), &[true]));
        vec![at_x, at_dx.and_then(|mut gradients| gradients.remove(0))]
    }
}

/// A tensor `[rows, n]` for an x of `[rows, 2 n]`, filled row by row.
fn gate(x: &FlexTensor, fill: impl Fn(usize, &mut [f32]) + Sync) -> FlexTensor {
    let [rows, width] = dims(x);
    let nothing = || ();
    let y = in_parts(rows * width / 2, width / 2, nothing, |(), row, y| {
        vectorized(
            #[inline(always)]
            || fill(row, y),
        );
    });
    new_tensor(y, [rows, width / 2])
}

/// A tensor of the shape of x, filled row by row in halves.
fn ungate(x: &FlexTensor, fill: impl Fn(usize, &mut [f32], &mut [f32]) + Sync) -> FlexTensor {
    let [rows, width] = dims(x);
    let nothing = || ();
    let y = in_parts(rows * width, width, nothing, |(), row, y| {
        let (a, b) = y.split_at_mut(width / 2);
        vectorized(
            #[inline(always)]
            || fill(row, a, b),
        );
    });
    new_tensor(y, [rows, width])
}

/// The two halves of a row of x `[rows, 2 n]`.
#[inline(always)]
fn halves(row: usize, x: &FlexTensor) -> [&[f32]; 2] {
    let [_, width] = dims(x);
    let (a, b) = slice(x)[row * width..][..width].split_at(width / 2);
    [a, b]
}

/// A row of x `[rows, n]`.
#[inline(always)]
fn half(row: usize, x: &FlexTensor) -> &[f32] {
    let [_, width] = dims(x);
    &slice(x)[row * width..][..width]
}
