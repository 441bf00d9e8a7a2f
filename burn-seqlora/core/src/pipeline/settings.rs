//! How images are sampled.

use super::init::InitImage;
use super::prompts::TextSettings;
use crate::diffusion::{LevelLayout, SamplerKind, SamplerPlan, ScheduleError, SchedulerConfig};

/// How images are sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingSettings {
    /// The sampler.
    pub sampler: SamplerKind,
    /// Sampling steps.
    pub steps: usize,
    /// The sampler's noise levels, where the model's file is not to decide.
    pub layout: LevelLayout,
    /// How prompts are read and encoded.
    pub text: TextSettings,
    /// Classifier-free guidance. 1 or less is none, as in diffusers, and halves the work: the negative
    /// prompt then has no effect.
    pub guidance: f64,
    /// Width and height in pixels; the model's own where not given.
    pub size: Option<[usize; 2]>,
    /// The share that an image's prompt keeps inside of regions, 0 to 1. With 0, Mix-of-Show's, only the
    /// regions' own prompts count there.
    pub region_base: f64,
    /// The image that is changed, in place of making one from noise.
    pub init: Option<InitImage>,
}

impl SamplingSettings {
    /// Whether negative prompts have an effect.
    pub fn is_guided(&self) -> bool {
        self.guidance > 1.0
    }

    /// The sampler's steps for a model whose scheduler this is.
    ///
    /// # Errors
    /// Those of [`SamplerPlan::with_layout`] and [`SamplerPlan::from_image`].
    pub fn plan(&self, scheduler: &SchedulerConfig) -> Result<SamplerPlan, ScheduleError> {
        let plan = SamplerPlan::with_layout(self.sampler, scheduler, self.steps, self.layout)?;
        match &self.init {
            None => Ok(plan),
            Some(init) => plan.from_image(init.strength),
        }
    }
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            sampler: SamplerKind::DpmPlusPlus2M,
            steps: 25,
            layout: LevelLayout::default(),
            text: TextSettings::default(),
            guidance: 7.5,
            size: None,
            region_base: 0.0,
            init: None,
        }
    }
}
