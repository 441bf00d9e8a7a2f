//! A vision transformer and its heads.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::adapter::DualAdapters;
use burn_seqlora::dual::Dual;
use seqlora_kernels::{KernelBackend, attention::AttentionMask};

use super::config::JudgeConfig;
use super::identity::{normalised, scores};
use crate::nn::{
    Attention, AttentionConfig, LayerNames, LayerNorm, Linear, LinearConfig, Scope, frozen,
};
use crate::vit::VitModel;
use crate::world::{Background, Class, Colour, Individual, Pattern};

/// The number of classes.
pub const CLASSES: usize = Class::ALL.len();
/// The number of colours.
pub const COLOURS: usize = Colour::ALL.len();
/// The number of patterns.
pub const PATTERNS: usize = Pattern::ALL.len();
/// The number of backgrounds.
pub const BACKGROUNDS: usize = Background::ALL.len();

/// The judge as a module.
///
/// Each class looks for itself among the patches with a query of its own, and what it finds is
/// read by one layer for all classes. So a colour learnt on mugs is known on cats.
#[derive(Module, Debug)]
pub struct JudgeModel<B: Backend> {
    vit: VitModel<B>,
    /// What each class looks for, `[classes, width]`.
    queries: Param<Tensor<B, 2>>,
    query_norm: LayerNorm<B>,
    look: Attention<B>,
    look_norm: LayerNorm<B>,
    /// What each class looks like when found, `[classes, width]`.
    likeness: Param<Tensor<B, 2>>,
    /// Colours, patterns, x and y.
    traits: Linear<B>,
    background: Linear<B>,
    projection: Linear<B>,
    /// The direction of each individual's embeddings, `[individuals, projection]`.
    individuals: Param<Tensor<B, 2>>,
}

/// What the heads say. Scores become probabilities by a sigmoid (`present`) or a softmax.
#[derive(Debug, Clone)]
pub struct JudgeOutput<B: Backend> {
    /// Scores, `[batch, classes]`
    pub present: Tensor<B, 2>,
    /// Scores of each class' colour, if it is present: `[batch, classes, colours]`
    pub colour: Tensor<B, 3>,
    /// Likewise, `[batch, classes, patterns]`
    pub pattern: Tensor<B, 3>,
    /// x and y in unit coordinates, `[batch, classes, 2]`
    pub centre: Tensor<B, 3>,
    /// Scores, `[batch, backgrounds]`
    pub background: Tensor<B, 2>,
    /// Of length one, `[batch, projection]`
    pub embedding: Tensor<B, 2>,
}

impl JudgeConfig {
    /// A judge without weights yet.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> JudgeModel<B> {
        let vit = &self.vision_config;
        let (width, projection) = (vit.hidden_size, self.projection_dim);
        let linear = |outputs| LinearConfig::new(width, outputs).init(device);
        let look = AttentionConfig::new(width, vit.num_attention_heads).with_context(Some(width));
        let norm = || LayerNorm::new(width, vit.layer_norm_eps, device);
        let mut scope = Scope::without_sites(device);
        JudgeModel {
            vit: vit.init(device),
            queries: frozen([CLASSES, width], device),
            query_norm: norm(),
            look: look.with_bias(true).init(&mut scope, LayerNames::FIELDS.attention),
            look_norm: norm(),
            likeness: frozen([CLASSES, width], device),
            traits: linear(COLOURS + PATTERNS + 2),
            background: linear(BACKGROUNDS),
            projection: linear(projection),
            individuals: frozen([Individual::COUNT, projection], device),
        }
    }
}

impl<B: KernelBackend> JudgeModel<B> {
    /// Where its tensors are.
    pub fn device(&self) -> B::Device {
        self.queries.lazy_device()
    }

    /// # Shapes
    /// - pixels: `[batch, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If a patch does not divide a side.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> JudgeOutput<B> {
        let none = DualAdapters::none();
        let tokens = self.vit.forward(Dual::constant(pixels));
        let class = tokens.class;
        let [batch, width] = class.dims();

        let queries = self.query_norm.forward(Dual::constant(self.queries.val()));
        let queries = queries.map_linear(|t| t.unsqueeze::<3>().expand([batch, CLASSES, width]));
        let found = self.look.forward(queries, Some(tokens.patches), AttentionMask::Full, &none);
        let found = self.look_norm.forward(found);
        let likeness = found.primal.clone() * self.likeness.val().unsqueeze::<3>();
        let traits = self.traits.forward(found, &none).primal;
        JudgeOutput {
            present: likeness.sum_dim(2).squeeze_dim(2),
            colour: traits.clone().narrow(2, 0, COLOURS),
            pattern: traits.clone().narrow(2, COLOURS, PATTERNS),
            centre: traits.narrow(2, COLOURS + PATTERNS, 2),
            background: self.background.forward(class.clone(), &none).primal,
            embedding: normalised(self.projection.forward(class, &none).primal),
        }
    }

    /// The cosine of each embedding `[n, projection]` to each individual's direction,
    /// `[n, individuals]`.
    pub fn cosines(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        scores(embedding, normalised(self.individuals.val()))
    }
}
