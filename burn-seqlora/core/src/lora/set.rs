//! The factors of one concept, or of a composition, at all sites of a model.

use std::sync::Arc;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use burn_jvp::Dual;
use seqlora_kernels::lora_linear::LoraFactors;
use seqlora_kernels::{CachePass, KernelBackend, MatMul, ops};

use super::recompute::{Recompute, Segment, Traced};
use super::{ActivationProbe, AttentionMaps, Factors};

/// ΔW = A Bᵀ at every adapted site. There is no further scale: λ of a composition is folded into A.
#[derive(Debug, Clone)]
pub struct AdapterSet<B: Backend> {
    /// A `[outputs, rank]` per site: LoRA's up projection, the lower level's variable.
    pub up: Factors<B>,
    /// B `[inputs, rank]` per site: the transpose of LoRA's down projection, the upper level's.
    pub down: Factors<B>,
}

impl<B: Backend> AdapterSet<B> {
    /// No site adapted: the base model itself.
    pub fn empty(sites: usize) -> Self {
        Self { up: Factors::empty(sites), down: Factors::empty(sites) }
    }

    /// The rank at each site; 0 where it is not adapted.
    pub fn ranks(&self) -> Vec<usize> {
        (0..self.down.len()).map(|site| self.down.rank(site)).collect()
    }

    /// The same factors as layers take them, without tangents.
    pub fn constant(&self) -> DualAdapters<B> {
        let site = |site| {
            let [up, down] = [&self.up, &self.down].map(|factors| factors.get(site));
            Some(LoraFactors { up: Dual::constant(up?), down: Dual::constant(down?) })
        };
        DualAdapters::new((0..self.up.len()).map(site).collect())
    }
}

impl<B: AutodiffBackend> AdapterSet<B> {
    /// The same factors on a backend with a tape, but not recorded.
    pub fn untracked(inner: &AdapterSet<B::InnerBackend>) -> Self {
        Self {
            up: inner.up.map(|_, t| Tensor::from_inner(t)),
            down: inner.down.map(|_, t| Tensor::from_inner(t)),
        }
    }
}

/// What an evaluation of a model gives to its layers. By the number of their site they look up low-rank
/// factors, with tangents where they move. At inference there can also be a weight in place of the
/// layer's own, and a probe of the inputs; in training, maps of the attention, the pass of an
/// activation cache, and what computes activations again.
#[derive(Debug, Clone)]
pub struct DualAdapters<B: Backend> {
    factors: Vec<Option<LoraFactors<B>>>,
    /// Factors without tangents that are added to the others; empty without any.
    frozen: Vec<Option<LoraFactors<B>>>,
    /// W₀ + ΔW of the sites that have a dense ΔW; empty without any.
    weights: Vec<Option<Tensor<B, 2>>>,
    probe: Option<Arc<ActivationProbe<B>>>,
    maps: Option<Arc<AttentionMaps<B>>>,
    pass: Option<CachePass>,
    recompute: Option<Arc<dyn Recompute<B>>>,
}

impl<B: MatMul> DualAdapters<B> {
    /// Records where a layer of cross-attention looks, if that is asked for.
    ///
    /// # Shapes
    /// - query: `[prompts, places, heads × d]`, key: `[prompts, length, heads × d]`
    pub fn record_attention(&self, query: &Dual<B, 3>, key: &Dual<B, 3>, heads: usize) {
        if let Some(maps) = &self.maps {
            maps.record(query, key, heads);
        }
    }
}

impl<B: Backend> DualAdapters<B> {
    /// One entry per site, in the order of the sites' numbers.
    pub fn new(factors: Vec<Option<LoraFactors<B>>>) -> Self {
        let (frozen, weights) = (Vec::new(), Vec::new());
        Self { factors, frozen, weights, probe: None, maps: None, pass: None, recompute: None }
    }

    /// No site adapted.
    pub fn none() -> Self {
        Self::new(Vec::new())
    }

    /// With frozen weights `[outputs, inputs]` that take the place of the layers' own, one entry per
    /// site; factors at the same site are added to them.
    pub fn with_weights(self, weights: Vec<Option<Tensor<B, 2>>>) -> Self {
        Self { weights, ..self }
    }

    /// With a probe that records the inputs of the layers.
    pub fn with_probe(self, probe: Arc<ActivationProbe<B>>) -> Self {
        Self { probe: Some(probe), ..self }
    }

    /// With other factors in place of its own; what is frozen stays.
    pub fn with_factors(self, factors: Vec<Option<LoraFactors<B>>>) -> Self {
        Self { factors, ..self }
    }

    /// With maps that collect where cross-attention looks.
    pub fn with_attention_maps(self, maps: Arc<AttentionMaps<B>>) -> Self {
        Self { maps: Some(maps), ..self }
    }

    /// For one evaluation that fills or reads an activation cache, as layers without a site do too.
    pub fn with_pass(self, pass: Option<&CachePass>) -> Self {
        Self { pass: pass.cloned(), ..self }
    }

    /// For one evaluation whose [segments](Self::recomputed) are computed again.
    pub fn with_recompute(self, recompute: Arc<dyn Recompute<B>>) -> Self {
        Self { recompute: Some(recompute), ..self }
    }

    /// With frozen factors in place of any before: ΔW is the sum of both. They are applied by themselves, since
    /// concatenated factors would be copied in each evaluation, and with tangents of zeros.
    pub fn with_frozen(self, frozen: &Self) -> Self {
        Self { frozen: frozen.factors.clone(), ..self }
    }

    /// The same factors and weights in the precision of the layers that take them.
    pub fn cast(&self, dtype: FloatDType) -> Self {
        let site = |LoraFactors { up, down }: LoraFactors<B>| LoraFactors {
            up: up.cast(dtype),
            down: down.cast(dtype),
        };
        let weight = |weight: &Option<Tensor<B, 2>>| weight.clone().map(|w| w.cast(dtype));
        let sites = |sites: &[Option<LoraFactors<B>>]| {
            sites.iter().cloned().map(|factors| factors.map(site)).collect()
        };
        Self {
            factors: sites(&self.factors),
            frozen: sites(&self.frozen),
            weights: self.weights.iter().map(weight).collect(),
            probe: self.probe.clone(),
            maps: self.maps.clone(),
            pass: self.pass.clone(),
            recompute: self.recompute.clone(),
        }
    }

    /// The factors and token embeddings as leaves of the tape.
    pub(crate) fn cut(
        &self,
        embeddings: Option<&Tensor<B, 2>>,
        recompute: &dyn Recompute<B>,
    ) -> (Self, Option<Tensor<B, 2>>) {
        let factors = self.factors.iter().flatten();
        let both = factors.flat_map(|LoraFactors { up, down }| [up.clone(), down.clone()]);
        let embeddings = embeddings.map(|words| Dual::constant(words.clone()));
        let all = both.chain(embeddings).map(Traced::from).collect();
        let mut leaves = recompute.cut(all).into_iter().map(|leaf| leaf.dual());
        let mut next = || leaves.next().expect("as many as were given");
        let site = |site: &Option<LoraFactors<B>>| {
            site.is_some().then(|| LoraFactors { up: next(), down: next() })
        };
        let factors = self.factors.iter().map(site).collect();
        (Self { factors, ..self.clone() }, leaves.next().map(|words| words.primal))
    }

    /// The same tensors, which are parts of one, as inputs of segments.
    pub fn cut_together<const D: usize>(&self, tensors: Vec<Dual<B, D>>) -> Vec<Dual<B, D>> {
        let Some(recompute) = &self.recompute else { return tensors };
        let leaves = recompute.cut(tensors.into_iter().map(Traced::from).collect());
        leaves.iter().map(Traced::dual).collect()
    }

    /// The same adapters in a part of the model whose activations are kept in any case: what is small and takes as long to compute
    /// again as what is large.
    pub fn keeping_activations(&self) -> Self {
        Self { recompute: None, ..self.clone() }
    }

    /// What a part of the model gives, whose activations are computed again if that is asked for. It depends on nothing
    /// but its inputs and the factors of its sites.
    pub fn recomputed<const D: usize>(
        &self,
        mut inputs: Vec<Traced<B>>,
        sites: Vec<usize>,
        part: impl Fn(&[Traced<B>], &Self) -> Dual<B, D> + Send + Sync + 'static,
    ) -> Dual<B, D> {
        let Some(recompute) = &self.recompute else { return part(&inputs, self) };
        let count = inputs.len();
        let sites: Vec<usize> =
            sites.into_iter().filter(|site| self.site(*site).is_some()).collect();
        let factors = sites.iter().filter_map(|site| self.site(*site));
        inputs.extend(factors.flat_map(|LoraFactors { up, down }| [up.into(), down.into()]));
        let none = vec![None; self.factors.len()];
        let without = Self { recompute: None, ..self.clone().with_factors(none) };
        let segment: Segment<B> = Arc::new(move |inputs| {
            let (inputs, both) = inputs.split_at(count);
            let mut factors = without.factors.clone();
            for (site, both) in sites.iter().zip(both.chunks(2)) {
                factors[*site] = Some(LoraFactors { up: both[0].dual(), down: both[1].dual() });
            }
            part(inputs, &without.clone().with_factors(factors)).into()
        });
        recompute.run(&inputs, segment).dual()
    }

    /// The factors at one site, if it is adapted, without frozen ones.
    pub fn site(&self, site: usize) -> Option<LoraFactors<B>> {
        self.factors.get(site).cloned().flatten()
    }

    /// The weight in place of a layer's own, if there is one.
    pub fn weight(&self, site: usize) -> Option<Tensor<B, 2>> {
        self.weights.get(site).cloned().flatten()
    }
}

impl<B: KernelBackend> DualAdapters<B> {
    /// A linear layer with the adapter at its site: `y = x (W + ΔW)ᵀ + b + (x B) Aᵀ`, and the same product
    /// with the frozen factors.
    ///
    /// # Shapes
    /// - x: `[rows, inputs]`, weight: W `[outputs, inputs]`, bias: b `[outputs]`
    /// - output: `[rows, outputs]`
    pub fn linear(
        &self,
        site: Option<usize>,
        x: Dual<B, 2>,
        weight: Tensor<B, 2>,
        bias: Option<Tensor<B, 1>>,
    ) -> Dual<B, 2> {
        let pass = self.pass.as_ref();
        let Some(site) = site else {
            return ops::lora_linear(x, weight, bias, None, pass);
        };
        if let Some(probe) = &self.probe {
            probe.record(site, &x.primal);
        }
        let weight = self.weight(site).unwrap_or(weight);
        let (factors, frozen) = match (self.site(site), self.frozen.get(site).cloned().flatten()) {
            (None, frozen) => (frozen, None),
            both => both,
        };
        let y = ops::lora_linear(x.clone(), weight, bias, factors, pass);
        let Some(LoraFactors { up, down }) = frozen else { return y };
        // Without the pass: these products cost little to compute again.
        let low = ops::lora_linear(x, down.primal.transpose(), None, None, None);
        y + ops::lora_linear(low, up.primal, None, None, None)
    }

    /// A convolution, which carries no adapter: `y = W ⋆ x + b`.
    ///
    /// # Shapes
    /// - x: `[batch, inputs, height, width]`, weight: W `[outputs, inputs, kernel, kernel]`
    /// - bias: b `[outputs]`
    pub fn conv2d(
        &self,
        x: Dual<B, 4>,
        weight: Tensor<B, 4>,
        bias: Tensor<B, 1>,
        stride: usize,
        padding: usize,
    ) -> Dual<B, 4> {
        ops::conv2d(x, weight, bias, stride, padding, self.pass.as_ref())
    }
}
