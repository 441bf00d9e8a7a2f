//! A model with a composition on it.

use burn::tensor::Tensor;
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::Context;
use burn_seqlora::diffusion::Guidance;
use burn_seqlora::diffusion::regions::Area;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::{AdapterSet, DualAdapters};
use burn_seqlora::model::{Denoiser, DiffusionModel, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::text::TextBatch;

use crate::args::{Generate, Region};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// A model with a composition on it.
pub struct Painter<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    composition: &'a Composition<B::InnerBackend>,
    embeddings: Option<Tensor<B, 2>>,
    /// The composition's factors, where the layers look for them.
    pub adapters: DualAdapters<B>,
}

impl<'a, B: TrainBackend> Painter<'a, B> {
    /// Puts the composition's factors on the model's layers.
    pub fn new(
        model: &'a StableDiffusion<B>,
        composition: &'a Composition<B::InnerBackend>,
    ) -> Self {
        let adapters = AdapterSet::<B>::untracked(&composition.adapters).constant();
        let embeddings = composition.embeddings.clone().map(Tensor::from_inner);
        Self { model, composition, embeddings, adapters }
    }

    /// The prompts of an image of this width and height; the negative prompt is the same in every
    /// region.
    pub fn guidance(
        &self,
        args: &Generate,
        scale: f64,
        size: [usize; 2],
        terminal: &Terminal,
    ) -> Result<Guidance<B>, Failure> {
        let negative = self.encode(&[&args.negative], terminal)?;
        let (mut positive, mut negatives) = (Vec::new(), Vec::new());
        for Region { corners, prompt } in &args.region {
            let area = Area::new(*corners, size).map_err(|e| Failure::Usage(e.to_string()))?;
            positive.push((area, self.encode(&[prompt], terminal)?));
            negatives.push((area, negative.clone()));
        }
        Ok(Guidance {
            prompt: self.encode(&[&args.prompt], terminal)?.with_regions(positive).into(),
            negative: negative.with_regions(negatives).into(),
            scale,
        })
    }

    /// Encodes prompts in which concepts may stand.
    pub fn encode(&self, prompts: &[&str], terminal: &Terminal) -> Result<Context<B>, Failure> {
        let vocabulary = &self.composition.vocabulary;
        let tokenize = |prompt: &&str| self.model.tokenize(&vocabulary.split(prompt)?);
        let tokens = prompts.iter().map(tokenize).collect::<Result<Vec<_>, _>>()?;
        for tokens in tokens.iter().filter(|tokens| tokens.truncated > 0) {
            let (cut, length) = (tokens.truncated, tokens.ids.len());
            terminal.warning(format!(
                "the prompt is too long: its last {cut} tokens do not fit into {length}"
            ));
        }
        let layers = self.model.cross_attention_layers();
        let batch =
            TextBatch::new(&tokens, vocabulary, layers, &DiffusionModel::device(self.model));
        let conditioning = self.model.encode_text(&batch, self.embeddings.as_ref(), &self.adapters);
        Ok(conditioning.context)
    }
}
