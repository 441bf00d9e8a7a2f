//! Multi-head attention whose four projections are sites.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_seqlora::adapter::{DualAdapters, Role};
use burn_seqlora::dual::Dual;
use seqlora_kernels::{KernelBackend, attention::AttentionMask};

use super::{Linear, LinearConfig, Scope};

/// Sizes of an [`Attention`].
#[derive(Config, Debug)]
pub struct AttentionConfig {
    /// Channels of the queries and of the output.
    pub channels: usize,
    /// Width of what is attended to: `None` for the queries' own sequence.
    pub context: Option<usize>,
    /// The number of heads; they share the channels.
    pub heads: usize,
    /// Whether query, key and value have biases (CLIP's do, the UNet's do not).
    #[config(default = false)]
    pub bias: bool,
}

/// `softmax(q kᵀ/√d) v` in several heads, with projections before and after.
#[derive(Module, Debug)]
pub struct Attention<B: Backend> {
    to_q: Linear<B>,
    to_k: Linear<B>,
    to_v: Linear<B>,
    to_out: Linear<B>,
    heads: usize,
}

/// What a module's four projections are called as sites: their paths in the checkpoint it comes
/// from, for query, key, value and output.
pub type ProjectionNames = [&'static str; 4];

impl AttentionConfig {
    /// A layer without weights yet.
    pub fn init<B: Backend>(&self, scope: &mut Scope<B>, names: ProjectionNames) -> Attention<B> {
        let role = if self.context.is_some() { Role::CrossAttention } else { Role::SelfAttention };
        let linear = |inputs, bias| LinearConfig::new(inputs, self.channels).with_bias(bias);
        let [query, key, value, output] = names;
        let context = self.context.unwrap_or(self.channels);
        Attention {
            to_q: scope.site(query, role, linear(self.channels, self.bias)),
            to_k: scope.site(key, role, linear(context, self.bias)),
            to_v: scope.site(value, role, linear(context, self.bias)),
            to_out: scope.site(output, role, linear(self.channels, true)),
            heads: self.heads,
        }
    }
}

impl<B: KernelBackend> Attention<B> {
    /// Queries from `x`, keys and values from `context` (or from `x`).
    ///
    /// # Shapes
    /// - x: `[batch, tokens, channels]`, context: `[batch, keys, width]`
    pub fn forward(
        &self,
        x: Dual<B, 3>,
        context: Option<Dual<B, 3>>,
        mask: AttentionMask,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let context = context.unwrap_or_else(|| x.clone());
        let query = self.to_q.forward(x, adapters);
        let key = self.to_k.forward(context.clone(), adapters);
        let value = self.to_v.forward(context, adapters);
        self.to_out.forward(multi_head(query, key, value, self.heads, mask), adapters)
    }
}

/// Attention of `[batch, tokens, channels]` in `heads` heads.
pub fn multi_head<B: KernelBackend>(
    query: Dual<B, 3>,
    key: Dual<B, 3>,
    value: Dual<B, 3>,
    heads: usize,
    mask: AttentionMask,
) -> Dual<B, 3> {
    let [batch, tokens, channels] = query.dims();
    let split = |x: Dual<B, 3>| {
        let tokens = x.dims()[1];
        x.reshape([batch, tokens, heads, channels / heads]).swap_dims(1, 2)
    };
    Dual::attention(split(query), split(key), split(value), mask)
        .swap_dims(1, 2)
        .reshape([batch, tokens, channels])
}
