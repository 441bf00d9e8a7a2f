//! Laws of the Hessian products.

use crate::derivatives::{ConceptParameters, Wrt, gradient, hessian_product, hessian_product_fd};
use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::lora::{AdapterSet, Factors};
use burn_seqlora::train::OnBase;

use crate::fixtures::{assert_close, assert_close_numbers, assert_near};
use crate::toy::{Net, Precision, Sample, Toy};

/// The coupled toy at a point with a minibatch.
struct Problem<B: KernelBackend> {
    net: Net<Autodiff<B>>,
    sample: Sample<Autodiff<B>>,
    at: ConceptParameters<B>,
}

impl<B: KernelBackend> Problem<B> {
    fn new(toy: Toy) -> Self {
        Self { net: toy.net(), sample: toy.sample(0), at: toy.point() }
    }

    /// H_AA V and H_BA V
    fn product(&self, direction: &Factors<B>) -> (Factors<B>, Factors<B>) {
        let product =
            hessian_product::<Autodiff<B>, _>(&self.net, &self.at, direction, &self.sample);
        (product.up, product.down)
    }

    /// ∇_A L at B + s U
    fn slope_at(&self, s: f64, direction: &Factors<B>) -> Factors<B> {
        let mut at = self.at.clone();
        at.adapters.down = at.adapters.down.axpy(s, direction);
        gradient::<Autodiff<B>, _>(&self.net, &at, &self.sample, Wrt::Up).up
    }
}

/// Test 1: one backward pass of ⟨∇_A L, V⟩ against central differences of two gradients.
pub fn products_are_derivatives_of_the_gradient<B: KernelBackend>(precision: Precision) {
    let toy = Toy::coupled(precision);
    let (problem, direction) = (Problem::<B>::new(toy), toy.up(3));
    let (up, down) = problem.product(&direction);
    let Problem { net, sample, at } = &problem;
    let finite = hessian_product_fd::<Autodiff<B>, _>(net, at, &direction, sample, precision.step);
    assert_near("H_AA V", &up, &finite.up, precision.differences);
    assert_near("H_BA V", &down, &finite.down, precision.differences);
}

/// Test 1: ⟨U, H_AA V⟩ = ⟨V, H_AA U⟩ and ⟨U_B, H_BA V⟩ = ⟨V, H_AB U_B⟩.
pub fn hessian_is_symmetric<B: KernelBackend>(precision: Precision) {
    let toy = Toy::coupled(precision);
    let problem = Problem::<B>::new(toy);
    let (u, v, u_b) = (toy.up(4), toy.up(5), toy.down(6));
    let ((h_u, _), (h_v, cross)) = (problem.product(&u), problem.product(&v));
    let scale = u.norm() * h_v.norm();
    assert_close_numbers("A A", u.dot(&h_v), v.dot(&h_u), scale, precision.exact);

    let h = precision.step / u_b.norm();
    let (plus, minus) = (problem.slope_at(h, &u_b), problem.slope_at(-h, &u_b));
    let transposed = plus.axpy(-1.0, &minus).dot(&v) / (2.0 * h);
    let scale = u_b.norm() * cross.norm();
    assert_close_numbers("B A", u_b.dot(&cross), transposed, scale, precision.differences);
}

/// Test 2: at a single layer H_AA V = H[V Bᵀ] B and H_BA V = H[V Bᵀ]ᵀ A + Gᵀ V, where for
/// L = ½‖X Wᵀ − Y‖² the Hessian is `H[Z] = Z XᵀX` and the gradient G = δᵀX.
pub fn single_layer_products_have_a_closed_form<B: KernelBackend>(precision: Precision) {
    let toy = Toy::single(precision);
    let (problem, direction) = (Problem::<B>::new(toy), toy.up(3));
    let (up, down) = problem.product(&direction);

    let first = |factors: &Factors<B>| factors.get(0).unwrap();
    let inner = |tensor: &Tensor<Autodiff<B>, 2>| tensor.clone().inner();
    let adapters = &problem.at.adapters;
    let (a, b, v) = (first(&adapters.up), first(&adapters.down), first(&direction));
    let (x, y) = (inner(&problem.sample.input), inner(&problem.sample.target));
    let w = inner(&problem.net.weights[0]) + a.clone().times(b.clone().transpose());
    let delta = x.clone().times(w.transpose()) - y;
    let g = delta.transpose().times(x.clone());
    let h = v.clone().times(b.clone().transpose()).times(x.clone().transpose().times(x));
    let expected = h.clone().transpose().times(a) + g.transpose().times(v);
    assert_close("H_AA V", &first(&up), &h.times(b), precision.exact);
    assert_close("H_BA V", &first(&down), &expected, precision.exact);
}

/// Earlier adapters on one layer of two, frozen beside those that are trained, are as good as
/// greater weights: the same gradient and products, in the trained factors alone.
pub fn earlier_adapters_belong_to_the_weights<B: KernelBackend>(precision: Precision) {
    let toy = Toy::coupled(precision);
    let (Problem { net, sample, at }, direction) = (Problem::<B>::new(toy), toy.up(3));
    let only_last = |factors: Factors<B>| Factors::new(vec![None, factors.get(1)]);
    let earlier = AdapterSet { up: only_last(toy.up(7)), down: only_last(toy.down(8)) };
    let earlier = AdapterSet::<Autodiff<B>>::untracked(&earlier);
    let [up, down] = [&earlier.up, &earlier.down].map(|f| f.get(1).unwrap());
    let mut merged = Net { weights: net.weights.clone() };
    merged.weights[1] = merged.weights[1].clone() + up.times(down.transpose());
    let on_base = OnBase { objective: net, earlier: earlier.constant() };

    let first = gradient::<Autodiff<B>, _>(&on_base, &at, &sample, Wrt::All);
    let expected = gradient::<Autodiff<B>, _>(&merged, &at, &sample, Wrt::All);
    assert_near("∇_A L", &first.up, &expected.up, precision.exact);
    assert_near("∇_B L", &first.down, &expected.down, precision.exact);
    let second = hessian_product::<Autodiff<B>, _>(&on_base, &at, &direction, &sample);
    let expected = hessian_product::<Autodiff<B>, _>(&merged, &at, &direction, &sample);
    assert_near("H_AA V", &second.up, &expected.up, precision.exact);
    assert_near("H_BA V", &second.down, &expected.down, precision.exact);
}
