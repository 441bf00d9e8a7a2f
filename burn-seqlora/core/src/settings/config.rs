//! The settings, their defaults, and what follows from them for a step and a site.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::choices::{
    FrozenBasis, Hvp, InnerActivations, LrSchedule, Memory, NoiseReuse, OuterOptimizer,
    Preconditioner, TrainingBase, WarmStart,
};
use crate::data::{CaptionOptions, Transform};
use crate::diffusion::AttentionRegularization;
use crate::lora::{Part, Site, SiteSelection, Subspace};
use crate::precision::Precision;
use crate::text::TokenScheme;

/// See [`TrainConfig::cache_from`] and docs/decisions/0008.
const CACHE_FROM: usize = 512;

/// Everything that decides what training does; stored with every concept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The name of a [method](crate::methods).
    pub method: String,
    /// How second derivatives are taken; without effect on methods that take none.
    pub hvp: Hvp,
    /// r: the rank at each site.
    pub rank: usize,
    /// Which sites are adapted.
    pub sites: SiteSelection,
    /// Number of principal directions of the common prompt subspace, that of `common_prompts`' states,
    /// that B also stays orthogonal to, in keys and values of cross-attention; so many are reserved even
    /// if the prompts span fewer. 0 in the paper, and without effect on a method that is not orthogonal
    /// (docs/decisions/0009).
    pub protected_directions: usize,
    /// Prompts about anything but concepts. What counts are their states as the pretrained text
    /// encoder has them.
    pub common_prompts: Vec<String>,
    /// Minibatches per concept, with those of `continued_from`.
    pub steps: usize,
    /// So many of them were done before, by a training that had ended: the concept is in the bank and is
    /// [trained further](crate::train::plan_further). Learning rates begin anew. `None` for a new concept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continued_from: Option<usize>,
    /// Images per minibatch.
    pub batch: usize,
    /// So many of them go through the model at once, and the gradients of all such parts are added up. Saves memory; the
    /// result is the same up to rounding. `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// K: outer iterations per minibatch; K (T + 1) gradients of the loss with every method.
    pub outer: usize,
    /// T: inner steps per outer iteration.
    pub inner: usize,
    /// Learning rate of A and B in the denoiser.
    pub lr_unet: f64,
    /// Learning rate of A and B in the text encoder.
    pub lr_text: f64,
    /// Learning rate of the token embeddings.
    pub lr_token: f64,
    /// η/α: learning rate of B relative to that of A.
    pub lr_down_ratio: f64,
    /// How the learning rates develop.
    pub lr_schedule: LrSchedule,
    /// Over so many steps they rise first, from their n-th part.
    #[serde(skip_serializing_if = "is_zero")]
    pub warmup_steps: usize,
    /// What scales the inner steps.
    pub preconditioner: Preconditioner,
    /// How B moves along the projected hypergradient.
    pub outer_optimizer: OuterOptimizer,
    /// Where A goes after a step in B.
    pub warm_start: WarmStart,
    /// What the evaluations within one minibatch share.
    pub noise: NoiseReuse,
    /// Saves time or memory; the result is the same up to rounding.
    pub inner_activations: InnerActivations,
    /// Saves time or memory; the result is the same up to rounding.
    #[serde(skip_serializing_if = "is_fast")]
    pub memory: Memory,
    /// The weights that the adapter is added to.
    pub base: TrainingBase,
    /// λ: ridge on A in the lower level.
    pub ridge: f64,
    /// Decoupled weight decay of B and of the token embeddings, and of A with `lora` and
    /// `orthogonal-adaptation`; B of the latter stays as it is.
    pub weight_decay: f64,
    /// Column norm of B at the start (Orthogonal Adaptation's 0.5); `lora` starts as LoRA does
    /// everywhere, with kaiming's, about 0.577.
    pub down_norm: f64,
    /// Where B comes from with `orthogonal-adaptation`; without effect on the other methods.
    pub frozen_basis: FrozenBasis,
    /// Words and token embeddings of a concept.
    pub tokens: TokenScheme,
    /// Standard deviation of the new word's embeddings at the start.
    pub token_std: f64,
    /// Training of the token embeddings stops when their mean norm reaches this (Mix-of-Show).
    pub token_norm_limit: f64,
    /// Standard deviation of the noise that a whole channel shares.
    pub noise_offset: f64,
    /// Whether subject masks, where given, weight the loss.
    pub masked_loss: bool,
    /// γ of min-SNR weights (Hang et al. 2023, arXiv 2303.09556), 5 there: steps with little noise count less.
    /// `None` for none, as in the paper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_snr_gamma: Option<f64>,
    /// Weight of Mix-of-Show's attention regularisation, by which the image attends to the concept's words
    /// where the subject mask is; 0.01 there, and 0 for none. An image without a mask is the subject itself.
    pub attention_weight: f64,
    /// Whether that term compares the class word's attention with the whole mask, as Mix-of-Show does for
    /// animals, or only keeps it inside.
    pub attention_full_identity: bool,
    /// Weight of the loss that keeps the class from becoming the concept, 1 as a start and 0 for none, as in the
    /// paper. It doubles the time of a step. With images of the class it is DreamBooth's prior
    /// preservation, the denoising loss on these; without, it is a loss on the concept's own images with the class
    /// word in its place, where the model is to predict what it predicts without the concept.
    #[serde(skip_serializing_if = "is_none")]
    pub prior_weight: f64,
    /// How captions are varied.
    pub captions: CaptionOptions,
    /// How images are cropped and placed.
    pub transform: Transform,
    /// Side of the training images in pixels; the model's own where not given.
    pub resolution: Option<usize>,
    /// Placements of each image that are drawn from; each is encoded when it is drawn first.
    pub crops: usize,
    /// Minibatches with fixed noise by which loss is compared before and after.
    pub probes: usize,
    /// The number of concepts that will share the model, if known, with those in the bank: each gets the
    /// same capacity.
    pub concepts: Option<usize>,
    /// The name of a group: B stays orthogonal to the concepts of the same group only, so that each group
    /// has a layer's whole capacity, and concepts of different groups may interfere. `None` in the paper:
    /// B stays orthogonal to all concepts that are there, whatever their group. Without effect on a method
    /// that is not orthogonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orthogonal_within: Option<String>,
    /// The block of a shared basis in which B lies, so that workers that know nothing of each other learn concepts
    /// that are orthogonal by construction. `None` in the paper: the whole space. Without effect on a method that is
    /// not orthogonal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subspace: Option<Subspace>,
    /// Which shared basis: the same for all workers whose banks will be merged.
    #[serde(skip_serializing_if = "is_first_family")]
    pub subspace_family: u64,
    /// Layers that are full, or have room for less than `rank`, are an error instead of a warning. If
    /// all are full, it is an error in any case.
    pub strict_capacity: bool,
    /// What the frozen model computes in; f16 is refused for training.
    pub precision: Precision,
    /// A checkpoint after so many steps.
    pub save_every: usize,
    /// Seed of everything random.
    pub seed: u64,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

fn is_fast(memory: &Memory) -> bool {
    *memory == Memory::Fast
}

fn is_first_family(family: &u64) -> bool {
    *family == 0
}

fn is_none(weight: &f64) -> bool {
    *weight == 0.0
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: "seqlora".into(),
            hvp: Hvp::Exact,
            rank: 4,
            sites: SiteSelection::Attention,
            protected_directions: 0,
            common_prompts: Vec::new(),
            steps: 250,
            continued_from: None,
            batch: 2,
            micro_batch: None,
            outer: 3,
            inner: 2,
            lr_unet: 1e-4,
            lr_text: 1e-5,
            lr_token: 1e-3,
            lr_down_ratio: 1.0,
            lr_schedule: LrSchedule::Linear,
            warmup_steps: 0,
            preconditioner: Preconditioner::Adam,
            outer_optimizer: OuterOptimizer::AdamW,
            warm_start: WarmStart::Carry,
            noise: NoiseReuse::Minibatch,
            inner_activations: InnerActivations::Cache,
            memory: Memory::Fast,
            base: TrainingBase::Pretrained,
            ridge: 1e-8,
            weight_decay: 0.01,
            down_norm: 0.5,
            frozen_basis: FrozenBasis::Shared,
            tokens: TokenScheme::EdLora,
            token_std: 0.013,
            token_norm_limit: 0.55,
            noise_offset: 0.01,
            masked_loss: true,
            min_snr_gamma: None,
            attention_weight: 0.0,
            attention_full_identity: false,
            prior_weight: 0.0,
            captions: CaptionOptions::default(),
            transform: Transform::default(),
            resolution: None,
            crops: 4,
            probes: 4,
            concepts: None,
            orthogonal_within: None,
            subspace: None,
            subspace_family: 0,
            strict_capacity: false,
            precision: Precision::F32,
            save_every: 50,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// The [arithmetic intensity] from which on inner steps cache activations. `None` if they cache
    /// none: only an exact Hessian product reads them.
    ///
    /// [arithmetic intensity]: seqlora_kernels::operation::Operation::arithmetic_intensity
    pub fn cache_from(&self, hvp: Hvp) -> Option<usize> {
        let caches = self.inner_activations == InnerActivations::Cache
            && self.memory == Memory::Fast
            && self.images_at_once() == self.batch
            && hvp == Hvp::Exact;
        caches.then_some(CACHE_FROM)
    }

    /// How many images of a minibatch go through the model at once.
    pub fn images_at_once(&self) -> usize {
        self.micro_batch.map_or(self.batch, |images| images.min(self.batch))
    }

    /// The attention's term of the loss, if there is one.
    pub fn attention(&self) -> Option<AttentionRegularization> {
        let (weight, full_identity) = (self.attention_weight, self.attention_full_identity);
        (weight > 0.0).then_some(AttentionRegularization { weight, full_identity })
    }

    /// How many directions a site has for a method that is orthogonal: those of the subspace without the protected
    /// ones, of which it may contain as many as there are.
    pub fn directions_at(&self, site: &Site) -> usize {
        self.all_directions_at(site).saturating_sub(self.protected_at(site))
    }

    /// How many directions of a site there are: those of the subspace, or all.
    pub fn all_directions_at(&self, site: &Site) -> usize {
        self.subspace.map_or(site.inputs, |subspace| subspace.directions(site.inputs))
    }

    /// How many directions of a site are protected, if the method is orthogonal.
    pub fn protected_at(&self, site: &Site) -> usize {
        if site.reads_prompt() { self.protected_directions } else { 0 }
    }

    /// The learning rate of A at a site and step.
    pub fn learning_rate(&self, site: &Site, step: usize) -> f64 {
        let rate = match site.part {
            Part::Denoiser => self.lr_unet,
            Part::TextEncoder => self.lr_text,
        };
        rate * self.decay(step)
    }

    /// What the learning rates are multiplied with at a step.
    pub fn decay(&self, step: usize) -> f64 {
        let before = self.continued_from.unwrap_or(0);
        let (step, steps) = (step.saturating_sub(before), self.steps.saturating_sub(before));
        if step < self.warmup_steps {
            return (step + 1) as f64 / self.warmup_steps as f64;
        }
        let rest = steps.saturating_sub(self.warmup_steps).max(1);
        let done = (step - self.warmup_steps) as f64 / rest as f64;
        match self.lr_schedule {
            LrSchedule::Constant => 1.0,
            LrSchedule::Linear => 1.0 - done,
            LrSchedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_rise_and_fall() {
        let config = |lr_schedule, warmup_steps| TrainConfig {
            lr_schedule,
            warmup_steps,
            steps: 8,
            ..TrainConfig::default()
        };
        let all = |config: TrainConfig| (0..8).map(|step| config.decay(step)).collect::<Vec<_>>();
        let linear = all(config(LrSchedule::Linear, 4));
        assert_eq!(linear, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25]);
        assert_eq!(all(config(LrSchedule::Linear, 0))[..2], [1.0, 0.875]);
        let cosine = all(config(LrSchedule::Cosine, 4));
        assert!(cosine[4] == 1.0 && (cosine[6] - 0.5).abs() < 1e-12, "{cosine:?}");
        assert_eq!(all(config(LrSchedule::Constant, 2))[..3], [0.5, 1.0, 1.0]);
        let further = TrainConfig { continued_from: Some(4), ..config(LrSchedule::Linear, 0) };
        assert_eq!(all(further)[4..], [1.0, 0.75, 0.5, 0.25]);
    }
}
