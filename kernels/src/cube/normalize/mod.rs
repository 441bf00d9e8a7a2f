//! Normalisation of rows, one cube each. Let x̂ = (x − μ)/σ and J t = (t − mean t − x̂
//! mean(x̂t))/σ, where J is symmetric. Then:
//!
//! - the tangent is γ J ẋ, and the gradient of ⟨g, value⟩ at x is J(γ g);
//! - the gradient of ⟨h, γ J ẋ⟩ at x is, with u = γ h and c_t = mean(x̂t),
//!   −(x̂ (mean(u ẋ) − mean u mean ẋ − c_u c_ẋ)/σ + c_ẋ J u + c_u J ẋ)/σ.

mod kernels;
mod row;

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use super::strided::{contiguous, strided};
use super::{Gradients, Tuned, cube_each, dims, empty_like};
use crate::normalize::Normalize;
use kernels::{Scale, curve_kernel, project_kernel, standardize_kernel, weights_kernel};

impl Tuned for Normalize {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        self.standardize(&x[0], Some([&x[1], &x[2]]))
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        let dx = dx[0].as_ref().expect("only x has a tangent");
        self.project(&x[0], &x[1], dx, Scale::After)
    }

    fn adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let at_x = wanted[0].then(|| self.project(&x[0], &x[1], &g, Scale::Before));
        let [at_gamma, at_beta] = match wanted[1] || wanted[2] {
            true => self.channel_sums(x, g).map(Some),
            false => [None, None],
        };
        vec![at_x, at_gamma, at_beta]
    }

    fn tangent_adjoint<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
        h: CubeTensor<R>,
        wanted: &[bool],
    ) -> Gradients<R> {
        let dx = dx[0].as_ref().expect("only x has a tangent");
        let at_x = wanted[0].then(|| self.curve(&x[0], &x[1], dx, &h));
        let at_dx = wanted[3].then(|| self.project(&x[0], &x[1], &h, Scale::Before));
        vec![at_x, None, None, at_dx, None, None]
    }
}

/// The kernel launches.
impl Normalize {
    /// γ x̂ + β, or x̂
    fn standardize<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        weights: Option<[&CubeTensor<R>; 2]>,
    ) -> CubeTensor<R> {
        let y = empty_like(x, x.shape());
        let (cubes, cube) = cube_each(x, dims::<3, _>(x)[0]);
        let [gamma, beta] = [0, 1].map(|i| weights.map(|weights| contiguous(weights[i])).into());
        standardize_kernel::launch(
            &y.client,
            cubes,
            cube,
            contiguous(x),
            gamma,
            beta,
            strided(&y),
            self.epsilon as f32,
            y.dtype.into(),
        );
        y
    }

    /// γ J t or J(γ t)
    fn project<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        gamma: &CubeTensor<R>,
        t: &CubeTensor<R>,
        scale: Scale,
    ) -> CubeTensor<R> {
        let y = empty_like(x, x.shape());
        let (cubes, cube) = cube_each(x, dims::<3, _>(x)[0]);
        project_kernel::launch(
            &y.client,
            cubes,
            cube,
            contiguous(x),
            contiguous(gamma),
            contiguous(t),
            strided(&y),
            self.epsilon as f32,
            scale,
            y.dtype.into(),
        );
        y
    }

    /// The gradient of ⟨h, γ J ẋ⟩ at x.
    fn curve<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        gamma: &CubeTensor<R>,
        dx: &CubeTensor<R>,
        h: &CubeTensor<R>,
    ) -> CubeTensor<R> {
        let y = empty_like(x, x.shape());
        let (cubes, cube) = cube_each(x, dims::<3, _>(x)[0]);
        curve_kernel::launch(
            &y.client,
            cubes,
            cube,
            contiguous(x),
            contiguous(gamma),
            contiguous(dx),
            contiguous(h),
            strided(&y),
            self.epsilon as f32,
            y.dtype.into(),
        );
        y
    }

    /// Σ g x̂ and Σ g for each channel.
    fn channel_sums<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        g: CubeTensor<R>,
    ) -> [CubeTensor<R>; 2] {
        let standard = self.standardize(&x[0], None);
        let gradients = [1, 2].map(|i| empty_like(&x[i], x[i].shape()));
        let (cubes, cube) = cube_each(&g, x[1].meta.num_elements());
        let [at_gamma, at_beta] = gradients.each_ref().map(strided);
        let dtype = g.dtype.into();
        weights_kernel::launch(
            &standard.client,
            cubes,
            cube,
            strided(&standard),
            contiguous(&g),
            at_gamma,
            at_beta,
            dtype,
        );
        gradients
    }
}
