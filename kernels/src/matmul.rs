//! Matrix products as exact as the numbers that they are of.

use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::{Dual, add_tangents};

use crate::primitive::{Float, float, tensor};

/// A backend whose matrix products are as exact as its tensors: what is stored in f32 is multiplied and summed in f32.
///
/// Burn's own products of f32 are, on CUDA, of numbers that were rounded to TF32's 10 bits of mantissa, by which
/// second derivatives and the orthogonality of adapters are lost.
pub trait MatMul: Backend {
    /// a b, batch by batch, for tensors of one rank whose leading sizes agree.
    fn matmul(a: Float<Self>, b: Float<Self>) -> Float<Self>;
}

/// Tensors and dual numbers whose products are those of [`MatMul`].
pub trait Times {
    /// The product of matrices, batch by batch.
    ///
    /// # Shapes
    /// - self: `[..., n, k]`, other: `[..., k, m]`, output: `[..., n, m]`
    ///
    /// # Panics
    /// If the leading sizes differ.
    fn times(self, other: Self) -> Self;
}

impl<B: MatMul, const D: usize> Times for Tensor<B, D> {
    fn times(self, other: Self) -> Self {
        matmul(self, other)
    }
}

/// `(x y)˙ = ẋ y + x ẏ`
impl<B: MatMul, const D: usize> Times for Dual<B, D> {
    fn times(self, other: Self) -> Self {
        let tangent = add_tangents(
            self.tangent.map(|t| t.times(other.primal.clone())),
            other.tangent.map(|t| self.primal.clone().times(t)),
        );
        Self { primal: self.primal.times(other.primal), tangent }
    }
}

/// a b
pub(crate) fn matmul<B: MatMul, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    let (left, right) = (a.dims(), b.dims());
    assert_eq!(left[..D - 2], right[..D - 2], "the batches of {left:?} and {right:?}");
    tensor(B::matmul(float(a), float(b)))
}

#[cfg(feature = "cpu")]
impl MatMul for crate::Flex {
    fn matmul(a: Float<Self>, b: Float<Self>) -> Float<Self> {
        use burn::tensor::ops::FloatTensorOps;
        Self::float_matmul(a, b)
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::backend::Autodiff;
    use burn::tensor::{Distribution, TensorData};

    use super::*;
    use crate::Flex;

    type A = Autodiff<Flex>;

    /// The node on the tape has the gradients of Burn's own, also if only one factor is tracked.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is compared with")]
    fn gradients_are_those_of_burn() {
        let device = Default::default();
        let draw =
            |n, m| Tensor::<A, 3>::random([2, n, m], Distribution::Default, &device).require_grad();
        let (a, b, g) = (draw(3, 4), draw(4, 5), draw(3, 5).inner());
        let g = Tensor::<A, 3>::from_inner(g);
        let gradients = |y: Tensor<A, 3>| -> [Option<TensorData>; 2] {
            let all = (y * g.clone()).sum().backward();
            [&a, &b].map(|x| x.grad(&all).map(Tensor::into_data))
        };
        let expected = gradients(a.clone().matmul(b.clone()));
        assert_eq!(gradients(matmul(a.clone(), b.clone())), expected);
        let [at_a, at_b] = gradients(matmul(a.clone(), b.clone().detach()));
        assert_eq!((at_a, at_b), (expected[0].clone(), None));
        let [at_a, at_b] = gradients(matmul(a.clone().detach(), b.clone()));
        assert_eq!((at_a, at_b), (None, expected[1].clone()));
    }
}
