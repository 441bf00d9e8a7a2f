//! The classifier's network: a convolutional stem, a vision transformer and its heads.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation::sigmoid, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::attributes::Attribute;
use super::config::{ClassifierConfig, STEM_GROUPS};
use super::identity::{normalised, scores};
use crate::world::{Background, Individual};
use seqlora_models::nn::{Conv2d, Conv2dConfig, GroupNorm, Linear, LinearConfig, frozen};
use seqlora_models::vit::{VitConfig, VitModel};

/// The number of backgrounds.
pub const BACKGROUNDS: usize = Background::ALL.len();

/// The classifier's network: a detector whose heads all read the same cell.
///
/// Each cell of a coarse grid has a score for "the centre of an object lies here", as in CenterNet
/// ([arXiv 1904.07850](https://arxiv.org/abs/1904.07850)), and predicts the attributes of that object, where
/// in the cell its centre is, and its identity embedding. So two objects of one class are told apart.
#[derive(Module, Debug)]
pub struct ClassifierModel<B: Backend> {
    stem: Vec<StemBlock<B>>,
    vit: VitModel<B>,
    /// The score for a centre, and x and y of the centre in its cell.
    centre: Linear<B>,
    /// The values of all attributes.
    attributes: Linear<B>,
    background: Linear<B>,
    projection: Linear<B>,
    /// The direction of each individual's embeddings, `[individuals, projection]`. Only training
    /// uses it.
    individuals: Param<Tensor<B, 2>>,
}

/// `silu(norm(conv(x)))`
#[derive(Module, Debug)]
struct StemBlock<B: Backend> {
    conv: Conv2d<B>,
    norm: GroupNorm<B>,
}

/// The outputs of all heads, for each cell row by row.
#[derive(Debug, Clone)]
pub struct ClassifierOutput<B: Backend> {
    /// The logit that a centre lies in the cell: `[batch, cells]`
    pub centre: Tensor<B, 2>,
    /// x and y of the centre within its cell, 0 to 1: `[batch, cells, 2]`
    pub offset: Tensor<B, 3>,
    /// The logits of the values of all attributes: `[batch, cells, Attribute::total()]`
    pub attributes: Tensor<B, 3>,
    /// The identity embeddings, of length one: `[batch, cells, projection]`
    pub embedding: Tensor<B, 3>,
    /// The logits of the background: `[batch, backgrounds]`
    pub background: Tensor<B, 2>,
}

impl<B: Backend> ClassifierOutput<B> {
    /// The logits of one attribute: `[batch, cells, values]`
    pub fn logits(&self, attribute: Attribute) -> Tensor<B, 3> {
        self.attributes.clone().narrow(2, attribute.offset(), attribute.count())
    }

    /// The embedding at the cell of each image that is most likely a centre: `[batch, projection]`
    pub fn strongest(&self) -> Tensor<B, 2> {
        let width = self.embedding.dims()[2];
        let cell = self.centre.clone().argmax(1).unsqueeze_dim::<3>(2).repeat_dim(2, width);
        self.embedding.clone().gather(1, cell).squeeze_dim(1)
    }
}

impl ClassifierConfig {
    /// A network whose weights are not initialised yet.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> ClassifierModel<B> {
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
        ClassifierModel {
            stem: inputs.zip(&self.stem).flat_map(level).collect(),
            vit: VitConfig { num_channels, ..vit.clone() }.init(device),
            centre: linear(3),
            attributes: linear(Attribute::total()),
            background: linear(BACKGROUNDS),
            projection: linear(projection),
            individuals: frozen([Individual::COUNT, projection], device),
        }
    }
}

impl<B: KernelBackend> ClassifierModel<B> {
    /// The device of its tensors.
    pub fn device(&self) -> B::Device {
        self.individuals.lazy_device()
    }

    /// Classifies images.
    ///
    /// # Shapes
    /// - pixels: `[batch, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If the patch size does not divide the sides of the stem's output.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> ClassifierOutput<B> {
        let none = DualAdapters::none();
        let block = |x, StemBlock { conv, norm }: &StemBlock<B>| {
            norm.forward(conv.forward(x, &none)).silu()
        };
        let features = self.stem.iter().fold(Dual::constant(pixels), block);
        let tokens = self.vit.forward(features);
        let (class, cells) = (tokens.class, tokens.patches);
        let head = |layer: &Linear<B>| layer.forward(cells.clone(), &none).primal;
        let centre = head(&self.centre);
        let embedding = head(&self.projection);
        let shape @ [batch, count, width] = embedding.dims();
        let embedding = normalised(embedding.reshape([batch * count, width])).reshape(shape);
        ClassifierOutput {
            centre: centre.clone().narrow(2, 0, 1).squeeze_dim(2),
            offset: sigmoid(centre.narrow(2, 1, 2)),
            attributes: head(&self.attributes),
            embedding,
            background: self.background.forward(class, &none).primal,
        }
    }

    /// The cosine of each embedding with each individual's direction.
    ///
    /// # Shapes
    /// - embedding: `[n, projection]`, output: `[n, individuals]`
    pub fn cosines(&self, embedding: Tensor<B, 2>) -> Tensor<B, 2> {
        scores(embedding, normalised(self.individuals.val()))
    }
}
