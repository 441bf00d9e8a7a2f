//! The vision transformer: a class token, patches as tokens, and encoder layers.

use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::attention::AttentionMask;

use super::config::VitConfig;
use super::position::resample;
use crate::nn::{
    Conv2d, Conv2dConfig, EncoderLayer, EncoderLayerConfig, LayerNames, LayerNorm, Scope, frozen,
};
use crate::weights::{KeyTable, ModelError, WeightFiles, load_weights, read_config};

/// A vision transformer ([arXiv 2010.11929](https://arxiv.org/abs/2010.11929)).
#[derive(Module, Debug)]
pub struct VitModel<B: Backend> {
    /// `[1, 1, width]`
    cls_token: Param<Tensor<B, 3>>,
    /// Of the class token, and of the patches row by row: `[1, 1 + grid², width]`
    position_embeddings: Param<Tensor<B, 3>>,
    patch_embedding: Conv2d<B>,
    layers: Vec<EncoderLayer<B>>,
    norm: LayerNorm<B>,
    grid: usize,
    patch: usize,
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
        let patches = Conv2dConfig::new(self.num_channels, width, patch).with_stride(patch);
        let layer = EncoderLayerConfig {
            width,
            inner: self.intermediate_size,
            heads: self.num_attention_heads,
            bias: self.qkv_bias,
            activation: self.hidden_act,
            epsilon: self.layer_norm_eps,
        };
        let mut scope = Scope::without_sites(device);
        let layers =
            (0..self.num_hidden_layers).map(|_| layer.init(&mut scope, LayerNames::FIELDS));
        VitModel {
            cls_token: frozen([1, 1, width], device),
            position_embeddings: frozen([1, 1 + grid * grid, width], device),
            patch_embedding: patches.init(device),
            layers: layers.collect(),
            norm: LayerNorm::new(width, self.layer_norm_eps, device),
            grid,
            patch,
        }
    }
}

impl<B: KernelBackend> VitModel<B> {
    /// Loads a folder of transformers' `ViTModel`, e.g. `facebook/dino-vits16`.
    ///
    /// # Errors
    /// If a file in the folder is missing or damaged, or does not fit the config.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        let file = folder.join("config.json");
        let text = read_config(&file)?;
        let model = VitConfig::parse(&text, &file)?.init(device);
        load_weights(model, &WeightFiles::find(folder)?, &KeyTable::VIT.into())
    }

    /// Encodes images of any size that is a multiple of the patch size. For other sizes than the
    /// config's, the position embeddings are resampled.
    ///
    /// # Shapes
    /// - pixels: `[batch, channels, height, width]`, normalised as in training
    ///
    /// # Panics
    /// If the height or the width is not a multiple of the patch size.
    pub fn forward(&self, pixels: Dual<B, 4>) -> VitTokens<B> {
        let [batch, _, height, width] = pixels.dims();
        let patch = self.patch;
        assert!(
            height % patch == 0 && width % patch == 0,
            "images of {height} by {width} pixels cannot be split into patches of {patch}"
        );
        let none = DualAdapters::none();
        let patches = self.patch_embedding.forward(pixels, &none);
        let [_, channels, rows, columns] = patches.dims();
        let count = rows * columns;
        let patches = patches.reshape([batch, channels, count]).swap_dims(1, 2);
        let class = self.cls_token.val().expand([batch, 1, channels]);
        let x = Dual::constant(class).cat(patches, 1);
        let x = x.add_broadcast(Dual::constant(self.positions([rows, columns])));
        let x = self.layers.iter().fold(x, |x, layer| layer.forward(x, AttentionMask::Full, &none));
        let x = self.norm.forward(x);
        VitTokens {
            class: x.clone().narrow(1, 0, 1).reshape([batch, channels]),
            patches: x.narrow(1, 1, count),
        }
    }

    /// The position embeddings of a grid of patches, `[1, 1 + rows · columns, width]`.
    fn positions(&self, [rows, columns]: [usize; 2]) -> Tensor<B, 3> {
        let (all, grid) = (self.position_embeddings.val(), self.grid);
        if [rows, columns] == [grid; 2] {
            return all;
        }
        let channels = all.dims()[2];
        let class = all.clone().narrow(1, 0, 1);
        let patches = all.narrow(1, 1, grid * grid).reshape([grid, grid, channels]);
        let patches = resample(patches, [rows, columns]).reshape([1, rows * columns, channels]);
        Tensor::cat(vec![class, patches], 1)
    }
}
