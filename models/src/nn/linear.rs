//! Linear layers that can carry an adapter.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;

use super::frozen;

/// The sizes of a [`Linear`] layer.
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// Input features.
    pub inputs: usize,
    /// Output features.
    pub outputs: usize,
    /// Whether it has a bias.
    #[config(default = true)]
    pub bias: bool,
}

/// A frozen linear layer: `y = x Wᵀ + b`, plus `(x B) Aᵀ` if its site has an adapter.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[outputs, inputs]`
    pub weight: Param<Tensor<B, 2>>,
    /// `[outputs]`
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// The index of its site, if it can carry an adapter.
    #[module(skip)]
    pub site: Option<usize>,
}

impl LinearConfig {
    /// A layer without weights and without a site.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        Linear {
            weight: frozen([self.outputs, self.inputs], device),
            bias: self.bias.then(|| frozen([self.outputs], device)),
            site: None,
        }
    }
}

impl<B: KernelBackend> Linear<B> {
    /// Applies the layer, with the adapter of its site if there is one.
    ///
    /// # Shapes
    /// - x: `[..., inputs]`, output: `[..., outputs]`
    pub fn forward<const D: usize>(&self, x: Dual<B, D>, adapters: &DualAdapters<B>) -> Dual<B, D> {
        let mut shape = x.dims();
        let [outputs, inputs] = self.weight.shape().dims();
        let rows = shape.iter().product::<usize>() / inputs;
        shape[D - 1] = outputs;
        let bias = self.bias.as_ref().map(Param::val);
        let x = x.reshape([rows, inputs]);
        adapters.linear(self.site, x, self.weight.val(), bias).reshape(shape)
    }
}
