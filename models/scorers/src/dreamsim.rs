//! DreamSim: three encoders with an adapter, whose outputs are one embedding.

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use seqlora_eval::ImageEncoder;
use seqlora_kernels::KernelBackend;
use seqlora_models::vit::VitModel;
use seqlora_models::weights::encoders::{DreamSimAdapter, FoundVit};
use seqlora_models::weights::{Activation, ModelError};

use crate::preprocess::Preprocessing;
use crate::preprocess::presets::{DREAMSIM, DREAMSIM_STATISTICS};
use crate::vit_encoder::{in_chunks, preprocessed};

/// The ensemble of DreamSim ([arXiv 2306.09344](https://arxiv.org/abs/2306.09344)): the class token of
/// DINO ViT-B/16 before its last normalisation, and the projected class tokens of CLIP and OpenCLIP
/// ViT-B/16, one after the other as they are; minus their mean. One minus the cosine of two such
/// embeddings is DreamSim's distance, and one minus their correlation.
#[derive(Debug)]
pub struct DreamSim<B: KernelBackend> {
    branches: Vec<Branch<B>>,
    preprocessing: Preprocessing,
}

/// One encoder, and the statistics that it was trained with.
#[derive(Debug)]
struct Branch<B: KernelBackend> {
    model: VitModel<B>,
    /// `[1, 3, 1, 1]`
    mean: Tensor<B, 4>,
    /// `[1, 3, 1, 1]`
    std: Tensor<B, 4>,
    projected: bool,
}

/// The names of each encoder's weights in the folder: those of DreamSim's release or of torch.hub, then
/// folders with the same weights.
const FILES: [&[&str]; 3] = [
    &["dino_vitbase16_pretrain.pth", "dino-vitb16"],
    &["clip_vitb16_pretrain.pth.tar", "clip-vit-base-patch16"],
    &["open_clip_vitb16_pretrain.pth.tar", "vit_base_patch16_clip_224.laion400m_e31"],
];

impl<B: KernelBackend> DreamSim<B> {
    /// Loads a folder with the weights of the three encoders and the adapter's folder, `ensemble_lora`.
    /// The adapter is merged into the weights.
    ///
    /// # Errors
    /// If a file is missing or damaged, or does not fit.
    pub fn load(folder: &Path, device: &B::Device) -> Result<Self, ModelError> {
        Self::load_with(folder, DREAMSIM, device)
    }

    /// As [`load`](Self::load), with another preprocessing than DreamSim's.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        folder: &Path,
        preprocessing: Preprocessing,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let adapter = DreamSimAdapter::open(&folder.join("ensemble_lora"))?;
        let branch = |number: usize| {
            let names = FILES[number];
            let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
            let path = paths.iter().find(|path| path.exists()).unwrap_or(&paths[0]);
            let mut found = FoundVit::find(path)?;
            if number == 1 {
                // OpenAI's CLIP; a file in DreamSim's layout does not say so.
                found.config.hidden_act = Activation::QuickGelu;
            }
            let projected = found.config.projection_dim.is_some();
            let mut model = VitModel::from_found(found, device)?;
            for delta in adapter.deltas(number, model.depth(), model.width())? {
                let change = Tensor::from_data(delta.delta, device);
                model = model.with_projections_changed(delta.layer, change);
            }
            let side = preprocessing.side();
            let (mean, std) = DREAMSIM_STATISTICS[number];
            let [mean, std] = [mean, std].map(|numbers| {
                Tensor::from_data(TensorData::new(numbers.to_vec(), [1, 3, 1, 1]), device)
            });
            Ok(Branch { model: model.for_images([side, side]), mean, std, projected })
        };
        let branches = (0..FILES.len()).map(branch).collect::<Result<_, ModelError>>()?;
        Ok(Self { branches, preprocessing })
    }
}

impl<B: KernelBackend> Branch<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let pixels = (pixels - self.mean.clone()) / self.std.clone();
        match self.projected {
            true => self.model.embed(pixels),
            false => self.model.last_layer_class(pixels),
        }
    }
}

impl<B: KernelBackend> ImageEncoder<B> for DreamSim<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let outputs = self
            .branches
            .iter()
            .map(|branch| in_chunks(pixels.clone(), |chunk| branch.embed(chunk)));
        let all = Tensor::cat(outputs.collect(), 1);
        all.clone() - all.mean_dim(1)
    }

    fn pixels(&self, images: &[&RgbImage], device: &B::Device) -> Tensor<B, 4> {
        preprocessed(images, &self.preprocessing, device)
    }

    fn preprocessing(&self) -> String {
        let rest = "then each encoder's own mean and std";
        format!("{}; {rest}", self.preprocessing.description())
    }
}
