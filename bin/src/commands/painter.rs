//! A model with a composition on it.

use burn::tensor::Tensor;
use burn_seqlora::adapter::{AdapterSet, DualAdapters};
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::Guidance;
use burn_seqlora::model::{Denoiser, DiffusionModel, TextEncoder};
use burn_seqlora::region::Area;
use burn_seqlora::text::{Context, TextBatch};
use seqlora_kernels::TrainBackend;
use seqlora_models::StableDiffusion;

use crate::args::{Generate, Region};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// A model with a composition on it.
pub struct Painter<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    composition: &'a Composition<B::InnerBackend>,
    rows: Option<Tensor<B, 2>>,
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
        let rows = composition.rows.clone().map(Tensor::from_inner);
        Self { model, composition, rows, adapters }
    }

    /// What a picture of this width and height should show and should not; the negative prompt is
    /// the same in every region.
    pub fn guidance(
        &self,
        args: &Generate,
        scale: f64,
        size: [usize; 2],
        terminal: &Terminal,
    ) -> Result<Guidance<B>, Failure> {
        let negative = self.encode(&[&args.negative], terminal)?;
        let (mut shown, mut avoided) = (Vec::new(), Vec::new());
        for Region { corners, prompt } in &args.region {
            let area = Area::new(*corners, size).map_err(|e| Failure::Usage(e.to_string()))?;
            shown.push((area, self.encode(&[prompt], terminal)?));
            avoided.push((area, negative.clone()));
        }
        Ok(Guidance {
            prompt: self.encode(&[&args.prompt], terminal)?.with_regions(shown),
            negative: negative.with_regions(avoided),
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
        Ok(self.model.encode_text(&batch, self.rows.as_ref(), &self.adapters))
    }
}
