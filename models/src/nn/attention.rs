//! Multi-head attention whose four projections are sites.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::backend::Backend;
use burn_jvp::Dual;
use seqlora_core::diffusion::regions::Source;
use seqlora_core::lora::{DualAdapters, Role};
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{KernelBackend, ops};

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
        self.to_out.forward(self.attend(query, context, mask, adapters), adapters)
    }

    /// Queries from `x`; each sees every source as much as its share there.
    ///
    /// # Shapes
    /// - x: `[batch, places, channels]`
    pub fn forward_shared(
        &self,
        x: Dual<B, 3>,
        sources: Vec<Source<B>>,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let query = self.to_q.forward(x, adapters);
        let seen = sources.into_iter().map(|Source { prompt, share }| {
            let seen = self.attend(query.clone(), prompt, AttentionMask::Full, adapters);
            match share {
                Some(share) => seen.mul_constant(share),
                None => seen,
            }
        });
        let seen = seen.reduce(|sum, seen| sum + seen).expect("every place sees some source");
        self.to_out.forward(seen, adapters)
    }

    fn attend(
        &self,
        query: Dual<B, 3>,
        context: Dual<B, 3>,
        mask: AttentionMask,
        adapters: &DualAdapters<B>,
    ) -> Dual<B, 3> {
        let key = self.to_k.forward(context.clone(), adapters);
        let value = self.to_v.forward(context, adapters);
        ops::attention(query, key, value, self.heads, mask)
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

    const PLACES: usize = 6;
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

    fn source(prompt: &str, share: Option<[f32; PLACES]>) -> Source<Flex> {
        let tensor = |share| TensorData::new(Vec::from(share), [1, PLACES, 1]);
        Source {
            prompt: Dual::constant(random(prompt, [1, 3, CHANNELS])),
            share: share.map(|share| Tensor::from_data(tensor(share), &Default::default())),
        }
    }

    /// The output at each place.
    fn rows(sources: Vec<Source<Flex>>) -> Vec<Vec<f32>> {
        let x = Dual::constant(random("x", [1, PLACES, CHANNELS]));
        let output = attention().forward_shared(x, sources, &DualAdapters::none()).primal;
        let numbers: Vec<f32> = output.to_data().iter::<f32>().collect();
        numbers.chunks(CHANNELS).map(Vec::from).collect()
    }

    /// Inside a region a place sees the region's prompt alone, outside the other alone, bit for
    /// bit; where two share, it sees their mean.
    #[test]
    fn every_place_sees_its_share() {
        let [base, part] = ["base", "part"].map(|prompt| rows(vec![source(prompt, None)]));
        let shares = [[1.0, 1.0, 0.0, 0.0, 0.5, 0.0], [0.0, 0.0, 1.0, 1.0, 0.5, 1.0]];
        let both = rows(vec![source("base", Some(shares[0])), source("part", Some(shares[1]))]);
        assert_eq!(both[..2], base[..2]);
        assert_eq!(both[2..4], part[2..4]);
        assert_eq!(both[5], part[5]);
        for channel in 0..CHANNELS {
            let mean = (base[4][channel] + part[4][channel]) / 2.0;
            assert!((both[4][channel] - mean).abs() < 1e-5);
        }
        assert_ne!(base, part);
    }

    /// One source with all of every place is the layer as it ever was.
    #[test]
    fn one_source_is_plain_attention() {
        let x = Dual::constant(random("x", [1, PLACES, CHANNELS]));
        let prompt = source("base", None).prompt;
        let none = DualAdapters::none();
        let plain = attention().forward(x, Some(prompt), AttentionMask::Full, &none).primal;
        let plain: Vec<f32> = plain.to_data().iter::<f32>().collect();
        assert_eq!(rows(vec![source("base", None)]).concat(), plain);
        assert_eq!(rows(vec![source("base", Some([1.0; PLACES]))]).concat(), plain);
    }
}
