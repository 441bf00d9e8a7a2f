//! All parameters of a module as one vector.
//!
//! Optimiser, running average and checkpoint then are a handful of operations on a few vectors
//! instead of as many on hundreds of tensors.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

/// The number of a module's parameters.
pub fn parameter_count<B: Backend, M: Module<B>>(module: &M) -> usize {
    module.num_params()
}

/// The module with the values of `flat` `[parameters]`, in the order in which modules are visited,
/// each of them a leaf that gets a gradient.
pub fn unflatten<B: AutodiffBackend, M: Module<B>>(
    module: M,
    flat: &Tensor<B::InnerBackend, 1>,
) -> M {
    module.map(&mut Fill::<B> { flat: flat.clone(), at: 0 })
}

/// The values of all parameters, `[parameters]`.
pub fn flatten<B: AutodiffBackend, M: Module<B>>(module: &M) -> Tensor<B::InnerBackend, 1> {
    let mut values = Values::<B> { parts: Vec::new() };
    module.visit(&mut values);
    Tensor::cat(values.parts, 0)
}

/// The gradients of all parameters, `[parameters]`; zero where the loss does not depend on one.
pub fn flatten_gradient<B: AutodiffBackend, M: Module<B>>(
    module: &M,
    gradients: &B::Gradients,
) -> Tensor<B::InnerBackend, 1> {
    let mut collect = Collect::<B> { gradients, parts: Vec::new() };
    module.visit(&mut collect);
    Tensor::cat(collect.parts, 0)
}

struct Fill<B: AutodiffBackend> {
    flat: Tensor<B::InnerBackend, 1>,
    at: usize,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Fill<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let count = shape.iter().product();
        let values = self.flat.clone().narrow(0, self.at, count).reshape(shape);
        self.at += count;
        Param::initialized(param.id, Tensor::from_inner(values).require_grad())
    }
}

struct Values<B: AutodiffBackend> {
    parts: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Values<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val().inner();
        let count = value.shape().num_elements();
        self.parts.push(value.reshape([count]));
    }
}

struct Collect<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    parts: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        let gradient = value.grad(self.gradients);
        let gradient = gradient.unwrap_or_else(|| value.inner().zeros_like());
        let count = gradient.shape().num_elements();
        self.parts.push(gradient.reshape([count]));
    }
}
