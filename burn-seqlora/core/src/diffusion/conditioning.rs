//! What a denoiser is conditioned on.

use std::iter;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;

use super::regions::{Area, KeyValue, Source, shares};

/// All that a denoiser is conditioned on besides the timestep; it grows with the models (a pooled
/// embedding and image sizes for SDXL).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Conditioning<B: Backend> {
    /// The encoded prompts that cross-attention sees.
    pub context: Context<B>,
}

impl<B: Backend> From<Context<B>> for Conditioning<B> {
    fn from(context: Context<B>) -> Self {
        Self { context }
    }
}

impl<B: Backend> Conditioning<B> {
    /// Two batches of prompts in one, for classifier-free guidance.
    ///
    /// # Panics
    /// If their regions are not the same areas with the same share.
    pub fn cat(self, other: Self) -> Self {
        Self { context: self.context.cat(other.context) }
    }
}

/// Encoded prompts: the states that each cross-attention layer sees.
#[derive(Debug, Clone)]
pub struct Context<B: Backend> {
    /// One entry that all layers share, or one per layer; `[prompts, length, width]` each.
    layers: Vec<Dual<B, 3>>,
    /// Keys and values of every cross-attention layer, once they are computed.
    projected: Vec<KeyValue<B>>,
    /// What is seen in parts of the image instead.
    regions: Vec<(Area, Context<B>)>,
    /// The share of this context in those parts.
    base: f32,
}

impl<B: Backend> Context<B> {
    /// Splits what the text encoder made of a [`TextBatch`](crate::text::TextBatch), `[prompts × copies, length, width]`.
    pub fn new(encoded: Dual<B, 3>, copies: usize) -> Self {
        let [rows, length, width] = encoded.dims();
        let by_copy = encoded.reshape([rows / copies, copies, length * width]);
        let layer =
            |copy| by_copy.clone().narrow(1, copy, 1).reshape([rows / copies, length, width]);
        Self {
            layers: (0..copies).map(layer).collect(),
            projected: Vec::new(),
            regions: Vec::new(),
            base: 0.0,
        }
    }

    /// With prompts of their own in parts of the image, as many as this context has.
    pub fn with_regions(self, regions: Vec<(Area, Self)>) -> Self {
        Self { regions, ..self }
    }

    /// With a share for this context in those parts, 0 to 1: see [`regions`](super::regions).
    pub fn with_base(self, base: f32) -> Self {
        Self { base, ..self }
    }

    /// With other states in all layers, in the regions too; projections are dropped.
    pub fn map_layers(self, change: impl Fn(Dual<B, 3>) -> Dual<B, 3>) -> Self {
        self.map_all(&change)
    }

    /// With other states in all layers, which are changed together; projections and regions are dropped.
    pub fn map_together(self, change: impl FnOnce(Vec<Dual<B, 3>>) -> Vec<Dual<B, 3>>) -> Self {
        let (projected, regions) = (Vec::new(), Vec::new());
        Self { layers: change(self.layers), projected, regions, base: self.base }
    }

    fn map_all(self, change: &dyn Fn(Dual<B, 3>) -> Dual<B, 3>) -> Self {
        let regions = self.regions.into_iter().map(|(area, c)| (area, c.map_all(change)));
        Self {
            layers: self.layers.into_iter().map(change).collect(),
            projected: Vec::new(),
            regions: regions.collect(),
            base: self.base,
        }
    }

    /// The states of this context and then those of another one, prompt by prompt: what one chunk of a
    /// prompt gives, and the next. Regions and projections are dropped.
    pub fn followed_by(self, next: Self) -> Self {
        let layers = self.layers.len().max(next.layers.len());
        let both = |l| self.layer(l).cat(next.layer(l), 1);
        Self {
            layers: (0..layers).map(both).collect(),
            projected: Vec::new(),
            regions: Vec::new(),
            base: 0.0,
        }
    }

    /// With the keys and values of all `layers` cross-attention layers, in the regions too; `project`
    /// computes those of one layer from what it sees.
    pub fn with_projections(
        self,
        layers: usize,
        project: &dyn Fn(usize, Dual<B, 3>) -> KeyValue<B>,
    ) -> Self {
        let projected = (0..layers).map(|layer| project(layer, self.layer(layer))).collect();
        let regions = self.regions.into_iter();
        let regions = regions.map(|(area, c)| (area, c.with_projections(layers, project)));
        Self { layers: self.layers, projected, regions: regions.collect(), base: self.base }
    }

    /// What cross-attention layer number `layer` sees.
    pub fn layer(&self, layer: usize) -> Dual<B, 3> {
        self.layers[if self.layers.len() == 1 { 0 } else { layer }].clone()
    }

    /// What cross-attention layer number `layer` sees, and where, if it has `[height, width]`
    /// places.
    pub fn sources(&self, layer: usize, places: [usize; 2]) -> Vec<Source<B>> {
        if self.regions.is_empty() {
            return vec![self.source(layer)];
        }
        let areas: Vec<Area> = self.regions.iter().map(|(area, _)| *area).collect();
        let contexts = iter::once(self).chain(self.regions.iter().map(|(_, context)| context));
        let seen = contexts
            .zip(shares(&areas, self.base, places))
            .filter(|(_, share)| share.iter().any(|share| *share > 0.0));
        seen.map(|(context, share)| {
            let source = context.source(layer);
            let as_prompt = (&source.prompt.primal.device(), source.prompt.primal.dtype());
            let share = TensorData::new(share, [1, places[0] * places[1], 1]);
            Source { share: Some(Tensor::from_data(share, as_prompt)), ..source }
        })
        .collect()
    }

    fn source(&self, layer: usize) -> Source<B> {
        let share = None;
        Source { prompt: self.layer(layer), share, projected: self.projected.get(layer).cloned() }
    }

    /// The prompts of two contexts in one batch, for classifier-free guidance; projections are dropped.
    ///
    /// # Panics
    /// If their regions are not the same areas with the same share.
    pub fn cat(self, other: Self) -> Self {
        let layers = self.layers.len().max(other.layers.len());
        let both = |l| self.layer(l).cat(other.layer(l), 0);
        let layers = (0..layers).map(both).collect();
        assert_eq!(self.regions.len(), other.regions.len(), "regions of both contexts");
        assert_eq!(self.base, other.base, "the shares in regions of both contexts");
        let regions = self.regions.into_iter().zip(other.regions);
        let regions = regions.map(|((area, first), (same, second))| {
            assert_eq!(area, same, "regions of both contexts");
            (area, first.cat(second))
        });
        Self { layers, projected: Vec::new(), regions: regions.collect(), base: self.base }
    }
}
