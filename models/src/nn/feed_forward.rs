//! The gated feed-forward layer of a diffusion transformer block.

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::lora::{DualAdapters, Role};
use seqlora_kernels::{KernelBackend, ops};

use super::{Linear, LinearConfig, Scope};

/// GEGLU: `y = W₂ (h ∘ gelu(g)) + b₂` with `(h, g) = W₁ x + b₁`.
#[derive(Module, Debug)]
pub struct FeedForward<B: Backend> {
    proj: Linear<B>,
    output: Linear<B>,
}

impl<B: KernelBackend> FeedForward<B> {
    /// A layer without weights, which is four times as wide inside as outside.
    pub fn new(channels: usize, scope: &mut Scope<B>) -> Self {
        let inner = 4 * channels;
        let mut site = |name: &str, inputs, outputs| {
            scope.site(name, Role::FeedForward, LinearConfig::new(inputs, outputs))
        };
        Self {
            proj: site("net.0.proj", channels, 2 * inner),
            output: site("net.2", inner, channels),
        }
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, channels]`
    pub fn forward(&self, x: Dual<B, 3>, adapters: &DualAdapters<B>) -> Dual<B, 3> {
        let [batch, tokens, channels] = x.dims();
        let both = self.proj.forward(x.reshape([batch * tokens, channels]), adapters);
        self.output.forward(ops::geglu(both), adapters).reshape([batch, tokens, channels])
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        [&self.proj, &self.output].into_iter()
    }
}
