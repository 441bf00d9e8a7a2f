//! Attention in blocks of queries, in tensor operations. The matrix of scores exists for one block
//! of queries at a time, and the backward passes compute the probabilities again.

use burn::tensor::{Bool, DType, FloatDType, Tensor, TensorMetadata, activation, backend::Backend};

use super::{Attention, AttentionMask, scale};
use crate::matmul::{MatMul, matmul};
use crate::operation::{Float, Gradients};

/// Attention in blocks of queries of limited size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    pub attention: Attention,
    /// The most scores of a block, over all heads and images; a block has at least one query.
    pub scores: usize,
}

/// q/√d, k and v, `[batch, heads, tokens, d]`, or their tangents.
struct Heads<B: Backend> {
    q: Tensor<B, 4>,
    k: Tensor<B, 4>,
    v: Tensor<B, 4>,
}

impl Blocks {
    /// f(x)
    pub fn value<B: MatMul>(&self, x: &[Float<B>]) -> Float<B> {
        let x = self.heads::<B>(x);
        let blocks = self.starts(&x).map(|(start, count)| {
            let p = self.probabilities(&x, start, count);
            matmul(stored(p, &x.v), x.v.clone())
        });
        self.attention.join(Tensor::cat(blocks.collect(), 2))
    }

    /// f'(x) ẋ
    pub fn tangent<B: MatMul>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Float<B> {
        let (x, dx) = (self.heads::<B>(x), self.tangents::<B>(x, dx));
        let blocks = self.starts(&x).map(|(start, count)| {
            let p = self.probabilities(&x, start, count);
            let dp = centred(&p, score_tangent(&x, &dx, start, count));
            let [p, dp] = [p, dp].map(|t| stored(t, &x.v));
            matmul(dp, x.v.clone()) + matmul(p, dx.v.clone())
        });
        self.attention.join(Tensor::cat(blocks.collect(), 2))
    }

    /// The gradients of ⟨g, f(x)⟩. With u = g vᵀ and t = p ∘ (u − ⟨p, u⟩): t k/√d at q, tᵀ q/√d at
    /// k, pᵀ g at v.
    pub fn adjoint<B: MatMul>(&self, x: &[Float<B>], g: Float<B>, wanted: &[bool]) -> Gradients<B> {
        let (x, g) = (self.heads::<B>(x), self.attention.split::<B>(&g));
        let (mut at_q, mut sums) = (Vec::new(), Sums::default());
        for (start, count) in self.starts(&x) {
            let [q, g] = [&x.q, &g].map(|t| t.clone().narrow(2, start, count));
            let p = self.probabilities(&x, start, count);
            let t = centred(&p, exact(matmul(g.clone(), x.v.clone().transpose())));
            let [p, t] = [p, t].map(|t| stored(t, &x.v));
            at_q.push(scale(matmul(t.clone(), x.k.clone())));
            sums.add([matmul(t.transpose(), q), matmul(p.transpose(), g)]);
        }
        let [at_k, at_v] = sums.0.expect("a block");
        self.only(wanted, [Tensor::cat(at_q, 2), at_k, at_v])
    }

    /// The gradients of ⟨h, f'(x) ẋ⟩ at x and at ẋ. With c = ⟨p, ṡ⟩, u = h vᵀ, t = p ∘ (u − ⟨p, u⟩)
    /// and the gradient at the scores z = p ∘ (y − ⟨p, y⟩), y = u ∘ (ṡ − c) − ⟨p, u⟩ ṡ + h v̇ᵀ:
    ///
    /// - (z k + t k̇)/√d at q, (zᵀ q + tᵀ q̇)/√d at k, ṗᵀ h at v;
    /// - t k/√d at q̇, tᵀ q/√d at k̇, pᵀ h at v̇.
    pub fn tangent_adjoint<B: MatMul>(
        &self,
        x: &[Float<B>],
        dx: &[Option<Float<B>>],
        h: Float<B>,
        wanted: &[bool],
    ) -> Gradients<B> {
        let (x, dx) = (self.heads::<B>(x), self.tangents::<B>(x, dx));
        let h = self.attention.split::<B>(&h);
        let (mut at_q, mut at_dq, mut sums) = (Vec::new(), Vec::new(), Sums::default());
        for (start, count) in self.starts(&x) {
            let [q, dq, h] = [&x.q, &dx.q, &h].map(|t| t.clone().narrow(2, start, count));
            let p = self.probabilities(&x, start, count);
            let ds = score_tangent(&x, &dx, start, count);
            let u = exact(matmul(h.clone(), x.v.clone().transpose()));
            let mean = (p.clone() * u.clone()).sum_dim(3);
            let from_c = (p.clone() * ds.clone()).sum_dim(3).neg() + ds.clone();
            let y = exact(matmul(h.clone(), dx.v.clone().transpose())) + u.clone() * from_c.clone()
                - mean.clone() * ds;
            let z = centred(&p, y);
            let (dp, t) = (p.clone() * from_c, p.clone() * (u - mean));
            let [p, dp, t, z] = [p, dp, t, z].map(|t| stored(t, &x.v));
            at_q.push(scale(matmul(z.clone(), x.k.clone()) + matmul(t.clone(), dx.k.clone())));
            at_dq.push(scale(matmul(t.clone(), x.k.clone())));
            let [zt, tt] = [z, t].map(Tensor::transpose);
            sums.add([
                matmul(zt, q.clone()) + matmul(tt.clone(), dq),
                matmul(dp.transpose(), h.clone()),
                matmul(tt, q),
                matmul(p.transpose(), h),
            ]);
        }
        let [at_k, at_v, at_dk, at_dv] = sums.0.expect("a block");
        let [at_q, at_dq] = [at_q, at_dq].map(|blocks| Tensor::cat(blocks, 2));
        self.only(wanted, [at_q, at_k, at_v, at_dq, at_dk, at_dv])
    }

    fn heads<B: Backend>(&self, x: &[Float<B>]) -> Heads<B> {
        let [q, k, v] = [0, 1, 2].map(|i| self.attention.split::<B>(&x[i]));
        Heads { q: scale(q), k, v }
    }

    /// The tangents, with zeros for the missing ones.
    fn tangents<B: Backend>(&self, x: &[Float<B>], dx: &[Option<Float<B>>]) -> Heads<B> {
        let zeros = |x: &Float<B>| B::float_zeros(x.shape(), &B::float_device(x), dtype_of::<B>(x));
        let dx = x.iter().zip(dx).map(|(x, dx)| dx.clone().unwrap_or_else(|| zeros(x)));
        self.heads(&dx.collect::<Vec<_>>())
    }

    /// Starts and lengths of the blocks of queries.
    fn starts<B: Backend>(&self, x: &Heads<B>) -> impl Iterator<Item = (usize, usize)> + use<B> {
        let ([batch, heads, queries, _], keys) = (x.q.dims(), x.k.dims()[2]);
        let most = (self.scores / (batch * heads * keys).max(1)).clamp(1, queries.max(1));
        (0..queries).step_by(most).map(move |start| (start, most.min(queries - start)))
    }

    /// softmax(q kᵀ/√d + mask) of a block of queries, in f32 at least.
    fn probabilities<B: MatMul>(&self, x: &Heads<B>, start: usize, count: usize) -> Tensor<B, 4> {
        let q = x.q.clone().narrow(2, start, count);
        let scores = scores(q, x.k.clone());
        let scores = match self.attention.mask {
            AttentionMask::Full => scores,
            AttentionMask::Causal => {
                let shape = [count, x.k.dims()[2]];
                let hidden: Tensor<B, 2, Bool> =
                    Tensor::tril_mask(shape, start as i64, &scores.device());
                scores.mask_fill(hidden.unsqueeze::<4>(), f64::NEG_INFINITY)
            }
        };
        activation::softmax(scores, 3)
    }

    fn only<B: Backend, const N: usize>(
        &self,
        wanted: &[bool],
        gradients: [Tensor<B, 4>; N],
    ) -> Gradients<B> {
        let gradients = gradients.into_iter().zip(wanted);
        gradients.map(|(at, wanted)| wanted.then(|| self.attention.join(at))).collect()
    }
}

/// Sums over blocks.
struct Sums<B: Backend, const N: usize>(Option<[Tensor<B, 4>; N]>);

impl<B: Backend, const N: usize> Default for Sums<B, N> {
    fn default() -> Self {
        Self(None)
    }
}

impl<B: Backend, const N: usize> Sums<B, N> {
    fn add(&mut self, terms: [Tensor<B, 4>; N]) {
        self.0 = Some(match self.0.take() {
            None => terms,
            Some(sums) => {
                let mut terms = terms.into_iter();
                sums.map(|sum| sum + terms.next().expect("a term for each sum"))
            }
        });
    }
}

/// ṡ = (q̇ kᵀ + q k̇ᵀ)/√d of a block of queries.
fn score_tangent<B: MatMul>(
    x: &Heads<B>,
    dx: &Heads<B>,
    start: usize,
    count: usize,
) -> Tensor<B, 4> {
    let [q, dq] = [&x.q, &dx.q].map(|t| t.clone().narrow(2, start, count));
    scores(dq, x.k.clone()) + scores(q, dx.k.clone())
}

/// q kᵀ, in f32 at least. f16 has no numbers above 65504, which scores of Stable Diffusion 2.1
/// exceed, so f16 is cast before the product.
fn scores<B: MatMul>(q: Tensor<B, 4>, k: Tensor<B, 4>) -> Tensor<B, 4> {
    let [q, k] = [q, k].map(|x| if x.dtype() == DType::F16 { exact(x) } else { x });
    exact(matmul(q, k.transpose()))
}

/// p ∘ (u − ⟨p, u⟩), row by row.
fn centred<B: Backend>(p: &Tensor<B, 4>, u: Tensor<B, 4>) -> Tensor<B, 4> {
    let mean = (p.clone() * u.clone()).sum_dim(3);
    p.clone() * (u - mean)
}

/// Casts 16 bits to f32.
fn exact<B: Backend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.cast(FloatDType::F32),
        _ => x,
    }
}

/// Casts to the precision of another tensor.
fn stored<B: Backend>(x: Tensor<B, 4>, like: &Tensor<B, 4>) -> Tensor<B, 4> {
    if x.dtype() == like.dtype() { x } else { x.cast(like.dtype()) }
}

fn dtype_of<B: Backend>(x: &Float<B>) -> FloatDType {
    x.dtype().into()
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::Flex;
    use crate::operation::{Operation, float, tensor};
    use burn::backend::Autodiff;
    use burn::tensor::{Distribution, TensorData};

    type A = Autodiff<Flex>;

    fn numbers(x: Float<Flex>) -> TensorData {
        tensor::<Flex, 3>(x).into_data()
    }

    /// The scores are 180 000, and f16 has no numbers above 65504.
    #[test]
    fn scores_do_not_overflow_in_f16() {
        let device = Default::default();
        let attention = Attention { heads: 1, mask: AttentionMask::Full };
        let rows = |sign: f32| Tensor::<Flex, 3>::full([1, 1, 4], 300.0 * sign, &device);
        let (q, k) = (rows(1.0), Tensor::cat(vec![rows(1.0), rows(-1.0)], 1));
        let v = Tensor::<Flex, 3>::from_floats([[[1.0, 2.0, 3.0, 4.0], [5.0; 4]]], &device);
        let x = [q, k, v.clone()].map(|x| float::<Flex, 3>(x.cast(FloatDType::F16)));
        let found = Blocks { attention, scores: usize::MAX }.value::<Flex>(&x);
        assert_eq!(found.dtype(), DType::F16);
        let found = tensor::<Flex, 3>(found).cast(FloatDType::F32);
        assert_eq!(found.into_data(), v.narrow(1, 0, 1).into_data());
    }

    /// Value, tangent and all of their gradients in blocks of one query, of three and of all agree
    /// with the reference on the tape.
    #[test]
    fn blocks_are_the_whole() {
        let device = Default::default();
        for (mask, queries) in [(AttentionMask::Full, 5), (AttentionMask::Causal, 7)] {
            let attention = Attention { heads: 3, mask };
            let draw = |tokens| {
                Tensor::<A, 3>::random([2, tokens, 12], Distribution::Default, &device)
                    .require_grad()
            };
            let inputs = [queries, 7, 7, queries, 7, 7].map(draw);
            let primitives = inputs.clone().map(float::<A, 3>);
            let tangents: Vec<_> = primitives[3..].iter().cloned().map(Some).collect();
            let value = tensor::<A, 3>(Operation::value::<A>(&attention, &primitives[..3]));
            let tangent =
                tensor::<A, 3>(Operation::tangent::<A>(&attention, &primitives[..3], &tangents));
            let g = Tensor::<A, 3>::random(value.dims(), Distribution::Default, &device);
            let gradients = |output: &Tensor<A, 3>, count: usize| -> Vec<TensorData> {
                let gradients = (output.clone() * g.clone()).sum().backward();
                inputs[..count].iter().map(|x| x.grad(&gradients).unwrap().into_data()).collect()
            };
            let expected = [gradients(&value, 3), gradients(&tangent, 6)];

            let x = inputs.clone().map(|x| float::<Flex, 3>(x.inner()));
            let dx: Vec<_> = x[3..].iter().cloned().map(Some).collect();
            let (x, g) = (&x[..3], float::<Flex, 3>(g.inner()));
            for scores in [1, 3 * 2 * 3 * 7, usize::MAX] {
                let blocks = Blocks { attention, scores };
                let close = |found: Float<Flex>, expected: &TensorData| {
                    numbers(found).assert_approx_eq::<f32>(expected, Default::default());
                };
                close(blocks.value::<Flex>(x), &value.to_data());
                close(blocks.tangent::<Flex>(x, &dx), &tangent.to_data());
                let found = [
                    blocks.adjoint::<Flex>(x, g.clone(), &[true; 3]),
                    blocks.tangent_adjoint::<Flex>(x, &dx, g.clone(), &[true; 6]),
                ];
                for (found, expected) in found.into_iter().zip(&expected) {
                    assert_eq!(found.len(), expected.len());
                    found.into_iter().zip(expected).for_each(|(x, y)| close(x.unwrap(), y));
                }
            }
        }
    }
}
