//! Multi-head attention whose four projections can carry adapters.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::diffusion::{KeyValue, Source};
use seqlora_core::lora::{DualAdapters, Role};
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{KernelBackend, ops};

use super::{Linear, LinearConfig, Rotary, Scope};

/// Sizes of an [`Attention`].
#[derive(Config, Debug)]
pub struct AttentionConfig {
    /// Channels of the queries and of the output.
    pub channels: usize,
    /// Width of the context in cross-attention; `None` for self-attention.
    pub context: Option<usize>,
    /// The number of heads, which must divide the channels.
    pub heads: usize,
    /// Whether the query, key and value projections have biases (in CLIP, but not in the UNet).
    #[config(default = false)]
    pub bias: bool,
    /// Whether the key projection has one too, if they have biases; DINOv3's has none.
    #[config(default = true)]
    pub key_bias: bool,
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

/// The site names of the query, key, value and output projections, relative to the module. They are
/// the projections' paths in the checkpoint that the module is loaded from.
pub type ProjectionNames = [&'static str; 4];

impl AttentionConfig {
    /// A layer without weights; its projections are registered as sites under `names`.
    pub fn init<B: Backend>(&self, scope: &mut Scope<B>, names: ProjectionNames) -> Attention<B> {
        let role = if self.context.is_some() { Role::CrossAttention } else { Role::SelfAttention };
        let linear = |inputs, bias| LinearConfig::new(inputs, self.channels).with_bias(bias);
        let [query, key, value, output] = names;
        let context = self.context.unwrap_or(self.channels);
        Attention {
            to_q: scope.site(query, role, linear(self.channels, self.bias)),
            to_k: scope.site(key, role, linear(context, self.bias && self.key_bias)),
            to_v: scope.site(value, role, linear(context, self.bias)),
            to_out: scope.site(output, role, linear(self.channels, true)),
            heads: self.heads,
        }
    }
}

impl<B: KernelBackend> Attention<B> {
    /// Attention with queries from `x` and keys and values from `context`, or from `x` if it is `None`.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, channels]`
    /// - context: `[batch, keys, width]`
    pub fn forward(
        &self,
        x: Dual<B, 3>,
        context: Option<Dual<B, 3>>,
        mask: AttentionMask,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let context = context.unwrap_or_else(|| x.clone());
        let query = self.to_q.forward(x, adapters);
        let projected = self.project(context, adapters);
        self.to_out.forward(self.attend(query, projected, mask), adapters)
    }

    /// Self-attention of patches whose queries and keys are turned by their positions.
    ///
    /// # Shapes
    /// - x and output: `[batch, tokens, channels]`
    pub fn forward_rotated(
        &self,
        x: Dual<B, 3>,
        rotary: &Rotary<B>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let query = rotary.apply(self.to_q.forward(x.clone(), adapters));
        let KeyValue { key, value } = self.project(x, adapters);
        let turned = KeyValue { key: rotary.apply(key), value };
        self.to_out.forward(self.attend(query, turned, AttentionMask::Full), adapters)
    }

    /// Attention to several prompts: the sum of the outputs for each source, weighted at each position
    /// by the source's share there.
    ///
    /// # Shapes
    /// - x and output: `[batch, positions, channels]`
    ///
    /// # Panics
    /// If there are no sources.
    pub fn forward_shared(
        &self,
        x: Dual<B, 3>,
        sources: Vec<Source<B>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let query = self.to_q.forward(x, adapters);
        let outputs = sources.into_iter().map(|Source { prompt, share, projected }| {
            let projected = projected.unwrap_or_else(|| self.project(prompt, adapters));
            adapters.record_attention(&query, &projected.key, self.heads);
            let output = self.attend(query.clone(), projected, AttentionMask::Full);
            match share {
                Some(share) => output.mul_constant(share),
                None => output,
            }
        });
        let sum = outputs.reduce(|sum, output| sum + output).expect("at least one source");
        self.to_out.forward(sum, adapters)
    }

    /// The keys and values of a context.
    ///
    /// # Shapes
    /// - context: `[batch, keys, width]`
    /// - key and value: `[batch, keys, channels]`
    pub fn project(&self, context: Dual<B, 3>, adapters: &DualAdapters<B>) -> KeyValue<B> {
        KeyValue {
            key: self.to_k.forward(context.clone(), adapters),
            value: self.to_v.forward(context, adapters),
        }
    }

    fn attend(
        &self,
        query: Dual<B, 3>,
        KeyValue { key, value }: KeyValue<B>,
        mask: AttentionMask,
    ) -> Dual<B, 3> {
        ops::attention(query, key, value, self.heads, mask)
    }

    /// The layer with `delta` added to the weights of queries, keys and values, one below the other.
    ///
    /// # Shapes
    /// - delta: `[3 · channels, channels]`
    pub fn with_projections_changed(mut self, delta: Tensor<B, 2>) -> Self {
        let channels = delta.dims()[1];
        for (number, linear) in
            [&mut self.to_q, &mut self.to_k, &mut self.to_v].into_iter().enumerate()
        {
            let change = delta.clone().narrow(0, number * channels, channels);
            linear.weight = Param::from_tensor(linear.weight.val() + change);
        }
        self
    }

    /// Its linear layers, the sites among them.
    pub fn linears(&self) -> impl Iterator<Item = &Linear<B>> {
        [&self.to_q, &self.to_k, &self.to_v, &self.to_out].into_iter()
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Tensor, TensorData};
    use seqlora_core::rng::{Seed, normal};
    use seqlora_kernels::Flex;

    use super::*;

    const POSITIONS: usize = 6;
    const CHANNELS: usize = 8;

    fn random<const D: usize>(purpose: &str, shape: [usize; D]) -> Tensor<Flex, D> {
        normal(shape, &mut Seed::new(0).fork(purpose).at(0), &Default::default())
    }

    fn attention() -> Attention<Flex> {
        let linear = |name| Linear {
            weight: Param::from_tensor(random(name, [CHANNELS, CHANNELS])),
            bias: None,
            site: None,
        };
        let [to_q, to_k, to_v, to_out] = ["q", "k", "v", "out"].map(linear);
        Attention { to_q, to_k, to_v, to_out, heads: 2 }
    }

    fn source(prompt: &str, share: Option<[f32; POSITIONS]>) -> Source<Flex> {
        let tensor = |share| TensorData::new(Vec::from(share), [1, POSITIONS, 1]);
        Source {
            prompt: Dual::constant(random(prompt, [1, 3, CHANNELS])),
            share: share.map(|share| Tensor::from_data(tensor(share), &Default::default())),
            projected: None,
        }
    }

    /// The output at each position.
    fn outputs(sources: Vec<Source<Flex>>) -> Vec<Vec<f32>> {
        let x = Dual::constant(random("x", [1, POSITIONS, CHANNELS]));
        let output = attention().forward_shared(x, sources, &DualAdapters::none()).primal;
        let numbers: Vec<f32> = output.to_data().iter::<f32>().collect();
        numbers.chunks(CHANNELS).map(Vec::from).collect()
    }

    /// A position with the whole share of one prompt has exactly that prompt's output, bit for bit; a
    /// position that two prompts share has the mean of both outputs.
    #[test]
    fn every_position_gets_its_share() {
        let [base, part] = ["base", "part"].map(|prompt| outputs(vec![source(prompt, None)]));
        let shares = [[1.0, 1.0, 0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 1.0, 1.0, 0.5, 1.0]];
        let both = outputs(vec![source("base", Some(shares[0])), source("part", Some(shares[1]))]);
        assert_eq!(both[..2], base[..2]);
        assert_eq!(both[2..4], part[2..4]);
        assert_eq!(both[5], part[5]);
        for channel in 0..CHANNELS {
            let mean = (base[4][channel] + part[4][channel]) / 2.0;
            assert!((both[4][channel] - mean).abs() < 1e-5);
        }
        assert_ne!(base, part);
    }

    /// A single source with the share 1 everywhere gives plain attention.
    #[test]
    fn one_source_is_plain_attention() {
        let x = Dual::constant(random("x", [1, POSITIONS, CHANNELS]));
        let prompt = source("base", None).prompt;
        let none = DualAdapters::none();
        let plain = attention().forward(x, Some(prompt), AttentionMask::Full, &none).primal;
        let plain: Vec<f32> = plain.to_data().iter::<f32>().collect();
        assert_eq!(outputs(vec![source("base", None)]).concat(), plain);
        assert_eq!(outputs(vec![source("base", Some([1.0; POSITIONS]))]).concat(), plain);
    }
}
