//! A small diffusers folder with random weights, for tests and trial runs.

use std::path::Path;

use seqlora_core::rng::Seed;
use seqlora_kernels::KernelBackend;
use serde_json::json;

use crate::blueprint::Blueprint;
use crate::weights::{KeyTable, ModelError, random_weights};

/// Writes a model with the architecture of Stable Diffusion 1.x to `folder`. It has about 1.5 million
/// parameters and is made for images of 64×64 pixels. The same seed gives the same files.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_random_model<B: KernelBackend>(
    folder: &Path,
    seed: u64,
    device: &B::Device,
) -> Result<(), ModelError> {
    blueprint().write_with_random_weights::<B>(folder, seed, device)
}

impl Blueprint {
    /// Writes the folder with random weights. The same seed gives the same files.
    ///
    /// # Errors
    /// If the folder cannot be written, or two configs contradict each other.
    pub fn write_with_random_weights<B: KernelBackend>(
        self,
        folder: &Path,
        seed: u64,
        device: &B::Device,
    ) -> Result<(), ModelError> {
        let (unet, text_encoder, vae, _) = self.write(folder)?.init::<B>(device);
        let seed = Seed::new(seed);
        let diffusion = "diffusion_pytorch_model.safetensors";
        let file = |component: &str, name: &str| folder.join(component).join(name);
        let unet_seed = seed.fork("unet");
        random_weights::<B, _>(&unet, KeyTable::UNET, &unet_seed, &file("unet", diffusion))?;
        random_weights::<B, _>(&vae, KeyTable::VAE, &seed.fork("vae"), &file("vae", diffusion))?;
        let text_seed = seed.fork("text_encoder");
        let text_file = file("text_encoder", "model.safetensors");
        random_weights::<B, _>(&text_encoder, KeyTable::CLIP_TEXT, &text_seed, &text_file)
    }
}

fn blueprint() -> Blueprint {
    let unet = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": 8,
        "block_out_channels": [32, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 64,
        "norm_num_groups": 8,
    });
    let text_encoder = json!({
        "model_type": "clip_text_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    });
    let vae = json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [8, 16, 16, 32],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "norm_num_groups": 8,
    });
    Blueprint { unet, text_encoder, vae, scheduler: json!({}), words: Vec::new() }
}
