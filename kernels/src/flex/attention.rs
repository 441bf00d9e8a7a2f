//! Attention, with the heads shared out among the cores and each head in blocks of queries. A core
//! holds the scores of one block at a time, and the backward passes compute the probabilities
//! again.

use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::elementwise::{in_parts, maximum, sum, update, vectorized};
use super::math::exp;
use super::matrix::{Cores, Dense, Matrix, product};
use super::{Tuned, dims, new_tensor, shape_of};
use crate::attention::{Attention, AttentionMask};
use crate::operation::Gradients;

const ONE: Cores = Cores::One;

/// Queries whose scores a core holds at a time: with 4096 keys they take 1 MB.
const BLOCK: usize = 64;

/// The matrices of one head of one image: queries, keys and values, or their tangents.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
}

/// A head of an image.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    head: usize,
    heads: usize,
}

impl<'a> Head<'a> {
    fn of(x: &'a [FlexTensor], place: Place) -> Self {
        let [q, k, v] = [0, 1, 2].map(|i| head_of(&x[i], place));
        Self { q, k, v }
    }

    /// Starts and lengths of the blocks of queries.
    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let [queries, _] = self.q.size();
        (0..queries).step_by(BLOCK).map(move |start| (start, BLOCK.min(queries - start)))
    }

    /// 1/√d
    fn scale(&self) -> f32 {
        (self.q.size()[1] as f32).powf(-0.5)
    }
}

fn head_of(x: &FlexTensor, Place { image, head, heads }: Place) -> Matrix<'_> {
    let [_, _, channels] = dims(x);
    let d = channels / heads;
    let stride = x.layout().strides()[0];
    Matrix::of(x, image * stride as usize).columns(head * d, d)
}

impl Tuned for Attention {
    fn value(&self, x: &[FlexTensor]) -> FlexTensor {
        let [out] = self.each_head(x, [&x[0]], |place| {
            let x = Head::of(x, place);
            let mut out = zeros_like(x.q);
            for (start, count) in x.blocks() {
                let p = block_probabilities(self.mask, x, start, count);
                set_rows(&mut out, start, p.view(), x.v);
            }
            [out]
        });
        out
    }

    fn tangent(&self, x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> FlexTensor {
        let dx = filled(x, dx);
        let [out] = self.each_head(x, [&x[0]], |place| {
            let (x, dx) = (Head::of(x, place), Head::of(&dx, place));
            let mut out = zeros_like(x.q);
            for (start, count) in x.blocks() {
                let p = block_probabilities(self.mask, x, start, count);
                let mut dp = score_tangent(x, dx, start, count);
                each_row(
                    &p,
                    [&mut dp],
                    #[inline(always)]
                    |p, [ds]| {
                        let mean = sum([p, ds], |[p, ds]| p * ds);
                        update(ds, [p], |ds, [p]| p * (ds - mean));
                    },
                );
                set_rows(&mut out, start, dp.view(), x.v);
                add_rows(&mut out, start, p.view(), dx.v, 1.0);
            }
            [out]
        });
        out
    }

    /// With u = g vᵀ and t = p ∘ (u − ⟨p, u⟩): t k/√d at q, tᵀ q/√d at k, pᵀ g at v.
    fn adjoint(&self, x: &[FlexTensor], g: FlexTensor, wanted: &[bool]) -> Gradients<Flex> {
        let gradients = self.each_head(x, [&x[0], &x[1], &x[2]], |place| {
            let (x, g) = (Head::of(x, place), head_of(&g, place));
            let [mut at_q, mut at_k, mut at_v] = [x.q, x.k, x.v].map(zeros_like);
            for (start, count) in x.blocks() {
                let (q, g) = (x.q.rows(start, count), g.rows(start, count));
                let p = block_probabilities(self.mask, x, start, count);
                let mut t = g.times(x.v.t(), ONE);
                each_row(
                    &p,
                    [&mut t],
                    #[inline(always)]
                    |p, [u]| {
                        let mean = sum([p, u], |[p, u]| p * u);
                        update(u, [p], |u, [p]| p * (u - mean));
                    },
                );
                add_rows(&mut at_q, start, t.view(), x.k, x.scale());
                add_rows(&mut at_k, 0, t.view().t(), q, x.scale());
                add_rows(&mut at_v, 0, p.view().t(), g, 1.0);
            }
            [at_q, at_k, at_v]
        });
        only(wanted, gradients)
    }

    /// With c = ⟨p, ṡ⟩, u = h vᵀ, t = p ∘ (u − ⟨p, u⟩) and the gradient at the scores
    /// z = p ∘ (y − ⟨p, y⟩), y = u ∘ (ṡ − c) − ⟨p, u⟩ ṡ + h v̇ᵀ:
    ///
    /// - (z k + t k̇)/√d at q, (zᵀ q + tᵀ q̇)/√d at k, ṗᵀ h at v;
    /// - t k/√d at q̇, tᵀ q/√d at k̇, pᵀ h at v̇.
    fn tangent_adjoint(
        &self,
        x: &[FlexTensor],
        dx: &[Option<FlexTensor>],
        h: FlexTensor,
        wanted: &[bool],
    ) -> Gradients<Flex> {
        let dx = filled(x, dx);
        let like = [&x[0], &x[1], &x[2], &x[0], &x[1], &x[2]];
        let gradients = self.each_head(x, like, |place| {
            let (x, dx) = (Head::of(x, place), Head::of(&dx, place));
            let h = head_of(&h, place);
            let scale = x.scale();
            let mut at = [x.q, x.k, x.v, x.q, x.k, x.v].map(zeros_like);
            let [at_q, at_k, at_v, at_dq, at_dk, at_dv] = &mut at;
            for (start, count) in x.blocks() {
                let [q, dq, h] = [x.q, dx.q, h].map(|m| m.rows(start, count));
                let p = block_probabilities(self.mask, x, start, count);
                let mut dp = score_tangent(x, dx, start, count);
                let mut t = h.times(x.v.t(), ONE);
                let mut z = h.times(dx.v.t(), ONE);
                each_row(
                    &p,
                    [&mut dp, &mut t, &mut z],
                    #[inline(always)]
                    |p, [ds, u, w]| {
                        let c = sum([p, ds], |[p, ds]| p * ds);
                        let mean = sum([p, u], |[p, u]| p * u);
                        update(w, [u, ds], |w, [u, ds]| w + u * (ds - c) - mean * ds);
                        let centre = sum([p, w], |[p, y]| p * y);
                        update(w, [p], |y, [p]| p * (y - centre));
                        update(ds, [p], |ds, [p]| p * (ds - c));
                        update(u, [p], |u, [p]| p * (u - mean));
                    },
                );
                let [p, dp, t, z] = [&p, &dp, &t, &z].map(Dense::view);
                add_rows(at_q, start, z, x.k, scale);
                add_rows(at_q, start, t, dx.k, scale);
                add_rows(at_k, 0, z.t(), q, scale);
                add_rows(at_k, 0, t.t(), dq, scale);
                add_rows(at_v, 0, dp.t(), h, 1.0);
                add_rows(at_dq, start, t, x.k, scale);
                add_rows(at_dk, 0, t.t(), q, scale);
                add_rows(at_dv, 0, p.t(), h, 1.0);
            }
            at
        });
        only(wanted, gradients)
    }
}

/// softmax(q kᵀ/√d + mask) of a block of queries.
fn block_probabilities(mask: AttentionMask, x: Head, start: usize, count: usize) -> Dense {
    let mut scores = x.q.rows(start, count).scaled_times(x.scale(), x.k.t(), ONE);
    let keys = scores.columns;
    for (i, row) in scores.values.chunks_mut(keys).enumerate() {
        let visible = match mask {
            AttentionMask::Full => keys,
            AttentionMask::Causal => keys.min(start + i + 1),
        };
        let (row, hidden) = row.split_at_mut(visible);
        hidden.fill(0.0);
        vectorized(
            #[inline(always)]
            || softmax(row),
        );
    }
    scores
}

#[inline(always)]
fn softmax(row: &mut [f32]) {
    let highest = maximum(row);
    update(
        row,
        [],
        #[inline(always)]
        |s, []| exp(s - highest),
    );
    let inverse = 1.0 / sum([row], |[p]| p);
    update(row, [], |p, []| p * inverse);
}

/// ṡ = (q̇ kᵀ + q k̇ᵀ)/√d of a block of queries.
fn score_tangent(x: Head, dx: Head, start: usize, count: usize) -> Dense {
    let mut ds = dx.q.rows(start, count).scaled_times(x.scale(), x.k.t(), ONE);
    add_rows(&mut ds, 0, x.q.rows(start, count), dx.k.t(), x.scale());
    ds
}

impl Attention {
    /// Calls `body` for all heads on all cores, and joins each of its results over the heads to a
    /// tensor `[batch, tokens, heads × d]` of the shape of `like`.
    fn each_head<const N: usize>(
        &self,
        x: &[FlexTensor],
        like: [&FlexTensor; N],
        body: impl Fn(Place) -> [Dense; N] + Sync,
    ) -> [FlexTensor; N] {
        let heads = self.heads;
        let [batch, _, _] = dims(&x[0]);
        let tasks = (0..batch * heads).into_par_iter();
        let place = |task| Place { image: task / heads, head: task % heads, heads };
        let parts: Vec<[Dense; N]> = tasks.map(|task| body(place(task))).collect();
        std::array::from_fn(|i| {
            let [_, tokens, channels] = dims(like[i]);
            let part = |image: usize, head: usize| &parts[image * heads + head][i];
            join([batch, tokens, channels], channels / heads, part)
        })
    }
}

/// Concatenates heads of width `d` in the last dimension.
fn join<'a>(
    [batch, tokens, channels]: [usize; 3],
    d: usize,
    part: impl Fn(usize, usize) -> &'a Dense + Sync,
) -> FlexTensor {
    let nothing = || ();
    let values = in_parts(batch * tokens * channels, channels, nothing, |(), row, to| {
        let (image, token) = (row / tokens, row % tokens);
        for (head, to) in to.chunks_exact_mut(d).enumerate() {
            to.copy_from_slice(&part(image, head).values[token * d..][..d]);
        }
    });
    new_tensor(values, [batch, tokens, channels])
}

/// The tangents, with zeros for the missing ones.
fn filled(x: &[FlexTensor], dx: &[Option<FlexTensor>]) -> Vec<FlexTensor> {
    let zeros = |x: &FlexTensor| FlexTensor::zeros(shape_of(x), x.dtype());
    x.iter().zip(dx).map(|(x, dx)| dx.clone().unwrap_or_else(|| zeros(x))).collect()
}

fn only<const N: usize>(wanted: &[bool], gradients: [FlexTensor; N]) -> Gradients<Flex> {
    gradients.into_iter().zip(wanted).map(|(gradient, wanted)| wanted.then_some(gradient)).collect()
}

fn zeros_like(m: Matrix) -> Dense {
    let [rows, columns] = m.size();
    Dense::zeros(rows, columns)
}

/// Sets the rows of `y` from `start` on to `a b`.
fn set_rows(y: &mut Dense, start: usize, a: Matrix, b: Matrix) {
    let columns = y.columns;
    product(&mut y.values[start * columns..], columns, a, b, [0.0, 1.0], ONE);
}

/// Adds `scale · a b` to the rows of `y` from `start` on.
fn add_rows(y: &mut Dense, start: usize, a: Matrix, b: Matrix, scale: f32) {
    let columns = y.columns;
    product(&mut y.values[start * columns..], columns, a, b, [1.0, scale], ONE);
}

/// Calls `body` for each row of x, with the same row of each y of the same size.
fn each_row<const N: usize>(x: &Dense, y: [&mut Dense; N], body: impl Fn(&[f32], [&mut [f32]; N])) {
    let columns = x.columns;
    let mut rows = y.map(|y| y.values.chunks_mut(columns));
    for x in x.values.chunks(columns) {
        let mut y = rows.each_mut().map(|rows| rows.next().expect("matrices of one size"));
        vectorized(
            #[inline(always)]
            || body(x, y.each_mut().map(|y| &mut **y)),
        );
    }
}
