//! Convolutions, a vision transformer behind them, and its heads.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::softmax, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::config::JudgeConfig;
use super::identity::{normalised, scores};
use crate::world::{Background, Class, Colour, Individual, Pattern};
use seqlora_models::nn::{Conv2d, Conv2dConfig, GroupNorm, Linear, LinearConfig, frozen};
use seqlora_models::vit::{VitConfig, VitModel};

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
/// Each patch says how much it looks like a part of each class. A class is there if some patch says
/// so, and the mean of the patches, weighted by what they say, is read by one layer for all classes.
/// So a colour learnt on mugs is known on cats. The identity is that of the patches that look like
/// any class. (Class tokens and queries that had to learn where to look knew 13 % of the classes and
/// 60 % of the individuals after 4000 minibatches.)
#[derive(Module, Debug)]
pub struct JudgeModel<B: Backend> {
    stem: Vec<StemBlock<B>>,
    vit: VitModel<B>,
    /// From patches to classes.
    classes: Linear<B>,
    /// Colours, patterns, x and y.
    traits: Linear<B>,
    background: Linear<B>,
    projection: Linear<B>,
    /// The direction of each individual's embeddings, `[individuals, projection]`.
    individuals: Param<Tensor<B, 2>>,
}

/// `silu(norm(conv(x)))`
#[derive(Module, Debug)]
struct StemBlock<B: Backend> {
    conv: Conv2d<B>,
    norm: GroupNorm<B>,
}

/// Groups of channels that the stem's blocks normalise together.
const STEM_GROUPS: usize = 8;

/// What a scene holds. Scores become probabilities by a sigmoid (`present`) or a softmax.
#[derive(Debug, Clone)]
pub struct Answers<B: Backend> {
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
}

/// What the heads say.
#[derive(Debug, Clone)]
pub struct JudgeOutput<B: Backend> {
    /// Scores of each patch, row by row: `[batch, patches, classes]`
    pub patches: Tensor<B, 3>,
    /// What the picture shows.
    pub answers: Answers<B>,
    /// Of length one, `[batch, projection]`
    pub embedding: Tensor<B, 2>,
}

/// Numbers that [`Answers::new`] takes for each class: colours, patterns, x and y.
pub const TRAITS: usize = COLOURS + PATTERNS + 2;

impl<B: Backend> Answers<B> {
    /// Answers from scores of classes `[batch, classes]`, of their traits `[batch, classes, traits]`
    /// and of backgrounds `[batch, backgrounds]`.
    pub fn new(present: Tensor<B, 2>, traits: Tensor<B, 3>, background: Tensor<B, 2>) -> Self {
        Self {
            present,
            colour: traits.clone().narrow(2, 0, COLOURS),
            pattern: traits.clone().narrow(2, COLOURS, PATTERNS),
            centre: traits.narrow(2, COLOURS + PATTERNS, 2),
            background,
        }
    }
}

impl JudgeConfig {
    /// A judge without weights yet.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> JudgeModel<B> {
        let vit = &self.vision_config;
        let (width, projection) = (vit.hidden_size, self.projection_dim);
        let num_channels = self.stem.last().copied().unwrap_or(3);
        let inputs = [3].iter().chain(&self.stem);
        let level = |(inputs, outputs): (&usize, &usize)| {
            let block = |inputs, stride| StemBlock {
                conv: Conv2dConfig::same3(inputs, *outputs).with_stride(stride).init(device),
                norm: GroupNorm::new(STEM_GROUPS, *outputs, vit.layer_norm_eps, device),
            };
            [block(*inputs, 2), block(*outputs, 1)]
        };
        let linear = |outputs| LinearConfig::new(width, outputs).init(device);
        JudgeModel {
            stem: inputs.zip(&self.stem).flat_map(level).collect(),
            vit: VitConfig { num_channels, ..vit.clone() }.init(device),
            classes: linear(CLASSES),
            traits: linear(TRAITS),
            background: linear(BACKGROUNDS),
            projection: linear(projection),
            individuals: frozen([Individual::COUNT, projection], device),
        }
    }
}

/// A smooth maximum over patches: `[batch, patches, classes]` to `[batch, classes]`.
fn log_mean_exp<B: Backend>(scores: Tensor<B, 3>) -> Tensor<B, 2> {
    let greatest = scores.clone().detach().max_dim(1);
    ((scores - greatest.clone()).exp().mean_dim(1).log() + greatest).squeeze_dim(1)
}

impl<B: KernelBackend> JudgeModel<B> {
    /// Where its tensors are.
    pub fn device(&self) -> B::Device {
        self.individuals.lazy_device()
    }

    /// # Shapes
    /// - pixels: `[batch, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If a patch does not divide a side of what the stem makes.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> JudgeOutput<B> {
        let none = DualAdapters::none();
        let block =
            |x, StemBlock { conv, norm }: &StemBlock<B>| norm.forward(conv.forward(x)).silu();
        let features = self.stem.iter().fold(Dual::constant(pixels), block);
        let tokens = self.vit.forward(features);
        let (class, patches) = (tokens.class, tokens.patches);
        // [batch, patches, classes]
        let scores = self.classes.forward(patches.clone(), &none).primal;
        let mean = |scores| {
            let weights = softmax(scores, 1).swap_dims(1, 2);
            patches.clone().map_linear(|patches| weights.clone().matmul(patches))
        };
        let found = mean(scores.clone());
        let objects = mean(scores.clone().max_dim(2)).map_linear(|t| t.squeeze_dim::<2>(1));
        let traits = self.traits.forward(found, &none).primal;
        let background = self.background.forward(class, &none).primal;
        JudgeOutput {
            patches: scores.clone(),
            answers: Answers::new(log_mean_exp(scores), traits, background),
            embedding: normalised(self.projection.forward(objects, &none).primal),
        }
    }

    /// The cosine of each embedding `[n, projection]` to each individual's direction,
    /// `[n, individuals]`.
    pub fn cosines(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        scores(embedding, normalised(self.individuals.val()))
    }
}
