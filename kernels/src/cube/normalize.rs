//! Normalisation of rows, one cube each. With x̂ = (x − μ)/σ and the symmetric
//! J t = (t − mean t − x̂ mean(x̂t))/σ:
//!
//! - tangent γ J ẋ, adjoint J(γ g);
//! - the gradient of ⟨h, γ J ẋ⟩ at x, with u = γ h and c_t = mean(x̂t):
//!   −(x̂ (mean(u ẋ) − mean u mean ẋ − c_u c_ẋ)/σ + c_ẋ J u + c_u J ẋ)/σ.

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::{Gradients, Tuned, UNITS, cube_each, dims, empty_like, sum_over_units};
use crate::normalize::Normalize;

impl Tuned for Normalize {
    fn value<R: CubeRuntime>(&self, x: &[CubeTensor<R>]) -> CubeTensor<R> {
        self.standardize(&x[0], Some([&x[1], &x[2]]))
    }

    fn tangent<R: CubeRuntime>(
        &self,
        x: &[CubeTensor<R>],
        dx: &[Option<CubeTensor<R>>],
    ) -> CubeTensor<R> {
        let dx = dx[0].as_ref().expect("only x moves");
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
        let dx = dx[0].as_ref().expect("only x moves");
        let at_x = wanted[0].then(|| self.curve(&x[0], &x[1], dx, &h));
        let at_dx = wanted[3].then(|| self.project(&x[0], &x[1], &h, Scale::Before));
        vec![at_x, None, None, at_dx, None, None]
    }
}

/// When γ is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scale {
    Before,
    After,
}

/// The launches.
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
            y.clone().into_tensor_arg(),
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
            y.clone().into_tensor_arg(),
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
            y.clone().into_tensor_arg(),
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
        let [at_gamma, at_beta] = gradients.clone().map(CubeTensor::into_tensor_arg);
        let dtype = g.dtype.into();
        weights_kernel::launch(
            &standard.client.clone(),
            cubes,
            cube,
            standard.into_tensor_arg(),
            contiguous(&g),
            at_gamma,
            at_beta,
            dtype,
        );
        gradients
    }
}

fn contiguous<R: CubeRuntime>(t: &CubeTensor<R>) -> TensorArg<R> {
    into_contiguous(t.clone()).into_tensor_arg()
}

/// A row of x with its statistics.
#[derive(CubeType, Clone, Copy)]
struct Row {
    /// Its number.
    index: usize,
    width: usize,
    mean: f32,
    inverse_std: f32,
}

/// mean t and mean(x̂ t).
#[derive(CubeType, Clone, Copy)]
struct Moments {
    mean: f32,
    correlation: f32,
}

#[cube]
impl Row {
    /// This cube's row.
    fn new<F: Float>(x: &Tensor<F>, epsilon: f32, shared: &mut SharedMemory<f32>) -> Row {
        let index = CUBE_POS;
        let width = x.shape(1) * x.shape(2);
        let start = index * width;
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width {
            sum += f32::cast_from(x[start + i]);
            i += UNITS;
        }
        let mean = average(sum, width, shared);
        let mut squares = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < width {
            let centered = f32::cast_from(x[start + i]) - mean;
            squares += centered * centered;
            i += UNITS;
        }
        let inverse_std = 1.0f32 / (average(squares, width, shared) + epsilon).sqrt();
        Row { index, width, mean, inverse_std }
    }

    /// An element of this row of a tensor like x.
    fn at<F: Float>(&self, t: &Tensor<F>, i: usize) -> f32 {
        f32::cast_from(t[self.index * self.width + i])
    }

    /// An element's γ or β. They go round: x has its channels in groups, a row each.
    fn weight<F: Float>(&self, weights: &Tensor<F>, x: &Tensor<F>, i: usize) -> f32 {
        let channels = x.shape(1);
        let group = self.index % (weights.shape(0) / channels);
        f32::cast_from(weights[group * channels + i / x.shape(2)])
    }

    /// An element of t, or of γ t.
    fn scaled<F: Float>(
        &self,
        x: &Tensor<F>,
        gamma: &Tensor<F>,
        t: &Tensor<F>,
        i: usize,
        #[comptime] scaled: bool,
    ) -> f32 {
        let t = self.at::<F>(t, i);
        if scaled { t * self.weight::<F>(gamma, x, i) } else { t }
    }

    /// The moments of t, or of γ t.
    fn moments<F: Float>(
        &self,
        x: &Tensor<F>,
        gamma: &Tensor<F>,
        t: &Tensor<F>,
        #[comptime] scaled: bool,
        shared: &mut SharedMemory<f32>,
    ) -> Moments {
        let mut sum = 0.0f32;
        let mut products = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < self.width {
            let t = self.scaled::<F>(x, gamma, t, i, scaled);
            sum += t;
            products += self.standard(self.at::<F>(x, i)) * t;
            i += UNITS;
        }
        let mean = average(sum, self.width, shared);
        let correlation = average(products, self.width, shared);
        Moments { mean, correlation }
    }

    /// x̂
    fn standard(&self, x: f32) -> f32 {
        (x - self.mean) * self.inverse_std
    }

    /// J t at one element.
    fn project(&self, x: f32, t: f32, of: &Moments) -> f32 {
        (t - of.mean - self.standard(x) * of.correlation) * self.inverse_std
    }
}

/// The mean of what a cube's units have added up.
#[cube]
fn average(sum: f32, count: usize, shared: &mut SharedMemory<f32>) -> f32 {
    sum_over_units(sum, shared, UNIT_POS as usize, 0usize, UNITS) / f32::cast_from(count)
}

#[cube(launch)]
fn standardize_kernel<F: Float>(
    x: &Tensor<F>,
    gamma: &ComptimeOption<Tensor<F>>,
    beta: &ComptimeOption<Tensor<F>>,
    y: &mut Tensor<F>,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0) {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let mut value = row.standard(row.at::<F>(x, i));
        #[comptime]
        match gamma {
            ComptimeOption::Some(gamma) => {
                value *= row.weight::<F>(gamma, x, i);
            }
            ComptimeOption::None => {}
        }
        #[comptime]
        match beta {
            ComptimeOption::Some(beta) => {
                value += row.weight::<F>(beta, x, i);
            }
            ComptimeOption::None => {}
        }
        y[row.index * row.width + i] = F::cast_from(value);
        i += UNITS;
    }
}

/// γ J t or J(γ t)
#[cube(launch)]
fn project_kernel<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<F>,
    t: &Tensor<F>,
    y: &mut Tensor<F>,
    epsilon: f32,
    #[comptime] scale: Scale,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0) {
        terminate!();
    }
    let before = comptime!(scale == Scale::Before);
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let moments = row.moments::<F>(x, gamma, t, before, &mut shared);
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let t = row.scaled::<F>(x, gamma, t, i, before);
        let mut value = row.project(row.at::<F>(x, i), t, &moments);
        if !before {
            value *= row.weight::<F>(gamma, x, i);
        }
        y[row.index * row.width + i] = F::cast_from(value);
        i += UNITS;
    }
}

#[cube(launch)]
fn curve_kernel<F: Float>(
    x: &Tensor<F>,
    gamma: &Tensor<F>,
    dx: &Tensor<F>,
    h: &Tensor<F>,
    y: &mut Tensor<F>,
    epsilon: f32,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= x.shape(0) {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    let row = Row::new::<F>(x, epsilon, &mut shared);
    let of_u = row.moments::<F>(x, gamma, h, true, &mut shared);
    let of_dx = row.moments::<F>(x, gamma, dx, false, &mut shared);
    let mut products = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < row.width {
        products += row.scaled::<F>(x, gamma, h, i, true) * row.at::<F>(dx, i);
        i += UNITS;
    }
    let drift = average(products, row.width, &mut shared)
        - of_u.mean * of_dx.mean
        - of_u.correlation * of_dx.correlation;
    let mut i = UNIT_POS as usize;
    while i < row.width {
        let x_i = row.at::<F>(x, i);
        let u = row.scaled::<F>(x, gamma, h, i, true);
        let along = row.standard(x_i) * drift * row.inverse_std;
        let across = of_dx.correlation * row.project(x_i, u, &of_u)
            + of_u.correlation * row.project(x_i, row.at::<F>(dx, i), &of_dx);
        y[row.index * row.width + i] = F::cast_from(-(along + across) * row.inverse_std);
        i += UNITS;
    }
}

/// A cube per weight: it sums over all rows of the weight's group.
#[cube(launch)]
fn weights_kernel<F: Float>(
    standard: &Tensor<F>,
    g: &Tensor<F>,
    at_gamma: &mut Tensor<F>,
    at_beta: &mut Tensor<F>,
    #[define(F)] _dtype: StorageType,
) {
    if CUBE_POS >= at_gamma.shape(0) {
        terminate!();
    }
    let channels = g.shape(1);
    let elements = g.shape(2);
    let groups = at_gamma.shape(0) / channels;
    let mut gammas = 0.0f32;
    let mut betas = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < g.shape(0) / groups * elements {
        let row = i / elements * groups + CUBE_POS / channels;
        let at = (row * channels + CUBE_POS % channels) * elements + i % elements;
        let g = f32::cast_from(g[at]);
        gammas += g * f32::cast_from(standard[at]);
        betas += g;
        i += UNITS;
    }
    let mut shared = SharedMemory::<f32>::new(UNITS);
    gammas = sum_over_units(gammas, &mut shared, UNIT_POS as usize, 0usize, UNITS);
    betas = sum_over_units(betas, &mut shared, UNIT_POS as usize, 0usize, UNITS);
    if UNIT_POS == 0 {
        at_gamma[CUBE_POS] = F::cast_from(gammas);
        at_beta[CUBE_POS] = F::cast_from(betas);
    }
}
