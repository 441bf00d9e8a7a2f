//! Training of the text encoder on captions alone, by grounding: from a caption to a map of what is
//! where.
//!
//! The denoiser of Stable Diffusion learns from a text encoder that was pretrained on language.
//! With a text encoder that is trained from scratch, a denoiser finds little information in the
//! mean of forty nearly random states: after some 2000 steps the true caption explained 12 % of the
//! target's variance at timestep 990, and another caption 2 %.

use std::ops::Range;

use burn::module::{Module, Param};
use burn::tensor::{FloatDType, Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::error::Result;
use seqlora_core::lora::DualAdapters;
use seqlora_core::precision::Precision;
use seqlora_core::rng::Seed;
use seqlora_core::text::{TextBatch, Vocabulary};
use seqlora_kernels::attention::AttentionMask;
use seqlora_kernels::{KernelBackend, TrainBackend};

use super::captions::{caption, tokenize, training_scene};
use super::config::PretrainConfig;
use super::parameters::rounded;
use super::spatial_labels::SpatialHead;
use super::train::Task;
use crate::world::{Scene, Truth};
use seqlora_models::clip::{ClipTextConfig, ClipTextModel};
use seqlora_models::nn::{Attention, AttentionConfig, Scope, frozen};
use seqlora_models::tokenizer::ClipTokenizer;

/// Width and height of the map: those of the features at which the denoiser attends to the text.
const SIDE: usize = 8;

const HEADS: usize = 4;

/// The text encoder, and a cross-attention layer that makes a map of its states, as the denoiser
/// does but without an image.
///
/// The names of the fields are part of the seeds of the initial weights.
#[derive(Module, Debug)]
pub struct GroundingModel<B: Backend> {
    /// The text encoder, which is what training is for.
    pub text_encoder: ClipTextModel<B>,
    /// The learnt query of each position, `[positions, width]`.
    questions: Param<Tensor<B, 2>>,
    attention: Attention<B>,
    places: SpatialHead<B>,
}

impl<B: KernelBackend> GroundingModel<B> {
    /// A model whose weights are not initialised yet.
    pub fn new(config: &ClipTextConfig, device: &B::Device) -> Self {
        let (width, mut scope) = (config.hidden_size, Scope::without_sites(device));
        let attention = AttentionConfig::new(width, HEADS).with_context(Some(width));
        Self {
            text_encoder: config.init(&mut scope),
            questions: frozen([SIDE * SIDE, width], device),
            attention: attention.init(&mut scope, ["to_q", "to_k", "to_v", "to_out"]),
            places: SpatialHead::new(width, device),
        }
    }

    /// The [`SpatialHead`]'s loss on the maps of prompts, `[1]`. The text encoder computes in
    /// `precision`.
    pub fn loss(
        &self,
        prompts: &TextBatch<B>,
        truths: &[Truth],
        precision: Precision,
    ) -> Tensor<B, 1> {
        let none = DualAdapters::none();
        let text_encoder = rounded(self.text_encoder.clone(), precision);
        let states = text_encoder.encode(prompts, None, &none).layer(0).cast(FloatDType::F32);
        let queries = self.questions.val().unsqueeze::<3>().repeat_dim(0, truths.len());
        let (queries, mask) = (Dual::constant(queries), AttentionMask::Full);
        let map = self.attention.forward(queries, Some(states), mask, &none);
        self.places.loss(map.primal, truths)
    }
}

/// The task of grounding captions of random scenes.
#[derive(Debug)]
pub struct CaptionGrounding<'a> {
    /// The probabilities of two objects and of an empty caption, and the precision.
    pub config: &'a PretrainConfig,
    /// The tokenizer, with the context length of the text encoder.
    pub tokenizer: ClipTokenizer,
    /// The seed of scenes and captions.
    pub seed: Seed,
}

impl<B: TrainBackend> Task<B> for CaptionGrounding<'_> {
    type Module = GroundingModel<B>;

    fn loss(&self, model: &GroundingModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let device = model.questions.device();
        let captioned = samples.map(|sample| {
            let scene = training_scene(self.config, &self.seed, sample);
            let caption = caption(self.config, &self.seed, &scene, sample);
            (scene, caption)
        });
        let (scenes, captions): (Vec<Scene>, Vec<String>) = captioned.unzip();
        let truths: Vec<Truth> = scenes.iter().map(Scene::truth).collect();
        let tokens = tokenize(&captions, &self.tokenizer)?;
        let prompts = TextBatch::new(&tokens, &Vocabulary::default(), 1, &device);
        Ok(model.loss(&prompts, &truths, self.config.precision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::config::TaskConfig;
    use crate::pretrain::design::blueprint;
    use crate::pretrain::initial::initialised;
    use crate::pretrain::train::train;
    use burn::backend::Autodiff;
    use seqlora_core::train::Flow;
    use seqlora_kernels::Flex;

    type B = Autodiff<Flex>;

    /// A task that repeats the same eight captions.
    struct Fixed<'a>(CaptionGrounding<'a>);

    impl Task<B> for Fixed<'_> {
        type Module = GroundingModel<B>;

        fn loss(&self, model: &GroundingModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
            self.0.loss(model, samples.start % 8..samples.start % 8 + samples.end - samples.start)
        }
    }

    #[test]
    fn a_text_encoder_learns_what_is_where() {
        let folder = tempfile::tempdir().unwrap();
        blueprint().write(folder.path()).unwrap();
        let tokenizer = ClipTokenizer::from_folder(folder.path().join("tokenizer")).unwrap();
        let tokenizer = tokenizer.with_context_length(32);
        let sizes = ClipTextConfig {
            vocab_size: tokenizer.vocab_size(),
            hidden_size: 32,
            intermediate_size: 64,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            max_position_embeddings: 32,
            ..ClipTextConfig::default()
        };
        let config = PretrainConfig { caption_dropout: 0.0, ..PretrainConfig::default() };
        let task = Fixed(CaptionGrounding { config: &config, tokenizer, seed: Seed::new(0) });

        let device = Default::default();
        let model = GroundingModel::<B>::new(&sizes, &device);
        let model = initialised(model, &Seed::new(0), &device);
        let loss = |model: &GroundingModel<B>| -> f64 {
            task.loss(model, 0..8).unwrap().into_scalar().into()
        };
        let before = loss(&model);
        let settings = TaskConfig {
            steps: 200,
            batch: 8,
            warmup: 20,
            lr: 5e-3,
            ema_decay: 0.9,
            ..TaskConfig::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let model = train(&task, model, &settings, folder.path(), |_| Flow::Continue);
        let after = loss(&model.unwrap().unwrap());
        assert!(after < 0.1 * before, "{before} {after}");
    }
}
