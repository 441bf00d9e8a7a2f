//! Normalisation of rows. Let x̂ = (x − μ)/σ and J t = (t − mean t − x̂ mean(x̂t))/σ, where J is
//! symmetric. Then:
//!
//! - the tangent is γ J ẋ, and the gradient of ⟨g, value⟩ at x is J(γ g);
//! - the gradient of ⟨h, γ J ẋ⟩ at x is, with u = γ h and c_t = mean(x̂t),
//!   −(x̂ (mean(u ẋ) − mean u mean ẋ − c_u c_ẋ)/σ + c_ẋ J u + c_u J ẋ)/σ.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::elementwise::{in_parts, map_into, sum, update, vectorized};
use super::transpose::contiguous;
use super::{Tuned, dims, new_tensor, slice};
use crate::normalize::Normalize;
use crate::operation::Gradients;

/// Rows whose weight gradients one task adds up.
const ROWS: usize = 64;

/// A row with its statistics.
struct Row<'a> {
    x: &'a [f32],
    mean: f32,
    inverse_std: f32,
}

/// mean t and mean(x̂ t).
#[derive(Clone, Copy)]
struct Moments {
    mean: f32,
    correlation: f32,
}

impl<'a> Row<'a> {
    #[inline(always)]
    fn new(x: &'a [f32], epsilon: f64) -> Self {
        let count = x.len() as f32;
        let mean = sum([x], |[x]| x) / count;
        let variance = sum([x], |[x]| (x - mean) * (x - mean)) / count;
        Self { x, mean, inverse_std: 1.0 / (variance + epsilon as f32).sqrt() }
    }

    /// x̂
    #[inline(always)]
    fn standard(&self, x: f32) -> f32 {
        (x - self.mean) * self.inverse_std
    }

    #[inline(always)]
    fn moments(&self, t: &[f32]) -> Moments {
        let count = self.x.len() as f32;
        Moments {
            mean: sum([t], |[t]| t) / count,
            correlation: sum([self.x, t], |[x, t]| self.standard(x) * t) / count,
        }
    }

    /// J t at one element.
    #[inline(always)]
    fn project(&self, x: f32, t: f32, of: Moments) -> f32 {
        (t - of.mean - self.standard(x) * of.correlation) * self.inverse_std
    }
}

impl Tuned for Normalize {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        let [x, gamma, beta] = [0, 1, 2].map(|i| contiguous(&x[i]));
        each_row(
            &x,
            #[inline(always)]
            |row, [scale, shift], y| {
                expand(&gamma, row, &x, scale);
                expand(&beta, row, &x, shift);
                let row = self.row(&x, row);
                map_into([row.x, scale, shift], y, |[x, scale, shift]| {
                    row.standard(x) * scale + shift
                });
            },
        )
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        let dx = contiguous(dx[0].as_ref().expect("only x has a tangent"));
        let [x, gamma] = [0, 1].map(|i| contiguous(&x[i]));
        each_row(
            &x,
            #[inline(always)]
            |index, [scale, _], dy| {
                expand(&gamma, index, &x, scale);
                let (row, dx) = (self.row(&x, index), values(&dx, index));
                let moments = row.moments(dx);
                map_into([row.x, dx, scale], dy, |[x, dx, scale]| {
                    row.project(x, dx, moments) * scale
                });
            },
        )
    }

    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, wanted: &[bool]) -> Gradients<Flex> {
        let [x, gamma] = [0, 1].map(|i| contiguous(&x[i]));
        let g = contiguous(&g);
        let at_x = || {
            each_row(
                &x,
                #[inline(always)]
                |index, [scale, u], gx| {
                    expand(&gamma, index, &x, scale);
                    let row = self.row(&x, index);
                    map_into([values(&g, index), scale], u, |[g, scale]| g * scale);
                    let moments = row.moments(u);
                    map_into([row.x, u], gx, |[x, u]| row.project(x, u, moments));
                },
            )
        };
        let [at_gamma, at_beta] = match wanted[1] || wanted[2] {
            true => self.weight_gradients(&x, &gamma, &g).map(Some),
            false => [None, None],
        };
        vec![wanted[0].then(at_x), at_gamma, at_beta]
    }

    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        let dx = contiguous(dx[0].as_ref().expect("only x has a tangent"));
        let (x, gamma, h) = (contiguous(&x[0]), contiguous(&x[1]), contiguous(&h));
        let at_x = || {
            each_row(
                &x,
                #[inline(always)]
                |index, [scale, u], gx| {
                    expand(&gamma, index, &x, scale);
                    let (row, dx) = (self.row(&x, index), values(&dx, index));
                    map_into([values(&h, index), scale], u, |[h, scale]| h * scale);
                    let (of_u, of_dx) = (row.moments(u), row.moments(dx));
                    let product = sum([u, dx], |[u, dx]| u * dx) / dx.len() as f32;
                    let drift =
                        product - of_u.mean * of_dx.mean - of_u.correlation * of_dx.correlation;
                    map_into([row.x, u, dx], gx, |[x, u, dx]| {
                        let along = row.standard(x) * drift * row.inverse_std;
                        let across = of_dx.correlation * row.project(x, u, of_u)
                            + of_u.correlation * row.project(x, dx, of_dx);
                        -(along + across) * row.inverse_std
                    });
                },
            )
        };
        let at_x = wanted[0].then(at_x);
        let inputs = [x.clone(), gamma.clone()];
        let at_dx =
            wanted[3].then(|| Tuned::adjoint(self, &inputs, h.clone(), &[true, false, false]));
        let at_dx = at_dx.and_then(|mut gradients| gradients.remove(0));
        vec![at_x, None, None, at_dx, None, None]
    }
}

impl Normalize {
    #[inline(always)]
    fn row<'a>(&self, x: &'a FlexTensor, row: usize) -> Row<'a> {
        Row::new(values(x, row), self.epsilon)
    }

    /// Σ g x̂ and Σ g for each channel.
    ///
    /// A task sums over up to [`ROWS`] rows of one group, which share weights. The number does not
    /// depend on the machine, so the rounding of the sums does not either.
    fn weight_gradients(
        &self,
        x: &FlexTensor,
        gamma: &FlexTensor,
        g: &FlexTensor,
    ) -> [FlexTensor; 2] {
        let [rows, channels, _] = dims(x);
        let groups = slice(gamma).len() / channels;
        let tasks = (rows / groups).div_ceil(ROWS);
        let partial = |task: usize| {
            let (group, first) = (task / tasks, task % tasks * ROWS);
            let rows = (group..rows).step_by(groups).skip(first).take(ROWS);
            self.weight_sums(x, g, rows)
        };
        let partial: Vec<[Vec<f32>; 2]> =
            (0..groups * tasks).into_par_iter().map(partial).collect();
        [0, 1].map(|i| {
            let mut sums = vec![0.0; groups * channels];
            for (task, part) in partial.iter().enumerate() {
                let sums = &mut sums[task / tasks * channels..][..channels];
                update(sums, [&part[i]], |sum, [part]| sum + part);
            }
            let length = sums.len();
            new_tensor(sums, [length])
        })
    }

    /// Σ g x̂ and Σ g for each channel, over some rows of one group.
    fn weight_sums(
        &self,
        x: &FlexTensor,
        g: &FlexTensor,
        rows: impl Iterator<Item = usize>,
    ) -> [Vec<f32>; 2] {
        let [_, channels, elements] = dims(x);
        let (mut at_gamma, mut at_beta) = (vec![0.0; channels], vec![0.0; channels]);
        for index in rows {
            vectorized(
                #[inline(always)]
                || {
                    let (row, g) = (self.row(x, index), values(g, index));
                    if elements == 1 {
                        update(
                            &mut at_gamma,
                            [row.x, g],
                            #[inline(always)]
                            |sum, [x, g]| sum + row.standard(x) * g,
                        );
                        update(&mut at_beta, [g], |sum, [g]| sum + g);
                        return;
                    }
                    let channels = row.x.chunks_exact(elements).zip(g.chunks_exact(elements));
                    for (channel, (x, g)) in channels.enumerate() {
                        at_gamma[channel] += sum([x, g], |[x, g]| row.standard(x) * g);
                        at_beta[channel] += sum([g], |[g]| g);
                    }
                },
            );
        }
        [at_gamma, at_beta]
    }
}

/// A tensor of the shape of x, filled row by row with two rows of scratch space.
fn each_row(
    x: &FlexTensor,
    fill: impl Fn(usize, [&mut [f32]; 2], &mut [f32]) + Sync,
) -> FlexTensor {
    let [rows, channels, elements] = dims(x);
    let width = channels * elements;
    let scratch = || (vec![0.0; width], vec![0.0; width]);
    let y = in_parts(rows * width, width, scratch, |(a, b), row, y| {
        vectorized(
            #[inline(always)]
            || fill(row, [a, b], y),
        );
    });
    new_tensor(y, [rows, channels, elements])
}

#[inline(always)]
fn values(x: &FlexTensor, row: usize) -> &[f32] {
    let [_, channels, elements] = dims(x);
    let width = channels * elements;
    &slice(x)[row * width..][..width]
}

/// Repeats a row's weights for each of its elements.
#[inline(always)]
fn expand(weights: &FlexTensor, row: usize, x: &FlexTensor, to: &mut [f32]) {
    let [_, channels, elements] = dims(x);
    let groups = slice(weights).len() / channels;
    let weights = &slice(weights)[row % groups * channels..][..channels];
    if elements == 1 {
        to.copy_from_slice(weights);
    } else {
        for (to, weight) in to.chunks_exact_mut(elements).zip(weights) {
            to.fill(*weight);
        }
    }
}
