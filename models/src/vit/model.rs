//! The vision transformer: a class token, patches as tokens, and encoder layers.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::attention::AttentionMask;

use super::config::{Resampling, VitConfig};
use super::position::resample;
use crate::nn::{
    Conv2d, Conv2dConfig, EncoderLayer, EncoderLayerConfig, LayerNames, LayerNorm, Linear,
    LinearConfig, Rotary, Scope, frozen,
};
use crate::weights::encoders::FoundVit;
use crate::weights::{ModelError, load_weights};

/// A vision transformer ([arXiv 2010.11929](https://arxiv.org/abs/2010.11929)).
#[derive(Module, Debug)]
pub struct VitModel<B: Backend> {
    /// `[1, 1, width]`
    cls_token: Param<Tensor<B, 3>>,
    /// Of the class token, and of the patches row by row: `[1, 1 + rows · columns, width]`. Without them,
    /// positions are rotary.
    position_embeddings: Option<Param<Tensor<B, 3>>>,
    /// `[1, registers, width]`
    register_tokens: Option<Param<Tensor<B, 3>>>,
    patch_embedding: Conv2d<B>,
    pre_norm: Option<LayerNorm<B>>,
    layers: Vec<EncoderLayer<B>>,
    norm: LayerNorm<B>,
    projection: Option<Linear<B>>,
    /// Rows and columns of patches that the position embeddings are for.
    #[module(skip)]
    grid: [usize; 2],
    patch: usize,
    heads: usize,
    #[module(skip)]
    rope_theta: Option<f64>,
    #[module(skip)]
    resampling: Resampling,
}

/// The output of a vision transformer, after its last normalisation.
#[derive(Debug, Clone)]
pub struct VitTokens<B: Backend> {
    /// The class token, which represents the whole image: `[batch, width]`
    pub class: Dual<B, 2>,
    /// The patches, row by row: `[batch, patches, width]`
    pub patches: Dual<B, 3>,
}

impl VitConfig {
    /// A model without weights and without sites: adapters belong to models that generate images.
    pub fn init<B: KernelBackend>(&self, device: &B::Device) -> VitModel<B> {
        let (width, patch, grid) = (self.hidden_size, self.patch_size, self.grid());
        let patches = Conv2dConfig::new(self.num_channels, width, patch)
            .with_stride(patch)
            .with_bias(self.patch_bias);
        let layer = EncoderLayerConfig::new(
            width,
            self.intermediate_size,
            self.num_attention_heads,
            self.qkv_bias,
            self.hidden_act,
            self.layer_norm_eps,
        );
        let layer = layer
            .with_key_bias(self.key_bias)
            .with_gated(self.gated)
            .with_layer_scale(self.layer_scale);
        let mut scope = Scope::without_sites(device);
        let layers =
            (0..self.num_hidden_layers).map(|_| layer.init(&mut scope, LayerNames::FIELDS));
        let norm = || LayerNorm::new(width, self.layer_norm_eps, device);
        let tokens = |count: usize| (count > 0).then(|| frozen([1, count, width], device));
        let learnt = if self.rope_theta.is_some() { 0 } else { 1 + grid * grid };
        let project = |outputs| {
            LinearConfig::new(width, outputs).with_bias(self.projection_bias).init(device)
        };
        VitModel {
            cls_token: frozen([1, 1, width], device),
            position_embeddings: tokens(learnt),
            register_tokens: tokens(self.num_register_tokens),
            patch_embedding: patches.init(device),
            pre_norm: self.pre_norm.then(norm),
            layers: layers.collect(),
            norm: norm(),
            projection: self.projection_dim.map(project),
            grid: [grid; 2],
            patch,
            heads: self.num_attention_heads,
            rope_theta: self.rope_theta,
            resampling: self.resampling,
        }
    }
}

impl<B: KernelBackend> VitModel<B> {
    /// Loads a folder or a file of weights in any layout that
    /// [`weights::encoders`](crate::weights::encoders) knows, e.g. a copy of `facebook/dino-vits16`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or does not fit the config.
    pub fn load(path: &Path, device: &B::Device) -> Result<Self, ModelError> {
        Self::from_found(FoundVit::find(path)?, device)
    }

    /// Loads weights that were found.
    ///
    /// # Errors
    /// If a file is damaged, or does not fit the config.
    pub fn from_found(found: FoundVit, device: &B::Device) -> Result<Self, ModelError> {
        let FoundVit { config, files, layout } = found;
        load_weights(config.init(device), &files, &layout)
    }

    /// The model for images of `[height, width]` pixels, with its position embeddings resampled once.
    ///
    /// # Panics
    /// If the height or the width is not a multiple of the patch size.
    pub fn for_images(mut self, size: [usize; 2]) -> Self {
        let grid = self.patches(size);
        if let Some(positions) = self.positions(grid) {
            self.position_embeddings = Some(Param::from_tensor(positions).set_require_grad(false));
        }
        Self { grid, ..self }
    }

    /// The model with `delta` added to the weights of queries, keys and values of one layer, one below
    /// the other: an adapter merged.
    ///
    /// # Shapes
    /// - delta: `[3 · width, width]`
    ///
    /// # Panics
    /// If there is no such layer, or delta has another shape.
    pub fn with_projections_changed(mut self, layer: usize, delta: Tensor<B, 2>) -> Self {
        let changed = self.layers[layer].clone().with_projections_changed(delta);
        self.layers[layer] = changed;
        self
    }

    /// The number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Width of its tokens.
    pub fn width(&self) -> usize {
        self.cls_token.shape().dims::<3>()[2]
    }

    /// Encodes images of any size that is a multiple of the patch size. For another size than the
    /// model's, the position embeddings are resampled each time, without gradients for them; see
    /// [`for_images`](Self::for_images).
    ///
    /// # Shapes
    /// - pixels: `[batch, channels, height, width]`, normalised as in training
    ///
    /// # Panics
    /// If the height or the width is not a multiple of the patch size.
    pub fn forward(&self, pixels: Dual<B, 4>) -> VitTokens<B> {
        let (x, patches) = self.hidden_states(pixels);
        let [batch, tokens, channels] = x.dims();
        let x = self.norm.forward(x);
        VitTokens {
            class: x.clone().narrow(1, 0, 1).reshape([batch, channels]),
            patches: x.narrow(1, tokens - patches, patches),
        }
    }

    /// What stands for an image: the class token after the last normalisation, projected if the model
    /// has a projection.
    ///
    /// # Shapes
    /// - pixels: `[batch, channels, height, width]`, output: `[batch, outputs]`
    pub fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let class = self.norm.forward(self.class_before_norm(pixels));
        match &self.projection {
            Some(projection) => projection.forward(class, &DualAdapters::none()).primal,
            None => class.primal,
        }
    }

    /// The class token before the last normalisation, `[batch, width]`.
    pub fn last_layer_class(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        self.class_before_norm(pixels).primal
    }

    fn class_before_norm(&self, pixels: Tensor<B, 4>) -> Dual<B, 2> {
        let (x, _) = self.hidden_states(Dual::constant(pixels));
        let [batch, _, channels] = x.dims();
        x.narrow(1, 0, 1).reshape([batch, channels])
    }

    /// The tokens after the last layer, and how many of them, at the end, are patches.
    fn hidden_states(&self, pixels: Dual<B, 4>) -> (Dual<B, 3>, usize) {
        let [batch, _, height, width] = pixels.dims();
        let grid = self.patches([height, width]);
        let none = DualAdapters::none();
        let patches = self.patch_embedding.forward(pixels, &none);
        let [_, channels, rows, columns] = patches.dims();
        let count = rows * columns;
        let patches = patches.reshape([batch, channels, count]).swap_dims(1, 2);
        let repeat = |token: &Param<Tensor<B, 3>>| {
            let [_, count, _] = token.shape().dims();
            Dual::constant(token.val().expand([batch, count, channels]))
        };
        let mut x = repeat(&self.cls_token).cat(patches, 1);
        if let Some(positions) = self.positions(grid) {
            x = x.add_broadcast(Dual::constant(positions));
        }
        if let Some(registers) = &self.register_tokens {
            let class = x.clone().narrow(1, 0, 1).cat(repeat(registers), 1);
            x = class.cat(x.narrow(1, 1, count), 1);
        }
        if let Some(norm) = &self.pre_norm {
            x = norm.forward(x);
        }
        let before = x.dims()[1] - count;
        let rotary = self.rope_theta.map(|theta| {
            Rotary::new(grid, before, channels / self.heads, theta, &x.primal.device())
        });
        let layer = |x, layer: &EncoderLayer<B>| {
            layer.forward(x, AttentionMask::Full, rotary.as_ref(), &none)
        };
        (self.layers.iter().fold(x, layer), count)
    }

    /// Rows and columns of patches in an image of `[height, width]` pixels.
    fn patches(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        let patch = self.patch;
        assert!(
            height % patch == 0 && width % patch == 0,
            "images of {height} by {width} pixels cannot be split into patches of {patch}"
        );
        [height / patch, width / patch]
    }

    /// The learnt position embeddings of a grid of patches, `[1, 1 + rows · columns, width]`.
    fn positions(&self, grid: [usize; 2]) -> Option<Tensor<B, 3>> {
        let all = self.position_embeddings.as_ref()?.val();
        if grid == self.grid {
            return Some(all);
        }
        let [_, tokens, channels] = all.dims();
        let class = all.clone().narrow(1, 0, 1);
        let patches = all.narrow(1, 1, tokens - 1);
        let (device, dtype) = (patches.device(), patches.dtype());
        let values: Vec<f32> = patches.into_data().iter().collect();
        let values = resample(&values, self.grid, grid, self.resampling);
        let data = TensorData::new(values, [1, grid[0] * grid[1], channels]);
        let patches = Tensor::from_data(data, (&device, dtype));
        Some(Tensor::cat(vec![class, patches], 1))
    }
}
