//! Random initialisation of a module's weights.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use rand_distr::{Distribution, StandardNormal};
use seqlora_core::rng::Seed;

use super::parameters::with_parameters;

/// The module with random initial weights.
///
/// Matrices and convolution kernels are normal with variance 1 / fan-in, embeddings are normal with
/// a standard deviation of 0.02, scales of normalisations are 1 and biases 0. The last layer of a
/// residual branch is 0, so that every residual block starts as the identity (Goyal et al. 2017,
/// arXiv 1706.02677, section 5.1; diffusion UNets since Ho et al. 2020).
///
/// The seed of each parameter is forked by its path of field names.
pub fn initialised<B: AutodiffBackend, M: Module<B>>(
    module: M,
    seed: &Seed,
    device: &B::Device,
) -> M {
    let mut initialiser = Initialiser { seed, path: Vec::new(), values: Vec::new() };
    module.visit(&mut initialiser);
    let vector = |values: Vec<f32>| {
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), device)
    };
    with_parameters::<B, M>(module, initialiser.values.into_iter().map(vector).collect())
}

struct Initialiser<'a> {
    seed: &'a Seed,
    path: Vec<String>,
    values: Vec<Vec<f32>>,
}

/// The last layers of residual branches, by their names in our modules.
const ENDS: [&str; 4] =
    ["conv2.weight", "proj_out.weight", "fc2.weight", "self_attn.to_out.weight"];

impl<B: Backend> ModuleVisitor<B> for Initialiser<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let key = self.path.join(".");
        let shape: [usize; D] = param.lazy_shape().dims();
        let count: usize = shape.iter().product();
        let inputs: usize = shape[1..].iter().product();
        let std = match () {
            () if D == 1 || ENDS.iter().any(|end| key.ends_with(end)) => 0.0,
            () if D == 2 && key.ends_with("embedding.weight") => 0.02,
            () => (inputs as f32).powf(-0.5),
        };
        let mean = if D == 1 && key.ends_with("weight") { 1.0 } else { 0.0 };
        let normal = StandardNormal.sample_iter(self.seed.fork(&key).at(0));
        self.values.push(normal.take(count).map(|x: f32| mean + std * x).collect());
    }
}
