//! Sums of all elements.

use burn::tensor::{Tensor, backend::Backend};

/// The sum of all elements, `[1]`, with the same last bits in each run.
///
/// Burn's own sum adds atomically on CUDA, in the order in which units come. This one reduces one dimension after the other,
/// the smallest first, as Burn does where a device has no such additions.
pub fn total<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let sizes = tensor.dims();
    let mut order: Vec<usize> = (0..D).filter(|dim| sizes[*dim] != 1).collect();
    order.sort_by_key(|dim| sizes[*dim]);
    order.into_iter().fold(tensor, |sums, dim| sums.sum_dim(dim)).reshape([1])
}

/// The mean of all elements, `[1]`; [`total`] by their number.
pub fn overall_mean<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let count = tensor.dims().iter().product::<usize>() as f64;
    // The tape of Burn 0.21 rounds the divisor of `div_scalar` to f32.
    total(tensor).mul_scalar(1.0 / count)
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use burn::tensor::{Distribution, Tolerance};
    use burn_flex::Flex;

    use super::*;

    #[test]
    fn totals_are_sums_with_their_gradients() {
        let device = Default::default();
        for shape in [[3, 1, 5, 7], [1, 1, 1, 1], [2, 9, 4, 1]] {
            let x = Tensor::<Autodiff<Flex>, 4>::random(shape, Distribution::Default, &device);
            let x = x.require_grad();
            for (ours, burns) in [
                (total(x.clone() * x.clone()), (x.clone() * x.clone()).sum()),
                (overall_mean(x.clone() * x.clone()), (x.clone() * x.clone()).mean()),
            ] {
                let close = Tolerance::<f32>::relative(1e-6);
                ours.to_data().assert_approx_eq(&burns.to_data(), close);
                let [ours, burns] = [ours, burns].map(|y| x.grad(&y.backward()).unwrap());
                ours.to_data().assert_approx_eq(&burns.to_data(), close);
            }
        }
    }
}
